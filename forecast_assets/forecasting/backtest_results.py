"""Turn `backtest_predictions` into arrays: every model's forecast at every fold, and the actuals.

Scoring and choosing do not belong here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds, plan
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting.eligibility import (
    SCORED,
    TOO_FEW,
    status_of,
    too_few_weeks,
)
from forecast_assets.forecasting.fold_blocks import NO_FOLD, SeriesBlock
from forecast_assets.forecasting.intervals import ErrorPool, scale_errors
from forecast_assets.forecasting.scales import LEVEL, Scale
from forecast_assets.forecasting.volatility import is_non_negative, volatility_at_cutoffs
from forecast_assets.models.base import Positions, Values

# Folds of one model computed at once; bounds memory.
BLOCK_FOLDS = 20_000
# Evenly drawn series; the errors of more give the same intervals.
MAX_POOL_SERIES = 1000

# Series with filled weeks share a block if their folds span the same multiple of so many weeks.
SPAN_STEP = 26


@dataclass(frozen=True, eq=False)
class BacktestResults:
    """All models' folds, ordered by series and cutoff: F folds of S series that have any."""

    planned: Sequence[SeriesFolds]  # [S]
    models: Sequence[str]  # [M]
    weeks: Positions  # [F]; of the cutoffs, counted from 1970 on
    last: Values  # [F]
    recent_volatility: Values  # [F]
    y: Values  # [F, H]; NaN where the week was filled
    y_hat: Values  # [M, F, H]
    fit_seconds: Values  # [M, S]
    status: NDArray[np.object_]  # [M, S]: one of STATUSES
    reason: NDArray[np.object_]  # [M, S]: why it is not scored, else null
    # Of each series without folds: why its real weeks are too few, null if all its weeks are.
    without_folds: Mapping[str, str | None] = field(default_factory=dict)
    scale: Scale = LEVEL  # of `recent_volatility`, and of the errors that give the intervals

    @classmethod
    def from_predictions(
        cls,
        predictions: pd.DataFrame,
        series: pd.DataFrame,
        settings: Settings,
        *,
        planned: Sequence[SeriesFolds] | None = None,
    ) -> Self:
        """Read the rows of `backtest_predictions`; models keep the order of the rows.

        Where there are no rows, the models are those of the settings. `planned` are the folds of
        the series with what each saw; without them, all saw today's values.

        Raises DataError where a model's folds differ from those that data and settings plan.
        """
        horizon, every = settings.backtest.horizon, planned
        if every is None:
            every = plan(series, settings.backtest)
        planned = [folds for folds in every if len(folds.ends)]
        n_rows = horizon * np.array([len(folds.ends) for folds in planned], dtype=np.int64)
        starts = np.cumsum(n_rows) - n_rows
        rows = _rows_by_model(predictions) or dict.fromkeys(settings.models.enabled, slice(0))
        _check_folds(predictions, rows, every, horizon=horizon)
        y_hat = predictions["y_hat"].to_numpy(dtype=np.float64)
        seconds = predictions["fit_seconds"].to_numpy(dtype=np.float64)
        errors = predictions["error"].to_numpy(dtype=object)
        status = np.full((len(rows), len(planned)), SCORED, dtype=object)
        reason = np.full(status.shape, None, dtype=object)
        for m, model_rows in enumerate(rows.values()):
            of_model = errors[model_rows]
            failed = np.flatnonzero(pd.notna(of_model))
            for s in np.unique(np.searchsorted(starts, failed, side="right") - 1):
                of_series = of_model[starts[s] : starts[s] + n_rows[s] : horizon]
                status[m, s], reason[m, s] = status_of(of_series)
        too_few = {folds.unique_id: too_few_weeks(folds, settings.backtest) for folds in every}
        for s, folds in enumerate(planned):
            if why := too_few.pop(folds.unique_id):
                is_scored = status[:, s] == SCORED
                status[is_scored, s], reason[is_scored, s] = TOO_FEW, why
        return cls(
            planned,
            list(rows),
            np.concatenate([as_weeks(folds.ds[folds.ends - 1]) for folds in every]),
            np.concatenate([folds.last for folds in every]),
            volatility_at_cutoffs(planned, LEVEL),
            np.concatenate([folds.targets(horizon) for folds in every]),
            np.stack([y_hat[of] for of in rows.values()]).reshape(len(rows), -1, horizon),
            np.stack([np.add.reduceat(seconds[of], starts) for of in rows.values()]) / horizon,
            status,
            reason,
            too_few,
        )

    @cached_property
    def n_folds(self) -> Positions:
        """Number of folds of each series: [S]."""
        return np.array([len(folds.ends) for folds in self.planned], dtype=np.int64)

    @cached_property
    def _starts(self) -> Positions:
        """Position of the first fold of each series: [S]."""
        return np.cumsum(self.n_folds) - self.n_folds

    @cached_property
    def is_on_scale(self) -> NDArray[np.bool_]:
        """Which series have no negative value, so that every scale suits them: [S]."""
        return np.array([is_non_negative(folds) for folds in self.planned], dtype=bool)

    def on_scale(self, scale: Scale) -> Self:
        """Measure the errors that give the intervals on another scale."""
        if scale == self.scale:
            return self
        volatility = volatility_at_cutoffs(self.planned, scale)
        return replace(self, scale=scale, recent_volatility=volatility)

    def raised_to(self, minimum: float | None) -> Self:
        """Raise every forecast below the minimum to it, as publication does."""
        return self if minimum is None else replace(self, y_hat=np.maximum(self.y_hat, minimum))

    @property
    def n_real(self) -> Positions:
        """Number of real weeks that the scores of each series rest on: [S]."""
        horizon = self.y.shape[1]
        return np.array([folds.n_real_targets(horizon) for folds in self.planned], dtype=np.int64)

    def naive_error(self, *, is_squared: bool = False) -> Values:
        """Return naive's MAE, or RMSE, before the first cutoff, which scales losses: [S].

        It forecasts a real week from the real week before; NaN if there are none.
        """
        steps = [np.diff(folds.real_y[: folds.ends[0]]) for folds in self.planned]
        steps = [changes[~np.isnan(changes)] for changes in steps]
        sizes = [(s * s if is_squared else np.abs(s)).mean() if len(s) else np.nan for s in steps]
        return np.sqrt(sizes) if is_squared else np.array(sizes)

    @cached_property
    def is_own(self) -> NDArray[np.bool_]:
        """The folds that count for each model, where it is scored: [M, F].

        Missing are folds before a series was long enough for the model.
        """
        is_scored = np.repeat(self.status == SCORED, self.n_folds, axis=1)
        return np.asarray(is_scored & np.isfinite(self.y_hat).all(axis=2))

    def error_pools(self, model: int, at_weeks: Positions) -> list[ErrorPool]:
        """Pool a model's scaled errors over all series that it is scored on, for each week ahead.

        `at_weeks` are the T weeks at which the pools are used.
        """
        scored = np.flatnonzero(self.status[model] == SCORED)
        is_in = np.zeros(len(self.planned), dtype=bool)
        is_in[scored[:: max(-(-len(scored) // MAX_POOL_SERIES), 1)]] = True
        folds = np.flatnonzero(np.repeat(is_in, self.n_folds) & (self.recent_volatility > 0))
        is_on = np.repeat(self.is_on_scale, self.n_folds)[folds, None]
        y_hat, y = (self.scale.forward(v[folds], is_on) for v in (self.y_hat[model], self.y))
        scores = scale_errors(np.abs(y_hat - y), self.recent_volatility[folds])
        return [
            ErrorPool.from_scores(scores[:, h], self.weeks[folds], at_weeks, h=h + 1)
            for h in range(self.y.shape[1])
        ]

    def blocks(self) -> Iterator[SeriesBlock]:
        """Yield the series in blocks that bound memory; each series is in one block."""
        kinds, kind = self._calendars
        for i, n_weeks in enumerate(kinds[:, 1]):
            same_calendar = np.flatnonzero(kind == i)
            size = max(BLOCK_FOLDS // int(n_weeks), 1)
            for start in range(0, len(same_calendar), size):
                yield self.block(same_calendar[start : start + size])

    @cached_property
    def _calendars(self) -> tuple[Positions, Positions]:
        """The kinds of calendars, (has gaps, weeks of its folds, last cutoff), and each series'."""
        first = self.weeks[self._starts]
        last_days = np.array([folds.ds[-1] for folds in self.planned], dtype="datetime64[ns]")
        last = as_weeks(last_days) - self.y.shape[1]
        has_gaps = np.array([folds.is_filled.any() for folds in self.planned], dtype=bool)
        span = last - first + 1
        span = np.where(has_gaps, -(-span // SPAN_STEP) * SPAN_STEP, span)
        calendars = np.stack([has_gaps, span, last], axis=1)
        kinds, kind = np.unique(calendars, axis=0, return_inverse=True)
        return kinds, kind.reshape(-1)

    def block(self, series: Positions) -> SeriesBlock:
        """Lay out the folds of series that end in the same week."""
        n_folds = self.n_folds[series]
        row = np.repeat(np.arange(len(series)), n_folds)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(n_folds) - n_folds, n_folds)
        folds = self._starts[series][row] + nth
        weeks, column = np.unique(self.weeks[folds], return_inverse=True)
        index = np.full((len(series), len(weeks)), NO_FOLD)
        index[row, column.reshape(-1)] = folds
        last, volatility = self.last[index], self.recent_volatility[index]
        y, y_hat = self.y[index], self.y_hat[:, index]
        is_absent = index == NO_FOLD
        last[is_absent] = volatility[is_absent] = np.nan
        y[is_absent] = y_hat[:, is_absent] = np.nan
        is_scored = self.status[:, series] == SCORED
        is_on_scale = self.is_on_scale[series][:, None, None]
        return SeriesBlock(
            series,
            index,
            weeks,
            last,
            volatility,
            y,
            y_hat,
            is_scored,
            self.scale,
            is_on_scale,
        )


def mean_of_known(values: Values, axis: int | tuple[int, ...]) -> Values:
    """Return the mean of the values that are not NaN; NaN where all are."""
    is_known = ~np.isnan(values)
    n = is_known.sum(axis=axis)
    total = np.where(is_known, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def as_weeks(ds: "NDArray[np.datetime64]") -> Positions:
    """Convert days to whole weeks since 1970."""
    return ds.astype("datetime64[D]").astype(np.int64) // 7


def _rows_by_model(predictions: pd.DataFrame) -> dict[str, slice]:
    """Return the contiguous rows of each model, in their order."""
    names = predictions["model"].to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    spans = pairwise([*starts.tolist(), len(names)])
    return {str(names[start]): slice(start, end) for start, end in spans}


def _check_folds(
    predictions: pd.DataFrame,
    rows: Mapping[str, slice],
    planned: Sequence[SeriesFolds],
    *,
    horizon: int,
) -> None:
    sizes = [len(folds.ends) * horizon for folds in planned]
    ids = np.repeat(np.array([folds.unique_id for folds in planned], dtype=object), sizes)
    cutoffs = np.concatenate([np.repeat(folds.ds[folds.ends - 1], horizon) for folds in planned])
    for model, model_rows in rows.items():
        given = predictions.iloc[model_rows]
        n_rows = len(given)
        if (
            n_rows != len(ids)
            or (given["cutoff"].to_numpy() != cutoffs).any()
            or (given["unique_id"].to_numpy() != ids).any()
        ):
            raise DataError(
                f"The backtest of {model} has {n_rows} rows on other folds than the {len(ids)} that"
                f" the series and [backtest] of forecast.toml plan now. Scores on different folds"
                f" cannot be compared, so nothing was scored. Run the backtest again:"
                f" dagster asset materialize -m forecast_assets.definitions"
                f" --select backtest_predictions --partition {model}"
            )
