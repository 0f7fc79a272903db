"""Write the state that `test_upgrade` upgrades: a few weeks, as commit 9e085b0 leaves them on disk.

Runs with the code of that commit alone, in an empty folder below a path that may become public, on
a machine whose name may: README.md has the commands. Not a test, and not run by one.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from forecast_assets_tests.notification_servers import mail_server, webhook

SETTINGS = """\
[source]
kind = "file"
path = "data/sales.csv"

[series]
season_length = 4
[series.units]
"*" = "tonnes"

[verdict]
late = "publish"
gaps = "warn"
vanished_series = "hold"

[backtest]
n_windows = 6

[models]
enabled = ["naive", "ses", "theta", "momentum"]

[models.momentum]
factory = "own_models:Momentum"
params = { weeks = 3 }

[compute]
workers = 1

[schedule]
cron = "0 0 * * MON"
poll = "7d"

[notify]
urls = ["env:FORECAST_READERS"]

[[notify.rules]]
urls = ["env:FORECAST_ON_CALL"]
events = ["run_failed", "check_failed", "week_missed"]
"""
OWN_MODELS = '''\
"""A model of the user's own."""


class Momentum:
    """The last value, and on by the mean step of the last few weeks."""

    min_train_size = 8

    def __init__(self, weeks=4):
        self.weeks = weeks

    def fit(self, y, *, season_length):
        self.y = y
        return self

    def update(self, y_new):
        self.y = [*self.y, *y_new]

    def predict(self, h):
        step = (self.y[-1] - self.y[-1 - self.weeks]) / self.weeks
        return [self.y[-1] + step * ahead for ahead in range(1, h + 1)]
'''
SERIES = ("north", "south", "west")
N_WEEKS = 64
LAST = pd.Timestamp("2026-01-09")
REFUSED = "json://127.0.0.1:9/hook"
TICKS_SECONDS = 300
COMMAND_LINE = "from forecast_assets.cli import main; main()"
ASSETS = (
    "raw_data",
    "series",
    "backtest_predictions",
    "metrics",
    "best_model",
    "next_week_forecast",
    "forecast_accuracy",
    "weekly_report",
)
SENSORS = {"the_rest_follows", "missed_week", "alarms", "new_data"}
NOT_NEEDED = ("*.log", "*.lock", "compute_logs", ".begun", ".telemetry", "*.pid")


def main() -> None:
    """Write the state into the current folder, and pack it into the archive that is named."""
    archive, folder = Path(sys.argv[1]).resolve(), Path.cwd()
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty.")
    (folder / "forecast.toml").write_text(SETTINGS)
    (folder / "own_models.py").write_text(OWN_MODELS)
    (folder / "data").mkdir()
    os.environ.update(FORECAST_CONFIG=str(folder / "forecast.toml"), OMP_NUM_THREADS="1")
    os.environ["PYTHONPATH"] += f":{folder}"
    run_weeks()
    run_daemon(folder)
    record(folder)
    tidy(folder)
    pack(folder, archive)


def run_weeks() -> None:
    """Run three weeks, a fetch that is held back, and the week that its correction makes."""
    rows = make_rows()
    with webhook() as hook:
        gap = (rows["unique_id"] == "south") & (rows["ds"] == pd.Timestamp("2025-10-03"))
        channels = {"FORECAST_READERS": hook.url, "FORECAST_ON_CALL": hook.url}
        write(rows[~gap], until="2025-12-19")
        forecast_assets("run", "--as-of", "2025-12-22", **channels)
        with mail_server(refused=["bob@example.org"]) as mail:
            revised = (rows["unique_id"] == "north") & (rows["ds"] == pd.Timestamp("2025-12-12"))
            rows.loc[revised, "y"] += 2.5
            partly = mail.url("ann@example.org", "bob@example.org")
            write(rows, until="2025-12-26")
            channels |= {"FORECAST_ON_CALL": partly}
            forecast_assets("run", "--as-of", "2025-12-29", **channels)
        channels = {"FORECAST_READERS": REFUSED, "FORECAST_ON_CALL": hook.url}
        write(rows[rows["unique_id"] != "west"], until="2026-01-09")
        forecast_assets("run", exit_code=1, **channels)
    write(rows, until="2026-01-09")
    forecast_assets("run", FORECAST_READERS=REFUSED, FORECAST_ON_CALL=REFUSED)


def make_rows() -> pd.DataFrame:
    """Return the rows of the source: a random walk with a season of four weeks for each series."""
    rng = np.random.default_rng(7)
    ds = pd.date_range(end=LAST, periods=N_WEEKS, freq="W-FRI")
    season = np.tile([4.0, 0.0, -3.0, -1.0], N_WEEKS // 4)
    frames = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": ds,
                "y": (200 + season + rng.normal(size=N_WEEKS).cumsum()).round(2),
            }
        )
        for name in SERIES
    ]
    return pd.concat(frames, ignore_index=True)


def write(rows: pd.DataFrame, *, until: str) -> None:
    """Write the file of the source."""
    rows[rows["ds"] <= pd.Timestamp(until)].to_csv("data/sales.csv", index=False)


def forecast_assets(*args: str, exit_code: int = 0, **environ: str) -> None:
    """Run a command of the package."""
    python(COMMAND_LINE, *args, exit_code=exit_code, **environ)


def dagster(*args: str) -> None:
    """Run a command of Dagster."""
    python("from dagster._cli import main; main()", *args)


def python(code: str, *args: str, exit_code: int = 0, **environ: str) -> None:
    """Run a program as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *args], env={**os.environ, **environ}, check=False
    )
    if done.returncode != exit_code:
        sys.exit(f"{args} ended with {done.returncode}.")


def run_daemon(folder: Path) -> None:
    """Run the daemon until every sensor has run; turn one off and on again, and another one off."""
    home = folder / "var/dagster"
    os.environ["DAGSTER_HOME"] = str(home)
    checkout = Path(os.environ["PYTHONPATH"].split(":")[0])
    workspace = ("--workspace", str(checkout / "workspace.yaml"))
    refused: Mapping[str, str] = {"FORECAST_READERS": REFUSED, "FORECAST_ON_CALL": REFUSED}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "dagster._daemon", "run", *workspace],
        env={**os.environ, **refused},
        start_new_session=True,
    ) as daemon:
        try:
            wait_for(lambda: sensors_that_ran(home) >= SENSORS)
        finally:
            daemon.terminate()
    dagster("sensor", "stop", "the_rest_follows", *workspace)
    dagster("sensor", "start", "the_rest_follows", *workspace)
    dagster("sensor", "stop", "new_data", *workspace)


def wait_for(is_done: Callable[[], bool]) -> None:
    """Return when it is done. Raises TimeoutError."""
    until = time.monotonic() + TICKS_SECONDS
    while not is_done():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(1)


def sensors_that_ran(home: Path) -> set[str]:
    """Return the sensors that had a tick."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {
            state.instigator_name
            for state in instance.all_instigator_state()
            if getattr(state.instigator_data, "last_tick_timestamp", None)
        }


def record(folder: Path) -> None:
    """Write what the commands that look back print of every version."""
    printed = {}
    for asset in ASSETS:
        history = printed_by("history", asset)
        versions = [row["version"] for row in history]
        shown = {n: printed_by("show", asset, "--version", str(n)) for n in versions}
        printed[asset] = {"history": history, "show": shown}
    (folder / "printed.json").write_text(json.dumps(printed, indent=1))


def printed_by(*args: str) -> Any:
    """Return what a command prints for programs."""
    command = [sys.executable, "-P", "-c", COMMAND_LINE, *args, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def tidy(folder: Path) -> None:
    """Delete what no upgrade needs, and make the databases small."""
    for pattern in NOT_NEEDED:
        for path in [*folder.rglob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in folder.rglob("*"):
        if path.suffix in {".db", ".sqlite"}:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.execute("VACUUM")
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache)


def pack(folder: Path, archive: Path) -> None:
    """Pack the folder, its files owned by nobody in particular."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=anonymous)


if __name__ == "__main__":
    main()
