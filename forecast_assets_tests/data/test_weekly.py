"""Weekly aggregation: the week of a row, partial weeks, gaps, and refused rows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.weekly import (
    WEEKDAYS,
    WeeklySeries,
    compute_coverage,
    newest_week,
    to_weeks,
)
from forecast_assets.errors import DataError

FEW_EXAMPLES = hypothesis_settings(max_examples=30)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
FRIDAYS = ["2026-01-02", "2026-01-09", "2026-01-16", "2026-01-23"]


def settings_of(timezone: str = "UTC", **series: object) -> Settings:
    """Settings with these keys in [series] and this time zone in [schedule]."""
    tables: Mapping[str, object] = {"series": series, "schedule": {"timezone": timezone}}
    return parse(tables, root=Path("/root"), var=Path("/var"), origin="a test")


def raw(**rows: Mapping[str, float | None]) -> pd.DataFrame:
    """The table raw_data: keyword = values by time of a series."""
    return pd.DataFrame(
        [
            (unique_id, pd.Timestamp(time), np.nan if y is None else y)
            for unique_id, values in rows.items()
            for time, y in values.items()
        ],
        columns=["unique_id", "ds", "y"],
    )


def with_gaps(**more: float | None) -> pd.DataFrame:
    """Series `a` lacks its second and third week; `b` is complete and far higher."""
    complete = dict.fromkeys(FRIDAYS, 1000.0)
    return raw(a={FRIDAYS[0]: 1.0, FRIDAYS[3]: 7.0, **more}, b=complete)


def daily() -> pd.DataFrame:
    """Two weeks of series `a`, out of order: 1, 2 and a missing value in the first, then 10."""
    return raw(
        a={
            "2026-01-09": 10.0,
            "2026-01-01 12:00": 2.0,
            "2025-12-29": 1.0,
            "2026-01-02": None,
        }
    )


def values(weeks: WeeklySeries, unique_id: str = "a") -> list[float]:
    """One series' values in the order of the table."""
    return weeks.frame.loc[weeks.frame["unique_id"] == unique_id, "y"].tolist()


def test_weekly_rows_come_back_sorted_and_unchanged() -> None:
    rows = raw(b=dict.fromkeys(FRIDAYS, 2.0), a=dict.fromkeys(FRIDAYS, 1.0)).iloc[::-1]
    weeks = to_weeks(rows, settings_of(), as_of=LATER)
    assert weeks.frame["unique_id"].tolist() == ["a"] * 4 + ["b"] * 4
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS * 2))
    assert weeks.frame["y"].tolist() == [1.0] * 4 + [2.0] * 4
    assert (weeks.n_unfinished, weeks.n_partial, weeks.n_filled) == (0, 0, 0)


def test_the_input_is_not_modified() -> None:
    rows = with_gaps()
    before = rows.copy()
    to_weeks(rows, settings_of(), as_of=LATER)
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize("frequency", WEEKDAYS)
def test_every_day_goes_to_the_week_that_contains_it(frequency: str) -> None:
    """A plain second implementation goes forward day by day to the end of the week."""
    days = pd.date_range("2026-01-01", periods=15, freq="D") + pd.Timedelta(hours=23)
    rows = pd.DataFrame({"unique_id": "a", "ds": days, "y": 1.0})
    counts: dict[pd.Timestamp, float] = {}
    for day in days.normalize():
        end = day
        while end.strftime("W-%a").upper() != frequency:
            end += pd.Timedelta(days=1)
        counts[end] = counts.get(end, 0.0) + 1.0
    settings = settings_of(frequency=frequency, aggregate="sum", min_coverage=0)
    weeks = to_weeks(rows, settings, as_of=LATER)
    assert dict(zip(weeks.frame["ds"], weeks.frame["y"], strict=True)) == counts


def test_rows_of_an_unfinished_week_are_left_out_and_counted() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    last_day = datetime(2026, 1, 23, 23, 59, tzinfo=UTC)
    weeks = to_weeks(rows, settings_of(), as_of=last_day)
    assert weeks.frame["ds"].max() == pd.Timestamp(FRIDAYS[2])
    assert weeks.n_unfinished == 1
    midnight = datetime(2026, 1, 24, tzinfo=UTC)
    assert to_weeks(rows, settings_of(), as_of=midnight).n_unfinished == 0


@pytest.mark.parametrize(
    ("schedule", "source", "n_unfinished"),
    [
        ("UTC", None, 1),
        ("Pacific/Auckland", None, 0),
        ("America/New_York", None, 1),
        ("UTC", "Pacific/Kiritimati", 0),
        ("Pacific/Auckland", "UTC", 1),
    ],
)
def test_a_week_ends_in_the_time_zone_of_the_source_or_else_of_the_schedule(
    schedule: str, source: str | None, n_unfinished: int
) -> None:
    """Friday noon in UTC is Saturday in Auckland and Kiritimati."""
    noon = datetime(2026, 1, 23, 12, tzinfo=UTC)
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    settings = settings_of(schedule)
    if source:
        own = {"kind": "python", "callable": "a:b", "timezone": source}
        tables = {"source": own, "schedule": {"timezone": schedule}}
        settings = parse(tables, root=Path("/root"), var=Path("/var"), origin="a test")
    assert to_weeks(rows, settings, as_of=noon).n_unfinished == n_unfinished
    assert newest_week(noon, settings) == date(2026, 1, 16 if n_unfinished else 23)


def test_rows_without_a_finished_week_are_refused() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    with pytest.raises(
        DataError,
        match=r"None of 4 rows lies in a week that was over on 2020-01-01: the first week ends on"
        r" 2026-01-02\. Nothing was published\. Check the dates of the source, and `as_of` if you"
        r" set one\.",
    ):
        to_weeks(rows, settings_of(), as_of=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("interpolate", [1.0, 3.0, 5.0, 7.0]),
        ("ffill", [1.0, 1.0, 1.0, 7.0]),
        ("zero", [1.0, 0.0, 0.0, 7.0]),
    ],
)
@pytest.mark.parametrize("more", [{}, {FRIDAYS[1]: None}], ids=["no row", "a row without a value"])
def test_gaps_are_filled_as_configured_and_have_no_coverage(
    missing: str, expected: list[float], more: dict[str, None]
) -> None:
    weeks = to_weeks(with_gaps(**more), settings_of(missing=missing), as_of=LATER)
    assert values(weeks) == expected
    assert weeks.frame["coverage"].tolist() == [1, 0, 0, 1] + [1] * 4
    assert values(weeks, "b") == [1000.0] * 4
    assert weeks.n_filled == 2


def test_gaps_are_refused_if_configured() -> None:
    with pytest.raises(
        DataError,
        match=r"2 weeks have no value: a / 2026-01-09, a / 2026-01-16\. Models need every week, so"
        r" nothing was published\. Add the values to the source, or set `series\.missing` to"
        r" interpolate, ffill or zero in forecast\.toml\.",
    ):
        to_weeks(with_gaps(), settings_of(missing="error"), as_of=LATER)


@pytest.mark.parametrize("missing", ["error", "interpolate", "ffill", "zero"])
def test_a_series_starts_and_ends_with_a_value(missing: str) -> None:
    edges = raw(a={FRIDAYS[0]: None, FRIDAYS[1]: 1.0, FRIDAYS[2]: 2.0, FRIDAYS[3]: None})
    weeks = to_weeks(edges, settings_of(missing=missing), as_of=LATER)
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS[1:3]))
    assert weeks.n_filled == 0


@pytest.mark.parametrize(("aggregate", "first_week"), [("sum", 3.0), ("mean", 1.5), ("last", 2.0)])
def test_several_rows_a_week_are_aggregated_as_configured(
    aggregate: str, first_week: float
) -> None:
    weeks = to_weeks(daily(), settings_of(aggregate=aggregate, min_coverage=0), as_of=LATER)
    assert values(weeks) == [first_week, 10.0]


def test_the_sum_of_a_week_without_values_is_a_gap_and_not_zero() -> None:
    nothing = {"2026-01-05": None, "2026-01-06": None}
    rows = raw(a={FRIDAYS[0]: 1.0, **nothing, FRIDAYS[2]: 3.0})
    weeks = to_weeks(rows, settings_of(aggregate="sum"), as_of=LATER)
    assert values(weeks) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2026-01-01", "2026-01-02", "2026-01-09"], "The source is finer than a week"),
        (
            ["2026-01-02", "2026-01-02", "2026-01-09"],
            r"The source repeats the same \(unique_id, ds",
        ),
    ],
)
def test_several_rows_a_week_are_refused_if_not_configured(times: list[str], message: str) -> None:
    rows = pd.DataFrame({"unique_id": "a", "ds": pd.to_datetime(times), "y": 1.0})
    with pytest.raises(
        DataError,
        match=rf"^1 weeks have more than one row \(2 rows\): a / 2026-01-02\. {message}\)?, so the"
        r" value of the week is ambiguous\. Nothing was published\. Correct the source, or set"
        r" `series\.aggregate` to sum, mean or last in forecast\.toml\.$",
    ):
        to_weeks(rows, settings_of(), as_of=LATER)


def test_only_series_of_a_single_week_are_refused() -> None:
    rows = raw(a={FRIDAYS[0]: 1.0}, b={FRIDAYS[1]: 1.0})
    with pytest.raises(
        DataError,
        match=r"Every series has a single week: a, b\. A forecast needs at least two weeks, so"
        r" nothing was published\. Add earlier weeks to the source\.",
    ):
        to_weeks(rows, settings_of(), as_of=LATER)
    one_longer = pd.concat([rows, raw(c=dict.fromkeys(FRIDAYS, 1.0))])
    assert values(to_weeks(one_longer, settings_of(), as_of=LATER), "b") == [1.0]


def test_series_without_any_value_are_refused_by_name() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0), mute=dict.fromkeys(FRIDAYS), still={FRIDAYS[0]: None})
    with pytest.raises(
        DataError,
        match=r"2 series have no value in any week: mute, still\. They cannot be forecast, so"
        r" nothing was published\. Add values to the source, or remove these series from it\.",
    ):
        to_weeks(rows, settings_of(), as_of=LATER)


def rows_of_any_kind() -> st.SearchStrategy[pd.DataFrame]:
    """Up to 40 random rows of three series, and some that keep them from being refused."""
    row = st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.datetimes(datetime(2025, 1, 1), datetime(2026, 3, 1)),  # noqa: DTZ001 - a wall clock
        st.floats(-1e6, 1e6) | st.none(),
    )
    day = datetime(2025, 6, 1)  # noqa: DTZ001 - a wall clock
    valid = [("b", day, 1.0), ("a", day, 2.0), ("c", day, 3.0), ("a", day.replace(month=7), 4.0)]
    return st.lists(row, max_size=40).map(
        lambda rows: pd.DataFrame([*rows, *valid], columns=["unique_id", "ds", "y"]).astype(
            {"y": "float64"}
        )
    )


@FEW_EXAMPLES
@given(
    rows=rows_of_any_kind(),
    frequency=st.sampled_from(WEEKDAYS),
    aggregate=st.sampled_from(["sum", "mean", "last"]),
    missing=st.sampled_from(["interpolate", "ffill", "zero"]),
)
def test_weeks_are_a_sorted_grid_without_gaps(
    rows: pd.DataFrame, frequency: str, aggregate: str, missing: str
) -> None:
    settings = settings_of(frequency=frequency, aggregate=aggregate, missing=missing)
    frame = to_weeks(rows, settings, as_of=LATER).frame
    assert list(frame.columns) == ["unique_id", "ds", "y", "coverage"]
    assert frame["coverage"].between(0, 1).all()
    assert frame.equals(frame.sort_values(["unique_id", "ds"], ignore_index=True))
    assert not frame.duplicated(["unique_id", "ds"]).any()
    assert frame["y"].notna().all()
    assert (frame["ds"].dt.strftime("W-%a").str.upper() == frequency).all()
    steps = frame.groupby("unique_id")["ds"].diff().dropna()
    assert (steps == pd.Timedelta(weeks=1)).all()
    assert {"a", "b"} <= set(frame["unique_id"]) <= set(rows["unique_id"])


@FEW_EXAMPLES
@given(rows=rows_of_any_kind(), seed=st.integers(0, 9))
def test_the_order_of_rows_does_not_matter(rows: pd.DataFrame, seed: int) -> None:
    rows = rows.drop_duplicates(["unique_id", "ds"])
    shuffled = rows.sample(frac=1, random_state=seed, ignore_index=True)
    settings = settings_of(aggregate="last")
    expected = to_weeks(rows, settings, as_of=LATER).frame
    pd.testing.assert_frame_equal(to_weeks(shuffled, settings, as_of=LATER).frame, expected)


def days_of(first: str, last: str, **series: float) -> pd.DataFrame:
    """A row per day from the first to the last; keyword = value of a series."""
    days = pd.date_range(first, last)
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": days, "y": y}) for name, y in series.items()],
        ignore_index=True,
    )


# Five weeks to Friday 2026-01-30; the last one ends on Tuesday.
HALF = days_of("2025-12-27", "2026-01-27", a=1.0)
MONDAY = datetime(2026, 2, 2, tzinfo=UTC)


@pytest.mark.parametrize("n_weekend_days", [0, 2])
def test_a_partial_newest_week_is_left_out(n_weekend_days: int) -> None:
    """Rows of the week after it do not complete it."""
    weekend = days_of("2026-01-31", "2026-02-01", a=1.0).head(n_weekend_days)
    weeks = to_weeks(pd.concat([HALF, weekend]), settings_of(aggregate="sum"), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4
    assert weeks.n_partial == 1
    assert weeks.frame["ds"].max() == pd.Timestamp("2026-01-23")


def test_a_partial_newest_week_counts_without_a_minimum_coverage() -> None:
    weeks = to_weeks(HALF, settings_of(aggregate="sum", min_coverage=0), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4 + [4.0]
    assert weeks.frame["coverage"].round(2).tolist() == [1.0] * 4 + [0.57]
    assert weeks.n_partial == 0


def test_a_partial_week_counts_once_the_week_after_it_is_over() -> None:
    autumn = days_of("2025-10-04", "2026-01-27", a=1.0)
    next_week = days_of("2026-01-31", "2026-02-06", a=1.0)
    as_of = MONDAY + timedelta(weeks=1)
    weeks = to_weeks(pd.concat([autumn, next_week]), settings_of(aggregate="sum"), as_of=as_of)
    assert values(weeks) == [7.0] * 16 + [4.0, 7.0]
    assert weeks.frame["coverage"].round(2).tolist() == [1.0] * 16 + [0.57, 1.0]


def test_a_sum_that_is_too_large_for_a_number_is_refused() -> None:
    rows = raw(a={"2026-01-01": 1.5e308, "2026-01-02": 1.5e308, "2026-01-09": 1.0})
    with pytest.raises(
        DataError,
        match=r"The sum of 1 weeks is too large for a number, in the series a\. Nothing was"
        r" published\. Look for values that are far too large\.",
    ):
        to_weeks(rows, settings_of(aggregate="sum"), as_of=LATER)


def test_a_partial_first_week_is_left_out_of_a_long_series() -> None:
    rows = days_of("2025-12-31", "2026-01-30", a=1.0)
    settings = settings_of(aggregate="sum")
    weeks = to_weeks(rows.iloc[-28 - 3 :], settings, as_of=MONDAY)
    assert values(weeks) == [3.0] + [7.0] * 4  # in a short one its days are usual
    long = days_of("2025-09-03", "2026-01-30", a=1.0)
    assert values(to_weeks(long, settings, as_of=MONDAY)) == [7.0] * 21


def test_only_the_series_with_a_partial_week_ends_earlier() -> None:
    rows = pd.concat([HALF, days_of("2025-12-27", "2026-01-30", b=2.0)], ignore_index=True)
    weeks = to_weeks(rows, settings_of(aggregate="sum"), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4
    assert values(weeks, "b") == [14.0] * 5


def test_bad_rows_are_left_out() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0)).assign(problem=None)
    bad = pd.DataFrame({"unique_id": [None], "ds": [pd.NaT], "y": [5.0], "problem": ["no id"]})
    bad = bad.astype({"ds": "datetime64[ns]"})
    weeks = to_weeks(pd.concat([rows, bad], ignore_index=True), settings_of(), as_of=LATER)
    assert values(weeks) == [1.0] * 4


def hours(first: str, last: str, zone: str) -> pd.DataFrame:
    """A row of 1 for each hour in a zone, with its UTC offset."""
    moments = pd.date_range(first, last, freq="h", tz=zone, inclusive="left")
    texts = [moment.isoformat() for moment in moments]
    return pd.DataFrame({"unique_id": "a", "ds": texts, "y": 1.0})


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-03-21", "2026-04-04", [168.0, 168.0 - 1]),
        ("2026-10-17", "2026-10-31", [168.0, 168.0 + 1]),
    ],
)
def test_a_week_has_all_of_its_hours_when_the_clock_changes(
    first: str, last: str, expected: list[float]
) -> None:
    """In Vienna the clock changes on Sunday, 29 March and 25 October 2026."""
    source = {"kind": "python", "callable": "a:b", "timezone": "Europe/Vienna"}
    tables = {"source": source, "series": {"aggregate": "sum"}}
    settings = parse(tables, root=Path("/root"), var=Path("/var"), origin="a test")
    columns = {name: name for name in ("unique_id", "ds", "y")}
    rows = as_raw_data(
        hours(first, last, "Europe/Vienna"), columns=columns, origin="", zone=settings.source.zone
    )
    as_of = datetime(2026, 12, 1, tzinfo=UTC)
    assert values(to_weeks(rows, settings, as_of=as_of)) == expected


def coverage_of(*n_days: Sequence[int], of_all: Sequence[int] | None = None) -> list[list[float]]:
    """Compute each series' coverage, rounded, from its days per week since week 0."""
    sizes = list(map(len, n_days))
    shares = compute_coverage(
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate(n_days),
        np.array(of_all or [7] * max(sizes)),
    )
    parts = np.split(shares, np.cumsum(sizes)[:-1])
    return [part.round(2).tolist() for part in parts]


@pytest.mark.parametrize(
    ("n_days", "expected"),
    [
        ([7, 7, 7, 7, 3], [1, 1, 1, 1, 0.43]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        # A tenth of four weeks is none of them, so the fewest days are usual.
        ([3, 7, 7, 7, 7], [1] * 5),
        ([4], [1]),
        # Three earlier weeks are too few for a usual number.
        ([7, 7, 7, 2], [1] * 4),
        # A series that does not sell every day is complete with its fewest days.
        ([2, 1, 3, 1, 2, 1, 1, 4, 1], [1] * 9),
    ],
)
def test_coverage_is_the_share_of_the_usual_days(n_days: list[int], expected: list[float]) -> None:
    assert coverage_of(n_days) == [expected]


def test_a_few_short_weeks_a_year_do_not_change_the_usual_number() -> None:
    (shares,) = coverage_of([5] * 20 + [4, 3] + [5] * 20 + [2])
    assert shares[20:22] == [0.8, 0.6]
    assert shares[-1] == 0.4
    assert set(shares[:20] + shares[22:-1]) == {1}


def test_a_week_that_was_as_short_a_year_earlier_is_complete() -> None:
    """Such as the week of a holiday, which may move by a week."""
    year = [5] * 30 + [3] + [5] * 21
    for shift in (0, 1):
        (shares,) = coverage_of(year + [5] * (30 + shift) + [3])
        assert shares[-1] == 1
    (shares,) = coverage_of(year + [5] * 40 + [3])
    assert shares[-1] == 0.6


def test_weeks_more_than_a_year_ago_do_not_count() -> None:
    (shares,) = coverage_of([7] * 60 + [5] * 53)
    assert shares[-1] == 1


def test_a_sparse_daily_series_is_not_more_complete_than_the_source() -> None:
    """One day alone would be complete, but no series has rows since Wednesday."""
    sparse, weekly = [2, 1, 3, 1, 2, 1], [1] * 6
    shares = coverage_of(sparse, weekly, of_all=[7, 7, 7, 7, 7, 3])
    assert shares == [[1, 1, 1, 1, 1, 0.43], [1] * 6]
