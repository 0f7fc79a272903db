"""Why a forecast moved, in sentences and small tables."""

import math
from datetime import date
from typing import Any, Literal

import numpy as np
import pytest

from forecast_assets.forecasting.explained_series import Comparison, ExplainedSeries
from forecast_assets.forecasting.explanation import Part
from forecast_assets.reporting import explanation, render
from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets_tests.report_builders import make_report

THEN, NOW = date(2024, 1, 5), date(2024, 1, 12)
WHOLE = NumberFormat(0)
CAME = "8,928; the value that came is 8,950."


def make_comparison(
    kind: Literal["same week", "next week"] = "next week",
    *parts: Part,
    now: float = 9012.0,
    actual: float = 8950.0,
) -> Comparison:
    return Comparison(kind, THEN if kind == "next week" else NOW, NOW, 8928.0, now, actual, parts)


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (
            make_comparison("same week"),
            "9,012, 84 higher than last week's for that week.",
        ),
        (
            make_comparison(now=8920.0),
            f"8,920, 8 lower than last week's for the week ending {THEN}, {CAME}",
        ),
        (
            make_comparison(now=8928.0, actual=math.nan),
            "8,928, as high as last week's for the week ending 2024-01-05, 8,928.",
        ),
    ],
)
def test_the_first_sentence_says_how_far_the_forecast_moved(comparison: Comparison, sentence: str):
    begin = "The forecast of a for the week ending 2024-01-12 is "
    assert explanation.headline("a", comparison, WHOLE) == begin + sentence


def test_the_table_has_the_parts_that_moved_and_their_sum():
    parts = (Part("new observations", 90.04), Part("code", 0.0), Part("settings", -6.04))
    rows = explanation.part_rows(make_comparison("same week", *parts), WHOLE)
    assert [(row["part"], row["change"]) for row in rows] == [
        ("new observations", "+90.0"),
        ("settings", "−6.0"),
        ("together", "+84.0"),
    ]


def test_what_is_noteworthy_is_a_sentence_each():
    row: dict[str, Any] = {
        "y_hat": 9012.0,
        "last_published": 8900.0,
        "last_corrected": 8950.0,
        "override": 9100.0,
        "override_by": "ann",
        "override_reason": "a fair",
    }
    parts = [Part("settings + code", 2.0, "the settings of then were not recorded")]
    explained = ExplainedSeries(
        row, 3, [make_comparison("next week", *parts)], settings=["a 1 → 2"], code=["numpy 1 → 2"]
    )
    assert explanation.notes(explained, WHOLE) == [
        "Settings + code: not split, because the settings of then were not recorded.",
        "The newest value, published as 8,900, was corrected to 8,950 for its usual revision.",
        "Settings that changed: a 1 → 2.",
        "Code that changed: numpy 1 → 2.",
        "This week's forecast was overridden by ann: 9,100 (a fair); the models forecast 9,012.",
    ]
    unknown = ExplainedSeries({"y_hat": 1.0}, 3, [make_comparison("next week", Part("code", 5.0))])
    (note,) = explanation.notes(unknown, WHOLE)
    assert note.startswith("No version of the code or a library changed")


def test_the_report_shows_what_moved_from_the_second_week_on():
    report = make_report()
    assert not any("What moved" in text for text in render.render(report).values())
    moved = {"moved_from": 99.0, "moved_by_code": 0.0, "moved_by_model": 0.03}
    moved |= {"moved_by_totals": 0.0, "moved_not_split": np.nan}
    by_data = report.forecast["y_hat"] - 99.03
    forecast = report.forecast.assign(**moved, moved_by_data=by_data)
    texts = render.render(make_report(forecast=forecast))
    table = texts["report.md"].partition("## What moved the forecasts\n\n")[2]
    assert table.startswith(
        "| Series | Forecast for last week | Forecast for next week | Change | By new and revised"
        " data | By model or weights |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| sales | 99.0 | **97.1** | −1.93 | −1.96 | +0.03 |\n"
    )
    assert '<h2 id="moved">What moved the forecasts</h2>' in texts["report.html"]
    assert "<td>+0.03</td>" in texts["report.html"]
