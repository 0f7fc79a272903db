"""Count the sound forecasts that are taken for faults, and the faults that are taken for sound.

Every default model forecasts every fold of public series, and of the panels that are given as CSV
files with the columns `unique_id, ds, y`; long ones are also cut into short pieces. Faults are made
of the models' median forecast. Prints a table and writes benchmarks/results/plausibility.json.
Usage: python benchmarks/plausibility.py [--keep FOLDER] [--horizon H] [FILE]..
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
from bench import Row, at_least, at_most
from public_series import GROUPS

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import plan
from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.defs.inputs import RunInputs, build_store
from forecast_assets.defs.resources import backtest_executor
from forecast_assets.forecasting.plausibility import PlausibleRange
from forecast_assets.models.base import Values

RESULTS = Path(__file__).resolve().parent / "results" / "plausibility.json"
# Weeks of each series, folds of a whole series, and the lengths of the pieces.
WEEKS, WINDOWS, PIECES = 300, 26, (30, 8)
FAULTS: Mapping[str, Callable[[Values], Values]] = {
    "50 times": lambda y_hat: 50 * y_hat,
    "a fiftieth": lambda y_hat: y_hat / 50,
    "the wrong sign": lambda y_hat: -y_hat,
    "zero": lambda y_hat: 0 * y_hat,
}


@dataclass(frozen=True)
class Folds:
    """The forecasts of M models at F folds, and what the series were until then and afterwards."""

    panel: str
    models: Sequence[str]
    y_hat: Values  # [M, F, H]
    y: Values  # [F, H]
    past: Sequence[Values]  # [F]
    season_length: int

    @property
    def is_forecast(self) -> "np.typing.NDArray[np.bool_]":
        """Tell where a model forecast: [M, F]."""
        return np.isfinite(self.y_hat).all(axis=2)

    def bounds(self) -> PlausibleRange:
        """Bound every fold by its past."""
        horizon = self.y.shape[1]
        return PlausibleRange.of(self.past, horizon=horizon, season_length=self.season_length)


def backtest(name: str, series: pd.DataFrame, season_length: int, **settings: object) -> Folds:
    """Run every default model on every fold of a panel."""
    given = parse(
        {
            "series": {"season_length": season_length},
            "backtest": settings["backtest"],
            "compute": {"workers": 1},
        },
        root=Path(str(settings["folder"])),
        var=Path(str(settings["folder"])),
        origin="the benchmark",
    )
    series = series.sort_values(["unique_id", "ds"], ignore_index=True)
    predictions = _run(series, given)
    horizon, planned = given.backtest.horizon, plan(series, given.backtest)
    models = [model for model, _ in groupby(predictions["model"])]
    y_hat = predictions["y_hat"].to_numpy(dtype=float).reshape(len(models), -1, horizon)
    past = [folds.y[:end] for folds in planned for end in folds.ends]
    y = [folds.y[end : end + horizon] for folds in planned for end in folds.ends]
    return Folds(name, models, y_hat, np.stack(y), past, season_length)


def _run(series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    values = {
        "settings": settings,
        "store": build_store(settings),
        "inputs": RunInputs(),
        "compute": backtest_executor,
    }
    with dg.build_resources(values) as resources:
        executor: BacktestExecutor = resources.compute
        runs = executor.run_all(executor.requests(series, settings.models.enabled))
    return pd.concat([run.predictions(settings) for run in runs], ignore_index=True)


def pieces(series: pd.DataFrame, n: int) -> pd.DataFrame:
    """Cut each series into pieces of n weeks, the last ones whole."""
    back = series.groupby("unique_id").cumcount(ascending=False)
    size = series.groupby("unique_id")["y"].transform("size")
    name = series["unique_id"].astype(str) + "/" + (back // n).astype(str)
    return series.assign(unique_id=name)[back // n < size // n]


def panels(files: Sequence[Path]) -> Iterator[tuple[str, pd.DataFrame, int]]:
    """Yield the public series and those of the files, with their season length."""
    for name, group in GROUPS.items():
        yield name, group.read(), group.season_length
    for file in files:
        frame = pd.read_csv(file, parse_dates=["ds"]).dropna(subset=["y"])
        yield file.name.partition(".")[0], frame, 52


def is_decidable(faulty: Values, past: Sequence[Values]) -> "np.typing.NDArray[np.bool_]":
    """Tell which faults are outside of the last two years by a factor of two: [F, H].

    They are also farther from it than the mean weekly change; the wrong sign is any sign that the
    series never had.
    """
    result = np.zeros(faulty.shape, dtype=bool)
    for i, (values, y) in enumerate(zip(faulty, past, strict=True)):
        recent = y[-105:]
        change = np.abs(np.diff(recent)).mean() if len(recent) > 1 else np.inf
        low, high = recent.min(), recent.max()
        far = (np.abs(values) > 2 * np.abs(recent).max()) & (
            (values > high + change) | (values < low - change)
        )
        small = (low > 0) & (values < low / 2) & (values < low - change)
        result[i] = far | small | ((y.min() >= 0) & (values < 0))
    return result


def summarize(folds: Folds) -> dict[str, object]:
    """Count alarms on forecasts, and the faults that were found of those that can be."""
    bounds = folds.bounds()
    is_off = (folds.y_hat < bounds.low) | (folds.y_hat > bounds.high)
    is_alarm = is_off.any(axis=2) & folds.is_forecast
    is_never_negative = np.array([y.min() >= 0 for y in folds.past])
    is_negative = (folds.y_hat < 0).any(axis=2) & is_never_negative
    naive = np.array([y[-1] for y in folds.past])[:, None]
    error = np.abs(folds.y_hat - folds.y).mean(axis=2)
    is_worse = error > 2 * np.abs(naive - folds.y).mean(axis=1)
    base = np.nanmedian(np.where(folds.is_forecast[:, :, None], folds.y_hat, np.nan), axis=0)
    row: dict[str, object] = {
        "panel": folds.panel,
        "n": int(folds.is_forecast.sum()),
        "negative": int((is_alarm & is_negative).sum()),
        "alarms": int((is_alarm & ~is_negative).sum()),
        "alarms_not_twice_naive": int((is_alarm & ~is_negative & ~is_worse).sum()),
    }
    for name, fault in FAULTS.items():
        faulty = fault(base)
        is_found = (faulty < bounds.low) | (faulty > bounds.high)
        decidable = is_decidable(faulty, folds.past)
        row[f"n_{name}"] = int(decidable.sum())
        row[f"found_{name}"] = int((is_found & decidable).sum())
    return row


def figures(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the figures that must be reached."""
    yield at_most(
        "sound forecasts taken for faults, in 5,000", 5000 * share(table, "alarms", "n"), 1
    )
    for name in FAULTS:
        found = share(table, f"found_{name}", f"n_{name}")
        yield at_least(f"faults that are found: {name}", found, 0.99)


def share(table: pd.DataFrame, part: str, whole: str) -> float:
    """Return the sum of a column over that of another."""
    return float(table[part].sum() / max(table[whole].sum(), 1))


def main() -> None:
    """Measure every panel, print the table and write it; exit with 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder that keeps folds between runs")
    parser.add_argument("--horizon", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    given = parser.parse_args()
    rows = []
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, frame, season_length in panels(given.files):
            newest = frame.groupby("unique_id").tail(WEEKS)
            for n, part in ((0, newest), *((n, pieces(newest, n)) for n in PIECES)):
                plan_of = {"n_windows": WINDOWS, "horizon": given.horizon}
                label = f"{name}, pieces of {n}" if n else name
                folds = backtest(label, part, season_length, folder=folder, backtest=plan_of)
                rows.append(summarize(folds))
                print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(table.to_string())
    measured = list(figures(table))
    for row in measured:
        print(f"{'  ' if row.met else 'NO'} {asdict(row)}")
    sys.exit(not all(row.met for row in measured))


if __name__ == "__main__":
    main()
