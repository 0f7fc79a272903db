"""Make up the values of gaps, and those of the weeks of `[[series.excluded]]`, which are unknown.

The made-up weeks are `is_filled`: no forecast is made from one, compared with one or judged by one.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from forecast_assets.config.series_settings import ExcludedSettings, matches_any
from forecast_assets.data.completeness import Mask
from forecast_assets.data.hierarchy import without_totals
from forecast_assets.errors import DataError, format_list

WEEK_DAYS = 7


def excluded_weeks(frame: pd.DataFrame, excluded: Sequence[ExcludedSettings]) -> Mask:
    """Return which rows `unique_id, ds` are excluded: those whose week has a day of a period: [N].

    Raises DataError if two periods of one series overlap.
    """
    is_excluded = np.zeros(len(frame), dtype=bool)
    if not excluded:
        return is_excluded
    codes, names = pd.factorize(frame["unique_id"].to_numpy())
    by_name = {str(name): periods_of(str(name), excluded) for name in names}
    _check_overlaps(by_name)
    last = frame["ds"].to_numpy().astype("datetime64[D]")
    first = last - np.timedelta64(WEEK_DAYS - 1, "D")
    for period in excluded:
        is_series = np.array([period in by_name[str(name)] for name in names], dtype=bool)
        is_inside = (last >= np.datetime64(period.first)) & (first <= np.datetime64(period.last))
        is_excluded |= is_inside & is_series[codes]
    return is_excluded


def periods_of(name: str, excluded: Sequence[ExcludedSettings]) -> list[ExcludedSettings]:
    """Return the periods that are excluded from a series, the first one first."""
    periods = (period for period in excluded if matches_any(name, [period.series]))
    return sorted(periods, key=lambda period: period.first)


def fill_gaps(grid: pd.DataFrame, is_gap: "pd.Series[bool]", missing: str) -> pd.DataFrame:
    """Return weeks with values in their gaps and the column `is_filled`.

    Values of gaps next to excluded weeks are left to `without_excluded`. Raises DataError if
    `missing` is "error" and there is a gap.
    """
    if not is_gap.any():
        return grid.assign(is_filled=False)
    if missing == "error":
        raise DataError(
            f"{is_gap.sum()} weeks have no value: {_format_weeks(grid[is_gap])}. Models need every"
            f" week, so nothing was published. Add the values to the source, or set"
            f" `series.missing` to interpolate, ffill or zero in forecast.toml."
        )
    if missing == "zero":
        return grid.assign(y=grid["y"].mask(is_gap, 0.0), is_filled=False)
    if missing == "ffill":
        return grid.assign(y=grid.groupby("unique_id")["y"].ffill(), is_filled=is_gap)
    # Each series starts and ends with a value, so no gap is filled across two series.
    return grid.assign(y=grid["y"].interpolate(), is_filled=is_gap)


def without_excluded(frame: pd.DataFrame, excluded: Sequence[ExcludedSettings]) -> pd.DataFrame:
    """Return rows of `series`, sorted by its key, with made-up values in the excluded weeks.

    They lie on a line between the weeks around them, and so do filled weeks next to them, whose
    values come from theirs; at the end of a series they repeat its last value, and at its beginning
    they are dropped. So is a series of which nothing is left. Raises DataError if periods overlap.
    """
    is_excluded = excluded_weeks(frame, excluded)
    if not is_excluded.any():
        return frame
    ids = frame["unique_id"]
    y = frame["y"].mask(_are_made_up(frame, is_excluded))
    before = y.groupby(ids).ffill()
    is_end = y.groupby(ids).bfill().isna()
    is_kept = before.notna()
    made_up = y.where(~is_end, before)[is_kept].interpolate()
    rows = frame[is_kept].assign(y=made_up)
    if "is_filled" in rows:
        rows["is_filled"] |= is_excluded[is_kept]
    return rows.reset_index(drop=True)


def _are_made_up(frame: pd.DataFrame, is_excluded: Mask) -> Mask:
    """Tell which weeks are excluded, or filled in a row with an excluded one: [N]."""
    if "is_filled" not in frame:
        return is_excluded
    codes, _ = pd.factorize(frame["unique_id"])
    is_unknown = is_excluded | frame["is_filled"].to_numpy(dtype=bool)
    is_start = np.diff(codes, prepend=-1) != 0
    is_start |= np.diff(is_unknown, prepend=False)
    run = np.cumsum(is_start)
    has_excluded = np.bincount(run, weights=is_excluded) > 0
    return np.asarray(is_unknown & has_excluded[run], dtype=bool)


def _check_overlaps(by_name: dict[str, list[ExcludedSettings]]) -> None:
    problems = [
        f"{name} ({a.text} and {b.text})"
        for name, periods in by_name.items()
        for a, b in pairwise(periods)
        if b.first <= a.last
    ]
    if problems:
        raise DataError(
            f"Periods of `[[series.excluded]]` overlap in {len(problems)} series:"
            f" {format_list(problems)}. It is unclear which reason counts, so nothing was"
            f" published. Shorten or join the periods in forecast.toml."
        )


def check_left(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raise DataError if `without_excluded` left nothing of a series."""
    if empty := sorted({*before["unique_id"].unique()} - {*after["unique_id"].unique()}):
        raise DataError(
            f"Every week of {len(empty)} series is excluded: {format_list(empty)}. They cannot be"
            f" forecast, so nothing was published. Shorten the periods of `[[series.excluded]]` in"
            f" forecast.toml, or remove these series from the source."
        )


def check_totals(series: pd.DataFrame, excluded: Sequence[ExcludedSettings]) -> None:
    """Raise DataError if a period is of computed totals alone: it would exclude nothing."""
    if not excluded:
        return
    parts = without_totals(series)["unique_id"].unique()
    totals = {*series["unique_id"].unique()} - {*parts}
    alone = [
        f"{period.series} ({period.text})"
        for period in excluded
        if any(matches_any(name, [period.series]) for name in totals)
        and not any(matches_any(name, [period.series]) for name in parts)
    ]
    if alone:
        raise DataError(
            f"{len(alone)} periods of `[[series.excluded]]` are of totals that are computed:"
            f" {format_list(alone)}. They would exclude nothing, so nothing was published. Name"
            f" the parts of the totals in forecast.toml: a total is excluded with any of them."
        )


def _format_weeks(weeks: pd.DataFrame) -> str:
    return format_list(weeks["unique_id"].astype(str) + weeks["ds"].dt.strftime(" / %Y-%m-%d"))
