"""A Dask scheduler and its workers as processes of their own, on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forecast_assets_tests.misbehaving_models import comes_true

ROOT = Path(__file__).parents[1]
DASK = [sys.executable, "-P", "-m", "dask"]
LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard"]
# Each process takes 2 % of a core without these while it waits.
IDLE = {
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "5s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


class Cluster:
    """A running scheduler and the processes of its workers by name."""

    def __init__(self, folder: Path, *, path: Sequence[Path] = (), **env: str) -> None:
        self._folder, self._path, self._env = folder, path, env
        self._file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        options = ["--port", "0", "--scheduler-file", str(self._file)]
        self.scheduler = self._start("scheduler", *LOOPBACK, *options)
        # The scheduler creates its file first and writes into it a moment later.
        is_up = comes_true(
            lambda: self._file.exists() and self._file.read_text()[-1:] == "}", within=60
        )
        assert is_up, (folder / "log").read_text()

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def start_worker(self, name: str, *, path: Sequence[Path] | None = None) -> None:
        """Start a worker of one thread, which joins a little later."""
        folder = str(self._folder / name)
        options = [*LOOPBACK, "--no-nanny", "--nthreads", "1", "--name", name]
        options += ["--local-directory", folder]
        self.workers[name] = self._start("worker", self.address, *options, path=path)

    @contextmanager
    def running_workers(self, *names: str, path: Sequence[Path] | None = None) -> Iterator[None]:
        """Start workers, which find modules in these folders, and kill all workers afterwards."""
        try:
            for name in names:
                self.start_worker(name, path=path)
            yield
        finally:
            for process in self.workers.values():
                _kill(process)
            self.workers.clear()

    def kill_worker(self, name: str) -> None:
        """Kill a worker, as if its machine were lost."""
        self.workers[name].kill()

    def _start(
        self, *command: str, path: Sequence[Path] | None = None
    ) -> "subprocess.Popen[bytes]":
        folders = [*(self._path if path is None else path), ROOT]
        path_of_modules = os.pathsep.join(map(str, folders))
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*DASK, *command],
                env={**os.environ, **IDLE, "PYTHONPATH": path_of_modules, **self._env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


@contextmanager
def cluster(
    folder: Path, *workers: str, path: Sequence[Path] = (), **env: str
) -> Iterator[Cluster]:
    """Yield a cluster with these workers, which find modules in these folders."""
    folder.mkdir(exist_ok=True)
    new = Cluster(folder, path=path, **env)
    try:
        with new.running_workers(*workers):
            yield new
    finally:
        _kill(new.scheduler)
