"""The package reads top to bottom in the order that the data flows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import forecast_assets

PACKAGE = Path(forecast_assets.__file__).parent
ORDER = [
    "errors",
    "schema",
    "tables",
    "source_settings",
    "settings",
    "settings_file",
    "sources",
    "coverage",
    "series",
    "verdict",
    "models",
    "backtest",
    "panel",
    "fold_cache",
    "fitting",
    "watched",
    "runner",
    "chunks",
    "crew",
    "jobs",
    "compute",
    "intervals",
    "evidence",
    "combinations",
    "comparing",
    "metrics",
    "standings",
    "ladder",
    "policies",
    "selection",
    "forecast",
    "accuracy",
    "arrow",
    "commits",
    "layers",
    "probing",
    "pruned",
    "store",
    "loading",
    "lineage",
    "versions",
    "judging",
    "audit",
    "prune",
    "pictures",
    "scale",
    "outlook",
    "chart",
    "fans",
    "reported",
    "findings",
    "layout",
    "report",
    "hearing",
    "notify",
    "letters",
    "outbox",
    "defs",
    "definitions",
    "cli",
]
DAGSTER_SIDE = ("defs", "definitions")
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "forecast_assets":
            yield from (f"forecast_assets.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def room(path: Path) -> str:
    """The module or folder of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_its_place_in_the_order():
    rooms = {room(file) for file in FILES} - {"__init__", "sources/demo_data"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_from_above_it(file: Path):
    if room(file) == "__init__":
        return
    own = [name.split(".")[1] for name in imported(file) if name.startswith("forecast_assets.")]
    below = [name for name in own if ORDER.index(name) > ORDER.index(room(file))]
    assert below == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_dagster_side_imports_dagster(file: Path):
    uses_dagster = any(name.split(".")[0] == "dagster" for name in imported(file))
    assert not uses_dagster or room(file) in DAGSTER_SIDE


@pytest.mark.parametrize("name", ["utils", "common", "helpers", "constants"])
def test_no_module_is_a_drawer(name: str):
    assert list(PACKAGE.rglob(f"{name}.py")) == []


def test_the_package_is_small():
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: n for name, n in lines.items() if n > 300} == {}
