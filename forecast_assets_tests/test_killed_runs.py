"""Killed runs: the next run is complete and gives the same forecasts.

`backtesting/test_chunk.py` kills model processes, `backtesting/test_dask_pool.py` Dask workers.
"""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.backtesting import executor
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.storage.audit import verify
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.cli_runner import COMMAND, configure, output_of
from forecast_assets_tests.misbehaving_models import (
    child_processes,
    comes_true,
    has_ended,
    model_processes,
    user_model,
)
from forecast_assets_tests.store_builders import make_store
from forecast_assets_tests.worker_builders import cache_folder, make_executor, make_request

N_FITS = 40
SETTINGS = """
source = { kind = "file", path = "source.csv" }
backtest = { n_windows = 20 }
compute = { workers = 1 }
[models]
enabled = ["naive", "slow"]
[models.slow]
factory = "user_models:Misbehaving"
params = { way = "logs", seconds = 0.1 }  # four seconds of fits: folds are saved every two
"""


def prepare(folder: Path, user_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Select settings and data in a folder, and a file for the log of the fits."""
    configure(folder, monkeypatch, SETTINGS)
    (folder / "log").touch()
    monkeypatch.setenv("MODEL_LOG", str(folder / "log"))
    monkeypatch.setenv("PYTHONPATH", str(user_models))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, user_models: Path) -> Path:
    """Return the folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare(folder, user_models, monkeypatch)
        output_of("run")
    return folder


@pytest.fixture
def folder(tmp_path: Path, user_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that is to be disturbed."""
    prepare(tmp_path, user_models, monkeypatch)
    return tmp_path


@contextmanager
def started() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a run in a process of its own; kill it afterwards, if it still runs."""
    run = subprocess.Popen([*COMMAND, "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def kill_when(condition: Callable[[], bool], folder: Path) -> None:
    """Start a run, and kill it at a moment; its children must end by themselves."""
    with started() as run:
        assert comes_true(condition, within=120)
        children = child_processes(run.pid)
        run.kill()
        assert run.wait() == -signal.SIGKILL
    assert comes_true(lambda: all(has_ended(pid) for pid in children), within=30)
    assert damage(folder) == []


def n_fits(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def n_saved(cache: Path) -> int:
    """Return the number of folds in a cache that may not exist yet."""
    files = [*cache.glob("*.sqlite")]
    if not files:
        return 0
    try:
        with closing(sqlite3.connect(f"file:{files[0]}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM fold").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def newest(folder: Path, asset: str) -> pd.DataFrame:
    """Return the newest rows, without the columns that differ from run to run."""
    store = make_store(folder)
    columns = [c.name for c in store.tables[asset].columns if not c.volatile]
    return store.read(select(store, asset))[columns].drop(columns="fit_seconds", errors="ignore")


def damage(folder: Path) -> list[str]:
    store = make_store(folder)
    return [f"{f.asset} {f.version}: {f.problem}" for f in verify(store, store.tables) if f.problem]


def check_same(folder: Path, undisturbed: Path) -> None:
    """Fail if the newest tables differ from the undisturbed ones in a single bit."""
    assert damage(folder) == []
    for asset in ("backtest_predictions", "next_week_forecast"):
        pd.testing.assert_frame_equal(
            newest(folder, asset), newest(undisturbed, asset), check_exact=True
        )


def test_the_run_after_killed_ones_is_complete_and_gives_the_same_forecasts(
    folder: Path, undisturbed: Path
):
    """Each run is killed later than the one before; what was saved is not computed again."""
    store, cache = folder / "store", folder / "fold_cache"
    kill_when(lambda: n_saved(cache) > 0, folder)
    n_kept, n_repeated = n_saved(cache), n_fits(folder) - n_saved(cache)
    assert 0 < n_kept + n_repeated < N_FITS
    kill_when((store / "next_week_forecast").exists, folder)
    output_of("run")
    assert n_fits(folder) == N_FITS + n_repeated
    check_same(folder, undisturbed)


@pytest.mark.parametrize(("seconds", "is_saved"), [(3600, False), (0, True)])
def test_folds_are_saved_at_the_first_result_after_an_interval(
    folder: Path,
    dask_pool: DaskPool,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    *,
    is_saved: bool,
):
    monkeypatch.setattr(executor, "SAVE_INTERVAL_SECONDS", seconds)
    settings = make_settings(folder)
    cache, progress = cache_folder(settings), list[tuple[int, int]]()
    make_executor(settings, dask_pool).run(
        make_request(user_model(), make_series(a=walk(40, seed=1)), settings),
        on_progress=lambda done: progress.append((done.n_done, n_saved(cache))),
    )
    assert len(progress) > 2
    assert all(saved == (done if is_saved else 0) for done, saved in progress)
    assert n_saved(cache) == progress[-1][0]


def test_an_interrupted_run_ends_soon_and_leaves_no_process(folder: Path):
    (folder / "forecast.toml").write_text(SETTINGS.replace("0.1", "3600"))
    with started() as run:
        assert comes_true(lambda: len(model_processes(run.pid)) == 1, within=120)
        time.sleep(1)
        children = child_processes(run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=45) == 130  # a fit may take 60 seconds
    assert comes_true(lambda: all(has_ended(pid) for pid in children), within=30)
