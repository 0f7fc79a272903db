"""What a reader is asked, beside its own settings: for when, after what, and whom to tell."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.errors import SourceError

BEGINNING = datetime(1900, 1, 1)  # noqa: DTZ001 - in the source's own time, as `ds` is


def _to_nobody(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class FetchRequest:
    """One fetch. `before` is the table raw_data as it was fetched last, where there is one."""

    settings: Settings
    as_of: datetime
    before: pd.DataFrame | None = None
    say: Callable[[str], None] = _to_nobody
    rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - it spreads waits

    @property
    def last_ds(self) -> datetime:
        """The newest time that was fetched before, of those that are past, in the source's zone."""
        if self.before is None:
            return BEGINNING
        today = pd.Timestamp(self.today.replace(tzinfo=None))
        newest = self.before["ds"][self.before["ds"] <= today].max()
        return BEGINNING if pd.isna(newest) else newest.to_pydatetime()

    @property
    def today(self) -> datetime:
        """`as_of` in the source's time zone; where it has none, in the schedule's."""
        zone = self.settings.source.zone or self.settings.schedule.zone
        return self.as_of.astimezone(zone)


def expand_as_of(text: str, moment: datetime) -> str:
    """Put a day where `{as_of}` stands, as an ISO date, or `{as_of:FORMAT}`, as strftime writes it.

    Every other brace stays.
    """
    return re.sub(
        r"\{as_of(?::([^{}]*))?\}",
        lambda found: moment.strftime(found[1] or "%Y-%m-%d"),
        text,
    )


class ByteBudget:
    """How many bytes a fetch may still take: of bodies, and of what they unpack."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = self.left = max_bytes

    def take(self, n_bytes: int, *, of: str) -> None:
        """Count bytes in. Raises SourceError where they are more than are left."""
        self.left -= n_bytes
        if self.left < 0:
            raise SourceError(
                f"{of} gives more than `source.max_bytes` = {self.max_bytes:,} bytes, unpacked and"
                f" all parts together. Reading stopped there, and nothing was published. If so many"
                f" are right, set `max_bytes` higher; the machine's memory has to hold them."
            )
