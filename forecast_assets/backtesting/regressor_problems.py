"""Find what is wrong with regressors: values that are missing, changed or tell nothing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.regressors import FoldRegressors
from forecast_assets.config.settings import Settings
from forecast_assets.data.regressors import ALL_SERIES, KEY, changed_values
from forecast_assets.errors import format_list
from forecast_assets.models.base import Positions, Values

# A share of the folds.
MOST = 0.5


class RegressorProblem(NamedTuple):
    """What is wrong with a regressor; a blocking one holds the week."""

    regressor: str
    text: str
    is_blocking: bool = False


def find_problems(
    planned: Sequence[SeriesFolds],
    latest: Sequence[SeriesFolds],
    table: pd.DataFrame,
    settings: Settings,
) -> list[RegressorProblem]:
    """Find regressors that are missing for the horizon, absent in most folds, changed or constant.

    A missing value blocks unless the settings say to publish without it. `table` is `regressors`.
    """
    if not latest or latest[0].x is None:
        return []
    found = [
        *_changed(table, settings),
        *_of_unknown_series(table, {item.unique_id for item in latest}),
    ]
    width, known = latest[0].x.own.shape[1], set(table["regressor"])
    is_missing, is_missing_now = _are_missing(planned, width), _are_missing(latest, width)
    for column, label in enumerate(latest[0].x.names[-width:] if width else ()):
        name = label.partition(",")[0]
        if name not in known:
            continue  # an event of some series
        values = np.concatenate([item.x.own[:, column] for item in latest if item.x])
        found += [
            RegressorProblem(name, text) for text in _of_values(label, values[~np.isnan(values)])
        ]
        ids = [latest[i].unique_id for i in np.flatnonzero(is_missing_now[:, column]).tolist()]
        if ids:
            text = _missing_ahead(label, table[table["regressor"] == name], latest, ids)
            is_blocking = settings.regressors[name.partition(".")[0]].fallback != "without"
            found.append(RegressorProblem(name, text, is_blocking))
        share = is_missing[:, column].mean() if len(is_missing) else 0.0
        if share > MOST:
            text = f"The regressor {label} is not known in {share:.0%} of the folds."
            found.append(RegressorProblem(name, text))
    return found


def _changed(table: pd.DataFrame, settings: Settings) -> Iterator[RegressorProblem]:
    """Find values that changed without a time of publication: with one, changes are usual."""
    for name, n in changed_values(table)["regressor"].value_counts(sort=False).items():
        if settings.regressors[str(name).partition(".")[0]].published:
            continue
        yield RegressorProblem(
            str(name),
            f"{n} value{'s' * (n > 1)} of the regressor {name} changed after"
            f" {'they were' if n > 1 else 'it was'} known; each fold sees what its tick knew.",
        )


def _of_unknown_series(table: pd.DataFrame, ids: set[str]) -> Iterator[RegressorProblem]:
    rows = table[["regressor", "unique_id"]].drop_duplicates()
    for name, of_name in rows.groupby("regressor")["unique_id"]:
        unknown = sorted(set(of_name) - ids - {ALL_SERIES})
        if unknown:
            text = f"The regressor {name} has values of {len(unknown)} series that the source does"
            yield RegressorProblem(str(name), f"{text} not have: {format_list(unknown)}.")


def _of_values(label: str, values: Values) -> Iterator[str]:
    """Say where values [N] of all series and weeks tell nothing."""
    if not len(values):
        yield f"The regressor {label} has no value in the weeks of the series."
    elif values.min() == values.max():
        yield f"The regressor {label} has the same value in every week: it tells nothing."


def _missing_ahead(
    label: str, rows: pd.DataFrame, latest: Sequence[SeriesFolds], missing: Sequence[str]
) -> str:
    """Say for which series a regressor is missing ahead, and where its values end."""
    n_ahead = len(latest[0].x.own) - len(latest[0].y) if latest[0].x else 0
    weeks = "the week ahead" if n_ahead == 1 else f"all of the {n_ahead} weeks ahead"
    rows = rows.drop_duplicates(KEY, keep="last")
    ends = rows[rows["value"].notna() & rows["unique_id"].isin([*missing, ALL_SERIES])]["ds"]
    last = f" Its values end on {ends.max():%Y-%m-%d}." if len(ends) else ""
    return (
        f"The regressor {label} is not known for {weeks} of {len(missing)} of {len(latest)} series:"
        f" {format_list(missing)}.{last}"
    )


def _are_missing(items: Sequence[SeriesFolds], width: int) -> NDArray[np.bool_]:
    """Tell which of the series' own columns each fold does not know ahead: [folds, width]."""
    missing = [np.zeros((0, width), dtype=bool)]
    missing += [_missing_of(item.x, item.ends, len(item.y)) for item in items if item.x]
    return np.concatenate(missing)


def _missing_of(x: FoldRegressors, ends: Positions, n: int) -> NDArray[np.bool_]:
    n_ahead, width = len(x.own) - n, x.own.shape[1]
    missing = np.isnan(x.own[ends[:, None] + np.arange(n_ahead)]).any(axis=1)
    for k, end in enumerate(ends.tolist()):
        if end in x.patches:
            seen = x.seen(end, end, end + n_ahead)
            missing[k] = np.isnan(seen[:, seen.shape[1] - width :]).any(axis=0)
    return np.asarray(missing, dtype=bool)
