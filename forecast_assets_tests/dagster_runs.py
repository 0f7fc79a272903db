"""Runs of the weekly job and of single assets in this process, and processes of Dagster."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg

from forecast_assets.config.settings import ROOT, Settings
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.runs import process_identity
from forecast_assets_tests.builders import make_series, walk, week_settings

PANEL = {"a": walk(45, seed=1), "b": walk(45, seed=2), "c": walk(45, seed=3)}
MODELS = ("naive", "window_average")


def small_week(folder: Path, **tables: Mapping[str, Any]) -> Settings:
    """Make settings of a week of three series, two models and three folds; write its source."""
    small = {"models": {"enabled": MODELS}, "backtest": {"n_windows": 3}}
    return week_settings(folder, make_series(**PANEL), **{**small, **tables})


def run_week(
    settings: Settings, instance: dg.DagsterInstance, **tags: str
) -> dg.ExecuteInProcessResult:
    """Run the weekly job in this process."""
    job = build_defs(settings).resolve_job_def("weekly_forecast")
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def materialize(
    settings: Settings, instance: dg.DagsterInstance, *assets: str, **tags: str
) -> dg.ExecuteInProcessResult:
    """Run some assets in this process, as the UI and `dagster asset materialize` do."""
    keys = [dg.AssetKey(asset) for asset in assets]
    job = build_defs(settings).resolve_implicit_job_def_def_for_assets(keys)
    assert job is not None
    return job.execute_in_process(
        instance=instance, asset_selection=keys, tags=tags, raise_on_error=False
    )


def dead_process() -> str:
    """Return the identity of a process that has ended."""
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        identity = process_identity(process.pid)
        process.communicate(b"\n")
    assert identity is not None
    return identity


@contextmanager
def running(
    program: str, *args: str, environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of the environment in a process group; kill the group afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *args],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
