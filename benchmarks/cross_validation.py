"""Run statsforecast's own cross-validation of its models on two processes.

Usage: python benchmarks/cross_validation.py SERIES.parquet N_WINDOWS
"""

import sys

import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, OptimizedTheta, Theta


def main() -> None:
    """Read the series and run the cross-validation."""
    series, n_windows = pd.read_parquet(sys.argv[1]), int(sys.argv[2])
    models = [AutoETS(season_length=1), Theta(season_length=1), OptimizedTheta(season_length=1)]
    StatsForecast(models=models, freq="W-FRI", n_jobs=2).cross_validation(
        df=series, h=1, n_windows=n_windows, step_size=1, refit=True
    )


if __name__ == "__main__":
    main()
