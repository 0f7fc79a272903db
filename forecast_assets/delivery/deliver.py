"""Deliver a version to the destination of a name, take withdrawn versions back, keep a record.

`batch` has what every destination receives; Dagster's assets are in `defs.delivery_assets`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from forecast_assets.config.delivery_settings import (
    FileDelivery,
    HubverseDelivery,
    SqlDelivery,
)
from forecast_assets.config.settings import Settings
from forecast_assets.delivery.batch import Batch, Written, make_batch
from forecast_assets.delivery.files import check_file, write_file
from forecast_assets.delivery.hubverse import check_hubverse, write_hubverse
from forecast_assets.delivery.sql import check_sql, write_sql
from forecast_assets.errors import (
    SettingsError,
    VersionNotFoundError,
    VersionWithdrawnError,
    format_list,
)
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.deliveries import DeliveryRecord, append_delivery
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import select, withdrawn_versions

WRITERS: dict[type, Callable[[Any, Batch], Written]] = {
    SqlDelivery: write_sql,
    FileDelivery: write_file,
    HubverseDelivery: write_hubverse,
}


def deliver(
    name: str, settings: Settings, store: Store, commit: Commit, *, now: datetime, run_id: str = ""
) -> Written:
    """Deliver a version, take withdrawn ones back, and record it in `deliveries`.

    Raises DeliveryError, VersionWithdrawnError for a withdrawn version, and VersionNotFoundError
    for one as of a time after `now`: the destination is then as it was.
    """
    find_delivery(name, settings)
    _refuse_uncounted(store, commit, name, now=now)
    written = _write(name, settings, make_batch(name, settings, store, commit, now=now))
    append_delivery(
        store,
        DeliveryRecord(
            delivery=name,
            asset=commit.asset,
            version=commit.version,
            as_of=commit.as_of,
            n_rows=written.n_rows,
            n_changed=written.n_changed,
            run_id=run_id,
            at=now,
        ),
    )
    return written


def take_back(name: str, settings: Settings, store: Store, *, now: datetime) -> Written:
    """Delete the rows of withdrawn versions from a destination. Raises DeliveryError."""
    return _write(name, settings, make_batch(name, settings, store, None, now=now))


def check_delivery(name: str, settings: Settings, store: Store, *, now: datetime) -> str:
    """Try what a delivery needs without changing anything; return what was found."""
    batch, delivery = make_batch(name, settings, store, None, now=now), settings.deliver[name]
    match delivery:
        case SqlDelivery():
            return check_sql(delivery, batch)
        case FileDelivery():
            return check_file(delivery, batch, as_of=now)
        case _:
            return check_hubverse(delivery, batch)


def find_delivery(name: str, settings: Settings) -> Any:
    """Return the settings of a delivery. Raises SettingsError with those that exist."""
    if name not in settings.deliver:
        raise SettingsError(
            f"There is no delivery {name!r} in forecast.toml; there is"
            f" {format_list(settings.deliver) or 'none'}. Nothing was delivered. Give one of them,"
            f" or add the table [deliver.{name}]."
        )
    return settings.deliver[name]


def version_to_deliver(
    name: str, settings: Settings, store: Store, version: int | None, *, now: datetime
) -> Commit:
    """Return a version by its number, or the newest that counts. Raises VersionNotFoundError."""
    asset = find_delivery(name, settings).asset
    if version is None:
        (commit,) = select(store, asset, as_of=now)
    else:
        (commit,) = select(store, asset, version=version)
    return commit


def _write(name: str, settings: Settings, batch: Batch) -> Written:
    delivery = settings.deliver[name]
    return WRITERS[type(delivery)](delivery, batch)


def _refuse_uncounted(store: Store, commit: Commit, name: str, *, now: datetime) -> None:
    """Raise for a version that was withdrawn, or that a wrong clock dated in the future."""
    shown = f"Version {commit.version} of {commit.asset}, as of {commit.as_of.isoformat()},"
    if commit.as_input in withdrawn_versions(store):
        raise VersionWithdrawnError(
            f"{shown} was withdrawn, so {name} did not receive it. `forecast-assets show"
            f" withdrawals` has the reason; to publish the week again: `forecast-assets run --as-of"
            f" {commit.as_of.isoformat()}`."
        )
    if commit.as_of > now:
        raise VersionNotFoundError(
            f"{shown} is from the future of the clock and does not count as published, so {name}"
            f" did not receive it. Correct the clock or, if it is right, withdraw the forecast."
        )
