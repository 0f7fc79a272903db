"""Raw rows to weeks: which week a row belongs to, what a gap becomes, and what is refused."""

from collections.abc import Mapping
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
from forecast_assets.data.weekly import WEEKDAYS, WeeklySeries, newest_week, to_weeks
from forecast_assets.errors import DataError

REPEATABLE = hypothesis_settings(derandomize=True, deadline=None, max_examples=60, database=None)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
FRIDAYS = ["2026-01-02", "2026-01-09", "2026-01-16", "2026-01-23"]


def settings_of(timezone: str = "UTC", **series: object) -> Settings:
    """Settings with these keys in [series] and this time zone in [schedule]."""
    tables: Mapping[str, object] = {"series": series, "schedule": {"timezone": timezone}}
    return parse(tables, root=Path("/root"), var=Path("/var"), origin="a test")


def raw(**rows: Mapping[str, float | None]) -> pd.DataFrame:
    """The table raw_data: each keyword a series, its rows value by time."""
    return pd.DataFrame(
        [
            (unique_id, pd.Timestamp(time), np.nan if y is None else y)
            for unique_id, one in rows.items()
            for time, y in one.items()
        ],
        columns=["unique_id", "ds", "y"],
    )


def holed(**ends: float | None) -> pd.DataFrame:
    """Series `a` lacks its second and third week; `b`, beside it, lacks none and is far higher."""
    full = dict.fromkeys(FRIDAYS, 1000.0)
    return raw(a={FRIDAYS[0]: 1.0, FRIDAYS[3]: 7.0, **ends}, b=full)


def daily() -> pd.DataFrame:
    """Two weeks of series `a`: 1, 2 and a missing value in the first, 10 alone in the second.

    Out of order, so that "last" must look at the time and not at the row.
    """
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
    assert (weeks.n_unfinished, weeks.n_filled, weeks.short) == (0, 0, ())


def test_the_rows_given_are_not_changed() -> None:
    rows = holed()
    before = rows.copy()
    to_weeks(rows, settings_of(), as_of=LATER)
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize("frequency", WEEKDAYS)
def test_every_day_goes_to_the_week_that_contains_it(frequency: str) -> None:
    """A second, plain implementation: walk on, day by day, to the day that ends the week."""
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


def test_rows_dated_on_another_weekday_go_to_the_week_that_contains_them() -> None:
    """Mondays, under weeks that end on Friday: each names the Friday four days on."""
    mondays = raw(a={"2025-12-29": 1.0, "2026-01-05": 2.0})
    weeks = to_weeks(mondays, settings_of(), as_of=LATER)
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS[:2]))


def test_a_week_that_is_not_over_is_left_out_and_counted() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    last_day = datetime(2026, 1, 23, 23, 59, tzinfo=UTC)
    weeks = to_weeks(rows, settings_of(), as_of=last_day)
    assert weeks.frame["ds"].max() == pd.Timestamp(FRIDAYS[2])
    assert weeks.n_unfinished == 1
    midnight = datetime(2026, 1, 24, tzinfo=UTC)
    assert to_weeks(rows, settings_of(), as_of=midnight).n_unfinished == 0


@pytest.mark.parametrize(
    ("timezone", "n_unfinished"), [("UTC", 1), ("Pacific/Auckland", 0), ("America/New_York", 1)]
)
def test_whether_a_week_is_over_is_asked_in_the_schedules_time_zone(
    timezone: str, n_unfinished: int
) -> None:
    """Friday noon in UTC is Saturday in Auckland."""
    noon = datetime(2026, 1, 23, 12, tzinfo=UTC)
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    assert to_weeks(rows, settings_of(timezone), as_of=noon).n_unfinished == n_unfinished


def test_no_finished_week_at_all_is_refused() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    with pytest.raises(
        DataError,
        match=r"None of 4 rows lies in a week that was over on 2020-01-01: the first week ends on"
        r" 2026-01-02\. There is nothing to learn from, so nothing was published\. Check the dates"
        r" of the source, and `as_of` if you set one\.",
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
@pytest.mark.parametrize("hole", [{}, {FRIDAYS[1]: None}], ids=["no row", "a row without a value"])
def test_a_gap_is_filled_as_the_policy_says(
    missing: str, expected: list[float], hole: dict[str, None]
) -> None:
    weeks = to_weeks(holed(**hole), settings_of(missing=missing), as_of=LATER)
    assert values(weeks) == expected
    assert values(weeks, "b") == [1000.0] * 4
    assert weeks.n_filled == 2


def test_a_gap_is_refused_unless_a_policy_is_set() -> None:
    with pytest.raises(
        DataError,
        match=r"2 weeks have no value: a / 2026-01-09, a / 2026-01-16\. A model needs every week,"
        r" so nothing was published\. Mend the source, or set `series\.missing` to interpolate,"
        r" ffill or zero in forecast\.toml\.",
    ):
        to_weeks(holed(), settings_of(missing="error"), as_of=LATER)


def test_no_gap_needs_no_policy() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    assert to_weeks(rows, settings_of(missing="error"), as_of=LATER).n_filled == 0


@pytest.mark.parametrize("missing", ["error", "interpolate", "ffill", "zero"])
def test_a_series_starts_and_ends_with_a_value(missing: str) -> None:
    """What is missing before the first value or after the last is no gap: it is not there."""
    edges = raw(a={FRIDAYS[0]: None, FRIDAYS[1]: 1.0, FRIDAYS[2]: 2.0, FRIDAYS[3]: None})
    weeks = to_weeks(edges, settings_of(missing=missing), as_of=LATER)
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS[1:3]))
    assert weeks.n_filled == 0


@pytest.mark.parametrize(("aggregate", "first_week"), [("sum", 3.0), ("mean", 1.5), ("last", 2.0)])
def test_several_rows_a_week_become_one_as_the_policy_says(
    aggregate: str, first_week: float
) -> None:
    weeks = to_weeks(daily(), settings_of(aggregate=aggregate, min_coverage=0), as_of=LATER)
    assert values(weeks) == [first_week, 10.0]


def test_a_sum_over_nothing_is_a_gap_and_not_a_zero() -> None:
    nothing = {"2026-01-05": None, "2026-01-06": None}
    rows = raw(a={FRIDAYS[0]: 1.0, **nothing, FRIDAYS[2]: 3.0})
    weeks = to_weeks(rows, settings_of(aggregate="sum"), as_of=LATER)
    assert values(weeks) == [1.0, 2.0, 3.0]


def test_rows_finer_than_a_week_are_refused_unless_a_policy_is_set() -> None:
    with pytest.raises(
        DataError,
        match=r"1 weeks have more than one row \(3 rows\): a / 2026-01-02\. The source is finer"
        r" than a week\. Which value is the week's would be a guess, so nothing was published\."
        r" Mend the source, or set `series\.aggregate` to sum, mean or last in forecast\.toml\.",
    ):
        to_weeks(daily(), settings_of(), as_of=LATER)


def test_rows_that_come_twice_are_told_from_rows_finer_than_a_week() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    with pytest.raises(
        DataError, match=r"They carry the same \(unique_id, ds\): the source gives them twice\."
    ):
        to_weeks(pd.concat([rows, rows.head(1)], ignore_index=True), settings_of(), as_of=LATER)


def test_a_single_week_beside_sound_series_is_listed() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0), young={FRIDAYS[3]: 5.0})
    weeks = to_weeks(rows, settings_of(), as_of=LATER)
    assert weeks.short == ("young",)
    assert values(weeks, "young") == [5.0]


def test_nothing_but_single_weeks_is_refused() -> None:
    rows = raw(a={FRIDAYS[0]: 1.0}, b={FRIDAYS[1]: 1.0})
    with pytest.raises(
        DataError,
        match=r"Every series has a single week: a, b\. No forecast can be made or judged from one"
        r" value, so nothing was published\. Give the source at least two weeks\.",
    ):
        to_weeks(rows, settings_of(), as_of=LATER)


def test_series_without_any_value_are_refused_by_name() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0), mute=dict.fromkeys(FRIDAYS), still={FRIDAYS[0]: None})
    with pytest.raises(
        DataError,
        match=r"2 series have no value in any week: mute, still\. There is nothing to forecast"
        r" them from, so nothing was published\. Mend the source, or leave them out of it\.",
    ):
        to_weeks(rows, settings_of(), as_of=LATER)


def rows_of_any_kind() -> st.SearchStrategy[pd.DataFrame]:
    """Up to 40 rows of three series: any day and hour, in any order, some without a value.

    Two rows of `a` and one of each other series keep the panel from being refused.
    """
    row = st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.datetimes(datetime(2025, 1, 1), datetime(2026, 3, 1)),  # noqa: DTZ001 - a wall clock
        st.floats(-1e6, 1e6) | st.none(),
    )
    day = datetime(2025, 6, 1)  # noqa: DTZ001 - a wall clock
    sound = [("b", day, 1.0), ("a", day, 2.0), ("c", day, 3.0), ("a", day.replace(month=7), 4.0)]
    return st.lists(row, max_size=40).map(
        lambda rows: pd.DataFrame([*rows, *sound], columns=["unique_id", "ds", "y"]).astype(
            {"y": "float64"}
        )
    )


@REPEATABLE
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


@REPEATABLE
@given(rows=rows_of_any_kind(), seed=st.integers(0, 9))
def test_the_order_of_rows_does_not_count(rows: pd.DataFrame, seed: int) -> None:
    rows = rows.drop_duplicates(["unique_id", "ds"])
    shuffled = rows.sample(frac=1, random_state=seed, ignore_index=True)
    settings = settings_of(aggregate="last")
    expected = to_weeks(rows, settings, as_of=LATER).frame
    pd.testing.assert_frame_equal(to_weeks(shuffled, settings, as_of=LATER).frame, expected)


def days_of(first: str, last: str, **series: float) -> pd.DataFrame:
    """A row a day from the first to the last, for each keyword a series of this value."""
    days = pd.date_range(first, last)
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": days, "y": y}) for name, y in series.items()],
        ignore_index=True,
    )


# Five weeks to Friday 2026-01-30, of which the last ends on Tuesday.
HALF = days_of("2025-12-27", "2026-01-27", a=1.0)
MONDAY = datetime(2026, 2, 2, tzinfo=UTC)


def test_half_a_week_is_not_taken_for_a_whole_one() -> None:
    weeks = to_weeks(HALF, settings_of(aggregate="sum"), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4
    assert weeks.partial == ("a",)
    assert weeks.frame["ds"].max() == pd.Timestamp("2026-01-23")


def test_half_a_week_counts_where_that_is_asked_for() -> None:
    weeks = to_weeks(HALF, settings_of(aggregate="sum", min_coverage=0), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4 + [4.0]
    assert weeks.frame["coverage"].round(2).tolist() == [1.0] * 4 + [0.57]
    assert weeks.partial == ()


def test_a_newest_week_with_holes_is_left_out_though_the_source_went_on() -> None:
    weekend = days_of("2026-01-31", "2026-02-01", a=1.0)
    weeks = to_weeks(pd.concat([HALF, weekend]), settings_of(aggregate="sum"), as_of=MONDAY)
    assert values(weeks) == [7.0] * 4
    assert weeks.partial == ("a",)


def test_once_a_week_came_after_it_a_week_with_holes_counts() -> None:
    autumn = days_of("2025-10-04", "2026-01-27", a=1.0)
    next_week = days_of("2026-01-31", "2026-02-06", a=1.0)
    as_of = MONDAY + timedelta(weeks=1)
    weeks = to_weeks(pd.concat([autumn, next_week]), settings_of(aggregate="sum"), as_of=as_of)
    assert values(weeks) == [7.0] * 16 + [4.0, 7.0]
    assert weeks.frame["coverage"].round(2).tolist() == [1.0] * 16 + [0.57, 1.0]


def test_a_sum_that_no_number_holds_is_refused() -> None:
    rows = raw(a={"2026-01-01": 1.5e308, "2026-01-02": 1.5e308, "2026-01-09": 1.0})
    with pytest.raises(
        DataError,
        match=r"1 weeks have rows whose sum is larger than any number can be, of the series a\."
        r" Nothing was published\. Look for values that are far too large\.",
    ):
        to_weeks(rows, settings_of(aggregate="sum"), as_of=LATER)


def test_the_first_week_of_a_window_that_begins_within_it_is_left_out() -> None:
    rows = days_of("2025-12-31", "2026-01-30", a=1.0)
    settings = settings_of(aggregate="sum")
    weeks = to_weeks(rows.iloc[-28 - 3 :], settings, as_of=MONDAY)
    assert values(weeks) == [3.0] + [7.0] * 4  # of few weeks the shortest is usual
    long = days_of("2025-09-03", "2026-01-30", a=1.0)
    assert values(to_weeks(long, settings, as_of=MONDAY)) == [7.0] * 21


def test_a_series_that_is_late_alone_is_left_out_alone() -> None:
    rows = pd.concat([HALF, days_of("2025-12-27", "2026-01-30", b=2.0)], ignore_index=True)
    weeks = to_weeks(rows, settings_of(aggregate="sum"), as_of=MONDAY)
    assert weeks.partial == ("a",)
    assert values(weeks, "b") == [14.0] * 5


def test_a_week_that_was_filled_has_no_coverage() -> None:
    weeks = to_weeks(holed(), settings_of(), as_of=LATER)
    a = weeks.frame[weeks.frame["unique_id"] == "a"]
    assert a["coverage"].tolist() == [1.0, 0.0, 0.0, 1.0]


def test_rows_set_aside_are_left_out_and_counted() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0)).assign(problem=None)
    bad = pd.DataFrame({"unique_id": [None], "ds": [pd.NaT], "y": [5.0], "problem": ["no id"]})
    bad = bad.astype({"ds": "datetime64[ns]"})
    weeks = to_weeks(pd.concat([rows, bad], ignore_index=True), settings_of(), as_of=LATER)
    assert weeks.n_set_aside == 1
    assert values(weeks) == [1.0] * 4


def hours(first: str, last: str, zone: str) -> pd.DataFrame:
    """A row of 1 for each hour that passes in a zone, written with its UTC offset."""
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
def test_a_week_of_hours_has_all_of_them_across_a_change_of_the_clock(
    first: str, last: str, expected: list[float]
) -> None:
    """In Vienna the clock changes on Sunday, 29 March and 25 October 2026."""
    source = {"kind": "python", "callable": "a:b", "timezone": "Europe/Vienna"}
    tables = {"source": source, "series": {"aggregate": "sum"}}
    settings = parse(tables, root=Path("/root"), var=Path("/var"), origin="a test")
    columns = {name: name for name in ("unique_id", "ds", "y")}
    rows = as_raw_data(
        hours(first, last, "Europe/Vienna"), columns=columns, origin="it", zone=settings.source.zone
    )
    as_of = datetime(2026, 12, 1, tzinfo=UTC)
    assert values(to_weeks(rows, settings, as_of=as_of)) == expected


def test_the_source_s_zone_says_when_a_week_is_over() -> None:
    """At noon UTC on Friday it is Saturday in Kiritimati, and the week is over."""
    source = {"kind": "python", "callable": "a:b", "timezone": "Pacific/Kiritimati"}
    settings = parse({"source": source}, root=Path("/root"), var=Path("/var"), origin="a test")
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0))
    noon = datetime(2026, 1, 23, 12, tzinfo=UTC)
    assert to_weeks(rows, settings, as_of=noon).n_unfinished == 0
    assert newest_week(noon, settings) == date(2026, 1, 23)
    assert to_weeks(rows, settings_of(), as_of=noon).n_unfinished == 1
