"""Define `[deliver.NAME]`: where the published numbers go, a table for each kind of destination."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import AfterValidator, Field

from forecast_assets.config.forecast_settings import ForecastSettings, Quantile, column_suffix
from forecast_assets.config.source_settings import FrozenModel, Name, Path, Seconds, Url
from forecast_assets.errors import format_list

FORECAST: Final = "next_week_forecast"
# The quantiles that hubs ask for: those of the COVID-19 and FluSight forecast hubs.
HUB_QUANTILES = (0.01, 0.025, *(round(0.05 * n, 2) for n in range(1, 20)), 0.975, 0.99)
SUFFIXES = (".csv", ".parquet", ".xlsx")


def _check_suffix(path: str) -> str:
    """Return the path of a file whose suffix names a format. Raises ValueError."""
    if not path.startswith("env:") and PurePosixPath(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"the path ends with one of {format_list(SUFFIXES)}")
    return path


Asset = Literal["next_week_forecast", "forecast_accuracy", "metrics"]


class _Delivery(FrozenModel):
    """What is delivered, and the name by which the destination knows who wrote a row."""

    asset: Asset = FORECAST
    producer: Name = "forecast_assets"


class SqlDelivery(_Delivery):
    """A table of a database that SQLAlchemy supports."""

    kind: Literal["sql"]
    url: Url
    table: Name
    connect_seconds: Seconds = 10
    total_seconds: Seconds = 600  # of one attempt, from the connection to the commit


class FileDelivery(_Delivery):
    """A CSV, Parquet or Excel file on a disk or on any fsspec file system."""

    kind: Literal["file"]
    path: Annotated[Path, AfterValidator(_check_suffix)]


class HubverseDelivery(FrozenModel):
    """Model-output files of a forecast hub."""

    asset: ClassVar[Asset] = FORECAST

    kind: Literal["hubverse"]
    path: Path  # the folder of the hub
    model_id: str = Field(pattern=r"^[A-Za-z0-9_]+-[A-Za-z0-9_]+$")  # team and model
    target: Name
    format: Literal["csv", "parquet"] = "csv"
    first_horizon: int = Field(1, ge=-520, le=520)  # the hub's number of the first week
    locations: dict[str, Name] = Field({})  # the hub's location of a series; {}: every series
    quantiles: tuple[Quantile, ...] = Field(HUB_QUANTILES, min_length=1, strict=False)
    tasks: Path | None = None  # the hub's tasks.json, whose rules the rows have to keep


Delivery = Annotated[SqlDelivery | FileDelivery | HubverseDelivery, Field(discriminator="kind")]
DeliveryName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
DELIVERIES = get_args(get_args(Delivery)[0])


def delivery_problem(deliveries: Mapping[str, Delivery], forecast: ForecastSettings) -> str:
    """Say which deliveries cannot work with the other settings, or nothing."""
    places: dict[tuple[object, ...], str] = {}
    for name, delivery in deliveries.items():
        other = places.setdefault(_place(delivery), name)
        if other != name:
            return (
                f"`deliver.{other}` and `deliver.{name}` write to the same place, so each would"
                f" replace the rows of the other; give each a place of its own"
            )
        if not isinstance(delivery, HubverseDelivery):
            continue
        absent = [q for q in delivery.quantiles if q not in forecast.quantiles]
        if absent:
            every = sorted({*forecast.quantiles, *delivery.quantiles})
            return (
                f"`deliver.{name}` needs {len(absent)} quantiles that are not published:"
                f" {format_list(map(column_suffix, absent))}; set in [forecast]:"
                f" quantiles = [{', '.join(map(column_suffix, every))}]"
            )
    return ""


def _place(delivery: Delivery) -> tuple[object, ...]:
    """Return what tells the destination of a delivery from another one."""
    match delivery:
        case SqlDelivery():
            return delivery.url, delivery.table
        case FileDelivery():
            return (delivery.path,)
        case _:
            return delivery.path, delivery.model_id
