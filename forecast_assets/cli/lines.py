"""A line of `status` or `check`: what it is about, what was found, and whether that is well."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from forecast_assets.cli.printing import for_people, print_records


@dataclass(frozen=True)
class Line:
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
        return for_people(self.value, self.name) if self.text is None else self.text


def print_lines(lines: Sequence[Line], *, is_json: bool = False) -> None:
    """Print lines: for programs `name`, `value` and `is_well`."""
    if is_json:
        kept = ("name", "value", "is_well")
        print_records([{name: vars(one)[name] for name in kept} for one in lines], is_json=True)
        return
    width = max(len(one.name) for one in lines)
    for one in lines:
        click.echo(f"{_mark(one)}  {one.name.replace('_', ' '):<{width}}  {one.said}")


def _mark(line: Line) -> str:
    if line.is_well is None:
        return "  "
    return click.style("ok", fg="green") if line.is_well else click.style("NO", fg="red", bold=True)
