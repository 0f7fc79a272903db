"""An autoregression of weekly growth with one set of weights for all series."""

from typing import Self

import numpy as np
import pandas as pd

from forecast_assets.models.base import Positions, Values

# The weeks that the weights are learned from.
MAX_WEEKS = 104
# Own growth of the newest weeks, and the mean growth of the other series in the newest week.
N_LAGS = 2
# Growth of more than so many usual changes is an outlier and counts as so many.
MAX_GROWTH = 5.0
# Series that the weights are learned from, evenly drawn; bounds memory at 50 MB.
MAX_SERIES = 5_000


class PooledGrowth:
    """Forecast each series' growth from its last growth and that of all series, with few weights.

    Growth is the change of log(1 + y), or of y where a series was negative of late, in units of the
    series' mean absolute change. The least-squares weights of its last two values, and of the mean
    of the other series, are the same for all series, so that short series can be forecast too. Each
    weight shrinks towards zero by its standard error, clustered by week (Arellano (1987), Computing
    robust standard errors for within-groups estimators): unrelated series get a random walk.
    """

    is_global = True
    min_train_size = 2

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Estimate the weights of all series."""
        del season_length
        n_series = series["unique_id"].nunique()
        drawn = np.unique(series["unique_id"])[:: -(-n_series // MAX_SERIES)]
        growth = _Growth(series[series["unique_id"].isin(drawn)])
        features, target, week = growth.rows()
        self._weights = _shrunk_weights(features, target, week)
        self._series = series
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week, each from the forecasts before it."""
        growth = _Growth(self._series)
        recent = growth.matrix[:, -N_LAGS:]
        total = np.zeros(len(recent))
        y_hat = np.empty((len(recent), h))
        for ahead in range(h):
            features = np.stack([recent[:, -1], recent[:, -2], _mean_of_others(recent[:, -1])], -1)
            new = np.nan_to_num(features) @ self._weights
            total += new
            recent = np.column_stack([recent[:, 1:], new])
            y_hat[:, ahead] = growth.to_level(total)
        return y_hat


class _Growth:
    """The growth of series as a matrix [S, T]; column -1 is the last week of any series.

    A series that ended earlier is moved to end in that week, because its forecast starts there.
    """

    def __init__(self, series: pd.DataFrame) -> None:
        sizes = series.groupby("unique_id").size().to_numpy()
        ends = np.cumsum(sizes)
        width = min(int(sizes.max()), MAX_WEEKS + N_LAGS + 1)
        width = max(width, N_LAGS + 1)
        back = np.arange(width)[::-1]
        is_known = back < sizes[:, None]
        y = series["y"].to_numpy(dtype=np.float64)[np.where(is_known, ends[:, None] - 1 - back, 0)]
        y = np.where(is_known, y, np.nan)
        self._is_log = np.nanmin(y, axis=1) >= 0
        scale = np.where(self._is_log[:, None], np.log1p(np.maximum(y, 0)), y)
        self._last = scale[:, -1]
        change = np.diff(scale, axis=1)
        n = (~np.isnan(change)).sum(axis=1)
        unit = np.nansum(np.abs(change), axis=1) / np.maximum(n, 1)
        self._unit = np.where(unit > 0, unit, 1.0)
        self.matrix = np.clip(change / self._unit[:, None], -MAX_GROWTH, MAX_GROWTH)

    def rows(self) -> tuple[Values, Values, Positions]:
        """Return features [N, 3], targets [N] and week numbers [N] of all weeks with growth."""
        own, before = self.matrix[:, 1:-1], self.matrix[:, :-2]
        others = _mean_of_others(own)
        features = np.nan_to_num(np.stack([own, before, others], axis=-1))
        target = self.matrix[:, 2:]
        is_row = ~np.isnan(target) & ~np.isnan(own)
        week = np.broadcast_to(np.arange(target.shape[1]), target.shape)
        return features[is_row], target[is_row], week[is_row]

    def to_level(self, total: Values) -> Values:
        """Add growth, in usual changes, to the last values: [S] -> [S]."""
        scale = self._last + total * self._unit
        with np.errstate(over="ignore"):
            return np.where(self._is_log, np.expm1(scale), scale)


def _mean_of_others(growth: Values) -> Values:
    """Return the mean of the other series whose growth is known, 0 if none: [S, ...], the same."""
    is_known = ~np.isnan(growth)
    others = np.nansum(growth, axis=0) - np.nan_to_num(growth)
    return np.asarray(others / np.maximum(is_known.sum(axis=0) - is_known, 1))


def _shrunk_weights(features: Values, target: Values, week: Positions) -> Values:
    """Return least-squares weights, each nearer to zero by its standard error."""
    n_weights = features.shape[1]
    if len(target) <= n_weights:
        return np.zeros(n_weights)
    inverse = np.linalg.pinv(features.T @ features)
    weights = inverse @ (features.T @ target)
    scores = features * (target - features @ weights)[:, None]
    by_week = np.zeros((int(week.max()) + 1, n_weights))
    np.add.at(by_week, week, scores)
    covariance = inverse @ (by_week.T @ by_week) @ inverse
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.asarray(np.sign(weights) * np.maximum(np.abs(weights) - error, 0.0))
