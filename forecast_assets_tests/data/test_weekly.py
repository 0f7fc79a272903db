"""Weekly aggregation: the week of a row, partial weeks, gaps, and refused rows."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.config.settings import Settings
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.weekly import (
    WEEKDAYS,
    WeeklySeries,
    newest_week,
    to_weeks,
    with_is_filled,
)
from forecast_assets.errors import DataError
from forecast_assets_tests.builders import make_settings

LATER = datetime(2026, 6, 1, tzinfo=UTC)
FRIDAYS = ["2026-01-02", "2026-01-09", "2026-01-16", "2026-01-23"]


def settings_of(timezone: str = "UTC", source: str | None = None, **series: object) -> Settings:
    """Return settings with these keys in [series], and time zones in [schedule] and [source]."""
    tables: dict[str, Mapping[str, object]] = {"schedule": {"timezone": timezone}, "series": series}
    if source:
        tables["source"] = {"kind": "python", "callable": "a:b", "timezone": source}
    return make_settings(Path("/root"), **tables)


def aggregate(rows: pd.DataFrame, as_of: datetime = LATER, **series: object) -> WeeklySeries:
    """Aggregate rows with these keys in [series]."""
    return to_weeks(rows, settings_of(**series), as_of=as_of)  # type: ignore[arg-type]


def raw(**rows: Mapping[str, float | None]) -> pd.DataFrame:
    """Return the table raw_data: keyword = values by time of a series."""
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


def values(weeks: WeeklySeries, unique_id: str = "a") -> list[float]:
    """One series' values in the order of the table."""
    return weeks.frame.loc[weeks.frame["unique_id"] == unique_id, "y"].tolist()


def test_weekly_rows_come_back_sorted_and_unchanged() -> None:
    rows = raw(b=dict.fromkeys(FRIDAYS, 2.0), a=dict.fromkeys(FRIDAYS, 1.0)).iloc[::-1]
    weeks = aggregate(rows)
    assert weeks.frame["unique_id"].tolist() == ["a"] * 4 + ["b"] * 4
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS * 2))
    assert weeks.frame["y"].tolist() == [1.0] * 4 + [2.0] * 4
    assert (weeks.n_unfinished, weeks.n_partial, weeks.n_filled) == (0, 0, 0)


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
    weeks = aggregate(rows, frequency=frequency, aggregate="sum", min_coverage=0)
    assert dict(zip(weeks.frame["ds"], weeks.frame["y"], strict=True)) == counts


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
def test_a_week_counts_once_it_is_over_in_the_time_zone_of_the_source_or_else_of_the_schedule(
    schedule: str, source: str | None, n_unfinished: int
) -> None:
    """Friday noon in UTC is Saturday in Auckland and Kiritimati."""
    noon = datetime(2026, 1, 23, 12, tzinfo=UTC)
    settings = settings_of(schedule, source)
    weeks = to_weeks(raw(a=dict.fromkeys(FRIDAYS, 1.0)), settings, as_of=noon)
    newest = date(2026, 1, 16 if n_unfinished else 23)
    assert weeks.n_unfinished == n_unfinished
    assert weeks.frame["ds"].max() == pd.Timestamp(newest)
    assert newest_week(noon, settings) == newest


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
    weeks = aggregate(with_gaps(**more), missing=missing)
    assert values(weeks) == expected
    assert weeks.frame["coverage"].tolist() == [1, 0, 0, 1] + [1] * 4
    assert weeks.frame["is_filled"].tolist() == [False, *[missing != "zero"] * 2, *[False] * 5]
    assert values(weeks, "b") == [1000.0] * 4
    assert weeks.n_filled == 2


@pytest.mark.parametrize("missing", ["interpolate", "ffill", "zero"])
def test_a_version_without_the_column_is_filled_has_it_from_coverage_and_policy(
    missing: str,
) -> None:
    weeks = aggregate(with_gaps(), missing=missing).frame
    settings = settings_of(missing=missing)
    pd.testing.assert_frame_equal(with_is_filled(weeks, settings), weeks)
    of_0_1 = weeks.drop(columns="is_filled")
    pd.testing.assert_frame_equal(with_is_filled(of_0_1, settings), weeks)
    oldest = with_is_filled(of_0_1.drop(columns="coverage"), settings)
    assert not oldest["is_filled"].any()


def test_a_series_starts_and_ends_with_a_value() -> None:
    edges = raw(a={FRIDAYS[0]: None, FRIDAYS[1]: 1.0, FRIDAYS[2]: 2.0, FRIDAYS[3]: None})
    weeks = aggregate(edges, missing="error")
    assert weeks.frame["ds"].tolist() == list(pd.to_datetime(FRIDAYS[1:3]))
    assert weeks.n_filled == 0


@pytest.mark.parametrize(("how", "first_week"), [("sum", 3.0), ("mean", 1.5), ("last", 2.0)])
def test_several_rows_a_week_are_aggregated_as_configured(how: str, first_week: float) -> None:
    times = {"2026-01-09": 10.0, "2026-01-01 12:00": 2.0, "2025-12-29": 1.0, "2026-01-02": None}
    weeks = aggregate(raw(a=times), aggregate=how, min_coverage=0)
    assert values(weeks) == [first_week, 10.0]


def test_the_sum_of_a_week_without_values_is_a_gap_and_not_zero() -> None:
    nothing = {"2026-01-05": None, "2026-01-06": None}
    rows = raw(a={FRIDAYS[0]: 1.0, **nothing, FRIDAYS[2]: 3.0})
    assert values(aggregate(rows, aggregate="sum")) == [1.0, 2.0, 3.0]


REPEATED = pd.DataFrame(
    {"unique_id": "a", "ds": pd.to_datetime([FRIDAYS[0], *FRIDAYS[:2]]), "y": 1.0}
)
AMBIGUOUS = (
    r"1 week has more than one row \(2 rows\): a / 2026-01-02\. {}, so the value of the week is"
    r" ambiguous\. Nothing was published\. Correct the source, or set `series\.aggregate` to sum,"
    r" mean or last in forecast\.toml\."
)


@pytest.mark.parametrize(
    ("rows", "series", "message"),
    [
        (
            raw(a=dict.fromkeys(["2026-06-02", "2026-06-09"], 1.0)),
            {},
            r"None of 2 rows lies in a week that was over on 2026-06-01: .* ends on 2026-06-05\.",
        ),
        (
            with_gaps(),
            {"missing": "error"},
            r"2 weeks have no value: a / 2026-01-09, a / 2026-01-16\. .* set `series\.missing`",
        ),
        (
            raw(a=dict.fromkeys(["2026-01-01", *FRIDAYS[:2]], 1.0)),
            {},
            AMBIGUOUS.format("The source is finer than a week"),
        ),
        (REPEATED, {}, AMBIGUOUS.format(r"The source repeats the same \(unique_id, ds\)")),
        (
            raw(a={FRIDAYS[0]: 1.0}, b={FRIDAYS[1]: 1.0}),
            {},
            r"No series has more than one week: a, b\. .* Add earlier weeks to the source\.$",
        ),
        (
            raw(
                a=dict.fromkeys(FRIDAYS, 1.0), mute=dict.fromkeys(FRIDAYS), still={FRIDAYS[0]: None}
            ),
            {},
            r"2 series have no value in any week: mute, still\. They cannot be forecast, ",
        ),
        (
            raw(a={"2026-01-01": 1.5e308, "2026-01-02": 1.5e308, "2026-01-09": 1.0}),
            {"aggregate": "sum"},
            r"The sum of 1 weeks is too large for a number, in the series a\. ",
        ),
    ],
    ids=["unfinished", "gaps", "days", "repeated", "single weeks", "no values", "too large"],
)
def test_rows_that_make_no_weekly_series_are_refused(
    rows: pd.DataFrame, series: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        aggregate(rows, **series)


def test_a_series_of_a_single_week_is_accepted_beside_a_longer_one() -> None:
    weeks = aggregate(raw(a=dict.fromkeys(FRIDAYS, 2.0), b={FRIDAYS[1]: 1.0}))
    assert values(weeks, "b") == [1.0]


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


@hypothesis_settings(max_examples=30)
@given(
    rows=rows_of_any_kind(),
    frequency=st.sampled_from(WEEKDAYS),
    how=st.sampled_from(["sum", "mean", "last"]),
    missing=st.sampled_from(["interpolate", "ffill", "zero"]),
    seed=st.integers(0, 9),
)
def test_weeks_are_a_sorted_grid_without_gaps_whatever_the_order_of_rows(
    rows: pd.DataFrame, frequency: str, how: str, missing: str, seed: int
) -> None:
    rows = rows.drop_duplicates(["unique_id", "ds"])
    before = rows.copy()
    series = {"frequency": frequency, "aggregate": how, "missing": missing, "max_gap": 1000}
    frame = aggregate(rows, **series).frame
    pd.testing.assert_frame_equal(rows, before)  # the input is not modified
    assert list(frame.columns) == ["unique_id", "ds", "y", "coverage", "is_filled"]
    assert (frame["is_filled"] == ((frame["coverage"] == 0) & (missing != "zero"))).all()
    assert frame["coverage"].between(0, 1).all()
    assert frame.equals(frame.sort_values(["unique_id", "ds"], ignore_index=True))
    assert not frame.duplicated(["unique_id", "ds"]).any()
    assert frame["y"].notna().all()
    assert (frame["ds"].dt.strftime("W-%a").str.upper() == frequency).all()
    steps = frame.groupby("unique_id")["ds"].diff().dropna()
    assert (steps == pd.Timedelta(weeks=1)).all()
    assert {"a", "b"} <= set(frame["unique_id"]) <= set(rows["unique_id"])
    shuffled = rows.sample(frac=1, random_state=seed, ignore_index=True)
    pd.testing.assert_frame_equal(aggregate(shuffled, **series).frame, frame)


def days_of(first: str, last: str, **series: float) -> pd.DataFrame:
    """Return a row per day from the first to the last; keyword = value of a series."""
    days = pd.date_range(first, last)
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": days, "y": y}) for name, y in series.items()],
        ignore_index=True,
    )


SHOPS = {"a": 1.0, "b": 1.0, "c": 1.0}
# Five weeks to Friday 2026-01-30; the source was cut off on Tuesday of the last one.
HALF = days_of("2025-12-27", "2026-01-27", **SHOPS)
MONDAY = datetime(2026, 2, 2, tzinfo=UTC)


@pytest.mark.parametrize("missing", ["interpolate", "ffill", "zero"])
def test_a_week_in_which_the_source_was_cut_off_is_left_out_of_every_series(missing: str) -> None:
    weeks = aggregate(HALF, MONDAY, aggregate="sum", missing=missing)
    assert [values(weeks, name) for name in SHOPS] == [[7.0] * 4] * 3
    assert (weeks.n_partial, weeks.n_left_out, weeks.n_filled) == (3, 3 * 4, 0)


@pytest.mark.parametrize("last", ["2026-01-30", "2026-01-31", "2026-02-02"])
def test_a_row_on_the_last_day_or_after_shows_that_the_week_is_complete(last: str) -> None:
    rows = pd.concat([HALF, days_of(last, last, d=1.0), raw(d={"2026-01-06": 1.0})])
    weeks = aggregate(rows, MONDAY, aggregate="sum", missing="zero")
    assert [values(weeks, name) for name in SHOPS] == [[7.0] * 4 + [4.0]] * 3
    assert values(weeks, "d") == [1.0, 0.0, 0.0, float(last == "2026-01-30")]
    assert (weeks.n_partial, weeks.n_left_out) == (0, 0)
    only = aggregate(pd.concat([HALF, days_of(last, last, a=1.0)]), MONDAY, aggregate="sum")
    assert only.n_partial == 0


def test_a_partial_newest_week_counts_without_a_minimum_coverage() -> None:
    for missing in ("interpolate", "zero"):
        weeks = aggregate(HALF, MONDAY, aggregate="sum", min_coverage=0, missing=missing)
        assert values(weeks) == [7.0] * 4 + [4.0]
        a = weeks.frame["unique_id"] == "a"
        assert weeks.frame.loc[a, "coverage"].round(2).tolist() == [1.0] * 4 + [0.57]
        assert weeks.n_partial == 0


def test_a_weekly_series_keeps_its_week_when_daily_ones_are_cut_off() -> None:
    mondays = pd.date_range("2025-12-29", "2026-01-26", freq="W-MON")
    rows = pd.concat([HALF, pd.DataFrame({"unique_id": "w", "ds": mondays, "y": 5.0})])
    weeks = aggregate(rows, MONDAY, aggregate="sum")
    assert (values(weeks), values(weeks, "w")) == ([7.0] * 4, [5.0] * 5)


def test_a_partial_week_counts_once_the_source_has_gone_on() -> None:
    autumn = days_of("2025-10-04", "2026-01-27", **SHOPS)
    next_week = days_of("2026-01-31", "2026-02-06", **SHOPS)
    rows = pd.concat([autumn, next_week])
    weeks = aggregate(rows, MONDAY + timedelta(weeks=1), aggregate="sum")
    assert values(weeks) == [7.0] * 16 + [4.0, 7.0]
    a = weeks.frame["unique_id"] == "a"
    assert weeks.frame.loc[a, "coverage"].round(2).tolist() == [1.0] * 16 + [0.57, 1.0]


def test_with_zeros_every_series_runs_to_the_newest_complete_week_of_the_source() -> None:
    rows = pd.concat(
        [days_of("2025-12-27", "2026-01-30", a=1.0), days_of("2025-12-29", "2026-01-06", b=1.0)]
    )
    weeks = aggregate(rows, MONDAY, aggregate="sum", missing="zero")
    assert values(weeks) == [7.0] * 5
    assert values(weeks, "b") == [5.0, 4.0, 0.0, 0.0, 0.0]
    assert not weeks.frame["is_filled"].any()
    other = aggregate(rows, MONDAY, aggregate="sum", min_coverage=0)
    assert values(other, "b") == [5.0, 4.0]


def test_a_partial_first_week_is_left_out_of_a_long_series() -> None:
    short = days_of("2025-12-31", "2026-01-30", a=1.0)
    assert values(aggregate(short, MONDAY, aggregate="sum")) == [3.0] + [7.0] * 4  # usual there
    long = days_of("2025-09-03", "2026-01-30", a=1.0)
    weeks = aggregate(long, MONDAY, aggregate="sum")
    assert values(weeks) == [7.0] * 21
    assert (weeks.n_partial, weeks.n_left_out) == (1, 3)


def test_with_zeros_only_the_first_week_of_the_source_may_be_partial() -> None:
    rows = pd.concat(
        [days_of("2025-09-03", "2026-01-30", a=1.0), days_of("2025-12-31", "2026-01-30", b=1.0)]
    )
    weeks = aggregate(rows, MONDAY, aggregate="sum", missing="zero")
    assert (values(weeks), values(weeks, "b")) == ([7.0] * 21, [3.0] + [7.0] * 4)


def gap_of(n_weeks: int) -> pd.DataFrame:
    """Return three weeks, a gap, and three weeks up to Friday, 16 January 2026."""
    ends = pd.date_range("2026-01-02", periods=3, freq="W-FRI")
    starts = ends - pd.Timedelta(weeks=n_weeks + 3)
    return raw(a=dict.fromkeys(starts.union(ends).astype(str), 2.0))


@pytest.mark.parametrize("missing", ["interpolate", "ffill"])
def test_a_series_starts_after_a_gap_that_is_too_long_to_fill(missing: str) -> None:
    filled = aggregate(gap_of(26), missing=missing)
    assert (values(filled), filled.n_filled, filled.n_left_out) == ([2.0] * 32, 26, 0)
    cut = aggregate(gap_of(27), missing=missing)
    assert (values(cut), cut.n_filled, cut.n_left_out) == ([2.0] * 3, 0, 3)
    assert values(aggregate(gap_of(27), missing=missing, max_gap=27)) == [2.0] * 33
    assert len(aggregate(gap_of(2000), missing="zero").frame) == 2006


def test_a_yearly_source_is_refused_until_its_gaps_may_be_filled() -> None:
    yearly = raw(a=dict.fromkeys(["2024-01-05", "2025-01-03", "2026-01-02"], 1.0))
    with pytest.raises(DataError, match=r"as 2 rows of .* more than 26 weeks were left out, incr"):
        aggregate(yearly)
    assert len(aggregate(yearly, max_gap=52).frame) == 105


def test_bad_rows_are_left_out() -> None:
    rows = raw(a=dict.fromkeys(FRIDAYS, 1.0)).assign(problem=None)
    bad = pd.DataFrame({"unique_id": [None], "ds": [pd.NaT], "y": [5.0], "problem": ["no id"]})
    bad = bad.astype({"ds": "datetime64[ns]"})
    assert values(aggregate(pd.concat([rows, bad], ignore_index=True))) == [1.0] * 4


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
    settings = settings_of(source="Europe/Vienna", aggregate="sum")
    hours = pd.date_range(first, last, freq="h", tz="Europe/Vienna", inclusive="left")
    rows = pd.DataFrame({"unique_id": "a", "ds": [hour.isoformat() for hour in hours], "y": 1.0})
    columns = {name: name for name in rows}
    rows = as_raw_data(rows, columns=columns, origin="", zone=settings.source.zone)
    as_of = datetime(2026, 12, 1, tzinfo=UTC)
    assert values(to_weeks(rows, settings, as_of=as_of)) == expected
