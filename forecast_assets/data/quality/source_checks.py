"""Check how a fetch was written: overlapping files, formats of numbers, names that look alike.

Checks of rows and weeks: `row_checks`, `revisions` and `value_checks`.
"""

import re
import unicodedata
from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_assets.config.series_settings import SeriesSettings
from forecast_assets.config.settings import Settings
from forecast_assets.data.completeness import Floats, Ints, Mask
from forecast_assets.data.file_groups import RELATIVE_ROUNDING
from forecast_assets.data.overlap import find_overlaps
from forecast_assets.data.quality.comparison import VersionComparison, format_change
from forecast_assets.data.quality.finding import Finding, SeriesRow, about_weeks, make_finding
from forecast_assets.data.quality.row_checks import RawRows
from forecast_assets.data.sources.numbers import MAY_BE_THOUSANDS
from forecast_assets.errors import format_list

# Steps between values of a series, in powers of ten. Those of a unit are all that are large: by
# 1,000, give or take a factor of two.
LARGE_STEP, THOUSAND, SLACK = 1.5, 3.0, 0.3
MIN_STEPS = 8  # of a series
# A series whose thousands lost their zeros, as 1.61 for 1610, has numbers from 1 to below 100 with
# up to three decimals and whole ones from 100 to 999, with a gap of this factor between them.
MIN_WHOLE, THOUSANDS, GAP_FACTOR, MIN_OF_EACH = 100, 1000, 10, 3
# What rows in two files do to the value of a week, by aggregate.
EFFECTS = {
    "error": "The value of their weeks is ambiguous",
    "sum": "They count twice",
    "mean": "They weigh twice in the mean of their week",
    "last": "The value of the last row counts",
}
# Blanks that may be left out or added; between two digits they tell numbers apart.
BLANKS = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
NUMBER = re.compile(r"0*(\d+)(?:\.0+)?")


def overlapping_files(rows: RawRows, settings: Settings, *, after: pd.Timestamp) -> list[Finding]:
    """Find rows later than `after` that two overlapping files have in common.

    They are harmless if no value depends on them.
    """
    if getattr(settings.source, "overlap", "sum") != "report":
        return []
    common = find_overlaps(rows.raw)
    common = common[common["ds"] > after] if len(common) else common
    if common.empty:
        return []
    texts = (
        f"{first} and {second} ({part.min():%Y-%m-%d} to {part.max():%Y-%m-%d})"
        for (first, second), part in common.groupby(["first", "second"])["ds"]
    )
    by_series = common.groupby("unique_id").agg(
        ds=("ds", "min"), n=("ds", "size"), first=("first", "first"), second=("second", "first")
    )
    found = [
        SeriesRow(str(name), f"{ds:%Y-%m-%d}", n, f"{first}, {second}")
        for name, ds, n, first, second in by_series.itertuples(name=None)
    ]
    is_harmless = _keeps_values(rows.valid, common, settings.series)
    findings = make_finding(
        "overlapping_files",
        found,
        n_equal=int(common["is_equal"].sum()),
        files=format_list(texts),
        effect="No value depends on it" if is_harmless else EFFECTS[settings.series.aggregate],
    )
    return [replace(finding, is_harmless=is_harmless) for finding in findings]


def _keeps_values(valid: pd.DataFrame, common: pd.DataFrame, settings: SeriesSettings) -> bool:
    """Return whether the value of no week depends on how often common rows count."""
    if settings.aggregate == "sum":
        return bool((common[["y_first", "y_second"]] == 0).all(axis=None))
    if settings.aggregate == "error" or not common["is_equal"].all():
        return False
    if settings.aggregate == "last":
        return True
    rows = valid[valid["unique_id"].isin(common["unique_id"])]
    week = rows["ds"].dt.to_period(settings.frequency)
    once = rows.drop_duplicates(["unique_id", "ds", "y"])
    every, distinct = (part.groupby(["unique_id", week])["y"].mean() for part in (rows, once))
    is_same = np.isclose(every, distinct, rtol=RELATIVE_ROUNDING, atol=0, equal_nan=True)
    return bool(is_same.all())


def number_format(rows: RawRows, comparison: VersionComparison) -> list[Finding]:
    """Find numbers that may mean a thousand times as much, and steps of 1,000 within a history.

    A series that the previous version had with the same values is not reported again.
    """
    return [*_points(rows, comparison), *_steps(comparison)]


def _points(rows: RawRows, comparison: VersionComparison) -> list[Finding]:
    """Find series whose points may separate thousands, unless the previous version had them."""
    valid = rows.valid
    if "note" not in valid or not valid["note"].notna().any():
        return []
    doubtful = valid[valid["note"] == MAY_BE_THOUSANDS]
    doubtful = doubtful[~doubtful["unique_id"].isin(comparison.old.ids)]
    found = [
        SeriesRow(str(name), f"{part['ds'].min():%Y-%m-%d}", len(part), f"{part['y'].iloc[0]:.3f}")
        for name, part in doubtful.groupby("unique_id")
    ]
    return make_finding("number_format", found)


def _steps(comparison: VersionComparison) -> list[Finding]:
    """Find steps by about 1,000, if they are all large steps of the series.

    The step to the newest value is left to the finding `rescaled`.
    """
    new = comparison.new
    rows = np.flatnonzero(new.is_observed & (new.y != 0))
    before, after, n = rows[:-1], rows[1:], len(new.ids)
    series = new.series_index[after]
    is_step = series == new.series_index[before]
    size = np.abs(np.diff(np.log10(np.abs(new.y[rows]))))
    is_large = is_step & (size > LARGE_STEP)
    is_thousand = is_step & (np.abs(size - THOUSAND) <= SLACK)
    n_steps, n_large, n_thousand = (
        np.bincount(series[mask], minlength=n) for mask in (is_step, is_large, is_thousand)
    )
    is_unit = (n_steps >= MIN_STEPS) & (n_large == n_thousand) & (n_thousand > 0)
    is_mixed, is_low = _mixed_thousands(new.y[rows], new.series_index[rows], n)
    is_thousand = np.where(is_mixed[series], is_step & (is_low[:-1] != is_low[1:]), is_thousand)
    is_unit |= is_mixed
    is_new = ~(comparison.is_unchanged[before] & comparison.is_unchanged[after])
    is_found = is_thousand & is_unit[series] & is_new & (after < new.starts[1:][series] - 1)
    mask, previous = np.zeros(len(new.y), dtype=bool), np.zeros(len(new.y), dtype=np.int64)
    mask[after[is_found]], previous[after] = True, before
    return about_weeks(
        "number_format/steps",
        new,
        mask,
        lambda row: format_change(new.y[previous[row]], new.y[row]),
    )


def _mixed_thousands(y: Floats, series: Ints, n_series: int) -> tuple[Mask, Mask]:
    """Return which series have thousands beside whole numbers, and which numbers those are.

    [N], [N] -> [S], [N]; none of the numbers is 0.
    """
    is_low, is_whole = (y >= 1) & (y < MIN_WHOLE), y == np.round(y)
    has_few_decimals = np.isclose(THOUSANDS * y, np.round(THOUSANDS * y), rtol=0, atol=1e-6)
    is_high = (y >= MIN_WHOLE) & (y < THOUSANDS) & is_whole
    fits = (is_low & has_few_decimals) | is_high
    n_low, n_high, n_odd, n_fractions = (
        np.bincount(series[mask], minlength=n_series)
        for mask in (is_low, is_high, ~fits, is_low & ~is_whole)
    )
    highest, lowest = np.zeros(n_series), np.full(n_series, np.inf)
    np.maximum.at(highest, series[is_low], y[is_low])
    np.minimum.at(lowest, series[is_high], y[is_high])
    has_both = (np.minimum(n_low, n_high) >= MIN_OF_EACH) & (n_fractions > 0) & (n_odd == 0)
    return has_both & (GAP_FACTOR * highest < lowest), is_low


def similar_names(rows: RawRows, comparison: VersionComparison) -> list[Finding]:
    """Find names that differ in how they are written alone, if one of them is new.

    A new name may also be like that of a series of the previous version that is missing.
    """
    names, known = dict.fromkeys(map(str, rows.series[1])), set(map(str, comparison.old.ids))
    groups: dict[str, list[str]] = {}
    for name in [*names, *sorted(known - names.keys())]:
        groups.setdefault(_plain(name), []).append(name)
    found = []
    for group in groups.values():
        if len(group) == 1 or known.issuperset(group):
            continue
        for name in filter(names.__contains__, group):
            others = (
                _quote(other, name) + ("" if other in names else " of the previous version")
                for other in group
                if other != name
            )
            found.append(SeriesRow(name, None, 1, f"like {format_list(others)}"))
    return make_finding("similar_names", found)


def _plain(name: str) -> str:
    """Return a name without its case, blanks, invisible marks, leading zeros and `.0`."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    plain = BLANKS.sub("", "".join(c for c in folded if c.isprintable() or c.isspace()))
    number = NUMBER.fullmatch(plain)
    return number[1] if number else plain


def _quote(name: str, other: str) -> str:
    """Quote a name so that it looks different from another one."""
    is_same = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)
    return ascii(name) if is_same else repr(name)
