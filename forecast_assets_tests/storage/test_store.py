"""The store: every write is a version, none is ever overwritten, and failures leave it whole."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import deltalake
import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import DataError, StoreError, VersionNotFoundError
from forecast_assets.storage.audit import verify
from forecast_assets.storage.contract import Column, TableContract
from forecast_assets.storage.store import KEEP_ALL_VERSIONS, Store
from forecast_assets_tests.builders import AS_OF, make_series
from forecast_assets_tests.store_builders import (
    BACKTEST,
    log_entry,
    make_commit,
    make_input,
    make_predictions,
    make_scores,
    make_store,
    write_predictions,
    write_series,
)


def problems(store: Store, *assets: str) -> list[str]:
    return [audit.problem for audit in verify(store, assets or store.tables) if audit.problem]


def test_every_write_is_a_version_and_old_ones_stay_readable(tmp_path: Path):
    store = make_store(tmp_path)
    for n in (1, 2):
        for model in ("naive", "drift"):
            write_predictions(store, model, *([n] * n))
    naive, drift = (store.history(BACKTEST, partition=model) for model in ("naive", "drift"))
    assert [commit.version for commit in (*naive, *drift)] == [0, 2, 1, 3]
    assert [store.read([commit])["y_hat"].tolist() for commit in drift] == [[1.0], [2.0, 2.0]]
    assert store.read([drift[0], naive[1]])["y_hat"].tolist() == [1.0, 2.0, 2.0]


def test_a_commit_records_its_run_time_and_inputs_and_equal_content_has_one_data_version(
    tmp_path: Path,
):
    store = make_store(tmp_path)
    first, series = write_series(store, 1, 2), write_series(store, 1, 2)
    assert (first.version, series.version) == (0, 1)
    assert first.data_version == series.data_version
    written = write_predictions(store, "naive", 1, 2, 3, run_id="r1", inputs=[series])
    (commit,) = make_store(tmp_path).history(BACKTEST)
    assert commit == written
    assert (commit.asset, commit.partition, commit.run_id) == (BACKTEST, "naive", "r1")
    assert (commit.as_of, commit.code_version, commit.n_rows) == (AS_OF, "1", 3)
    assert commit.inputs == (series.as_input,)
    assert len(commit.data_version) == len(commit.content) == 32
    lines = map(json.loads, log_entry(store, BACKTEST, 0).read_text().splitlines())
    metadata = next(line["commitInfo"] for line in lines if "commitInfo" in line)
    assert commit.to_metadata().items() <= metadata.items()


def test_old_versions_are_readable_after_the_levels_changed(tmp_path: Path):
    old = make_store(tmp_path).write(make_scores(mae=1.5), make_commit("metrics"))
    store = make_store(tmp_path, levels=[50])
    new = store.write(make_scores([50], mae=2.5), make_commit("metrics"))
    assert "coverage_95" in store.read([old]).columns
    assert "coverage_95" not in store.read([new]).columns
    assert "coverage_50" in store.read([new]).columns
    assert store.read([old])["mae"].tolist() == [1.5]
    assert not problems(store)


def test_a_partition_may_have_any_name(tmp_path: Path):
    twice = ["it's", "a/b", "null", "x' OR model = 'other"]
    names = [*twice, 'a "b"', "a\\b", "ünïcode 日本", "a=b%20c", "..", "01", "new\nline", "*?[x]"]
    names += ["__HIVE_DEFAULT_PARTITION__", "other"]
    written = make_store(tmp_path)
    first = {name: write_predictions(written, name, 1) for name in names}
    second = {name: write_predictions(written, name, 2, 3) for name in twice}
    store = make_store(tmp_path)
    for name, commit in first.items():
        assert store.history(BACKTEST, partition=name)[0] == commit
        assert store.read([commit])["model"].tolist() == [name]
    for name, commit in second.items():
        assert store.history(BACKTEST, partition=name)[1:] == [commit]
        assert store.read([commit])["y_hat"].tolist() == [2.0, 3.0]
    assert not problems(store, BACKTEST)


# Types and rows
def test_every_kind_of_column_comes_back_as_it_was(tmp_path: Path):
    """Hold the extremes of every kind, and a null where the kind allows one."""
    datetimes = ["2024-03-31 02:30:00.123456", "1900-01-01", None, "2262-01-01"]
    timestamps = ["2024-10-27T00:30:00.000001Z", "1970-01-01T00:00Z", None, "1900-01-01T00:00Z"]
    frame = pd.DataFrame(
        {
            "int": [0, 1, 2, np.iinfo("int64").max],
            "string": ["", "ü 'quoted' \"twice\"\n", None, "null"],
            "float": [0.1, -np.inf, np.nan, 5e-324],
            "datetime": pd.to_datetime(datetimes, format="ISO8601"),
            "timestamp": pd.to_datetime(timestamps, format="ISO8601", utc=True),
            "bool": [True, False, None, False],
            "date": pd.to_datetime(["2024-02-29", "1900-01-01", None, "2262-01-01"]),
        }
    )
    columns = [Column(kind, kind, "Any.", nullable=kind != "int") for kind in frame]
    table = TableContract("kinds", ("int",), tuple(columns))
    store = Store(str(tmp_path / "kinds"), {"kinds": table}, var=tmp_path)
    commit = store.write(frame, make_commit("kinds"))
    read = Store(store.uri, store.tables, var=tmp_path).read([commit])
    pd.testing.assert_frame_equal(read, table.arrange(frame), check_exact=True)
    assert read["string"].tolist() == frame["string"].tolist()
    assert table.data_version(read) == commit.data_version
    assert not problems(store)


def test_any_selection_of_partitions_has_the_same_columns_and_types(tmp_path: Path):
    store = make_store(tmp_path)
    empty = store.write(make_predictions("empty").head(0), make_commit(BACKTEST, "empty"))
    with_null, full = write_predictions(store, "a", 1, np.nan), write_predictions(store, "b", 2)
    expected = store.tables[BACKTEST].empty().dtypes
    for selection in ([empty], [with_null], [with_null, full], [full, with_null, empty]):
        pd.testing.assert_series_equal(store.read(selection).dtypes, expected)
    assert (empty.version, empty.n_rows) == (0, 0)
    assert not problems(store)


# Many versions, and other writers
@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 7 versions of `series`, with a checkpoint in the log after 5."""
    folder = tmp_path_factory.mktemp("long")
    frequent = {**KEEP_ALL_VERSIONS, "delta.checkpointInterval": "5"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("forecast_assets.storage.store.KEEP_ALL_VERSIONS", frequent)
        for n in range(7):
            write_series(make_store(folder), n, as_of=AS_OF - timedelta(days=n))
    assert list((folder / "store").rglob("*.checkpoint.parquet"))
    return folder


def test_versions_before_a_checkpoint_stay_readable_by_threads_that_share_a_store(
    long_history: Path,
):
    for _ in range(5):
        store = make_store(long_history)
        with ThreadPoolExecutor(4) as pool:
            histories = list(pool.map(store.history, ["series"] * 4))
        for history in histories:
            assert [commit.version for commit in history] == list(range(7))
    assert [store.read([history[n]])["y"].item() for n in (0, 4, 6)] == [0.0, 4.0, 6.0]


def test_a_log_that_lost_entries_before_a_checkpoint_is_refused(long_history: Path, tmp_path: Path):
    shutil.copytree(long_history / "store", tmp_path / "store")
    store = make_store(tmp_path)
    log_entry(store, "series", 0).unlink()
    message = r"log of series .* lost 1 of 7 entries\. No version was read.*`_delta_log`"
    with pytest.raises(StoreError, match=message):
        store.history("series")


def test_versions_of_concurrent_writers_are_all_kept(tmp_path: Path):
    def write(model: str) -> list[tuple[int, str | None, str]]:
        store = make_store(tmp_path)  # as in a process of its own
        commits = [
            write_predictions(store, model, n, run_id=f"run {os.urandom(4)!r}") for n in range(3)
        ]
        return [(commit.version, commit.partition, commit.content) for commit in commits]

    with ThreadPoolExecutor(3) as pool:
        written = [version for versions in pool.map(write, "aab") for version in versions]
    store = make_store(tmp_path)
    history = [(c.version, c.partition, c.content) for c in store.history(BACKTEST)]
    assert sorted(written) == history
    assert [version for version, _, _ in history] == list(range(9))
    assert not problems(store, BACKTEST)


def test_an_open_store_reads_and_continues_what_another_one_wrote(tmp_path: Path):
    store, other = make_store(tmp_path), make_store(tmp_path)
    first = write_predictions(store, "naive", 1)
    write_predictions(other, "naive", 2)
    drift = write_predictions(other, "drift", 3)
    assert store.read([first, drift])["y_hat"].tolist() == [3.0, 1.0]
    assert write_predictions(store, "naive", 4).version == 3
    Path(store.location(BACKTEST)).rename(tmp_path / "elsewhere")
    assert store.history(BACKTEST) == []
    assert write_predictions(store, "naive", 5).version == 0


def test_a_version_that_cannot_be_committed_leaves_the_others_unchanged(tmp_path: Path):
    store = make_store(tmp_path)
    first = write_series(store, 1)
    log_entry(store, "series", 1).mkdir()  # the next number is taken, but never listed
    with pytest.raises(StoreError, match=r"Could not write series in .*versions are unchanged"):
        write_series(store, 2)
    assert make_store(tmp_path).history("series") == [first]
    log_entry(store, "series", 1).rmdir()
    assert write_series(store, 2).version == 1


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["_delta_log/"],
        ["part-0.snappy.parquet", "_delta_log/", "_delta_log/_commit_1.json.tmp"],
        ["_delta_log/", "_delta_log/00000000000000000000.json#1"],
    ],
    ids=["nothing", "an empty log", "a temporary commit", "an unknown file"],
)
def test_what_a_killed_first_write_left_is_not_a_version(tmp_path: Path, files: list[str]):
    store = make_store(tmp_path)
    folder = Path(store.location("series"))
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text('{"prot')
    assert store.history("series") == []
    assert write_series(store, 1).version == 0
    assert not problems(make_store(tmp_path))


def test_a_commit_of_another_tool_is_listed_with_what_is_known(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    rows = deltalake.DeltaTable(store.location("series")).to_pyarrow_table()
    deltalake.write_deltalake(store.location("series"), rows, mode="overwrite")
    foreign = store.history("series")[-1]
    assert (foreign.version, foreign.run_id, foreign.as_of) == (1, "", foreign.written_at)
    assert problems(store, "series") == [
        "not written by forecast_assets, so there is no record to compare it with"
    ]


# Refusals
@pytest.mark.parametrize("partition", ["drift", None, ""])
def test_rows_of_another_partition_are_refused(tmp_path: Path, partition: str | None):
    store = make_store(tmp_path)
    write_predictions(store, "naive", 1)
    with pytest.raises(StoreError, match=r"Could not write backtest_predictions .* failed valid"):
        store.write(make_predictions("naive", 1, 2), make_commit(BACKTEST, partition))
    assert len(make_store(tmp_path).history(BACKTEST)) == 1


def test_rows_that_break_the_contract_are_not_written(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(DataError, match=r"breaks its contract.*earlier versions are unchanged"):
        write_series(store, 1, np.nan)
    assert not Path(store.location("series")).exists()


def test_unknown_names_are_refused_with_those_that_exist(tmp_path: Path):
    store = make_store(tmp_path)
    for model in ("naive", "drift"):
        write_predictions(store, model, 1)
    with pytest.raises(VersionNotFoundError, match=r"no asset 'nope'.* raw_data, .*weekly_report"):
        store.history("nope")
    with pytest.raises(VersionNotFoundError, match=r"no asset 'nope'"):
        store.write(make_series(a=[1]), make_commit("nope"))
    with pytest.raises(VersionNotFoundError, match=r"'x'; it has versions of drift, naive\. Run `"):
        store.history(BACKTEST, partition="x")
    with pytest.raises(VersionNotFoundError, match=r"'x'; it has versions of no partition"):
        store.history("series", partition="x")
    with pytest.raises(VersionNotFoundError, match=r"series has no version 5, .*was deleted"):
        store.commit(make_input("series", 5))


@pytest.mark.parametrize("version", [0, 1])
def test_a_damaged_log_entry_is_refused_with_the_way_to_find_it(tmp_path: Path, version: int):
    store = make_store(tmp_path)
    for y in range(2):
        write_series(store, y)
    entry = log_entry(store, "series", version)
    entry.write_text(entry.read_text().replace(AS_OF.isoformat(), "last Monday"))
    message = rf"the log entry {version} of series .*'last Monday'.*`forecast-assets verify`"
    with pytest.raises(StoreError, match=message):
        make_store(tmp_path).history("series")


# A full disk, and a user without permissions
OTHER_PROCESS = """
import os, resource, sys
from pathlib import Path
from forecast_assets.errors import StoreError
from forecast_assets_tests.store_builders import make_store, write_series

scratch, full, *closed = map(Path, sys.argv[1:])

def use(folder):
    store = make_store(folder)
    for action in (
        lambda: print(len(store.history("series"))),
        lambda: write_series(store, *range(50)),
        lambda: store.write_report_files("reports/x", {"report.html": "x" * 5000}),
    ):
        try:
            action()
        except StoreError as error:
            print(error)

write_series(make_store(scratch), 1)  # imports everything while it is possible
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
use(full)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for folder in closed:
    use(folder)
"""


def set_mode(folder: Path, *, directories: int, files: int) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(directories if path.is_dir() else files)


def test_a_full_disk_and_missing_permissions_are_named_and_change_nothing():
    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to other users
        root = Path(name)
        root.chmod(0o755)
        full, read_only, closed = (make_store(root / n) for n in ("full", "read_only", "closed"))
        for store in (full, read_only, closed):
            write_series(store, 1)
        set_mode(read_only.var, directories=0o555, files=0o444)
        Path(closed.uri).chmod(0o700 if os.geteuid() == 0 else 0o000)
        folders = [root / "scratch", *(store.var for store in (full, read_only, closed))]
        done = subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS, *map(str, folders)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        set_mode(read_only.var, directories=0o755, files=0o644)
        Path(closed.uri).chmod(0o755)
        lines = done.stdout.splitlines()
        check_refusals(lines[:3], full, "File too large")
        check_refusals(lines[3:6], read_only, "Permission denied")
        message = f"Could not read the history of series in the store {closed.uri}"
        assert lines[6].startswith(message)
        assert "Permission denied" in lines[6]
        for store in (full, read_only, closed):
            assert len(make_store(store.var).history("series")) == 1
            assert not problems(store)
        assert write_series(full, 3).version == 1


def check_refusals(lines: list[str], store: Store, cause: str) -> None:
    n_versions, *messages = lines
    assert n_versions == "1"
    places = f"series in the store {store.uri}", f"the files of reports/x in the folder {store.var}"
    for message, place in zip(messages, places, strict=True):
        assert message.startswith(f"Could not write {place}: ")
        assert cause in message
        assert "Earlier versions are unchanged. Check that" in message


# Files of the report
def test_report_files_are_written_whole_and_listed_with_their_hashes(tmp_path: Path):
    store = make_store(tmp_path)
    store.write_report_files("reports/1", {"report.md": "a long first text"})
    rows = store.write_report_files("reports/1", {"report.html": "<p>ü", "report.md": "# ü"})
    assert rows["file"].tolist() == ["reports/1/report.html", "reports/1/report.md"]
    assert rows["n_bytes"].tolist() == [5, 4]
    assert (tmp_path / "reports/1/report.md").read_text(encoding="utf-8") == "# ü"
    assert len(list((tmp_path / "reports/1").iterdir())) == 2
    store.write(rows, make_commit("weekly_report"))
    assert not problems(store)
