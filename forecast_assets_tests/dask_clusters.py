"""A Dask scheduler and its workers as processes of their own, on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from forecast_assets_tests.misbehaving_models import comes_true

ROOT = Path(__file__).parents[1]
DASK = [sys.executable, "-P", "-m", "dask"]
LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard"]


class Cluster:
    """A running scheduler and the processes of its workers by name."""

    def __init__(self, folder: Path, *, path: Sequence[Path] = (), **env: str) -> None:
        self._folder = folder
        self._env = {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))), **env}
        self._file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler = self._start(
            "scheduler", *LOOPBACK, "--port", "0", "--scheduler-file", str(self._file)
        )
        assert comes_true(self._is_up, within=60), (folder / "log").read_text()

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def start_worker(self, name: str, *, has_nanny: bool = False, **env: str) -> None:
        """Start a worker of one thread, which joins a little later."""
        nanny = "--nanny" if has_nanny else "--no-nanny"
        folder = str(self._folder / name)
        options = [*LOOPBACK, nanny, "--nthreads", "1", "--name", name, "--local-directory", folder]
        self.workers[name] = self._start("worker", self.address, *options, **env)

    @contextmanager
    def running_workers(
        self, *names: str, has_nannies: bool = False, path: Sequence[Path] = ()
    ) -> Iterator[None]:
        """Start workers, which find modules in these folders, and kill all workers afterwards."""
        env = {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))} if path else {}
        try:
            for name in names:
                self.start_worker(name, has_nanny=has_nannies, **env)
            yield
        finally:
            self.kill_workers()

    def kill_worker(self, name: str) -> None:
        """Kill the process that does the work, as if a machine were lost; a nanny lives on."""
        process = psutil.Process(self.workers[name].pid)
        children = [one for one in process.children() if "spawn_main" in " ".join(one.cmdline())]
        (children[-1] if children else process).kill()

    def kill_workers(self) -> None:
        """Kill all workers and their nannies."""
        for process in self.workers.values():
            _kill(process)
        self.workers.clear()

    def close(self) -> None:
        """Kill everything."""
        self.kill_workers()
        _kill(self.scheduler)

    def _is_up(self) -> bool:
        # The scheduler creates its file first and writes into it a moment later.
        return self._file.exists() and self._file.read_text().endswith("}")

    def _start(self, *command: str, **env: str) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*DASK, *command],
                env={**os.environ, **self._env, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(psutil.NoSuchProcess):  # it may have ended
        for child in psutil.Process(process.pid).children():
            child.kill()
    process.kill()
    process.wait()


@contextmanager
def cluster(
    folder: Path, *workers: str, path: Sequence[Path] = (), **env: str
) -> Iterator[Cluster]:
    """A cluster with these workers, which find modules in these folders."""
    folder.mkdir(exist_ok=True)
    new = Cluster(folder, path=path, **env)
    try:
        with new.running_workers(*workers):
            yield new
    finally:
        new.close()
