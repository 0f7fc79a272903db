"""The report: what it tells, in HTML and in Markdown, whatever the names."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from forecast_assets.report import Week, cell, digits, render
from forecast_assets_tests.builders import AS_OF, make_series, walk


def week(unique_id: str = "sales", **changes: pd.DataFrame) -> Week:
    """A week of one series, forecast by theta."""
    series = make_series(**{unique_id: [*walk(20, seed=1), 98.7]})
    ds = series["ds"].max()
    tables = {
        "series": series,
        "forecast": pd.DataFrame(
            {
                "unique_id": [unique_id],
                "h": [1],
                "ds": [ds + pd.Timedelta(weeks=1)],
                "y_hat": [101.5],
                "lo_80": [99.0],
                "hi_80": [104.0],
                "model": ["theta"],
                "members": [None],
                "rung": ["champion"],
                "as_of": [pd.Timestamp(AS_OF)],
            }
        ),
        "best_model": pd.DataFrame(
            {
                "unique_id": [unique_id],
                "model": ["theta"],
                "reason": ["theta has the least mase, 0.5"],
                "previous_model": ["naive"],
                "switched": [True],
            }
        ),
        "metrics": pd.DataFrame(
            {
                "unique_id": [unique_id],
                "model": ["theta"],
                "status": ["scored"],
                "reason": [None],
            }
        ),
        "accuracy": pd.DataFrame({"abs_error": [], "naive_abs_error": []}),
        **changes,
    }
    return Week(**tables, levels=[80], run_id="0123456789")


class _Checker(HTMLParser):
    """Counts what a page of ours may not have: links out, scripts, tags that do not close."""

    VOID = ("meta", "rect", "line", "polyline", "polygon", "circle", "link", "br", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        wanted = {name: value for name, value in attrs if name in ("src", "href")}
        self.outside += [str(value) for value in wanted.values()]
        assert tag != "script"

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> str:
    """The page's text; it must be whole and ask nothing of anyone."""
    checker = _Checker()
    checker.feed(html)
    assert checker.open == []
    assert checker.outside == []
    return " ".join(" ".join(checker.text).split())


def test_the_page_tells_the_forecast_its_interval_and_its_model():
    said = read(render(week())["report.html"])
    assert "Forecast for the week ending 2024-05-31" in said
    for part in ("98.7", "101.5", "99 to 104", "theta has the least mase, 0.5", "naive (changed)"):
        assert part in said, part


def test_the_markdown_tells_the_same():
    said = render(week())["report.md"]
    assert "| sales | 2024-05-31 | 98.7 | **101.5** | 99 to 104 | theta |" in said
    lines = said.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("| series"))
    assert set(lines[header + 1]) <= set("| -:")
    assert lines[header].count("|") == lines[header + 1].count("|") == lines[header + 2].count("|")


def test_a_failed_model_is_named_with_its_reason():
    failed = pd.DataFrame(
        {
            "unique_id": ["sales"],
            "model": ["arima"],
            "status": ["failed"],
            "reason": ["9 of 9 forecasts: ValueError: no"],
        }
    )
    for text in render(week(metrics=failed)).values():
        assert "arima on sales: 9 of 9 forecasts: ValueError: no" in text


def test_another_rung_than_the_champion_is_printed():
    lower = week().forecast.assign(rung="runner-up")
    for text in render(week(forecast=lower)).values():
        assert "theta (runner-up)" in text


def test_past_forecasts_are_summed_against_naive():
    due = pd.DataFrame({"abs_error": [1.0, 2.0], "naive_abs_error": [2.0, 4.0]})
    said = read(render(week(accuracy=due))["report.html"])
    assert "2 published forecasts have come due. Their errors add up to 0.5 times" in said


def test_without_a_past_it_says_so():
    assert "None of the published forecasts has come due yet." in render(week())["report.md"]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a|b", "`x` *y* [z](http://a)", "é 🛢 ' \"", "x" * 200]
)
def test_a_name_cannot_break_the_page(name: str):
    files = render(week(name))
    assert name in read(files["report.html"]) or len(name) > 100
    row = next(line for line in files["report.md"].splitlines() if "101.5" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
    assert "<script" not in files["report.md"].replace("\\<", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_928_460.4, "1,928,460"),
        (8_769.79, "8,769.8"),
        (2.50426, "2.5043"),
        (0.000012345678, "1.2346e-05"),
        (-12_345.6, "-12,346"),
        (np.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_have_sensible_digits(value: float | None, expected: str):
    assert digits(value) == expected


def test_a_cell_stays_on_one_line():
    assert cell("a\nb | c") == "a b \\| c"


def test_a_combination_names_its_members():
    forecast = week().forecast.assign(model="combination_median", members="drift, ses")
    for text in render(week(forecast=forecast)).values():
        assert "it is made of drift, ses" in text


def test_the_page_is_named_by_the_newest_week():
    """A series that ended long ago is forecast for a week long ago."""
    forecast = week().forecast
    ended = forecast.assign(unique_id="ended", ds=pd.Timestamp("2020-01-03"))
    newest = str(forecast["ds"].iloc[0].date())
    series = week().series
    both = pd.concat([series.assign(unique_id="ended"), series], ignore_index=True)
    text = render(week(forecast=pd.concat([ended, forecast]), series=both))["report.md"]
    assert text.startswith(f"# Forecast for the week ending {newest}")
