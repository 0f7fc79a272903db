"""The sentences and small tables of the report say what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from forecast_assets.forecasting import live_accuracy
from forecast_assets.reporting import narrative
from forecast_assets.reporting.render import render
from forecast_assets.reporting.summary import summarize_series
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_best_model,
    make_metrics,
    make_report,
    many_series,
)


def make_rows(*changes: float) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return rows that are expected to change so much, with a usual change of one."""
    ids = [f"s{i}" for i in range(len(changes))]
    rows = pd.DataFrame({"unique_id": ids, "last_y": 10.0, "step": 1.0})
    texts = [f"{change:+.1f}".replace("-", "−") for change in changes]
    return rows.assign(y_hat=10.0 + np.array(changes)), dict(zip(ids, texts, strict=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([0.5, -0.5], "Of 2 series, 1 is expected to rise and 1 to fall; none is expected to ch"),
        ([0.01, -0.5], "Of 2 series, 1 is expected to fall and 1 to stay level; none is expected"),
        ([3, 0.5, -4, 0], "2 are expected to rise, 1 to fall and 1 to stay level; 2 are"),
        ([3, 0.5, -4], "by more than in a usual week: s2 (−4.0), s0 (+3.0)."),
        ([3, 0.5], "Of 2 series, 2 are expected to rise; 1 is expected to change by more than"),
        ([0, 0], "All 2 series are expected to stay level."),
        ([0.5], "s0 is expected to rise by 0.5."),
        ([-2.0], "s0 is expected to fall by 2.0, more than in a usual week."),
        ([0.0], "s0 is expected to stay level."),
    ],
)
def test_the_first_sentence_says_where_the_series_go(changes: list[float], expected: str):
    assert expected in narrative.next_week_sentence(*make_rows(*changes))


def test_values_of_last_week_inside_their_interval_are_counted():
    report = make_report(many_series(10), half=0.7)
    is_last = report.accuracy["ds"] == report.series["ds"].max()
    n_inside = int(report.accuracy.loc[is_last, "in_80"].sum())
    assert 1 < n_inside < 10
    assert narrative.last_week_sentence(summarize_series(report), 80) == (
        f"Last week, {n_inside} of 10 values were inside their likely range; about 8 were expected."
    )


@pytest.mark.parametrize(
    ("half", "expected"),
    [
        (99.0, "Last week's value was inside the likely range of its forecast."),
        (1e-6, "Last week's value was outside the likely range of its forecast."),
        (np.nan, "Last week's forecasts had no range."),
        (None, ""),
    ],
)
def test_last_week_of_one_series_is_a_plain_sentence(half: float | None, expected: str):
    report = make_report(n_weeks=0) if half is None else make_report(half=half)
    assert narrative.last_week_sentence(summarize_series(report), 80) == expected


def test_a_withdrawn_forecast_of_last_week_is_named_unless_another_one_counts():
    text = "as of 2026-01-05 00:00 UTC (by ann on 2026-01-06 00:00 UTC: The *file* was wrong)"
    report = make_report(n_weeks=0, withdrawn=text)
    sentence = f"Last week's forecast was withdrawn: that {text}."
    assert narrative.last_week_sentence(summarize_series(report), 80, withdrawn=text) == sentence
    assert r"The \*file\* was wrong" in render(report)["report.md"]
    assert sentence not in render(make_report(withdrawn=text))["report.html"]


def test_the_accuracy_sentence_compares_with_naive_and_with_chance():
    report = make_report(n_weeks=20, half=1.5)
    assert narrative.accuracy_sentence(report) == (
        "Over 20 weeks of published forecasts, errors were as large as those of repeating the last"
        " value; chance explains every difference from what was promised."
    )
    more = np.random.default_rng(1).uniform(0.9, 1.1, len(report.accuracy))
    worse = report.accuracy.assign(abs_error=report.accuracy["naive_abs_error"] + more)
    sentence = narrative.accuracy_sentence(make_report(accuracy=worse))
    assert "% larger than those of repeating the last value. More than chance expl" in sentence
    sentence = narrative.accuracy_sentence(make_report(n_weeks=3))
    assert sentence.startswith("Over 3 weeks of published forecasts, errors were as large as")
    assert sentence.endswith("; 8 weeks are needed for a verdict.")


def test_without_published_forecasts_there_is_no_track_record():
    report = make_report(n_weeks=0)
    assert narrative.track_record(report, [80]) == []
    assert narrative.accuracy_sentence(report) == narrative.NO_TRACK_RECORD


def test_the_track_record_holds_the_live_and_the_backtest_accuracy():
    report = make_report(make_series(a=walk(40, seed=1), b=walk(40, seed=2)), n_weeks=20, half=1.0)
    rows = pd.DataFrame(narrative.track_record(report, report.levels))
    total, quarter = (
        table(report.accuracy, report.series, levels=report.levels).iloc[0]
        for table in (live_accuracy.summary, live_accuracy.rolling_summary)
    )
    names = ["coverage_80", "coverage_95", "over_naive", "over_promise"]
    assert rows["so_far"].to_list() == total[names].to_list()
    assert rows["quarter"].to_list() == quarter[names].to_list()
    assert rows["expected"].to_list()[:2] == [0.8, 0.95]
    assert rows["backtest"].to_list()[:3] == [1.0, 1.0, 1.0]
    no_scores = make_report(report.series, best_model=make_best_model(["a"], model="gone"))
    assert pd.DataFrame(narrative.track_record(no_scores, [80]))["backtest"].isna().all()


def test_problems_of_checks_or_else_failures_and_fallbacks_and_late_series_need_attention():
    series = make_ragged(ended=(0, walk(10, seed=1)), current=(0, walk(20, seed=2)))
    metrics = make_metrics(["ended", "current"], {"naive": 1.0, "arima": np.nan})
    forecast = make_report(series).forecast.assign(rung="naive")
    late = "1 of 2 series has no value for the newest week: its forecast is for an earlier week."
    for fields, expected in (
        ({}, []),
        ({"metrics": metrics}, ["A model failed on a series 2 times; it does not compete there."]),
        ({"forecast": forecast}, ["2 of 2 series are not forecast by a champion."]),
        ({"metrics": metrics, "problems": ["It is odd."]}, ["It is odd."]),
    ):
        report = make_report(series, **fields)
        assert narrative.attention(report, summarize_series(report)) == [*expected, late]


def test_failures_that_differ_in_numbers_only_are_one():
    metrics = make_metrics([f"s{i}" for i in range(9)], {"naive": 1.0, "arima": np.nan})
    is_failed = metrics["status"] == "failed"
    reasons = [f"{i + 1} of 9 forecasts: LinAlgError: {i} steps" for i in range(8)]
    metrics.loc[is_failed, "reason"] = [*reasons, "9 of 9 forecasts: it died"]
    metrics.loc[(metrics["unique_id"] == "s0") & is_failed, "status"] = "ineligible"
    first, second = narrative.model_failures(metrics)
    assert first == {
        "model": "arima",
        "reason": "LinAlgError: 1 steps",
        "n_series": 7,
        "n_eligible": 8,
        "names": "s1, s2, s3 and 4 more",
    }
    assert (second["reason"], second["n_series"], second["names"]) == ("it died", 1, "s8")
    assert narrative.model_failures(make_metrics(["a"], {"naive": 1.0})) == []


def test_models_that_do_not_suit_a_series_are_grouped_by_the_cause():
    models = ["naive", "ridge", "tbats", "croston", "combination_mean"]
    metrics = make_metrics([f"s{i}" for i in range(6)], dict.fromkeys(models, 1.0))
    short = "too short: it needs 104 values and has"
    most = "too short for most folds: it needs 52 values and has them at"
    declined = {
        ("s0", "ridge"): f"{short} 12",
        ("s1", "tbats"): f"{short} 14",
        **{(f"s{i}", "ridge"): f"{most} {i} of 30" for i in range(1, 5)},
        ("s5", "croston"): "not for this series: it needs values of zero or more",
        ("s5", "combination_mean"): "no model forecast every fold",
    }
    for (unique_id, model), reason in declined.items():
        is_row = (metrics["unique_id"] == unique_id) & (metrics["model"] == model)
        metrics.loc[is_row, ["status", "reason"]] = "ineligible", reason
    assert [tuple(group.values()) for group in narrative.models_left_out(metrics)] == [
        (["ridge"], 4, "s1, s2, s3 and 1 more", "too short for most folds: it needs 52 values"),
        (["ridge", "tbats"], 2, "s0, s1", "too short: it needs 104 values"),
        (["croston"], 1, "s5", "not for this series: it needs values of zero or more"),
    ]
    assert narrative.models_left_out(make_metrics(["a"], {"naive": np.nan})) == []


def test_series_with_fewer_folds_are_named_with_the_reason():
    series = make_series(long=walk(30, seed=1), short=walk(8, seed=2), gaps=walk(30, seed=3))
    is_gap = (series["unique_id"] == "gaps") & (series.groupby("unique_id").cumcount() % 2 == 1)
    metrics = pd.DataFrame({"unique_id": ["long", "short", "gaps"], "n_folds": [10, 3, 7]})
    text = narrative.few_folds(series.assign(is_filled=is_gap), metrics, 10)
    assert text == (
        "2 series are tested on fewer than 10 folds, because the first fit needs half of their"
        " weeks, and no forecast is made from a filled week, or compared with one: short (3 folds"
        " in 8 weeks), gaps (7 folds in 30 weeks, 15 of them filled)."
    )
    assert narrative.few_folds(series, metrics, 3) == ""


def test_late_series_are_those_without_the_newest_weeks():
    series = make_ragged(a=(0, [1.0] * 10), b=(4, [1.0] * 2), c=(0, [1.0] * 9))
    late = narrative.late_series(series)
    assert late[["unique_id", "n_weeks"]].to_numpy().tolist() == [["b", 4], ["c", 1]]


def test_a_right_to_left_name_does_not_reorder_its_sentence():
    assert narrative.bidi_isolate("sales_2 é") == "sales_2 é"
    for name in ("ملف", "שם", "\u202eevil"):
        assert narrative.bidi_isolate(name) == f"\u2068{name}\u2069"
    rows, changes = make_rows(0.5)
    sentence = narrative.next_week_sentence(rows.assign(unique_id="ملف"), {"ملف": changes["s0"]})
    assert sentence == "\u2068ملف\u2069 is expected to rise by 0.5."
