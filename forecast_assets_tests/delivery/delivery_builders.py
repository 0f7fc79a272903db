"""A store with versions of the forecast, and settings that deliver them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.delivery.batch import Batch, make_batch
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.withdrawals import Withdrawal, withdraw
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.store_builders import WEEK, make_commit, make_forecast, make_store

NOW = AS_OF + 10 * WEEK
MADE_AT = AS_OF + timedelta(hours=1)


def deliver_settings(folder: Path, **deliver: dict[str, Any]) -> Settings:
    """Make settings with these tables [deliver.NAME]."""
    return make_settings(folder, deliver=deliver)


def write_forecast(store: Store, *values: float, n_weeks: int = 0, h: int = 1) -> Commit:
    """Write a version of the forecast: series a, b and so on with these values.

    It is as of some weeks after AS_OF, and has the weeks 1 to `h`.
    """
    as_of = AS_OF + n_weeks * WEEK
    frames = []
    for i, value in enumerate(values):
        for week in range(1, h + 1):
            ends = {"lo_95": value - 2, "lo_80": value - 1, "hi_80": value + 1, "hi_95": value + 2}
            cutoff = pd.Timestamp("2024-01-05") + pd.Timedelta(weeks=n_weeks)
            frame = make_forecast(
                week=cutoff + pd.Timedelta(weeks=week),
                y_hat=value,
                as_of=as_of,
                made_at=as_of + timedelta(hours=1),
            )
            names = {"unique_id": chr(ord("a") + i), "h": week, "cutoff": cutoff}
            frames.append(frame.assign(**names, **ends))
    rows = pd.concat(frames, ignore_index=True)
    return store.write(rows, make_commit(FORECAST, as_of=as_of))


def batch_of(settings: Settings, store: Store, commit: Commit | None, name: str = "erp") -> Batch:
    """Return the batch of a version for the delivery `erp`."""
    return make_batch(name, settings, store, commit, now=NOW)


def open_store(folder: Path) -> Store:
    """Open a store below the folder."""
    return make_store(folder)


def withdraw_week(store: Store, n_weeks: int) -> None:
    """Withdraw the versions as of some weeks after AS_OF."""
    time = AS_OF + n_weeks * WEEK
    commits = [commit for commit in store.history(FORECAST) if commit.as_of == time]
    withdraw(store, commits, Withdrawal(time, "wrong", "ann", time + WEEK / 2))
