"""Say by what each forecast moved since the previous run, without running a model again.

The newest fold of the backtest has the cutoff of the previous forecast, so that its forecasts show
what this week's models would have made of last week's values; that needs a horizon of one week.
Splitting further belongs to `explanation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.explanation import NotSplit, Recipe
from forecast_assets.forecasting.fold_blocks import as_weeks
from forecast_assets.forecasting.made_with import OF_MODELS, MadeWith
from forecast_assets.models.base import Positions, Values
from forecast_assets.storage.columns import MOVED
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, target_week
from forecast_assets.storage.versions import valid_versions

COLUMNS = [column.name for column in MOVED]
MOVED_FROM, BY_CODE, BY_MODEL, BY_DATA, BY_TOTALS, NOT_SPLIT = COLUMNS


def previous_forecast(
    store: Store, *, week: date, as_of: datetime
) -> tuple[Commit, pd.DataFrame] | None:
    """Return the newest valid forecast for an earlier week, made before a time; None if none was.

    `week` is the first week of the forecast that it precedes.
    """
    earlier = [commit for commit in valid_versions(store, FORECAST) if commit.as_of < as_of]
    for commit in sorted(earlier, key=lambda commit: (commit.as_of, commit.version), reverse=True):
        rows = store.read([commit])
        if len(rows) and target_week(rows) < week:
            return commit, rows
    return None


@dataclass(frozen=True, eq=False)
class NewestFolds:
    """What each of M models forecast one week ahead at the newest fold of each of S series."""

    models: Sequence[str]
    ids: Sequence[str]
    weeks: Positions  # [S]; of the cutoffs, as `as_weeks` counts them
    y_hat: Values  # [M, S]

    @classmethod
    def of(cls, results: BacktestResults) -> "NewestFolds":
        """Take them from the backtest."""
        newest = np.cumsum(results.n_folds) - 1
        ids = [folds.unique_id for folds in results.planned]
        return cls(results.models, ids, results.weeks[newest], results.y_hat[:, newest, 0])

    def combine(self, rows: pd.DataFrame, cutoffs: Positions) -> Values:
        """Return what the candidate of each row of a forecast would have forecast: [R].

        NaN where the newest fold has another cutoff than the given one [R], or a member no forecast
        there.
        """
        number = {name: m for m, name in enumerate(self.models)}
        position = pd.Index(self.ids).get_indexer(pd.Index(rows["unique_id"]))
        weights = np.zeros((len(self.models), len(rows)))
        is_known = (position >= 0) & (self.weeks[position] == cutoffs)
        columns = rows.reindex(columns=["model", "members", "weights"]).to_dict("records")
        for i in np.flatnonzero(is_known).tolist():
            try:
                recipe = Recipe.of(columns[i])
                members = [number[name] for name in recipe.weights]
            except (NotSplit, KeyError):
                is_known[i] = False
            else:
                weights[members, i] = [*recipe.weights.values()]
        y_hat = self.y_hat[:, position]
        is_known &= ~(np.isnan(y_hat) & (weights > 0)).any(axis=0)
        found = np.full(len(rows), np.nan)
        names = rows["model"].to_numpy()
        for name in set(names[is_known]):
            here = np.flatnonzero(is_known & (names == name))
            if name in COMBINATIONS:
                found[here] = COMBINATIONS[name].pool(y_hat[:, here, None], weights[:, here])[:, 0]
            else:
                found[here] = y_hat[number[name], here]
        return found


def with_moves(
    rows: pd.DataFrame,
    folds: NewestFolds | None,
    previous: tuple[Commit, pd.DataFrame] | None,
    settings: Settings,
) -> pd.DataFrame:
    """Return the forecast with the columns of MOVED in the rows of next week.

    They are null for a series that had no forecast before. Where something changed in the settings
    or the code of models, what differs on equal values is its part; else the values were not equal.
    If a model of the previous forecast is not in the backtest, code and models are not split.
    """
    if previous is None or folds is None:
        return rows
    commit, earlier = previous
    before = earlier[earlier["h"] == 1].set_index("unique_id")
    both = rows[(rows["h"] == 1) & rows["unique_id"].isin(before.index)]
    before = before.loc[both["unique_id"]].reset_index()
    cutoffs = as_weeks(before["cutoff"].to_numpy())
    least = -np.inf if settings.forecast.minimum is None else settings.forecast.minimum
    then, now = (np.maximum(folds.combine(each, cutoffs), least) for each in (before, both))
    (base_then, y_then), (base_now, y_now) = (_levels(each) for each in (before, both))
    by_totals = (base_then - y_then) + (y_now - base_now)
    by_code, by_model, by_data = then - base_then, now - then, base_now - now
    is_split = np.isfinite(by_model)
    if _is_same(earlier, commit, settings):
        by_data = by_data + np.where(is_split, by_code, 0.0)
        by_code = 0 * by_code
    by_code = np.where(is_split, by_code, np.nan)
    rest = np.where(np.isfinite(now), now, base_now) - base_then
    rest[is_split] = np.nan
    parts = y_then, by_code, by_model, by_data, by_totals, rest
    moved = dict(zip(COLUMNS, parts, strict=True))
    return rows.join(pd.DataFrame(moved, index=both.index))


def largest_moves(forecast: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of next week with a previous forecast, the furthest moves first.

    Columns: `unique_id`, `y_hat`, those of MOVED, `change`, which the parts sum to, and `size`: the
    change divided by half the width of the narrowest interval, or without one by the largest change
    of all; 0 for none.
    """
    rows = forecast.reindex(columns=[*dict.fromkeys([*forecast.columns, *COLUMNS])])
    rows = rows[(rows["h"] == 1) & rows[MOVED_FROM].notna()]
    change = (rows["y_hat"] - rows[MOVED_FROM]).astype(np.float64)
    ends = [[name for name in rows if str(name).startswith(side)][:1] for side in ("lo_", "hi_")]
    half = (rows[ends[1]].to_numpy() - rows[ends[0]].to_numpy()).astype(np.float64) / 2
    half = half[:, 0] if half.shape[1] else np.full(len(rows), np.nan)
    scale = np.where(half > 0, half, np.abs(change).max() or 1.0) if len(rows) else half
    kept = rows[["unique_id", "y_hat", *COLUMNS]].assign(change=change, size=change.abs() / scale)
    return kept.sort_values("size", ascending=False, kind="stable")


def _levels(rows: pd.DataFrame) -> tuple[Values, Values]:
    """Return forecasts before totals were made to add up, and as published: [R] each."""
    y_hat = rows["y_hat"].to_numpy(dtype=np.float64)
    if "y_hat_base" not in rows:
        return y_hat, y_hat
    base = rows["y_hat_base"].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(base), y_hat, base), y_hat


def _is_same(earlier: pd.DataFrame, commit: Commit, settings: Settings) -> bool:
    """Tell whether settings and code make of a model what they made when a forecast was written."""
    recorded = MadeWith.read(commit.made_with)
    if recorded is None:
        return False
    present = MadeWith.of(earlier, settings)
    then, now = ([each.settings.get(name) for name in OF_MODELS] for each in (recorded, present))
    return recorded.models == present.models and then == now
