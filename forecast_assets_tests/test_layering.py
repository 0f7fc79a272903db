"""The package reads in the order of the data: a package imports only from those before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

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
    "delivery",
    "defs",
    "definitions",
    "cli",
]
# Tighter than the order: all that these packages may import of this project.
ONLY = {
    "notifications": {"errors", "config"},
    "models": {"errors", "config"},
    "reporting": set(ORDER[:7]) - {"models"},
    "delivery": {"errors", "config", "storage", "data.sources"},
    "cli": set(ORDER[:10])
    | {
        *("defs.launcher", "defs.health", "defs.inputs", "defs.past_weeks", "defs.replay"),
        "defs.run_config",
    },
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


def is_allowed(name: str, package: str) -> bool:
    """Return whether a package may import a module."""
    root, *path = name.split(".")[:3]
    if root == "dagster":
        return package in ("defs", "definitions")
    if root != "forecast_assets" or not path or package == "__init__":
        return True
    allowed = ONLY.get(package, set(ORDER[: ORDER.index(package)])) | {package}
    return path[0] in allowed or ".".join(path) in allowed


def test_the_root_has_no_entry_outside_the_order():
    assert {entry(file) for file in FILES} - {"__init__"} == set(ORDER)


def test_a_file_imports_only_what_its_package_may():
    refused = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in FILES
        for name in imported(file)
        if not is_allowed(name, entry(file))
    ]
    assert refused == []


def test_no_module_is_a_drawer_or_long():
    assert {file.stem for file in FILES}.isdisjoint({"utils", "common", "helpers", "constants"})
    assert [file for file in FILES if len(file.read_text().splitlines()) > 300] == []
