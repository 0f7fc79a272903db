"""Gradient boosting on the distance of each series from its level of the last year.

One fit covers all series. Trees on weekly changes are in `machine_learning`; scikit-learn is
imported when a model is fitted, because the import takes a second.
"""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.models.base import Values

Features = NDArray[np.float32]

N_LAGS = 8
# Weeks of the rolling means; the level is another one, over a season.
WINDOWS = (4, 8, 13, 26)
MIN_LEVEL_WEEKS = 8
# Weeks before and after the target's week, a year ago: a holiday moves by a week.
NEIGHBOURS = (-2, -1, 0, 1, 2)
# Horizons that have trees of their own. A horizon between them uses those of the one below.
HEADS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 17, 22, 29, 38, 52)
# Values of a series that a row needs: a level and one change.
MIN_KNOWN = 3
# What the trees learn from: the last seasons, of evenly drawn series. Bounds memory at 30 MB.
MAX_SEASONS = 6
MAX_VALUES = 200_000
# Series that are forecast at once.
BLOCK_SERIES = 5_000
# A constant series differs from its level by rounding alone.
MIN_SCALE = 1e-6


class BoostedLevels:
    """Gradient-boosted trees of absolute loss, one fit for all series, direct for each horizon.

    The target is the value less the level (the mean of the last season), in units of the series'
    mean absolute distance from its level. That unit suits counts, and series around zero. Features,
    in the same unit: lags, rolling means, minimum and maximum, and the weeks around the target's
    week one season ago. Montero-Manso & Hyndman (2021), Principles and algorithms for forecasting
    groups of time series; Friedman (2001).
    """

    is_global = True
    is_direct = True
    min_train_size = 8

    def __init__(
        self,
        horizon: int = 1,
        n_trees: int = 100,
        learning_rate: float = 0.1,
        n_leaves: int = 15,
    ) -> None:
        self._horizon = horizon
        self._params: dict[str, Any] = {
            "max_iter": n_trees,
            "learning_rate": learning_rate,
            "max_leaf_nodes": n_leaves,
        }

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Fit trees for each week ahead up to the horizon."""
        self._season_length, self._fitted, self._series = season_length, series, series
        self._trees: dict[int, Any] = {}
        self._train(self._horizon)
        return self

    def update(self, new: pd.DataFrame) -> Self:
        """Append new weeks, and keep the trees."""
        series = pd.concat([self._series, new])
        self._series = series.sort_values(["unique_id", "ds"], ignore_index=True)
        return self

    def predict(self, h: int) -> Values:
        """Forecast h weeks; beyond the horizon of the fit, fit more trees to the same weeks."""
        self._train(h)
        sizes = self._series.groupby("unique_id").size().to_numpy()
        ends = np.cumsum(sizes)
        y_hat = np.empty((len(sizes), h))
        for first in range(0, len(sizes), BLOCK_SERIES):
            of_block = slice(first, first + BLOCK_SERIES)
            start = ends[first] - sizes[first]
            rows = self._series.iloc[start : ends[of_block][-1]]
            # The scale at the end looks back two seasons.
            block = _Block(rows, self._season_length, max_weeks=3 * self._level_weeks + N_LAGS)
            for ahead in range(1, h + 1):
                change = self._distance(_head(ahead), block.features(ahead)[:, -1])
                y_hat[of_block, ahead - 1] = block.level[:, -1] + block.scale[:, -1] * change
        return y_hat

    @property
    def _level_weeks(self) -> int:
        return max(self._season_length, MIN_LEVEL_WEEKS)

    def _distance(self, head: int, features: Features) -> Values:
        trees = self._trees[head]
        return np.zeros(len(features)) if trees is None else np.asarray(trees.predict(features))

    def _train(self, horizon: int) -> None:
        """Fit the trees that are missing up to a horizon."""
        missing = sorted({_head(h) for h in range(1, horizon + 1)} - set(self._trees))
        if not missing:
            return
        max_weeks = MAX_SEASONS * self._level_weeks
        ids, first = np.unique(self._fitted["unique_id"].to_numpy(), return_index=True)
        sizes = np.minimum(np.diff([*first, len(self._fitted)]), max_weeks)
        drawn = ids[:: -(-int(sizes.sum()) // MAX_VALUES)]
        rows = self._fitted[self._fitted["unique_id"].isin(drawn)]
        block = _Block(rows, self._season_length, max_weeks=max_weeks)
        for head in missing:
            self._trees[head] = self._fit_trees(*block.training_rows(head))

    def _fit_trees(self, features: Features, target: Values) -> Any:
        """Fit the trees of one horizon; None where nothing can be learned."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        if len(target) <= MIN_KNOWN:
            return None
        trees = HistGradientBoostingRegressor(
            loss="absolute_error", early_stopping=False, random_state=0, **self._params
        )
        is_empty = np.isnan(features).all(axis=0)  # the library fails on a column without values
        return trees.fit(np.where(is_empty, np.float32(0), features), target)


class _Block:
    """Series as a matrix that ends with the last week of each, null before its first: [S, T]."""

    def __init__(self, series: pd.DataFrame, season_length: int, *, max_weeks: int) -> None:
        sizes = series.groupby("unique_id").size().to_numpy()
        ends = np.cumsum(sizes)
        width = min(int(sizes.max()), max_weeks)
        back = np.arange(width)[::-1]
        is_known = back < sizes[:, None]
        index = np.where(is_known, ends[:, None] - 1 - back, 0)
        self.y = np.where(is_known, series["y"].to_numpy(dtype=np.float64)[index], np.nan)
        self._season = season_length
        level_weeks = max(season_length, MIN_LEVEL_WEEKS)
        self.level = rolling_mean(self.y, level_weeks)
        distance = rolling_mean(np.abs(self.y - lag(self.level, 1)), level_weeks)
        size = rolling_mean(np.abs(self.y), level_weeks)
        scale = np.fmax(distance, MIN_SCALE * size)
        self.scale = np.where(scale > 0, scale, np.where(size > 0, size, 1.0))
        last_days = series["ds"].to_numpy()[ends - 1].astype("datetime64[D]")
        self._days = last_days[:, None] - 7 * back.astype("timedelta64[D]")  # [S, T]
        self._windows = [weeks for weeks in WINDOWS if weeks < level_weeks]
        self._common = self._common_features()

    def features(self, h: int) -> Features:
        """Return the features for h weeks ahead: [S, T, features]."""
        season = []
        if self._season > 1:
            season = [*self._season_features(h), iso_week(self._days + np.timedelta64(7 * h, "D"))]
        return np.stack([*self._common, *season], axis=-1, dtype=np.float32, casting="same_kind")

    def training_rows(self, h: int) -> tuple[Features, Values]:
        """Return the features of all weeks whose target h weeks later is known, and the target."""
        target = (lag(self.y, -h) - self.level) / self.scale
        is_row = ~np.isnan(target) & (np.cumsum(~np.isnan(self.y), axis=1) >= MIN_KNOWN)
        return self.features(h)[is_row], target[is_row]

    def _common_features(self) -> list[Values]:
        y, window = self.y, WINDOWS[-2]
        padded = np.pad(y, ((0, 0), (window - 1, 0)), constant_values=np.nan)
        recent = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)
        values = [lag(y, k) for k in range(N_LAGS)]
        values += [rolling_mean(y, weeks) for weeks in self._windows]
        values += [np.fmin.reduce(recent, axis=2), np.fmax.reduce(recent, axis=2)]
        n_known = np.minimum(np.cumsum(~np.isnan(y), axis=1), self._season + N_LAGS)
        return [*map(self._over_level, values), np.abs(self.level) / self.scale, n_known]

    def _season_features(self, h: int) -> list[Values]:
        """Return last year's weeks around the target, and how the series has changed since."""
        y, season = self.y, self._season
        year_ago, month = lag(y, season), rolling_mean(y, 4)
        month_ago = lag(month, season)
        # A week a season before the target is not known yet if the target is further away.
        backs = [-(-h // season) * season - h - shift for shift in NEIGHBOURS]
        around = [lag(y, back) if back >= 0 else np.full_like(y, np.nan) for back in backs]
        same_week = around[NEIGHBOURS.index(0)]
        changes = [same_week - year_ago, same_week - month_ago, month - month_ago]
        return [
            *(self._over_level(values) for values in (*around, year_ago)),
            *(change / self.scale for change in changes),
        ]

    def _over_level(self, values: Values) -> Values:
        return (values - self.level) / self.scale


def lag(values: Values, weeks: int) -> Values:
    """Return the values so many weeks earlier, later if negative; null where there are none."""
    width = values.shape[1]
    shifted = np.full_like(values, np.nan)
    if 0 <= weeks < width:
        shifted[:, weeks:] = values[:, : width - weeks]
    elif 0 < -weeks < width:
        shifted[:, :weeks] = values[:, -weeks:]
    return shifted


def rolling_mean(values: Values, weeks: int) -> Values:
    """Return the mean of the known values of the last weeks; null where there are none."""
    is_known = ~np.isnan(values)
    totals = np.cumsum(np.where(is_known, values, 0.0), axis=1)
    counts = np.cumsum(is_known, axis=1)
    total, n = (
        sums - np.nan_to_num(lag(sums.astype(np.float64), weeks)) for sums in (totals, counts)
    )
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def iso_week(days: NDArray[Any]) -> Values:
    """Return the ISO week numbers, 1 to 53: a year's last week stays next to the one before."""
    n_days = days.astype("datetime64[D]").astype(np.int64)
    thursday = (n_days - (n_days + 3) % 7 + 3).astype("datetime64[D]")  # day 0 was a Thursday
    new_year = thursday.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((thursday - new_year).astype(np.int64) // 7 + 1, dtype=np.float64)


def _head(h: int) -> int:
    return max(head for head in HEADS if head <= h)
