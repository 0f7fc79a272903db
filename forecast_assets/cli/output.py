"""Records as a person reads them, or a program: a table in the terminal, JSON, or CSV."""

import csv
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.errors import format_list

if TYPE_CHECKING:
    import pandas as pd


ROWS_SHOWN = 50
LEAST_WIDTH = 24  # of a column of text that is cut
GAP = 2  # between columns
MORE_THAN_NAME = 2  # that tabulate makes a column wider than its name
ABBREVIATED = ("run_id", "data_version")
Record = Mapping[str, object]


def print_records(
    records: Sequence[Record], *, is_json: bool = False, most: int | None = ROWS_SHOWN
) -> None:
    """Print records of equal keys; for a person `most` of them, at the terminal's width."""
    if is_json:
        click.echo(json.dumps([for_json(row) for row in records]))
        return
    if not records:
        click.echo("No rows.")
        return
    shown = records[:most]
    names = list(shown[0])
    rows = [[format_value(row[name], name) for name in names] for row in shown]
    is_text = [not _is_number(value) for value in shown[0].values()]
    left_out: Sequence[str] = []
    if sys.stdout.isatty():
        rows, left_out = fit_width(names, rows, is_text, width=shutil.get_terminal_size().columns)
    _print_table(names[: len(rows[0])], rows, is_text)
    more = [f"{len(records) - len(shown)} more rows"] if len(records) > len(shown) else []
    more += [f"the columns {', '.join(left_out)}"] if left_out else []
    if more:
        click.echo(f"… and {' and '.join(more)}; --json prints them all.")


def print_csv(records: Sequence[Record]) -> None:
    """Print records of equal keys as CSV, with a header; null is an empty field."""
    writer = csv.DictWriter(sys.stdout, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(for_json(row) for row in records)


def fit_width(
    names: Sequence[str], rows: Sequence[Sequence[str]], is_text: Sequence[bool], *, width: int
) -> tuple[list[list[str]], list[str]]:
    """Cut a table to a width: the cells, and the columns that are left out.

    As many columns stay as can with their long texts cut, the first one however narrow it is.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    heads = [len(name) + MORE_THAN_NAME for name in names]
    widths = [max(head, *map(len, column)) for head, column in zip(heads, columns, strict=True)]
    least = [
        max(head, min(w, LEAST_WIDTH)) if one else w
        for head, w, one in zip(heads, widths, is_text, strict=True)
    ]
    n = len(widths)
    while n > 1 and _total(least[:n]) > width:
        n -= 1
    while _total(widths[:n]) > width and widths[:n] != least[:n]:
        widest = max((i for i in range(n) if widths[i] > least[i]), key=widths.__getitem__)
        widths[widest] -= 1
    cut = [[_cut(cell, w) for cell, w in zip(row[:n], widths, strict=False)] for row in rows]
    return cut, list(names[n:])


def records_of(frame: "pd.DataFrame") -> list[Record]:
    """The rows of a frame."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def format_value(value: object, name: str = "") -> str:
    """A value as a person reads it; a dash where there is none."""
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
    return "".join(one if one.isprintable() else " " for one in str(value))


def for_json(value: Any) -> Any:
    """A value as JSON can hold it: null for what is no number, ISO 8601 for times."""
    if value is None or value != value or value in (math.inf, -math.inf):  # noqa: PLR0124
        return None
    if isinstance(value, Mapping):
        return {str(key): for_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(one) for one in value]
    if isinstance(value, datetime):
        return value.date().isoformat() if _is_day(value) else value.isoformat()
    return str(value) if isinstance(value, Path) else value


def humanize_age(span: timedelta) -> str:
    """How long ago, in the unit that a person would use."""
    minutes = int(span.total_seconds() // 60)
    for unit, length in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        n = minutes // length
        if n > 0:
            return f"{n} {unit}{'s' if n > 1 else ''} ago"
    return "just now"


def humanize_bytes(n_bytes: int) -> str:
    """A number of bytes as a person reads it."""
    amount = float(n_bytes)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:  # noqa: PLR2004 - of SI
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], is_text: list[bool]) -> None:
    from tabulate import tabulate

    sides = ["left" if one else "right" for one in is_text[: len(names)]]
    click.echo(tabulate(rows, names, "simple", disable_numparse=True, colalign=sides))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_day(value: datetime) -> bool:
    return value.tzinfo is None and value == value.replace(hour=0, minute=0, second=0)


@dataclass(frozen=True)
class StatusLine:
    """One line: its name, its value for programs, and the text that a person reads for it.

    `is_well` is null where there is nothing to judge.
    """

    name: str
    value: object
    is_well: bool | None = None
    text: str | None = None  # where the value as it stands does not say it

    @property
    def said(self) -> str:
        """The line as a person reads it, its name aside."""
        return format_value(self.value, self.name) if self.text is None else self.text


def print_lines(lines: Sequence[StatusLine], *, is_json: bool = False) -> None:
    """Print lines: for programs `name`, `value` and `is_well`."""
    if is_json:
        kept = ("name", "value", "is_well")
        print_records([{name: vars(one)[name] for name in kept} for one in lines], is_json=True)
        return
    width = max(len(one.name) for one in lines)
    for one in lines:
        click.echo(f"{_mark(one)}  {one.name.replace('_', ' '):<{width}}  {one.said}")


def _mark(line: StatusLine) -> str:
    if line.is_well is None:
        return "  "
    return click.style("ok", fg="green") if line.is_well else click.style("NO", fg="red", bold=True)
