"""A model over the folds of one fit: forecasts, or errors as data.

Runs in a process of its own, which may be ended at any moment: `runner`.
"""

import pickle
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    NOT_FOR,
    TOO_SHORT,
    FitUnit,
    FoldForecast,
    Panel,
)
from forecast_assets.errors import ModelError
from forecast_assets.models.base import NotForThisSeries, min_train_size
from forecast_assets.models.spec import ModelSpec

UNCONVERGED = "ConvergenceWarning"  # so statsmodels and scikit-learn call it
MOST_SAID = 1000  # characters of an error, which is kept for each of its folds

FoldId = tuple[int, int]  # a series, and how many of its values the model sees


@dataclass(frozen=True)
class FitConfig:
    """What is asked of every fit alike."""

    model: ModelSpec
    horizon: int
    season_length: int


@dataclass(frozen=True)
class FitResult:
    """What one unit said: its folds in order, seconds, fits, and the fit where asked for."""

    folds: Sequence[FoldForecast]
    seconds: float
    n_fits: int = 0
    fitted: bytes | None = None


def run_unit(
    question: FitConfig, unit: FitUnit, panel: Panel, tick: Callable[[], None]
) -> FitResult:
    """Forecast the folds of one unit; whatever the model raises becomes their error.

    `tick` is called before each step that has a time budget of its own.
    """
    started = time.perf_counter()
    data = (_GlobalData if unit.series == ALL_SERIES else _LocalData)(panel, unit)
    try:
        model = _RollingModel(question, unit, data)
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit too
        return FitResult([FoldForecast(None, 0.0, error_text(error))] * len(unit.folds), 0.0)
    folds: dict[FoldId, FoldForecast] = {}
    for at, asked in data.steps():
        ready = [fold for fold in asked if fold[1] >= model.needed]
        for fold in asked:
            folds[fold] = FoldForecast(None, 0.0, too_short(model.needed, fold[1]))
        if ready:
            tick()
            folds |= zip(ready, _forecast_at(model, at, ready, question), strict=True)
    in_order = [folds[fold] for fold in unit.folds]
    is_useless = unit.fitted is not None and model.n_fits > 0
    kept = model.fitted if unit.is_kept or is_useless else None
    return FitResult(in_order, time.perf_counter() - started, model.n_fits, kept)


def _forecast_at(
    model: "_RollingModel", at: int, ready: Sequence[FoldId], question: FitConfig
) -> list[FoldForecast]:
    """The forecasts at one cutoff, or the same error for each."""
    began = time.perf_counter()
    error, y_hat = "", np.empty((0, question.horizon))
    try:
        with _converging():
            y_hat = model.data.rows(np.asarray(model.at(at).predict(question.horizon)), at, ready)
            y_hat = y_hat.astype(np.float64)
    except BaseException as raised:  # noqa: BLE001 - a model may raise anything, SystemExit too
        error = error_text(raised)
    seconds = (time.perf_counter() - began) / len(ready)
    if error:
        return [FoldForecast(None, seconds, error)] * len(ready)
    return [validate_forecast(one, question.horizon, seconds) for one in y_hat]


@contextmanager
def _converging() -> Iterator[None]:
    """Raise where the block warned that a fit did not converge; libraries only say so."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
    for one in warned:
        if one.category.__name__ == UNCONVERGED:
            raise one.category(str(one.message))


def error_text(error: BaseException) -> str:
    """What an exception becomes as a fold's error."""
    try:
        said = str(error)
    except BaseException:  # noqa: BLE001 - this, too, is the model's
        said = "and its text cannot be made"
    if isinstance(error, NotForThisSeries):
        said = f"{NOT_FOR}{said}"
    elif not isinstance(error, ModelError):
        said = f"{type(error).__name__}: {said}"
    return said[:MOST_SAID].encode(errors="backslashreplace").decode()  # it is kept as UTF-8


def too_short(needed: int, size: int) -> str:
    """The error of a fold at which the model is not asked."""
    return f"{TOO_SHORT}it needs {needed} values and has {size}"


def validate_forecast(y_hat: Any, horizon: int, seconds: float) -> FoldForecast:
    """What a model said as a fold: a forecast, where it is `horizon` finite numbers."""
    if y_hat.shape != (horizon,):
        wrong = f"forecast of shape {list(y_hat.shape)}, asked for [{horizon}]"
        return FoldForecast(None, seconds, wrong)
    if not np.isfinite(y_hat).all():
        return FoldForecast(None, seconds, f"forecast is not finite: {y_hat.tolist()}")
    return FoldForecast(y_hat, seconds)


class _RollingModel:
    """The model at one cutoff after another: fitted at the anchor, moved on from there.

    Every cutoff starts from the same pickled fit, so that what is said there does not depend on
    which others were asked for.
    """

    def __init__(
        self, question: FitConfig, unit: FitUnit, data: "_LocalData | _GlobalData"
    ) -> None:
        self.data = data
        self.n_fits = 0
        self.fitted = unit.fitted
        self._model, self._season_length = question.model, question.season_length
        self._anchor = unit.anchor
        self._failed: BaseException | None = None
        self.needed = min_train_size(self._model.make(), season_length=self._season_length)

    def at(self, cutoff: int) -> Any:
        """The model as it stands at a cutoff."""
        is_moved = self._model.refit_every > 1 and self.data.size(self._anchor) >= self.needed
        if not is_moved:
            return self._fit(cutoff)
        model = self._fitted()
        self._seed(cutoff)
        if cutoff == self._anchor:
            return model
        return model.update(self.data.between(self._anchor, cutoff))

    def _fitted(self) -> Any:
        """The pickled fit, made where there is none, or one that other libraries made."""
        if self.fitted is not None:
            try:
                return pickle.loads(self.fitted)  # noqa: S301 - our own process made it
            except Exception:
                if self.n_fits:
                    raise
        self.fitted = self._fit_once()
        return pickle.loads(self.fitted)  # noqa: S301 - our own process made it

    def _fit_once(self) -> bytes:
        """Fit, or raise again what the fit raised: the unit's other folds want the same one."""
        if self._failed is not None:
            raise self._failed
        try:
            with _converging():
                return pickle.dumps(self._fit(self._anchor))
        except BaseException as error:
            self._failed = error
            raise

    def _fit(self, cutoff: int) -> Any:
        values = self.data.upto(cutoff)
        self._seed(cutoff)
        self.n_fits += 1
        return self._model.fit(values, season_length=self._season_length)

    def _seed(self, cutoff: int) -> None:
        """Let chance fall the same at a cutoff, whatever was computed before it."""
        if not self._model.is_packaged:  # ours ask for no chance
            random.seed(abs(cutoff))  # a day before 1970 is a negative number
            np.random.seed(abs(cutoff))  # noqa: NPY002 - the one that libraries fall back on


class _LocalData:
    """A series as a local model is given it; a cutoff is a number of values."""

    def __init__(self, panel: Panel, unit: FitUnit) -> None:
        self._y = panel.series(unit.series)
        self._folds = unit.folds

    def steps(self) -> Iterator[tuple[int, list[FoldId]]]:
        for fold in self._folds:
            yield fold[1], [fold]

    def size(self, cutoff: int) -> int:
        return cutoff

    def upto(self, cutoff: int) -> Any:
        return self._y[:cutoff].copy()  # the copy is theirs

    def between(self, after: int, upto: int) -> Any:
        return self._y[after:upto].copy()

    def rows(self, y_hat: Any, cutoff: int, folds: Sequence[FoldId]) -> Any:
        del cutoff, folds
        return y_hat[None]


class _GlobalData:
    """All series as a global model is given them; a cutoff is the number of a day."""

    def __init__(self, panel: Panel, unit: FitUnit) -> None:
        self._panel, self._folds = panel, unit.folds

    def steps(self) -> Iterator[tuple[int, list[FoldId]]]:
        by_day = sorted((int(self._panel.day(*fold).astype(int)), fold) for fold in self._folds)
        for day, some in groupby(by_day, key=lambda one: one[0]):
            yield day, [fold for _, fold in some]

    def size(self, cutoff: int) -> int:
        return int(self._sizes(cutoff).max())

    def upto(self, cutoff: int) -> Any:
        sizes = self._sizes(cutoff)
        return self._panel.frame(np.zeros_like(sizes), sizes)

    def between(self, after: int, upto: int) -> Any:
        return self._panel.frame(self._sizes(after), self._sizes(upto))

    def rows(self, y_hat: Any, cutoff: int, folds: Sequence[FoldId]) -> Any:
        is_there = self._sizes(cutoff) > 0
        if len(y_hat) != is_there.sum():
            raise ValueError(f"{len(y_hat)} forecasts for {is_there.sum()} series")
        place = np.cumsum(is_there) - 1
        return y_hat[place[[series for series, _ in folds]]]

    def _sizes(self, day: int) -> Any:
        return self._panel.sizes_at(np.datetime64(day, "D"))
