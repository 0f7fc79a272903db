"""The week that is told: which series, under which title."""

from forecast_assets.data.quality.finding import Finding
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import make_week


def test_the_title_says_the_week_and_how_many_series():
    series = make_series(a=walk(20, seed=1), b=walk(20, seed=2))
    assert make_week(series).title == "Forecast for the week ending 2024-05-24: 2 series"
    further = make_week(series, horizon=3).title
    assert further == "Forecast for the weeks ending 2024-05-24 to 2024-06-07: 2 series"


def test_the_title_says_the_newest_week_where_a_series_has_ended():
    series = make_ragged(a=(0, walk(10, seed=1)), b=(0, walk(20, seed=2)))
    assert make_week(series).title == "Forecast for the week ending 2024-05-24: 2 series"


def test_only_the_series_that_fit_a_pattern_are_told():
    week = make_week(make_series(Sales=walk(20, seed=1), sales_uk=walk(20, seed=2), stock=[1, 2]))
    some = week.only(["sales*", "st?ck"])
    for frame in (some.forecast, some.series, some.best_model, some.metrics):
        assert set(frame["unique_id"]) == {"sales_uk", "stock"}
    assert set(some.accuracy["unique_id"]) <= {"sales_uk", "stock"}
    assert (some.n_series, some.run_id, some.levels) == (2, week.run_id, week.levels)


def test_a_series_whose_name_looks_like_a_pattern_is_told_by_its_name():
    week = make_week(make_series(**{"a[1]": walk(20, seed=1), "a1": walk(20, seed=2)}))
    assert set(week.only(["a[1]"]).forecast["unique_id"]) == {"a[1]", "a1"}


def test_a_part_of_the_week_has_none_of_the_problems_of_the_whole():
    week = make_week(make_series(a=walk(20, seed=1), c=[1]), problems=["c is too short."])
    assert list(week.only(["a"]).problems) == []


def test_a_part_of_the_week_has_the_findings_of_its_series_alone():
    every = [Finding("flat", 1, ids, "It is flat.") for ids in (("a",), ("a", "b"), ("b",), ())]
    series = make_series(a=walk(20, seed=1), b=walk(20, seed=2))
    assert list(make_week(series, findings=every).only(["a"]).findings) == every[:1]


def test_a_week_of_no_series_has_a_title():
    none = make_week().only(["nothing"])
    assert none.n_series == 0
    assert none.title == "Forecast of no series"
