"""Keep a forecast that is held back, find it again, and say why it is held.

Whether a forecast is held is decided in `forecast`; whether it was accepted, in `defs`.
"""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from forecast_assets.errors import format_list
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, HELD_FORECAST, IMPLAUSIBLE
from forecast_assets.storage.versions import newest, valid_versions

# Series that a message lists.
MAX_LINES = 5


def write_held(
    store: Store, rows: pd.DataFrame, run_id: str, *, as_of: datetime, inputs: Sequence[Commit]
) -> Commit:
    """Write a forecast that is held back, and return its version.

    A retry or a re-execution that makes the same forecast writes no second version. Raises
    StoreError.
    """
    table = store.tables[HELD_FORECAST]
    last = newest(store.history(HELD_FORECAST), as_of=as_of)
    version = table.data_version(table.arrange(rows))
    if last and (last.as_of, last.data_version) == (as_of, version):
        return last
    sources: tuple[InputVersion, ...] = tuple(commit.as_input for commit in inputs)
    commit = Commit(HELD_FORECAST, None, run_id, as_of, code_version="1", inputs=sources)
    return store.write(rows, commit)


def newest_held(store: Store, *, as_of: datetime) -> Commit | None:
    """Return the forecast that is held back, None if a later or newer one was published.

    What is later than `as_of` does not count. A forecast that was accepted is not held again when
    it is withdrawn. Raises StoreError.
    """
    held = newest(store.history(HELD_FORECAST), as_of=as_of)
    published = newest(store.history(FORECAST), as_of=as_of)
    if held is None or (published is not None and _order(published) > _order(held)):
        return None
    return held


def last_held(store: Store, *, now: datetime) -> Commit | None:
    """Return the forecast that is held back, the newest or that of the last run; None if none is.

    The last run may have been of a past week. Raises StoreError.
    """
    held = [commit for commit in store.history(HELD_FORECAST) if commit.as_of <= now]
    published = [commit.written_at for commit in store.history(FORECAST) if commit.written_at]
    last = held[-1] if held else None
    is_last = last and last.written_at and all(last.written_at > at for at in published)
    return newest_held(store, as_of=now) or (last if is_last else None)


def is_held_forecast_current(store: Store, *, now: datetime) -> bool:
    """Tell whether the newest choice of models made the forecast that is held back."""
    held = newest_held(store, as_of=now)
    chosen = newest(valid_versions(store, "best_model", as_of=now))
    source = held.input_of("best_model") if held else None
    return bool(source and chosen and source.data_version == chosen.data_version)


def implausible_series(forecast: pd.DataFrame) -> dict[str, str]:
    """Return the series whose forecast is far outside what they do, each with the reason.

    `forecast` has rows of next_week_forecast, also of a version without the column `reason`.
    """
    if "reason" not in forecast:
        return {}
    is_implausible = forecast["reason"].str.startswith(IMPLAUSIBLE, na=False)
    rows = forecast[is_implausible].drop_duplicates("unique_id")
    return dict(zip(rows["unique_id"], rows["reason"].str.removeprefix(IMPLAUSIBLE), strict=True))


def held_series(store: Store, held: Commit) -> list[str]:
    """Return the series that hold a forecast back. Raises StoreError."""
    rows, chosen = store.read([held]), held.input_of("best_model")
    every = store.read([store.commit(chosen)]) if chosen else rows
    missing = sorted({*every["unique_id"]} - {*rows["unique_id"]})
    return [*implausible_series(rows), *missing]


def held_series_text(store: Store, held: Commit) -> str:
    """Count and name the series that hold a forecast back. Raises StoreError."""
    names = held_series(store, held)
    return f"{len(names)} series without a plausible one ({format_list(names)})"


def hold_message(rows: pd.DataFrame, best_model: pd.DataFrame, *, data_version: str) -> str:
    """Return why a forecast is not published, and how to publish it.

    `rows` are those that would be published, and `best_model` has every series.
    """
    missing = sorted({*best_model["unique_id"]} - {*rows["unique_id"]})
    reasons = [f"- {name}: {reason}" for name, reason in implausible_series(rows).items()]
    reasons += [f"- {name}: no candidate makes a forecast" for name in missing]
    n_more = len(reasons) - MAX_LINES
    shown = [*reasons[:MAX_LINES], *([f"- and {n_more} more"] if n_more > 0 else [])]
    return (
        f"The forecast is held back, because that of {len(reasons)} of {len(best_model)} series is"
        f" not plausible. `next_week_forecast` was not written, and the previous forecast stays in"
        f" force.\n"
        + "".join(f"{line}\n" for line in shown)
        + f"`forecast-assets show held_forecast` prints what was made. If a newest value is wrong,"
        f" correct it at the source; if a model is, correct it or remove it from `enabled`; and run"
        f" the week again: `forecast-assets run`. If the"
        f" forecast is right, publish it as it is: `forecast-assets run --accept`, or in the UI a"
        f' run with the tag forecast_assets/accept = "{data_version}". Data or models that have'
        f" changed by then are checked again. `data_quality.implausible_forecast` sets what is"
        f" held."
    )


def _order(commit: Commit) -> tuple[datetime, float]:
    """Order versions of different tables by the time that they are as of, then by their writing."""
    return commit.as_of, commit.written_at.timestamp() if commit.written_at else 0.0
