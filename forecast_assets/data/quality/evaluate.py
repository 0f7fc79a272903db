"""The verdict on a fetch, from its content: what a person should know before it is published.

`judge` holds the rows and weeks of a fetch against the version before, and returns what it found;
`[data_quality]` says what is done about each kind. The same input gives the same findings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from forecast_assets.config.settings import DataQualitySettings, FindingPolicy, Settings
from forecast_assets.data.quality import revisions, row_checks, value_checks
from forecast_assets.data.quality.comparison import DAYS, VersionComparison, WeekGrid
from forecast_assets.data.quality.finding import Finding
from forecast_assets.data.quality.latest_value import LatestValues
from forecast_assets.data.weekly import newest_week

KINDS = tuple(DataQualitySettings.model_fields)
MANY, FEW = 20, 0.05  # of so many series, less than this share does not hold back the others
NEVER_FEW = ("out_of_range",)  # a value that cannot be is wrong, be it one of ten thousand


@dataclass(frozen=True)
class PreviousVersion:
    """The newest version of `series` before a fetch, and the moment that it stands for."""

    frame: pd.DataFrame
    as_of: datetime

    @property
    def n_series(self) -> int:
        """How many series it has."""
        return int(self.frame["unique_id"].nunique())


def evaluate(
    raw: pd.DataFrame,
    series: pd.DataFrame,
    before: PreviousVersion | None,
    settings: Settings,
    *,
    as_of: datetime,
) -> list[Finding]:
    """Find what is worth knowing of a fetch, each with its policy, in the order of `[data_quality]`.

    `raw` holds the rows of raw_data and `series` the weeks that were made of them for `as_of`;
    `before` is the version to compare with, if there is one. What that one had too is not told
    again, so that an old gap or a value that was accepted does not warn for ever.
    """
    with np.errstate(all="ignore"):  # of zeros, and of values near the largest that there are
        found = list(_found(raw, _beside(series, before), before, settings, as_of))
    told = sorted(found, key=lambda one: KINDS.index(one.kind))
    n_series = max(series["unique_id"].nunique(), before.n_series if before else 0)
    return [replace(one, policy=_policy(one, n_series, settings)) for one in told]


def _policy(one: Finding, n_series: int, settings: Settings) -> FindingPolicy:
    """What is set for the kind; but where few of many series are odd, the others are published."""
    policy: FindingPolicy = getattr(settings.data_quality, one.kind)
    are_few = n_series >= MANY and 0 < len(one.series) < FEW * n_series
    return "warn" if policy == "hold" and are_few and one.kind not in NEVER_FEW else policy


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """Those that keep a fetch from being published."""
    return [one for one in findings if one.policy == "hold"]


def hold_message(findings: Sequence[Finding]) -> str:
    """Why a fetch is not published, and how to let it through: a paragraph, or a few."""
    said = "\n".join(f"- {one.kind}: {one.says}" for one in blocking(findings))
    return (
        f"The data are held back: what came does not look like the next week of these series."
        f" `series` was not written, nothing was made of it, and the forecast before stands.\n"
        f"{said}\n"
        f"Where the source is wrong, have it mended and run the week again: `forecast-assets run`."
        f" Where it is right, publish it as it stands: `forecast-assets run --accept`, or in the UI"
        f' a run with the tag forecast_assets/accept = "yes". What is never worth holding back is'
        f" set in `[data_quality]`."
    )


def with_policy(findings: Sequence[Finding], *policies: FindingPolicy) -> list[Finding]:
    """Those of some policies."""
    return [one for one in findings if one.policy in policies]


def one_line(findings: Sequence[Finding]) -> str:
    """The verdict in one line: what is not ordinary by its kind, else whether anything is new."""
    odd = with_policy(findings, "hold", "warn")
    told = [f"{_words(one.kind)} ({one.n:,})" for one in odd]
    is_same = any(one.kind == "unchanged" for one in findings)
    return ", ".join(told) or ("nothing new, nothing odd" if is_same else "nothing odd")


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _beside(frame: pd.DataFrame, before: PreviousVersion | None) -> VersionComparison:
    """Both versions laid out. Weeks that end on another day are not those of before."""
    now, none = WeekGrid.of(frame), WeekGrid.of(frame.head(0))
    was = none if before is None else WeekGrid.of(before.frame)
    return VersionComparison(now, was if was.weekday == now.weekday else none)


def _found(
    raw: pd.DataFrame,
    beside: VersionComparison,
    before: PreviousVersion | None,
    settings: Settings,
    as_of: datetime,
) -> Iterator[Finding]:
    past, newest = revisions.Revisions(beside), LatestValues(beside, settings.series.season_length)
    n_passed = 0 if before is None else -(-(as_of - before.as_of) // timedelta(weeks=1))
    read, due = row_checks.RawRows(raw), _week(as_of, settings)
    partial = row_checks.partial_series(read, beside.now, due=due)
    yield from revisions.new_weeks(past)
    yield from revisions.unchanged(past)
    yield from revisions.rewritten_or_revised(past)
    yield from _once(revisions.moved(past), value_checks.repeated(newest))
    is_zero = settings.series.missing == "zero"
    yield from revisions.shrunk(past, n_passed=n_passed, is_zero=is_zero)
    if settings.source.kind != "demo":  # its data are frozen
        was_due = None if before is None else _week(before.as_of, settings)
        yield from revisions.late(beside, due=due, was_due=was_due, partial=partial)
    after = _end_of(beside.was)
    yield from row_checks.malformed(read)
    yield from row_checks.partial(partial, n_all=len(beside.now.ids))
    yield from row_checks.duplicates(read, after=after, zone=settings.source.zone)
    yield from row_checks.off_grid(read, after=after)
    yield from value_checks.gaps(beside)
    yield from value_checks.out_of_range(
        beside, minimum=settings.forecast.minimum, ranges=settings.series.ranges
    )
    yield from revisions.new_series(beside)
    yield from revisions.vanished_series(beside)
    yield from value_checks.unusual(newest)
    yield from _once(revisions.rescaled(past), value_checks.rescaled(newest))
    yield from value_checks.flat(newest)


def _once(*found: list[Finding]) -> list[Finding]:
    """Findings of one kind as one: its paragraphs, one after the other."""
    every = [one for some in found for one in some]
    if len(every) < 2:  # noqa: PLR2004 - one needs no joining
        return every
    ids = tuple(sorted({name for one in every for name in one.series}))
    what = " ".join(one.what for one in every)
    return [Finding(every[0].kind, sum(one.n for one in every), ids, what, every[0].then)]


def _week(as_of: datetime, settings: Settings) -> int:
    """The newest week that is over at a moment, as `Weeks` counts."""
    return int(np.datetime64(newest_week(as_of, settings), "D").astype(np.int64)) // DAYS


def _end_of(was: WeekGrid) -> pd.Timestamp:
    """The last moment of the newest week of the version before; of none, before any."""
    if not len(was.ids):
        return pd.Timestamp.min
    return pd.Timestamp(was.day(was.newest)) + pd.Timedelta(days=1, microseconds=-1)
