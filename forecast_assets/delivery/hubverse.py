"""Deliver quantiles as a model-output file of a forecast hub (hubverse.io).

One file is one round: its name begins with the reference date, the day before horizon 1 starts.
"""

import posixpath
from datetime import date, timedelta

import numpy as np
import pandas as pd

from forecast_assets.config.delivery_settings import HubverseDelivery
from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.redaction import resolve_env
from forecast_assets.delivery.batch import Batch, Written
from forecast_assets.delivery.formats import ENCODERS
from forecast_assets.delivery.hub_rules import HubRules, parse_rules, problems
from forecast_assets.delivery.place import Place
from forecast_assets.errors import DeliveryError, format_list
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.contract import Kind
from forecast_assets.storage.tables import target_week

WEEK = timedelta(weeks=1)
KINDS: dict[str, Kind] = {
    "reference_date": "date",
    "horizon": "int",
    "target": "string",
    "target_end_date": "date",
    "location": "string",
    "output_type": "string",
    "output_type_id": "float",
    "value": "float",
}


def write_hubverse(delivery: HubverseDelivery, batch: Batch) -> Written:
    """Write the file of the version's round, and delete those of withdrawn rounds.

    Raises DeliveryError if the rows break a rule of the hub or the file cannot be written. The
    hub's files are then as they were.
    """
    n_taken_back = sum(_take_back(delivery, batch, commit) for commit in batch.withdrawn)
    if batch.rows is None:
        return Written(_folder(delivery, batch), n_taken_back=n_taken_back)
    rows = hub_rows(batch.rows, delivery, batch, _rules(delivery, batch))
    place = _place(delivery, batch, rows["reference_date"].iloc[0].date())
    content = ENCODERS[f".{delivery.format}"](KINDS, rows)
    is_changed = place.read() != content
    if is_changed:
        place.replace(content)
    return Written(str(place), len(rows), len(rows) * is_changed, n_taken_back)


def check_hubverse(delivery: HubverseDelivery, batch: Batch) -> str:
    """Read the hub's rules, change nothing; return what was found."""
    rules = _rules(delivery, batch)
    checked = f"checked against {delivery.tasks}" if rules else "not checked: `tasks` is not set"
    return f"{_folder(delivery, batch)} receives {len(delivery.quantiles)} quantiles, {checked}"


def hub_rows(
    forecast: pd.DataFrame, delivery: HubverseDelivery, batch: Batch, rules: HubRules | None
) -> pd.DataFrame:
    """Return the rows of the file. Raises DeliveryError if they break a rule.

    Quantiles ascend, and are within the limits of the hub for a value.
    """
    first_week = target_week(forecast)
    weeks = (forecast["ds"] - pd.Timestamp(first_week)).dt.days // WEEK.days
    is_used = weeks >= 0  # a week that is over for other series is of one whose data are late
    if delivery.locations:
        is_used &= forecast["unique_id"].isin(delivery.locations)
    rows, horizon = forecast[is_used], delivery.first_horizon + weeks[is_used]
    _check_locations(rows, delivery, batch)
    values = _quantiles(rows, delivery, batch, rules)  # [N, Q]
    n_quantiles = len(delivery.quantiles)
    reference = first_week - delivery.first_horizon * WEEK
    locations = rows["unique_id"].map(lambda name: delivery.locations.get(name, name))
    frame = pd.DataFrame(
        {
            "reference_date": pd.Timestamp(reference),
            "horizon": np.repeat(horizon.to_numpy(), n_quantiles),
            "target": delivery.target,
            "target_end_date": np.repeat(rows["ds"].to_numpy(), n_quantiles),
            "location": np.repeat(locations.to_numpy(dtype=object), n_quantiles),
            "output_type": "quantile",
            "output_type_id": np.tile(delivery.quantiles, len(rows)),
            "value": values.ravel(),
        }
    )
    if rules and (found := problems(frame, rules)):
        raise DeliveryError(
            f"{batch.prefix} breaks {len(found)} rules of the hub: {'; '.join(found)}. Nothing was"
            f" written. Correct [deliver.{batch.name}], or the hub's {delivery.tasks}."
        )
    return frame


def _check_locations(rows: pd.DataFrame, delivery: HubverseDelivery, batch: Batch) -> None:
    """Raise DeliveryError where no series is left, or one of `locations` is not forecast."""
    if absent := sorted(delivery.locations.keys() - {*rows["unique_id"]}):
        raise DeliveryError(
            f"{batch.prefix} lacks a forecast of the week for {len(absent)} series of `locations`:"
            f" {format_list(absent)}. Nothing was written. Look at `forecast-assets status`, or"
            f" remove them from [deliver.{batch.name}.locations]."
        )


def _quantiles(
    rows: pd.DataFrame, delivery: HubverseDelivery, batch: Batch, rules: HubRules | None
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Return the quantiles of each row, ascending and within the hub's limits."""
    names = [f"q{column_suffix(quantile)}" for quantile in delivery.quantiles]
    values = rows.reindex(columns=names).to_numpy(dtype=np.float64)  # [N, Q]
    is_absent = np.isnan(values).any(axis=1)
    if is_absent.any():
        absent = sorted({*rows["unique_id"][is_absent]})
        raise DeliveryError(
            f"{batch.prefix} needs {len(names)} quantiles, and {len(absent)} series lack some:"
            f" {format_list(absent)}. Nothing was written. Their backtests have too few errors, or"
            f" the version was made before `forecast.quantiles` had them: run the week again, or"
            f" leave the series out with [deliver.{batch.name}.locations]."
        )
    limits = (rules.minimum, rules.maximum) if rules else (None, None)
    order = np.argsort(delivery.quantiles)
    ascending = np.empty_like(values)
    ascending[:, order] = np.sort(values, axis=1)
    return ascending if limits == (None, None) else np.clip(ascending, *limits)


def _rules(delivery: HubverseDelivery, batch: Batch) -> HubRules | None:
    """Return the hub's rules; None where the settings name no tasks.json."""
    if delivery.tasks is None:
        return None
    place = Place(batch.settings.resolve_path(resolve_env(delivery.tasks)), prefix=batch.prefix)
    content = place.read()
    try:
        # An absent file is no JSON either.
        return parse_rules((content or b"").decode(), delivery.target)
    except ValueError as error:
        raise DeliveryError(
            f"{batch.prefix} cannot be checked against {place}: {error}. Nothing was written."
            f" Correct `tasks` or `target` in [deliver.{batch.name}]."
        ) from error


def _folder(delivery: HubverseDelivery, batch: Batch) -> str:
    hub = batch.settings.resolve_path(resolve_env(delivery.path))
    return posixpath.join(hub, "model-output", delivery.model_id)


def _place(delivery: HubverseDelivery, batch: Batch, reference: date) -> Place:
    name = f"{reference.isoformat()}-{delivery.model_id}.{delivery.format}"
    return Place(posixpath.join(_folder(delivery, batch), name), prefix=batch.prefix)


def _take_back(delivery: HubverseDelivery, batch: Batch, commit: Commit) -> int:
    """Delete the file of a withdrawn version unless a newer one is of its week; return if so."""
    store = batch.store
    week = target_week(store.read([commit]))
    later = [other for other in batch.valid if _order(other) > _order(commit)]
    if any(
        target_week(store.read([other])) == week
        for other in later
        if other.as_of <= commit.as_of + 2 * WEEK
    ):
        return 0
    place = _place(delivery, batch, week - delivery.first_horizon * WEEK)
    if place.read() is None:
        return 0
    place.delete()
    return 1


def _order(commit: Commit) -> tuple[object, int]:
    return commit.as_of, commit.version
