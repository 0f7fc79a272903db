"""Read forecast.toml into settings; refuse it with every problem and the nearest known key.

`settings` defines what can be set.
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from forecast_assets.config.benchmark_settings import BENCHMARKS
from forecast_assets.config.calendar_settings import OWN_KEYS
from forecast_assets.config.delivery_settings import DELIVERIES
from forecast_assets.config.redaction import redact, url_secrets
from forecast_assets.config.series_settings import ExcludedSettings
from forecast_assets.config.settings import ROOT, ModelSettings, Settings
from forecast_assets.config.source_settings import KINDS
from forecast_assets.errors import SettingsError

# Keys of [source] whose values are not printed.
SECRETS = frozenset({"url", "headers", "params", "body"})

Warn = Callable[[str], None]
log_warning = logging.getLogger(__name__).warning  # on stderr unless the process set up logging


def load(environ: Mapping[str, str] = os.environ, *, warn: Warn = log_warning) -> Settings:
    """Read the settings in force: the file of FORECAST_CONFIG, else forecast.toml of the checkout.

    FORECAST_VAR moves the folder that runs write to. `warn` receives a sentence for each deprecated
    setting. Raises SettingsError if the file is missing or is not TOML, and if a setting is
    unknown, of a wrong type or out of range.
    """
    path = config_path(environ)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no settings file {path}. Nothing ran. Set FORECAST_CONFIG to the path of"
            f" your forecast.toml or restore that file; an empty file uses every default."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error}. Nothing ran. Correct the file."
        ) from error
    var = Path(environ.get("FORECAST_VAR") or path.parent / "var").resolve()
    return parse(given, root=path.parent, var=var, origin=str(path), warn=warn)


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the settings file, which need not exist."""
    return Path(environ.get("FORECAST_CONFIG") or ROOT / "forecast.toml").resolve()


def dagster_home(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the Dagster instance: DAGSTER_HOME, else `dagster` below `var`."""
    given = environ.get("DAGSTER_HOME")
    return Path(given) if given else settings.var / "dagster"


def parse(
    given: Mapping[str, Any], *, root: Path, var: Path, origin: str, warn: Warn = log_warning
) -> Settings:
    """Return the settings of a parsed file; `origin` names it in messages. Raises SettingsError."""
    given = _with_new_name(given, origin, warn)
    reserved = [f"`{name}` is unknown" for name in ("root", "var") if name in given]
    if reserved:
        raise SettingsError(_error_text(origin, reserved))
    try:
        return Settings.model_validate({**given, "root": root, "var": var})
    except ValidationError as error:
        # A list whose items are invalid counts as too short as well.
        problems = [
            # One about several tables names no setting.
            _problem(dict(detail)) if detail["loc"] else _message(dict(detail))
            for detail in error.errors()
            if detail["type"] != "too_short" or not detail["input"]
        ]
        raise SettingsError(_error_text(origin, problems)) from error


def _with_new_name(given: Mapping[str, Any], origin: str, warn: Warn) -> Mapping[str, Any]:
    """Rename `[verdict]`, which 0.3.0 will refuse. Raises SettingsError if both names are given."""
    if "verdict" not in given:
        return given
    if "data_quality" in given:
        problem = "`[verdict]` is the old name of `[data_quality]`, and both are given"
        raise SettingsError(_error_text(origin, [problem]))
    warn(
        f"`[verdict]` in {origin} is deprecated: its name is `[data_quality]` now. It is read as"
        f" before; the next release will refuse it. Rename the table."
    )
    return {"data_quality" if name == "verdict" else name: given[name] for name in given}


def _error_text(origin: str, problems: Sequence[str]) -> str:
    count = "1 setting" if len(problems) == 1 else f"{len(problems)} settings"
    return (
        f"{count} in {origin} cannot be used: {'; '.join(problems)}. Nothing ran. Correct the file;"
        f" docs/settings.md lists every setting and its default."
    )


def _message(detail: dict[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message.replace("dictionary", "table").replace("tuple", "list")


def _problem(detail: dict[str, Any]) -> str:
    """Describe one error of pydantic: the setting, its value and what is wrong."""
    path = [str(part) for part in detail["loc"]]
    if path[0] == "regressors" and path[2:3] == ["source"]:
        del path[2:4]
    # Pydantic puts the kind between the table and the key.
    at = {"source": 1, "benchmark": 2, "deliver": 2}.get(path[0], len(path))
    del path[at : at + 1]
    del path[at + 1 : at + 2 if path[at : at + 1] == ["paging"] else at + 1]
    *table, key = path
    known_in = table[:1] if table[:1] == ["regressors"] else table
    name, value, kind = ".".join(path), detail["input"], detail["type"]
    if kind == "union_tag_invalid":
        tag, kinds = detail["ctx"]["tag"], detail["ctx"]["expected_tags"].replace("'", "")
        return f"`{name}.kind` is {tag!r}, which is none of: {kinds}"
    if kind == "extra_forbidden" and table == ["source"] and _source_kinds(key):
        kinds = " or ".join(f'"{source}"' for source in _source_kinds(key))
        return f"`{name}` needs `source.kind = {kinds}`"
    is_stray = table == ["models"] and key != "enabled" and not isinstance(value, dict)
    if kind == "extra_forbidden" or is_stray:
        near = difflib.get_close_matches(key, _known_keys(known_in), n=1, cutoff=0.4)
        return f"`{name}` is unknown" + (f" (did you mean `{near[0]}`?)" if near else "")
    message = _message(detail)
    if kind == "missing":
        return f"`{name}` {message}"
    # The value is not printed if it is a whole table or may contain a secret.
    is_source = path[0] in ("source", "benchmark", "regressors", "deliver")
    may_be_secret = path[0] == "notify" or (is_source and not SECRETS.isdisjoint(path))
    if isinstance(value, dict) or (may_be_secret and isinstance(value, str | list)):
        return f"`{name}`: {message}"
    if isinstance(value, str):
        value = redact(value, url_secrets(value))
    return f"`{name}` is {value!r}: {message}"


def _source_kinds(key: str) -> list[str]:
    """List the kinds of source that have a key."""
    fields = [kind.model_fields for kind in KINDS if key in kind.model_fields]
    return [get_args(field["kind"].annotation)[0] for field in fields]


def _known_keys(path: Sequence[str]) -> list[str]:
    """List the keys that a table of forecast.toml may hold."""
    if not path:
        return [key for key in Settings.model_fields if key not in ("root", "var")]
    if path[0] in ("benchmark", "deliver"):
        kinds = BENCHMARKS if path[0] == "benchmark" else DELIVERIES
        models = [kind.model_fields for kind in kinds]
        return sorted({field.alias or name for each in models for name, field in each.items()})
    if path in (["source"], ["regressors"]):
        own = () if path == ["source"] else OWN_KEYS
        return sorted({*own, *(key for kind in KINDS for key in kind.model_fields)})
    if path[:2] == ["series", "excluded"]:
        return [field.alias or name for name, field in ExcludedSettings.model_fields.items()]
    table = Settings.model_fields[path[0]].annotation if len(path) == 1 else ModelSettings
    if isinstance(table, type) and issubclass(table, BaseModel):
        return list(table.model_fields)
    return []
