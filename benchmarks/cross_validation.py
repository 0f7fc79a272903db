"""statsforecast's own cross-validation of its models on made-up series, over two processes.

Usage: python benchmarks/cross_validation.py N_SERIES N_WEEKS N_WINDOWS
"""

import sys

from made_up import weekly
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, OptimizedTheta, Theta


def main() -> None:
    """Run it."""
    n_series, n_weeks, n_windows = map(int, sys.argv[1:])
    models = [AutoETS(season_length=1), Theta(season_length=1), OptimizedTheta(season_length=1)]
    StatsForecast(models=models, freq="W-FRI", n_jobs=2).cross_validation(
        df=weekly(n_series, n_weeks=n_weeks), h=1, n_windows=n_windows, step_size=1, refit=True
    )


if __name__ == "__main__":
    main()
