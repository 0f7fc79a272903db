"""Test data.quality.evaluate: invented weeks, and how seldom an ordinary week warns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import (
    PreviousVersion,
    blocking,
    evaluate,
    hold_message,
    one_line,
    with_policy,
)
from forecast_assets.data.quality.finding import KINDS, Finding
from forecast_assets.data.sources.fetch import demo_series
from forecast_assets.data.weekly import to_weeks
from forecast_assets_tests.builders import make_ragged, make_raw, make_series, make_settings, walk

ROOT = Path("/")
FIRST = pd.Timestamp("2024-01-05")  # a Friday
N = 110  # weeks that the version before has
MONDAY = datetime(2026, 2, 16, tzinfo=UTC)  # after the Friday that week 110 ends
DAY = pd.Timedelta(days=1)
WEEK = 7 * DAY
SUNDAY = 6
SHOPS = ("graz", "linz", "wels", "wien", "steyr", "krems")


def shops(n: int = N + 1, *, seed: int = 1) -> pd.DataFrame:
    """Return n weekly rows of each of six shops, with a season, noise and slow growth."""
    rng = np.random.default_rng(seed)
    week = np.arange(N + 60)
    frames = []
    for i, name in enumerate(SHOPS):
        season = 1 + 0.2 * np.sin(2 * np.pi * (week + 7 * i) / 52)
        y = 100 * (i + 1) * season * (1 + 0.001 * week) * rng.normal(1, 0.03, len(week))
        ds = FIRST + pd.to_timedelta(7 * week, unit="D")
        frames.append(pd.DataFrame({"unique_id": name, "ds": ds, "y": np.round(y, 2)})[:n])
    return pd.concat(frames, ignore_index=True)


def days() -> pd.DataFrame:
    """Return daily rows of the shops, which are closed on Sundays."""
    rng = np.random.default_rng(2)
    parts = []
    for back in range(7):
        part = shops().assign(ds=lambda rows, n=back: rows["ds"] - n * DAY)
        part["y"] = np.round(part["y"] / 6 * rng.normal(1, 0.05, len(part)), 2)
        parts.append(part[part["ds"].dt.weekday != SUNDAY])
    return pd.concat(parts, ignore_index=True)


def at(rows: pd.DataFrame, shop: str, week: int = N) -> "pd.Series[bool]":
    """Select the rows of one shop in one week."""
    return (rows["unique_id"] == shop) & (rows["ds"] == FIRST + pd.Timedelta(weeks=week))


def at_first(rows: pd.DataFrame, shop: str, n: int) -> "pd.Series[bool]":
    """Select the first n weeks of one shop."""
    return (rows["unique_id"] == shop) & (rows["ds"] < FIRST + pd.Timedelta(weeks=n))


def changed(rows: pd.DataFrame, mask: "pd.Series[bool]", how: Callable[[Any], Any]) -> pd.DataFrame:
    """Change the values of the rows where a mask is set."""
    return rows.assign(y=rows["y"].where(~mask, how(rows["y"])))


def newest(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["ds"] == rows["ds"].max()


def _raw(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: rows.get(name) for name in ("problem", "given")})


def _weeks(rows: pd.DataFrame, settings: Settings, as_of: datetime) -> pd.DataFrame:
    return to_weeks(_raw(rows), settings, as_of=as_of).frame


def set_aside(rows: pd.DataFrame) -> pd.DataFrame:
    """Add two rows that could not be read."""
    bad = pd.DataFrame({"unique_id": [None, "graz"], "ds": [FIRST, pd.NaT], "y": [1.0, 2.0]})
    bad["problem"] = ["`unique_id` have no series", "`ds` have no time"]
    return pd.concat([_raw(rows), bad.assign(given="{}")], ignore_index=True)


@dataclass(frozen=True)
class Case:
    """An invented week: the rows, those of the previous version, and the expected kinds."""

    now: pd.DataFrame
    kinds: set[str]
    before: pd.DataFrame | None = field(default_factory=lambda: shops(N))
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: timedelta = timedelta(weeks=1)
    future: tuple[datetime, ...] = ()


def evaluate_case(case: Case, settings: Settings | None = None) -> list[Finding]:
    """Evaluate the rows of a case against its previous version."""
    settings, earlier, before = settings or SETTINGS, MONDAY - case.since, None
    if case.before is not None:
        before = PreviousVersion(_weeks(case.before, settings, earlier), earlier)
    weeks = _weeks(case.now, settings, MONDAY)
    future = case.future
    return evaluate(_raw(case.now), weeks, before, settings, as_of=MONDAY, future=future)


SETTINGS = make_settings(ROOT)
SUMMED = {"series": {"aggregate": "sum"}}
ONE = shops()
NEW = {"new_week"}
LAST = FIRST + N * WEEK
DAILY = days()
ONE_DAILY = DAILY[DAILY["unique_id"] == "graz"]
CLOSED = FIRST + 20 * WEEK, FIRST + 70 * WEEK
HOLIDAY = changed(ONE, ONE["ds"].isin([FIRST + 58 * WEEK, FIRST + 110 * WEEK]), lambda y: y * 0.4)
STUCK = changed(
    ONE, ONE["unique_id"].eq("linz") & (ONE["ds"] > FIRST + (N - 4) * WEEK), lambda y: y * 0 + 210
)
ENDS = ONE[ONE["ds"] > FIRST + (N - 4) * WEEK]
ROLLED = ONE[ONE["ds"] > FIRST]

CASES = {
    "the first fetch of all": Case(ONE, NEW, before=None),
    "an ordinary week": Case(ONE, NEW),
    "nothing new since an hour ago": Case(ONE, {"unchanged"}, ONE, since=timedelta(hours=1)),
    "the source was not updated": Case(shops(N), {"unchanged", "late"}),
    "one value revised": Case(
        changed(ONE, at(ONE, "graz", 90), lambda y: y + 5), NEW | {"revised"}
    ),
    "history up 10 % overnight": Case(
        changed(ONE, ~newest(ONE), lambda y: y * 1.1), NEW | {"rescaled"}
    ),
    "another history altogether": Case(
        changed(ONE, ~newest(ONE), lambda y: y + shops(seed=9)["y"] / 9), NEW | {"rewritten"}
    ),
    "last week's data under a new date": Case(
        pd.concat([shops(N), shops(N)[newest(shops(N))].assign(ds=FIRST + N * WEEK)]),
        NEW | {"repeated"},
    ),
    "last week's file, every date moved": Case(
        shops(N).assign(ds=lambda rows: rows["ds"] + WEEK), NEW | {"repeated"}
    ),
    "half a week taken for a whole one": Case(
        DAILY[DAILY["ds"] <= LAST - 4 * DAY],
        {"unchanged", "partial"},
        DAILY[DAILY["ds"] <= LAST - WEEK],
        SUMMED,
    ),
    "a day without sales, or the source was cut off": Case(
        ONE_DAILY[ONE_DAILY["ds"] < LAST],
        NEW | {"unknown_completeness"},
        ONE_DAILY[ONE_DAILY["ds"] <= LAST - WEEK],
        {"series": {"aggregate": "mean"}},
    ),
    "a closure of a year": Case(
        ONE[(ONE["unique_id"] != "graz") | ~ONE["ds"].between(*CLOSED)],
        NEW | {"long_gap"},
        before=None,
    ),
    "a date that stands for none": Case(
        pd.concat([ONE, ONE[:1].assign(ds=pd.Timestamp("1900-01-05"))]),
        NEW | {"placeholder_dates", "long_gap"},
        before=None,
    ),
    "dates written as midnight in UTC": Case(
        ONE.assign(given=np.where(ONE["ds"] == FIRST, "{}", None)), NEW | {"midnight_dates"}
    ),
    "half a week, its total alone": Case(
        changed(ONE, newest(ONE), lambda y: y * 0.45), NEW | {"rescaled"}
    ),
    "a shop closed": Case(changed(ONE, at(ONE, "wels"), lambda y: y * 0), NEW | {"unusual"}),
    "a shop gone from the source": Case(ONE[ONE["unique_id"] != "wels"], NEW | {"vanished_series"}),
    "a shop opened": Case(ONE, NEW | {"new_series"}, shops(N)[shops(N)["unique_id"] != "wels"]),
    "the unit from kg to t, from now on": Case(
        changed(ONE, at(ONE, "wien"), lambda y: y / 1000), NEW | {"rescaled"}
    ),
    "a file cut off in the middle": Case(
        ONE[: 3 * (N + 1) + 40], NEW | {"shrunk", "vanished_series"}
    ),
    "a week gone from the middle": Case(ONE[~at(ONE, "graz", 80)], NEW | {"shrunk"}),
    "a window that rolls on": Case(ROLLED, NEW),
    "a window that rolled too far": Case(ONE[ONE["ds"] > FIRST + 20 * WEEK], NEW | {"shrunk"}),
    "a holiday, as a year ago": Case(HOLIDAY, NEW, HOLIDAY[~newest(HOLIDAY)]),
    "one shop is late": Case(ONE[~at(ONE, "krems")], NEW | {"late"}),
    "a shop that skipped a week": Case(
        ONE[~at(ONE, "graz", N - 1)], NEW | {"gaps"}, shops(N)[~at(shops(N), "graz", N - 1)]
    ),
    "an old gap": Case(ONE[~at(ONE, "graz", 100)], NEW, shops(N)[~at(shops(N), "graz", 100)]),
    "a sensor that is stuck": Case(STUCK, NEW | {"flat"}, STUCK[~newest(STUCK)]),
    "a spike": Case(changed(ONE, at(ONE, "graz"), lambda y: y * 3), NEW | {"unusual"}),
    "a value that none can be": Case(
        changed(ONE, at(ONE, "graz"), lambda y: -y),
        NEW | {"out_of_range", "unusual"},
        tables={"series": {"ranges": {"gr*": [0, 900]}}},
    ),
    "two rows that came twice": Case(
        pd.concat([ONE, ONE[newest(ONE)][:2]]),
        NEW | {"duplicates"},
        tables={"series": {"aggregate": "last"}},
    ),
    "a stray weekday": Case(
        ONE.assign(ds=ONE["ds"].where(~at(ONE, "linz"), ONE["ds"] - 2 * DAY)), NEW | {"off_grid"}
    ),
    "two names that look alike": Case(
        ONE.assign(unique_id=ONE["unique_id"].replace("linz", "graz ")),
        NEW | {"similar_names"},
        before=None,
    ),
    "thousands in the first year": Case(
        changed(ONE, at_first(ONE, "graz", 52), lambda y: y / 1000),
        NEW | {"number_format"},
        before=None,
    ),
    "files that begin before the last one ends": Case(
        pd.concat(
            [ONE[~newest(ONE)].assign(file="1.csv"), ENDS.assign(file="2.csv")], ignore_index=True
        ),
        NEW | {"overlapping_files"},
        before=None,
        tables={"series": {"aggregate": "last"}},
    ),
    "a clock that was wrong once": Case(ONE, NEW | {"future_clock"}, future=(MONDAY,)),
    "two rows that nobody can read": Case(set_aside(ONE), NEW | {"malformed"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_invented_week_has_its_findings(case: Case):
    tables = {"source": {"kind": "file", "path": "x.csv"}, **case.tables}
    findings = evaluate_case(case, make_settings(ROOT, **tables))
    assert {one.kind for one in findings} == case.kinds, [one.message for one in findings]


def test_every_kind_is_in_an_invented_week():
    """But that of totals, which are made before (data/test_hierarchy)."""
    kinds = set().union(*(case.kinds for case in CASES.values()))
    assert {*kinds, "totals_differ"} == set(KINDS)


def test_ordinary_weeks_of_the_demo_seldom_warn():
    rows = demo_series()
    rows = _raw(rows.assign(ds=pd.to_datetime(rows["ds"])))
    before, warnings = None, []
    for day in sorted(rows["ds"].unique())[-101:-48]:
        as_of = pd.Timestamp(day).to_pydatetime().replace(tzinfo=UTC) + timedelta(days=3)
        new = rows[rows["ds"] <= day]
        weeks = _weeks(new, SETTINGS, as_of)
        if before is not None:
            findings = evaluate(new, weeks, before, SETTINGS, as_of=as_of)
            warnings += with_policy(findings, "warn", "hold")
        before = PreviousVersion(weeks, as_of)
    assert [(one.kind, one.series) for one in warnings] == [("flat", ("us_crude_production",))]


def test_held_data_have_a_message_with_the_reasons_and_how_to_accept_them():
    findings = evaluate_case(CASES["a shop gone from the source"])
    assert [one.kind for one in blocking(findings)] == ["vanished_series"]
    message = hold_message(findings)
    assert "- vanished_series: 1 of 6 series of the previous version are missing: wels." in message
    assert "forecast-assets run --accept" in message
    policies = {"vanished_series": "publish", "new_week": "hold"}
    settings = make_settings(ROOT, data_quality=policies)
    findings = evaluate_case(CASES["a shop gone from the source"], settings)
    assert {one.kind: one.policy for one in findings} == policies


@pytest.mark.parametrize(("n_gone", "policy"), [(1, "warn"), (2, "hold")])
def test_one_series_of_many_does_not_hold_the_others_back(n_gone: int, policy: str):
    old = make_series(**{f"s{i:02}": walk(30, seed=i) for i in range(25)})
    new = old[old["unique_id"] >= f"s{n_gone:02}"].reset_index(drop=True)
    before = PreviousVersion(old, MONDAY - timedelta(weeks=1))
    findings = evaluate(make_raw(new), new, before, SETTINGS, as_of=MONDAY)
    assert {one.kind: one.policy for one in findings}["vanished_series"] == policy


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("an ordinary week", "nothing odd"),
        ("nothing new since an hour ago", "nothing new, nothing odd"),
        ("a file cut off in the middle", "shrunk (70), vanished series (2)"),
    ],
)
def test_findings_are_summarized_in_a_line(name: str, line: str):
    findings = evaluate_case(CASES[name])
    assert one_line(findings) == line
    assert findings == evaluate_case(CASES[name])  # the same input gives the same findings


def test_weeks_that_end_on_another_day_are_not_compared():
    old = _weeks(ONE.assign(ds=ONE["ds"] - DAY), SETTINGS, MONDAY)
    old = PreviousVersion(old.assign(ds=old["ds"] - DAY), MONDAY)
    findings = evaluate(_raw(ONE), _weeks(ONE, SETTINGS, MONDAY), old, SETTINGS, as_of=MONDAY)
    assert [one.message.partition(":")[0] for one in findings] == ["The first version"]


VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1e300, -1.0, 1.0])
)
PANELS = st.dictionaries(
    st.sampled_from(["a", "=1+1", "ñ"]),
    st.tuples(st.integers(0, 30), st.lists(VALUES, min_size=2, max_size=40)),
    min_size=1,
)


@hypothesis_settings(max_examples=40)
@given(new=PANELS, old=PANELS, has_old=st.booleans())
def test_any_weeks_can_be_evaluated(new: dict[str, Any], old: dict[str, Any], *, has_old: bool):
    source = {"kind": "file", "path": "x"}
    settings = make_settings(ROOT, source=source, series={"season_length": 4})
    weeks = make_ragged(**new)
    before = PreviousVersion(make_ragged(**old), MONDAY - timedelta(weeks=1)) if has_old else None
    findings = evaluate(make_raw(weeks), weeks, before, settings, as_of=MONDAY)
    assert all(one.n > 0 and one.message.endswith(".") for one in findings)
    same = PreviousVersion(weeks, MONDAY)
    again = evaluate(make_raw(weeks), weeks, same, settings, as_of=MONDAY)
    assert {one.kind for one in again} <= {"unchanged"}
