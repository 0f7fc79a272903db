"""Withdraw the forecast of a week: record which versions no longer count, why, and who said so.

Every version stays as it was; `versions` passes over those that are recorded here. Readers are
notified by the command `withdraw`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile

import pandas as pd

from forecast_assets.errors import VersionNotFoundError, VersionWithdrawnError, format_list
from forecast_assets.storage.command_tables import WITHDRAWALS
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.lineage import ancestors
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, target_week
from forecast_assets.storage.versions import valid_versions, withdrawn_versions


@dataclass(frozen=True)
class Withdrawal:
    """A row of `withdrawals`."""

    as_of: datetime
    reason: str
    by: str
    at: datetime

    @property
    def text(self) -> str:
        """Name the time of the forecast, who withdrew it, when, and why."""
        return f"as of {_minute(self.as_of)} (by {self.by} on {_minute(self.at)}: {self.reason})"

    @property
    def run_command(self) -> str:
        """Return the command that publishes the week again; no run is as of a future time."""
        is_past = self.as_of <= self.at
        return f"forecast-assets run{f' --as-of {self.as_of.isoformat()}' if is_past else ''}"


def withdraw(store: Store, forecasts: Sequence[Commit], withdrawal: Withdrawal) -> Commit:
    """Withdraw forecasts, and what was made for them alone; return the version of `withdrawals`.

    Its inputs are the withdrawn versions: the forecasts, what they were made from and what was made
    from them, except what another valid forecast was made from. Raises StoreError.
    """
    rows = pd.DataFrame([vars(row) for row in [*read_withdrawals(store), withdrawal]])
    versions = sorted(_versions_of(store, forecasts), key=lambda v: (v.asset, v.version))
    return store.write(
        rows, Commit(WITHDRAWALS, None, "", withdrawal.at, code_version="1", inputs=tuple(versions))
    )


def read_withdrawals(store: Store) -> list[Withdrawal]:
    """Return every withdrawal, sorted by the forecast's `as_of`. Raises StoreError."""
    commits = store.history(WITHDRAWALS)
    if not commits:
        return []
    return [
        Withdrawal(as_of.to_pydatetime(), reason, by, at.to_pydatetime())
        for as_of, reason, by, at in store.read(commits[-1:])[
            ["as_of", "reason", "by", "at"]
        ].to_numpy()
    ]


def open_withdrawals(store: Store) -> list[Withdrawal]:
    """Return the last withdrawal of each time as of which no valid forecast is, newest first."""
    published = {commit.as_of for commit in valid_versions(store, FORECAST)}
    rows = {row.as_of: row for row in read_withdrawals(store)}
    return [rows[as_of] for as_of in sorted(rows.keys() - published, reverse=True)]


def withdrawal_of_week(store: Store, week: date) -> Withdrawal | None:
    """Return the last withdrawal of a forecast whose first week ends on a day, None without any."""
    times = [
        commit.as_of
        for version, commit in withdrawn_versions(store).items()
        if version.asset == FORECAST and target_week(store.read([store.commit(version)])) == week
    ]
    rows = {row.at: row for row in read_withdrawals(store)}
    return rows[max(times)] if times else None


def forecasts_as_of(store: Store, time: datetime) -> list[Commit]:
    """Return the valid forecasts as of a time, to withdraw them.

    A time in whole seconds or minutes also means the one forecast within that second or minute, and
    midnight that of the day. Raises VersionNotFoundError if none or several match, and
    VersionWithdrawnError if the forecast is withdrawn already.
    """
    valid, withdrawn = valid_versions(store, FORECAST), open_withdrawals(store)
    for length in _lengths(time):
        matches = [c for c in valid if c.as_of == time or time <= c.as_of < time + length]
        times = sorted({commit.as_of for commit in matches})
        if len(times) > 1:
            raise VersionNotFoundError(
                f"Forecasts of {len(times)} times match {time.isoformat()}: {_list(times)}. Nothing"
                f" was withdrawn. Give one of these times."
            )
        if matches:
            return matches
        for row in withdrawn:
            if row.as_of == time or time <= row.as_of < time + length:
                raise VersionWithdrawnError(
                    f"The forecast {row.text} is withdrawn already. Nothing was changed. To publish"
                    f" the week again: `{row.run_command}`."
                )
    newest = _list(sorted({commit.as_of for commit in valid}, reverse=True))
    raise VersionNotFoundError(
        f"There is no forecast as of {time.isoformat()}, so nothing was withdrawn."
        f" {f'The newest are as of {newest}.' if newest else 'No forecast is published.'}"
        f" `forecast-assets history {FORECAST} --json` lists every time in full."
    )


def describe_future(forecasts: Sequence[Commit]) -> str:
    """Describe forecasts from the future of the clock, and what to do; empty without any."""
    times = sorted({commit.as_of for commit in forecasts})
    if not times:
        return ""
    noun, verb = ("1 forecast", "is") if len(times) == 1 else (f"{len(times)} forecasts", "are")
    return (
        f"{noun} as of a future time ({_list(times)}) {verb} not counted as published: correct the"
        f" clock or, if it is right now, `forecast-assets withdraw --as-of {times[0].isoformat()}"
        f' --reason "wrong clock"`'
    )


def drop_withdrawn(store: Store, scores: pd.DataFrame) -> pd.DataFrame:
    """Return rows of `forecast_accuracy` without those of forecasts withdrawn since."""
    withdrawn = [store.commit(v) for v in withdrawn_versions(store) if v.asset == FORECAST]
    times = {commit.as_of for commit in withdrawn}
    valid = [c for c in valid_versions(store, FORECAST) if c.as_of in times]
    # A re-execution of a withdrawn run has its time, so their scores cannot be separated.
    gone, kept = (
        {time for commit in commits for time in store.read([commit])["made_at"]}
        for commits in (withdrawn, valid)
    )
    return scores[~scores["made_at"].isin(gone - kept)]


def _versions_of(store: Store, forecasts: Sequence[Commit]) -> set[InputVersion]:
    """Return the forecasts, their ancestors and descendants, but no ancestor of other forecasts."""
    own = {commit.as_input for commit in forecasts}
    others = [c for c in valid_versions(store, FORECAST) if c.as_input not in own]
    needed = {source for commit in others for source in ancestors(store, commit)}
    above = {source for commit in forecasts for source in ancestors(store, commit)}
    below = {
        commit.as_input
        for asset in store.tables
        if asset != WITHDRAWALS
        for commit in store.history(asset)
        if not own.isdisjoint(commit.inputs)
    }
    return own | (above - needed) | below


def _lengths(time: datetime) -> list[timedelta]:
    """Return the lengths of the spans that a time may mean, the shortest first."""
    lengths = [timedelta(0), timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)]
    parts = [time.microsecond, time.second, time.minute + time.hour]
    return lengths[: 1 + len([*takewhile(lambda part: not part, parts)])]


def _list(times: Iterable[datetime]) -> str:
    return format_list(time.isoformat() for time in times)


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
