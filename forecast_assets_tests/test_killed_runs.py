"""Runs that are killed: whatever was reached, the store is sound and the next run is complete."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from forecast_assets.audit import verify
from forecast_assets.cli import main
from forecast_assets.versions import select
from forecast_assets_tests.stored import make_store
from forecast_assets_tests.test_cli import configure

COMMAND = [sys.executable, "-c", "from forecast_assets.cli import main; main()", "run"]
N_KILLS = 8


def start(var: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        COMMAND,
        env={**os.environ, "FORECAST_VAR": str(var)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after(seconds: float, var: Path) -> int:
    """Start a run and kill it without warning; 0 where it was done before."""
    run = start(var)
    try:
        return run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        return run.wait()


def moments(length: float) -> Iterator[float]:
    """A moment in each of equal parts of a run, its imports left out: they write nothing."""
    rng = np.random.default_rng(42)
    for part in range(N_KILLS):
        yield length * (0.25 + 0.75 * (part + rng.random()) / N_KILLS)


def forecast(var: Path) -> pd.DataFrame:
    """The newest forecast, the columns that differ from run to run left out."""
    store = make_store(var)
    columns = [c.name for c in store.tables["next_week_forecast"].columns if not c.volatile]
    return store.read(select(store, "next_week_forecast"))[columns]


def unsound(var: Path) -> list[str]:
    store = make_store(var)
    return [f"{f.asset} {f.version}: {f.problem}" for f in verify(store, store.tables) if f.problem]


def test_a_killed_run_leaves_the_store_sound_and_the_next_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configure(tmp_path, monkeypatch)
    began = time.monotonic()
    assert start(tmp_path / "undisturbed").wait() == 0
    length = time.monotonic() - began
    expected = forecast(tmp_path / "undisturbed")
    killed = {tmp_path / f"killed_{n}": at for n, at in enumerate(moments(length))}
    with ThreadPoolExecutor(1) as pool:  # one run is killed while the one before is run again
        ended = {var: pool.submit(kill_after, at, var) for var, at in killed.items()}
        for var, end in ended.items():
            assert end.result() in (0, -9)
            assert unsound(var) == []
            monkeypatch.setenv("FORECAST_VAR", str(var))
            again = CliRunner().invoke(main, ["run"], catch_exceptions=False)
            assert again.exit_code == 0, again.output
            assert unsound(var) == []
            pd.testing.assert_frame_equal(forecast(var), expected, check_exact=True)
    assert any(end.result() == -9 for end in ended.values())
