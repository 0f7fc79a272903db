"""The template context has the right series, texts and lists."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_assets.reporting.context import Context, build_context
from forecast_assets.reporting.overview import MAX_FULL, MAX_ROWS, summarize
from forecast_assets.reporting.render import all_rows_json, render
from forecast_assets.reporting.summary import WeeklyReport, summarize_series
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_best_model,
    make_metrics,
    make_report,
    many_series,
)


def context_of(report: WeeklyReport) -> Context:
    """Return the context of the page."""
    return build_context(report, summarize(report))


@pytest.fixture(scope="module")
def long_report() -> WeeklyReport:
    """Return a report of more series than are written out."""
    return make_report(many_series(MAX_FULL + 10), units={"s*": "tons"}, n_weeks=2, half=0.5)


def test_a_few_series_are_all_written_out_by_name():
    context = context_of(make_report(many_series(MAX_FULL), n_weeks=1))
    names = [f"s{i:04}" for i in range(MAX_FULL)]
    assert [row["name"] for row in context["rows"]] == names
    assert [chart["name"] for chart in context["charts"]] == names
    assert not context["is_long"]


def test_of_many_series_those_that_need_attention_are_written_out(long_report: WeeklyReport):
    context = context_of(long_report)
    rows = summarize_series(long_report)
    rows = rows.assign(needs=[reason != "" for reason in summarize(long_report).reasons])
    first = rows.sort_values(["needs", "surprise"], ascending=False, kind="stable").head(MAX_ROWS)
    assert 0 < rows["needs"].sum() < len(rows)
    shown = [(row["name"], row["surprise"]) for row in context["rows"]]
    assert shown == [(row.unique_id, f"{row.surprise:.1f}") for row in first.itertuples()]
    assert len(context["charts"]) == MAX_ROWS
    assert (context["choices"], context["n_by_model"]) == ([], {"naive": len(rows)})


def test_all_rows_are_json_rounded_as_they_are_written(long_report: WeeklyReport):
    rows = json.loads(all_rows_json(summarize(long_report)))
    last = long_report.series.groupby("unique_id")["y"].last()
    assert rows["name"] == list(last.index)
    assert {len(rows[name]) for name in ("next", "low", "high", "miss", "model")} == {len(last)}
    assert [rows["units"][i] for i in rows["unit"]] == ["tons"] * len(last)
    assert rows["last"] == [round(y, 2) for y in last]
    assert rows["decimals"] == [2] * len(last)


def test_the_json_is_safe_in_a_page_and_has_no_nan():
    name = "</script><!-- & \u2028"
    report = make_report(make_series(**{name: [1.0, 2.0]}), n_weeks=0)
    forecast = report.forecast.assign(lo_80=np.nan, hi_80=np.nan)
    text = all_rows_json(summarize(replace(report, forecast=forecast)))
    assert not set("<>&\u2028") & set(text)
    rows = json.loads(text)
    assert (rows["name"], rows["low"], rows["miss"]) == ([name], [None], [None])


def test_a_row_has_the_unit_and_the_digits_of_its_series():
    series = make_series(sales=[10.0, 11.0, 13.0, 12.0])
    (row,) = context_of(make_report(series, units={"s*": "tons"}))["rows"]
    assert row == {
        "name": "sales",
        "unit": "tons",
        "week": None,
        "fallback": "",
        "next": "12.0",
        "change": "0.0",
        "override": "",
        "parts": "",
        "intervals": ["10.0 to 14.0", "9.6 to 14.4"],
        "last": "12.0",
        "published": "13.0",
        "miss": "1.0 too high",
        "outcome": "inside 80 %",
        "plain_outcome": "in the likely range",
        "look": "",
        "url": "series.html#sales",
        "is_outside": False,
        "surprise": "0.5",
    }


def test_an_override_of_zero_is_shown():
    report = make_report()
    given = {"override": [0.0] * len(report.forecast), "override_by": "ann"}
    (row, *_) = context_of(replace(report, forecast=report.forecast.assign(**given)))["rows"]
    assert row["override"] == "0 by ann"


def test_a_row_names_a_fallback_and_an_earlier_week():
    report = make_report(make_ragged(ended=(0, walk(10, seed=1)), goes_on=(0, walk(20, seed=2))))
    forecast = report.forecast.assign(rung="runner-up")
    ended, goes_on = context_of(replace(report, forecast=forecast))["rows"]
    assert (str(ended["week"]), goes_on["week"]) == ("2024-03-15", None)
    assert ended["fallback"] == "naive (runner-up)"


def test_switches_of_models_are_listed_up_to_a_limit(long_report: WeeklyReport):
    ids = sorted(set(long_report.series["unique_id"]))
    switched = make_best_model(ids, previous_model="theta", switched=np.arange(len(ids)) < 25)
    context = context_of(replace(long_report, best_model=switched))
    assert (context["n_switches"], len(context["switches"])) == (25, MAX_ROWS)
    assert context["switches"][0]["previous_model"] == "theta"


@pytest.mark.parametrize(
    ("metric", "rows"),
    [
        ("mase", [("theta", "1.00", 0), ("naive", "2.00", 1), ("arima", "–", 0)]),
        ("smape", [("naive", "100.0 %", 1), ("theta", "200.0 %", 0), ("arima", "–", 0)]),
    ],
)
def test_the_leaderboard_is_ranked_by_the_selection_metric(
    metric: str, rows: list[tuple[str, str, int]]
):
    metrics = make_metrics(["sales"], {"naive": 1.0, "theta": 2.0, "arima": np.nan})
    metrics["mase"] = 3.0 - metrics["mase"]
    context = context_of(make_report(metrics=metrics, metric=metric))
    assert context["metric"] == metric.upper()
    shown = [(row["model"], row["score"], row["n_chosen"]) for row in context["leaderboard"]]
    assert shown == rows


def test_the_order_of_rows_does_not_matter(long_report: WeeklyReport):
    frames = {"best_model": long_report.best_model, "metrics": long_report.metrics}
    shuffled = {name: frame.sample(frac=1, random_state=1) for name, frame in frames.items()}
    again = replace(long_report, **shuffled)
    assert all_rows_json(summarize(again)) == all_rows_json(summarize(long_report))
    first, second = (context_of(report)["leaderboard"] for report in (long_report, again))
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(second))


def test_a_chart_shows_published_intervals_of_the_level_in_the_table():
    report = make_report(levels=[10, 80, 95], half=1.0)
    (chart,) = context_of(report)["charts"]
    n_outside = int((~report.accuracy["in_80"]).sum())
    assert chart["svg"].count('class="outside"') == n_outside
    assert n_outside < int((~report.accuracy["in_10"]).sum())


def test_corrected_values_are_listed_where_they_differ():
    report = make_report(many_series(3), n_weeks=1)
    forecast = report.forecast.assign(
        last_published=[100.0, np.nan, 100.0], last_corrected=[125.0, np.nan, 100.0000001]
    )
    metrics = report.metrics.assign(vintage_share=[0.5] * len(report.metrics))
    context = context_of(replace(report, forecast=forecast, metrics=metrics))
    (row,) = context["corrected"]
    assert (row["name"], row["published"][:3], row["corrected"][:3]) == ("s0000", "100", "125")
    assert context["revisions"].startswith("In 50 % of its folds the backtest saw the past as it")
    for name in ("details.html", "report.md"):
        text = render(replace(report, forecast=forecast, metrics=metrics))[name]
        assert "published 100" in text
    earlier = report.forecast.drop(columns=["last_published", "last_corrected"])
    assert context_of(replace(report, forecast=earlier))["corrected"] == []


def test_the_report_says_that_revisions_are_unknown():
    report = make_report(many_series(3), n_weeks=1)
    without = report.metrics.drop(columns="vintage_share")
    for metrics in (without, without.assign(vintage_share=np.nan)):
        sentence = context_of(replace(report, metrics=metrics))["revisions"]
        assert sentence.startswith("How these values are revised after they are published is unkno")
