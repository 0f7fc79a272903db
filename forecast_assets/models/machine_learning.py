"""Regression on what is known at the cutoff: lags of the series, and where in the year it is.

The library, scikit-learn, is imported where a model is fitted: it takes a second.
"""

import warnings
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_assets.models.base import Values, fourier

HARMONICS = 3  # pairs of sine and cosine for the year
PENALTIES = np.logspace(-3, 3, 13)


class Ridge:
    """Ridge regression of each week's change on past changes and harmonics (Hoerl & Kennard 1970).

    The penalty is the one of least leave-one-out error. Further weeks ahead are forecast one by
    one, each from the forecasts before it. The year is three harmonics and the change of the same
    week a season ago, where the values reach as far back.
    """

    def __init__(self, n_lags: int = 8) -> None:
        self.n_lags = n_lags
        self.min_train_size = 3 * n_lags

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Find the weights and the penalty."""
        from sklearn.linear_model import RidgeCV  # noqa: PLC0415 - takes a second

        has_year = season_length > 1 and len(y) > season_length + self.min_train_size
        self._lags = [*range(1, self.n_lags + 1), *([season_length] if has_year else [])]
        self._season_length = season_length
        self._last, change = y[-1], np.diff(y)
        self._scale = float(np.std(change)) or 1.0
        self._change = change / self._scale
        first, n = max(self._lags), len(change)
        rows = [self._change[first - lag : n - lag] for lag in self._lags]
        known = np.column_stack([*rows, self._year(first, n)])
        self._model: Any = RidgeCV(PENALTIES).fit(known, self._change[first:])
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week."""
        change = list(self._change)
        for _ in range(h):
            n = len(change)
            known = np.concatenate([[change[-lag] for lag in self._lags], self._year(n, n + 1)[0]])
            change.append(float(self._model.predict(known[None])[0]))
        ahead: Values = self._last + self._scale * np.cumsum(change[-h:])
        return ahead

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=HARMONICS)


LAGS = (1, 2, 3, 4, 8, 13, 26)


class BoostedTrees:
    """Gradient-boosted trees, one fit for all series (Friedman 2001; Januschowski et al. 2022).

    They learn each series' weekly change in units of its own scale, from lags of it, rolling means
    and deviations, the week of the year and that scale. The year is the week's number and the lag
    of one season.
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
        """Fit the trees to every series' changes."""
        from mlforecast import MLForecast  # noqa: PLC0415 - takes two seconds
        from mlforecast.lag_transforms import RollingMean, RollingStd  # noqa: PLC0415 - as above
        from mlforecast.target_transforms import (  # noqa: PLC0415 - as above
            Differences,
            LocalStandardScaler,
        )
        from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - as above

        rolling: list[Any] = [
            RollingMean(4),
            RollingMean(13, min_samples=4),
            RollingStd(13, min_samples=4),
        ]
        longest = int(series.groupby("unique_id").size().max())
        trees = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **self._params)
        self._model = MLForecast(
            models={"trees": trees},
            freq="7D",
            lags=sorted(lag for lag in {*LAGS, season_length} if lag < longest - 1),
            lag_transforms={1: rolling},
            date_features=[week_of_year],
            target_transforms=[Differences([1]), LocalStandardScaler()],
        )
        self._series = series
        with warnings.catch_warnings():  # a series of one week has no change to learn from
            warnings.filterwarnings("ignore", "The following series were dropped completely")
            self._model.fit(_scaled(series), static_features=["scale"], dropna=False)
        return self

    def update(self, new: pd.DataFrame) -> Self:
        """Take in the weeks after those known, keeping the trees."""
        both = pd.concat([self._series, new])
        self._series = both.sort_values(["unique_id", "ds"], ignore_index=True)
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week, each from the forecasts before it."""
        with warnings.catch_warnings():  # a short series lacks long lags, which trees can do with
            warnings.filterwarnings("ignore", "Found null values|The following series were dropped")
            said = self._model.predict(h, new_df=_scaled(self._series))
        y_hat: Values = said["trees"].to_numpy(dtype=np.float64).reshape(-1, h)
        return y_hat


def week_of_year(ds: pd.DatetimeIndex) -> Values:
    """The week's number in its year, 1 to 53."""
    return ds.isocalendar().week.to_numpy(dtype=np.float64)


def _scaled(series: pd.DataFrame) -> pd.DataFrame:
    """The frame with each series' scale beside it: the logarithm of its mean absolute value."""
    size = series["y"].abs().groupby(series["unique_id"]).transform("mean")
    return series.assign(scale=np.log1p(size))
