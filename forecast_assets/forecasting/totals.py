"""Make the forecasts of a week add up, by the method that past weeks speak for.

The methods are in `reconciliation`. Which series is the parent of which: the column `parent` of
`series`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.forecasting.backtest_results import BacktestResults, mean_of_known
from forecast_assets.forecasting.eligibility import SCORED
from forecast_assets.forecasting.evidence import errors_behind_best
from forecast_assets.forecasting.fold_blocks import as_weeks
from forecast_assets.forecasting.reconciliation import BOTTOM_UP, MIN_TRACE, Families
from forecast_assets.forecasting.volatility import is_non_negative
from forecast_assets.models.base import Positions, Values

# The simplest first, which is used where nothing tells them apart.
METHODS = (BOTTOM_UP, MIN_TRACE)
# The name of the reconciled forecasts among the candidates, for their intervals.
RECONCILED = "reconciled"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class WeekTotals:
    """The forecasts of a week that add up: S series, H weeks ahead.

    Without parents they are the models' own.
    """

    y_hat: Values  # [S, H]
    candidates: Sequence[str]  # [S]; by whose past errors each interval is estimated
    results: BacktestResults  # with the reconciled past forecasts
    columns: Mapping[str, NDArray[np.object_] | Values] = field(default_factory=dict)  # [S, H] each
    not_whole: Mapping[str, str] = field(default_factory=dict)  # by parent: why it does not add up
    # MASE by level, of the forecasts before and by each method.
    evidence: pd.DataFrame = field(default_factory=pd.DataFrame)


def parents_in(series: pd.DataFrame) -> dict[str, str]:
    """Return the parent of each series that has one."""
    if "parent" not in series:
        return {}
    first = series.drop_duplicates("unique_id").dropna(subset=["parent"])
    return dict(zip(first["unique_id"], first["parent"], strict=True))


def reconcile(
    chosen: Sequence[SeriesFolds],
    models: Sequence[str],
    y_hat: Values,
    results: BacktestResults,
    parent_of: Mapping[str, str],
    *,
    is_plausible: Mask,
    minimum: float | None,
) -> WeekTotals:
    """Make forecasts [S, H] add up where a parent and all of its children have a plausible one.

    `models` [S] made them; their past forecasts are those of the same models, as for intervals. The
    method is the first whose mean error of past weeks, scaled by naive's, is within one standard
    error of the best. Each level of the hierarchy counts the same, as in the M5 competition.
    """
    if not parent_of:
        return WeekTotals(y_hat, models, results)
    ids = [item.unique_id for item in chosen]
    end = np.array([item.ds[-1] for item in chosen])
    every = Families.of(ids, parent_of)
    families = every.only(is_plausible, end)
    past = _Past.of(ids, models, results)
    age = as_weeks(end.max()[None]) - past.weeks
    lowest = _lowest(chosen, minimum)
    by_method = dict(zip(METHODS, families.reconcile(y_hat, past.errors, age, lowest), strict=True))
    reconciled = past.reconcile(every, lowest)
    method, evidence = _choose(reconciled, past, every, results)
    is_member = np.zeros(len(ids), dtype=bool)
    is_member[families.members] = True
    return WeekTotals(
        by_method[method],
        [RECONCILED if member else name for member, name in zip(is_member, models, strict=True)],
        past.with_candidate(results, reconciled[method]),
        _columns(ids, y_hat, method, parent_of, is_member),
        _not_whole(ids, families, parent_of),
        evidence.assign(used=method),
    )


def _lowest(chosen: Sequence[SeriesFolds], minimum: float | None) -> Values:
    """Return the value below which no forecast is moved: [S].

    It is the minimum of the settings, or else 0 for a series that was never negative.
    """
    if minimum is not None:
        return np.full(len(chosen), minimum)
    return np.array([0.0 if is_non_negative(item) else -np.inf for item in chosen])


def _columns(
    ids: Sequence[str],
    y_hat: Values,
    method: str,
    parent_of: Mapping[str, str],
    is_member: Mask,
) -> dict[str, NDArray[np.object_] | Values]:
    """Return the columns of next_week_forecast that say what was done: [S, H] each."""
    parents = np.array([parent_of.get(name) for name in ids], dtype=object)
    methods = np.array([method if member else None for member in is_member], dtype=object)
    return {
        "parent": np.repeat(parents[:, None], y_hat.shape[1], axis=1),
        "y_hat_base": np.where(is_member[:, None], y_hat, np.nan),
        "reconciliation": np.repeat(methods[:, None], y_hat.shape[1], axis=1),
    }


def _not_whole(
    ids: Sequence[str], families: Families, parent_of: Mapping[str, str]
) -> dict[str, str]:
    """Say of each parent among the series that does not add up why it does not."""
    whole = {ids[i] for i in families.parents}
    lacking = ({*parent_of.values()} & {*ids}) - whole
    text = "it is not the sum of its children, of which one has no plausible forecast of this week"
    return dict.fromkeys(sorted(lacking), text)


@dataclass(frozen=True, eq=False)
class _Past:
    """What the models of S series would have forecast at W cutoffs; NaN where there is none."""

    weeks: Positions  # [W]
    y_hat: Values  # [S, W, H]
    y: Values  # [S, W, H]
    status: NDArray[np.object_]  # [series with folds]
    cells: tuple[Positions, Positions]  # of each fold: its series and its week

    @classmethod
    def of(cls, ids: Sequence[str], models: Sequence[str], results: BacktestResults) -> "_Past":
        position = pd.Index(ids).get_indexer(
            pd.Index([folds.unique_id for folds in results.planned])
        )
        number = {name: m for m, name in enumerate(results.models)}
        names = [models[i] if i >= 0 else "" for i in position.tolist()]
        model = np.array([number.get(name, -1) for name in names], dtype=np.int64)
        rows = np.arange(len(position))
        status = results.status[model, rows]
        status[model < 0] = None
        of_fold, week = np.repeat(rows, results.n_folds), results.weekly.position
        is_used: Mask = np.repeat(np.equal(status, SCORED), results.n_folds)
        own = np.where(
            is_used[:, None], results.y_hat[model[of_fold], np.arange(len(of_fold))], np.nan
        )
        shape = len(ids) + 1, len(results.weekly.weeks), results.y.shape[1]  # the last: no series
        y_hat, y = np.full((2, *shape), np.nan)
        cells = position[of_fold], week
        y_hat[cells], y[cells] = own, results.y
        return cls(results.weekly.weeks, y_hat[:-1], y[:-1], status, cells)

    @property
    def errors(self) -> Values:
        """Forecast minus actual: [S, W, H]."""
        return self.y_hat - self.y

    def reconcile(self, families: Families, lowest: Values) -> dict[str, Values]:
        """Return what each method would have made of every fold, knowing earlier ones: [F, H]."""
        made = np.stack([self.y_hat] * len(METHODS))
        errors = self.errors
        for w, week in enumerate(self.weeks):
            whole = families.only(np.asarray(np.isfinite(self.y_hat[:, w]).all(axis=1)))
            earlier = errors[:, :w], week - self.weeks[:w]
            for m, y_hat in enumerate(whole.reconcile(self.y_hat[:, w], *earlier, lowest)):
                made[m, :, w] = y_hat
        return {name: self.by_fold(y_hat) for name, y_hat in zip(METHODS, made, strict=True)}

    def by_fold(self, values: Values) -> Values:
        """Return values [S, W, H] in the order of the folds: [F, H]."""
        with_none = np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])
        of_folds: Values = with_none[self.cells]
        return of_folds

    def with_candidate(self, results: BacktestResults, y_hat: Values) -> BacktestResults:
        """Add the reconciled forecasts [F, H] as a candidate with the status of the models."""
        status = self.status.copy()
        status[status != SCORED] = None
        return replace(
            results,
            models=[*results.models, RECONCILED],
            y_hat=np.concatenate([results.y_hat, y_hat[None]]),
            fit_seconds=np.concatenate([results.fit_seconds, np.zeros((1, len(status)))]),
            status=np.concatenate([results.status, status[None]]),
            reason=np.concatenate([results.reason, np.full((1, len(status)), None)]),
        )


def _choose(
    reconciled: Mapping[str, Values], past: _Past, families: Families, results: BacktestResults
) -> tuple[str, pd.DataFrame]:
    """Return the method to use, and the mean scaled error by level, before and by each method."""
    if not families.parents:
        return METHODS[0], pd.DataFrame()
    by_name = {"none": past.by_fold(past.y_hat), **reconciled}
    level = np.zeros(len(families.level) + 1, dtype=np.int64)
    level[families.members] = families.level[families.members]
    of_fold = level[past.cells[0]]
    weekly: dict[str, list[Values]] = {name: [] for name in METHODS}
    rows = []
    for number in np.unique(level[families.members]):
        is_level = of_fold == number
        row: dict[str, float] = {"level": int(number), "n_series": int((level == number).sum())}
        for name, y_hat in by_name.items():
            total, n = results.weekly.totals(y_hat, is_level)
            row[name] = float(total.sum() / n.sum()) if n.sum() else np.nan
            if name in weekly:
                weekly[name].append(total / np.where(n > 0, n, np.nan))
        rows.append(row)
    losses = np.stack([mean_of_known(np.stack(weekly[name]), 0) for name in METHODS])
    behind = errors_behind_best(losses, overlap=results.weekly.overlap)
    return METHODS[int((behind <= 1).argmax())], pd.DataFrame(rows)
