"""Define `[calendar]` and `[regressors.NAME]`: what is known of a week apart from past values."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from forecast_assets.config.source_settings import FrozenModel, Name, UserSource

DURATION = r"^[1-9]\d{0,4}[mhd]$"


class CalendarSettings(FrozenModel):
    """The public holidays of a country, and a file of events."""

    country: Name | None = None  # as the library `holidays` names it: US
    subdivision: Name | None = None
    events: Name | None = None  # a CSV file: name, first, last, and unique_id where wanted

    @model_validator(mode="after")
    def _check_subdivision(self) -> Self:
        if self.subdivision and not self.country:
            raise ValueError("a `subdivision` needs its `country`")
        return self

    @property
    def is_set(self) -> bool:
        """Tell whether there is any holiday or event."""
        return bool(self.country or self.events)


class RegressorColumns(FrozenModel):
    """Columns of a source, and when their values are known."""

    columns: tuple[Name, ...] = Field(min_length=1, strict=False)
    known: Literal["ahead", "past"]
    # How long after its week a value is published, or the column of publication times.
    available: Name | None = None
    fallback: Literal["without"] | None = None

    @model_validator(mode="after")
    def _check_available(self) -> Self:
        if self.known == "ahead" and self.delay:
            raise ValueError(
                f"`available` = {self.available!r} is a time after the week, but values that are"
                f' `known = "ahead"` are published before it: give the column of publication times,'
                f" or leave it out"
            )
        return self

    @property
    def delay(self) -> str | None:
        """The duration of `available`, None if it is a column or not given."""
        return self.available if re.match(DURATION, self.available or "") else None

    @property
    def published(self) -> str | None:
        """The column of publication times, None if there is none."""
        return None if self.delay else self.available


OWN_KEYS = tuple(RegressorColumns.model_fields)


class RegressorSettings(RegressorColumns):
    """Columns of a source of any kind, whose keys stand in the same table of forecast.toml.

    `unique_id` may be left out: without a column of that name the values hold for all series.
    """

    source: Annotated[UserSource, Field(discriminator="kind")]

    @model_validator(mode="before")
    @classmethod
    def _take_source(cls, given: Any) -> Any:
        """Give the keys of a source to the source."""
        if not isinstance(given, dict) or "source" in given:
            return given
        own = {key: value for key, value in given.items() if key in OWN_KEYS}
        source = {key: value for key, value in given.items() if key not in OWN_KEYS}
        source.setdefault("unique_id", source.get("ds", "ds"))  # see `is_common`
        source.setdefault("y", (own.get("columns") or ["y"])[0])
        return {**own, "source": source}

    @property
    def is_common(self) -> bool:
        """Tell whether the settings name no column of series: the times are no names."""
        return bool(self.source.unique_id == self.source.ds)
