"""Test data.quality.source_checks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.comparison import VersionComparison, WeekGrid
from forecast_assets.data.quality.row_checks import RawRows
from forecast_assets.data.quality.source_checks import (
    number_format,
    overlapping_files,
    similar_names,
)
from forecast_assets.data.sources.numbers import MAY_BE_THOUSANDS
from forecast_assets_tests.builders import make_raw, make_series, make_settings, walk

ALWAYS = pd.Timestamp.min
DAY = pd.Timedelta(days=1)
NOTHING = make_series(a=[1.0]).head(0)


def compare(new: pd.DataFrame, old: pd.DataFrame = NOTHING) -> tuple[RawRows, VersionComparison]:
    return RawRows(make_raw(new)), VersionComparison(WeekGrid.of(new), WeekGrid.of(old))


def test_points_before_three_digits_are_found_once():
    new = make_series(a=[983.0, 1.022, 1.0], b=[1.5, 2.5, 3.5])
    rows, comparison = compare(new)
    rows.raw.loc[[1, 2], "note"] = MAY_BE_THOUSANDS
    (one,) = number_format(rows, comparison)
    assert one.message == (
        "2 numbers of 1 series have a point with exactly three digits after it, and no point has"
        " another number of them: a (1.022)."
    )
    assert (one.n, one.series) == (2, ("a",))
    assert number_format(rows, VersionComparison(comparison.new, comparison.new)) == []
    assert number_format(RawRows(rows.raw.drop(columns="note")), comparison) == []


def tonnes(n: int = 30, *, at: slice = slice(12, 15)) -> list[float]:
    y = np.array(walk(n, seed=1, start=900.0))
    y[at] /= 1000
    return list(y)


def test_steps_by_a_thousand_within_a_history_are_found():
    (one,) = number_format(*compare(make_series(a=tonnes(), b=walk(30, seed=2))))
    assert (one.n, one.series) == (2, ("a",))
    assert one.message.startswith(
        "2 steps within the histories of 1 series are by about 1,000: a / "
    )
    assert one.rows[0].ds == "2024-03-29"
    (once,) = number_format(*compare(make_series(a=tonnes(at=slice(12)))))
    assert once.n == 1
    assert number_format(*compare(make_series(a=tonnes()), make_series(a=tonnes()))) == []


def test_thousands_that_lost_their_zeros_are_found():
    y = np.array([1610.0, 461, 812, 1205, 990, 1020, 733, 1890, 655, 1500])
    lost = np.where(y >= 1000, y / 1000, y)
    (one,) = number_format(*compare(make_series(a=list(lost), b=list(y), c=list(y / 100))))
    assert (one.series, one.n) == (("a",), 7)


@pytest.mark.parametrize(
    "y",
    [
        walk(30, seed=1),
        tonnes(at=slice(29, 30)),  # is `rescaled`
        [1.0, 40.0, 1000.0, 3.0, 2000.0, 50.0, 4.0] * 5,
        [0.0, 1000.0] * 15,
        [1.0, 1000.0],
        [0.5] * 15 + [4.0] * 15,
    ],
)
def test_other_steps_are_none(y: list[float]):
    assert number_format(*compare(make_series(a=y))) == []


@pytest.mark.parametrize(
    "other", ["Graz ", " Graz", "graz", "GRAZ", "Gra\u200bz", "Ｇraz", "Gr az", "Graz\u00a0"]
)
def test_names_that_look_alike_are_found_once(other: str):
    new = make_series(**{"Graz": walk(9, seed=1), other: walk(9, seed=2), "Linz": walk(9, seed=3)})
    rows, comparison = compare(new)
    (one,) = similar_names(rows, comparison)
    assert (one.n, set(one.series)) == (2, {"Graz", other})
    assert f"Graz (like {other!r})" in one.message
    assert similar_names(rows, VersionComparison(comparison.new, comparison.new)) == []
    one_was_there = compare(new, make_series(Graz=walk(9, seed=1)))
    assert len(similar_names(*one_was_there)) == 1


def test_names_in_another_unicode_form_look_alike():
    names = ["K\u00f6ln", "Ko\u0308ln"]
    new = make_series(**{name: walk(9, seed=1) for name in names})
    (one,) = similar_names(*compare(new))
    assert r"like 'Ko\u0308ln'" in one.message


@pytest.mark.parametrize("names", [("1", "1.0"), ("007", "7")])
def test_numbers_that_are_written_in_two_ways_look_alike(names: tuple[str, str]):
    new = make_series(**{name: walk(9, seed=1) for name in names})
    assert [one.n for one in similar_names(*compare(new))] == [2]


def test_a_series_that_was_renamed_is_like_its_old_name():
    old = make_series(**{"graz": walk(9, seed=1), "1": walk(9, seed=2), "Linz": walk(9, seed=3)})
    new = make_series(**{"Graz": walk(9, seed=1), "1.0": walk(9, seed=2), "Linz": walk(9, seed=3)})
    (one,) = similar_names(*compare(new, old))
    was = "of the previous version"
    assert one.message.endswith(f" alone: 1.0 (like '1' {was}), Graz (like 'graz' {was}).")
    assert similar_names(*compare(new, new)) == []


def test_other_names_do_not_look_alike():
    names = [
        "Graz",
        "Graz 1",
        "Graz 11",
        "Graz 1 1",
        "Gratz",
        "Gräz",
        "1/1",
        "11",
        "1 1",
        "St. Veit",
    ]
    series = make_series(**{name: walk(9, seed=n) for n, name in enumerate(names)})
    assert similar_names(*compare(series)) == []


def settings_of(aggregate: str, **source: str) -> Settings:
    return make_settings(
        Path("/"),
        source={"kind": "file", "path": "*.csv", **source},
        series={"aggregate": aggregate},
    )


def overlapping(first: pd.DataFrame, second: pd.DataFrame) -> RawRows:
    files = [make_raw(part).assign(file=f"{n}.csv") for n, part in enumerate((first, second), 1)]
    return RawRows(pd.concat(files, ignore_index=True))


def test_files_that_overlap_are_found_with_their_dates():
    weeks = make_series(a=walk(20, seed=1), b=walk(20, seed=2))
    is_early = weeks["ds"] < "2024-04-01"
    rows = overlapping(weeks[is_early], weeks[~is_early | (weeks["ds"] > "2024-03-20")])
    (one,) = overlapping_files(rows, settings_of("sum"), after=ALWAYS)
    assert one.message == (
        "4 rows of 2 series are in two files, 4 with the same value: 1.csv and 2.csv (2024-03-22 to"
        " 2024-03-29). They count twice."
    )
    assert (one.n, one.series, one.is_harmless) == (4, ("a", "b"), False)
    assert (one.rows[0].ds, one.rows[0].detail) == ("2024-03-22", "1.csv, 2.csv")
    for aggregate in ("last", "mean"):
        (other,) = overlapping_files(rows, settings_of(aggregate), after=ALWAYS)
        assert other.is_harmless
        assert "No value depends on it. Set `source.overlap`" in other.text
    assert overlapping_files(rows, settings_of("sum"), after=pd.Timestamp("2024-03-29")) == []
    assert overlapping_files(rows, settings_of("sum", overlap="sum"), after=ALWAYS) == []


def test_common_zeros_are_harmless_for_a_sum():
    weeks = make_series(a=[0.0] * 5 + walk(5, seed=1), b=[0.0] * 10)
    rows = overlapping(weeks[weeks["ds"] < "2024-02-01"], weeks[weeks["ds"] > "2024-01-20"])
    (one,) = overlapping_files(rows, settings_of("sum"), after=ALWAYS)
    assert one.is_harmless
    (mean,) = overlapping_files(rows, settings_of("mean"), after=ALWAYS)
    assert mean.is_harmless


def test_common_days_of_a_part_of_a_week_change_its_mean():
    weeks = make_series(a=walk(20, seed=1), b=walk(20, seed=2))
    days = pd.concat([weeks.assign(ds=weeks["ds"] - DAY, y=weeks["y"] + 1), weeks])
    is_early = days["ds"] < "2024-04-01"
    rows = overlapping(days[is_early], days[~is_early | (days["ds"] == "2024-03-29")])
    (one,) = overlapping_files(rows, settings_of("mean"), after=ALWAYS)
    assert not one.is_harmless
    assert "They weigh twice in the mean of their week." in one.message
