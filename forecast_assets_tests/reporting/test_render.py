"""The files of the report say what the tables hold, whatever the names and the numbers."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import markdown
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from forecast_assets.data.quality.finding import Finding
from forecast_assets.reporting.number_format import format_percent
from forecast_assets.reporting.overview import MAX_FULL
from forecast_assets.reporting.render import escape_markdown, forecast_rows, render, render_brief
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_best_model,
    make_metrics,
    make_report,
    many_series,
)

HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    "</script></title><img src=x onerror=alert(1)>",
    "a|b||c",
    "`x` *y* __z__ [l](http://a) ![i](http://b) ~~s~~",
    "with / and \\ and 'single' and \"double\"",
    "é 🛢 👩‍👩‍👧 ' \"",
    "x" * 200,
    "ملف \u202eevil",
    "&lt;b&gt; &amp; &#124;",
    "# heading",
    "- item",
    "1. one",
    "two\nlines | and\r\nmore",
    "{{ 7 * 7 }} {% raw %}",
    "snake_case_ and _under_",
    '=HYPERLINK("http://a.example";"b")',
]
MARKDOWN = MarkdownIt("commonmark").enable("table")
PAGES = ("report.html", "details.html")
UNUSUAL_SERIES = {
    "two weeks": [1.0, 2.0],
    "one week": [1.0],
    "constant": [5.0] * 30,
    "zero": [0.0] * 30,
    "negative": [-y for y in walk(30, seed=1)],
    "large": [1e12 * y for y in walk(30, seed=1)],
    "small": [1e-11 * y for y in walk(30, seed=1)],
}


class _PageReader(HTMLParser):
    """Collects the text and the table rows of a page, and what our pages must not have."""

    VOID = ("meta", "br", "hr", "input", "wbr", "polyline", "polygon", "line", "circle", "path")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        assert (self.open, self.handlers) == ([], [])
        assert set(self.links) <= {"report.html", "details.html"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        targets = [str(value) for name, value in attrs if name in ("src", "href")]
        self.links += [target for target in targets if not target.startswith("#")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def texts_of(report: WeeklyReport) -> list[str]:
    """Return the words of the two pages and of the Markdown file, without markup."""
    files = render(report)
    page = " ".join("".join(_PageReader(files[name]).text) for name in PAGES)
    text = "".join(_words(MARKDOWN.parse(files["report.md"])))
    return [" ".join(words.split()).replace("\u00a0", " ") for words in (page, text)]


def cells_of(files: Mapping[str, str]) -> list[list[str]]:
    """Return the rows of all tables of the two pages."""
    return [row for name in PAGES for row in _PageReader(files[name]).rows]


def _words(tokens: list[Token]) -> list[str]:
    words = []
    for token in tokens:
        assert token.type not in ("html_block", "html_inline", "image", "link_open"), token.content
        words += _words(token.children) if token.children else [token.content]
        words += [" "] * (token.type.endswith("_close") and token.block)
    return words


def tables_of(text: str) -> list[list[list[str]]]:
    """Return every table of a Markdown text as rows of cells."""
    tokens = MARKDOWN.parse(text)
    tables: list[list[list[str]]] = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("td_open", "th_open"):
            tables[-1][-1].append("".join(_words(tokens[i + 1].children or [])))
    return tables


def test_both_files_have_the_forecast_and_the_outcome_of_last_week():
    series = make_series(sales=[*walk(20, seed=1), 100.0, 98.7])
    report = make_report(series, units={"sal*": "tons"}, half=3.0, made_from="series version 7")
    for text in texts_of(report):
        for part in (
            "Forecast for the week ending 2024-06-07: 1 series",
            "sales is expected to stay level.",
            "Last week's value was inside the likely range of its forecast.",
            *("98.7", "95.7 to 101.7", "95.1 to 102.3", "100.0", "inside 80 %", "tons"),
            "Nothing needs attention",
            "The data are complete: the series has a value for the week ending 2024-05-31.",
            "forecast-assets show next_week_forecast --run 01234567",
            "forecast-assets run --as-of 2026-01-05T00:00+00:00",
            "Made from series version 7.",
        ):
            assert part in text, part


def test_both_files_name_the_series_with_too_few_real_weeks():
    metrics = make_metrics(["few", "sales"], {"naive": 1.0, "theta": 0.8})
    metrics.loc[metrics["unique_id"] == "few", "status"] = "too_few"
    series = make_series(few=walk(20, seed=1), sales=walk(20, seed=2))
    for text in texts_of(make_report(series, metrics=metrics)):
        assert "No model has scores on 1 series (few): too many of their weeks have no" in text
    for text in texts_of(make_report(series)):
        assert "No model has scores" not in text


def test_both_files_have_the_same_tables():
    files = render(make_report(many_series(3), units={"*": "tons"}, horizon=2))
    cells = {cell for row in cells_of(files) for cell in row}
    first, ahead, *others = tables_of(files["report.md"])
    assert len(others) == 3
    assert [row[0] for row in first[1:]] == ["s0000 (tons)", "s0001 (tons)", "s0002 (tons)"]
    for row in first[1:]:
        assert set(row[2:5]) <= cells
    assert [row[0] for row in ahead] == ["Series", "s0000", "s0001", "s0002"]


def test_published_forecasts_are_compared_with_what_was_expected():
    report = make_report(n_weeks=20, half=1.0)
    files = render(report)
    record = next(table for table in tables_of(files["report.md"]) if table[0][0] == "Measure")
    share = format_percent(report.accuracy["in_80"].sum() / 20)
    row = ["values inside their 80 % interval", "80 %", "100 %", share]
    assert record[1][:4] == row
    assert row in [cells[:4] for cells in cells_of(files)]
    for text in texts_of(report):
        assert "20 forecasts have been checked since the week ending 2024-10-11." in text
    for text in texts_of(make_report(n_weeks=0)):
        assert text.count("no track record") == 1
        for absent in ("no forecast", "Outcome", "Last week’s value was", "What changed"):
            assert absent not in text


def test_both_files_explain_the_models_in_use():
    choice = make_best_model(["sales"], previous_model="theta", switched=True, reason="It is best.")
    forecast = make_report().forecast.assign(rung="runner-up", members="drift, ses")
    report = make_report(best_model=choice, forecast=forecast, problems=["It <b>lags</b> | far."])
    for text in texts_of(report):
        assert text.index("It <b>lags</b> | far.") < text.index("Next week and last week")
        assert "1 series switched to another model: sales: from theta to naive" in text
        for part in ("naive (runner-up)", "combines drift, ses", "It is best."):
            assert part in text


def test_a_failure_on_many_series_is_one_line():
    ids = [f"s{i:04}" for i in range(40)]
    metrics = make_metrics(ids, {"naive": 1.0, "arima": np.nan})
    for text in texts_of(make_report(many_series(40, n_weeks=8), n_weeks=1, metrics=metrics)):
        assert text.count("ValueError: no") == 1
        assert "arima on 40 of 40 series (s0000, s0001, s0002 and 37 more): ValueError" in text


def test_both_files_name_the_models_that_could_not_compete():
    metrics = make_metrics([f"s{i:04}" for i in range(7)], {"naive": 1.0, "ridge": 0.8})
    is_ridge = metrics["model"] == "ridge"
    metrics.loc[is_ridge, "status"] = "ineligible"
    metrics.loc[is_ridge, "reason"] = [f"not for this series: {i}" for i in range(7)]
    for text in texts_of(make_report(many_series(7), metrics=metrics)):
        assert "Some series are too short or not suitable for a model:" in text
        assert "ridge on 1 of 7 series (s0004): not for this series: 4" in text
        assert "s0005): not" not in text
        assert "… and 2 more reasons" in text
    for text in texts_of(make_report()):
        assert "not suitable for a model" not in text


def test_every_candidate_is_on_the_leaderboard():
    metrics = make_metrics(["sales"], {"naive": 1.0, "theta": 0.825, "arima": np.nan})
    files = render(make_report(metrics=metrics, metric="rmsse"))
    header, *rows = tables_of(files["report.md"])[-1]
    assert header[1] == "Mean RMSSE"
    assert rows == [
        ["theta", "0.82", "17.5 %", "100 %", "100 %", "1", "–"],
        ["naive", "1.00", "0.0 %", "0 %", "100 %", "1", "1"],
        ["arima", "–", "–", "0 %", "0 %", "0", "–"],
    ]
    assert all(row in cells_of(files) for row in [header, *rows])


def test_late_series_and_unusual_data_are_in_the_section_on_data():
    series = make_ragged(ended=(0, walk(10, seed=1)), current=(0, walk(20, seed=2)))
    findings = [Finding("late", n, (), f"Source {n} is <late>.", policy="warn") for n in range(11)]
    quiet = Finding("new_week", 1, (), "A week is new.")
    for text in texts_of(make_report(series, findings=[quiet, *findings])):
        data = text[text.rindex("The data ") :]
        assert "2 series with values from the week ending 2024-01-05 to the week ending" in data
        assert "They have 10 to 20 weeks, with a median of 15." in data
        assert "ended has no value after 2024-03-08: 10 weeks missing" in data
        assert "Unusual in the data of this week:" in data
        assert [n for n in range(11) if f"Source {n} is <late>." in data] == list(range(8))
        assert "… and 3 more" in data
        assert "A week is new." not in text
    for text in texts_of(make_report(findings=[quiet])):
        assert "Unusual in the data" not in text


@pytest.mark.parametrize("n_more", [0, MAX_FULL])
def test_names_cannot_break_the_report(n_more: int):
    ids = [*HOSTILE_NAMES, *(f"s{i:02}" for i in range(n_more))]
    report = make_report(
        make_series(**{name: walk(3, seed=i) for i, name in enumerate(ids)}),
        n_weeks=1,
        problems=[f"{name} is odd." for name in HOSTILE_NAMES],
        units={name: name for name in ids},
        findings=[Finding("flat", 1, (name,), f"{name}.", policy="warn") for name in ids],
    )
    files = render(report)
    page = " ".join(text for name in PAGES for text in _PageReader(files[name]).text)
    isolates = dict.fromkeys(map(ord, "\u2068\u2069"))
    words = "".join(_words(MARKDOWN.parse(files["report.md"]))).translate(isolates)
    for name in HOSTILE_NAMES:
        assert f"{name} is odd." in page
        assert " ".join(f"{name} is odd.".split()) in " ".join(words.split())
    assert not any("<script>alert" in files[name] for name in PAGES)
    for table in tables_of(files["report.md"]):
        assert len({len(row) for row in table}) == 1
    # Apprise turns Markdown into HTML with this library, which knows fewer escapes.
    html = markdown.markdown(render_brief(report), extensions=["markdown.extensions.tables"])
    assert set(re.findall(r"<\s*/?\s*(\w+)", html)) <= {"p", "ul", "li", "strong"}


@pytest.mark.parametrize(("n_weeks", "half"), [(0, 1.0), (10, 0.0)])
def test_missing_numbers_are_dashes(n_weeks: int, half: float):
    report = make_report(make_series(**UNUSUAL_SERIES), n_weeks=n_weeks, half=half)
    forecast = report.forecast.assign(lo_80=np.nan, hi_80=np.nan, backtest_mae=np.nan)
    metrics = report.metrics.assign(mase=np.nan, skill_vs_naive=np.nan, coverage_80=np.nan)
    without = replace(report, forecast=forecast, metrics=metrics)
    one_week = make_report(make_series(a=[1.0]), n_weeks=n_weeks, half=half)
    for text in (text for each in (report, without, one_week) for text in texts_of(each)):
        assert not re.search(r"\b(nan|None|inf|NaT)\b", text)


def test_many_levels_and_weeks_ahead_fit_in_a_few_columns():
    report = make_report(levels=list(range(10, 100, 4)), horizon=12)
    first, ahead, *_ = tables_of(render(report)["report.md"])
    assert first[0][2:4] == ["78 % interval", "94 % interval"]
    assert len(ahead[0]) == 9


def test_the_page_allows_only_its_own_style_and_script():
    reports = [make_report(many_series(n, n_weeks=3), n_weeks=1) for n in (2, 40)]
    short, long = (render(report)["report.html"] for report in reports)
    assert render(reports[1])["report.html"] == long
    policies = [re.search(r'Security-Policy" content="([^"]+)"', page) for page in (short, long)]
    first, second = (policy[1].replace("&#39;", "'") for policy in policies if policy)
    own = r"'sha256-[\w+/=]{44}'"
    assert re.fullmatch(rf"default-src 'none'; style-src {own}", first)
    assert re.fullmatch(rf"default-src 'none'; style-src {own}; script-src {own}", second)
    assert "<script" not in short


def test_the_brief_message_fits_a_chat():
    report = make_report(
        many_series(25), n_weeks=1, units={"*": "tons"}, problems=["One model failed."]
    )
    text = render_brief(report)
    assert "Needs attention:\n\n- One model failed." in text
    assert text.count("\n- **s") == 20
    assert text.endswith("… and 5 more in the report\n")
    row = next(line for line in text.splitlines() if line.startswith("- **"))
    assert re.fullmatch(
        r"- \*\*s\d{4}\*\*: [\d.]+ tons \(80 %: [\d.]+ to [\d.]+\), last week [\d.]+", row
    )
    short = render_brief(make_report())
    assert "more in the report" not in short
    assert "Needs attention" not in short


def test_escaped_text_reads_the_same_in_markdown():
    texts = {
        "a\nb | c": "a b &#124; c",
        "us_crude_production": "us_crude_production",
        "_a_ b_": "\\_a\\_ b\\_",
        "# a#": "\\# a\\#",
        "- a-b": "\\- a-b",
        "12. a": "12\\. a",
        "1.5 a": "1.5 a",
        "<b>&": "&lt;b&gt;&amp;",
        "ملف": "\u2068ملف\u2069",
    }
    assert {text: escape_markdown(text) for text in texts} == texts


def test_forecast_rows_have_the_last_value():
    report = make_report(make_series(a=[1.0, 2.0], b=[3.0]), horizon=2, n_weeks=0)
    rows = pd.DataFrame(forecast_rows(report.forecast, report.series))
    assert rows["last_y"].to_list() == [2.0, 2.0, 3.0, 3.0]
