"""Findings on a fetch: their texts by kind, the series they are about, and their stored rows.

How findings are detected: `row_checks`, `value_checks` and `revisions`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import starmap
from typing import Any, get_args

import numpy as np
import pandas as pd

from forecast_assets.config.settings import DataQualitySettings, FindingPolicy
from forecast_assets.data.quality.comparison import Ints, Mask, WeekGrid
from forecast_assets.errors import format_list

# In the order of `[data_quality]`, without the kind that is no finding on a fetch.
KINDS = tuple(kind for kind in DataQualitySettings.model_fields if kind != "implausible_forecast")
MAX_ROWS = 100  # stored of a kind: the summary, and the first series

_CHANGED = (
    "{n} of {n_compared:value} of the previous version changed in {n_series:series}, by"
    " {median:.3g} % (median), at most {largest:.3g} %: {dated}."
)
# What was found, by kind; where a kind has several forms, the form follows a slash. `{n:week}` is
# a count with its noun, `{names}` lists series with details, `{dated}` also with weeks.
SUMMARIES: Mapping[str, str] = {
    "new_week": "The {which} new for {n} of {total:series}.",
    "new_week/first": "The first version: {n:series}, weeks ending {first} to {last}.",
    "unchanged": "All values of {total:series} equal those of the previous version.",
    "revised": _CHANGED,
    "rewritten": _CHANGED,
    "repeated": "The week ending {week} repeats the value of the week before for {n} of"
    " {n_judged:series} that usually change: {names}.",
    "repeated/history": "{n} of {total:series} have, in each week, the value that the previous"
    " version had one week earlier: {ids}.",
    "shrunk": "{n:week} of {n_series:series} that the previous version had are missing, from the"
    " week ending {first} to the week ending {last}: {names}.",
    "late": "The source is {n:week} behind: its newest week ends on {newest}, and the week ending"
    " {due} is over.",
    "late/series": "{n} of {total:series} have no value for the week ending {week}, but were up to"
    " date in the previous version: {ids}.",
    "future_clock": "{n:forecast} as of a future time, by a clock that was or is wrong: {times}.",
    "malformed": "{n} of {total:row} could not be read and were set aside: {reasons}.",
    "partial": "The newest week of {n} of {total:series} lacks days: {ids}.{cause}",
    "unknown_completeness": "{silence}, and it is unclear whether the source went on.",
    "duplicates": "{n} of {total:row} have the series and the time of another row: {names}.",
    "overlapping_files": "{n:row} of {n_series:series} are in two files, {n_equal} with the same"
    " value: {files}. {effect}.",
    "off_grid": "{n:row} of weekly series are on another weekday than nearly all others: {names}.",
    "off_grid/midnights": "{n:row} of {n_series:series} are at {hours}, as midnights of a time zone"
    " with summer time are in UTC, and count for the day before: {names}. If they are midnights,"
    " set `source.timezone`.",
    "midnight_dates": "{n:row} of {n_series:series}, all or nearly all at midnight in UTC, were"
    " taken as dates and not converted to {zone}: {names}.",
    "placeholder_dates": "{n:row} of {n_series:series} have a date that stands for a missing one,"
    " far from all other rows: {names}.",
    "number_format": "{n:number} of {n_series:series} have a point with exactly three digits after"
    " it, and no point has another number of them: {names}.",
    "number_format/steps": "{n:step} within the histories of {n_series:series} are by about 1,000:"
    " {dated}.",
    "gaps": "{n:week} of {n_series:series} have no value and were filled: {dated}.",
    "long_gap": "{n:row} of {n_series:series} lie before a gap of more than {max_gap:week}, which"
    " is not filled, and were left out: {dated}.",
    "long_gap/filled": "{n:week} of {n_series:series} were filled in gaps that are longer than all"
    " that the series have: {dated}.",
    "out_of_range": "{n:value} of {n_series:series} are outside the allowed range: {dated}.",
    "new_series": "{n:series} were not in the previous version: {ids}.",
    "vanished_series": "{n} of {total:series} of the previous version are missing: {ids}.",
    "similar_names": "The names of {n:series} differ from others in blanks, case, Unicode form or"
    " the way a number is written alone: {names}.",
    "totals_differ": "{n:value} of {n_series:series} differ by more than 0.1 % from the sum of"
    " their children: {dated}.",
    "unusual": "The newest value of {n} of {total:series} is far from what the series usually"
    " does: {names}.",
    "rescaled": "The newest value of {n} of {total:series} differs from the usual level by a"
    " factor: {names}.",
    "rescaled/history": "Nearly all values of {n:series} are those of the previous version times"
    " one factor: {names}.",
    "flat": "{n:series} have not changed for longer than ever before: {names}.",
}
# What it means for the forecast, and what to do about it.
ADVICE: Mapping[str, str] = {
    "new_week": "",
    "unchanged": "The source has published nothing new, so the forecast stays as it is.",
    "revised": "Folds from these weeks on are backtested again. `forecast-assets diff series` lists"
    " every change.",
    "rewritten": "This is another history, not a revision, and models would be selected on it. Ask"
    " the source whether it means these values.",
    "repeated": "Old data came under new dates. Ask the source for the week that is missing.",
    "shrunk": "The source was cut off, or returned a part of its rows. Check that it is complete,"
    " and run the week again.",
    "late": "What is forecast is a week that has begun or is over. Ask the source for the missing"
    " weeks, and run the week again once it has them.",
    "future_clock": "Such a forecast does not count as published. Correct the clock or, if it is"
    ' right now, `forecast-assets withdraw --as-of TIME --reason "wrong clock"` for each time.',
    "malformed": "No week is made from them. `forecast-assets show raw_data` shows each as it came,"
    " in `given`; correct them at the source.",
    "partial": "It was left out, and is forecast instead. Run the week again once the source has"
    " the other days, or any row of a later day, which shows that it went on;"
    " `series.min_coverage = 0` uses incomplete weeks.",
    "unknown_completeness": "The week counts as it is. If the source was cut off, run the week"
    " again once it has the other days.",
    "duplicates": "A sum counts them twice. Correct the query or the export that returns them; if"
    ' they are right, set `data_quality.duplicates = "publish"`.',
    "overlapping_files": 'Set `source.overlap`: "once" takes a row that several files have once,'
    ' "latest_file" that of the file with the newest day, and "sum" adds them up, as of several'
    " tills.",
    "off_grid": "A row may count for the week before or after its own. Check the dates, and"
    " `series.frequency`.",
    "midnight_dates": "If they are times, write them with the offset of the source's time zone.",
    "placeholder_dates": "Systems write such a date where they have none. Correct it at the source,"
    " or leave these rows out of the query.",
    "number_format": 'If a point separates thousands, set `source.thousands = "."`; if decimals,'
    ' `source.decimal = "."`. If the unit changes, have the whole history in one.',
    "gaps": "Models take filled values for observed ones. If the source has the weeks by now, run"
    ' the week again. If a week without rows is a zero, set `series.missing = "zero"`.',
    "long_gap": "If a date is wrong, correct it at the source. If a week without rows is a zero,"
    ' set `series.missing = "zero"`; `series.max_gap` sets how many weeks are filled.',
    "out_of_range": "Models would learn from them. Correct the source or, if they are right,"
    " `[series.ranges]` and `forecast.minimum`.",
    "new_series": "They are forecast from now on. If one is an old series under another name, its"
    " past stays with the old name.",
    "vanished_series": "They would get no forecast. If they have ended, or you read another source"
    " now, that is right; otherwise ask the source.",
    "similar_names": "If they are one series, it is forecast in parts. Write them alike at the"
    " source, or in a function of yours.",
    "totals_differ": "Their forecasts are made to add up all the same. Correct the source, or leave"
    " these series out of it: then they are computed as sums.",
    "unusual": "It is used as it is. Check whether the source means it, and correct it there.",
    "rescaled": "The unit changed, a part of the week is missing, or the history was revised as a"
    " whole. Ask the source; the whole history must be in one unit.",
    "flat": "A stuck sensor or a value carried forward looks like this. Check whether the source"
    " still measures.",
}


@dataclass(frozen=True)
class SeriesRow:
    """A series that a finding is about: its first week concerned, how often, and a detail."""

    unique_id: str
    ds: str | None
    n: int
    detail: str


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about a fetch.

    `kind` is a key of `[data_quality]`, and `n` counts what the kind is about: values, weeks, rows
    or series. `series` is empty if the finding is about all of them, or about none known by name;
    `rows` has the first of them.
    """

    kind: str
    n: int
    series: tuple[str, ...]
    message: str
    rows: tuple[SeriesRow, ...] = ()
    policy: FindingPolicy = "publish"
    is_harmless: bool = False  # it changes no value, so it is no reason to hold the data back

    @property
    def text(self) -> str:
        """The message, and what to do, as one paragraph."""
        return f"{self.message} {ADVICE[self.kind]}".strip()


class Count(int):
    """An integer that formats with its noun: `{n:week}` is "1 week" or "2 weeks"."""

    def __format__(self, noun: str) -> str:
        is_as_given = not noun or noun.endswith("s") or self == 1
        return f"{int(self):,} {noun if is_as_given else f'{noun}s'}".strip()


def make_finding(
    form: str, rows: Sequence[SeriesRow] = (), *, n: int | None = None, **values: Any
) -> list[Finding]:
    """Return the finding in a list, or an empty list if `n`, else the sum over the rows, is 0.

    `form` is a key of SUMMARIES, and `values` are what its text needs besides `n` and the rows.
    """
    n = sum(row.n for row in rows) if n is None else n
    if not n:
        return []
    lists = {
        "ids": [row.unique_id for row in rows[:5]],
        "names": [f"{row.unique_id} ({row.detail})" for row in rows[:5]],
        "dated": [f"{row.unique_id} / {row.ds} ({row.detail})" for row in rows[:5]],
    }
    texts = {name: format_list(items, total=len(rows)) for name, items in lists.items()}
    numbers = {"n": n, "n_series": len(rows), **values}
    counts = {key: Count(v) if isinstance(v, int) else v for key, v in numbers.items()}
    message = SUMMARIES[form].format(**texts, **counts)
    ids = sorted(row.unique_id for row in rows)
    listed = sorted(rows[: MAX_ROWS - 1], key=lambda row: row.unique_id)
    return [Finding(form.partition("/")[0], n, tuple(ids), message, tuple(listed))]


def about_series(
    form: str,
    grid: WeekGrid,
    series: Ints | Mask,
    weeks: Ints | None,
    detail: Callable[[int], str],
    *,
    counts: Ints | None = None,
    **values: Any,
) -> list[Finding]:
    """Return a finding about series of the grid in a list, or an empty list if there are none.

    `series` are their indices or a mask [S]. `weeks` [S] are their first weeks concerned, `counts`
    [S] how often each is, and `detail(i)` describes series i.
    """
    index = np.flatnonzero(series) if series.dtype == bool else series
    days = [None if weeks is None else grid.day(weeks[i]) for i in index]
    n = [1 if counts is None else int(counts[i]) for i in index]
    columns = zip(map(str, grid.ids[index]), days, n, map(detail, index), strict=True)
    return make_finding(form, [*starmap(SeriesRow, columns)], total=len(grid.ids), **values)


def about_weeks(
    form: str, grid: WeekGrid, mask: Mask, detail: Callable[[int], str], **values: Any
) -> list[Finding]:
    """Return a finding about the weeks where `mask` [N] is set; `detail(row)` describes one."""
    counts, rows = grid.counts(mask), np.flatnonzero(mask)
    first = np.zeros(len(grid.ids), dtype=np.int64)
    first[grid.series_index[rows][::-1]] = rows[::-1]
    weeks = grid.weeks[first]
    return about_series(
        form, grid, counts > 0, weeks, lambda i: detail(first[i]), counts=counts, **values
    )


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each kind, in the order of KINDS: messages joined, counts added."""
    merged: dict[str, Finding] = {}
    for new in findings:
        old = merged.get(new.kind)
        if old is not None:
            by_id = {row.unique_id: row for row in (*new.rows, *old.rows)}
            new = replace(  # noqa: PLW2901 - what it is merged to
                old,
                n=old.n + new.n,
                series=tuple(sorted({*old.series, *new.series})),
                message=f"{old.message} {new.message}",
                rows=tuple(by_id[name] for name in sorted(by_id))[: MAX_ROWS - 1],
            )
        merged[new.kind] = new
    return sorted(merged.values(), key=lambda finding: KINDS.index(finding.kind))


def to_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return the rows of `data_findings`: for each finding its summary, then its series."""
    rows: list[tuple[object, ...]] = []
    for finding in findings:
        kind, policy = finding.kind, finding.policy
        rows.append((kind, None, None, finding.n, finding.message, policy))
        rows += [(kind, *astuple(row), policy) for row in finding.rows]
    frame = pd.DataFrame(rows, columns=["kind", "unique_id", "ds", "n", "message", "policy"])
    return frame.assign(ds=pd.to_datetime(frame["ds"]))


def by_policy(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort rows of `data_findings`: what holds the data first, and summaries before series."""
    policies = get_args(FindingPolicy)[::-1]
    keys = pd.DataFrame(
        {
            "policy": frame["policy"].map(policies.index),
            "is_series": frame["unique_id"].notna(),
            "kind": frame["kind"].map(KINDS.index),
        }
    )
    return frame.loc[keys.sort_values(["policy", "is_series", "kind"], kind="stable").index]


def from_frame(frame: pd.DataFrame) -> list[Finding]:
    """Return the findings that rows of `data_findings` hold.

    A finding with the most rows that are stored has no `series`: there may be more of them.
    """
    days = frame["ds"].dt.strftime("%Y-%m-%d").where(frame["ds"].notna(), None)
    findings = []
    for kind, group in frame.assign(ds=days).groupby("kind"):
        is_summary = group["unique_id"].isna()
        summary = group[is_summary].iloc[0]
        columns = group.loc[~is_summary, ["unique_id", "ds", "n", "message"]]
        rows = tuple(starmap(SeriesRow, columns.itertuples(index=False)))
        series = tuple(row.unique_id for row in rows) if len(group) < MAX_ROWS else ()
        texts = summary["message"], rows, summary["policy"]
        findings.append(Finding(str(kind), int(summary["n"]), series, *texts))
    return sorted(findings, key=lambda finding: KINDS.index(finding.kind))
