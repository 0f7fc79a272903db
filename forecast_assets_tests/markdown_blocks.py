"""The README and the guides, taken apart: their fenced blocks, their tables, their links."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast_assets.config.settings import ROOT

README = ROOT / "README.md"
GUIDES = (README, *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is what the fence names as the file that it is, or empty."""

    guide: str
    language: str
    file: str
    text: str


def read(guide: Path) -> str:
    """What a guide says."""
    return guide.read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all guides that are in one of these languages, in order."""
    return [
        Block(guide.name, *found)
        for guide in GUIDES
        for found in FENCE.findall(read(guide))
        if found[0] in languages
    ]


def commands() -> list[str]:
    """Every line of a shell block, each once and without its comment."""
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    return list(dict.fromkeys(re.sub(r"\s+#.*", "", line) for line in lines))


def rows_of(first: str, text: str) -> Mapping[str, list[str]]:
    """The cells of the table whose first heading is that, by the cell that each row begins with."""
    pattern = rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)"
    (table,) = re.findall(pattern, text, flags=re.MULTILINE)
    return dict(_rows(table))


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Each heading of the second level, and what stands below it."""
    for part in text.split("\n## ")[1:]:
        heading, _, below = part.partition("\n")
        yield heading, below


def links(guide: Path) -> list[str]:
    """Where the guide's links and pictures lead, other sites aside."""
    found = re.findall(r"\]\(([^)]+)\)", read(guide))
    return [link for link in found if "://" not in link]


def anchors(guide: Path) -> set[str]:
    """The names by which the headings of a guide are linked to."""
    headings = re.findall(r"^#+ (.*)$", read(guide), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def _rows(table: str) -> Iterator[tuple[str, list[str]]]:
    for line in table.splitlines():
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        yield first, rest
