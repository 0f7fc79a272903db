"""Write the state that `test_upgrade` upgrades: a few weeks, as commit 9e085b0 leaves them on disk.

Runs with the code of that commit alone, in a folder with `forecast.toml`, `own_models.py` and
`data/sales.csv` of the archive, below a path that may become public, on a machine whose name may:
README.md has the commands. Not a test, and not run by one.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets_tests.notification_servers import mail_server, webhook

REFUSED = "json://127.0.0.1:9/hook"
ALL_REFUSED = {"FORECAST_READERS": REFUSED, "FORECAST_ON_CALL": REFUSED}
TICKS_SECONDS = 300
FORECAST_ASSETS = "from forecast_assets.cli import main; main()"
DAGSTER = "from dagster._cli import main; main()"
ASSETS = (
    *("raw_data", "series", "backtest_predictions", "metrics", "best_model"),
    *("next_week_forecast", "forecast_accuracy", "weekly_report"),
)
SENSORS = {"the_rest_follows", "missed_week", "alarms", "new_data"}
NOT_NEEDED = ("*.log", "*.lock", "compute_logs", ".begun", ".telemetry", "*.pid", "__pycache__")


def main() -> None:
    """Write the state into the current folder, and pack it into the archive that is named."""
    archive, folder = Path(sys.argv[1]).resolve(), Path.cwd()
    os.environ.update(FORECAST_CONFIG=str(folder / "forecast.toml"), OMP_NUM_THREADS="1")
    os.environ["PYTHONPATH"] += f":{folder}"
    run_weeks(pd.read_csv("data/sales.csv", parse_dates=["ds"]))
    run_daemon(folder)
    record(folder)
    tidy(folder)
    pack(folder, archive)


def run_weeks(rows: pd.DataFrame) -> None:
    """Run three weeks, a fetch that is held back, and the week that its correction makes."""
    gap = (rows["unique_id"] == "south") & (rows["ds"] == pd.Timestamp("2025-10-03"))
    revised = (rows["unique_id"] == "north") & (rows["ds"] == pd.Timestamp("2025-12-12"))
    before = rows.assign(y=(rows["y"] - 2.5 * revised).round(2))
    with webhook() as hook:
        channels = {"FORECAST_READERS": hook.url, "FORECAST_ON_CALL": hook.url}
        write(before[~gap], until="2025-12-19")
        python(FORECAST_ASSETS, "run", "--as-of", "2025-12-22", **channels)
        with mail_server(refused=["bob@example.org"]) as mail:
            partly = mail.url("ann@example.org", "bob@example.org")
            write(rows, until="2025-12-26")
            channels |= {"FORECAST_ON_CALL": partly}
            python(FORECAST_ASSETS, "run", "--as-of", "2025-12-29", **channels)
        channels = {"FORECAST_READERS": REFUSED, "FORECAST_ON_CALL": hook.url}
        write(rows[rows["unique_id"] != "west"], until="2026-01-09")
        python(FORECAST_ASSETS, "run", exit_code=1, **channels)
    write(rows, until="2026-01-09")
    python(FORECAST_ASSETS, "run", **ALL_REFUSED)


def write(rows: pd.DataFrame, *, until: str) -> None:
    """Write the file of the source."""
    rows[rows["ds"] <= pd.Timestamp(until)].to_csv("data/sales.csv", index=False)


def python(code: str, *args: str, exit_code: int = 0, **environ: str) -> str:
    """Run a program as a process of its own and return what it prints to stdout."""
    command = [sys.executable, "-P", "-c", code, *args]
    done = subprocess.run(
        command, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != exit_code:
        sys.exit(f"{args} ended with {done.returncode}.")
    return done.stdout


def run_daemon(folder: Path) -> None:
    """Run the daemon until every sensor has run; turn one off and on again, and another one off."""
    home = folder / "var/dagster"
    os.environ["DAGSTER_HOME"] = str(home)
    checkout = Path(os.environ["PYTHONPATH"].split(":")[0])
    workspace = ("--workspace", str(checkout / "workspace.yaml"))
    command = [sys.executable, "-P", "-m", "dagster._daemon", "run", *workspace]
    environ = {**os.environ, **ALL_REFUSED}
    with subprocess.Popen(command, env=environ, start_new_session=True) as daemon:
        try:
            until = time.monotonic() + TICKS_SECONDS
            while not sensors_that_ran(home) >= SENSORS:
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(1)
        finally:
            daemon.terminate()
    for action, sensor in (
        ("stop", "the_rest_follows"),
        ("start", "the_rest_follows"),
        ("stop", "new_data"),
    ):
        python(DAGSTER, "sensor", action, sensor, *workspace)


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
        history = records("history", asset)
        versions = [row["version"] for row in history]
        shown = {n: records("show", asset, "--version", str(n)) for n in versions}
        printed[asset] = {"history": history, "show": shown}
    (folder / "printed.json").write_text(json.dumps(printed, indent=1))


def records(*args: str) -> Any:
    """Return what a command prints for programs."""
    return json.loads(python(FORECAST_ASSETS, *args, "--json"))


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
