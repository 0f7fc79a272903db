"""Runs models over their folds: what is known comes from the fold cache, the rest goes to workers.

Which folds there are, and how they are laid out as a table: `backtest`. What is left to do of one
model: `jobs`. The workers: `crew`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np
import pandas as pd

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.chunk import start_processes
from forecast_assets.backtesting.dask_pool import DaskPool, n_workers_here
from forecast_assets.backtesting.fitting import FitConfig, error_text, too_short, validate_forecast
from forecast_assets.backtesting.folds import FoldForecasts, Panel, SeriesFolds, plan
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest, ModelJob, Progress
from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import newest_week
from forecast_assets.errors import ForecastAssetsError, ModelError, StoreError
from forecast_assets.models.base import min_train_size
from forecast_assets.models.registry import find_model
from forecast_assets.storage.store import Store

OUT_PER_WORKER = 2  # one at work, one waiting: no worker waits for an answer to travel
MODELS_AHEAD = 2  # each holds its folds in memory
KEPT_EVERY_SECONDS = 2.0
# A killed run loses no more than this much work; keeping folds takes about 15 ms each time.
WAITED_SECONDS = 1.0  # between two looks at whether the workers are still there


class BacktestExecutor:
    """Answers what models say at their folds, each fold computed at most once.

    `run_id` names the run that failures belong to. Raises ModelError, StoreError and ComputeError;
    what a model does wrong is an error in its folds.
    """

    def __init__(
        self,
        settings: Settings,
        cache: FoldCache,
        crew: DaskPool,
        *,
        run_id: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings, self._cache, self._crew = settings, cache, crew
        self.run_id, self._clock = run_id, clock
        self._jobs: dict[tuple[str, int], ModelJob] = {}
        self._backtest: tuple[pd.DataFrame, Sequence[SeriesFolds], Panel] | None = None
        self._kept = clock()

    def backtests(self, series: pd.DataFrame, models: Iterable[str]) -> list[BacktestRequest]:
        """What the backtest asks of the models; the plan of the same frame is made once."""
        if self._backtest is None or self._backtest[0] is not series:
            folds = plan(series, self._settings.backtest)
            self._backtest = series, folds, Panel.of(folds)
        _, planned, panel = self._backtest
        return [
            BacktestRequest(find_model(name, self._settings), planned, panel) for name in models
        ]

    def run(
        self,
        asked: BacktestRequest,
        *,
        ahead: Iterable[BacktestRequest] = (),
        watch: Callable[[Progress], None] = lambda _: None,
        run_id: str | None = None,
    ) -> ModelBacktest:
        """Answer all folds of one model; `run_id` is the run whose failures stand, if not this one.

        Workers that it has no more work for begin with the models `ahead`, which are asked later:
        none waits for another's last fold. `watch` is told after each report that comes in.
        """
        if asked.model.is_closed_form:
            return self._formula(asked)
        job = self._job(asked, run_id)
        later: list[BacktestRequest] = []
        with suppress(ModelError):  # what is wrong with one, it says in turn
            later += [one for one in ahead if not one.model.is_closed_form][:MODELS_AHEAD]
        try:
            self._finish(job, later, watch)
        except Exception:
            with suppress(StoreError):
                self._keep(is_last=True)
            self._jobs.clear()  # what was out may never come back: who asks again begins anew
            raise
        del self._jobs[_key(asked)]
        return job.done()

    def _finish(
        self, job: ModelJob, later: Sequence[BacktestRequest], watch: Callable[[Progress], None]
    ) -> None:
        while not job.is_done:
            self._send(job, later)
            received = self._crew.receive(WAITED_SECONDS)
            if received:
                (its_job, chunk), worker, report, said = received
                its_job.take(chunk, worker, report, said)
                self._keep()
                watch(job.progress(n_workers=self._crew.n_workers, now=self._clock()))
        self._keep(is_last=True)

    @property
    def dashboard(self) -> str | None:
        """Where Dask shows what its workers do; null while none is needed."""
        return self._crew.dashboard

    def run_all(self, asked: Sequence[BacktestRequest]) -> list[ModelBacktest]:
        """Answer several models' folds, their work side by side."""
        return [self.run(one, ahead=asked[i + 1 :]) for i, one in enumerate(asked)]

    def _send(self, job: ModelJob, later: Sequence[BacktestRequest]) -> None:
        """Send chunks until every worker has one and another waits."""
        source: ModelJob | None = job
        while source := source if source and source.n_waiting else self._following(later):
            if self._crew.n_out >= OUT_PER_WORKER * self._crew.n_workers:
                return
            chunk = source.next_chunk(n_workers=self._crew.n_workers)
            self._crew.send((source, chunk), source.asked.panel, chunk)

    def _following(self, later: Sequence[BacktestRequest]) -> ModelJob | None:
        """The next model's job that has fits to send."""
        for asked in later:
            try:
                job = self._job(asked)
            except ForecastAssetsError:  # as above
                return None
            if job.n_waiting:
                return job
        return None

    def _job(self, asked: BacktestRequest, run_id: str | None = None) -> ModelJob:
        """The model's job: the one that was begun ahead of time, or a new one."""
        key = _key(asked)
        if key not in self._jobs:
            run_id = run_id or self.run_id
            self._jobs[key] = ModelJob(asked, self._settings, self._cache, run_id=run_id)
        return self._jobs[key]

    def _keep(self, *, is_last: bool = False) -> None:
        """Put what is new into the cache: every few seconds, and when a model is done."""
        if is_last or self._clock() - self._kept > KEPT_EVERY_SECONDS:
            for job in self._jobs.values():
                self._cache.put(job.asked.model, job.fresh, run_id=self.run_id)
                self._cache.put_fits(job.asked.model, job.fresh_fits)
                job.fresh, job.fresh_fits = {}, {}
            self._kept = self._clock()

    def _formula(self, asked: BacktestRequest) -> ModelBacktest:
        """Evaluate a closed form at every fold at once: nothing is fitted, so nothing is kept."""
        season_length = self._settings.series.season_length
        horizon = self._settings.backtest.horizon
        n_folds = np.array([len(one.ends) for one in asked.planned], dtype=np.int64)
        starts = np.repeat(asked.panel.starts[:-1], n_folds)
        sizes = np.concatenate([one.ends for one in asked.planned] or [starts])
        y_hat = np.full((len(sizes), horizon), np.nan)
        errors = np.full(len(sizes), None, dtype=object)
        try:
            model = asked.model.make()
            needed = min_train_size(model, season_length=season_length)
            ready = sizes >= needed
            with np.errstate(all="ignore"):  # what is not finite is an error below
                y_hat[ready] = model.forecast_folds(
                    asked.panel.y,
                    starts[ready],
                    (starts + sizes - 1)[ready],
                    h=horizon,
                    season_length=season_length,
                )
        except Exception as error:  # noqa: BLE001 - its parameters are the user's
            errors[:] = error_text(error)
        else:
            for i in np.flatnonzero(~np.isfinite(y_hat).all(axis=1)):
                said = validate_forecast(y_hat[i], horizon, 0.0).error
                errors[i] = said if ready[i] else too_short(needed, sizes[i])
                y_hat[i] = np.nan
        return ModelBacktest(
            asked.model.name, asked.planned, FoldForecasts(y_hat, np.zeros(len(sizes)), errors)
        )


def _key(asked: BacktestRequest) -> tuple[str, int]:
    return asked.model.fingerprint, id(asked.planned)


def prewarm(settings: Settings, store: Store, *, as_of: datetime) -> None:
    """Start the processes of this machine where the run is likely to need fits.

    That is, where no backtest has been published since its newest week was over. A guess wrong
    costs seconds of a core, and no more.
    """
    if not settings.compute.is_local:
        return
    try:
        commits = store.history("backtest_predictions")
        every = [find_model(name, settings) for name in settings.models.enabled]
    except ForecastAssetsError:  # what is wrong with the store or a model, their steps say
        return
    if commits and newest_week(commits[-1].as_of, settings) == newest_week(as_of, settings):
        return
    for model in every:
        if model.is_packaged and not model.is_closed_form:
            question = FitConfig(model, settings.backtest.horizon, settings.series.season_length)
            start_processes(question, n_processes=n_workers_here(settings.compute))
            return
