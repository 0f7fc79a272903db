"""A few fits in a child process of this one, without Dask."""

import sys
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.local_pool import LocalPool
from forecast_assets.errors import ComputeError
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.worker_builders import cache_folder, make_executor, make_request


def test_fits_run_here_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = make_settings(tmp_path, backtest={"n_windows": 2}, series={"season_length": 4})
    series = make_series(a=walk(60, seed=1), b=walk(60, seed=2))
    request = make_request("pooled_growth", series, settings)
    pool = LocalPool()
    pool.close()  # no process of another test is left
    executor = BacktestExecutor(settings, FoldCache(cache_folder(settings)), pool)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    with pytest.raises(ComputeError, match="No process for models can be started on this machine"):
        executor.run(request)
    monkeypatch.undo()
    run = executor.run(request)
    assert run.folds.is_forecast.all()
    assert (pool.n_out, pool.receive(0)) == (0, None)
    pool.close()
    known = make_executor(settings).run(request)  # it has no worker
    np.testing.assert_array_equal(known.folds.y_hat, run.folds.y_hat)
