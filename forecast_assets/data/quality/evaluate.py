"""Evaluate the data quality of a fetch against the previous version, and apply the policies.

The same input gives the same findings. How each kind is detected: `row_checks`, `source_checks`,
`value_checks` and `revisions`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from forecast_assets.config.settings import FindingPolicy, Settings
from forecast_assets.data.excluded import excluded_weeks, without_excluded
from forecast_assets.data.hierarchy import without_totals
from forecast_assets.data.published import rows_known_at
from forecast_assets.data.quality import revisions, row_checks, source_checks, value_checks
from forecast_assets.data.quality.comparison import DAYS, VersionComparison, WeekGrid
from forecast_assets.data.quality.finding import Finding, make_finding, merge
from forecast_assets.data.weekly import newest_complete_week, newest_week
from forecast_assets.errors import format_list

MANY_SERIES, FEW_SHARE = 20, 0.05  # a finding about few of many series does not hold the others
ALWAYS_HELD = ("out_of_range",)  # an impossible value is wrong, even if it is one of ten thousand


@dataclass(frozen=True)
class PreviousVersion:
    """The newest version of `series` before a fetch, and the time that it is as of."""

    frame: pd.DataFrame
    as_of: datetime


def evaluate(
    raw: pd.DataFrame,
    series: pd.DataFrame,
    before: PreviousVersion | None,
    settings: Settings,
    *,
    as_of: datetime,
    future: Sequence[datetime] = (),
) -> list[Finding]:
    """Return the findings on a fetch, each with its policy, in the order of `[data_quality]`.

    `raw` has the rows of raw_data, `series` the weeks made of them, and `before` the version to
    compare with. What that version had too is not reported again, so that an old gap or an accepted
    value does not warn for ever. `future` has the times of forecasts from the future of the clock.
    Weeks of `series.excluded` are neither compared nor counted as gaps, and series that are
    computed as sums are not evaluated.
    """
    excluded = settings.series.excluded
    totals = value_checks.totals_differ(series, before.frame if before else series.head(0))
    series = without_totals(series)
    if before:
        before = replace(before, frame=without_excluded(without_totals(before.frame), excluded))
    with np.errstate(all="ignore"):  # of zeros, and of values near the largest float
        new, empty = WeekGrid.of(series), WeekGrid.of(series.head(0))
        old = WeekGrid.of(before.frame) if before else empty
        # Weeks that end on another weekday cannot be compared.
        comparison = VersionComparison(new, old if old.weekday == new.weekday else empty)
        gaps = comparison
        if excluded:
            is_known = new.is_observed | excluded_weeks(series, excluded)
            gaps = VersionComparison(replace(new, is_observed=is_known), comparison.old)
        found = _findings(raw, comparison, gaps, before, settings, as_of)
        times = format_list(time.isoformat() for time in future)
        findings = merge(
            [*found, *totals, *make_finding("future_clock", n=len(future), times=times)]
        )
    n_series = max(len(new.ids), len(old.ids))
    return [replace(finding, policy=_policy(finding, n_series, settings)) for finding in findings]


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that hold a fetch back."""
    return with_policy(findings, "hold")


def with_policy(findings: Sequence[Finding], *policies: FindingPolicy) -> list[Finding]:
    """Return the findings with one of the policies."""
    return [finding for finding in findings if finding.policy in policies]


def hold_message(findings: Sequence[Finding], *, data_version: str = "yes") -> str:
    """Return why a fetch is not published, and how to publish it.

    `data_version` is that of its raw_data; "yes" stands for whatever was held back last.
    """
    reasons = "\n".join(f"- {finding.kind}: {finding.text}" for finding in blocking(findings))
    return (
        f"The data are held back, because they do not look like the next week of these series."
        f" `series` was not written, and the previous forecast stays in force.\n"
        f"{reasons}\n"
        f"If the source is wrong, have it corrected and run the week again: `forecast-assets run`."
        f" If it is right, publish these data as they are: `forecast-assets run --accept`, or in"
        f' the UI a run with the tag forecast_assets/accept = "{data_version}". Data that have'
        f" changed by then are checked again. `[data_quality]` sets what is held back."
    )


def one_line(findings: Sequence[Finding]) -> str:
    """Return the kinds that warn or hold, with their counts, in one line."""
    odd = with_policy(findings, "hold", "warn")
    kinds = [f"{finding.kind.replace('_', ' ')} ({finding.n:,})" for finding in odd]
    is_unchanged = any(finding.kind == "unchanged" for finding in findings)
    return ", ".join(kinds) or ("nothing new, nothing odd" if is_unchanged else "nothing odd")


def published_line(findings: Sequence[Finding]) -> str:
    """Return `one_line` of data that were published, and which kinds had held them back."""
    held, others = blocking(findings), with_policy(findings, "warn")
    if not held:
        return one_line(findings)
    accepted = f"{one_line(held)}, held back and then accepted"
    return f"{accepted}; {one_line(others)}" if others else accepted


def _policy(finding: Finding, n_series: int, settings: Settings) -> FindingPolicy:
    """Return the policy of the kind; few of many series warn instead of holding back the rest."""
    policy: FindingPolicy = getattr(settings.data_quality, finding.kind)
    are_few = bool(finding.series) and not is_many(len(finding.series), n_series)
    is_no_reason = finding.is_harmless or (are_few and finding.kind not in ALWAYS_HELD)
    return "warn" if policy == "hold" and is_no_reason else policy


def is_many(n: int, n_series: int) -> bool:
    """Tell whether so many of the series hold back the week: one in twenty, of few series any."""
    return n > 0 and (n_series < MANY_SERIES or n >= FEW_SHARE * n_series)


def _findings(
    raw: pd.DataFrame,
    comparison: VersionComparison,
    gaps: VersionComparison,
    before: PreviousVersion | None,
    settings: Settings,
    as_of: datetime,
) -> Iterator[Finding]:
    latest = value_checks.LatestValues(comparison, settings.series.season_length)
    rows = row_checks.RawRows(rows_known_at(raw, as_of))
    old, after = comparison.old, pd.Timestamp.min
    if len(old.ids):
        after = pd.Timestamp(old.day(old.newest_week)) + pd.Timedelta(days=1, microseconds=-1)
    due = _due_week(as_of, settings)
    was_due = None if before is None else _due_week(before.as_of, settings)
    partial = row_checks.partial_series(rows, comparison.new, due=due)
    newest = newest_complete_week(rows.day[rows.has_value], settings, as_of=as_of)
    left_out = row_checks.long_gap(rows, comparison, settings.series)
    n_passed = 0 if before is None else -(-(as_of - before.as_of) // timedelta(weeks=1))
    yield from revisions.new_week(comparison)
    yield from revisions.unchanged(comparison)
    yield from revisions.revised(comparison)
    yield from revisions.shifted(comparison)
    yield from value_checks.repeated(latest)
    yield from revisions.shrunk(comparison, n_passed=n_passed, left_out=left_out)
    if settings.source.kind != "demo":  # whose data end in the past
        yield from revisions.late(comparison, due=due, was_due=was_due, partial=partial)
    yield from row_checks.malformed(rows)
    yield from row_checks.incomplete(partial, newest, comparison)
    yield from row_checks.duplicates(rows, after=after, zone=settings.source.zone)
    yield from source_checks.overlapping_files(rows, settings, after=after)
    yield from row_checks.off_grid(rows, after=after)
    yield from row_checks.local_midnights(rows, after=after, zone=settings.source.zone)
    yield from row_checks.midnight_dates(rows, zone=settings.source.zone)
    yield from row_checks.placeholder_dates(rows)
    yield from source_checks.number_format(rows, comparison)
    yield from value_checks.gaps(gaps)
    yield from left_out
    yield from value_checks.long_gap(gaps)
    yield from value_checks.out_of_range(
        comparison, minimum=settings.forecast.minimum, ranges=settings.series.ranges
    )
    yield from revisions.new_series(comparison)
    yield from revisions.vanished_series(comparison)
    yield from source_checks.similar_names(rows, comparison)
    yield from value_checks.unusual(latest)
    yield from revisions.rescaled(comparison)
    yield from value_checks.rescaled(latest)
    yield from value_checks.flat(latest, has_zeros=settings.series.missing == "zero")


def _due_week(as_of: datetime, settings: Settings) -> int:
    """Return the newest week that is over, as WeekGrid counts weeks."""
    return int(np.datetime64(newest_week(as_of, settings), "D").astype(np.int64)) // DAYS
