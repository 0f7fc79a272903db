"""The week without a person: the daemon's ticks become reports that a mail server receives.

Ticks come a minute apart: a cron expression knows nothing shorter.
"""

import os
import shutil
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import ROOT
from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.dagster_runs import running
from forecast_assets_tests.notification_servers import MailServer, mail_server

# Measured on two busy cores: 10 s until the daemon evaluates schedules, 25 s from tick to mail.
START_SECONDS, RUN_SECONDS = 25, 150
PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}
SETTINGS = """
[source]
kind = "file"
path = "{source}"
[series]
season_length = 4
[backtest]
n_windows = 8
[models]
enabled = ["naive", "drift", "seasonal_naive"]
[schedule]
cron = "{minutes} * * * *"
timezone = "UTC"
[notify]
urls = ["env:READERS"]
[data_quality]
late = "publish"
"""


class Installation:
    """A folder with settings and a Dagster instance, and the daemon that runs on them."""

    def __init__(self, folder: Path, mail: MailServer) -> None:
        self.folder, self.home = folder, folder / "dagster"
        self.home.mkdir()
        shutil.copy(ROOT / "dagster.yaml", self.home)
        self._environ = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "FORECAST_VAR": str(folder / "var"),
            "FORECAST_CONFIG": str(folder / "forecast.toml"),
            "OMP_NUM_THREADS": "1",
            "READERS": mail.url("ann@example.org"),
        }

    def configure(self, *ticks: datetime) -> None:
        """Set the schedule to the minutes of these times, in every hour."""
        minutes = ",".join(str(tick.minute) for tick in ticks)
        text = SETTINGS.format(source=self.folder / "source.csv", minutes=minutes)
        (self.folder / "forecast.toml").write_text(text)

    def daemon(self) -> AbstractContextManager[object]:
        """Run the daemon; then kill it and its children, as when a machine goes down."""
        workspace = ("--workspace", str(ROOT / "workspace.yaml"))
        log = self.folder / "daemon.log"
        return running("dagster-daemon", "run", *workspace, environ=self._environ, log=log)

    def published(self) -> list[datetime]:
        """Return the `as_of` of the published forecasts."""
        store = build_store(load(self._environ))
        return [commit.as_of for commit in store.history("next_week_forecast")]

    def wait_for_report(self, mail: MailServer, week: str) -> EmailMessage:
        """Return the mail with the report of a week; fail with the daemon's log if none comes."""
        until = time.monotonic() + 60 + RUN_SECONDS
        while time.monotonic() < until:
            for message in [*mail.mails]:
                if f"week ending {week}" in str(message["subject"]):
                    return message
            time.sleep(0.5)
        subjects = [str(message["subject"]) for message in mail.mails]
        log = (self.folder / "daemon.log").read_text(errors="replace")[-6000:]
        pytest.fail(f"No report of {week} among {subjects}. The daemon logged:\n{log}")


def full_minute(after: timedelta) -> datetime:
    """Return the first full minute that is at least so far ahead."""
    ahead = datetime.now(UTC) + after + timedelta(minutes=1)
    return ahead.replace(second=0, microsecond=0)


def attached_report(mail: EmailMessage) -> str:
    """Return the HTML report that a mail carries."""
    (attached,) = [part for part in mail.iter_attachments() if part.get_filename()]
    assert attached.get_filename() == "report.html"
    return str(attached.get_content())


def test_ticks_become_mails_also_a_tick_that_the_daemon_missed(tmp_path: Path):
    write_source(tmp_path, make_series(**PANEL))
    with mail_server() as mail:
        installation = Installation(tmp_path, mail)
        first = full_minute(timedelta(seconds=START_SECONDS))
        installation.configure(first)
        with installation.daemon():
            report = installation.wait_for_report(mail, "2024-11-15")
        assert installation.published() == [first]
        assert report["to"] == "ann@example.org"
        assert "drift" in attached_report(report)

        write_source(tmp_path, make_series(**{name: [*y, y[-1]] for name, y in PANEL.items()}))
        missed = full_minute(timedelta(seconds=1))
        installation.configure(first, missed)
        time.sleep(max(0.0, (missed - datetime.now(UTC)).total_seconds()) + 1)
        with installation.daemon():
            installation.wait_for_report(mail, "2024-11-22")
        assert installation.published() == [first, missed]
