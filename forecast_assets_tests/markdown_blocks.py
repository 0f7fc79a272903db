"""Parse the README and the guides into fenced blocks, tables and links."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import ROOT, Settings

README = ROOT / "README.md"
GUIDES = (README, *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is the file name after the language, or empty."""

    guide: str
    language: str
    file: str
    text: str


def read(guide: Path) -> str:
    """Return the text of a guide."""
    return guide.read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all guides in one of these languages."""
    return [
        Block(guide.name, *parts)
        for guide in GUIDES
        for parts in FENCE.findall(read(guide))
        if parts[0] in languages
    ]


def settings_of(block: Block, folder: Path, **source: Any) -> Settings:
    """Parse a block of forecast.toml, with changes to its table [source]."""
    tables = tomllib.loads(block.text)
    if source:
        tables["source"] |= source
    return parse(tables, root=folder, var=folder / "var", origin=block.guide)


def commands() -> list[str]:
    """Return the distinct lines of all shell blocks, without comments."""
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    return list(dict.fromkeys(re.sub(r"\s+#.*", "", line) for line in lines))


def rows_of(first: str, text: str) -> Mapping[str, list[str]]:
    """Return the rows of the table with this first heading, by their first cell."""
    pattern = rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)"
    (table,) = re.findall(pattern, text, flags=re.MULTILINE)
    return dict(_rows(table))


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each heading of the second level with the text below it."""
    for part in text.split("\n## ")[1:]:
        heading, _, below = part.partition("\n")
        yield heading, below


def links(guide: Path) -> list[str]:
    """Return the targets of the guide's links and pictures within the project."""
    targets = re.findall(r"\]\(([^)]+)\)", read(guide))
    return [link for link in targets if "://" not in link]


def anchors(guide: Path) -> set[str]:
    """Return the anchors of the headings of a guide."""
    headings = re.findall(r"^#+ (.*)$", read(guide), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _rows(table: str) -> Iterator[tuple[str, list[str]]]:
    for line in table.splitlines():
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        yield first, rest
