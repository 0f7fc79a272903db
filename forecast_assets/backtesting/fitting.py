"""Run a model on the folds of one fit; its exceptions become errors of the folds.

This runs in a child process that can be killed at any moment: see `sandbox`.
"""

import math
import pickle
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecast_assets.backtesting.fold_data import FoldId, GlobalData, LocalData
from forecast_assets.backtesting.folds import ALL_SERIES, NOT_FOR, TOO_SHORT, FitUnit, FoldForecast
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.regressors import TooFewKnown, first_known_row, unknown_ahead
from forecast_assets.errors import ModelError
from forecast_assets.models.base import NotForThisSeries, min_train_size
from forecast_assets.models.spec import ModelSpec

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings

# The name of this warning in statsmodels and in scikit-learn.
CONVERGENCE_WARNING = "ConvergenceWarning"
# Characters of an error, which is stored with each of its folds.
MAX_ERROR_LENGTH = 1000


@dataclass(frozen=True)
class FitConfig:
    """What all fits of a model share; `fingerprint` is the model's in the process that asks.

    A fit and its forecasts at one cutoff are stopped at `max_seconds`, the process of the model at
    `max_memory_mb` megabytes.
    """

    model: ModelSpec
    horizon: int
    season_length: int
    fingerprint: str = ""
    max_seconds: float = math.inf
    max_memory_mb: float = math.inf

    @classmethod
    def of(cls, model: ModelSpec, settings: "Settings") -> "FitConfig":
        """Return the configuration of a model in the backtest of the settings."""
        compute = settings.compute
        return cls(
            model,
            settings.backtest.horizon,
            settings.series.season_length,
            model.fingerprint,
            compute.model_seconds if model.is_global else compute.fold_seconds,
            compute.memory_mb,
        )


@dataclass(frozen=True)
class FitResult:
    """The folds of a unit in order, its seconds and number of fits, and the fit to keep."""

    folds: Sequence[FoldForecast]
    seconds: float
    n_fits: int = 0
    fitted: bytes | None = None


@dataclass(frozen=True)
class WorkChunk:
    """Fits of one model for one worker."""

    config: FitConfig
    units: Sequence[FitUnit]


def run_unit(config: FitConfig, unit: FitUnit, panel: Panel, tick: Callable[[], None]) -> FitResult:
    """Forecast the folds of one unit. `tick` is called before each step that has a time limit."""
    started = time.perf_counter()
    data = (GlobalData if unit.series == ALL_SERIES else LocalData)(panel, unit)
    try:
        model = _RollingModel(config, unit, data)
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit too
        return FitResult([_failed_fold(error)] * len(unit.folds), 0.0)
    folds: dict[FoldId, FoldForecast] = {}
    for cutoff, ids in data.steps():
        folds |= _declined(config, panel, model.min_size, ids)
        ready = [fold for fold in ids if fold not in folds]
        if ready:
            tick()
            folds |= zip(ready, _forecast_at(model, cutoff, ready, config.horizon), strict=True)
    is_unreadable = unit.fitted is not None and model.n_fits > 0
    return FitResult(
        [folds[fold] for fold in unit.folds],
        time.perf_counter() - started,
        model.n_fits,
        model.fitted if unit.is_kept or is_unreadable else None,
    )


def _declined(
    config: FitConfig, panel: Panel, min_size: int, folds: Sequence[FoldId]
) -> dict[FoldId, FoldForecast]:
    """Return the folds that are too short or do not know the regressors of the weeks ahead."""
    declined = {}
    for series, end in folds:
        if end < min_size:
            text = too_short(min_size, end)
            declined[series, end] = FoldForecast(None, 0.0, text, is_declined=True)
        elif config.model.with_regressors and (
            error := unknown_ahead(panel.x[series], end, config.horizon)
        ):
            declined[series, end] = _failed_fold(error)
    return declined


def _forecast_at(
    model: "_RollingModel", cutoff: int, ready: Sequence[FoldId], horizon: int
) -> list[FoldForecast]:
    """Return the forecasts at one cutoff, or the same error for each."""
    started, failed = time.perf_counter(), None
    try:
        with _raise_unconverged():
            forecast = np.asarray(model.predict(cutoff, horizon))
            y_hat = model.data.rows(forecast, cutoff, ready).astype(np.float64)
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit too
        failed = _failed_fold(error)
    seconds = (time.perf_counter() - started) / len(ready)
    if failed:
        return [replace(failed, fit_seconds=seconds)] * len(ready)
    return [validate_forecast(row, horizon, seconds) for row in y_hat]


@contextmanager
def _raise_unconverged() -> Iterator[None]:
    """Raise the warning of the block that a fit did not converge."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if warning.category.__name__ == CONVERGENCE_WARNING:
            raise warning.category(str(warning.message))


def _failed_fold(error: BaseException) -> FoldForecast:
    is_declined = isinstance(error, NotForThisSeries)
    return FoldForecast(None, 0.0, error_text(error), is_declined=is_declined)


def error_text(error: BaseException) -> str:
    """Return the error of a fold for an exception: at most MAX_ERROR_LENGTH valid characters."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the exception is the model's own
        text = "(its message cannot be read)"
    if isinstance(error, TooFewKnown):
        text = f"{TOO_SHORT}{text}"
    elif isinstance(error, NotForThisSeries):
        text = f"{NOT_FOR}{text}"
    elif not isinstance(error, ModelError):
        text = f"{type(error).__name__}: {text}"
    return text[:MAX_ERROR_LENGTH].encode(errors="backslashreplace").decode()


def too_short(min_size: int, size: int) -> str:
    """Return the error of a fold with fewer values than the model needs."""
    return f"{TOO_SHORT}it needs {min_size} values and has {size}"


def validate_forecast(y_hat: Any, horizon: int, seconds: float) -> FoldForecast:
    """Return the fold of a forecast; an error unless it is `horizon` finite numbers."""
    if y_hat.shape != (horizon,):
        error = f"forecast of shape {list(y_hat.shape)}, expected [{horizon}]"
        return FoldForecast(None, seconds, error)
    if not np.isfinite(y_hat).all():
        return FoldForecast(None, seconds, f"forecast is not finite: {y_hat.tolist()}")
    return FoldForecast(y_hat, seconds)


class _RollingModel:
    """A model at one cutoff after another: fitted at the anchor, updated to each cutoff.

    Each cutoff starts from the same pickled fit, so that its forecast does not depend on the other
    cutoffs of the unit: up to the anchor all of them see the same values.
    """

    def __init__(self, config: FitConfig, unit: FitUnit, data: "LocalData | GlobalData") -> None:
        self.data, self.fitted, self.n_fits = data, unit.fitted, 0
        self._model, self._season_length = config.model, config.season_length
        self._anchor = unit.anchor
        # A global model gets NaN where a regressor is not known.
        is_local, uses_x = isinstance(data, LocalData), config.model.uses_regressors
        self._needs_known = is_local and config.model.with_regressors and uses_x
        self._fit_error: BaseException | None = None
        self.min_size = min_train_size(self._model.make(), season_length=self._season_length)

    def predict(self, cutoff: int, horizon: int) -> Any:
        """Forecast the weeks after a cutoff."""
        ahead = self._regressors(cutoff, cutoff, seen_at=cutoff, n_ahead=horizon)
        return self._at(cutoff).predict(horizon, **ahead)

    def _at(self, cutoff: int) -> Any:
        """Return the model with all values up to a cutoff."""
        has_anchor = self._model.refit_every > 1 and self.data.size(self._anchor) >= self.min_size
        if not has_anchor:
            return self._fit(cutoff, seen_at=cutoff)
        model = self._load_fit(cutoff)
        self._seed(cutoff)
        if cutoff == self._anchor:
            return model
        new = self.data.between(self._anchor, cutoff, seen_at=cutoff)
        x = self._regressors(self._anchor, cutoff, seen_at=cutoff)
        if self._needs_known and first_known_row(x["X"]):
            raise NotForThisSeries("a regressor is not known in the weeks since the last fit")
        return model.update(new, **x)

    def _load_fit(self, cutoff: int) -> Any:
        """Unpickle the fit at the anchor; make it if there is none, or none that can be read."""
        if self.fitted is not None:
            try:
                return pickle.loads(self.fitted)  # noqa: S301 - from our own cache
            except Exception:
                if self.n_fits:
                    raise
        self.fitted = self._pickle_fit(cutoff)
        return pickle.loads(self.fitted)  # noqa: S301 - from our own cache

    def _pickle_fit(self, cutoff: int) -> bytes:
        """Fit at the anchor; on the second call raise the error of the first one."""
        if self._fit_error is not None:
            raise self._fit_error
        try:
            with _raise_unconverged():
                return pickle.dumps(self._fit(self._anchor, seen_at=cutoff))
        except BaseException as error:
            self._fit_error = error
            raise

    def _fit(self, cutoff: int, *, seen_at: int) -> Any:
        values = self.data.between(None, cutoff, seen_at=seen_at)
        self._seed(cutoff)
        self.n_fits += 1
        x = self._regressors(None, cutoff, seen_at=seen_at)
        if self._needs_known:
            first = first_known_row(x["X"])
            values, x["X"] = values[first:], x["X"][first:]
            if len(values) < self.min_size:
                text = f"it needs {self.min_size} weeks with regressors and has {len(values)}"
                raise TooFewKnown(text)
        return self._model.fit(values, season_length=self._season_length, **x)

    def _regressors(
        self, after: int | None, upto: int, *, seen_at: int, n_ahead: int = 0
    ) -> dict[str, Any]:
        """Return the argument `X` of a model that takes it; without columns for the twin."""
        if self._model.with_regressors:
            return {"X": self.data.regressors(after, upto, seen_at=seen_at, n_ahead=n_ahead)}
        if self._model.uses_regressors and not self._model.is_packaged:
            return {"X": self.data.no_regressors(after, upto, n_ahead=n_ahead)}
        return {}

    def _seed(self, cutoff: int) -> None:
        """Seed the random numbers by the cutoff, so that other folds do not change them."""
        if not self._model.is_packaged:  # the package's models draw none
            random.seed(abs(cutoff))  # a day before 1970 is negative
            np.random.seed(abs(cutoff))  # noqa: NPY002 - the generator that libraries fall back on
