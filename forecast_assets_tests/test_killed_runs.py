"""Runs that are killed, and model processes that are: the next run is complete and says the same.

Dask workers that are killed: `test_crew`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner

from forecast_assets.cli import main
from forecast_assets.storage.audit import verify
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.misbehaving_models import below, comes_true, has_ended, models_below
from forecast_assets_tests.store_builders import make_store

pytestmark = pytest.mark.alone

COMMAND = [sys.executable, "-c", "from forecast_assets.cli import main; main()", "run"]
N_KILLED_RUNS, N_KILLED_PROCESSES = 12, 8
FITTED = """
[source]
kind = "file"
path = "source.csv"
[series]
season_length = 4
[backtest]
n_windows = 40
[models]
enabled = ["naive", "ses", "auto_ets", "auto_arima"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose week has a few seconds of fits, dear ones and cheap."""
    (tmp_path / "forecast.toml").write_text(FITTED)
    write_source(tmp_path, make_series(a=walk(120, seed=1), b=walk(120, seed=2)))
    monkeypatch.setenv("FORECAST_CONFIG", str(tmp_path / "forecast.toml"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path


def start(var: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        COMMAND,
        env={**os.environ, "FORECAST_VAR": str(var)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after(seconds: float, var: Path) -> int:
    """Start a run and kill it without warning; 0 where it was done before.

    Whatever it had started ends by itself.
    """
    run = start(var)
    try:
        return run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        started = below(run.pid)
        run.kill()
        ended = run.wait()
        assert comes_true(lambda: all(has_ended(pid) for pid in started), within=10)
        return ended


def moments(length: float, n: int) -> Iterator[float]:
    """A moment in each of n equal parts of a run, its imports left out: they write nothing."""
    rng = np.random.default_rng(42)
    for part in range(n):
        yield length * (0.2 + 0.8 * (part + rng.random()) / n)


def said(var: Path, asset: str) -> pd.DataFrame:
    """The newest rows, the columns that differ from run to run left out."""
    store = make_store(var)
    columns = [c.name for c in store.tables[asset].columns if not c.volatile]
    return store.read(select(store, asset))[columns].drop(columns="fit_seconds", errors="ignore")


def unsound(var: Path) -> list[str]:
    store = make_store(var)
    return [f"{f.asset} {f.version}: {f.problem}" for f in verify(store, store.tables) if f.problem]


def refuse_other_answers(var: Path, undisturbed: Path) -> None:
    """Raise where a week says anything else than an undisturbed one, to the last bit."""
    assert unsound(var) == []
    for asset in ("backtest_predictions", "next_week_forecast"):
        pd.testing.assert_frame_equal(said(var, asset), said(undisturbed, asset), check_exact=True)


def test_the_run_after_a_killed_one_is_complete_and_says_what_an_undisturbed_one_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    began = time.monotonic()
    assert start(folder / "undisturbed").wait() == 0
    length = time.monotonic() - began
    killed = {folder / f"{n}": at for n, at in enumerate(moments(length, N_KILLED_RUNS))}
    with ThreadPoolExecutor(1) as pool:  # one run is killed while the one before is run again
        ended = {var: pool.submit(kill_after, at, var) for var, at in killed.items()}
        for var, end in ended.items():
            assert end.result() in (0, -signal.SIGKILL)
            assert unsound(var) == []
            monkeypatch.setenv("FORECAST_VAR", str(var))
            again = CliRunner().invoke(main, ["run"], catch_exceptions=False)
            assert again.exit_code == 0, again.output
            refuse_other_answers(var, folder / "undisturbed")
    assert any(end.result() == -signal.SIGKILL for end in ended.values())


def is_for_models(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "forecast_assets.backtesting.sandbox_main" in psutil.Process(pid).cmdline()
    return False


def test_processes_that_are_killed_under_a_run_are_replaced_and_no_model_is_blamed(folder: Path):
    """Each of the models' processes is killed in turn, at moments apart."""
    assert start(folder / "undisturbed").wait() == 0
    run, rng, n_killed = start(folder / "disturbed"), random.Random(42), 0  # noqa: S311 - moments
    while run.poll() is None and n_killed < N_KILLED_PROCESSES:
        time.sleep(rng.uniform(1.5, 3.0))
        if found := [pid for pid in below(run.pid) if is_for_models(pid)]:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(found), signal.SIGKILL)
                n_killed += 1
    assert run.wait(timeout=120) == 0
    assert n_killed >= 2
    refuse_other_answers(folder / "disturbed", folder / "undisturbed")


TELLING = """
[source]
kind = "file"
path = "source.csv"
[backtest]
n_windows = 60
[models]
enabled = ["naive", "telling"]
[models.telling]
factory = "unruly_models:Telling"
params = { seconds = 0.1 }
"""


def test_a_killed_run_loses_no_more_than_its_last_seconds(
    folder: Path, unruly_models: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "forecast.toml").write_text(TELLING)
    told = folder / "told"
    monkeypatch.setenv("UNRULY_TOLD", str(told))
    monkeypatch.setenv("PYTHONPATH", str(unruly_models))
    run = start(folder)
    assert comes_true(told.exists, within=60)
    time.sleep(4.5)
    run.kill()
    killed_at = time.time()
    run.wait()
    assert start(folder).wait() == 0
    fits = pd.read_csv(told, sep=" ", names=["at", "series", "n"]).groupby(["series", "n"])["at"]
    assert len(fits) >= 2 * 59
    again = fits.min()[fits.size() > 1]
    assert again.min() > killed_at - 4  # two until they are kept, and a chunk or two under way
    assert len(again) < len(fits) / 2


HANGING = """
[source]
kind = "file"
path = "source.csv"
[models]
enabled = ["naive", "hanging"]
[models.hanging]
factory = "unruly_models:Unruly"
params = { way = "hangs" }
"""


def test_a_run_that_is_interrupted_while_a_model_hangs_ends_soon_and_leaves_nothing(
    folder: Path, unruly_models: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "forecast.toml").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(unruly_models))
    run = start(folder)
    try:
        assert comes_true(lambda: len(models_below(run.pid)) == 2, within=60)
        time.sleep(2)
        started = below(run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=15) == 130
    finally:
        run.kill()
        run.wait()
    assert comes_true(lambda: all(has_ended(pid) for pid in started))
