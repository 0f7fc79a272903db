"""The commands before a week: `config`, what is in force, and `check`, whether all is there.

A thing to check is a function that yields its lines, named in `CHECKS`.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.cli.options import as_json, help_epilog, print_warning
from forecast_assets.cli.output import Record, print_records

if TYPE_CHECKING:
    from pydantic import BaseModel


COMMENTS_AT = 44


@click.command(epilog=help_epilog("forecast-assets config", "forecast-assets config --json"))
@as_json
def config(*, is_json: bool) -> None:
    """Print the settings in force.

    And where each comes from. For a person as TOML, to be copied into forecast.toml. With --json a
    record a setting, with `name`, `value` and `from`. What may be secret is not shown.
    """
    from forecast_assets.config import loader

    settings = loader.load(warn=print_warning)
    file = loader.config_path()
    places = [
        _place("FORECAST_CONFIG", str(file), "the settings"),
        _place("FORECAST_VAR", str(settings.var), "what runs write"),
    ]
    values = list(_values(settings, settings.model_dump(mode="json"), file.name))
    if is_json:
        kept = [{name: row[name] for name in ("name", "value", "from")} for row in places]
        print_records([*kept, *values], is_json=True)
        return
    for row in places:
        click.echo(f"# {row['what']}: {row['value']} ({row['from']})")
    _print_toml(values)


def _place(name: str, value: str, what: str) -> Record:
    origin = f"environment {name}" if os.environ.get(name) else "default"
    return {"name": name, "value": value, "from": origin, "what": what}


def _values(
    model: "BaseModel", shown: Mapping[str, Any], file: str, table: str = ""
) -> Iterator[Record]:
    """Every setting of a table and those below it, as `shown`: secrets masked."""
    from pydantic import BaseModel

    for name, value in shown.items():
        inner = getattr(model, name)
        if isinstance(inner, BaseModel):
            yield from _values(inner, value, file, f"{table}{name}.")
        else:
            origin = file if name in model.model_fields_set else "default"
            named = sorted(set(_from_environment(value)))
            origin += f", environment {', '.join(named)}" if named else ""
            yield {"name": f"{table}{name}", "value": value, "from": origin}


def _from_environment(value: object) -> Iterator[str]:
    """The names that a value is read from in the environment: those of `env:NAME`."""
    if isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:")
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _from_environment(one)


def _print_toml(values: Sequence[Record]) -> None:
    last = None
    for row in values:
        table, _, key = str(row["name"]).rpartition(".")
        if table != last:
            click.echo(f"\n[{table}]")
            last = table
        is_set = row["value"] is not None
        line = f"{key} = {_toml(row['value'])}" if is_set else f"# {key} is not set"
        click.echo(f"{line:<{COMMENTS_AT}}  # {row['from']}")


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # of a text or a number TOML's form is the same
