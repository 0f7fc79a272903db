"""Print records as a table for people, or as JSON or CSV for programs."""

import csv
import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.errors import format_list

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


MAX_ROWS = 50
# Wider than any table, so that a pipe gets every value whole.
PIPE_WIDTH = 1_000_000
ABBREVIATED = ("run_id", "data_version")
WELL, NOT_WELL = click.style("ok", fg="green"), click.style("NO", fg="red", bold=True)
MARKS = {None: "  ", True: WELL, False: NOT_WELL}
Record = Mapping[str, object]


def print_records(
    records: Sequence[Record], *, is_json: bool = False, limit: int | None = MAX_ROWS
) -> None:
    """Print records of equal keys: all as JSON, or `limit` of them as a table.

    In a terminal long texts are wrapped, and columns that do not fit are left out, the last first.
    """
    if is_json:
        click.echo(json.dumps([to_json(record) for record in records]))
        return
    if not records:
        click.echo("No rows.")
        return
    omitted = _print_table(records[:limit])
    n_more = len(records) - len(records[:limit])
    notes = [f"{n_more} more rows"] if n_more else []
    notes += [f"the columns {', '.join(omitted)}"] if omitted else []
    if notes:
        click.echo(f"… and {' and '.join(notes)}; --json prints them all.")


def _print_table(records: Sequence[Record]) -> list[str]:
    """Print a table and return the names of the columns that do not fit in the terminal."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    names, omitted = list(records[0]), list[str]()
    table, unlimited = _make_table(records, names), console.options.update_width(PIPE_WIDTH)
    while len(names) > 1 and console.measure(table, options=unlimited).minimum > width:
        omitted.insert(0, names.pop())
        table = _make_table(records, names)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
    return omitted


def _make_table(records: Sequence[Record], names: Sequence[str]) -> "Table":
    from rich.box import Box
    from rich.table import Table

    # A line of dashes below the header; all other lines are blank.
    box = Box("    \n    \n -- \n" + "    \n" * 5, ascii=True)
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for name in names:
        is_number = type(records[0][name]) in (int, float)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for record in records:
        table.add_row(*(format_value(record[name], name) for name in names))
    return table


def print_csv(records: Sequence[Record]) -> None:
    """Print records of equal keys as CSV with a header, without formulas; null is empty."""
    from forecast_assets.delivery.safe_text import safe_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(safe_cell, records[0] if records else ()))
    writer.writerows([safe_cell(to_json(value)) for value in row.values()] for row in records)


def records_of(frame: "pd.DataFrame") -> list[Record]:
    """Return the rows of a frame."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def format_value(value: object, name: str = "") -> str:
    """Format a value for people; a missing one is a dash."""
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT
        return "–"
    if isinstance(value, float):
        from forecast_assets.reporting.number_format import format_number

        return format_number(value)
    if name in ABBREVIATED:
        return str(value)[:8]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if _is_day(value) else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return format_list(value) or "none"
    return "".join(char if char.isprintable() else " " for char in str(value))


def to_json(value: Any) -> Any:
    """Convert a value for JSON: NaN and infinity become null, times ISO 8601 texts."""
    if value is None or value != value or value in (math.inf, -math.inf):  # noqa: PLR0124
        return None
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, datetime):
        return value.date().isoformat() if _is_day(value) else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def first_few(texts: Iterable[str]) -> str:
    """List the first three texts, and how many more there are."""
    return format_list(texts, limit=3) or "none"


def humanize_age(span: timedelta) -> str:
    """Format an age in its largest whole unit: days, hours or minutes."""
    minutes = int(span.total_seconds() // 60)
    for unit, length in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        if (n := minutes // length) > 0:
            return f"{n} {unit}{'s' if n > 1 else ''} ago"
    return "just now"


def _is_day(value: datetime) -> bool:
    return value.tzinfo is None and value == value.replace(hour=0, minute=0, second=0)


@dataclass(frozen=True)
class StatusLine:
    """One line of `status` or `check`: a name, its value for programs and a text for people.

    `is_well` is None if there is nothing to judge. Without a text the formatted value is shown.
    """

    name: str
    value: object
    is_well: bool | None = None
    text: str | None = None

    @property
    def display(self) -> str:
        """Return the text for people."""
        return format_value(self.value, self.name) if self.text is None else self.text


def print_lines(lines: Sequence[StatusLine], *, is_json: bool = False) -> None:
    """Print lines; as JSON they have the keys `name`, `value` and `is_well`."""
    if is_json:
        keys = ("name", "value", "is_well")
        print_records([{key: vars(line)[key] for key in keys} for line in lines], is_json=True)
        return
    width = max(len(line.name) for line in lines)
    for line in lines:
        click.echo(f"{MARKS[line.is_well]}  {line.name.replace('_', ' '):<{width}}  {line.display}")
