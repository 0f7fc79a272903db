"""The backtest of one model: look up its folds in the cache, cut the others into chunks of fits.

`executor` sends the chunks to workers and returns their results.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pandas as pd

from forecast_assets.backtesting.cache import FoldCache, fit_key, fold_keys
from forecast_assets.backtesting.chunk import ChunkResult, failed_result
from forecast_assets.backtesting.fitting import FitConfig, FitResult, WorkChunk
from forecast_assets.backtesting.fold_data import FoldId
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    FoldForecasts,
    SeriesFolds,
    WorkerSpan,
    to_frame,
)
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import Settings
from forecast_assets.models.spec import ModelSpec

# A chunk costs 2 ms to send, and is lost if its worker ends.
CHUNK_SECONDS = 0.5
MIN_CHUNK_SECONDS = 0.05
# The cheapest fit: its measured time may be zero.
MIN_FIT_SECONDS = 1e-5


@dataclass(frozen=True)
class BacktestRequest:
    """A model and its folds; the panel holds all series of the plan."""

    model: ModelSpec
    planned: Sequence[SeriesFolds]
    panel: Panel


@dataclass(frozen=True)
class Progress:
    """The progress of a model: its known and planned folds, fits per second, seconds left."""

    model: str
    n_done: int
    n_planned: int
    fits_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        """Return one line for a log."""
        return (
            f"{self.model}: {self.n_done} of {self.n_planned} folds,"
            f" {self.fits_per_second:.1f} fits per second, {self.seconds_left:.0f} s left"
        )


@dataclass(frozen=True)
class ModelBacktest:
    """The folds of one model in the order of the plan, and what their computation cost.

    `seconds` is the time of all workers together; `peak_mb` is the memory of the largest process.
    """

    model: str
    planned: Sequence[SeriesFolds]
    folds: FoldForecasts
    n_fits: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    spans: Sequence[WorkerSpan] = ()

    @property
    def data_version(self) -> str:
        """A digest of the forecasts and errors, without their times (32 hex digits)."""
        digest = hashlib.blake2b(self.folds.y_hat.tobytes(), digest_size=16)
        for i in np.flatnonzero(~self.folds.is_forecast):
            digest.update(f"{i} {self.folds.errors[i]}\n".encode())
        return digest.hexdigest()

    def predictions(self, settings: Settings) -> pd.DataFrame:
        """Return the folds as rows of backtest_predictions."""
        horizon = settings.backtest.horizon
        return to_frame(self.model, self.planned, self.folds, horizon=horizon)


class ModelJob:
    """The folds of one request: known ones, and those that wait or are out, by the fit they need.

    `run_id` is the run whose failures count as known. Raises StoreError as the cache does.
    """

    def __init__(
        self, request: BacktestRequest, settings: Settings, cache: FoldCache, *, run_id: str
    ) -> None:
        self.request = request
        self._cache = cache
        self._config = FitConfig.of(request.model, settings)
        self._keys = fold_keys(self._config, request.planned, request.panel)
        self._folds = cache.get(request.model, self._keys, run_id=run_id)
        self._missing = self._missing_folds()
        self._waiting = deque(self._units())
        self._new_folds: dict[bytes, FoldForecast] = {}
        self._new_fits: dict[bytes, bytes] = {}
        self._max_seconds = settings.compute.model_seconds
        self._n_results = self._n_fits = 0
        self._result_seconds = self._seconds = self._peak_mb = 0.0
        self._spans: list[WorkerSpan] = []
        self._began: float | None = None

    @property
    def n_waiting(self) -> int:
        """The number of fits that are not sent yet."""
        return len(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether all folds are known."""
        return not self._missing

    def next_chunk(self, *, n_workers: int) -> WorkChunk:
        """Take the next fits: about half a second of work, less at the end, one fit at first."""
        seconds, n = self._unit_seconds(), 1
        if seconds:
            share = len(self._waiting) / (2 * n_workers)
            n = round(max(min(CHUNK_SECONDS / seconds, share), MIN_CHUNK_SECONDS / seconds, 1))
        n = min(n, len(self._waiting))
        units = [self._waiting.popleft() for _ in range(n)]
        return WorkChunk(self._config, units)

    def add_result(
        self, chunk: WorkChunk, worker: str, result: ChunkResult | None, error: str
    ) -> None:
        """Add the result of a chunk; without one, all of its folds get the error."""
        if result is None:
            self._fail(chunk.units, error)
            return
        self._waiting.extendleft(reversed(chunk.units[len(result.results) :]))
        for unit, fit in zip(chunk.units, result.results, strict=False):  # the others wait again
            self._add(unit, fit)
            self._result_seconds += fit.seconds
            self._n_results += 1
            self._n_fits += fit.n_fits
        self._seconds += result.seconds
        self._peak_mb = max(self._peak_mb, result.peak_mb)
        span = WorkerSpan(self.request.model.name, worker, result.began, result.seconds)
        self._spans.append(span)
        for series, reason in result.killed.items():
            units = [unit for unit in self._waiting if unit.series == series]
            self._fail(units, f"skipped after another fold of the series: {reason}")
        if self._seconds > self._max_seconds:
            error = f"skipped, the model has used its {self._max_seconds:g} seconds"
            self._fail(list(self._waiting), error)

    def save(self, *, run_id: str) -> None:
        """Put new folds and fits into the cache; failures belong to the run `run_id`."""
        self._cache.put(self.request.model, self._new_folds, run_id=run_id)
        self._cache.put_fits(self.request.model, self._new_fits)
        self._new_folds, self._new_fits = {}, {}

    def progress(self, *, n_workers: int, now: float) -> Progress:
        """Return the progress at a time of the caller's clock, which starts at the first call."""
        self._began = now if self._began is None else self._began
        elapsed = now - self._began
        n_planned = len(self._keys)
        return Progress(
            self.request.model.name,
            n_planned - len(self._missing),
            n_planned,
            self._n_fits / elapsed if elapsed else 0.0,
            len(self._waiting) * self._unit_seconds() / n_workers,
        )

    def result(self) -> ModelBacktest:
        """Return all folds in the order of the plan."""
        folds = [self._folds[key] for key in self._keys]
        return ModelBacktest(
            self.request.model.name,
            self.request.planned,
            FoldForecasts.of(folds, horizon=self._config.horizon),
            n_fits=self._n_fits,
            seconds=self._seconds,
            peak_mb=self._peak_mb,
            spans=self._spans,
        )

    def _missing_folds(self) -> dict[FoldId, bytes]:
        """Return the unknown folds and their keys; of equal keys only the first."""
        planned = enumerate(self.request.planned)
        folds = [(i, end) for i, series in planned for end in series.ends.tolist()]
        first: dict[bytes, FoldId] = {}
        for fold, key in zip(folds, self._keys, strict=True):
            first.setdefault(key, fold)
        return {fold: key for key, fold in first.items() if key not in self._folds}

    def _units(self) -> list[FitUnit]:
        """Group the unknown folds by the fit that they need, series by series."""
        model, panel = self.request.model, self.request.panel
        if model.is_global:
            cutoffs = {fold: int(panel.day(*fold).astype(int)) for fold in self._missing}
            anchors = {fold: _anchor_day(day, model.refit_every) for fold, day in cutoffs.items()}
            folds = sorted(self._missing, key=lambda fold: (cutoffs[fold], fold))
        else:
            cutoffs = {fold: fold[1] for fold in self._missing}
            anchors = {fold: _anchor(end, model.refit_every) for fold, end in cutoffs.items()}
            folds = list(self._missing)
        seen_before = functools.cache(functools.partial(_seen_before, panel, model))

        def fit_of(fold: FoldId) -> tuple[int, int, bytes]:
            series, anchor = ALL_SERIES if model.is_global else fold[0], anchors[fold]
            return series, anchor, seen_before(series, anchor, cutoffs[fold])

        units = [
            FitUnit(series, anchor, tuple(group))
            for (series, anchor, _), group in groupby(folds, key=fit_of)
        ]
        return self._with_fits(units) if model.refit_every > 1 else units

    def _with_fits(self, units: Sequence[FitUnit]) -> list[FitUnit]:
        """Add the known fits, and ask to keep the newest fit of each series."""
        keys = [self._fit_key(unit) for unit in units]
        known = self._cache.get_fits(self.request.model, keys)
        newest = {unit.series: unit.anchor for unit in units}
        return [
            replace(
                unit,
                fitted=known.get(key),
                is_kept=unit.anchor == newest[unit.series] and key not in known,
            )
            for unit, key in zip(units, keys, strict=True)
        ]

    def _fit_key(self, unit: FitUnit) -> bytes:
        return fit_key(self._config, self.request.panel, unit)

    def _add(self, unit: FitUnit, result: FitResult) -> None:
        for fold_id, fold in zip(unit.folds, result.folds, strict=True):
            key = self._missing.pop(fold_id)
            self._new_folds[key] = self._folds[key] = fold
        if result.fitted is not None:
            self._new_fits[self._fit_key(unit)] = result.fitted

    def _fail(self, units: Sequence[FitUnit], error: str) -> None:
        failed = set(map(id, units))
        self._waiting = deque(unit for unit in self._waiting if id(unit) not in failed)
        for unit in units:
            self._add(unit, failed_result(unit, error))

    def _unit_seconds(self) -> float:
        """Return the mean time of a fit, or zero before the first result."""
        if not self._n_results:
            return 0.0
        return max(self._result_seconds / self._n_results, MIN_FIT_SECONDS)


def _anchor(end: int, refit_every: int) -> int:
    """Return how many values the fit for a fold sees; the same from one run to the next."""
    return end - end % refit_every or end


def _anchor_day(day: int, refit_every: int) -> int:
    return day - 7 * (day // 7 % refit_every)


def _seen_before(panel: Panel, model: ModelSpec, series: int, anchor: int, cutoff: int) -> bytes:
    """Digest what differs, up to the anchor of their fit, in what folds at a cutoff see."""
    if series != ALL_SERIES:
        patch = panel.patches.get((series, cutoff))
        of_y = patch.before(anchor) if patch else b""
        if not model.with_regressors:
            return of_y
        return b"%d " % len(of_y) + of_y + panel.x[series].differs_before(cutoff, anchor)
    ends, at = panel.sizes_at(np.datetime64(anchor, "D")), np.datetime64(cutoff, "D")
    sizes = panel.sizes_at(at)
    digest = hashlib.blake2b(digest_size=16)
    for i, patch in panel.patches_at(sizes):
        of_y = patch.before(int(ends[i]))
        digest.update(b"%d %d " % (i, len(of_y)) + of_y)
    if model.with_regressors:
        digest.update(b"x")
        for i, x in enumerate(panel.x):
            of_x = x.differs_before(int(sizes[i]), int(ends[i]))
            digest.update(b"%d %d " % (i, len(of_x)) + of_x)
    return digest.digest()
