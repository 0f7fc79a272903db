"""The package reads in the order of the data: a package imports only from those before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import forecast_assets

PACKAGE = Path(forecast_assets.__file__).parent
ORDER = [
    "errors",
    "config",
    "storage",
    "data",
    "models",
    "backtesting",
    "forecasting",
    "reporting",
    "notifications",
    "defs",
    "definitions",
    "cli",
]
# Tighter than the order: all that these packages may import of this project.
ONLY = {
    "notifications": {"errors", "config"},
    "models": {"errors", "config"},
    "reporting": set(ORDER[:7]) - {"models"},
    "cli": set(ORDER[:9]) | {"defs.launcher", "defs.health"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """List every module that a file imports, also inside its functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def entry(path: Path) -> str:
    """Return the entry at the package's root that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_root_has_no_entry_outside_the_order():
    assert {entry(file) for file in FILES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_package_may(file: Path):
    if entry(file) == "__init__":
        return
    names = [name.split(".")[1:3] for name in imported(file) if name.startswith("forecast_assets.")]
    allowed = ONLY.get(entry(file), set(ORDER[: ORDER.index(entry(file))])) | {entry(file)}
    assert [name for name in names if not {name[0], ".".join(name)} & allowed] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_dagster_side_imports_dagster(file: Path):
    uses_dagster = any(name.split(".")[0] == "dagster" for name in imported(file))
    assert not uses_dagster or entry(file) in ("defs", "definitions")


@pytest.mark.parametrize("name", ["utils", "common", "helpers", "constants"])
def test_no_module_is_a_drawer(name: str):
    assert list(PACKAGE.rglob(f"{name}.py")) == []


def test_no_module_is_long():
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: n for name, n in lines.items() if n > 310} == {}
