"""Fetch the forecasts of `[benchmark.NAME]`, and keep each as it was first seen.

A forecast is known from the time `made_on`. Scoring belongs to `forecasting.benchmark_scores`.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from forecast_assets.config.benchmark_settings import Benchmark
from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.settings import Settings
from forecast_assets.data.sources.columns import check_columns
from forecast_assets.data.sources.fetch import READERS, display_name, map_rows, named_table
from forecast_assets.data.sources.numbers import parse_numbers, read_numbers
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import week_end
from forecast_assets.errors import DataError, SourceError, format_list

NOTHING_PUBLISHED = re.compile(r" Nothing was published(;[^.]*)?\.")
KEY = ["benchmark", "unique_id", "ds", "made_on"]


class Fetched(NamedTuple):
    """Rows of `benchmark_forecasts`, and sentences about those that do not count."""

    rows: pd.DataFrame
    problems: tuple[str, ...] = ()


def read_benchmark(
    name: str, settings: Settings, as_of: datetime, *, log: Callable[[str], None] = lambda _: None
) -> pd.DataFrame:
    """Return every row of a benchmark that can be read, as a run as of a time reads its source.

    A day without a time as `made_on` is its midnight in the time zone of the source, else of the
    schedule. Raises SourceError if the source cannot be read, and DataError if rows are bad.
    """
    source = settings.benchmark[name]
    request = FetchRequest(settings.model_copy(update={"source": source}), as_of, log=log)
    origin = display_name(request.settings)
    columns = "`unique_id`, `ds`, `y_hat`, `made_on` or `quantiles`"
    with named_table(f"benchmark.{name}", columns=columns):
        try:
            given = READERS[source.kind](source, request).reset_index(drop=True)
            return _map(given, source, request, origin).assign(benchmark=name)
        except (SourceError, DataError) as error:
            # Forecasts of ours are published all the same.
            raise type(error)(NOTHING_PUBLISHED.sub("", str(error))) from error


def read_once(settings: Settings) -> Callable[..., pd.DataFrame]:
    """Return `read_benchmark` for many past times: it reads a source once, dated ones every time.

    Dated are functions, which get the time, and sources with `{as_of}` or `:as_of` in a text. What
    was not known at one of the times is left out by `known_forecasts`.
    """
    seen: dict[str, pd.DataFrame] = {}

    def read(name: str, _: Settings, as_of: datetime, **options: Any) -> pd.DataFrame:
        source = settings.benchmark[name]
        if source.kind == "python" or re.search(r"\{as_of[:}]|:as_of\b", repr(source)):
            return read_benchmark(name, settings, as_of, **options)
        if name not in seen:
            seen[name] = read_benchmark(name, settings, as_of, **options)
        return seen[name]

    return read


def known_forecasts(rows: pd.DataFrame, as_of: datetime) -> Fetched:
    """Return the forecasts of a benchmark that were made until `as_of` and in time for their week.

    Rows without a value are gaps. Raises DataError if two forecasts differ in their value alone.
    """
    known = rows[(rows["made_on"] <= pd.Timestamp(as_of)) & rows["y_hat"].notna()]
    is_late = known["made_on"].dt.tz_localize(None) >= known["ds"] + pd.Timedelta(days=1)
    kept = known[~is_late].drop_duplicates()
    _check_once(kept)
    kept = kept.sort_values(KEY, ignore_index=True)
    if not is_late.any():
        return Fetched(kept)
    late = f"{is_late.sum()} of {len(known)} forecasts were made after their week"
    return Fetched(kept, (f"{late}, and do not count: {_shown(known[is_late])}",))


def last_known(rows: pd.DataFrame, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Return the forecast of one benchmark that counts for each row: the last made by its `as_of`.

    `rows` have `unique_id, ds, as_of`; the result is null where none was made by then: [N].
    """
    left = rows[["unique_id", "ds", "as_of"]].rename_axis("row").reset_index()
    by, times = ["unique_id", "ds"], left["as_of"].astype("datetime64[us, UTC]")
    known = forecasts.drop(columns="benchmark").sort_values("made_on", kind="stable")
    known["made_on"] = known["made_on"].astype("datetime64[us, UTC]")
    left = left.assign(as_of=times).dropna(subset="as_of").sort_values("as_of", kind="stable")
    matched = pd.merge_asof(left, known, left_on="as_of", right_on="made_on", by=by)
    return matched.set_index("row").reindex(rows.index)


def _map(rows: pd.DataFrame, source: Benchmark, request: FetchRequest, origin: str) -> pd.DataFrame:
    """Return `unique_id, ds, y_hat, made_on` and the quantiles, without quarantined rows."""
    check_columns(rows.columns, source.columns, origin=origin)
    raw = map_rows(
        rows,
        request,
        columns={"unique_id": source.ids, "ds": source.ds, "y": source.y},
        published=source.published,
        origin=origin,
        are_forecasts=True,
    )
    ends = {
        f"q{column_suffix(quantile)}": _numbers(rows[column], source, origin)
        for quantile, column in source.by_quantile.items()
    }
    known = raw.assign(**ends)[raw["problem"].isna()]
    ds = week_end(known["ds"], request.settings.series.frequency)
    renamed = known.assign(ds=ds).rename(columns={"y": "y_hat", "published": "made_on"})
    return renamed[["unique_id", "ds", "made_on", "y_hat", *ends]]


def _numbers(values: "pd.Series[float]", source: Benchmark, origin: str) -> "pd.Series[float]":
    """Return a column of quantiles. Raises DataError if a value is no number."""
    numbers = read_numbers(
        values, source.decimal, source.thousands, origin=origin, note=lambda _: None
    )
    parsed, bad = parse_numbers(values, numbers)
    is_bad = bad["no number"] | bad["an infinite number"]
    if is_bad.any():
        shown = format_list(f"row {row + 1}: {values[row]!r}" for row in is_bad.nonzero()[0])
        raise DataError(
            f"{is_bad.sum()} of {len(values)} rows, column `{values.name}`, hold no number:"
            f" {shown}. Nothing of this benchmark was read. Correct them at the source."
        )
    return parsed


def _check_once(rows: pd.DataFrame) -> None:
    """Raise DataError if a week of a series has several forecasts that were made at one time."""
    is_double = rows.duplicated(KEY, keep=False)
    if is_double.any():
        raise DataError(
            f"{is_double.sum()} of {len(rows)} forecasts have the series, week and"
            f" `made_on` of another one, and another value: {_shown(rows[is_double])}. It is"
            f" unclear which counts, so nothing of this benchmark was read. Remove one of each, or"
            f" name the column of their times in `made_on`."
        )


class Merged(NamedTuple):
    """All forecasts of a benchmark that were ever seen, and a sentence about changed ones."""

    rows: pd.DataFrame
    problems: tuple[str, ...]


def merge_benchmark(before: pd.DataFrame, fetched: Fetched) -> Merged:
    """Add fetched forecasts to those seen before: each counts with its first value.

    A source may return the newest ones only. One that differs from what was seen with the same
    `made_on` was changed afterwards.
    """
    if before.empty:
        return Merged(fetched.rows, fetched.problems)
    before = before.reindex(columns=fetched.rows.columns)
    rows = pd.concat([before, fetched.rows], ignore_index=True)
    kept = rows.groupby(KEY, sort=True).first().reset_index()  # quantiles may come later
    both = before.merge(fetched.rows, on=KEY, suffixes=("", "_new"))
    is_changed = both["y_hat"] != both["y_hat_new"]
    problems = fetched.problems
    if is_changed.any():
        text = f"{is_changed.sum()} forecasts were changed after they were made; the first values"
        problems = (*problems, f"{text} count: {_shown(both[is_changed])}")
    return Merged(kept[rows.columns], problems)


def _shown(rows: pd.DataFrame) -> str:
    texts = rows["unique_id"].astype(str) + rows["ds"].dt.strftime(" / %Y-%m-%d")
    return format_list(texts.unique())
