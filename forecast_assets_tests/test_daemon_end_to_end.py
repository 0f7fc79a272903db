"""The week without a person: the daemon's ticks become reports that a mail server receives."""

import os
import shutil
import struct
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from forecast_assets.config.settings import ROOT
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.dagster_runs import running
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.notification_servers import MailServer, mail_server
from forecast_assets_tests.store_builders import make_store

# Measured on two busy cores: 10 s until the daemon evaluates schedules, 25 s from tick to mail.
# A daemon that starts after the tick never knows of it, so a slow machine gets a second chance.
START_SECONDS, REPORT_SECONDS, MARGIN_SECONDS = (60, 150), 300, 5
ZONE = "Midnight_is_movable"
PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}
SETTINGS = f"""
[source]
kind = "file"
path = "source.csv"
[series]
season_length = 4
[backtest]
n_windows = 4
[models]
enabled = ["naive", "drift"]
[schedule]
cron = "0 0 * * *"
timezone = "{ZONE}"
[notify]
urls = ["env:READERS"]
[data_quality]
late = "publish"
"""


class Installation:
    """A folder with settings, a store and a Dagster instance of its own."""

    def __init__(self, folder: Path, mail: MailServer) -> None:
        self.folder, self.mail = folder, mail
        self._log = folder / "daemon.log"
        for name in ("dagster", "zones"):
            (folder / name).mkdir()
        shutil.copy(ROOT / "dagster.yaml", folder / "dagster")
        (folder / "forecast.toml").write_text(SETTINGS)
        self._environ = {
            **os.environ,
            "DAGSTER_HOME": str(folder / "dagster"),
            "FORECAST_VAR": str(folder / "var"),
            "FORECAST_CONFIG": str(folder / "forecast.toml"),
            "OMP_NUM_THREADS": "1",
            "PYTHONTZPATH": str(folder / "zones"),
            "READERS": mail.url("ann@example.org"),
        }

    def set_tick(self, tick: datetime) -> None:
        """Move midnight of the schedule's time zone: a cron expression cannot name a second."""
        since_midnight = tick.hour * 3600 + tick.minute * 60 + tick.second
        zone = struct.pack(
            ">4s16x6llbb4s", b"TZif", 0, 0, 0, 0, 1, 4, -since_midnight, 0, 0, b"LMT\0"
        )
        (self.folder / "zones" / ZONE).write_bytes(zone)

    def daemon(self) -> AbstractContextManager[object]:
        """Run the daemon; then kill it and its children, as when a machine goes down."""
        workspace = ("--workspace", str(ROOT / "workspace.yaml"))
        self._log.unlink(missing_ok=True)
        return running("dagster-daemon", "run", *workspace, environ=self._environ, log=self._log)

    def is_up_before(self, tick: datetime) -> bool:
        """Wait until the daemon evaluates sensors and schedules; tell whether the tick is ahead."""
        is_up = comes_true(
            lambda: "daemon.SensorDaemon" in self._log.read_text(), within=REPORT_SECONDS
        )
        return is_up and now() < tick - timedelta(seconds=MARGIN_SECONDS)

    def published(self) -> list[datetime]:
        """Return the `as_of` of the published forecasts."""
        store = make_store(self.folder / "var")
        return [commit.as_of for commit in store.history("next_week_forecast")]

    def wait_for_report(self, week: str) -> EmailMessage:
        """Return the mail with the report of a week; fail with the daemon's log if none comes."""
        until = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < until:
            for message in [*self.mail.mails]:
                if f"week ending {week}" in str(message["subject"]):
                    return message
            time.sleep(0.2)
        subjects = [str(message["subject"]) for message in self.mail.mails]
        log = self._log.read_text(errors="replace")[-6000:]
        pytest.fail(f"No report of {week} among {subjects}. The daemon logged:\n{log}")


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_ticks_become_mails_also_a_tick_that_the_daemon_missed(tmp_path: Path):
    write_source(tmp_path, make_series(**PANEL))
    with mail_server() as mail:
        installation = Installation(tmp_path, mail)
        for seconds in START_SECONDS:
            first = now() + timedelta(seconds=seconds)
            installation.set_tick(first)
            with installation.daemon():
                if installation.is_up_before(first):
                    report = installation.wait_for_report("2024-11-15")
                    break
        else:
            pytest.fail(f"The daemon needs more than {START_SECONDS[-1]} seconds to start")
        assert installation.published() == [first]
        assert report["to"] == "ann@example.org"
        attached = {p.get_filename(): p for p in report.iter_attachments() if p.get_filename()}
        assert {"report.html", "details.html"} <= set(attached)
        assert "drift" in str(attached["details.html"].get_content())

        write_source(tmp_path, make_series(**{name: [*y, y[-1]] for name, y in PANEL.items()}))
        missed = now()
        installation.set_tick(missed)
        with installation.daemon():
            installation.wait_for_report("2024-11-22")
        assert installation.published() == [first, missed]
