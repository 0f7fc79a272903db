"""Models with regressors: `ridge_x` is the model `ridge` on values without the regressors' effect.

The effect of each regressor on the weekly change is estimated, removed from the past, and added to
the forecast. A holiday occurs once a year, so a series has seen it once or twice: automatic
relevance determination shrinks each weight by its own evidence, to zero where there is none.
"""

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from forecast_assets.models.base import MIN_VALUES, Positions, Values, fourier

if TYPE_CHECKING:
    import pandas as pd

# Part of the fingerprint of every such model: raise it when a forecast changes.
REGRESSORS_VERSION = 1
# The weights change by less than 1 % of a standard error after as many rounds.
N_ROUNDS = 30
# Pairs of sine and cosine, so that the season is not taken for an effect.
YEAR_PAIRS = 3
MAX_PRECISION = 1e12


class WithRegressors:
    """A local model on the values of a series without the effects of its regressors.

    Effects are factors where all values are positive, else amounts.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.min_train_size = getattr(model, "min_train_size", 1)

    def fit(self, y: Values, *, season_length: int, X: Values) -> Self:  # noqa: N803 - the field's
        """Estimate the effects of X [n, K], and fit the model to what is left of y [n]."""
        self._effects = Effects(y, X).estimate(y, X, season_length)
        left = self._effects.remove(y, X)
        self._model = self._model.fit(left, season_length=season_length)
        return self

    def update(self, y_new: Values, X: Values) -> Self:  # noqa: N803 - as above
        """Append new values and their regressors, and keep the effects."""
        self._model = self._model.update(self._effects.remove(y_new, X))
        return self

    def predict(self, h: int, X: Values) -> Values:  # noqa: N803 - as above
        """Add the effects of X [h, K] to the model's forecast."""
        return self._effects.add(np.asarray(self._model.predict(h), dtype=np.float64), X)


class GlobalWithRegressors:
    """A global model on the values without the effects, which are those of each series."""

    is_global = True

    def __init__(self, model: Any) -> None:
        self._model = model
        self.min_train_size = getattr(model, "min_train_size", 1)

    def fit(self, series: "pd.DataFrame", *, season_length: int, X: Values) -> Self:  # noqa: N803
        """Estimate the effects of X [rows, K] in each series, and fit the model to the rest."""
        self._effects = {
            name: Effects(y, x).estimate(y, x, season_length)
            for name, (y, x) in _by_series(series, X).items()
        }
        self._model = self._model.fit(self._without(series, X), season_length=season_length)
        return self

    def update(self, new: "pd.DataFrame", X: Values) -> Self:  # noqa: N803
        """Append new rows and their regressors, and keep the effects; a new series has none."""
        for name, part in _by_series(new, X).items():
            self._effects.setdefault(name, Effects(*part))
        self._model = self._model.update(self._without(new, X))
        return self

    def predict(self, h: int, X: Values) -> Values:  # noqa: N803
        """Add the effects of X [S, h, K] to the model's forecasts [S, h]."""
        y_hat = np.asarray(self._model.predict(h), dtype=np.float64)
        effects = [self._effects[name] for name in sorted(self._effects)]
        return np.stack([each.add(*row) for each, *row in zip(effects, y_hat, X, strict=True)])

    def _without(self, series: "pd.DataFrame", x: Values) -> "pd.DataFrame":
        ids = series["unique_id"].to_numpy()
        y = series["y"].to_numpy(dtype=np.float64)
        left = np.empty_like(y)
        for rows in _spans(ids):
            left[rows] = self._effects[ids[rows.start]].remove(y[rows], x[rows])
        return series.assign(y=left)


class Effects:
    """The effects of regressors on one series, estimated from its changes; none at first."""

    def __init__(self, y: Values, x: Values) -> None:
        self._is_factor = bool((y > 0).all())
        n_known = (~np.isnan(x)).sum(axis=0)
        self._mean = np.nansum(x, axis=0) / np.maximum(n_known, 1)
        self._weights = np.zeros(x.shape[1])

    def estimate(self, y: Values, x: Values, season_length: int) -> Self:
        """Estimate the effects from the weekly changes."""
        if len(y) >= MIN_VALUES:
            change = np.diff(np.log(y) if self._is_factor else y)
            dx = np.diff(self._known(x), axis=0)
            scale = float(np.std(change)) or 1.0
            year = fourier(0, len(y), season_length=season_length, n_pairs=YEAR_PAIRS)
            columns = np.hstack([dx, np.diff(year, axis=0)])
            self._weights = scale * relevant_weights(columns, change / scale)[: x.shape[1]]
        return self

    def remove(self, y: Values, x: Values) -> Values:
        """Return the values without the effects."""
        effect = self._of(self._known(x))
        return np.asarray(y * np.exp(-effect) if self._is_factor else y - effect)

    def add(self, y_hat: Values, x: Values) -> Values:
        """Return forecasts with the effects, NaN where a regressor is unknown."""
        effect = self._of(x)
        return np.asarray(y_hat * np.exp(effect) if self._is_factor else y_hat + effect)

    def _known(self, x: Values) -> Values:
        """Give a week of the past whose regressor is unknown that of a usual week: no effect."""
        return np.where(np.isnan(x), self._mean, x)

    def _of(self, x: Values) -> Values:
        # Columns without an effect, such as later events, must not change the rounding.
        is_used = (self._weights != 0) | np.isnan(x).any(axis=0)
        return np.asarray((x - self._mean)[:, is_used] @ self._weights[is_used])


def relevant_weights(x: Values, y: Values) -> Values:
    """Regress y [n] on x [n, K] with a precision for each weight: [K].

    MacKay's rounds of the evidence (Tipping (2001), Sparse Bayesian learning and the relevance
    vector machine, eqs. 16 to 18). A column of zeros has the weight zero.
    """
    size = np.sqrt((x**2).mean(axis=0)) if len(x) else np.zeros(x.shape[1])
    is_used = size > 0
    weights = np.zeros(x.shape[1])
    if not is_used.any() or not y.any():
        return weights
    x = x[:, is_used] / size[is_used]
    gram, cross, total = x.T @ x, x.T @ y, y @ y
    precision, noise = np.ones(x.shape[1]), len(y) / total
    for _ in range(N_ROUNDS):
        covariance = np.linalg.inv(noise * gram + np.diag(precision))
        mean = noise * covariance @ cross
        relevance = 1 - precision * np.diag(covariance)
        precision = np.minimum(relevance / np.maximum(mean**2, 1 / MAX_PRECISION), MAX_PRECISION)
        precision = np.maximum(precision, 1 / MAX_PRECISION)
        residual = total - 2 * mean @ cross + mean @ gram @ mean
        n_free = max(len(y) - relevance.sum(), 1.0)
        noise = n_free / max(residual, total / MAX_PRECISION)
    weights[is_used] = mean / size[is_used]
    return weights


def _spans(ids: Positions) -> list[slice]:
    starts = [*np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])] if len(ids) else []
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]


def _by_series(series: "pd.DataFrame", x: Values) -> dict[Any, tuple[Values, Values]]:
    y, ids = series["y"].to_numpy(dtype=np.float64), series["unique_id"].to_numpy()
    return {ids[rows.start]: (y[rows], x[rows]) for rows in _spans(ids)}
