"""The report: what it tells, in HTML and in Markdown, whatever the names."""

import re
from html.parser import HTMLParser

import markdown
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from forecast_assets.data.quality.finding import Finding
from forecast_assets.reporting.context import MOST_STATIC
from forecast_assets.reporting.number_format import format_number, format_share
from forecast_assets.reporting.render import escape_markdown, forecast_rows, render, render_brief
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_choice,
    make_scores_of,
    make_week,
    many_series,
)

HOSTILE = [
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


class _Reader(HTMLParser):
    """Reads a page, and notes what a page of ours may not have."""

    VOID = ("meta", "br", "hr", "input", "wbr", "polyline", "polygon", "line", "circle", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        wanted = {name: str(value) for name, value in attrs if name in ("src", "href")}
        self.outside += [value for value in wanted.values() if not value.startswith("#")]
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


def read(html: str) -> _Reader:
    """The page; it must be whole and ask nothing of anyone."""
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.outside == []
    assert reader.handlers == []
    return reader


def said(week: WeeklyReport) -> dict[str, str]:
    """The words of both files, without markup."""
    files = render(week)
    page = "".join(read(files["report.html"]).text)
    text = "".join(_words(MarkdownIt("commonmark").enable("table").parse(files["report.md"])))
    return {"html": " ".join(page.split()), "md": " ".join(text.split())}


def _words(tokens: list[Token]) -> list[str]:
    found = []
    for token in tokens:
        assert token.type not in ("html_block", "html_inline", "image", "link_open"), token.content
        found += _words(token.children) if token.children else [token.content]
        found += [" "] * (token.type.endswith("_close") and token.block)
    return found


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table of a Markdown text: rows of cells."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    found: list[list[list[str]]] = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            found[-1][-1].append("".join(_words(tokens[i + 1].children or [])))
    return found


def test_the_report_tells_the_forecast_its_intervals_and_how_last_week_turned_out():
    series = make_series(sales=[*walk(20, seed=1), 100.0, 98.7])
    week = make_week(series, units={"sal*": "tons"}, half=3.0)
    for text in said(week).values():
        assert "Forecast for the week ending 2024-06-07: 1 series" in text
        assert "sales is expected to stay level." in text
        assert "Last week's value lay inside the 80 % interval" in text.replace("’", "'")
        for part in ("98.7", "95.7 to 101.7", "95.1 to 102.3", "100.0", "inside 80 %", "tons"):
            assert part in text, part


def test_both_files_tell_the_same_tables():
    week = make_week(many_series(3), units={"*": "tons"}, horizon=2)
    files = render(week)
    page = [row for row in read(files["report.html"]).rows if row]
    flat = {cell for row in page for cell in row}
    first, ahead, *others = tables_of(files["report.md"])
    assert len(others) == 3
    assert [row[0] for row in first[1:]] == ["s0000 (tons)", "s0001 (tons)", "s0002 (tons)"]
    for row in first[1:]:
        assert set(row[2:5]) <= flat
    assert [row[0] for row in ahead] == ["Series", "s0000", "s0001", "s0002"]


def test_the_record_stands_beside_what_was_promised():
    week = make_week(make_series(sales=walk(60, seed=1)), n_due=20, half=1.0)
    files = render(week)
    record = next(table for table in tables_of(files["report.md"]) if table[0][0] == "Measure")
    n_in = week.accuracy["in_80"].sum()
    row = ["values inside their 80 % interval", "80 %", "100 %", format_share(n_in / 20)]
    assert record[1][:4] == row
    assert row in [found[:4] for found in read(files["report.html"]).rows]
    for text in said(week).values():
        assert "20 forecasts have come due since the week ending 2024-10-11." in text


def test_without_a_past_it_says_so():
    for text in said(make_week(n_due=0)).values():
        assert "None of the published forecasts has come due yet" in text
        assert "no forecast was published" in text


def test_why_a_model_was_chosen_and_what_was_before_is_told():
    choice = make_choice(
        ["sales"], previous_model="theta", switched=True, reason="naive has the least mase, 0.5"
    )
    for text in said(make_week(best_model=choice)).values():
        assert "1 series changed its model: sales: theta before, naive now" in text
        assert "naive has the least mase, 0.5" in text
    for text in said(make_week()).values():
        assert "No series changed its model." in text


def test_another_rung_than_the_champion_is_printed():
    lower = make_week().forecast.assign(rung="runner-up")
    for text in said(make_week(forecast=lower)).values():
        assert "naive (runner-up)" in text


def test_a_combination_names_its_members():
    forecast = make_week().forecast.assign(model="combination_median", members="drift, ses")
    for text in said(make_week(forecast=forecast)).values():
        assert "made of drift, ses" in text


def test_failures_are_told_once_for_many_series():
    ids = [f"s{i:04}" for i in range(40)]
    metrics = make_scores_of(ids, {"naive": 1.0, "arima": np.nan})
    for text in said(make_week(many_series(40), metrics=metrics)).values():
        assert text.count("ValueError: no") == 1
        assert "arima on 40 of 40 series (s0000, s0001, s0002 and 37 more): ValueError" in text


def test_every_candidate_stands_in_the_table():
    metrics = make_scores_of(["sales"], {"naive": 1.0, "theta": 0.825, "arima": np.nan})
    board = tables_of(render(make_week(metrics=metrics))["report.md"])[-1]
    assert board[1:] == [
        ["theta", "0.82", "17.5 %", "100 %", "100 %", "1", "–"],
        ["naive", "1.00", "0.0 %", "0 %", "100 %", "1", "1"],
        ["arima", "–", "–", "0 %", "0 %", "0", "–"],
    ]


def test_what_checks_complained_of_stands_near_the_top():
    week = make_week(problems=["2 series <b>lag</b> | behind."])
    for text in said(week).values():
        assert text.index("<b>lag</b> | behind.") < text.index("80 % interval", 700)
    for text in said(make_week()).values():
        assert "Nothing to look at" in text


def test_the_state_of_the_data_is_told():
    series = make_ragged(ended=(0, walk(10, seed=1)), goes_on=(0, walk(20, seed=2)))
    for text in said(make_week(series)).values():
        assert "2 series up to the week ending 2024-05-17" in text
        assert "ended has no value after 2024-03-08: 10 weeks behind" in text
        assert "week ending 2024-03-15" in text


def test_what_is_odd_in_the_data_is_told_where_the_data_are():
    odd = [Finding("late", n, (), f"Source {n} is <late>.", policy="warn") for n in range(1, 11)]
    quiet = Finding("new_week", 1, (), "A week is new.")
    for text in said(make_week(findings=[quiet, *odd])).values():
        data = text[text.index("The data") :]
        assert "In what came this week, next to the week before:" in data
        assert [n for n in range(1, 12) if f"Source {n} is <late>." in data] == list(range(1, 9))
        assert "… and 2 more" in data
        assert "A week is new." not in text
    for text in said(make_week(findings=[quiet])).values():
        assert "In what came" not in text


def test_the_commands_that_make_it_again_are_told():
    for text in said(make_week(made_from="series version 7")).values():
        assert "forecast-assets show next_week_forecast --run 01234567" in text
        assert "forecast-assets run --as-of 2026-01-05T00:00+00:00" in text
        assert "Made from series version 7." in text


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("n_series", [1, MOST_STATIC + 1])
def test_a_name_cannot_break_the_page(name: str, n_series: int):
    series = many_series(n_series, n_weeks=6)
    first = series["unique_id"].iloc[0]
    series["unique_id"] = series["unique_id"].replace(first, name)
    odd = Finding("unusual", 1, (name,), f"{name} is far off.", policy="warn")
    week = make_week(series, problems=[f"{name} is odd."], units={"*": name}, findings=[odd])
    files = render(week)
    page = read(files["report.html"])
    assert f"{name} is odd." in " ".join(page.text)
    assert "<script>alert" not in files["report.html"]
    for table in tables_of(files["report.md"]):
        assert len({len(row) for row in table}) == 1
    words = said(week)["md"].replace("\u2068", "").replace("\u2069", "")
    assert " ".join(f"{name} is odd.".split()) in words


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_a_name_in_what_mail_makes_of_markdown(name: str):
    """Apprise turns Markdown to HTML by this library, which knows fewer escapes."""
    week = make_week(make_series(**{name: walk(30, seed=1)}))
    html = markdown.markdown(render_brief(week), extensions=["markdown.extensions.tables"])
    allowed = {"p", "ul", "li", "strong"}
    assert set(re.findall(r"<\s*/?\s*(\w+)", html)) <= allowed


AWKWARD = {
    "two weeks": make_series(a=[1.0, 2.0]),
    "one week": make_series(a=[1.0]),
    "constant": make_series(a=[5.0] * 30),
    "zero": make_series(a=[0.0] * 30),
    "negative": make_series(a=[-y for y in walk(30, seed=1)]),
    "large": make_series(a=[1e12 * y for y in walk(30, seed=1)]),
    "small": make_series(a=[1e-11 * y for y in walk(30, seed=1)]),
}


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("n_due", [0, 10])
@pytest.mark.parametrize("half", [0.0, 1.0])
def test_awkward_numbers_are_told_without_a_nan(kind: str, n_due: int, half: float):
    week = make_week(AWKWARD[kind], n_due=n_due, half=half)
    bare = week.forecast.assign(lo_80=np.nan, hi_80=np.nan, backtest_mae=np.nan)
    undefined = week.metrics.assign(mase=np.nan, skill_vs_naive=np.nan, coverage_80=np.nan)
    for one in (week, make_week(AWKWARD[kind], n_due=n_due, forecast=bare, metrics=undefined)):
        for text in said(one).values():
            assert not re.search(r"\b(nan|None|inf|NaT)\b", text.replace("None of the", ""))


def test_many_levels_and_weeks_ahead_are_told_in_a_few_columns():
    week = make_week(levels=list(range(10, 100, 4)), horizon=12)
    first, ahead, *_ = tables_of(render(week)["report.md"])
    assert first[0][2:4] == ["78 % interval", "94 % interval"]
    assert len(ahead[0]) == 9


def test_the_page_allows_only_its_own_style_and_script():
    short, long = (render(make_week(many_series(n)))["report.html"] for n in (2, 40))
    policies = [re.search(r'Security-Policy" content="([^"]+)"', page) for page in (short, long)]
    first, second = (found[1].replace("&#39;", "'") for found in policies if found)
    own = r"'sha256-[\w+/=]{44}'"
    assert re.fullmatch(rf"default-src 'none'; style-src {own}", first)
    assert re.fullmatch(rf"default-src 'none'; style-src {own}; script-src {own}", second)
    assert "<script" not in short


def test_the_same_week_makes_the_same_bytes():
    week = make_week(many_series(40))
    assert render(week) == render(week)


def test_in_brief_it_fits_a_chat():
    week = make_week(many_series(25), units={"*": "tons"}, problems=["One model failed."])
    text = render_brief(week)
    assert "- One model failed." in text
    assert text.count("\n- **s") == 20
    assert text.endswith("… and 5 more in the report\n")
    row = next(line for line in text.splitlines() if line.startswith("- **"))
    assert re.fullmatch(
        r"- \*\*s\d{4}\*\*: [\d.]+ tons \(80 %: [\d.]+ to [\d.]+\), last week [\d.]+", row
    )
    assert "more in the report" not in render_brief(make_week(many_series(20)))
    assert "To look at" not in render_brief(make_week())


def test_the_week_of_some_series_is_told_alone():
    week = make_week(many_series(3)).only(["s0001"])
    for text in said(week).values():
        assert "s0001" in text
        assert "s0000" not in text


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
def test_a_number_alone_has_five_digits(value: float | None, expected: str):
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb | c", "a b &#124; c"),
        ("us_crude_production", "us_crude_production"),
        ("_a_ b_", "\\_a\\_ b\\_"),
        ("# a#", "\\# a\\#"),
        ("- a-b", "\\- a-b"),
        ("12. a", "12\\. a"),
        ("1.5 a", "1.5 a"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("ملف", "\u2068ملف\u2069"),
    ],
)
def test_text_becomes_markdown_that_says_the_same(text: str, expected: str):
    assert escape_markdown(text) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [(0.846, 0, "85 %"), (-0.025, 1, "−2.5 %"), (np.nan, 0, "–"), (None, 0, "–")],
)
def test_a_fraction_is_told_in_percent(value: float | None, decimals: int, expected: str):
    assert format_share(value, decimals) == expected


def test_headlines_are_forecasts_with_the_last_value():
    week = make_week(make_series(a=[1.0, 2.0], b=[3.0]), horizon=2, n_due=0)
    found = pd.DataFrame(forecast_rows(week.forecast, week.series))
    assert found["last_y"].to_list() == [2.0, 2.0, 3.0, 3.0]
