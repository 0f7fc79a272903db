"""A Dask scheduler and its workers as processes of their own, on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from forecast_assets_tests.misbehaving_models import comes_true

ROOT = Path(__file__).parents[1]
DASK = [sys.executable, "-P", "-m", "dask"]
HERE = ["--host", "127.0.0.1", "--no-dashboard"]


class Cluster:
    """A scheduler that runs, and the workers that were started for it, by name."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, env
        self._file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler = self._start(
            "scheduler", *HERE, "--port", "0", "--scheduler-file", str(self._file)
        )
        assert comes_true(self._is_up, within=60), (folder / "log").read_text()

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return str(json.loads(self._file.read_text())["address"])

    def start_worker(self, name: str, *, has_nanny: bool = False, **env: str) -> None:
        """Start a worker of one thread; it joins a little later."""
        nanny = "--nanny" if has_nanny else "--no-nanny"
        folder = str(self._folder / name)
        options = [*HERE, nanny, "--nthreads", "1", "--name", name, "--local-directory", folder]
        self.workers[name] = self._start("worker", self.address, *options, **env)

    def kill_worker(self, name: str) -> None:
        """Kill the process that does the work, as a machine that is lost; a nanny lives on."""
        process = psutil.Process(self.workers[name].pid)
        below = [one for one in process.children() if "spawn_main" in " ".join(one.cmdline())]
        (below[-1] if below else process).kill()

    def close(self) -> None:
        """End everything."""
        for process in (*self.workers.values(), self.scheduler):
            with suppress(psutil.NoSuchProcess):  # one that ended by itself meanwhile
                for one in psutil.Process(process.pid).children():
                    one.kill()
            process.kill()
            process.wait()

    def _is_up(self) -> bool:
        # The scheduler makes its file first and writes into it a moment later.
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


@contextmanager
def cluster(
    folder: Path, *workers: str, path: tuple[Path, ...] = (), has_nannies: bool = False, **env: str
) -> Iterator[Cluster]:
    """A cluster with these workers, which find modules in these folders."""
    folder.mkdir(exist_ok=True)
    paths = os.pathsep.join(map(str, (*path, ROOT)))
    made = Cluster(folder, {"PYTHONPATH": paths, **env})
    try:
        for name in workers:
            made.start_worker(name, has_nanny=has_nannies)
        yield made
    finally:
        made.close()
