"""forecast.toml as frozen values: every setting with a default, unknown keys refused.

What a setting does belongs to the module that uses it.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from forecast_assets.errors import SettingsError, listed
from forecast_assets.tables import column_suffix

ROOT = Path(__file__).resolve().parents[1]
# fmt: off
DEFAULT_MODELS = (
    "naive", "seasonal_naive", "drift", "window_average",
    "ses", "holt", "damped_holt", "auto_ets", "auto_ces", "theta", "optimized_theta",
    "auto_arima", "harmonic_arima", "sarimax", "unobserved_components", "mstl_ets", "mstl_arima",
    "ridge", "boosted_trees", "croston", "tsb",
)
# fmt: on
# All that the package has but tbats: its two seconds a fit would double the demo's first week.
Metric = Literal["mae", "rmse", "mape", "smape", "mase", "rmsse", "wis"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DemoSource(_Frozen):
    """The six weekly series that the package carries."""

    kind: Literal["demo"] = "demo"


class FileSource(_Frozen):
    """Files on a disk or on anything that fsspec reaches: csv, parquet or json."""

    kind: Literal["file"]
    path: str = Field(min_length=1)
    unique_id: str = Field("unique_id", min_length=1)
    ds: str = Field("ds", min_length=1)
    y: str = Field("y", min_length=1)


Source = Annotated[DemoSource | FileSource, Field(discriminator="kind")]


class SeriesSettings(_Frozen):
    """How raw rows become one value a week."""

    frequency: Literal["W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN"] = "W-FRI"
    season_length: int = Field(52, ge=1, le=1000)
    aggregate: Literal["error", "sum", "mean", "last"] = "error"
    missing: Literal["error", "interpolate", "ffill", "zero"] = "interpolate"


class BacktestSettings(_Frozen):
    """How far ahead, at how many cutoffs, and how many weeks between them."""

    horizon: int = Field(1, ge=1, le=520)
    n_windows: int = Field(52, ge=1, le=10_000)
    step: int = Field(1, ge=1, le=520)
    refit_every: int | None = Field(None, ge=1, le=520)  # None: each model's own cadence


class ModelSettings(_Frozen):
    """A model of the user's own, or, without a factory, what to change in a registered one."""

    factory: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    params: dict[str, Any] = Field(default_factory=dict)
    refit_every: int | None = Field(None, ge=1, le=520)


class ModelsSettings(BaseModel):
    """Which models compete; any further key is the table of a user's own model."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, ModelSettings]

    enabled: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...] = Field(
        DEFAULT_MODELS, min_length=1, strict=False
    )

    @property
    def own(self) -> Mapping[str, ModelSettings]:
        """The user's own models, by name."""
        return self.__pydantic_extra__

    @field_validator("enabled")
    @classmethod
    def _once_each(cls, enabled: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in enabled if enabled.count(name) > 1})
        if twice:
            raise ValueError(f"comes twice: {listed(twice)}")
        return enabled


class SelectionSettings(_Frozen):
    """By which metric, and by which rule, a series gets its model."""

    metric: Metric = "mase"
    policy: Literal["best"] = "best"


class ForecastSettings(_Frozen):
    """Which prediction intervals are published."""

    levels: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = Field(
        (80, 95), min_length=1, strict=False
    )

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if list(levels) != sorted(levels) or len({*map(column_suffix, levels)}) < len(levels):
            raise ValueError("levels must ascend, each given once")
        return levels


class StoreSettings(_Frozen):
    """Where every version of every table is kept: a folder, or an object store's address."""

    uri: str = Field("var/store", min_length=1)


class ComputeSettings(_Frozen):
    """Where models run, and what each may take before it is ended."""

    workers: int = Field(0, ge=0, le=4096)  # 0: one a core; of the local cluster
    dask_address: str | None = Field(None, pattern=r"^\w+://.+")
    cluster: dict[str, dict[str, Any]] = Field(default_factory=dict, max_length=1)
    fold_seconds: float = Field(60, gt=0, strict=False)  # of one fold; a global model has the next
    model_seconds: float = Field(3600, gt=0, strict=False)  # of all folds of a model in a run
    memory_mb: float = Field(2048, gt=0, strict=False)  # of the process that a model runs in

    @property
    def is_here(self) -> bool:
        """Whether models run on this machine, in no cluster that is named."""
        return not self.dask_address and not self.cluster

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.dask_address and self.cluster:
            raise ValueError("`dask_address` and `cluster` answer one question: give one of them")
        return self


class ScheduleSettings(_Frozen):
    """When the week runs by itself; the time zone also says when a week is over."""

    cron: str = "0 0 * * MON"
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            near = difflib.get_close_matches(zone, available_timezones(), n=3)
            raise ValueError(f"no such time zone; nearest: {listed(near) or 'none'}")
        return zone

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        if len(cron.split()) != len(("minute", "hour", "day", "month", "weekday")):
            raise ValueError("a cron expression has five fields: minute hour day month weekday")
        return cron

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.timezone)


class Settings(_Frozen):
    """All settings in force. `root` is the folder that relative paths start from."""

    source: Source = DemoSource()
    series: SeriesSettings = SeriesSettings()
    backtest: BacktestSettings = BacktestSettings()
    models: ModelsSettings = ModelsSettings()
    selection: SelectionSettings = SelectionSettings()
    forecast: ForecastSettings = ForecastSettings()
    store: StoreSettings = StoreSettings()
    compute: ComputeSettings = ComputeSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    root: Path = Field(default=ROOT, exclude=True)
    var: Path = Field(default=ROOT / "var", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _demo_unless_said(cls, given: dict[str, Any]) -> dict[str, Any]:
        source = given.get("source")
        if isinstance(source, dict) and "kind" not in source:
            return {**given, "source": {"kind": "demo", **source}}
        return given

    @property
    def store_uri(self) -> str:
        """Where the store is: an address as it stands, a path made absolute."""
        return self.located(self.store.uri)

    def located(self, path: str) -> str:
        """Make a path absolute: `var/...` lies below `var`, any other path below `root`."""
        if "://" in path or Path(path).is_absolute():
            return path
        parts = Path(path).parts  # none, for "."
        return str(self.var.joinpath(*parts[1:]) if parts[:1] == ("var",) else self.root / path)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings that are in force.

    The file is the one that FORECAST_CONFIG names, else forecast.toml at the root of the checkout;
    FORECAST_VAR moves the folder that runs write below.

    Raises SettingsError where the file is missing or not TOML, and where a setting is unknown, of
    a wrong type or out of range.
    """
    path = Path(environ.get("FORECAST_CONFIG") or ROOT / "forecast.toml").resolve()
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
    return parse(given, root=path.parent, var=var, origin=str(path))


def parse(given: Mapping[str, Any], *, root: Path, var: Path, origin: str) -> Settings:
    """Make settings of a parsed file; `origin` names it in errors. Raises SettingsError."""
    if clash := [f"`{name}` is unknown" for name in ("root", "var") if name in given]:
        raise SettingsError(_refused(origin, clash))
    try:
        return Settings.model_validate({**given, "root": root, "var": var})
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors()]
        problems = [
            _problem(one) for one in details if one["type"] != "too_short" or not one["input"]
        ]
        raise SettingsError(_refused(origin, problems)) from error


def _refused(origin: str, problems: Sequence[str]) -> str:
    many = "1 setting" if len(problems) == 1 else f"{len(problems)} settings"
    return (
        f"{many} in {origin} cannot be used: {'; '.join(problems)}. Nothing ran with it."
        f" Correct the file; README.md lists every setting and its default."
    )


def _problem(detail: dict[str, Any]) -> str:
    loc = [str(part) for part in detail["loc"]]
    if loc[0] == "source":
        loc = ["source", *loc[2:]]  # the kind stands between the table and the key
    name = ".".join(loc)
    if detail["type"] == "union_tag_invalid":
        return f"`source.kind` is {detail['ctx']['tag']!r}, which is none of: demo, file"
    if (
        detail["type"] == "extra_forbidden"
        and loc[0] == "source"
        and loc[-1] in _known_keys(loc[:-1])
    ):
        return f'`{name}` needs `source.kind = "file"`'
    is_stray = loc[:-1] == ["models"] and loc[-1] != "enabled"
    if detail["type"] == "extra_forbidden" or (is_stray and not isinstance(detail["input"], dict)):
        near = difflib.get_close_matches(loc[-1], _known_keys(loc[:-1]), n=1, cutoff=0.4)
        return f"`{name}` is unknown" + (f" (did you mean `{near[0]}`?)" if near else "")
    given = "" if detail["type"] == "missing" else f" is {detail['input']!r}:"
    if isinstance(detail["input"], dict) and given:
        given = ":"  # a table is long, and may hold what a cluster is reached with
    message = detail["msg"].removeprefix("Value error, ")
    return f"`{name}`{given} {message[0].lower()}{message[1:]}"


def _known_keys(loc: Sequence[str]) -> list[str]:
    """The keys that a table of forecast.toml may hold."""
    if not loc:
        return [key for key in Settings.model_fields if key not in ("root", "var")]
    if loc[0] == "source":
        return list(FileSource.model_fields)
    table = Settings.model_fields[loc[0]].annotation if len(loc) == 1 else ModelSettings
    return (
        list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []
    )
