"""The layout: which series are told, with which texts, and all of them as JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from forecast_assets.reporting.context import (
    MOST_STATIC,
    MOST_TOLD,
    attention,
    build_brief_context,
    build_context,
)
from forecast_assets.reporting.summary import WeeklyReport, outlook
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_choice,
    make_scores_of,
    make_week,
    many_series,
)


def test_a_few_series_are_all_told_in_the_order_of_their_names():
    told = build_context(make_week(many_series(MOST_STATIC)))
    assert [row["name"] for row in told["rows"]] == [f"s{i:04}" for i in range(MOST_STATIC)]
    assert [chart["name"] for chart in told["charts"]] == [row["name"] for row in told["rows"]]
    assert (told["is_long"], told["everything"]) == (False, "")


def test_of_many_series_the_most_surprising_are_told():
    week = make_week(many_series(MOST_STATIC + 1))
    told = build_context(week)
    rows = outlook(week.forecast, week.series, week.accuracy, levels=week.levels)
    first = rows.sort_values("surprise", ascending=False, kind="stable").head(MOST_TOLD)
    assert [row["name"] for row in told["rows"]] == first["unique_id"].to_list()
    assert [row["surprise"] for row in told["rows"]] == [f"{one:.1f}" for one in first["surprise"]]
    assert len(told["charts"]) == MOST_TOLD
    assert told["choices"] == []
    assert told["makers"] == {"naive": MOST_STATIC + 1}


def test_everything_is_there_as_json_to_the_digits_that_are_told():
    series = many_series(40)
    week = make_week(series, units={"s*": "tons"}, half=0.5)
    found = json.loads(build_context(week)["everything"])
    assert found["name"] == sorted(set(series["unique_id"]))
    assert {len(found[name]) for name in ("last", "next", "low", "high", "miss", "maker")} == {40}
    assert [found["labels"][i] for i in found["label"]] == ["tons"] * 40
    last = series.groupby("unique_id")["y"].last()
    assert found["last"] == [round(y, 2) for y in last]
    assert found["decimals"] == [2] * 40


def test_the_json_cannot_end_its_element_and_has_no_nan():
    series = many_series(40)
    series["unique_id"] = series["unique_id"].replace("s0007", "</script><!-- & \u2028")
    bare = make_week(series, n_due=0).forecast.assign(
        lo_80=np.nan, hi_80=np.nan, lo_95=np.nan, hi_95=np.nan
    )
    text = build_context(make_week(series, forecast=bare, n_due=0))["everything"]
    assert not set("<>&\u2028") & set(text)
    found = json.loads(text)
    assert "</script><!-- & \u2028" in found["name"]
    assert set(found["low"]) == set(found["miss"]) == {None}


def test_a_row_is_told_in_the_units_and_digits_of_its_series():
    week = make_week(make_series(sales=[10.0, 11.0, 13.0, 12.0]), units={"s*": "tons"}, half=2.0)
    (row,) = build_context(week)["rows"]
    assert row["unit"] == "tons"
    assert (row["next"], row["last"], row["was"], row["change"]) == ("12.0", "12.0", "13.0", "0.0")
    assert row["intervals"] == ["10.0 to 14.0", "9.6 to 14.4"]
    assert (row["miss"], row["outcome"], row["is_off"]) == ("1.0 too high", "inside 80 %", False)


def test_another_rung_and_another_week_are_told():
    series = make_ragged(ended=(0, walk(10, seed=1)), goes_on=(0, walk(20, seed=2)))
    week = make_week(series)
    lower = week.forecast.assign(rung="runner-up")
    ended, goes_on = build_context(make_week(series, forecast=lower))["rows"]
    assert (str(ended["week"]), goes_on["week"]) == ("2024-03-15", None)
    assert ended["by"] == "naive (runner-up)"


def test_further_weeks_are_told_up_to_eight():
    told = build_context(make_week(horizon=12))
    ((row,), n) = told["ahead"], told["n_ahead"]
    assert (len(row["weeks"]), n) == (8, 12)
    assert str(row["weeks"][1][0]) == "2025-03-07"
    assert build_context(make_week())["ahead"] == []


def looked_at(week: WeeklyReport) -> list[str]:
    """What a reader is asked to look at."""
    return attention(week, outlook(week.forecast, week.series, week.accuracy, levels=week.levels))


def test_what_checks_complained_of_is_told_as_they_put_it():
    failed = make_scores_of(["sales"], {"naive": 1.0, "arima": np.nan})
    problems = ["1 times a model failed on a series: arima on sales."]
    assert looked_at(make_week(metrics=failed, problems=problems)) == problems


def test_without_their_word_failures_and_lower_rungs_are_counted():
    failed = make_scores_of(["sales"], {"naive": 1.0, "arima": np.nan})
    (said,) = looked_at(make_week(metrics=failed))
    assert said == "1 time a model failed on a series; it does not compete there."
    lower = make_week().forecast.assign(rung="naive")
    (said,) = looked_at(make_week(forecast=lower))
    assert said == "1 of 1 series is not forecast by a champion."


def test_series_that_lag_behind_are_counted():
    series = make_ragged(ended=(0, walk(10, seed=1)), goes_on=(0, walk(20, seed=2)))
    (said,) = looked_at(make_week(series))
    assert said.startswith("1 of 2 series has no value for the newest week: what is forecast of")
    assert looked_at(make_week()) == []


def test_changes_of_model_are_told_with_what_was_before():
    week = make_week(many_series(40))
    ids = sorted(set(week.series["unique_id"]))
    changed = make_choice(ids, previous_model="theta", switched=[i < 25 for i in range(40)])
    told = build_context(make_week(week.series, best_model=changed))
    assert (told["n_changes"], len(told["changes"])) == (25, MOST_TOLD)
    assert told["changes"][0]["previous_model"] == "theta"


def test_the_members_of_a_combination_are_told():
    week = make_week()
    forecast = week.forecast.assign(model="combination_median", members="drift, ses")
    (choice,) = build_context(make_week(forecast=forecast))["choices"]
    assert (choice["by"], choice["members"]) == ("combination_median", "drift, ses")
    (bare,) = build_context(week)["choices"]
    assert bare["members"] is None


@pytest.mark.parametrize(("n", "n_more"), [(1, 0), (20, 0), (50, 30)])
def test_in_brief_no_more_than_twenty_series_are_told(n: int, n_more: int):
    found = build_brief_context(make_week(many_series(n)))
    assert (len(found["rows"]), found["n_more"]) == (n - n_more, n_more)


def test_the_same_week_is_laid_out_the_same():
    week = make_week(many_series(40))
    shuffled = {
        name: getattr(week, name).sample(frac=1, random_state=1)
        for name in ("best_model", "metrics")
    }
    first, again = build_context(week), build_context(make_week(week.series, **shuffled))
    assert first["everything"] == again["everything"]
    pd.testing.assert_frame_equal(
        pd.DataFrame(first["standings"]), pd.DataFrame(again["standings"])
    )


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([80], "80 % interval"),
        ([80, 95], "80 and 95 % intervals"),
        ([50, 80, 97.5], "50, 80 and 97.5 % intervals"),
        ([10, 20, 50, 90], "4 intervals from 10 to 90 %"),
    ],
)
def test_the_intervals_that_are_drawn_are_named(levels: list[float], expected: str):
    assert build_context(make_week(levels=levels))["drawn"] == expected


def test_a_chart_holds_the_past_against_the_interval_that_the_table_does():
    week = make_week(levels=[10, 80, 95], half=1.0)
    (chart,) = build_context(week)["charts"]
    assert chart["svg"].count('class="off"') == int((~week.accuracy["in_80"]).sum())
    assert (~week.accuracy["in_80"]).sum() < (~week.accuracy["in_10"]).sum()
