"""Turn `[calendar]` into columns for each week: days of holiday, and each holiday by its name.

Holidays come from the library `holidays`, events from a CSV file. What models do with the columns
belongs to `models`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError, SettingsError, format_list

Days = NDArray[np.datetime64]  # datetime64[D]
Values = NDArray[np.float64]

# Days before and after a holiday that count as its neighbours: people shop ahead of it.
NEIGHBOUR_DAYS = 7
EVENT_DAYS = ("first", "last")
# Names of columns that are not an event's own: no event is called so.
HOLIDAY_DAYS = "holiday days"
NEIGHBOURS = (" before", " after")
# Countries that an error names.
EXAMPLES = "the code of a country (ISO 3166), such as DE, FR or US"
EVENT_COLUMNS = ("name", *EVENT_DAYS)


@dataclass(frozen=True)
class Event:
    """A holiday or an event of one day or more, of all series or of those that match a pattern."""

    name: str
    first: date
    last: date
    series: str = "*"

    @property
    def is_common(self) -> bool:
        """Tell whether it concerns all series."""
        return self.series == "*"


def calendar_events(settings: Settings, *, first: date, last: date) -> list[Event]:
    """Return the events, and the holidays from a year before the first day to one after the last.

    Raises SettingsError for an unknown country or subdivision, and DataError for a bad file.
    """
    calendar, years = settings.calendar, (first.year - 1, last.year + 1)
    events: list[Event] = []
    if calendar.country:
        events += _holidays(calendar.country, calendar.subdivision, *years)
    if calendar.events:
        events += read_events(Path(settings.resolve_path(calendar.events)))
    return events


def read_events(path: Path) -> list[Event]:
    """Read `name, first, last` and, where given, `unique_id` (a pattern) of events from a CSV file.

    Without a last day an event has one day. Raises DataError where the file cannot be used.
    """
    try:
        rows = pd.read_csv(path, dtype=str, skipinitialspace=True).rename(columns=str.strip)
    except (OSError, ValueError) as error:
        raise DataError(
            f"The events of `calendar.events` cannot be read from {path}: {error}. No model knows"
            f" them, so nothing ran. Correct the path or the file."
        ) from error
    absent = [name for name in EVENT_COLUMNS if name not in rows]
    if absent:
        raise DataError(
            f"The events in {path} have no column {format_list(absent)}; their columns are"
            f" {format_list(rows.columns)}. Nothing ran. Name them {', '.join(EVENT_COLUMNS)} and,"
            f" for events of some series, unique_id."
        )
    first, last = (pd.to_datetime(rows[n], format="%Y-%m-%d", errors="coerce") for n in EVENT_DAYS)
    last = last.where(rows["last"].notna(), first)
    is_bad = rows["name"].isna() | first.isna() | last.isna() | (last < first)
    if is_bad.any():
        raise DataError(
            f"{is_bad.sum()} of {len(rows)} events in {path} have no name, no days such as"
            f" 2025-12-24, or end before they begin: {_lines(is_bad)}. Nothing ran. Correct"
            f" the file."
        )
    series = rows.get("unique_id", pd.Series("*", rows.index)).fillna("*")
    is_reserved = (rows["name"] == HOLIDAY_DAYS) | rows["name"].str.endswith(NEIGHBOURS)
    if is_reserved.any():
        raise DataError(
            f"{is_reserved.sum()} of {len(rows)} events in {path} are called {HOLIDAY_DAYS}, or end"
            f" in{' or'.join(NEIGHBOURS)}, as the days near an event are: {_lines(is_reserved)}."
            f" Nothing ran. Give them other names."
        )
    return [
        Event(name, begin.date(), end.date(), pattern)
        for name, begin, end, pattern in zip(rows["name"], first, last, series, strict=True)
    ]


def _lines(is_meant: "pd.Series[bool]") -> str:
    """Name the lines of a file with a line of names."""
    return format_list(f"line {i + 2}" for i in np.flatnonzero(is_meant))


def event_columns(events: Sequence[Event], weeks: Days) -> pd.DataFrame:
    """Return a column for each name with those of its neighbours: [W, 3 * names].

    `weeks` are the last days of the weeks, which have seven days. The value is the number of days
    of the week that are an event's, that are among the seven before it, or among the seven after.
    Each day counts once in a column, also where events of one name overlap.
    """
    by_name: dict[str, list[Event]] = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    near = np.arange(1, NEIGHBOUR_DAYS + 1)
    columns: dict[str, Values] = {}
    for name, of_name in by_name.items():
        days = _days_of(of_name)
        before, after = ((days[:, None] + side).ravel() for side in (-near, near))
        columns[f"{name} before"] = _count_days(np.setdiff1d(before, days), weeks)
        columns[name] = _count_days(days, weeks)
        columns[f"{name} after"] = _count_days(np.setdiff1d(after, days), weeks)
    return pd.DataFrame(columns, index=weeks)


def holiday_days(events: Sequence[Event], weeks: Days) -> Values:
    """Return how many days of each week are a holiday or an event: [W]."""
    return _count_days(_days_of(events), weeks)


def _days_of(events: Sequence[Event]) -> Days:
    """Return the days of events, sorted and each once."""
    days = {
        event.first + timedelta(days=n)
        for event in events
        for n in range((event.last - event.first).days + 1)
    }
    return np.array(sorted(days), dtype="datetime64[D]")


def _count_days(days: Days, weeks: Days) -> Values:
    """Count the days, which are sorted, in each week: [W]."""
    until, before = (np.searchsorted(days, weeks - back, side="right") for back in (0, 7))
    return (until - before).astype(np.float64)


def _holidays(country: str, subdivision: str | None, first: int, last: int) -> Iterator[Event]:
    """Yield the public holidays of the years, on the day that they fall on."""
    for day, name in _library_holidays(country, subdivision, first, last):
        yield Event(name, day, day)


@cache  # the library's import takes a second
def _library_holidays(
    country: str, subdivision: str | None, first: int, last: int
) -> Sequence[tuple[date, str]]:
    import holidays

    try:
        found = holidays.country_holidays(
            country, subdiv=subdivision, years=range(first, last + 1), observed=False
        )
    except NotImplementedError as error:
        known = holidays.list_supported_countries()
        is_known = country in known
        what = "calendar.subdivision" if is_known else "calendar.country"
        given = subdivision if is_known else country
        choices = format_list(known[country], limit=80) if is_known else EXAMPLES
        raise SettingsError(
            f"`{what}` is {given!r}, which the library `holidays` does not know. Nothing ran. Use"
            f" {choices or 'no subdivision'}."
        ) from error
    return [(day, name) for day in sorted(found) for name in found.get_list(day)]
