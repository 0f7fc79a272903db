"""Read `[regressors.NAME]` into the table `regressors`: each value with the time it was known from.

How models see it is laid out in `regressor_frame`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.calendar_settings import RegressorSettings
from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.columns import check_columns
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import week_end
from forecast_assets.errors import DataError, format_list

# The `unique_id` of values that hold for all series.
ALL_SERIES = "*"
# The column of series, if the source has it and the settings name none.
UNIQUE_ID = "unique_id"
# The time from which values are known that are known ahead and have no time of publication.
ALWAYS = pd.Timestamp("1900-01-01", tz="UTC").as_unit("ns")
DAY = pd.Timedelta(days=1)
KEY = ["regressor", "unique_id", "ds"]
COLUMNS = [*KEY, "known_at", "value"]


class Previous(NamedTuple):
    """A version of the table `regressors`, and the time up to which it knows values."""

    rows: pd.DataFrame
    as_of: datetime


def read_regressors(
    settings: Settings,
    *,
    as_of: datetime,
    before: Previous | None,
    changed_at: datetime | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the table `regressors` as known at a time, sorted by its key.

    Where the source has no times of publication, what differs from the previous version is known
    from `changed_at` (`as_of`) on: other values, values that were missing when their week was
    forecast, and weeks ahead that the source no longer has, which become null. Earlier ticks keep
    what they knew. The time of the first row of each key is that of the present settings.

    Raises SourceError and DataError as `fetch` does, and DataError where two rows of a regressor
    have the same series, week and time of publication.
    """
    frames = []
    for name, table in settings.regressors.items():
        present = settings.model_copy(update={"source": table.source})
        request = FetchRequest(present, as_of, log=log, every_column=True)
        columns = "`unique_id`, `ds`, `columns` or `available`"
        with fetch.named_table(f"regressors.{name}", columns=columns):
            rows = _read(name, table, request)
        if before is not None and table.published is None:
            names = [f"{name}.{column}" for column in table.columns]
            old = before.rows.loc[before.rows["regressor"].isin(names), COLUMNS]
            seen, at = Previous(old, before.as_of), pd.Timestamp(changed_at or as_of).as_unit("ns")
            rows = _with_changes(seen, rows, table, request, at)
        frames.append(rows)
    every = pd.concat(frames, ignore_index=True)
    known = every[every["known_at"] <= pd.Timestamp(as_of)]
    return known.sort_values([*KEY, "known_at"], ignore_index=True)


def changed_values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that replace an earlier value; the times of each key are in order."""
    rows = table[table["value"].notna() | table.duplicated(KEY)]
    return rows[rows.duplicated(KEY)]


def _read(name: str, table: RegressorSettings, request: FetchRequest) -> pd.DataFrame:
    """Read the columns of one table: [rows * columns]."""
    source = table.source
    rows = fetch.READERS[source.kind](source, request)
    ids: tuple[str, ...] = source.ids
    needed = [*filter(None, [table.published]), *source.ids, source.ds, *table.columns]
    check_columns(rows.columns, needed, origin=f"the regressor {name}")
    is_common = table.is_common and UNIQUE_ID not in rows
    if is_common:
        rows = rows.assign(**{ALL_SERIES: "all"})
        ids = (ALL_SERIES,)
    elif table.is_common:
        ids = (UNIQUE_ID,)
    frames = []
    for column in table.columns:
        raw = _map(rows, ids, table, column, request, f"the regressor {name}")
        week = week_end(raw["ds"], request.settings.series.frequency)
        frame = pd.DataFrame(
            {
                "regressor": f"{name}.{column}",
                "unique_id": ALL_SERIES if is_common else raw["unique_id"],
                "ds": week,
                "known_at": raw["published"]
                if table.published
                else _known_from(week, table, request),
                "value": raw["y"],
            }
        )
        frames.append(frame if table.published else frame.dropna(subset=["value"]))
    every = pd.concat(frames, ignore_index=True)
    _check_repeats(every, name)
    return every


def _map(
    rows: pd.DataFrame,
    ids: tuple[str, ...],
    table: RegressorSettings,
    column: str,
    request: FetchRequest,
    origin: str,
) -> pd.DataFrame:
    """Return the usable rows of one column: `unique_id, ds, y, published`."""
    raw = fetch.map_rows(
        rows,
        request,
        columns={"unique_id": ids, "ds": table.source.ds, "y": column},
        published=table.published,
        origin=origin,
        are_forecasts=True,
    )
    if n_bad := raw["problem"].notna().sum():
        request.log(f"{n_bad} of {len(raw)} rows of {origin} cannot be used and are left out.")
    return raw[raw["problem"].isna()]


def _in_utc(times: "pd.Series[pd.Timestamp]", request: FetchRequest) -> "pd.Series[pd.Timestamp]":
    """Return wall-clock times of the source's zone in UTC."""
    is_summer = np.ones(len(times), dtype=bool)
    zone = request.local_zone
    local = times.dt.tz_localize(zone, ambiguous=is_summer, nonexistent="shift_forward")
    return local.dt.tz_convert("UTC")


def _known_from(
    weeks: "pd.Series[pd.Timestamp]", table: RegressorSettings, request: FetchRequest
) -> "pd.Series[pd.Timestamp]":
    """Return since when the settings have values of weeks known, if the source does not say."""
    if table.known == "ahead":
        return pd.Series(ALWAYS, weeks.index)
    delay = parse_duration(table.delay) if table.delay else pd.Timedelta(0)
    return _in_utc(weeks + DAY, request) + delay


def _with_changes(
    before: Previous,
    rows: pd.DataFrame,
    table: RegressorSettings,
    request: FetchRequest,
    changed_at: pd.Timestamp,
) -> pd.DataFrame:
    """Return the previous rows of a table of the settings, and what differs from them."""
    old = before.rows
    since = _known_from(old["ds"], table, request)
    is_first = ~old.duplicated(KEY)
    old = old.assign(known_at=since.where(is_first | (old["known_at"] < since), old["known_at"]))
    newest = old.drop_duplicates(KEY, keep="last")

    is_absent = _are_absent(rows, newest, KEY)
    value_before = rows[KEY].merge(newest, how="left", on=KEY)["value"].to_numpy()
    is_changed = ~is_absent & (rows["value"].to_numpy() != value_before)
    due = rows["known_at"]
    if table.known == "ahead":
        horizon = pd.Timedelta(weeks=request.settings.backtest.horizon)
        due = _in_utc(rows["ds"] + DAY - horizon, request)
    # A new series or column is read for the first time: none of its values is late.
    is_late = is_absent & ~_are_absent(rows, newest, KEY[:2])
    is_late &= ((due <= before.as_of) & (rows["known_at"] < changed_at)).to_numpy()
    is_early = (rows["known_at"] < changed_at).to_numpy()
    new = rows.assign(known_at=rows["known_at"].mask((is_changed | is_late) & is_early, changed_at))

    is_ahead = _in_utc(newest["ds"] + DAY, request) > request.as_of
    ahead = newest[is_ahead & newest["value"].notna()]
    gone = ahead[_are_absent(ahead, rows, KEY)].assign(known_at=changed_at, value=np.nan)
    missing = rows[is_late].assign(value=np.nan)
    every = pd.concat([old, missing, new[is_absent | is_changed], gone], ignore_index=True)
    return every.drop_duplicates([*KEY, "known_at"], keep="last")


def _are_absent(rows: pd.DataFrame, others: pd.DataFrame, key: list[str]) -> NDArray[np.bool_]:
    """Tell which rows have a key that no row of `others` has: [rows]."""
    keys = others[key].drop_duplicates()
    found = rows[key].merge(keys, how="left", on=key, indicator=True)
    return (found["_merge"] == "left_only").to_numpy()


def _check_repeats(rows: pd.DataFrame, name: str) -> None:
    """Raise DataError where rows have the same series, week and time."""
    is_repeated = rows.duplicated([*KEY, "known_at"], keep=False)
    if is_repeated.any():
        found = rows[is_repeated].drop_duplicates(KEY)
        shown = found["unique_id"].astype(str) + found["ds"].dt.strftime(" / %Y-%m-%d")
        raise DataError(
            f"{is_repeated.sum()} of {len(rows)} rows of `regressors.{name}` have the same series"
            f" and week as another row: {format_list(shown)}. It is not clear which value holds, so"
            f" nothing was forecast; what was stored before stays. Give one row for each week, or a"
            f" column of publication times in `available`."
        )
