"""Measure errors and intervals on white noise of which a share of the weeks is missing.

Six series, 52 folds, 200 panels for each share: what naive's error is, and how often the intervals
of next week's forecast hold the value, which is known from the noise's distribution.
Usage: python benchmarks/gaps.py [N_PANELS]
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import to_weeks
from forecast_assets.forecasting.forecast import forecast
from forecast_assets.forecasting.metrics import collect, compute, to_frame
from forecast_assets.forecasting.selection import choose

MEAN, SPREAD = 1000.0, 50.0
N_SERIES, N_WEEKS, N_WINDOWS, LEVEL = 6, 400, 52, 80
SHARES, POLICIES = (0.0, 0.1, 0.2, 0.45), ("interpolate", "ffill")
MODELS = ("naive", "window_average", "drift")  # closed forms: no process is needed
# How far naive's error may be from that of the complete data, and what intervals may hold.
MAX_ERROR_OFF, MIN_HELD, MAX_HELD = 0.05, 0.77, 0.83
AS_OF = datetime(2026, 11, 27, tzinfo=UTC)


def noise(share: float, *, seed: int) -> pd.DataFrame:
    """Return rows of independent normal values, a share of their weeks missing at random."""
    rng = np.random.default_rng(seed)
    y = rng.normal(MEAN, SPREAD, (N_SERIES, N_WEEKS))
    is_missing = rng.random(y.shape) < share
    is_missing[:, [0, -1]] = False
    ds = pd.date_range(end="2026-11-22", periods=N_WEEKS, freq="W-SUN")
    ids = np.array([f"meter_{i}" for i in range(N_SERIES)])
    series, week = np.nonzero(~is_missing)
    return pd.DataFrame({"unique_id": ids[series], "ds": ds[week], "y": y[series, week]})


def settings_of(missing: str, folder: Path) -> Settings:
    """Return the settings of the simulation."""
    tables: Mapping[str, Mapping[str, object]] = {
        "series": {"frequency": "W-SUN", "missing": missing},
        "backtest": {"n_windows": N_WINDOWS},
        "models": {"enabled": MODELS},
        "forecast": {"levels": [LEVEL]},
    }
    return parse(tables, root=folder, var=folder, origin="the benchmark")


def no_workers() -> None:
    """Fail where a process would be needed."""
    raise AssertionError("a closed form needed workers")


def measure(raw: pd.DataFrame, settings: Settings) -> dict[str, float]:
    """Return naive's error, the folds and real weeks of a series, and what intervals hold."""
    series = to_weeks(raw, settings, as_of=AS_OF).frame
    executor = BacktestExecutor(settings, FoldCache(settings.var), DaskPool(no_workers))
    runs = executor.run_all(executor.requests(series, MODELS))
    predictions = pd.concat([run.predictions(settings) for run in runs], ignore_index=True)
    results = collect(predictions, series, settings)
    metrics = to_frame(results, compute(results, settings))
    choice = choose(metrics, settings)
    of_naive = metrics[metrics["model"] == "naive"]
    measured = {name: float(of_naive[name].mean()) for name in ("mae", "n_folds", "n_real")}
    measured["backtest"] = float(of_naive[f"coverage_{LEVEL}"].mean())
    for name in (*MODELS, "default"):
        chosen = choice if name == "default" else choice.assign(model=name)
        week = forecast(
            chosen, series, predictions, settings, executor=executor, as_of=AS_OF, made_at=AS_OF
        )
        low, high = ((week.rows[f"{end}_{LEVEL}"] - MEAN) / SPREAD for end in ("lo", "hi"))
        measured[name] = float((norm.cdf(high) - norm.cdf(low)).mean())
    return measured


def figures(n_panels: int) -> Iterator[dict[str, object]]:
    """Yield the means over the panels for each share and policy."""
    with tempfile.TemporaryDirectory() as folder:
        for share in SHARES:
            for missing in POLICIES if share else POLICIES[:1]:
                settings = settings_of(missing, Path(folder))
                rows = [measure(noise(share, seed=seed), settings) for seed in range(n_panels)]
                yield {"share": share, "missing": missing, **pd.DataFrame(rows).mean()}


def main() -> None:
    """Print the figures; exit with 1 if naive's error or an interval is off."""
    n_panels = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    table = pd.DataFrame(figures(n_panels))
    print(table.round(3).to_string(index=False))
    off = (table["mae"] / table["mae"].iloc[0] - 1).abs()
    held = table[[*MODELS, "default"]].to_numpy()
    is_met = off.max() <= MAX_ERROR_OFF and held.min() >= MIN_HELD and held.max() <= MAX_HELD
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
