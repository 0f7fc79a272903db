"""Killed runs and killed model processes: the next run is complete and gives the same forecasts.

`backtesting/test_dask_pool.py` kills Dask workers.
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
import pytest
from click.testing import CliRunner

from forecast_assets.cli import main
from forecast_assets.storage.audit import verify
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.misbehaving_models import (
    child_processes,
    comes_true,
    has_ended,
    model_processes,
)
from forecast_assets_tests.store_builders import make_store

pytestmark = pytest.mark.alone

COMMAND = [sys.executable, "-c", "from forecast_assets.cli import main; main()", "run"]
N_KILLED_RUNS, N_KILLED_PROCESSES = 4, 3
FITTED = """
[source]
kind = "file"
path = "source.csv"
[series]
season_length = 4
[backtest]
n_windows = 25
[models]
enabled = ["naive", "ses", "auto_ets", "auto_arima"]
"""
LOGGING = """
[source]
kind = "file"
path = "source.csv"
[backtest]
n_windows = 40
[models]
enabled = ["naive", "logging"]
[models.logging]
factory = "user_models:Misbehaving"
params = { way = "logs", seconds = 0.1 }
"""
HANGING = """
[source]
kind = "file"
path = "source.csv"
[models]
enabled = ["naive", "hanging"]
[models.hanging]
factory = "user_models:Misbehaving"
params = { way = "hangs" }
"""


def write_settings(folder: Path, settings: str) -> dict[str, str]:
    """Write settings and data into a folder, and return the variables that point to them."""
    (folder / "forecast.toml").write_text(settings)
    write_source(folder, make_series(a=walk(120, seed=1), b=walk(120, seed=2)))
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return {**environment, "FORECAST_CONFIG": str(folder / "forecast.toml")}


def start(environment: dict[str, str], var: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        COMMAND,
        env={**environment, "FORECAST_VAR": str(var)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Week:
    """The settings of a week with a few seconds of fits, and an undisturbed run of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, write_settings(folder, FITTED)
        began = time.monotonic()
        assert start(self.environment, folder / "undisturbed").wait() == 0
        self.seconds = time.monotonic() - began

    def check(self, var: Path) -> None:
        """Fail if the newest tables differ from the undisturbed ones in a single bit."""
        assert damage(var) == []
        for asset in ("backtest_predictions", "next_week_forecast"):
            pd.testing.assert_frame_equal(
                newest(var, asset), newest(self.folder / "undisturbed", asset), check_exact=True
            )


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Week:
    return Week(tmp_path_factory.mktemp("week"))


def newest(var: Path, asset: str) -> pd.DataFrame:
    """The newest rows, without the columns that differ from run to run."""
    store = make_store(var)
    columns = [c.name for c in store.tables[asset].columns if not c.volatile]
    return store.read(select(store, asset))[columns].drop(columns="fit_seconds", errors="ignore")


def damage(var: Path) -> list[str]:
    store = make_store(var)
    return [f"{f.asset} {f.version}: {f.problem}" for f in verify(store, store.tables) if f.problem]


def kill_after(seconds: float, week: Week, var: Path) -> int:
    """Start a run, kill it, and return its exit code; its children must end by themselves."""
    run = start(week.environment, var)
    try:
        return run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        children = child_processes(run.pid)
        run.kill()
        code = run.wait()
        assert comes_true(lambda: all(has_ended(pid) for pid in children), within=10)
        return code


def kill_times(seconds: float, n: int) -> Iterator[float]:
    """A time in each of n equal parts of a run, after its imports, which write nothing."""
    rng = np.random.default_rng(42)
    for part in range(n):
        yield seconds * (0.3 + 0.7 * (part + rng.random()) / n)


def test_the_run_after_a_killed_one_is_complete_and_gives_the_same_forecasts(
    week: Week, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORECAST_CONFIG", week.environment["FORECAST_CONFIG"])
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    times = enumerate(kill_times(week.seconds, N_KILLED_RUNS))
    with ThreadPoolExecutor(1) as pool:  # the next run is killed while this one is repeated
        codes = {
            week.folder / f"{n}": pool.submit(kill_after, at, week, week.folder / f"{n}")
            for n, at in times
        }
        for var, code in codes.items():
            assert code.result() in (0, -signal.SIGKILL)
            assert damage(var) == []
            monkeypatch.setenv("FORECAST_VAR", str(var))
            again = CliRunner().invoke(main, ["run"], catch_exceptions=False)
            assert again.exit_code == 0, again.output
            week.check(var)
    assert any(code.result() == -signal.SIGKILL for code in codes.values())


def test_killed_model_processes_are_replaced_and_no_model_is_blamed(week: Week):
    run, rng, n_killed = start(week.environment, week.folder / "disturbed"), random.Random(42), 0  # noqa: S311 - times
    while run.poll() is None and n_killed < N_KILLED_PROCESSES:
        time.sleep(rng.uniform(0.3, 0.8))
        if pids := model_processes(run.pid):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
                n_killed += 1
    assert run.wait(timeout=120) == 0
    assert n_killed >= 2
    week.check(week.folder / "disturbed")


def test_a_killed_run_loses_only_its_last_seconds(tmp_path: Path, user_models: Path):
    file = tmp_path / "log"
    environment = write_settings(tmp_path, LOGGING)
    environment |= {"MODEL_LOG": str(file), "PYTHONPATH": str(user_models)}
    run = start(environment, tmp_path)
    assert comes_true(file.exists, within=60)
    time.sleep(3.0)
    run.kill()
    killed_at = time.time()
    run.wait()
    assert start(environment, tmp_path).wait() == 0
    fits = pd.read_csv(file, sep=" ", names=["at", "series", "n"]).groupby(["series", "n"])["at"]
    assert len(fits) >= 2 * 39
    repeated = fits.min()[fits.size() > 1]
    # Folds are saved every two seconds, and one or two chunks are out.
    assert repeated.min() > killed_at - 4
    assert len(repeated) < len(fits)


def test_an_interrupted_run_ends_soon_and_leaves_no_process(tmp_path: Path, user_models: Path):
    environment = {**write_settings(tmp_path, HANGING), "PYTHONPATH": str(user_models)}
    run = start(environment, tmp_path)
    try:
        assert comes_true(lambda: len(model_processes(run.pid)) == 2, within=60)
        time.sleep(1)
        children = child_processes(run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=15) == 130
    finally:
        run.kill()
        run.wait()
    assert comes_true(lambda: all(has_ended(pid) for pid in children))
