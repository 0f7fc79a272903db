"""Test defs.checks."""

from collections.abc import Sequence

import dagster as dg

from forecast_assets.data.quality.finding import KINDS, Finding, SeriesRow
from forecast_assets.defs.checks import DATA_CHECKS, data_checks, long_enough
from forecast_assets_tests.builders import make_series

GAP = Finding("gaps", 3, ("a", "b"), "Gaps.", (SeriesRow("a", "2024-01-05", 3, "x|y"),), "warn")
PARTIAL = Finding("partial", 1, ("b", "c"), "It is partial.", (), "hold")
NEW = Finding("new_week", 2, ("a",), "A week is new.")


def check(
    name: str, findings: Sequence[Finding], *, is_accepted: bool = False
) -> dg.AssetCheckResult:
    """Return the result of one data check."""
    results = data_checks(findings, is_accepted=is_accepted)
    return next(result for result in results if result.check_name == name)


def test_every_kind_belongs_to_one_check():
    kinds = [kind for kinds, _ in DATA_CHECKS.values() for kind in kinds]
    assert sorted(kinds) == sorted(KINDS)


def test_a_check_without_findings_or_with_published_ones_passes_and_describes_them():
    result = check("complete", [NEW])
    assert (result.passed, result.metadata["n_problems"].value) == (True, 0)
    assert str(result.description).startswith("The newest week has its usual days")
    assert set(result.metadata) == {"n_problems"}
    result = check("same_history", [GAP, NEW])
    assert (result.passed, result.description) == (True, "A week is new.")
    assert "| new_week |  |  | A week is new. | publish |" in str(result.metadata["findings"].value)


def test_a_check_has_the_severity_of_its_worst_finding():
    assert check("complete", [GAP]).severity == dg.AssetCheckSeverity.WARN
    result = check("complete", [PARTIAL, GAP])
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(result.description).startswith(f"{PARTIAL.text} {GAP.text}")
    assert (result.metadata["n_problems"].value) == 4
    assert result.metadata["series"].value == ["b", "c", "a"]


def test_an_accepted_error_is_a_warning():
    result = check("complete", [PARTIAL], is_accepted=True)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(result.description).endswith("It was accepted, so the data are published.")


def test_a_check_is_about_all_series_if_one_of_its_findings_is():
    about_all = Finding("late", 1, (), "The source is late.", policy="warn")
    about_one = Finding("unchanged", 1, ("a",), "It is unchanged.", policy="warn")
    assert "series" not in check("on_time", [about_all, about_one]).metadata
    many = Finding("gaps", 101, tuple(map(str, range(101))), "Gaps.", policy="warn")
    assert "series" not in check("complete", [many]).metadata


def test_findings_are_a_markdown_table():
    table = str(check("complete", [GAP]).metadata["findings"].value)
    assert table.splitlines() == [
        "| kind | series | week | what | policy |",
        "|---|---|---|---|---|",
        "| gaps |  |  | Gaps. | warn |",
        "| gaps | a | 2024-01-05 | x&#124;y | warn |",
    ]


def test_series_without_a_backtest_are_named():
    series = make_series(a=[1, 2, 3], b=[1, 2])
    assert long_enough(series, horizon=1).passed
    result = long_enough(series, horizon=2)
    assert not result.passed
    assert str(result.description).startswith("1 of 2 series have at most 2 weeks: b.")
