"""forecast.toml read into settings, or refused: each problem named, with the nearest known key.

What there is to set: `settings`.
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from forecast_assets.config.settings import ROOT, ModelSettings, Settings
from forecast_assets.config.source_settings import KINDS
from forecast_assets.errors import SettingsError

Warn = Callable[[str], None]
log_warning = logging.getLogger(__name__).warning  # on stderr unless the process set up logging

# Tables of forecast.toml by their old names, which are read until the next release.
RENAMED = {"verdict": "data_quality"}


def load(environ: Mapping[str, str] = os.environ, *, warn: Warn = log_warning) -> Settings:
    """Read the settings in force.

    The file is the one that FORECAST_CONFIG names, else forecast.toml at the root of the checkout.
    FORECAST_VAR moves the folder that runs write to. `warn` receives a sentence for each deprecated
    setting.

    Raises SettingsError if the file is missing or is not TOML, and if a setting is unknown, of a
    wrong type or out of range.
    """
    path = config_path(environ)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no settings file {path}. Without one nothing says what to forecast, so"
            f" nothing ran. Set FORECAST_CONFIG to your forecast.toml, or restore that file;"
            f" an empty file means every default."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error}. Nothing ran. Mend it and try again."
        ) from error
    var = Path(environ.get("FORECAST_VAR") or path.parent / "var").resolve()
    return parse(given, root=path.parent, var=var, origin=str(path), warn=warn)


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The settings file that `load` reads, there or not."""
    return Path(environ.get("FORECAST_CONFIG") or ROOT / "forecast.toml").resolve()


def dagster_home(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the Dagster instance: DAGSTER_HOME, else `dagster` below `var`."""
    given = environ.get("DAGSTER_HOME")
    return Path(given) if given else settings.var / "dagster"


def parse(
    given: Mapping[str, Any], *, root: Path, var: Path, origin: str, warn: Warn = log_warning
) -> Settings:
    """Return the settings of a parsed file; `origin` names it in messages. Raises SettingsError."""
    given = _with_new_names(given, origin, warn)
    clash = [name for name in ("root", "var") if name in given]
    if clash:
        raise SettingsError(_refused(origin, [f"`{name}` is unknown" for name in clash]))
    try:
        return Settings.model_validate({**given, "root": root, "var": var})
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors()]
        problems = [
            _problem(one) for one in details if one["type"] != "too_short" or not one["input"]
        ]
        raise SettingsError(_refused(origin, problems)) from error


def _with_new_names(given: Mapping[str, Any], origin: str, warn: Warn) -> Mapping[str, Any]:
    """Rename deprecated tables, with a warning. Raises SettingsError if both names are given."""
    for old, new in RENAMED.items():
        if old not in given:
            continue
        if new in given:
            problem = f"`[{old}]` is the old name of `[{new}]`, and both are given"
            raise SettingsError(_refused(origin, [problem]))
        warn(
            f"`[{old}]` in {origin} is deprecated: its name is `[{new}]` now. It is read as before;"
            f" the next release will refuse it. Rename the table."
        )
        given = {new if name == old else name: table for name, table in given.items()}
    return given


def _refused(origin: str, problems: Sequence[str]) -> str:
    many = "1 setting" if len(problems) == 1 else f"{len(problems)} settings"
    return (
        f"{many} in {origin} cannot be used: {'; '.join(problems)}. Nothing ran with it."
        f" Correct the file; docs/settings.md lists every setting and its default."
    )


def _problem(detail: dict[str, Any]) -> str:
    loc = [str(part) for part in detail["loc"]]
    if loc[0] == "source":
        loc = ["source", *loc[2:]]  # the kind stands between the table and the key
    name = ".".join(loc)
    if detail["type"] == "union_tag_invalid":
        return f"`source.kind` is {detail['ctx']['tag']!r}, which is none of: {', '.join(_kinds())}"
    if detail["type"] == "extra_forbidden" and loc[:-1] == ["source"] and _kinds(loc[-1]):
        kinds = " or ".join(f'"{kind}"' for kind in _kinds(loc[-1]))
        return f"`{name}` needs `source.kind = {kinds}`"
    is_stray = loc[:-1] == ["models"] and loc[-1] != "enabled"
    if detail["type"] == "extra_forbidden" or (is_stray and not isinstance(detail["input"], dict)):
        near = difflib.get_close_matches(loc[-1], _known_keys(loc[:-1]), n=1, cutoff=0.4)
        return f"`{name}` is unknown" + (f" (did you mean `{near[0]}`?)" if near else "")
    given = "" if detail["type"] == "missing" else f" is {detail['input']!r}:"
    if (isinstance(detail["input"], dict) or loc[0] == "notify") and given:
        given = ":"  # a table is long, and may hold what a cluster or a channel is reached with
    message = detail["msg"].removeprefix("Value error, ")
    return f"`{name}`{given} {message[0].lower()}{message[1:]}"


def _kinds(key: str = "kind") -> list[str]:
    """The kinds of source that have a key."""
    fields = [kind.model_fields for kind in KINDS if key in kind.model_fields]
    return [get_args(one["kind"].annotation)[0] for one in fields]


def _known_keys(loc: Sequence[str]) -> list[str]:
    """The keys that a table of forecast.toml may hold."""
    if not loc:
        return [key for key in Settings.model_fields if key not in ("root", "var")]
    if loc[0] == "source":
        return sorted({key for kind in KINDS for key in kind.model_fields})
    table = Settings.model_fields[loc[0]].annotation if len(loc) == 1 else ModelSettings
    return (
        list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []
    )
