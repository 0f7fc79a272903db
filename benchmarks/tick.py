"""Time the scheduled week of the demo from its tick to the report in a mailbox.

Usage: python benchmarks/tick.py FOLDER. Uses the folder's forecast.toml and the results of earlier
weeks in it. Prints the seconds from the tick to the mail.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

ROOT = Path(__file__).resolve().parents[1]
# Time for the daemon to start before the tick.
START = timedelta(seconds=30)
LONGEST_SECONDS = 400.0


class Mailbox:
    """A mail handler that records when the report arrived."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.arrived_at: datetime | None = None

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it by this name
        """Accept a mail; record the time if it is the report."""
        if b"Subject: Forecast for the week" in envelope.original_content:
            self.arrived_at = self.arrived_at or datetime.now(UTC)
            self.arrived.set()
        return "250 OK"


class AnyPort(Controller):
    """A mail server on a free port."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def main() -> None:
    """Run the daemon until the report of one tick arrives."""
    folder = Path(sys.argv[1]).resolve()
    home = folder / "var" / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    tick = (datetime.now(UTC) + START + timedelta(minutes=1)).replace(second=0, microsecond=0)
    box = Mailbox()
    server = AnyPort(box, hostname="127.0.0.1", port=0)
    server.start()
    to = f"mailto://127.0.0.1:{server.port}?mode=insecure&from=week@example.org&to=a@example.org"
    settings = folder / "forecast.toml"
    cron = f"{tick.minute} {tick.hour} * * *"
    # The demo ends in 2020, so with a shorter deadline its newest week would count as missed.
    week = f'\n[schedule]\ncron = "{cron}"\ndeadline = "9999d"\n[notify]\nurls = ["{to}"]\n'
    settings.write_text(settings.read_text() + week)
    environ = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "FORECAST_VAR": str(folder / "var"),
        "FORECAST_CONFIG": str(settings),
    }
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run"]
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [*command, "--workspace", str(ROOT / "workspace.yaml")],
            cwd=ROOT,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if not box.arrived.wait(LONGEST_SECONDS) or box.arrived_at is None:
            sys.exit(f"No mail came: {(folder / 'daemon.log').read_text()[-3000:]}")
        print(f"tick {(box.arrived_at - tick).total_seconds():.1f} s")
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
        server.stop()


if __name__ == "__main__":
    main()
