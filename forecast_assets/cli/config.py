"""The command `config`: print every setting and where its value comes from."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.cli.options import as_json, help_epilog, print_warning
from forecast_assets.cli.output import Record, print_records

if TYPE_CHECKING:
    from pydantic import BaseModel


COMMENT_COLUMN = 44


@click.command(epilog=help_epilog("forecast-assets config", "forecast-assets config --json"))
@as_json
def config(*, is_json: bool) -> None:
    """Print the settings and where they come from.

    The output is TOML that can be copied into forecast.toml; secrets are masked. With --json, one
    record for each setting with `name`, `value` and `from`.
    """
    from forecast_assets.config import loader

    settings = loader.load(warn=print_warning)
    file = loader.config_path()
    paths = {
        "settings file": _path_record("FORECAST_CONFIG", str(file)),
        "folder of all output": _path_record("FORECAST_VAR", str(settings.var)),
    }
    records = list(_records(settings, settings.model_dump(mode="json"), file.name))
    if is_json:
        print_records([*paths.values(), *records], is_json=True)
        return
    for title, path in paths.items():
        click.echo(f"# {title}: {path['value']} ({path['from']})")
    _print_toml(records)


def _path_record(variable: str, value: str) -> Record:
    origin = f"environment {variable}" if os.environ.get(variable) else "default"
    return {"name": variable, "value": value, "from": origin}


def _records(
    model: "BaseModel", dump: Mapping[str, Any], file: str, table: str = ""
) -> Iterator[Record]:
    """Yield a record for every setting below a table; `dump` has the secrets masked."""
    from pydantic import BaseModel

    for name, value in dump.items():
        inner = getattr(model, name)
        if isinstance(inner, BaseModel):
            yield from _records(inner, value, file, f"{table}{name}.")
        else:
            origin = file if name in model.model_fields_set else "default"
            variables = sorted(set(_environment_variables(value)))
            origin += f", environment {', '.join(variables)}" if variables else ""
            yield {"name": f"{table}{name}", "value": value, "from": origin}


def _environment_variables(value: object) -> Iterator[str]:
    """Yield NAME for every `env:NAME` in a value."""
    if isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:")
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _environment_variables(item)


def _print_toml(records: Sequence[Record]) -> None:
    previous = None
    for record in records:
        table, _, key = str(record["name"]).rpartition(".")
        if table != previous:
            click.echo(f"\n[{table}]")
            previous = table
        is_set = record["value"] is not None
        line = f"{key} = {_toml(record['value'])}" if is_set else f"# {key} is not set"
        click.echo(f"{line:<{COMMENT_COLUMN}}  # {record['from']}")


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        items = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # texts and numbers look the same in TOML
