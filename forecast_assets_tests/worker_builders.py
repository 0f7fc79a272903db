"""Models run over folds as in a run of the week: on a cluster of this process, or on none."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import Panel, plan
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest
from forecast_assets.config.settings import Settings
from forecast_assets.models import ModelSpec, find_model

ODD_MODELS = '''
import random
import time
import warnings

import numpy as np

from forecast_assets.models.base import NotForThisSeries


class ConvergenceWarning(UserWarning):
    """As statsmodels and scikit-learn name theirs."""


WAYS = dict(enumerate(["raise", "nan", "long", "text", "unconverged", "declines"]))


class Odd:
    """Forecasts the last value, or goes the way it is told, else the way of the first value."""

    def __init__(self, way=None):
        self.way = way

    def fit(self, y, *, season_length):
        self.last, way = y[-1], self.way or WAYS.get(y[0], "last")
        y[:] = 0.0
        if way == "raise":
            raise RuntimeError("cannot say")
        if way == "bytes":
            raise OSError("no file \\udcff" + "." * 5000)
        if way == "declines":
            raise NotForThisSeries("it goes down")
        if way == "unconverged":
            warnings.warn("no optimum", ConvergenceWarning)
        if way == "slow":
            time.sleep(0.2)
        if way == "refuses 60" and len(y) == 60:
            raise RuntimeError("not this one")
        self.went = way
        return None if way == "nothing" else self

    def predict(self, h):
        if self.went == "late":
            warnings.warn("no optimum", ConvergenceWarning)
        said = {
            "nan": np.full(h, np.nan),
            "inf": np.r_[np.zeros(h - 1), np.inf],
            "long": np.zeros(h + 1),
            "wide": np.zeros((1, h)),
            "number": 5.0,
            "text": ["much"] * h,
        }
        return said.get(self.went, np.full(h, self.last))


class Anchored:
    """Says 1000 times the values that it was fitted to, and those that it has seen since."""

    min_train_size = 5

    def __init__(self, way=None):
        self.way = way

    def fit(self, y, *, season_length):
        if self.way == "raise":
            raise RuntimeError("cannot say")
        if self.way == "unconverged":
            warnings.warn("no optimum", ConvergenceWarning)
        if self.way == "fixed":
            self.cannot_be_pickled = lambda: None
        self.fitted, self.last, self.moved = len(y), y[-1], 0
        return self

    def update(self, y_new):
        self.moved, self.last = self.moved + len(y_new), y_new[-1]
        return self

    def predict(self, h):
        return np.full(h, 1000.0 * self.fitted + self.moved)


class Chance(Anchored):
    """Says what chance says when it is asked."""

    def predict(self, h):
        return self.last + np.random.random(h) + random.random()


class Pooled:
    """Says each series' last value, a million times the rows fitted to, and 1000 times those since.

    A series whose last value is negative gets no number.
    """

    is_global = True
    min_train_size = 3

    def __init__(self, way=None):
        self.way = way

    def fit(self, series, *, season_length):
        self.series, self.fitted, self.moved = series, len(series), 0
        return self

    def update(self, new):
        self.series, self.moved = type(new)(np.r_[self.series, new]), self.moved + len(new)
        self.series.columns = new.columns
        return self

    def predict(self, h):
        last = self.series.groupby("unique_id")["y"].last().to_numpy(dtype=float)
        said = np.where(last < 0, np.nan, last + 1e6 * self.fitted + 1e3 * self.moved)
        return np.repeat(said[:, None], h, axis=1)[: -1 if self.way == "short" else None]
'''


def odd_model(kind: str = "Odd", *, refit_every: int = 1, **params: Any) -> ModelSpec:
    """A model of the user's own, of the module that the fixture `odd_models` puts on the path."""
    return ModelSpec("odd", f"odd_models:{kind}", params=params, refit_every=refit_every)


@contextmanager
def local_crew() -> Iterator[DaskPool]:
    """Two workers in this process, started with the first chunk that is sent."""
    with ExitStack() as stack:

        def connect() -> Any:
            from dask.distributed import Client, LocalCluster  # noqa: PLC0415 - half a second

            cluster = LocalCluster(
                processes=False,
                n_workers=2,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
            )
            stack.enter_context(cluster)
            return stack.enter_context(Client(cluster, set_as_default=False))

        crew = DaskPool(connect)
        try:
            yield crew
        finally:
            crew.close()


def no_crew() -> DaskPool:
    """Workers that must not be sent anything."""

    def connect() -> Any:
        raise AssertionError("a cluster was asked for")

    return DaskPool(connect)


def make_compute(
    settings: Settings, crew: DaskPool | None = None, *, run_id: str = "run"
) -> BacktestExecutor:
    """What a run computes with; its fold cache lies below the settings' folder."""
    return BacktestExecutor(settings, fold_cache(settings), crew or no_crew(), run_id=run_id)


def fold_cache(settings: Settings) -> FoldCache:
    """The fold cache of runs with these settings."""
    return FoldCache(cache_folder(settings))


def cache_folder(settings: Settings) -> Path:
    """Where it lies."""
    return settings.var / "fold_cache"


def ask(model: ModelSpec | str, series: pd.DataFrame, settings: Settings) -> BacktestRequest:
    """What the backtest asks of a model."""
    planned = plan(series, settings.backtest)
    named = find_model(model, settings) if isinstance(model, str) else model
    return BacktestRequest(named, planned, Panel.of(planned))


def run(
    model: ModelSpec | str,
    series: pd.DataFrame,
    settings: Settings,
    crew: DaskPool | None = None,
    *,
    run_id: str = "run",
) -> ModelBacktest:
    """One model's backtest in a run of its own."""
    return make_compute(settings, crew, run_id=run_id).run(ask(model, series, settings))
