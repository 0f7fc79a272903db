"""The store: a version for every write, none ever overwritten, whoever else writes and fails."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import DataError, StoreError, VersionNotFoundError
from forecast_assets.storage.audit import verify
from forecast_assets.storage.contract import Column, TableContract
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF, make_series
from forecast_assets_tests.store_builders import (
    BACKTEST,
    data_files,
    log_entry,
    make_commit,
    make_input,
    make_predictions,
    make_scores,
    make_store,
    write_from_elsewhere,
    write_predictions,
    write_series,
)

NOBODY = 65534


def unsound(store: Store, *assets: str) -> list[str | None]:
    return [f.problem for f in verify(store, assets or list(store.tables)) if f.problem]


def test_every_write_is_a_version_and_old_ones_stay_readable(tmp_path: Path):
    store = make_store(tmp_path)
    written = [write_series(store, *range(n)) for n in (1, 2, 3)]
    assert [commit.version for commit in written] == [0, 1, 2]
    assert store.history("series") == written
    for commit, n in zip(written, (1, 2, 3), strict=True):
        assert store.read([commit])["y"].tolist() == list(range(n))


def test_equal_content_is_a_new_version_with_the_same_data_version(tmp_path: Path):
    store = make_store(tmp_path)
    first, second = write_series(store, 1, 2), write_series(store, 1, 2)
    assert (first.version, second.version) == (0, 1)
    assert first.data_version == second.data_version
    assert len(data_files(store, "series")) == 2


def test_every_write_of_every_partition_is_a_version(tmp_path: Path):
    store = make_store(tmp_path)
    for n in range(1, 4):
        for model in ("naive", "drift"):
            write_predictions(store, model, *([n] * n))
    assert [c.version for c in store.history(BACKTEST)] == list(range(6))
    drift = store.history(BACKTEST, partition="drift")
    assert [c.version for c in drift] == [1, 3, 5]
    assert [store.read([c])["y_hat"].tolist() for c in drift] == [[1.0], [2.0] * 2, [3.0] * 3]


def test_partitions_of_different_versions_come_as_they_were(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_predictions(store, "naive", 1)
    write_predictions(store, "naive", 2)
    drift = write_predictions(store, "drift", 3)
    assert store.read([drift, old])["y_hat"].tolist() == [3.0, 1.0]


def test_a_commit_says_who_wrote_it_for_when_and_from_what(tmp_path: Path):
    store = make_store(tmp_path)
    raw = write_series(store, 1, 2)
    wrote = write_predictions(store, "naive", 1, 2, 3, run_id="r1", inputs=[raw])
    (read,) = make_store(tmp_path).history(BACKTEST)
    assert read == wrote
    assert (read.asset, read.partition, read.run_id, read.as_of) == (BACKTEST, "naive", "r1", AS_OF)
    assert (read.code_version, read.n_rows) == ("1", 3)
    assert read.inputs == (raw.as_input,)
    assert read.made_from == "series 0"
    assert len(read.data_version) == len(read.content) == 32
    entry = log_entry(store, BACKTEST, 0).read_text().splitlines()
    said = next(line["commitInfo"] for line in map(json.loads, entry) if "commitInfo" in line)
    assert {
        "run_id",
        "asset",
        "partition",
        "as_of",
        "code_version",
        "data_version",
        "inputs",
    } <= set(said)


def test_made_from_joins_the_versions_of_one_asset(tmp_path: Path):
    store = make_store(tmp_path)
    read = [write_series(store, 1), *(write_predictions(store, m, 1) for m in ("a", "b", "c"))]
    commit = store.write(make_scores(), make_commit("metrics", inputs=read))
    assert commit.made_from == "series 0, backtest_predictions 0-2"


def test_old_versions_are_readable_after_the_levels_changed(tmp_path: Path):
    old = make_store(tmp_path).write(make_scores(mae=1.5), make_commit("metrics"))
    store = make_store(tmp_path, levels=[50])
    new = store.write(make_scores([50], mae=2.5), make_commit("metrics"))
    assert "coverage_95" in store.read([old]).columns
    assert "coverage_95" not in store.read([new]).columns
    assert "coverage_50" in store.read([new]).columns
    assert store.read([old])["mae"].tolist() == [1.5]
    assert not unsound(store)
    assert not unsound(make_store(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        'a "b"',
        "a/b",
        "a\\b",
        "a b",
        "ünïcode 日本",
        "a=b%20c",
        "..",
        "null",
        "01",
        "new\nline",
        "*?[x]",
        "__HIVE_DEFAULT_PARTITION__",
        "x' OR model = 'other",
    ],
)
def test_a_partition_may_have_any_name(tmp_path: Path, name: str):
    store = make_store(tmp_path)
    other = write_predictions(store, "other", 7)
    first, second = write_predictions(store, name, 1), write_predictions(store, name, 2, 3)
    for opened in (store, make_store(tmp_path)):
        assert opened.history(BACKTEST, partition=name) == [first, second]
        assert opened.read([first])["model"].tolist() == [name]
        assert opened.read([second])["y_hat"].tolist() == [2.0, 3.0]
        assert opened.read([other])["y_hat"].tolist() == [7.0]
        assert not unsound(opened, BACKTEST)


def kinds_store(folder: Path) -> Store:
    """A store of one table with a column of every kind, null wherever the kind can be."""
    kinds = ("string", "float", "datetime", "timestamp")
    columns = (
        Column("key", "int", "The order."),
        *(Column(kind, kind, "Nullable.", nullable=True) for kind in kinds),
        Column("bool", "bool", "Never null."),
        Column("date", "date", "A day.", nullable=True),
    )
    return Store(
        str(folder / "kinds"), {"kinds": TableContract("kinds", ("key",), columns)}, var=folder
    )


def kinds_frame() -> pd.DataFrame:
    """Every kind's ends, and a null where the kind has one."""
    return pd.DataFrame(
        {
            "key": [0, 1, 2, np.iinfo("int64").max],
            "string": ["", "ü 'quoted' \"twice\"\n", None, "null"],
            "float": [0.1, -np.inf, np.nan, 5e-324],
            "datetime": pd.to_datetime(
                ["2024-03-31 02:30:00.123456", "1900-01-01", None, "2262-01-01"], format="ISO8601"
            ),
            "timestamp": pd.to_datetime(
                ["2024-10-27T00:30:00.000001Z", "1970-01-01T00:00Z", None, "1900-01-01T00:00Z"],
                format="ISO8601",
                utc=True,
            ),
            "bool": [True, False, True, False],
            "date": pd.to_datetime(["2024-02-29", "1900-01-01", None, "2262-01-01"]),
        }
    )


def test_every_kind_of_column_comes_back_as_it_was(tmp_path: Path):
    store = kinds_store(tmp_path)
    commit = store.write(kinds_frame(), make_commit("kinds"))
    expected = store.tables["kinds"].arrange(kinds_frame())
    read = kinds_store(tmp_path).read([commit])
    pd.testing.assert_frame_equal(read, expected, check_exact=True)
    assert read["string"].tolist() == ["", "ü 'quoted' \"twice\"\n", None, "null"]
    assert store.tables["kinds"].data_version(read) == commit.data_version
    assert not unsound(store)


def test_one_partition_or_many_have_the_same_columns_and_types(tmp_path: Path):
    store = make_store(tmp_path)
    empty = store.write(make_predictions("empty").head(0), make_commit(BACKTEST, "empty"))
    one, other = write_predictions(store, "a", 1, np.nan), write_predictions(store, "b", 2)
    expected = store.tables[BACKTEST].empty().dtypes
    for chosen in ([empty], [one], [one, other], [empty, one], [other, one, empty]):
        pd.testing.assert_series_equal(store.read(chosen).dtypes, expected)


def test_a_version_of_no_rows_is_a_version(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1, 2)
    commit = store.write(store.tables["series"].empty(), make_commit("series"))
    assert (commit.version, commit.n_rows) == (1, 0)
    assert store.read([commit]).empty
    assert not unsound(store)


def test_rows_come_in_the_order_of_the_key(tmp_path: Path):
    store = make_store(tmp_path)
    shuffled = make_series(b=[1, 2], a=[3, 4]).iloc[[3, 0, 2, 1]]
    commit = store.write(shuffled, make_commit("series"))
    pd.testing.assert_frame_equal(store.read([commit]), make_series(b=[1, 2], a=[3, 4]))


def test_more_than_a_hundred_versions_stay_readable_past_delta_s_checkpoint(tmp_path: Path):
    store = make_store(tmp_path)
    written = [write_series(store, n) for n in range(102)]
    assert list(Path(store.location("series")).rglob("*.checkpoint.parquet"))
    opened = make_store(tmp_path)
    assert opened.history("series") == written
    assert [opened.read([written[n]])["y"].item() for n in (0, 50, 101)] == [0.0, 50.0, 101.0]


# Other processes
def in_processes(folder: Path, *models: Sequence[str]) -> list[list[tuple[int, str | None, str]]]:
    """Let a process each write its partitions, all at once."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(models), mp_context=spawn) as pool:
        return list(pool.map(write_from_elsewhere, [folder] * len(models), models))


@pytest.mark.parametrize(
    "models", [["a", "b", "c", "d"], ["a", "a", "a", "a"]], ids=["disjoint", "same"]
)
def test_four_processes_that_write_at_once_all_land(tmp_path: Path, models: list[str]):
    n = 4
    wrote = in_processes(tmp_path, *([model] * n for model in models))
    store = make_store(tmp_path)
    history = [(c.version, c.partition, c.content) for c in store.history(BACKTEST)]
    # Each process names the versions that it wrote as the log does.
    assert sorted(one for some in wrote for one in some) == history
    assert [version for version, _, _ in history] == list(range(4 * n))
    assert not unsound(store, BACKTEST)


def test_an_open_store_sees_what_another_process_wrote(tmp_path: Path):
    store = make_store(tmp_path)
    write_predictions(store, "naive", 5)
    in_processes(tmp_path, ["drift", "naive"])
    assert [c.partition for c in store.history(BACKTEST)] == ["naive", "drift", "naive"]
    assert write_predictions(store, "naive", 6).version == 3


def test_a_store_reads_commits_that_another_one_wrote(tmp_path: Path):
    store, other = make_store(tmp_path), make_store(tmp_path)
    first = write_predictions(store, "naive", 1)
    write_predictions(other, "naive", 2)
    drift = write_predictions(other, "drift", 3)
    assert make_store(tmp_path).read([drift])["y_hat"].tolist() == [3.0]
    assert store.read([first, drift])["y_hat"].tolist() == [3.0, 1.0]


def test_a_version_that_no_try_can_commit_is_refused_and_the_rest_stands(tmp_path: Path):
    store = make_store(tmp_path)
    first = write_series(store, 1)
    log_entry(store, "series", 1).mkdir()  # the next number is taken, and never listed
    with pytest.raises(StoreError, match=r"Could not write series in the store .*earlier version"):
        write_series(store, 2)
    assert make_store(tmp_path).history("series") == [first]
    log_entry(store, "series", 1).rmdir()
    assert write_series(store, 2).version == 1


# What a run that was killed leaves behind
@pytest.mark.parametrize(
    "left",
    [
        [],
        ["_delta_log/"],
        ["part-0.snappy.parquet"],
        ["part-0.snappy.parquet#1", "_delta_log/", "_delta_log/_commit_1.json.tmp"],
        ["_delta_log/", "_delta_log/00000000000000000000.json#1"],
    ],
)
def test_what_an_interrupted_first_write_left_is_no_version(tmp_path: Path, left: list[str]):
    store = make_store(tmp_path)
    folder = Path(store.location("series"))
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text('{"prot')
    assert store.history("series") == []
    commit = write_series(store, 1)
    assert (commit.version, store.read([commit])["y"].tolist()) == (0, [1.0])
    assert not unsound(make_store(tmp_path))


def test_a_table_that_was_deleted_under_an_open_store_begins_anew(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    Path(store.location("series")).rename(tmp_path / "elsewhere")
    assert store.history("series") == []
    assert write_series(store, 2).version == 0


# Refusals
def test_a_contract_breach_leaves_nothing_written(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(DataError, match=r"breaks its contract.*earlier versions stand"):
        write_series(store, 1, np.nan)
    assert not Path(store.location("series")).exists()
    write_series(store, 1)
    with pytest.raises(DataError, match=r"its columns differ"):
        store.write(make_series(a=[1]).assign(z=1), make_commit("series"))
    assert len(store.history("series")) == len(data_files(store, "series")) == 1


@pytest.mark.parametrize(
    ("partition", "says"),
    [
        ("drift", "2 rows cannot be written as the partition 'drift' .* they hold rows of naive"),
        (None, "partition None of backtest_predictions: a version .* needs the name of its model"),
        ("", "partition '' of backtest_predictions: a version .* needs the name of its model"),
    ],
)
def test_rows_of_another_partition_are_refused(tmp_path: Path, partition: str | None, says: str):
    store = make_store(tmp_path)
    with pytest.raises(DataError, match=says):
        store.write(make_predictions("naive", 1, 2), make_commit(BACKTEST, partition))
    assert store.history(BACKTEST) == []


def test_a_table_without_partitions_refuses_one(tmp_path: Path):
    with pytest.raises(DataError, match=r"series has no partitions. Nothing was written"):
        make_store(tmp_path).write(make_series(a=[1]), make_commit("series", "naive"))


def test_an_unknown_asset_is_refused_with_those_there_are(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(VersionNotFoundError, match=r"no asset 'nope'.* raw_data, .*weekly_report"):
        store.history("nope")
    with pytest.raises(VersionNotFoundError, match=r"no asset 'nope'"):
        store.write(make_series(a=[1]), make_commit("nope"))


def test_an_unknown_partition_is_refused_with_those_there_are(tmp_path: Path):
    store = make_store(tmp_path)
    for model in ("naive", "drift"):
        write_predictions(store, model, 1)
    with pytest.raises(
        VersionNotFoundError,
        match=r"partition 'x'; it has versions of drift, naive\. Run `forecast-ass",
    ):
        store.history(BACKTEST, partition="x")
    with pytest.raises(
        VersionNotFoundError, match=r"partition 'x'; it has versions of no partition"
    ):
        store.history("series", partition="x")


def test_a_version_that_was_read_and_is_gone_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    with pytest.raises(
        VersionNotFoundError,
        match=r"series has no version 5, though .*deleted or replaced.*again",
    ):
        store.commit(make_input("series", 5))


@pytest.mark.parametrize("version", [0, 1])
def test_a_damaged_log_is_refused_with_the_way_to_find_the_damage(tmp_path: Path, version: int):
    store = make_store(tmp_path)
    for y in range(3):
        write_series(store, y)
    entry = log_entry(store, "series", version)
    entry.write_text(entry.read_text().replace(AS_OF.isoformat(), "last Monday"))
    with pytest.raises(
        StoreError, match=rf"the log entry {version} of series .*'last Monday'.*back-up restores"
    ):
        make_store(tmp_path).history("series")


def test_a_log_that_lost_entries_behind_a_checkpoint_is_refused(tmp_path: Path):
    store = make_store(tmp_path)
    for y in range(101):
        write_series(store, y)
    log_entry(store, "series", 0).unlink()
    with pytest.raises(
        StoreError, match=r"log of series .* lost 1 of 101 entries.*none was read.*`_delta_log`"
    ):
        make_store(tmp_path).history("series")


def test_a_commit_of_another_tool_is_listed_with_what_is_known(tmp_path: Path):
    import deltalake  # noqa: PLC0415 - the other tool

    store = make_store(tmp_path)
    write_series(store, 1)
    rows = deltalake.DeltaTable(store.location("series")).to_pyarrow_table()
    deltalake.write_deltalake(store.location("series"), rows, mode="overwrite")
    foreign = store.history("series")[-1]
    assert (foreign.version, foreign.run_id, foreign.as_of) == (1, "", foreign.written_at)
    assert unsound(store, "series") == [
        "not written by forecast_assets: nothing is recorded to compare it with"
    ]


OTHER_PROCESS = """
import os, resource, sys
from pathlib import Path
from forecast_assets.errors import StoreError
from forecast_assets_tests.store_builders import make_store, write_series

folder, scratch, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
write_series(make_store(scratch), 1)  # all that is imported late is, while it can be
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
elif os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = make_store(folder)
for doing in (
    lambda: print(len(store.history("series"))),
    lambda: write_series(store, *range(50)),
    lambda: store.write_report_files("reports/x", {"report.html": "x" * 5000}),
):
    try:
        doing()
    except StoreError as error:
        print(error)
"""


def as_another_user_or_limit(folder: Path, scratch: Path, how: str) -> list[str]:
    """What a process says that may not write, or whose disk is full; a line each."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(folder), str(scratch), how],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_full_store_is_refused_and_every_version_stands(tmp_path: Path):
    store = make_store(tmp_path)
    commits = [write_series(store, 1), write_series(store, 1, 2)]
    n_known, table, files = as_another_user_or_limit(tmp_path, tmp_path / "scratch", "full")
    assert n_known == "2"
    for said, what in ((table, "series"), (files, "the files of reports/x")):
        assert said.startswith(f"Could not write {what} in the store {store.uri}: ")
        assert "File too large" in said
        assert "every earlier version stands. See that" in said
    assert make_store(tmp_path).history("series") == commits
    assert not unsound(store)
    assert write_series(store, 3).version == 2


def set_mode(folder: Path, *, directories: int, files: int) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(directories if path.is_dir() else files)


def test_a_read_only_store_is_read_and_refuses_to_write():
    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to other users
        folder = Path(name) / "var"
        store = make_store(folder)
        commit = write_series(store, 1)
        Path(name).chmod(0o755)
        set_mode(folder, directories=0o555, files=0o444)
        n_known, table, files = as_another_user_or_limit(folder, Path(name) / "scratch", "closed")
        set_mode(folder, directories=0o755, files=0o644)
        assert n_known == "1"
        for said, what in ((table, "series"), (files, "the files of reports/x")):
            assert said.startswith(f"Could not write {what} in the store {store.uri}: ")
            assert "Permission denied" in said
            assert "that this user may read and write it" in said
        assert make_store(folder).history("series") == [commit]
        assert not unsound(store)


def test_a_store_that_may_not_be_looked_into_is_not_taken_for_an_empty_one():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "var"
        store = make_store(folder)
        write_series(store, 1)
        Path(name).chmod(0o755)
        Path(store.uri).chmod(0o700 if os.geteuid() == 0 else 0o000)
        history, table, _ = as_another_user_or_limit(folder, Path(name) / "scratch", "closed")
        Path(store.uri).chmod(0o755)
        assert history.startswith(f"Could not read the history of series in the store {store.uri}")
        assert "Permission denied" in table


# Files beside the tables
def test_kept_files_are_whole_and_listed_with_their_hashes(tmp_path: Path):
    store = make_store(tmp_path)
    rows = store.write_report_files("reports/1", {"report.html": "<p>ü", "report.md": "# ü"})
    assert rows["file"].tolist() == ["reports/1/report.html", "reports/1/report.md"]
    assert rows["n_bytes"].tolist() == [5, 4]
    assert (tmp_path / "reports/1/report.md").read_text(encoding="utf-8") == "# ü"
    assert sorted(p.name for p in (tmp_path / "reports/1").iterdir()) == [
        "report.html",
        "report.md",
    ]
    store.write(rows, make_commit("weekly_report"))
    assert not unsound(store)


def test_keeping_a_file_again_replaces_it_whole(tmp_path: Path):
    store = make_store(tmp_path)
    store.write_report_files("reports/1", {"report.md": "a long first text"})
    store.write_report_files("reports/1", {"report.md": "short"})
    assert (tmp_path / "reports/1/report.md").read_text(encoding="utf-8") == "short"


def test_files_that_cannot_be_kept_are_refused(tmp_path: Path):
    (tmp_path / "reports").write_text("a file where a folder must be")
    with pytest.raises(StoreError, match=r"Could not write the files of reports/1 in the store"):
        make_store(tmp_path).write_report_files("reports/1", {"report.md": "x"})


def test_threads_that_share_a_store_read_one_history(tmp_path: Path):
    """As the daemon's sensors do, that all begin with a store that was just opened."""
    write_series(make_store(tmp_path), 1)
    for n in range(2, 25):
        write_series(make_store(tmp_path), n)
    for _ in range(20):
        store = make_store(tmp_path)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(store.history, ["series"] * 4))
        assert [[one.version for one in history] for history in found] == [[*range(24)]] * 4
