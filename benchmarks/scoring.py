"""Time scoring two million invented predictions, and selection by every rule.

Usage: python benchmarks/scoring.py SERIES MODELS WINDOWS. Prints the seconds of each.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from made_up import weekly

from forecast_assets.backtesting.folds import FoldForecasts, plan, to_frame
from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.leaderboard import by_horizon, leaderboard, pooled_statistics
from forecast_assets.forecasting.metrics import collect, compute
from forecast_assets.forecasting.metrics import to_frame as metrics_frame
from forecast_assets.forecasting.policies import POLICIES
from forecast_assets.forecasting.selection import choose


def settings_of(n_windows: int, **selection: str) -> Settings:
    """Return settings with so many folds and a selection rule."""
    folder = Path(tempfile.gettempdir())
    tables = {"backtest": {"n_windows": n_windows}, "selection": selection}
    return parse(tables, root=folder, var=folder, origin="the benchmark")


def predictions(series: pd.DataFrame, settings: Settings, n_models: int) -> pd.DataFrame:
    """Return predictions of models, each with slightly larger errors than the one before."""
    rng = np.random.default_rng(0)
    planned = plan(series, settings.backtest)
    y = np.concatenate([folds.y[folds.ends] for folds in planned])
    no_errors, not_declined = np.full(len(y), None, dtype=object), np.zeros(len(y), dtype=bool)
    seconds = np.full(len(y), 0.01)
    invented = [
        FoldForecasts((y + rng.normal(0, 5 + m, len(y)))[:, None], seconds, no_errors, not_declined)
        for m in range(n_models)
    ]
    return pd.concat(
        [to_frame(f"m{m:02d}", planned, folds, horizon=1) for m, folds in enumerate(invented)],
        ignore_index=True,
    )


def timed(name: str, function: Callable[[], object]) -> None:
    """Print the seconds that a call takes."""
    started = time.perf_counter()
    function()
    print(f"{name} {time.perf_counter() - started:.3f} s", flush=True)


def main() -> None:
    """Time scoring, then selection by every rule."""
    n_series, n_models, n_windows = map(int, sys.argv[1:])
    settings = settings_of(n_windows)
    series = weekly(n_series, n_weeks=160).assign(is_filled=False)
    invented = predictions(series, settings, n_models)
    scored: list[pd.DataFrame] = []

    def score() -> None:
        results = collect(invented, series, settings)
        scores = compute(results, settings)
        scored.append(metrics_frame(results, scores))
        leaderboard(scored[-1], metric="mase")
        pooled_statistics(results, scores, overlap=1)
        by_horizon(results, scores)

    def choose_by_every_rule() -> None:
        for policy in POLICIES:
            for scope in ("series", "all"):
                rule = settings_of(n_windows, policy=policy, scope=scope)
                first = choose(scored[0], rule)
                choose(scored[0], rule, previous=[first])

    timed("scoring", score)
    timed("choosing", choose_by_every_rule)


if __name__ == "__main__":
    main()
