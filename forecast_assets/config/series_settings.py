"""Define `[series]`: how raw rows become weekly series, and what is known about their values."""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from forecast_assets.config.source_settings import FrozenModel

T = TypeVar("T")


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a series' name equals or matches a pattern (case-sensitive, `*` is any text)."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def first_match(name: str, by_pattern: Mapping[str, T]) -> T | None:
    """Return the value of the first pattern that a series' name matches, None if none does."""
    return next((by_pattern[p] for p in by_pattern if matches_any(name, [p])), None)


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:  # also if one is NaN
        raise ValueError("the first number must be less than the second")
    return ends


Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_ascending)]


class ExcludedSettings(FrozenModel):
    """Weeks that are unknown to models and never scored: those with a day of the period."""

    model_config = ConfigDict(**FrozenModel.model_config, serialize_by_alias=True)

    series: str = Field(min_length=1)  # a pattern, for `matches_any`
    first: date = Field(alias="from", strict=False)
    last: date = Field(alias="to", strict=False)
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("`to` lies before `from`")
        if not self.reason.strip():
            raise ValueError("give the reason in words")
        return self

    @property
    def text(self) -> str:
        """Name the series and the period."""
        return f"{self.series}, {self.first} to {self.last}"


class SeriesSettings(FrozenModel):
    """How raw rows become one value for each series and week."""

    frequency: Literal["W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN"] = "W-FRI"
    season_length: int = Field(52, ge=1, le=1000)
    aggregate: Literal["error", "sum", "mean", "last"] = "error"
    missing: Literal["error", "interpolate", "ffill", "zero"] = "interpolate"
    # The share of its usual days that the first week of a series must have; 0: incomplete weeks
    # count, also the newest one.
    min_coverage: float = Field(0.8, ge=0, le=1, strict=False)
    # Weeks of the longest gap that `interpolate` and `ffill` fill. Half a year: a straight line
    # through more of it hides the season.
    max_gap: int = Field(26, ge=0, le=10_000)
    # By patterns of series' names: units for the report, and possible values.
    units: dict[str, str] = Field({})
    ranges: dict[str, Range] = Field({})
    excluded: tuple[ExcludedSettings, ...] = Field((), strict=False)

    def range_of(self, name: str) -> tuple[float, float]:
        """Return the possible values of a series; infinite ends where there is no limit."""
        return first_match(name, self.ranges) or (-math.inf, math.inf)
