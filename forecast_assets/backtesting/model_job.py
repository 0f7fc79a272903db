"""One model's folds on their way: which are known, which wait in which order, which came back.

Sending chunks out and keeping what comes back: `compute`.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from forecast_assets.backtesting.cache import FoldCache, fit_key, fold_keys
from forecast_assets.backtesting.chunk import ChunkResult, WorkChunk, failed_result, not_tried
from forecast_assets.backtesting.fitting import FitConfig, FitResult, FoldId
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    FoldForecasts,
    Panel,
    SeriesFolds,
    WorkerSpan,
    to_frame,
)
from forecast_assets.backtesting.sandbox import ResourceLimits
from forecast_assets.config.settings import Settings
from forecast_assets.models.spec import ModelSpec

CHUNK_SECONDS = 0.5
# Sending a chunk costs 2 ms; where a worker dies, one is lost.
LEAST_CHUNK_SECONDS = 0.05
MOST_UNITS = 20_000  # of the cheapest fits, whose cost is not known yet to be so low


@dataclass(frozen=True)
class BacktestRequest:
    """A model, and the folds that are wanted of it; the panel holds every series of the plan."""

    model: ModelSpec
    planned: Sequence[SeriesFolds]
    panel: Panel


@dataclass(frozen=True)
class Progress:
    """How far a model is: folds known of folds planned, fits a second, seconds left."""

    model: str
    n_done: int
    n_planned: int
    fits_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"{self.model}: {self.n_done} of {self.n_planned} folds,"
            f" {self.fits_per_second:.1f} fits a second, {self.seconds_left:.0f} s left"
        )


@dataclass(frozen=True)
class ModelBacktest:
    """One model's folds, in the order of the plan, and what they cost this time."""

    model: str
    planned: Sequence[SeriesFolds]
    folds: FoldForecasts
    n_fits: int = 0
    seconds: float = 0.0  # of all workers together
    peak_mb: float = 0.0  # of the largest process that it ran in
    spans: Sequence[WorkerSpan] = ()

    @property
    def data_version(self) -> str:
        """Identify what the folds said, their times left out (32 hex digits)."""
        digest = hashlib.blake2b(self.folds.y_hat.tobytes(), digest_size=16)
        for i in np.flatnonzero(~self.folds.is_forecast):
            digest.update(f"{i} {self.folds.errors[i]}\n".encode())
        return digest.hexdigest()

    def predictions(self, settings: Settings) -> pd.DataFrame:
        """The folds as rows of backtest_predictions."""
        horizon = settings.backtest.horizon
        return to_frame(self.model, self.planned, self.folds, horizon=horizon)


class ModelJob:
    """What is asked of one model, less what the cache knows, cut into fits."""

    def __init__(
        self, asked: BacktestRequest, settings: Settings, cache: FoldCache, *, run_id: str
    ) -> None:
        self.asked = asked
        self.fresh: dict[bytes, FoldForecast] = {}
        self.fresh_fits: dict[bytes, bytes] = {}
        self._horizon = settings.backtest.horizon
        self._season_length = settings.series.season_length
        self._keys = fold_keys(
            asked.planned,
            asked.model,
            asked.panel,
            horizon=self._horizon,
            season_length=self._season_length,
        )
        self._known = cache.get(asked.model, self._keys, run_id=run_id)
        known_seconds = [fold.fit_seconds for fold in self._known.values()]
        self._fold_seconds = float(np.mean(known_seconds)) if known_seconds else None
        self._unknown = self._missing()
        self._waiting = deque(self._units(cache))
        self._allowed_seconds = settings.compute.model_seconds
        a_fold = settings.compute.fold_seconds
        self._budget = ResourceLimits(
            self._allowed_seconds if asked.model.is_global else a_fold, settings.compute.memory_mb
        )
        self._n_answered = self._n_fits = 0
        self._answered_seconds = self._seconds = self._peak_mb = 0.0
        self._spans: list[WorkerSpan] = []
        self._began: float | None = None

    @property
    def n_waiting(self) -> int:
        """How many fits are not sent yet."""
        return len(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether every fold is known."""
        return not self._unknown

    def next_chunk(self, *, n_workers: int) -> WorkChunk:
        """Take the next fits: about half a second of work, less where little is left."""
        cost = self._unit_seconds()
        n = 1  # until it is known what one costs
        if cost is not None:
            share = len(self._waiting) / (2 * n_workers)
            n = round(max(min(CHUNK_SECONDS / cost, share), LEAST_CHUNK_SECONDS / cost, 1))
        n = min(n, len(self._waiting), MOST_UNITS)
        units = [self._waiting.popleft() for _ in range(n)]
        model = self.asked.model
        question = FitConfig(model, self._horizon, self._season_length)
        return WorkChunk(question, model.fingerprint, units, self._budget)

    def take(self, chunk: WorkChunk, worker: str, report: ChunkResult | None, said: str) -> None:
        """Take in what came back of a chunk, or why nothing did."""
        if report is None:
            for unit in chunk.units:
                self._answered(unit, failed_result(unit, said))
            return
        self._waiting.extendleft(reversed(chunk.units[len(report.answers) :]))
        for unit, answer in zip(chunk.units, report.answers, strict=False):  # the first of them
            self._answered(unit, answer)
            self._answered_seconds += answer.seconds
            self._n_answered += 1
            self._n_fits += answer.n_fits
        self._seconds += report.seconds
        self._peak_mb = max(self._peak_mb, report.peak_mb)
        self._spans.append(WorkerSpan(self.asked.model.name, worker, report.began, report.seconds))
        for series, why in report.ended.items():
            self._give_up([unit for unit in self._waiting if unit.series == series], not_tried(why))
        if self._seconds > self._allowed_seconds:
            spent = f"not tried: the model had used up its {self._allowed_seconds:g} seconds"
            self._give_up(list(self._waiting), spent)

    def progress(self, *, n_workers: int, now: float) -> Progress:
        """How far the job is at a moment of the caller's clock; the first call starts its time."""
        self._began = now if self._began is None else self._began
        elapsed = now - self._began
        left = len(self._waiting) * (self._unit_seconds() or 0.0) / n_workers
        n_planned = len(self._keys)
        return Progress(
            self.asked.model.name,
            n_planned - len(self._unknown),
            n_planned,
            self._n_fits / elapsed if elapsed else 0.0,
            left,
        )

    def done(self) -> ModelBacktest:
        """All folds, in the order of the plan."""
        in_order = [self._known[key] for key in self._keys]
        return ModelBacktest(
            self.asked.model.name,
            self.asked.planned,
            FoldForecasts.of(in_order, horizon=self._horizon),
            n_fits=self._n_fits,
            seconds=self._seconds,
            peak_mb=self._peak_mb,
            spans=self._spans,
        )

    def _missing(self) -> dict[FoldId, bytes]:
        """The folds that nobody knows, with their keys; of several with the same key, the first."""
        found: dict[FoldId, bytes] = {}
        seen = set(self._known)
        keys = iter(self._keys)
        for i, one in enumerate(self.asked.planned):
            for end, key in zip(one.ends.tolist(), keys, strict=False):
                if key not in seen:
                    seen.add(key)
                    found[i, end] = key
        return found

    def _units(self, cache: FoldCache) -> list[FitUnit]:
        """The unknown folds by the fit that serves them, series by series."""
        k = self.asked.model.refit_every
        if self.asked.model.is_global:
            day_of = {fold: int(self.asked.panel.day(*fold).astype(int)) for fold in self._unknown}
            in_order = sorted(self._unknown, key=lambda fold: (day_of[fold], fold))
            place = {fold: (ALL_SERIES, _anchor_day(day_of[fold], k)) for fold in in_order}
        else:
            in_order = list(self._unknown)
            place = {(i, end): (i, _anchor(end, k)) for i, end in in_order}
        units = [
            FitUnit(series, anchor, tuple(folds))
            for (series, anchor), folds in groupby(in_order, key=place.__getitem__)
        ]
        return self._with_fits(units, cache) if k > 1 else units

    def _with_fits(self, units: Sequence[FitUnit], cache: FoldCache) -> list[FitUnit]:
        """The units with the fits that are known; each series' newest one will be kept."""
        model = self.asked.model
        keys = [self._fit_key(unit) for unit in units]
        known = cache.get_fits(model, keys)
        newest = {unit.series: unit.anchor for unit in units}
        return [
            FitUnit(
                unit.series,
                unit.anchor,
                unit.folds,
                fitted=known.get(key),
                is_kept=unit.anchor == newest[unit.series] and key not in known,
            )
            for unit, key in zip(units, keys, strict=True)
        ]

    def _fit_key(self, unit: FitUnit) -> bytes:
        return fit_key(
            self.asked.model,
            self.asked.panel,
            unit.series,
            unit.anchor,
            season_length=self._season_length,
        )

    def _answered(self, unit: FitUnit, answer: FitResult) -> None:
        for fold_id, fold in zip(unit.folds, answer.folds, strict=True):
            key = self._unknown.pop(fold_id)
            self.fresh[key] = self._known[key] = fold
        if answer.fitted is not None:
            self.fresh_fits[self._fit_key(unit)] = answer.fitted

    def _give_up(self, units: Sequence[FitUnit], said: str) -> None:
        given_up = set(map(id, units))
        self._waiting = deque(unit for unit in self._waiting if id(unit) not in given_up)
        for unit in units:
            self._answered(unit, failed_result(unit, said))

    def _unit_seconds(self) -> float | None:
        """What a fit costs: as measured in this run, else as last time; null where nobody knows."""
        if self._n_answered:
            return max(self._answered_seconds / self._n_answered, 1e-6)
        if self._fold_seconds is None or not self._waiting:
            return None
        folds_each = len(self._unknown) / len(self._waiting)
        return max(self._fold_seconds * folds_each, 1e-6)


def _anchor(end: int, k: int) -> int:
    """How many values the fit sees that serves the fold at `end`; the same week after week."""
    return end - end % k or end


def _anchor_day(day: int, k: int) -> int:
    return day - 7 * (day // 7 % k)
