"""Define `[forecast]`: what is published for each week, and how its columns are named."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from forecast_assets.config.source_settings import FrozenModel

Level = Annotated[float, Field(gt=0, lt=100)]
Quantile = Annotated[float, Field(gt=0, lt=1)]
N_DECIMALS = 6  # of a quantile


def column_suffix(level: float) -> str:
    """Format a level for a column's name: 80 as "80", 97.5 as "97.5"."""
    return f"{level:g}"


def quantile_of(level: float, side: Literal[-1, 1]) -> float:
    """Return the lower or upper quantile at an end of an interval: 95, -1 -> 0.025."""
    return round(0.5 + side * level / 200, N_DECIMALS)


class ForecastSettings(FrozenModel):
    """The published prediction intervals and quantiles, and the limit of all forecasts."""

    minimum: float | None = Field(
        None, strict=False, allow_inf_nan=False
    )  # no forecast is below it
    levels: tuple[Level, ...] = Field((80, 95), min_length=1, strict=False)
    quantiles: tuple[Quantile, ...] = Field((), strict=False)  # published too: q0.025 and so on
    # On which errors are measured; auto: by the scores of past intervals.
    scale: Literal["auto", "level", "sqrt", "log1p"] = "auto"
    correct_revisions: bool = True  # models see the newest values with their usual revision

    @field_validator("levels", "quantiles")
    @classmethod
    def _ascending(cls, given: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if list(given) != sorted(given) or len({*map(column_suffix, given)}) < len(given):
            raise ValueError(f"{info.field_name} must ascend, each given once")
        if info.field_name == "quantiles" and any(round(q, N_DECIMALS) != q for q in given):
            raise ValueError(f"quantiles have at most {N_DECIMALS} decimals")
        return given

    @property
    def all_levels(self) -> tuple[float, ...]:
        """The levels, and those of the intervals whose ends are the quantiles, ascending."""
        of_quantiles = {round(abs(200 * q - 100), 4) for q in self.quantiles} - {0}
        return tuple(sorted({*self.levels, *of_quantiles}))
