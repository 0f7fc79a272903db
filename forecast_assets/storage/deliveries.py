"""Record what was delivered: a row of the table `deliveries` for each success."""

from dataclasses import dataclass, fields
from datetime import datetime

import pandas as pd

from forecast_assets.storage.command_tables import DELIVERIES
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store


@dataclass(frozen=True)
class DeliveryRecord:
    """A row of `deliveries`."""

    delivery: str
    asset: str
    version: int
    as_of: datetime
    n_rows: int
    n_changed: int
    run_id: str
    at: datetime


def append_delivery(store: Store, row: DeliveryRecord) -> Commit:
    """Add a row; return the version that has it and all before. Raises StoreError.

    If another process added one at the same time, a version with both follows.
    """
    n_read = 1
    while True:
        before = store.history(DELIVERIES)
        frames = [store.read([commit]) for commit in before[-n_read:]]
        every = pd.concat([*frames, pd.DataFrame([vars(row)])], ignore_index=True)
        rows = every.drop_duplicates(["delivery", "at"])
        commit = store.write(rows, Commit(DELIVERIES, None, row.run_id, row.at, code_version="1"))
        n_missed = commit.version - len(before)
        if not n_missed:
            return commit
        n_read = n_missed + 1


def last_deliveries(store: Store) -> dict[str, DeliveryRecord]:
    """Return the last row of each delivery by its name. Raises StoreError."""
    commits = store.history(DELIVERIES)
    if not commits:
        return {}
    rows = store.read(commits[-1:]).sort_values("at", kind="stable")
    names = [field.name for field in fields(DeliveryRecord)]
    records = (DeliveryRecord(*row) for row in rows[names].itertuples(index=False))
    return {record.delivery: record for record in records}
