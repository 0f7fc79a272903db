"""Turn `backtest_predictions` into arrays: every model's forecast at every fold, and the actuals.

Scoring and choosing do not belong here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds, plan
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.eligibility import SCORED, TOO_FEW, status_of, too_few_weeks
from forecast_assets.forecasting.fold_blocks import NO_FOLD, SeriesBlock, as_weeks
from forecast_assets.forecasting.panel_errors import PanelErrors, scale_errors
from forecast_assets.forecasting.prediction_rows import check_folds, rows_by_model
from forecast_assets.forecasting.scales import LEVEL, Scale
from forecast_assets.forecasting.twins import Holidays
from forecast_assets.forecasting.volatility import is_non_negative, volatility_at_cutoffs
from forecast_assets.forecasting.weekly_losses import WeeklyLosses, recency_weights
from forecast_assets.models.base import Positions, Values
from forecast_assets.models.registry import with_regressors

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
    recent_volatility: Values  # [F, H]; for each of the weeks ahead
    y: Values  # [F, H]; NaN where the week was filled
    y_hat: Values  # [M, F, H]
    fit_seconds: Values  # [M, S]
    status: NDArray[np.object_]  # [M, S]: one of STATUSES
    reason: NDArray[np.object_]  # [M, S]: why it is not scored, else null
    # Of each series without folds: why its real weeks are too few, null if all its weeks are.
    without_folds: Mapping[str, str | None] = field(default_factory=dict)
    knowing: frozenset[str] = frozenset()  # the models with regressors
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
        rows = rows_by_model(predictions) or dict.fromkeys(settings.models.enabled, slice(0))
        check_folds(predictions, rows, every, horizon=horizon)
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
            volatility_at_cutoffs(planned, LEVEL, horizon=horizon),
            np.concatenate([folds.targets(horizon) for folds in every]),
            np.stack([y_hat[of] for of in rows.values()]).reshape(len(rows), -1, horizon),
            np.stack([np.add.reduceat(seconds[of], starts) for of in rows.values()]) / horizon,
            status,
            reason,
            too_few,
            with_regressors(rows, settings),
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
        horizon = self.y.shape[1]
        volatility = volatility_at_cutoffs(self.planned, scale, horizon=horizon)
        return replace(self, scale=scale, recent_volatility=volatility)

    def select(self, model: int, series: Positions) -> Self:
        """Keep one model and some series, in ascending order."""
        folds = np.isin(np.repeat(np.arange(len(self.planned)), self.n_folds), series)
        return replace(
            self,
            planned=[self.planned[s] for s in series],
            models=[self.models[model]],
            y_hat=self.y_hat[model : model + 1, folds],
            **{
                name: getattr(self, name)[folds]
                for name in ("weeks", "last", "recent_volatility", "y")
            },
            **{
                name: getattr(self, name)[model : model + 1, series]
                for name in ("fit_seconds", "status", "reason")
            },
        )

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

    @cached_property
    def weekly(self) -> WeeklyLosses:
        """The folds by cutoff week, for losses of the whole panel; scaled by naive's error."""
        return WeeklyLosses.of(self.weeks, self.y, np.repeat(self.naive_error(), self.n_folds))

    @cached_property
    def panel_ratios(self) -> Values:
        """Each model's error over naive's by the first n cutoff weeks of all series: [M, W + 1].

        Both are of the folds that the model has; 1 where there is none.
        """
        naive = np.repeat(self.last[:, None], self.y.shape[1], axis=1)
        weights = recency_weights(self.weekly.weeks, n_series=len(self.planned))
        every = zip(self.y_hat, self.is_own, strict=True)
        return np.stack([self.weekly.ratios(*of_model, naive, weights) for of_model in every])

    @cached_property
    def _holidays(self) -> Holidays:
        knows = np.isin(self.models, list(self.knowing))
        return Holidays.of(knows, self.planned, self.weekly, self.y_hat, self.is_own)

    def errors_of_panel(self, model: int, at_weeks: Positions) -> PanelErrors:
        """Summarize a model's errors on all series that it is scored on, as known at T weeks."""
        scored = np.flatnonzero(self.status[model] == SCORED)
        is_in = np.zeros(len(self.planned), dtype=bool)
        is_in[scored[:: max(-(-len(scored) // MAX_POOL_SERIES), 1)]] = True
        return PanelErrors.from_scores(
            [
                (self._scores(model, series[is_in[series]], folds[is_in[series]]), weeks)
                for series, folds, weeks in self._layouts
            ],
            at_weeks,
            horizon=self.y.shape[1],
        )

    def _scores(self, model: int, series: Positions, folds: Positions) -> Values:
        """Return a model's errors over the volatility at their cutoffs: [S], [S, K] -> [S, K, H].

        NaN where there is no fold, or the series had never moved.
        """
        is_on, volatility = self.is_on_scale[series][:, None, None], self.recent_volatility[folds]
        y_hat, y = (self.scale.forward(v[folds], is_on) for v in (self.y_hat[model], self.y))
        counts = (folds != NO_FOLD)[:, :, None] & (volatility > 0)
        return np.where(counts, scale_errors(np.abs(y_hat - y), volatility), np.nan)

    def blocks(self) -> Iterator[SeriesBlock]:
        """Yield the series in blocks that bound memory; each series is in one block."""
        for series, folds, weeks in self._layouts:
            yield self._block(series, folds, weeks)

    def block(self, series: Positions) -> SeriesBlock:
        """Lay out the folds of series that end in the same week."""
        return self._block(series, *self._lay_out(series))

    @cached_property
    def _layouts(self) -> list[tuple[Positions, Positions, Positions]]:
        """The series of each block, their folds and weeks."""
        kinds, kind = self._calendars
        layouts = []
        for i, n_weeks in enumerate(kinds[:, 1]):
            same_calendar = np.flatnonzero(kind == i)
            size = max(BLOCK_FOLDS // int(n_weeks), 1)
            for start in range(0, len(same_calendar), size):
                series = same_calendar[start : start + size]
                layouts.append((series, *self._lay_out(series)))
        return layouts

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

    def _lay_out(self, series: Positions) -> tuple[Positions, Positions]:
        """Return the folds of series that end in the same week, and the weeks: [S, K] and [K]."""
        n_folds = self.n_folds[series]
        row = np.repeat(np.arange(len(series)), n_folds)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(n_folds) - n_folds, n_folds)
        folds = self._starts[series][row] + nth
        weeks, column = np.unique(self.weeks[folds], return_inverse=True)
        index = np.full((len(series), len(weeks)), NO_FOLD)
        index[row, column.reshape(-1)] = folds
        return index, weeks

    def _block(self, series: Positions, index: Positions, weeks: Positions) -> SeriesBlock:
        last, volatility = self.last[index], self.recent_volatility[index]
        y, y_hat, is_absent = self.y[index], self.y_hat[:, index], index == NO_FOLD
        end = as_weeks(self.planned[series[0]].ds[-1])
        last[is_absent] = volatility[is_absent] = np.nan
        y[is_absent] = y_hat[:, is_absent] = np.nan
        n_over = np.append(self.weekly.n_over(weeks), len(self.weekly.weeks))
        return SeriesBlock(
            series,
            index,
            weeks,
            last,
            volatility,
            y,
            y_hat,
            self.status[:, series] == SCORED,
            self.panel_ratios[:, n_over],
            recency_weights(weeks, n_series=len(self.planned)),
            self.scale,
            self.is_on_scale[series][:, None, None],
            self._holidays.members(np.append(weeks, end), n_over),
        )


def mean_of_known(values: Values, axis: int | tuple[int, ...]) -> Values:
    """Return the mean of the values that are not NaN; NaN where all are."""
    is_known = ~np.isnan(values)
    n = is_known.sum(axis=axis)
    total = np.where(is_known, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
