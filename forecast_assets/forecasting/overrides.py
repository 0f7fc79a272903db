"""Let people override the forecast of a week: check what they give, and keep both numbers.

The model's number stays in `y_hat`, and no model sees an override. Both are scored.
"""

import difflib
import math
from typing import NamedTuple

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import last_day_of_week, local_day
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.command_tables import OVERRIDES
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.overrides import (
    Override,
    append_override,
    current_overrides,
    read_overrides,
    to_overrides,
)
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import newest, rebuild_command, valid_versions

# The columns of `overrides`, and those of the forecast and of its scores.
COLUMNS = {
    "value": "override",
    "lower": "override_low",
    "upper": "override_high",
    "by": "override_by",
    "reason": "override_reason",
    "at": "override_at",
}


class Published(NamedTuple):
    """A new override, its version of `overrides`, and that of the forecast with it, if any."""

    row: Override
    override: Commit
    forecast: Commit | None
    deliveries: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Say what was recorded, and where it shows."""
        if self.forecast is None:
            shown = "No forecast has this week yet; the first one that does will show it."
        else:
            command = rebuild_command([("forecast_accuracy", None), ("weekly_report", None)])
            command += "".join(f" && forecast-assets deliver {name}" for name in self.deliveries)
            shown = (
                f"{FORECAST} {self.forecast.version} shows it, and so will the report: the sensor"
                f" stale_assets makes it again, or\n{command}"
            )
        return f"Recorded: {self.row.text}, {OVERRIDES} {self.override.version}.\n{shown}"

    @property
    def record(self) -> dict[str, object]:
        """Return the override and the numbers of the versions."""
        version = self.forecast.version if self.forecast else None
        return {**vars(self.row), "version": self.override.version, "forecast_version": version}


def override(store: Store, settings: Settings, row: Override) -> Published:
    """Record an override, or withdraw one, and write the newest forecast again with it.

    A week that no forecast has yet gets the override with its first forecast. Raises DataError,
    after which nothing is changed, and StoreError.
    """
    row = _checked(store, settings, row)
    appended = append_override(store, row)
    commit = newest(valid_versions(store, FORECAST, as_of=row.at))
    if commit is None:
        return Published(row, appended, None)
    table = store.tables[FORECAST]
    before = store.read([commit]).reindex(columns=table.names)
    is_shown = (before["unique_id"] == row.unique_id) & (before["ds"] == pd.Timestamp(row.ds))
    if not is_shown.any():
        return Published(row, appended, None)
    # The rows were made by that run, from the same versions.
    again = Commit(
        FORECAST,
        None,
        commit.run_id,
        commit.as_of,
        commit.code_version,
        inputs=commit.inputs,
        made_with=commit.made_with,
    )
    written = store.write(with_overrides(before, store), again)
    return Published(row, appended, written, tuple(settings.deliver))


def with_overrides(forecast: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Return rows of next_week_forecast with the overrides that count; the same without any."""
    overrides = current_overrides(read_overrides(store)).rename(columns=COLUMNS)
    rows = forecast.drop(columns=[*COLUMNS.values()], errors="ignore")
    if overrides.empty:
        return rows
    return rows.merge(overrides, on=["unique_id", "ds"], how="left", validate="many_to_one")


def without_overrides(forecast: pd.DataFrame) -> pd.DataFrame:
    """Return rows of next_week_forecast as the models made them."""
    return forecast.assign(**{name: None for name in COLUMNS.values() if name in forecast})


def _checked(store: Store, settings: Settings, row: Override) -> Override:
    """Return an override of the week that a day lies in. Raises DataError if it cannot count."""
    row = row.__class__(**{**vars(row), "ds": last_day_of_week(row.ds, settings)})
    if not row.reason.strip() or not row.by.strip():
        raise _error(row, "it has no reason or no name", "Give both: they are shown and kept")
    _check_series(store, row)
    today = local_day(row.at, settings)
    if row.ds < today:
        raise _error(
            row,
            f"the week is over, as today is {today}",
            "A known value needs no forecast. Give a week that is not over",
        )
    if row.value is None:
        _check_open(store, row)
    else:
        _check_values(row, settings)
    return row


def _check_series(store: Store, row: Override) -> None:
    commit = newest(valid_versions(store, "series", as_of=row.at))
    if commit is None:
        raise _error(row, "no series is stored yet", "Run a week first: `forecast-assets run`")
    names = sorted({*store.read([commit], columns=["unique_id"])["unique_id"]})
    if row.unique_id not in names:
        near = difflib.get_close_matches(row.unique_id, names, n=3)
        shown = f"nearest are {format_list(near)}" if near else f"series are {format_list(names)}"
        raise _error(row, f"there is no such series; the {shown}", "Give one of them")


def _check_values(row: Override, settings: Settings) -> None:
    low, value, high = (
        default if given is None else given
        for given, default in ((row.lower, -math.inf), (row.value, math.nan), (row.upper, math.inf))
    )
    if not math.isfinite(value) or not low <= value <= high:
        raise _error(
            row,
            f"{value:g} is not a number between {low:g} and {high:g}",
            "Give a value, and ends on either side of it",
        )
    least, most = settings.series.range_of(row.unique_id)
    if not least <= value <= most:
        raise _error(
            row,
            f"{value:g} is outside the possible values, {least:g} to {most:g}",
            "Give it in the series' unit, or correct `series.ranges`",
        )


def _check_open(store: Store, row: Override) -> None:
    rows = current_overrides(read_overrides(store))
    is_week = (rows["unique_id"] == row.unique_id) & (rows["ds"] == pd.Timestamp(row.ds))
    if not is_week.any():
        shown = format_list(each.text for each in to_overrides(rows)) or "none"
        raise _error(row, "nothing overrides it", f"These overrides count: {shown}")


def _error(row: Override, problem: str, remedy: str) -> DataError:
    return DataError(
        f"The week ending {row.ds} of {row.unique_id} cannot be overridden: {problem}. Nothing was"
        f" changed. {remedy}."
    )


def override_summary(scored: pd.DataFrame, scale: "pd.Series[float]") -> pd.DataFrame:
    """Compare people with the models that they overrode: a row for each person and reason.

    `scored` are rows of forecast_accuracy; `scale` is the mean weekly change by series. `n` counts
    overrides whose week is over, each once: with the first forecast that showed it. `model` and
    `person` are their mean absolute errors divided by the scale; `person_over_model` above 1: the
    model was better; `n_better` counts the overrides that were closer than the model.
    """
    columns = ["by", "reason", "n", "model", "person", "person_over_model", "n_better"]
    if "override" not in scored or scored["override"].isna().all():
        return pd.DataFrame(columns=columns)
    given = scored[scored["override"].notna()].sort_values("h", ascending=False, kind="stable")
    once = given.drop_duplicates(["unique_id", "ds", "override_at"])
    size = once["unique_id"].map(scale)
    person = once["override_error"].abs()
    rows = pd.DataFrame(
        {
            "by": once["override_by"],
            "reason": once["override_reason"],
            "n": 1,
            "model": once["abs_error"] / size,
            "person": person / size,
            "n_better": (person < once["abs_error"]).astype(int),
        }
    )
    total = rows.groupby(["by", "reason"], sort=True).sum()
    means = total[["model", "person"]].div(rows.groupby(["by", "reason"]).count()["model"], axis=0)
    ratio = total["person"] / total["model"].where(total["model"] > 0)
    return total.assign(**means, person_over_model=ratio).reset_index()[columns]
