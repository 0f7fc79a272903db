"""Regression on lags of a series and on the week of the year.

The libraries scikit-learn and mlforecast are imported when a model is fitted, because their
imports take one and two seconds.
"""

import warnings
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_assets.models.base import Values, fourier

# Pairs of sine and cosine for the year.
YEAR_PAIRS = 3
PENALTIES = np.logspace(-3, 3, 13)
# Lags of the boosted trees, in weeks; the season is added to them.
TREE_LAGS = (1, 2, 3, 4, 8, 13, 26)


class Ridge:
    """Ridge regression of weekly changes on past changes and harmonics (Hoerl & Kennard 1970).

    The penalty minimizes the leave-one-out error. Later weeks are forecast recursively. The year is
    three harmonics and, in a series that is long enough, the change one season earlier.
    """

    def __init__(self, n_lags: int = 8) -> None:
        self.n_lags = n_lags
        self.min_train_size = 3 * n_lags

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Estimate the weights and the penalty."""
        from sklearn.linear_model import RidgeCV

        has_season_lag = season_length > 1 and len(y) > season_length + self.min_train_size
        self._lags = [*range(1, self.n_lags + 1), *([season_length] if has_season_lag else [])]
        self._season_length = season_length
        self._last, change = y[-1], np.diff(y)
        self._scale = float(np.std(change)) or 1.0
        self._change = change / self._scale
        first, n = max(self._lags), len(change)
        lagged = [self._change[first - lag : n - lag] for lag in self._lags]
        features = np.column_stack([*lagged, self._year(first, n)])
        self._model: Any = RidgeCV(PENALTIES).fit(features, self._change[first:])
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week, each from the forecasts before it."""
        change = list(self._change)
        for _ in range(h):
            n = len(change)
            lagged = [change[-lag] for lag in self._lags]
            features = np.concatenate([lagged, self._year(n, n + 1)[0]])
            change.append(float(self._model.predict(features[None])[0]))
        y_hat: Values = self._last + self._scale * np.cumsum(change[-h:])
        return y_hat

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=YEAR_PAIRS)


class BoostedTrees:
    """Gradient-boosted trees, one fit for all series (Friedman 2001; Januschowski et al. 2022).

    The target is the weekly change, standardized within each series. Features are its lags, rolling
    means and standard deviations, the week of the year, and the scale of the series. The year is
    the week number and the lag of one season.
    """

    is_global = True
    min_train_size = 8

    def __init__(self, n_trees: int = 100, learning_rate: float = 0.05, n_leaves: int = 15) -> None:
        self._params: dict[str, Any] = {
            "max_iter": n_trees,
            "learning_rate": learning_rate,
            "max_leaf_nodes": n_leaves,
        }

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Fit the trees to the changes of all series."""
        from mlforecast import MLForecast
        from mlforecast.lag_transforms import RollingMean, RollingStd
        from mlforecast.target_transforms import Differences, LocalStandardScaler
        from sklearn.ensemble import HistGradientBoostingRegressor

        means = [RollingMean(4), RollingMean(13, min_samples=4)]
        longest = int(series.groupby("unique_id").size().max())
        trees = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **self._params)
        self._model = MLForecast(
            models={"trees": trees},
            freq="7D",
            lags=sorted(lag for lag in {*TREE_LAGS, season_length} if lag < longest - 1),
            lag_transforms={1: [*means, RollingStd(13, min_samples=4)]},
            date_features=[week_of_year],
            target_transforms=[Differences([1]), LocalStandardScaler()],
        )
        self._series = series
        with warnings.catch_warnings():  # a series of one week has no change to learn from
            warnings.filterwarnings("ignore", "The following series were dropped completely")
            self._model.fit(_with_scale(series), static_features=["scale"], dropna=False)
        return self

    def update(self, new: pd.DataFrame) -> Self:
        """Append new weeks, and keep the trees."""
        series = pd.concat([self._series, new])
        self._series = series.sort_values(["unique_id", "ds"], ignore_index=True)
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week, each from the forecasts before it."""
        with warnings.catch_warnings():  # short series have no long lags; the trees allow nulls
            warnings.filterwarnings("ignore", "Found null values|The following series were dropped")
            forecast = self._model.predict(h, new_df=_with_scale(self._series))
        y_hat: Values = forecast["trees"].to_numpy(dtype=np.float64).reshape(-1, h)
        return y_hat


def week_of_year(ds: pd.DatetimeIndex) -> Values:
    """Return the ISO week number, 1 to 53."""
    return ds.isocalendar().week.to_numpy(dtype=np.float64)


def _with_scale(series: pd.DataFrame) -> pd.DataFrame:
    """Add the scale of each series: the logarithm of its mean absolute value."""
    size = series["y"].abs().groupby(series["unique_id"]).transform("mean")
    return series.assign(scale=np.log1p(size))
