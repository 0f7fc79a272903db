"""Run the backtests of models: known folds come from the cache, workers compute the others.

`folds` plans the folds, `model_job` keeps track of one model, `dask_pool` reaches the workers.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast_assets.backtesting.benchmark_folds import benchmark_folds
from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.chunk import start_processes
from forecast_assets.backtesting.dask_pool import DaskPool, n_workers_here
from forecast_assets.backtesting.fitting import FitConfig, error_text, too_short, validate_forecast
from forecast_assets.backtesting.folds import FoldForecasts, SeriesFolds, latest_folds, plan
from forecast_assets.backtesting.known_folds import as_known
from forecast_assets.backtesting.local_pool import LocalPool
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest, ModelJob, Progress
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.vintage_folds import History
from forecast_assets.config.settings import Settings
from forecast_assets.data.regressor_frame import midnight_after
from forecast_assets.data.weekly import newest_week
from forecast_assets.errors import ForecastAssetsError, ModelError, StoreError
from forecast_assets.models.base import Positions, Values, min_train_size
from forecast_assets.models.naive import FoldPositions
from forecast_assets.models.registry import find_model
from forecast_assets.storage.store import Store

# One chunk runs and one waits, so that no worker waits for a result to travel.
CHUNKS_PER_WORKER = 2
# Models that may start early. Each holds its folds in memory.
MAX_MODELS_AHEAD = 2
# A killed run loses this much work. A write to the cache takes about 15 ms.
SAVE_INTERVAL_SECONDS = 2.0
# Time between two checks of the workers.
RECEIVE_SECONDS = 1.0
# Values of patched folds that closed forms hold at once: 32 MB of float64.
BLOCK_VALUES = 4_000_000


class BacktestPlan(NamedTuple):
    """The folds of all series, the panel of them, and one fold of each to forecast the future."""

    planned: Sequence[SeriesFolds]
    panel: Panel
    latest: Sequence[SeriesFolds]


class BacktestExecutor:
    """Runs backtests and computes each fold at most once.

    `run_id` is the run that failures belong to; `history` returns how what was known before it is
    found, None if all folds are to see today's values; `regressors` returns the table of that name,
    and `benchmarks` the table `benchmark_forecasts`.
    Methods raise ModelError, StoreError and ComputeError; whatever a model does wrong becomes an
    error of its folds.
    """

    def __init__(
        self,
        settings: Settings,
        cache: FoldCache,
        pool: DaskPool | LocalPool,
        *,
        run_id: str = "",
        history: Callable[[], History | None] = lambda: None,
        regressors: Callable[[], pd.DataFrame | None] = lambda: None,
        benchmarks: Callable[[], pd.DataFrame | None] = lambda: None,
    ) -> None:
        self._settings, self._cache, self._pool, self.run_id = settings, cache, pool, run_id
        self._history, self._regressors, self._benchmarks = history, regressors, benchmarks
        self._jobs: dict[tuple[str, int], ModelJob] = {}
        self._plan: tuple[pd.DataFrame, BacktestPlan] | None = None
        self._saved_at = time.perf_counter()

    @property
    def dashboard(self) -> str | None:
        """The address of Dask's dashboard; None while no cluster is needed."""
        return self._pool.dashboard

    def requests(self, series: pd.DataFrame, models: Iterable[str]) -> list[BacktestRequest]:
        """Return the requests for a backtest of the models."""
        planned, panel, _ = self.plan(series)
        return [
            BacktestRequest(find_model(name, self._settings), planned, panel) for name in models
        ]

    def plan(self, series: pd.DataFrame) -> "BacktestPlan":
        """Return the folds of all series, with what each sees; a frame is planned only once."""
        if self._plan is None or self._plan[0] is not series:
            folds, latest = as_known(
                plan(series, self._settings.backtest),
                latest_folds(series),
                self._settings,
                history=self._history(),
                regressors=self._regressors,
            )
            self._plan = series, BacktestPlan(folds, Panel.of(folds), latest)
        return self._plan[1]

    def run(
        self,
        request: BacktestRequest,
        *,
        ahead: Iterable[BacktestRequest] = (),
        on_progress: Callable[[Progress], None] = lambda _: None,
        run_id: str | None = None,
    ) -> ModelBacktest:
        """Run the backtest of one model.

        Free workers start with the requests `ahead`, which are run later, so that no worker waits
        for the last fold of a model. `on_progress` is called after each result. Failures of the run
        `run_id` count as known; by default those of this run.
        """
        if request.model.is_benchmark:
            return self._look_up(request)
        if request.model.is_closed_form:
            return run_closed_form(request, self._settings)
        job = self._job(request, run_id)
        later: list[BacktestRequest] = []
        with suppress(ModelError):  # it is raised when that model is run
            later += [item for item in ahead if item.model.needs_worker][:MAX_MODELS_AHEAD]
        try:
            self._finish(job, later, on_progress)
        except Exception:
            with suppress(StoreError):
                self._save(is_last=True)
            self._jobs.clear()  # chunks may be lost, so a retry must start again
            raise
        del self._jobs[_key(request)]
        return job.result()

    def run_all(self, requests: Sequence[BacktestRequest]) -> list[ModelBacktest]:
        """Run the backtests of several models, which share the workers."""
        return [self.run(item, ahead=requests[i + 1 :]) for i, item in enumerate(requests)]

    def _look_up(self, request: BacktestRequest) -> ModelBacktest:
        history, forecasts = self._history(), self._benchmarks()
        if forecasts is None:
            raise ModelError(
                f"There is no table `benchmark_forecasts`, so {request.model.name} did not run."
                f" Run the asset of that name first."
            )
        return benchmark_folds(
            request,
            forecasts,
            horizon=self._settings.backtest.horizon,
            week_ticks=history.week_ticks if history else midnight_after,
        )

    def _finish(
        self,
        job: ModelJob,
        later: Sequence[BacktestRequest],
        on_progress: Callable[[Progress], None],
    ) -> None:
        while not job.is_done:
            self._send(job, later)
            received = self._pool.receive(RECEIVE_SECONDS)
            if received:
                (sender, chunk), worker, result, error = received
                sender.add_result(chunk, worker, result, error)
                self._save()
                on_progress(job.progress(n_workers=self._pool.n_workers, now=time.perf_counter()))
        self._save(is_last=True)

    def _send(self, job: ModelJob, later: Sequence[BacktestRequest]) -> None:
        """Send chunks until each worker has one that runs and one that waits."""
        for source in self._sources(job, later):
            while source.n_waiting:
                if self._pool.n_out >= CHUNKS_PER_WORKER * self._pool.n_workers:
                    return
                chunk = source.next_chunk(n_workers=self._pool.n_workers)
                self._pool.send((source, chunk), source.request.panel, chunk)

    def _sources(self, job: ModelJob, later: Sequence[BacktestRequest]) -> Iterator[ModelJob]:
        yield job
        for request in later:
            try:
                yield self._job(request)
            except ForecastAssetsError:  # it is raised when that model is run
                return

    def _job(self, request: BacktestRequest, run_id: str | None = None) -> ModelJob:
        """Return the job that has started early, or a new one."""
        key = _key(request)
        if key not in self._jobs:
            run_id = run_id or self.run_id
            self._jobs[key] = ModelJob(request, self._settings, self._cache, run_id=run_id)
        return self._jobs[key]

    def _save(self, *, is_last: bool = False) -> None:
        """Save new folds every few seconds and at the end of a model."""
        if is_last or time.perf_counter() - self._saved_at > SAVE_INTERVAL_SECONDS:
            for job in self._jobs.values():
                job.save(run_id=self.run_id)
            self._saved_at = time.perf_counter()


def _key(request: BacktestRequest) -> tuple[str, int]:
    return request.model.fingerprint, id(request.planned)


def run_closed_form(request: BacktestRequest, settings: Settings) -> ModelBacktest:
    """Evaluate a formula at all folds at once, in this process and without the cache."""
    horizon, season_length = settings.backtest.horizon, settings.series.season_length
    planned, panel = request.planned, request.panel
    n_folds = np.array([len(series.ends) for series in planned], dtype=np.int64)
    series = np.repeat(np.arange(len(planned)), n_folds)
    sizes = np.concatenate([item.ends for item in planned] or [series])
    y_hat = np.full((len(sizes), horizon), np.nan)
    errors = np.full(len(sizes), None, dtype=object)
    is_declined = np.zeros(len(sizes), dtype=bool)
    try:
        model = request.model.make()
        min_size = min_train_size(model, season_length=season_length)
        ready = sizes >= min_size
        with np.errstate(all="ignore"):  # what is not finite becomes an error below
            for folds, y, starts in _values_of_folds(panel, series, sizes, np.flatnonzero(ready)):
                lasts = starts + sizes[folds] - 1
                positions = FoldPositions(y, starts, lasts, horizon, season_length)
                y_hat[folds] = model.forecast_folds(positions)
    except Exception as error:  # noqa: BLE001 - its parameters are the user's
        errors[:] = error_text(error)
    else:
        is_declined = ~ready
        for i in np.flatnonzero(~np.isfinite(y_hat).all(axis=1)):
            failed = validate_forecast(y_hat[i], horizon, 0.0).error
            errors[i] = failed if ready[i] else too_short(min_size, sizes[i])
            y_hat[i] = np.nan
    results = FoldForecasts(y_hat, np.zeros(len(sizes)), errors, is_declined)
    return ModelBacktest(request.model.name, planned, results)


def _values_of_folds(
    panel: Panel, series: Positions, sizes: Positions, folds: Positions
) -> Iterator[tuple[Positions, Values, Positions]]:
    """Yield folds with an array of values, and where in it the values of each begin.

    Folds that see other values than today's have copies of them, in blocks that bound memory.
    """
    is_patched = np.zeros(len(folds), dtype=bool)
    if panel.patches:
        pairs = zip(series[folds].tolist(), sizes[folds].tolist(), strict=True)
        is_patched[:] = [pair in panel.patches for pair in pairs]
    yield folds[~is_patched], panel.y, panel.starts[series[folds[~is_patched]]]
    patched = folds[is_patched]
    block = np.cumsum(sizes[patched]) // BLOCK_VALUES
    for number in np.unique(block):
        here = patched[block == number]
        copies = [panel.training(int(series[fold]), int(sizes[fold])) for fold in here]
        yield here, np.concatenate(copies), np.cumsum(sizes[here]) - sizes[here]


def prewarm(settings: Settings, store: Store, *, as_of: datetime) -> None:
    """Start model processes on this machine in the background if the run is likely to need them.

    That is when the newest week has no backtest yet. A wrong guess costs seconds of a core.
    """
    if not settings.compute.is_local:
        return
    try:
        commits = store.history("backtest_predictions")
        models = [find_model(name, settings) for name in settings.models.enabled]
    except ForecastAssetsError:  # the assets of the run raise it
        return
    if commits and newest_week(commits[-1].as_of, settings) == newest_week(as_of, settings):
        return
    fitted = [model for model in models if model.is_packaged and model.needs_worker]
    if fitted:
        config = FitConfig.of(fitted[0], settings)
        start_processes(config, n_processes=n_workers_here(settings.compute))
