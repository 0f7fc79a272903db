"""The first page says in plain words how sure a forecast is, what changed and what to look at."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.quality.finding import Finding
from forecast_assets.reporting import plain_words
from forecast_assets.reporting.narrative import NO_TRACK_RECORD
from forecast_assets.reporting.summary import summarize_series
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import make_best_model, make_report, many_series


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (80, "8 of 10"),
        (95, "19 of 20"),
        (50, "5 of 10"),
        (97.5, "39 of 40"),
        (99, "99 of 100"),
        (99.9, "999 of 1000"),
        (99.99, "99.99 of 100"),
    ],
)
def test_a_level_is_written_as_a_count(level: float, expected: str):
    assert plain_words.odds(level) == expected


def test_ranges_say_what_they_promise_and_what_they_held():
    report = make_report(n_weeks=20, half=1.0)
    promise, held, accuracy = plain_words.sure_sentences(report, [80, 95])
    assert promise == "The likely range should hold 8 of 10 values, the wide range 19 of 20."
    shares = [
        f"{report.accuracy[name].mean():.0%}".replace("%", " %") for name in ("in_80", "in_95")
    ]
    assert held == (
        f"So far, of 20 values, the likely range held {shares[0]} and the wide range held"
        f" {shares[1]}."
    )
    assert accuracy.startswith("Over 20 weeks of published forecasts, errors were")
    first = plain_words.sure_sentences(make_report(n_weeks=0), [80])
    assert first == ["The likely range should hold 8 of 10 values.", NO_TRACK_RECORD]


def test_a_model_is_named_with_the_week_since_which_it_forecasts():
    report = make_report(many_series(2), n_weeks=3)
    assert plain_words.model_sentence(report) == (
        "All 2 series are forecast by naive, since the week ending 2024-07-12."
    )
    is_old = report.accuracy["ds"] == report.accuracy["ds"].min()
    accuracy = report.accuracy.assign(model=np.where(is_old, "theta", "naive"))
    spells = plain_words.model_spells(replace(report, accuracy=accuracy))
    assert spells[["unique_id", "model", "n_weeks"]].to_numpy().tolist() == [
        ["s0000", "theta", 1],
        ["s0000", "naive", 3],
        ["s0001", "theta", 1],
        ["s0001", "naive", 3],
    ]
    first = make_report(n_weeks=0)
    assert plain_words.model_sentence(first) == (
        "The series is forecast by naive, for the first time."
    )
    mixed = report.forecast.assign(model=["naive", "theta"])
    assert plain_words.model_sentence(replace(report, forecast=mixed)).startswith("2 models fore")


def test_what_changed_names_models_and_series_but_no_warnings():
    switched = make_best_model(["s0000", "s0001"], switched=[True, False])
    findings = [
        Finding("new_series", 1, ("s0001",), "1 series is new."),
        Finding("revised", 1, ("s0001",), "It is a warning.", policy="warn"),
        Finding("unchanged", 1, (), "It says nothing."),
    ]
    report = make_report(many_series(2), best_model=switched, findings=findings)
    assert plain_words.changes(report, "Last week was good.") == [
        "Last week was good.",
        "1 series is forecast by another model: s0000.",
        "1 series is new.",
    ]
    assert plain_words.changes(make_report(), "") == []


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (make_series(a=[1.0, 2.0]), "The data are complete: the series has a value for the week"),
        (
            make_ragged(late=(0, walk(10, seed=1)), other=(0, walk(20, seed=2))),
            "1 of 2 series lack a value for the week ending 2024-05-17.",
        ),
        (
            many_series(2).assign(is_filled=[True, *[False] * 59]),
            "All 2 series have a value for the week ending 2024-07-26; 1 value of the last year",
        ),
    ],
)
def test_whether_the_data_are_whole_is_said(series: pd.DataFrame, expected: str):
    report = make_report(series, n_weeks=1)
    assert plain_words.data_sentence(report, summarize_series(report)).startswith(expected)


def test_series_need_attention_for_reasons_in_words():
    ids = ["calm", "given", "jumps", "late", "odd", "outside", "stood_in"]
    weeks = {name: (0, walk(20, seed=1)) for name in ids} | {"late": (0, walk(10, seed=1))}
    report = make_report(make_ragged(**weeks), n_weeks=2, half=9.0)
    finding = Finding("unusual", 1, ("odd",), "It is odd.", policy="warn")
    forecast = report.forecast.set_index("unique_id").assign(override=np.nan)
    forecast.loc["jumps", "y_hat"] += 50.0
    forecast.loc["given", "override"] = 3.0
    forecast.loc["stood_in", "rung"] = "runner-up"
    newest = report.accuracy["ds"].max()
    is_outside = (report.accuracy["unique_id"] == "outside") & (report.accuracy["ds"] == newest)
    ends = ["lo_80", "hi_80", "lo_95", "hi_95"]
    accuracy = report.accuracy.copy()
    accuracy.loc[is_outside, ends] = 0.0
    report = replace(report, forecast=forecast.reset_index(), accuracy=accuracy, findings=[finding])
    reasons = plain_words.attention_reasons(report, summarize_series(report))
    assert dict(zip(ids, reasons, strict=True)) == {
        "calm": "",
        "given": "number given by a person",
        "jumps": "large change expected",
        "late": "no value for the newest week",
        "odd": "data: unusual",
        "outside": "last value outside its range",
        "stood_in": "another model stood in",
    }
    without = report.forecast.assign(lo_95=np.nan)
    (reason, *_) = plain_words.attention_reasons(
        replace(report, forecast=without), summarize_series(replace(report, forecast=without))
    )
    assert reason == "no range"


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (10.0, "in the likely range"),
        (13.0, "above the likely range"),
        (5.0, "below the wide range"),
    ],
)
def test_the_newest_value_is_compared_with_its_ranges(y: float, expected: str):
    row = {"last_y": y, "miss": 0.0, "was_lo_80": 9.0, "was_hi_80": 11.0}
    row |= {"was_lo_95": 6.0, "was_hi_95": 14.0}
    assert plain_words.outcome_words(row, [80, 95]) == expected
    without = dict.fromkeys(row, np.nan)
    assert plain_words.outcome_words(without, [80, 95]) == ""
    assert plain_words.outcome_words({**without, "miss": 1.0}, [80, 95]) == "no range"
