"""Keep what people expect instead of a model's forecast: an append-only list.

An override counts until the same person or another one gives a newer value of the week, or
withdraws it. What may be overridden, and where an override shows, belongs to
`forecasting.overrides`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime

import pandas as pd

from forecast_assets.storage.command_tables import OVERRIDES
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store


@dataclass(frozen=True)
class Override:
    """A row of `overrides`: `value` is None where an earlier one of the week is withdrawn."""

    unique_id: str
    ds: date
    value: float | None
    lower: float | None
    upper: float | None
    reason: str
    by: str
    at: datetime

    @property
    def text(self) -> str:
        """Name the series and week, who gave the value, when, and why."""
        value = "withdrawn" if self.value is None else f"{self.value:,.10g}"
        at = f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"{self.unique_id} / {self.ds}: {value} (by {self.by} on {at}: {self.reason})"


def append_override(store: Store, row: Override) -> Commit:
    """Add a row to `overrides`; return the version that has it and all before. Raises StoreError.

    If another process added one at the same time, a version with both follows.
    """
    n_read = 1
    while True:
        before = store.history(OVERRIDES)
        rows = [each for c in before[-n_read:] for each in to_overrides(store.read([c]))]
        every = pd.DataFrame([vars(each) for each in dict.fromkeys([*rows, row])])
        commit = store.write(every, Commit(OVERRIDES, None, "", row.at, code_version="1"))
        n_missed = commit.version - len(before)
        if not n_missed:
            return commit
        n_read = n_missed + 1


def read_overrides(store: Store) -> pd.DataFrame:
    """Return every row of `overrides`, sorted by series, week and time. Raises StoreError."""
    commits = store.history(OVERRIDES)
    return store.read(commits[-1:]) if commits else store.tables[OVERRIDES].empty()


def current_overrides(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `overrides` that count: the last of each series and week, if it stands."""
    last = rows.drop_duplicates(["unique_id", "ds"], keep="last")
    return last[last["value"].notna()].reset_index(drop=True)


def to_overrides(rows: pd.DataFrame) -> Sequence[Override]:
    """Return rows of the table as objects."""
    given = rows[[each.name for each in fields(Override)]]
    return [
        Override(
            unique_id,
            ds.date(),
            _number(value),
            _number(lower),
            _number(upper),
            reason,
            by,
            at.to_pydatetime(),
        )
        for unique_id, ds, value, lower, upper, reason, by, at in given.itertuples(index=False)
    ]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
