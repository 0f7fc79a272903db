"""Chunks over Dask: real schedulers and workers, that refuse, vanish, freeze and are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.backtesting import dask_pool as crew_module
from forecast_assets.backtesting.chunk import ChunkResult, WorkChunk
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.folds import FitUnit, Panel
from forecast_assets.backtesting.sandbox import ResourceLimits
from forecast_assets.errors import ComputeError
from forecast_assets.models import ModelSpec, find_model
from forecast_assets_tests.builders import walk
from forecast_assets_tests.dask_clusters import ROOT, Cluster, cluster
from forecast_assets_tests.misbehaving_models import (
    below,
    comes_true,
    panel_of,
    question,
    said,
    unruly,
)
from forecast_assets_tests.worker_builders import local_crew

AMPLE = ResourceLimits(seconds=60, memory_mb=2000)
Y = [float(week) for week in range(1, 21)]
Received = tuple[Any, str, ChunkResult | None, str]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory, unruly_models: Path) -> Iterator[Cluster]:
    """A cluster that no test harms."""
    with cluster(tmp_path_factory.mktemp("cluster"), "one", "two", path=(unruly_models,)) as made:
        yield made


@contextmanager
def crew_of(made: Cluster) -> Iterator[DaskPool]:
    """A crew of a cluster's workers."""
    from dask.distributed import Client  # noqa: PLC0415 - half a second

    crew = DaskPool(lambda: Client(made.address, timeout=20, set_as_default=False))
    try:
        yield crew
    finally:
        crew.close()


def chunk_of(
    model: ModelSpec, units: Sequence[FitUnit], budget: ResourceLimits = AMPLE
) -> WorkChunk:
    return WorkChunk(question(model), model.fingerprint, units, budget)


def send_each(crew: DaskPool, model: ModelSpec, panel: Panel, units: Sequence[FitUnit]) -> None:
    """Send each unit as a chunk, tagged with its place."""
    for i, unit in enumerate(units):
        crew.send(i, panel, chunk_of(model, [unit]))


def receive(crew: DaskPool, *, within: float = 60.0) -> Received:
    """The next report."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if received := crew.receive(0.2):
            return received
    raise AssertionError("no report came")


def receive_all(crew: DaskPool) -> dict[Any, list[float | str]]:
    """What every chunk that is out said, by its tag."""
    found = {}
    while crew.n_out:
        tag, _, report, _ = receive(crew)
        found[tag] = said(report.answers) if report else []
    return found


# What comes and goes
@pytest.mark.usefixtures("unruly_models")
def test_reports_come_with_the_tag_of_their_chunk(crew: DaskPool):
    panel, units = panel_of(Y, n_windows=8)
    send_each(crew, unruly(), panel, units)
    assert crew.n_out == 8
    assert receive_all(crew) == {i: [12.0 + i] for i in range(8)}
    assert crew.n_out == 0


def test_a_report_names_its_worker(two_workers: Cluster):
    with crew_of(two_workers) as crew:
        panel, units = panel_of(Y, n_windows=8)
        send_each(crew, unruly(seconds=0.3), panel, units)
        workers = {receive(crew)[1] for _ in units}
    assert workers == {"one", "two"}


def test_nothing_is_connected_to_before_the_first_chunk():
    def connect() -> Any:
        raise AssertionError("connected")

    crew = DaskPool(connect)
    assert (crew.n_out, crew.dashboard) == (0, None)
    crew.close()


def test_the_workers_are_counted_by_their_threads(two_workers: Cluster):
    with crew_of(two_workers) as crew:
        assert comes_true(lambda: crew.n_workers == 2, within=30)


def test_the_dashboard_is_known_once_the_cluster_is():
    with local_crew() as crew:
        assert crew.dashboard is None
        assert crew.n_workers == 2
        assert re.fullmatch(r"http://[\d.]+:\d+/status", str(crew.dashboard))


def test_a_wait_without_a_report_ends(crew: DaskPool):
    began = time.monotonic()
    assert crew.receive(0.2) is None
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("unruly_models")
def test_runs_that_share_a_scheduler_do_not_take_each_others_reports(two_workers: Cluster):
    panel, units = panel_of(Y)
    other, _ = panel_of([week * 100 for week in Y])
    with crew_of(two_workers) as mine, crew_of(two_workers) as yours:
        send_each(mine, unruly(), panel, units)
        send_each(yours, unruly(), other, units)
        assert receive_all(mine) == {0: [17.0], 1: [18.0], 2: [19.0]}
        assert receive_all(yours) == {0: [1700.0], 1: [1800.0], 2: [1900.0]}


def test_numbers_are_the_same_here_and_on_a_cluster_to_the_last_bit(
    two_workers: Cluster, crew: DaskPool
):
    panel, units = panel_of(walk(60, seed=1), walk(60, seed=2), n_windows=6)
    for name in ("theta", "auto_ets", "ridge"):
        send_each(crew, find_model(name), panel, units)
        here = receive_all(crew)
        with crew_of(two_workers) as there:
            send_each(there, find_model(name), panel, units)
            assert receive_all(there) == here


@pytest.mark.usefixtures("unruly_models")
def test_models_use_one_thread_on_a_cluster_too(two_workers: Cluster):
    panel, units = panel_of(Y)
    with crew_of(two_workers) as crew:
        crew.send("", panel, chunk_of(unruly("threads"), units))
        assert receive_all(crew) == {"": [1.0, 1.0, 1.0]}


# What is let go
@pytest.mark.usefixtures("unruly_models")
def test_closing_ends_a_fit_that_hangs_at_once():
    panel, units = panel_of(Y)
    with local_crew() as crew:
        before = set(below())
        send_each(crew, unruly("hangs"), panel, units)
        assert comes_true(lambda: len(set(below()) - before) == 2, within=20)
        time.sleep(1.5)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert comes_true(lambda: set(below()) <= before)


HANGING = """
import sys, time
from dask.distributed import Client
from forecast_assets.backtesting.dask_pool import Crew
from forecast_assets_tests.backtesting.test_dask_pool import AMPLE, Y, chunk_of
from forecast_assets_tests.misbehaving_models import panel_of, unruly
crew = Crew(lambda: Client(sys.argv[1]))
panel, units = panel_of(Y)
crew.send("", panel, chunk_of(unruly("hangs"), units))
time.sleep(3600)
"""


def test_the_workers_end_what_a_killed_run_left_with_them(
    two_workers: Cluster, unruly_models: Path
):
    before = {pid for one in two_workers.workers.values() for pid in below(one.pid)}

    def fresh() -> set[int]:
        every = {pid for one in two_workers.workers.values() for pid in below(one.pid)}
        return every - before

    path = os.pathsep.join(map(str, (unruly_models, ROOT)))
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, two_workers.address], env={**os.environ, "PYTHONPATH": path}
    ) as run:
        try:
            assert comes_true(lambda: len(fresh()) == 1, within=30)
            time.sleep(1.5)
        finally:
            run.kill()
    assert comes_true(lambda: fresh() == set(), within=10)


# Workers that are lost
@pytest.mark.parametrize("has_nannies", [False, True])
def test_chunks_of_a_killed_worker_are_run_by_another(
    tmp_path: Path, unruly_models: Path, *, has_nannies: bool
):
    panel, units = panel_of(Y, n_windows=8)
    with (
        cluster(
            tmp_path / "it", "one", "two", path=(unruly_models,), has_nannies=has_nannies
        ) as made,
        crew_of(made) as crew,
    ):
        assert comes_true(lambda: crew.n_workers == 2, within=30)
        send_each(crew, unruly(seconds=0.5), panel, units)
        tag, _, report, _ = receive(crew)
        assert report
        first = {tag: said(report.answers)}
        made.kill_worker("one")
        assert first | receive_all(crew) == {i: [12.0 + i] for i in range(8)}


def test_a_report_that_was_lost_with_its_worker_is_made_again(tmp_path: Path, unruly_models: Path):
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one", path=(unruly_models,)) as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(unruly(), units))
        (out,) = crew._out  # noqa: SLF001 - done, and not fetched yet
        assert comes_true(lambda: out.status == "finished", within=30)
        made.kill_worker("one")
        made.start_worker("two")
        tag, worker, report, error = receive(crew)
    assert (tag, worker, error) == ("", "two", "")
    assert report
    assert said(report.answers) == [17.0, 18.0, 19.0]


def test_a_chunk_that_ends_its_worker_again_and_again_is_data(tmp_path: Path, unruly_models: Path):
    panel, units = panel_of(Y)
    forgiving = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with (
        cluster(tmp_path / "it", "one", "two", "three", path=(unruly_models,), **forgiving) as made,
        crew_of(made) as crew,
    ):
        crew.send("bad", panel, chunk_of(unruly("kills_its_worker"), units))
        assert receive(crew) == ("bad", "", None, "its worker ended, several times, while it ran")
        crew.send("good", panel, chunk_of(unruly(), units))
        assert receive_all(crew) == {"good": [17.0, 18.0, 19.0]}


def test_a_cluster_that_lost_its_workers_waits_for_others(tmp_path: Path, unruly_models: Path):
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one", path=(unruly_models,)) as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(unruly(seconds=1.0), units))
        time.sleep(3)
        made.kill_worker("one")
        made.start_worker("two")
        assert receive_all(crew) == {"": [17.0, 18.0, 19.0]}


def test_a_cluster_without_workers_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(crew_module, "WORKERLESS_SECONDS", 3.0)
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it") as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(find_model("ses"), units))
        assert crew.n_workers == 1
        with pytest.raises(
            ComputeError, match=f"scheduler {made.address} has had no worker for 3 seconds"
        ):
            receive(crew, within=20)


# Schedulers that are lost
def test_a_scheduler_that_is_killed_is_named(tmp_path: Path, unruly_models: Path):
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one", path=(unruly_models,)) as made, crew_of(made) as crew:
        send_each(crew, unruly(seconds=1.0), panel, units)
        receive(crew)
        made.scheduler.kill()
        with pytest.raises(ComputeError, match=f"scheduler {made.address} is gone"):
            receive(crew, within=20)
        with pytest.raises(ComputeError, match=f"scheduler {made.address} is gone"):
            receive(crew, within=20)


def test_a_scheduler_that_is_frozen_is_named(
    tmp_path: Path, unruly_models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(crew_module, "ANSWERS_WITHIN_SECONDS", 2.0)
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one", path=(unruly_models,)) as made, crew_of(made) as crew:
        send_each(crew, unruly(seconds=1.0), panel, units)
        receive(crew)
        os.kill(made.scheduler.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ComputeError, match=r"is gone \(TimeoutError"):
                receive(crew, within=20)
        finally:
            os.kill(made.scheduler.pid, signal.SIGCONT)


# Workers that would answer something else
def shadowed(folder: Path, file: str) -> Path:
    """A folder with a copy of the package in which one file differs."""
    for source in (ROOT / "forecast_assets").rglob("*.py"):
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    with (folder / "forecast_assets" / file).open("a") as changed:
        changed.write("\n# changed since\n")
    return folder


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("models/by_statsforecast.py", r"ses is \{'name': 'ses', 'factory': "),
        ("backtesting/fitting.py", r"forecast_assets is \w+, not \w+"),
    ],
)
def test_a_worker_with_other_code_is_refused(tmp_path: Path, file: str, says: str):
    panel, units = panel_of(Y)
    folder = shadowed(tmp_path / "other", file)
    with cluster(tmp_path / "it", "one", path=(folder,)) as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(find_model("ses"), units))
        with pytest.raises(
            ComputeError, match=f"The worker one would answer with other code .*: {says}"
        ):
            receive(crew)


OTHER_VERSIONS = """
from importlib import metadata
true = metadata.version
said = {"dask": "2020.1.1", "numpy": "1.0"}
metadata.version = lambda name: said.get(name) or true(name)
"""


def test_a_worker_with_other_libraries_is_refused(tmp_path: Path):
    """It joins a run that goes on already: nobody looked at it before."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(OTHER_VERSIONS)
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it") as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(find_model("ses"), units))
        made.start_worker("late", PYTHONPATH=os.pathsep.join(map(str, (other, ROOT))))
        with pytest.raises(
            ComputeError,
            match=r"The worker late would .*: dask is 2020\.1\.1, not .*, numpy is 1\.0, not ",
        ):
            receive(crew)


@pytest.mark.usefixtures("unruly_models")
def test_a_model_that_a_worker_cannot_import_is_data_that_names_it(tmp_path: Path):
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one") as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(unruly(), units))
        ((error, *_),) = receive_all(crew).values()
    assert str(error).startswith("The class of the model unruly cannot be imported from unruly_mod")
    assert "see that its package is installed here" in str(error)


def test_a_worker_that_can_start_no_process_is_named(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys\nsys.executable = '/no/such/python'\n")
    panel, units = panel_of(Y)
    with cluster(tmp_path / "it", "one", path=(other,)) as made, crew_of(made) as crew:
        crew.send("", panel, chunk_of(find_model("ses"), units))
        with pytest.raises(
            ComputeError,
            match=r"could not run the chunk ses-1-\w+: CannotStart: .*'/no/such/python'",
        ):
            receive(crew)
