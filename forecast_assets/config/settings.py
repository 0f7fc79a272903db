"""The eight tables of the week, by name.

What a contract is and how it is checked: `schema`. Who fills the tables: `defs`.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from forecast_assets.config.source_settings import DemoSource, FrozenModel, Secret, Source, Zone
from forecast_assets.errors import format_list


def column_suffix(level: float) -> str:
    """80 -> "80", 97.5 -> "97.5": how a level is written in a column's name."""
    return f"{level:g}"


ROOT = Path(__file__).resolve().parents[2]
# fmt: off
DEFAULT_MODELS = (
    "naive", "seasonal_naive", "drift", "window_average",
    "ses", "holt", "damped_holt", "auto_ets", "auto_ces", "theta", "optimized_theta",
    "auto_arima", "harmonic_arima", "sarimax", "unobserved_components", "mstl_ets", "mstl_arima",
    "ridge", "boosted_trees", "croston", "tsb",
)
# fmt: on
# All that the package has but tbats: its two seconds a fit would double the demo's first week.
Combination = Literal[
    "combination_mean",
    "combination_median",
    "combination_inverse_error",
    "combination_best_subset",
]
Metric = Literal["mae", "rmse", "mape", "smape", "mase", "rmsse", "wis"]


def parse_duration(text: str) -> timedelta:
    """Read a span of time: a number and its unit, m, h or d."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    return timedelta(**{units[text[-1]]: int(text[:-1])})


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether a series' name is one of the patterns, or fits one: `*` is any text, case matters."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


Event = Literal["report", "run_failed", "check_failed", "week_missed"]
Severity = Literal["info", "warning", "error"]
Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,4}[mhd]$")]  # 30m, 6h, 2d: see `span`
FindingPolicy = Literal["publish", "warn", "hold"]


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:  # nor is NaN
        raise ValueError("the first of the two is the lower")
    return ends


Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_ascending)]


class SeriesSettings(FrozenModel):
    """How raw rows become one value a week."""

    frequency: Literal["W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN"] = "W-FRI"
    season_length: int = Field(52, ge=1, le=1000)
    aggregate: Literal["error", "sum", "mean", "last"] = "error"
    missing: Literal["error", "interpolate", "ffill", "zero"] = "interpolate"
    min_coverage: float = Field(0.8, ge=0, le=1, strict=False)  # of a first or newest week's days
    units: dict[str, str] = Field(default_factory=dict)  # by series, for the report; * for any text
    ranges: dict[str, Range] = Field(default_factory=dict)  # likewise: where its values lie


class DataQualitySettings(FrozenModel):
    """The policy of each kind of finding: publish the data, publish with a warning, or hold."""

    new_week: FindingPolicy = "publish"
    unchanged: FindingPolicy = "publish"
    revised: FindingPolicy = "warn"
    rewritten: FindingPolicy = "hold"
    repeated: FindingPolicy = "hold"
    shrunk: FindingPolicy = "hold"
    late: FindingPolicy = "warn"
    malformed: FindingPolicy = "warn"
    partial: FindingPolicy = "warn"
    duplicates: FindingPolicy = "warn"
    off_grid: FindingPolicy = "warn"
    gaps: FindingPolicy = "warn"
    out_of_range: FindingPolicy = "hold"
    new_series: FindingPolicy = "publish"
    vanished_series: FindingPolicy = "hold"
    unusual: FindingPolicy = "warn"
    rescaled: FindingPolicy = "hold"
    flat: FindingPolicy = "warn"


class BacktestSettings(FrozenModel):
    """How far ahead, at how many cutoffs, and how many weeks between them."""

    horizon: int = Field(1, ge=1, le=520)
    n_windows: int = Field(52, ge=1, le=10_000)
    step: int = Field(1, ge=1, le=520)
    refit_every: int | None = Field(None, ge=1, le=520)  # None: each model's own cadence

    @property
    def overlap(self) -> int:
        """How many folds back the newest fold lies whose target weeks are over at a cutoff."""
        return -(-self.horizon // self.step)


class ModelSettings(FrozenModel):
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
    def by_name(self) -> Mapping[str, ModelSettings]:
        """The user's own models, by name."""
        return self.__pydantic_extra__

    @field_validator("enabled")
    @classmethod
    def _once_each(cls, enabled: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in enabled if enabled.count(name) > 1})
        if twice:
            raise ValueError(f"comes twice: {format_list(twice)}")
        reserved = [name for name in enabled if name.startswith("combination_")]
        if reserved:
            raise ValueError(
                f"every combination competes, and is no model: {format_list(reserved)}"
            )
        return enabled


class SelectionSettings(FrozenModel):
    """By which metric, and by which rule, a series gets its model."""

    metric: Metric = "mase"
    policy: Literal["best", "one_standard_error", "incumbent", "combination"] = "combination"
    scope: Literal["series", "all"] = "series"  # a choice for each series, or one for all
    combination: Combination = "combination_median"  # the one that the policy of that name takes
    margin: float = Field(0.05, ge=0, lt=1, strict=False)  # of the incumbent's score
    patience: int = Field(2, ge=1, le=52)  # weeks that the margin holds before it is replaced


class ForecastSettings(FrozenModel):
    """Which prediction intervals are published."""

    minimum: float | None = Field(None, strict=False)  # no value of any series can lie below it
    levels: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = Field(
        (80, 95), min_length=1, strict=False
    )

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if list(levels) != sorted(levels) or len({*map(column_suffix, levels)}) < len(levels):
            raise ValueError("levels must ascend, each given once")
        return levels


class StoreSettings(FrozenModel):
    """Where every version of every table is kept: a folder, or an object store's address."""

    uri: str = Field("var/store", min_length=1)


class ComputeSettings(FrozenModel):
    """Where models run, and what each may take before it is ended."""

    workers: int = Field(0, ge=0, le=4096)  # 0: one a core; of the local cluster
    dask_address: str | None = Field(None, pattern=r"^\w+://.+")
    cluster: dict[str, dict[str, Any]] = Field(default_factory=dict, max_length=1)
    fold_seconds: float = Field(60, gt=0, strict=False)  # of one fold; a global model has the next
    model_seconds: float = Field(3600, gt=0, strict=False)  # of all folds of a model in a run
    memory_mb: float = Field(2048, gt=0, strict=False)  # of the process that a model runs in

    @property
    def is_local(self) -> bool:
        """Whether models run on this machine, in no cluster that is named."""
        return not self.dask_address and not self.cluster

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.dask_address and self.cluster:
            raise ValueError("`dask_address` and `cluster` answer one question: give one of them")
        return self


class ScheduleSettings(FrozenModel):
    """When the week runs by itself; the time zone also says when a week is over."""

    cron: str = "0 0 * * MON"
    timezone: Zone = "UTC"
    catch_up: Literal["latest", "all", "skip"] = "latest"  # which missed ticks get a late run
    deadline: Duration = "6h"  # after a tick, by which its forecast is there
    poll: Duration | None = None  # how often to look for new data between the ticks

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


class NotifyRule(FrozenModel):
    """Who is told of what: a notice goes to `urls` where all that the rule asks for holds."""

    urls: tuple[Secret, ...] = Field(min_length=1, strict=False)
    events: tuple[Event, ...] = Field(get_args(Event), min_length=1, strict=False)
    severity: Severity = "info"  # the least that is told
    series: tuple[str, ...] = Field(
        ("*",), min_length=1, strict=False
    )  # names, * for any text: see `fits`


class NotifySettings(FrozenModel):
    """Apprise URLs: `urls` are told everything, those of a rule what it asks for."""

    urls: tuple[Secret, ...] = Field((), strict=False)
    rules: tuple[NotifyRule, ...] = Field((), strict=False)


class Settings(FrozenModel):
    """All settings in force. `root` is the folder that relative paths start from."""

    source: Source = DemoSource()
    series: SeriesSettings = SeriesSettings()
    data_quality: DataQualitySettings = DataQualitySettings()
    backtest: BacktestSettings = BacktestSettings()
    models: ModelsSettings = ModelsSettings()
    selection: SelectionSettings = SelectionSettings()
    forecast: ForecastSettings = ForecastSettings()
    store: StoreSettings = StoreSettings()
    compute: ComputeSettings = ComputeSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    notify: NotifySettings = NotifySettings()
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
        return self.resolve_path(self.store.uri)

    def resolve_path(self, path: str) -> str:
        """Make a path absolute: `var/...` lies below `var`, any other path below `root`."""
        if "://" in path or Path(path).is_absolute():
            return path
        parts = Path(path).parts  # none, for "."
        return str(self.var.joinpath(*parts[1:]) if parts[:1] == ("var",) else self.root / path)
