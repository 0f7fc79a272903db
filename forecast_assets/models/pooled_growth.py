"""An autoregression of weekly growth whose weights are near to each other for all series."""

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.models.base import Positions, Values

# The seasons that the weights are learned from.
MAX_SEASONS = 3
# The level of a series is the mean of so many weeks.
LEVEL_WEEKS = 13
# Growth of more than so many usual changes is an outlier and counts as so many.
MAX_GROWTH = 5.0
# Series that the common weights are learned from, evenly drawn, and series held at once: 30 MB.
MAX_SERIES = 5_000


class PooledGrowth:
    """Forecast each series' growth from its past growth and that of all series.

    Growth is the change of log(1 + y), or of y where a series was negative of late, in units of the
    series' mean absolute change. Its features are its last value, the distance of y from the level,
    its value a season ago, and the means of the first and the last of these over the other series.

    The common weights are those of least squares over all series, each nearer to zero by its
    standard error, clustered by week (Arellano (1987), Computing robust standard errors for
    within-groups estimators). A series' own weights differ from them as far as its own weeks say
    so, given how much weights differ between series (Swamy (1970), Efficient inference in a random
    coefficient regression model). So short series can be forecast too, and a noisy one returns to
    its level where a large one keeps its direction.
    """

    is_global = True
    min_train_size = 2

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Estimate the common weights, and how much the weights of series differ."""
        self._season = season_length
        n_series = series["unique_id"].nunique()
        drawn = np.unique(series["unique_id"])[:: -(-n_series // MAX_SERIES)]
        growth = _Growth(series[series["unique_id"].isin(drawn)], season_length)
        features, target, is_row = growth.rows(slice(None))
        week = np.broadcast_to(np.arange(target.shape[1]), target.shape)
        self._weights = _shrunk_weights(features[is_row], target[is_row], week[is_row])
        residual = (target - features @ self._weights)[is_row]
        self._noise = float(residual @ residual) / max(len(residual), 1)
        self._variance = _variance_of_weights(
            *_normal_equations(features, target, is_row, self._weights), self._noise
        )
        self._series = series
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week, each from the forecasts before it."""
        growth = _Growth(self._series, self._season)
        weights = np.concatenate(
            [self._weights_of_series(*growth.rows(block)) for block in growth.blocks]
        )
        total = np.zeros(len(weights))
        y_hat = np.empty((len(weights), h))
        for ahead in range(h):
            new = (growth.newest_features() * weights).sum(axis=1)
            growth.append(new)
            total += new
            y_hat[:, ahead] = growth.to_level(total)
        return y_hat

    def _weights_of_series(
        self, features: Values, target: Values, is_row: NDArray[np.bool_]
    ) -> Values:
        """Return the weights to expect given a series' own weeks: [S, T, K] -> [S, K]."""
        if self._noise == 0:
            return np.tile(self._weights, (len(target), 1))
        cross, score = _normal_equations(features, target, is_row, self._weights)
        scaled = cross * self._variance + self._noise * np.eye(len(self._weights))
        own = np.linalg.solve(scaled, score[:, :, None])[:, :, 0]
        return np.asarray(self._weights + self._variance * own)


class _Growth:
    """The growth of series as a matrix [S, T]; column -1 is the last week of any series.

    A series that ended earlier is moved to end in that week, because its forecast starts there.
    """

    def __init__(self, series: pd.DataFrame, season: int) -> None:
        self._season = season
        sizes = series.groupby("unique_id").size().to_numpy()
        ends = np.cumsum(sizes)
        width = max(min(int(sizes.max()), MAX_SEASONS * season + LEVEL_WEEKS), 3)
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

    @property
    def blocks(self) -> list[slice]:
        """The series in blocks whose features fit into memory."""
        return [slice(i, i + MAX_SERIES) for i in range(0, len(self.matrix), MAX_SERIES)]

    def rows(self, which: slice) -> tuple[Values, Values, NDArray[np.bool_]]:
        """Return features [S, T, K], targets [S, T] and which of them are known, of some series."""
        features = self._features(self.matrix, which)[:, :-1]
        own, target = self.matrix[which, :-1], self.matrix[which, 1:]
        return features, target, ~np.isnan(target) & ~np.isnan(own)

    def newest_features(self) -> Values:
        """Return the features of the next week: [S, K]."""
        newest = self.matrix[:, -max(self._season, LEVEL_WEEKS) :]
        return np.concatenate([self._features(newest, block)[:, -1] for block in self.blocks])

    def append(self, growth: Values) -> None:
        """Add the growth of one more week: [S]."""
        self.matrix = np.column_stack([self.matrix, growth])

    def to_level(self, total: Values) -> Values:
        """Add growth, in usual changes, to the last values: [S] -> [S]."""
        scale = self._last + total * self._unit
        with np.errstate(over="ignore"):
            return np.where(self._is_log, np.expm1(scale), scale)

    def _features(self, growth: Values, which: slice) -> Values:
        """Return what is known at the end of each week for some of the series: [S, T, K]."""
        is_known = ~np.isnan(growth)
        sums, n = np.nansum(growth, axis=0), is_known.sum(axis=0)
        own, is_known = np.nan_to_num(growth[which]), is_known[which]
        others = (sums - own) / np.maximum(n - is_known, 1)
        from_level = sum(
            (1 - back / LEVEL_WEEKS) * _back(own, back - 1) for back in range(1, LEVEL_WEEKS)
        )
        seasonal = (_back(values, self._season - 1) for values in (own, others))
        return np.stack([own, from_level, others, *seasonal], axis=-1)


def _back(values: Values, weeks: int) -> Values:
    """Return the values of so many weeks before, 0 where there is none: [S, T], the same."""
    n = values.shape[1]
    return np.pad(values, ((0, 0), (min(weeks, n), 0)))[:, :n]


def _shrunk_weights(features: Values, target: Values, week: Positions) -> Values:
    """Return least-squares weights, each nearer to zero by its standard error.

    That of few weeks is larger by the factor sqrt(weeks / (weeks - weights)).
    """
    n_weights, n_weeks = features.shape[1], len(np.unique(week))
    if n_weeks <= n_weights:
        return np.zeros(n_weights)
    inverse = np.linalg.pinv(features.T @ features)
    weights = inverse @ (features.T @ target)
    scores = features * (target - features @ weights)[:, None]
    by_week = np.zeros((int(week.max()) + 1, n_weights))
    np.add.at(by_week, week, scores)
    covariance = inverse @ (by_week.T @ by_week) @ inverse * (n_weeks / (n_weeks - n_weights))
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.asarray(np.sign(weights) * np.maximum(np.abs(weights) - error, 0.0))


def _normal_equations(
    features: Values, target: Values, is_row: NDArray[np.bool_], weights: Values
) -> tuple[Values, Values]:
    """Return each series' X'X and X'(y - X weights): [S, K, K] and [S, K]."""
    x = features * is_row[:, :, None]
    residual = np.where(is_row, target - features @ weights, 0.0)
    return x.transpose(0, 2, 1) @ x, (x * residual[:, :, None]).sum(axis=1)


def _variance_of_weights(cross: Values, score: Values, noise: float) -> Values:
    """Return how much each weight varies between series: [S, K, K], [S, K] -> [K].

    The square of a score is expected to be noise * c_kk + sum_l variance_l * c_kl ** 2, where c is
    the series' X'X; the variances are those for which the sums over series agree (moments).
    """
    excess = score**2 - noise * np.diagonal(cross, axis1=1, axis2=2)
    variance = np.linalg.pinv((cross**2).sum(axis=0)) @ excess.sum(axis=0)
    return np.asarray(np.maximum(variance, 0.0))
