"""Define the tables of forecast.toml, with defaults and limits.

The other modules `*_settings` define some of them; `loader` reads the file; docs/settings.md
documents each key.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from forecast_assets.config.benchmark_settings import Benchmark, BenchmarkName
from forecast_assets.config.calendar_settings import CalendarSettings, RegressorSettings
from forecast_assets.config.compute_settings import ComputeSettings
from forecast_assets.config.delivery_settings import Delivery, DeliveryName, delivery_problem
from forecast_assets.config.forecast_settings import ForecastSettings
from forecast_assets.config.hierarchy_settings import HierarchySettings
from forecast_assets.config.report_settings import ReportSettings
from forecast_assets.config.series_settings import SeriesSettings, first_match
from forecast_assets.config.source_settings import DemoSource, FrozenModel, Secret, Source, Zone
from forecast_assets.errors import format_list

ROOT = Path(__file__).resolve().parents[2]
# Every model of the package but tbats, whose two seconds for each fit would double the demo's first
# week, and optimized_theta, which takes four times as long as theta and has the same error.
# fmt: off
DEFAULT_MODELS = (
    "naive", "seasonal_naive", "drift", "window_average",
    "ses", "holt", "damped_holt", "auto_ets", "auto_ces", "theta",
    "auto_arima", "harmonic_arima", "sarimax", "unobserved_components", "mstl_ets", "mstl_arima",
    "ridge", "pooled_growth", "boosted_trees", "boosted_levels", "croston", "tsb",
)
# fmt: on
Combination = Literal[
    "combination_mean",
    "combination_median",
    "combination_inverse_error",
    "combination_best_subset",
    "combination_best_model",
]
Metric = Literal["mae", "rmse", "mape", "smape", "mase", "rmsse", "wis"]


def parse_duration(text: str) -> timedelta:
    """Parse a number and its unit m, h or d, such as 30m, 6h or 2d."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    return timedelta(**{units[text[-1]]: int(text[:-1])})


Event = Literal["report", "run_failed", "check_failed", "week_missed"]
Severity = Literal["info", "warning", "error"]
RegressorName = Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,4}[mhd]$")]
FindingPolicy = Literal["publish", "warn", "hold"]
ForecastPolicy = Literal["fallback", "hold", "publish"]


class DataQualitySettings(FrozenModel):
    """The policy of each kind of finding: publish the data, publish with a warning, or hold."""

    new_week: FindingPolicy = "publish"
    unchanged: FindingPolicy = "publish"
    revised: FindingPolicy = "warn"
    rewritten: FindingPolicy = "hold"
    repeated: FindingPolicy = "hold"
    shrunk: FindingPolicy = "hold"
    late: FindingPolicy = "warn"
    future_clock: FindingPolicy = "warn"
    malformed: FindingPolicy = "warn"
    partial: FindingPolicy = "warn"
    unknown_completeness: FindingPolicy = "warn"
    duplicates: FindingPolicy = "warn"
    overlapping_files: FindingPolicy = "hold"
    off_grid: FindingPolicy = "warn"
    midnight_dates: FindingPolicy = "publish"
    placeholder_dates: FindingPolicy = "warn"
    number_format: FindingPolicy = "hold"
    gaps: FindingPolicy = "warn"
    long_gap: FindingPolicy = "warn"
    out_of_range: FindingPolicy = "hold"
    new_series: FindingPolicy = "publish"
    vanished_series: FindingPolicy = "hold"
    similar_names: FindingPolicy = "warn"
    totals_differ: FindingPolicy = "warn"
    unusual: FindingPolicy = "warn"
    rescaled: FindingPolicy = "hold"
    flat: FindingPolicy = "warn"
    # Not of a fetch but of the forecast: use the next candidate, hold the week, or publish it.
    implausible_forecast: ForecastPolicy = "fallback"


class BacktestSettings(FrozenModel):
    """The horizon, and the number and spacing of the cutoffs, in weeks."""

    horizon: int = Field(1, ge=1, le=520)
    n_windows: int = Field(52, ge=1, le=10_000)
    step: int = Field(1, ge=1, le=520)
    refit_every: int | None = Field(None, ge=1, le=520)  # None: each model's own interval

    @property
    def overlap(self) -> int:
        """Return how many folds later the actual values of a fold are known."""
        return -(-self.horizon // self.step)


class ModelSettings(FrozenModel):
    """A user's own model or, without a factory, changes to a registered one."""

    factory: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    params: dict[str, Any] = Field({})
    refit_every: int | None = Field(None, ge=1, le=520)


class ModelsSettings(BaseModel):
    """Which models compete; every other key is the table of one model."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, ModelSettings]

    enabled: tuple[ModelName, ...] = Field(DEFAULT_MODELS, min_length=1, strict=False)

    @property
    def by_name(self) -> Mapping[str, ModelSettings]:
        """Return the tables `[models.NAME]` by name."""
        return self.__pydantic_extra__

    @field_validator("enabled")
    @classmethod
    def _check_names(cls, enabled: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := sorted({name for name in enabled if enabled.count(name) > 1}):
            raise ValueError(f"given more than once: {format_list(repeated)}")
        if reserved := [name for name in enabled if name.startswith("combination_")]:
            raise ValueError(f"combinations always compete; remove {format_list(reserved)}")
        return enabled


class SelectionSettings(FrozenModel):
    """The metric and the rule by which a series gets its model."""

    metric: Metric = "mase"
    policy: Literal["best", "one_standard_error", "incumbent", "combination", "evidence"] = (
        "evidence"
    )
    scope: Literal["series", "all"] = "series"  # a choice for each series, or one for all
    combination: Combination = "combination_median"  # of the policy `combination`
    # The policy `incumbent` replaces a model once another one is better by this share of its score
    # in this many weeks in succession.
    margin: float = Field(0.05, ge=0, lt=1, strict=False)
    patience: int = Field(2, ge=1, le=52)
    # The model of a series, by patterns of series' names, whatever the policy says.
    pinned: dict[str, ModelName] = Field({})

    def pinned_model(self, name: str) -> str | None:
        """Return the model that a series is pinned to, by the first pattern that matches."""
        return first_match(name, self.pinned)


class StoreSettings(FrozenModel):
    """Where all versions are stored: a folder or an object store's address."""

    uri: str = Field("var/store", min_length=1)


class ScheduleSettings(FrozenModel):
    """When the week runs; the time zone also decides when a week is over."""

    cron: str = "0 0 * * MON"
    timezone: Zone = "UTC"
    catch_up: Literal["latest", "all", "skip"] = "latest"  # which missed ticks get a late run
    deadline: Duration = "6h"  # after a tick: its forecast must exist by then
    poll: Duration | None = None  # how often to look for data between ticks; None: never

    @field_validator("cron")
    @classmethod
    def _check_fields(cls, cron: str) -> str:
        if len(cron.split()) != len(("minute", "hour", "day", "month", "weekday")):
            raise ValueError("a cron expression has five fields: minute hour day month weekday")
        return cron

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone."""
        return ZoneInfo(self.timezone)


class NotifyRule(FrozenModel):
    """Recipients of some notifications: those that match every condition of the rule."""

    urls: tuple[Secret, ...] = Field(min_length=1, strict=False)
    events: tuple[Event, ...] = Field(get_args(Event), min_length=1, strict=False)
    severity: Severity = "info"  # the lowest that is sent
    series: tuple[str, ...] = Field(("*",), min_length=1, strict=False)  # for `matches_any`


class NotifySettings(FrozenModel):
    """Apprise URLs: `urls` receive every notification, those of a rule some of them."""

    urls: tuple[Secret, ...] = Field((), strict=False)
    rules: tuple[NotifyRule, ...] = Field((), strict=False)


class Settings(FrozenModel):
    """All settings. `root` is the folder of forecast.toml, `var` the folder of all output."""

    source: Source = DemoSource()
    series: SeriesSettings = SeriesSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    data_quality: DataQualitySettings = DataQualitySettings()
    backtest: BacktestSettings = BacktestSettings()
    models: ModelsSettings = ModelsSettings()
    selection: SelectionSettings = SelectionSettings()
    forecast: ForecastSettings = ForecastSettings()
    benchmark: dict[BenchmarkName, Benchmark] = Field({})
    store: StoreSettings = StoreSettings()
    compute: ComputeSettings = ComputeSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    report: ReportSettings = ReportSettings()
    notify: NotifySettings = NotifySettings()
    calendar: CalendarSettings = CalendarSettings()
    regressors: dict[RegressorName, RegressorSettings] = Field({})
    deliver: dict[DeliveryName, Delivery] = Field({})
    root: Path = Field(default=ROOT, exclude=True)
    var: Path = Field(default=ROOT / "var", exclude=True)

    @model_validator(mode="after")
    def _check_pinned(self) -> Self:
        if not self.has_regressors and self.pin_problem:
            raise ValueError(self.pin_problem)
        return self  # where twins compete, too, the registry of models checks

    @model_validator(mode="after")
    def _check_deliveries(self) -> Self:
        if problem := delivery_problem(self.deliver, self.forecast):
            raise ValueError(problem)
        return self

    @property
    def pin_problem(self) -> str:
        """Say which pinned models are not among the candidates, or nothing."""
        candidates = {*self.models.enabled, *get_args(Combination), *self.used_benchmarks}
        unknown = sorted({*self.selection.pinned.values()} - candidates)
        if not unknown:
            return ""
        return (
            f"`selection.pinned` names models that do not compete: {format_list(unknown)}; add"
            f" them to `models.enabled`, or set `use = true` in the table of a benchmark"
        )

    @model_validator(mode="before")
    @classmethod
    def _default_to_demo(cls, given: dict[str, Any]) -> dict[str, Any]:
        source = given.get("source")
        if isinstance(source, dict) and "kind" not in source:
            return {**given, "source": {"kind": "demo", **source}}
        return given

    @property
    def has_regressors(self) -> bool:
        """Tell whether models may know more of a week than the past values."""
        return self.calendar.is_set or bool(self.regressors)

    @property
    def used_benchmarks(self) -> tuple[str, ...]:
        """Return the benchmarks that compete like models."""
        return tuple(name for name, each in self.benchmark.items() if each.use)

    @property
    def benchmark_quantiles(self) -> dict[str, tuple[float, ...]]:
        """Return the quantiles that each benchmark forecasts."""
        return {name: tuple(each.by_quantile) for name, each in self.benchmark.items()}

    @property
    def store_uri(self) -> str:
        """Return the store's address, or its absolute path."""
        return self.resolve_path(self.store.uri)

    def resolve_path(self, path: str) -> str:
        """Make a path absolute: `var/...` is below `var`, any other path below `root`."""
        if "://" in path or Path(path).is_absolute():
            return path
        parts = Path(path).parts  # none, for "."
        return str(self.var.joinpath(*parts[1:]) if parts[:1] == ("var",) else self.root / path)
