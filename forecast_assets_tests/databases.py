"""PostgreSQL on loopback: a server of the tests' own, in a folder that goes with it."""

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
from typing import Any

import psutil
import psycopg
import pytest

HERE = "127.0.0.1"
PASSWORD = "s3cr3t-of-the-owner"  # noqa: S105 - of a server that lives for seconds
# Nothing outlives a test, so nothing has to reach the disk.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=20")


@dataclass
class Server:
    """A PostgreSQL server; its owner is `postgres`, and so is its database."""

    programs: Path
    folder: Path
    port: int = 0
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def url(self, *, user: str = "postgres", password: str = PASSWORD, of: str = "postgres") -> str:
        """The address of the database `of`, for SQLAlchemy."""
        return f"postgresql+psycopg://{user}:{password}@{HERE}:{self.port}/{of}"

    def run(self, *statements: str) -> None:
        """Execute statements as the owner."""
        with self.connected() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def connected(self) -> "psycopg.Connection[Any]":
        """A connection of the owner's, that commits every statement."""
        address = self.url().replace("+psycopg", "")
        return psycopg.connect(address, autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Start it, on the port that it had before; return once it answers."""
        options = [part for one in (*QUICK, f"port={self.port}") for part in ("-c", one)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-k", "", *options],
                stderr=log,
                **_as_nobody_special(),
            )
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError), self.connected():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def pause(self) -> None:
        """Let it and every process of a connection hang: it takes and answers nothing."""
        for one in self._family():
            one.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for one in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()

    def _family(self) -> "list[psutil.Process]":
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children()]

    def kill(self) -> None:
        """End it at once, its connections with it."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server with an empty database; the test fails where none is installed."""
    with tempfile.TemporaryDirectory(prefix="postgresql_") as name:
        folder = Path(name)
        _owned(folder)
        server = Server(_programs(), folder)
        (folder / "password").write_text(PASSWORD)
        _owned(folder / "password")
        subprocess.run(
            [
                *(server.programs / "initdb", "-D", folder / "data", "--no-sync", "--locale=C"),
                *("--encoding=UTF8", "--username=postgres", "--auth=scram-sha-256"),
                f"--pwfile={folder / 'password'}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **_as_nobody_special(),
        )
        with socket.socket() as free:
            free.bind((HERE, 0))
            server.port = free.getsockname()[1]
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _programs() -> Path:
    """The folder of PostgreSQL's programs, the newest version's."""
    initdb = shutil.which("initdb")
    found = [Path(initdb).resolve().parent] if initdb else []
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found += sorted((one.parent for one in versions), key=lambda one: float(one.parent.name))
    if not found:
        pytest.fail(
            "There is no PostgreSQL here (`initdb` is neither on the PATH nor below"
            " /usr/lib/postgresql), so nobody can see what the `sql` source makes of a database."
            " Install it: sudo apt-get install postgresql"
        )
    return found[-1]


def _as_nobody_special() -> dict[str, Any]:
    """How its programs are started: they refuse to run as root."""
    is_root = os.getuid() == 0
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root else {}


def _owned(path: Path) -> None:
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")
