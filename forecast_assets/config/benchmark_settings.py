"""Define `[benchmark.NAME]`: where forecasts that others made come from, of any kind of source."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from forecast_assets.config.source_settings import (
    FileSource,
    FrozenModel,
    HttpSource,
    Name,
    PythonSource,
    SqlSource,
    _Source,
)

MEDIAN = 0.5
# With `_error` at the end they are names of other columns of forecast_accuracy.
RESERVED = ("override", "abs", "naive_abs")


class _Benchmark(_Source):
    """The columns of forecasts: a series, a week, a value, when it was made, and quantiles."""

    model_config = ConfigDict(**FrozenModel.model_config, serialize_by_alias=True)

    # They take the places of the value and of the publication time in the readers of sources.
    y: Name = Field("y_hat", alias="y_hat")
    published: Name = Field("made_on", alias="made_on")
    # A benchmark that does not answer must not keep the week waiting.
    max_retries: int = Field(3, ge=0, le=10_000)
    quantiles: dict[str, Name] = Field({})  # the column of each quantile: "0.1" = "p10"
    use: bool = False  # whether it competes like a model, and is a member of ensembles

    @model_validator(mode="after")
    def _check_quantiles(self) -> Self:
        try:
            given = {float(text) for text in self.quantiles}
        except ValueError as error:
            raise ValueError("the keys of `quantiles` are numbers, such as 0.1") from error
        if any(not 0 < quantile < 1 for quantile in given) or len(given) < len(self.quantiles):
            raise ValueError("the keys of `quantiles` are numbers between 0 and 1, each given once")
        alone = [q for q in sorted(given) if round(1 - q, 6) not in given and q != MEDIAN]
        if alone:
            raise ValueError(
                f"`quantiles` needs both ends of an interval: {alone[0]:g} comes with"
                f" {1 - alone[0]:g}"
            )
        return self

    @property
    def by_quantile(self) -> dict[float, str]:
        """Return the column of each quantile, ascending."""
        return dict(sorted((float(text), column) for text, column in self.quantiles.items()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column that is read, once."""
        return tuple(dict.fromkeys((*super().columns, *self.quantiles.values())))


class FileBenchmark(_Benchmark, FileSource):
    """Forecasts in files."""

    kind: Literal["file"]


class HttpBenchmark(_Benchmark, HttpSource):
    """Forecasts behind a URL."""

    kind: Literal["http"]


class SqlBenchmark(_Benchmark, SqlSource):
    """Forecasts in a database."""

    kind: Literal["sql"]


class PythonBenchmark(_Benchmark, PythonSource):
    """Forecasts that a Python function returns."""

    kind: Literal["python"]


Benchmark = Annotated[
    FileBenchmark | HttpBenchmark | SqlBenchmark | PythonBenchmark, Field(discriminator="kind")
]
BENCHMARKS = (FileBenchmark, HttpBenchmark, SqlBenchmark, PythonBenchmark)


def _check_name(name: str) -> str:
    """Return the name of a benchmark: columns of forecast_accuracy begin with it."""
    if name in RESERVED or name.startswith("combination_"):
        raise ValueError(f"the name of a benchmark must not be `{name}`")
    return name


BenchmarkName = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), AfterValidator(_check_name)
]
