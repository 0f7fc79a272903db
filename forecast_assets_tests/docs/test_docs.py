"""Every figure of docs/choosing.md and of the README equals the measured result."""

import json

import pandas as pd
import pytest

from forecast_assets.config.settings import DEFAULT_MODELS, ROOT, Settings
from forecast_assets_tests.markdown_blocks import README, read, rows_of

TEXT = read(ROOT / "docs" / "choosing.md")
RESULTS = pd.DataFrame(json.loads((ROOT / "benchmarks" / "results" / "choosing.json").read_text()))
DEFAULT = Settings().selection.policy
GROUPS = list(dict.fromkeys(RESULTS["group"]))


def measured(column: str) -> pd.DataFrame:
    """Return one row a rule, one column a group, and the geometric mean of all groups."""
    wide = RESULTS.pivot(index="rule", columns="group", values=column)[GROUPS]
    return wide.assign(all=wide.product(axis=1) ** (1 / len(GROUPS)))


def agree(cells: list[str], values: "pd.Series[float]") -> None:
    decimals = [len(cell.partition(".")[2]) for cell in cells]
    for cell, value, digits in zip(cells, values, decimals, strict=True):
        assert float(cell) == pytest.approx(value, abs=0.51 * 10**-digits)


def test_the_rules_are_as_measured():
    means = RESULTS.groupby("rule")[["regret", "switches_a_year"]].mean()
    for rule, cells in rows_of("rule", TEXT).items():
        agree(cells, pd.concat([measured("of_naive").loc[rule], means.loc[rule]]))


def test_members_and_intervals_are_as_measured():
    for members, cells in rows_of("members", TEXT).items():
        agree(cells, measured("of_naive").loc[members])
    for intervals, cells in rows_of("intervals", TEXT).items():
        agree(cells, measured("wis").loc[f"intervals: {intervals}"])


def test_coverage_is_as_measured():
    names = ["n", "coverage_80", "coverage_80_error", "coverage_95", "coverage_95_error"]
    figures = RESULTS[RESULTS["rule"] == DEFAULT].set_index("group")[names]
    rows = rows_of("group", TEXT)
    assert list(rows) == GROUPS
    for group, cells in rows.items():
        agree([part for cell in cells for part in cell.split(" ± ")], figures.loc[group])


def test_the_default_is_not_far_behind_the_best_rule():
    errors = measured("of_naive").loc[list(rows_of("rule", TEXT)), "all"]
    assert errors[DEFAULT] < errors.min() + 0.006


def test_the_readme_has_the_measured_figures():
    demo = RESULTS[RESULTS["group"] == "petroleum"].set_index("rule")
    singles = demo.loc[list(DEFAULT_MODELS), "of_naive"]
    rules = [DEFAULT, "best", singles.idxmin(), "naive"]
    names = ["of_naive", "switches_a_year", "coverage_80", "coverage_95"]
    rows = rows_of("rule", read(README))
    assert f"`{singles.idxmin()}`" in list(rows)[2]
    for cells, rule in zip(rows.values(), rules, strict=True):
        agree(cells, demo.loc[rule, names])
