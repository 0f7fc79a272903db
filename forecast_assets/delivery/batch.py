"""The rows of one version as every destination receives them: fixed columns, types and key.

What destinations do with them is in `sql`, `files` and `hubverse`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.delivery.columns import to_values
from forecast_assets.storage.columns import AS_OF, MADE_AT
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.contract import DTYPES, Column, Kind, cast
from forecast_assets.storage.delta import PANDAS_DTYPES
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import valid_versions, withdrawn_versions
from forecast_assets.storage.withdrawals import drop_withdrawn

PRODUCER = Column("producer", "string", "Name of the program that delivered the row.")
VERSION_MADE_AT = replace(MADE_AT, description="When the version was written.")
# Columns of these types were checked when they were stored.
STORED_DTYPES: Mapping[Kind, str] = {**PANDAS_DTYPES, **DTYPES, "string": "object"}
# A forecast is of a week, whatever its distance.
FORECAST_KEY = ("unique_id", "ds")


@dataclass(frozen=True)
class Batch:
    """What one delivery writes: rows of a version, and the times of those that are withdrawn.

    `rows` are None where withdrawn rows are taken back and nothing else is done. The key of a row
    ends with `as_of`.
    """

    name: str  # of the delivery
    settings: Settings
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rows: pd.DataFrame | None
    as_of: datetime | None
    withdrawn: tuple[Commit, ...]
    valid: tuple[Commit, ...]
    store: Store

    @property
    def names(self) -> list[str]:
        """Return the columns' names in order."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Return the kind of each column."""
        return {column.name: column.kind for column in self.columns}

    @property
    def withdrawn_times(self) -> list[datetime]:
        """Return the times as of which every version was withdrawn, oldest first."""
        return sorted({c.as_of for c in self.withdrawn} - {c.as_of for c in self.valid})

    @property
    def prefix(self) -> str:
        """Return how a message about the delivery begins."""
        return f"The delivery {self.name}"

    def tuples(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples of Python values; a missing one is None."""
        if self.rows is None:
            return []
        values = [to_values(self.rows[column.name], column.kind) for column in self.columns]
        return list(zip(*values, strict=True))


@dataclass(frozen=True)
class Written:
    """What a delivery did: rows of the version, rows changed, rows or files taken back."""

    place: str
    n_rows: int = 0
    n_changed: int = 0
    n_taken_back: int = 0

    @property
    def text(self) -> str:
        """Say it in one sentence."""
        change = f"{self.n_changed} of them new or changed" if self.n_changed else "nothing changed"
        taken = "; what was withdrawn was taken back" if self.n_taken_back else ""
        return f"{self.n_rows} rows are in {self.place}, {change}{taken}."


def make_batch(
    name: str, settings: Settings, store: Store, commit: Commit | None, *, now: datetime
) -> Batch:
    """Return the batch of a version, or of no version, for the delivery of a name."""
    delivery = settings.deliver[name]
    asset, producer = delivery.asset, getattr(delivery, "producer", "")
    table = store.tables[asset]
    have = {column.name for column in table.columns}
    own = [column for column in (VERSION_MADE_AT, AS_OF) if column.name not in have]
    columns = (*table.columns, *own, PRODUCER)
    key = FORECAST_KEY if asset == FORECAST else table.key
    rows = None
    if commit is not None:
        given = store.read([commit])
        if asset == "forecast_accuracy":
            given = drop_withdrawn(store, given)
        stored = {"made_at": commit.written_at, "as_of": commit.as_of, "producer": producer}
        fixed = {name: value for name, value in stored.items() if name not in given}
        given = given.assign(**fixed).assign(as_of=commit.as_of)
        rows = pd.DataFrame({column.name: _typed(given, column) for column in columns})
    withdrawn = withdrawn_versions(store)
    return Batch(
        name=name,
        settings=settings,
        columns=columns,
        key=(*key, "as_of"),
        rows=rows,
        as_of=commit.as_of if commit else None,
        withdrawn=tuple(c for c in store.history(asset) if c.as_input in withdrawn),
        valid=tuple(valid_versions(store, asset, as_of=now)),
        store=store,
    )


def _typed(rows: pd.DataFrame, column: Column) -> "pd.Series[Any]":
    """Return a column in its type; null where an old version does not have it."""
    if column.name not in rows:
        return pd.Series(None, index=rows.index, dtype=object)
    values: pd.Series[Any] = rows[column.name]
    return values if str(values.dtype) == STORED_DTYPES[column.kind] else cast(values, column.kind)
