"""Build settings, series and sources of a few weeks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.models.base import Values

FIRST_WEEK = "2024-01-05"  # a Friday
AS_OF = datetime(2026, 1, 5, tzinfo=UTC)


def make_settings(tmp_path: Path, **tables: Mapping[str, Any]) -> Settings:
    """Make settings from tables of forecast.toml, with all paths below tmp_path."""
    return parse(tables, root=tmp_path, var=tmp_path / "var", origin="a test")


def make_series(**values: Sequence[float]) -> pd.DataFrame:
    """Make the table `series`: each keyword is a series with weekly values from FIRST_WEEK on."""
    frames = [
        pd.DataFrame(
            {
                "unique_id": unique_id,
                "ds": pd.date_range(FIRST_WEEK, periods=len(y), freq="W-FRI"),
                "y": np.asarray(y, dtype=float),
                "coverage": 1.0,
                "is_filled": False,
            }
        )
        for unique_id, y in sorted(values.items())
    ]
    return pd.concat(frames, ignore_index=True)


def with_gaps(
    series: pd.DataFrame, gaps: Mapping[str, Sequence[int]], *, missing: str = "interpolate"
) -> pd.DataFrame:
    """Return the table `series` as it is if weeks are missing, given by series and position."""
    weeks = zip(series["unique_id"], series.groupby("unique_id").cumcount(), strict=True)
    is_gap = np.array([week in gaps.get(unique_id, ()) for unique_id, week in weeks])
    y = series["y"].mask(is_gap)
    filled = y.ffill() if missing == "ffill" else y.interpolate()
    coverage = series["coverage"].mask(is_gap, 0.0)
    return series.assign(y=filled, coverage=coverage, is_filled=is_gap)


def make_raw(series: pd.DataFrame) -> pd.DataFrame:
    """Make the table `raw_data` of a source that returns these weeks."""
    nothing = dict.fromkeys(("problem", "given", "published", "file", "note"))
    return series[["unique_id", "ds", "y"]].assign(**nothing)


def make_ragged(**begun: tuple[int, Sequence[float]]) -> pd.DataFrame:
    """Make the table `series`; each starts weeks after FIRST_WEEK: keyword = (weeks, values)."""
    series = make_series(**{unique_id: y for unique_id, (_, y) in begun.items()})
    later = series["unique_id"].map({unique_id: weeks for unique_id, (weeks, _) in begun.items()})
    return series.assign(ds=series["ds"] + pd.to_timedelta(7 * later, unit="D"))


def walk(n: int, *, seed: int, start: float = 100.0) -> list[float]:
    """Make a random walk of n values well above zero, on which no model is perfect."""
    steps = np.random.default_rng(seed).normal(size=n)
    return list(start + np.cumsum(steps))


def seasonal_walk(n: int, *, seed: int, season_length: int = 52) -> Values:
    """Make weeks like a shop's: a level that wanders, a year, and noise, far above zero."""
    rng = np.random.default_rng(seed)
    year = 20 * np.sin(2 * np.pi * np.arange(n) / season_length)
    return 200 + np.cumsum(rng.normal(size=n)) + year + rng.normal(scale=3, size=n)


def make_global(*ys: Sequence[float] | Values, late: Sequence[int] | None = None) -> pd.DataFrame:
    """Make the input of a global model; series i ends `late[i]` weeks before 2026-01-02."""
    frames = [
        pd.DataFrame(
            {
                "unique_id": i,
                "ds": pd.date_range(end="2026-01-02", periods=len(y) + end, freq="7D")[: len(y)],
                "y": np.asarray(y, dtype=np.float64),
            }
        )
        for i, (y, end) in enumerate(zip(ys, late or [0] * len(ys), strict=True))
    ]
    return pd.concat(frames, ignore_index=True)


def write_source(tmp_path: Path, series: pd.DataFrame, name: str = "source.csv") -> Path:
    """Write the series as a csv file for the `file` source."""
    path = tmp_path / name
    days = series["ds"].dt.strftime("%Y-%m-%d")
    series.assign(ds=days).to_csv(path, columns=["unique_id", "ds", "y"], index=False)
    return path


def week_settings(tmp_path: Path, series: pd.DataFrame, **tables: Mapping[str, Any]) -> Settings:
    """Make settings of a week that runs in a second: cheap models, few folds, a csv file."""
    source = {"kind": "file", "path": str(write_source(tmp_path, series))}
    small = {
        "source": source,
        "models": {"enabled": ["naive", "drift", "seasonal_naive"]},
        "series": {"season_length": 4},
        "backtest": {"n_windows": 8},
        "data_quality": {"late": "publish"},  # its weeks are of 2024
    }
    return make_settings(tmp_path, **{**small, **tables})
