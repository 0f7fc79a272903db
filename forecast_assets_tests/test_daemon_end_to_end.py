"""The week with no hand on it: the daemon, its ticks, a mail server that takes the report.

Everything is real and on this machine; the ticks come a minute apart.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import ROOT
from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.notification_servers import MailServer, mail_server

START_SECONDS, RUN_SECONDS, STOP_SECONDS = 25, 150, 20
# Measured on two busy cores: 10 until the daemon looks at its schedules, 25 from tick to mail.
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


class Place:
    """A folder with its settings and its Dagster instance, and the daemon that is run on them."""

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
        """Set the schedule to tick at these minutes of the hour."""
        minutes = ",".join(str(tick.minute) for tick in ticks)
        text = SETTINGS.format(source=self.folder / "source.csv", minutes=minutes)
        (self.folder / "forecast.toml").write_text(text)

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run the daemon; what it started is killed with it, as when a machine goes down."""
        command = [str(Path(sys.executable).with_name("dagster-daemon")), "run"]
        with (self.folder / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--workspace", str(ROOT / "workspace.yaml")],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)

    def moments(self) -> list[datetime]:
        """What the forecasts stand for that were published here."""
        store = build_store(load(self._environ))
        return [commit.as_of for commit in store.history("next_week_forecast")]

    @property
    def log(self) -> str:
        """The end of what the daemon said."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-6000:]


def wait_for(found: Callable[[], bool], *, seconds: float, place: Place) -> None:
    """Return when it is so; fail with the daemon's log where it never is."""
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            pytest.fail(f"Nothing came within {seconds} seconds. The daemon said:\n{place.log}")
        time.sleep(0.5)


def minute(after: timedelta) -> datetime:
    """The first full minute that is at least so far ahead."""
    ahead = datetime.now(UTC) + after + timedelta(minutes=1)
    return ahead.replace(second=0, microsecond=0)


def page(mail: EmailMessage) -> str:
    """The report that a mail brings, as HTML."""
    (attached,) = [part for part in mail.iter_attachments() if part.get_filename()]
    assert attached.get_filename() == "report.html"
    return str(attached.get_content())


def test_ticks_become_reports_in_the_readers_mail_also_one_that_the_daemon_missed(tmp_path: Path):
    write_source(tmp_path, make_series(**PANEL))
    with mail_server() as mail:
        place = Place(tmp_path, mail)
        first = minute(timedelta(seconds=START_SECONDS))
        place.configure(first)
        with place.daemon():
            wait_for(lambda: bool(mail.mails), seconds=60 + RUN_SECONDS, place=place)
        assert place.moments() == [first]
        assert mail.mails[0]["to"] == "ann@example.org"
        assert "week ending 2024-11-15" in str(mail.mails[0]["subject"])
        assert "drift" in page(mail.mails[0])

        write_source(tmp_path, make_series(**{name: [*y, y[-1]] for name, y in PANEL.items()}))
        missed = minute(timedelta(seconds=5))
        place.configure(first, missed)
        time.sleep(max(0.0, (missed - datetime.now(UTC)).total_seconds()) + 2)
        with place.daemon():
            wait_for(lambda: len(mail.mails) > 1, seconds=60 + RUN_SECONDS, place=place)
        assert place.moments() == [first, missed]
        assert "week ending 2024-11-22" in str(mail.mails[1]["subject"])
