"""A PostgreSQL server on loopback in a temporary folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    import psycopg

HOST = "127.0.0.1"
PASSWORD = "s3cr3t-of-the-owner"  # noqa: S105 - of a server that lives for seconds
# No data outlives the tests, so none has to reach the disk.
OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=20")


@dataclass
class Server:
    """A PostgreSQL server with the owner and the database `postgres`."""

    programs: Path
    folder: Path
    port: int = 0
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def url(self, *, user: str = "postgres", password: str = PASSWORD, of: str = "postgres") -> str:
        """Return the SQLAlchemy URL of the database `of`."""
        return f"postgresql+psycopg://{user}:{password}@{HOST}:{self.port}/{of}"

    def run(self, *statements: str) -> None:
        """Execute statements as the owner."""
        with self.connected() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def connected(self) -> "psycopg.Connection[Any]":
        """Connect as the owner, with autocommit."""
        import psycopg

        address = self.url().replace("+psycopg", "")
        return psycopg.connect(address, autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Start the server on its port and wait until it answers."""
        import psycopg

        options = [part for option in (*OPTIONS, f"port={self.port}") for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-k", "", *options],
                stderr=log,
                **_run_as_postgres(),
            )
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError), self.connected():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def pause(self) -> None:
        """Suspend the server and its connections, so that nothing is answered."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        """Undo `pause`."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _processes(self) -> "list[psutil.Process]":
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children()]

    def kill(self) -> None:
        """Kill the server with its connections."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run a server with an empty database; fail if PostgreSQL is not installed."""
    with tempfile.TemporaryDirectory(prefix="postgresql_") as name:
        folder = Path(name)
        _give_to_postgres(folder)
        server = Server(_programs(), folder)
        (folder / "password").write_text(PASSWORD)
        _give_to_postgres(folder / "password")
        subprocess.run(
            [
                *(server.programs / "initdb", "-D", folder / "data", "--no-sync", "--locale=C"),
                *("--encoding=UTF8", "--username=postgres", "--auth=scram-sha-256"),
                f"--pwfile={folder / 'password'}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **_run_as_postgres(),
        )
        with socket.socket() as free:
            free.bind((HOST, 0))
            server.port = free.getsockname()[1]
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _programs() -> Path:
    """Return the folder of the programs of the newest PostgreSQL."""
    initdb = shutil.which("initdb")
    folders = [Path(initdb).resolve().parent] if initdb else []
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(versions, key=lambda folder: float(folder.parent.name))
    if not folders:
        pytest.fail(
            "`initdb` is neither on the PATH nor below /usr/lib/postgresql, so the `sql` source"
            " cannot be tested. Install PostgreSQL: sudo apt-get install postgresql"
        )
    return folders[-1]


def _run_as_postgres() -> dict[str, Any]:
    """Return options for Popen: PostgreSQL refuses to run as root."""
    is_root = os.getuid() == 0
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root else {}


def _give_to_postgres(path: Path) -> None:
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")
