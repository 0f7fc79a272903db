"""Looking back: selecting, reading by run, refusing mixtures, comparing, and verifying."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import MixedVintages, UnknownVersion
from forecast_assets.store import Commit, Store
from forecast_assets.versions import diff, read_by_run, refuse_mixtures, select, verify
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.stored import (
    BAKE_OFF,
    data_files,
    log_entry,
    make_commit,
    make_scores,
    make_store,
    write_predictions,
    write_series,
)

WEEK = timedelta(weeks=1)


def numbers(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def make_weeks(folder: Path) -> Store:
    """Two partitions over two weeks, then the first week repeated: versions 0-1, 2-3 and 4-5."""
    store = make_store(folder)
    for run_id, as_of in (("aa1", AS_OF), ("ab2", AS_OF + WEEK), ("ac3", AS_OF)):
        for model in ("naive", "drift"):
            write_predictions(store, model, 1.0, run_id=run_id, as_of=as_of)
    return store


# select


def test_with_nothing_asked_a_repeated_old_week_is_not_the_latest(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF)) == [3, 2]  # drift, naive


def test_of_one_as_of_the_last_written_is_the_newest(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, as_of=AS_OF + WEEK / 2)) == [5, 4]


def test_a_version_is_the_table_as_it_stood_after_that_commit(tmp_path: Path):
    store = make_weeks(tmp_path)
    assert numbers(select(store, BAKE_OFF, version=0)) == [0]
    assert numbers(select(store, BAKE_OFF, version=4)) == [3, 4]
    assert numbers(select(store, BAKE_OFF, version=4, partitions=["drift"])) == [3]


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, run_id="ab")) == [3, 2]


def test_a_partition_is_shown_alone(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, partitions=["naive"])) == [2]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"version": 6}, r"answers to version 6: it has versions 0 to 5, so there is nothing"),
        ({"version": -1}, r"answers to version -1: it has versions 0 to 5"),
        ({"as_of": AS_OF - WEEK}, r"answers to known on 2025-12-29T00:00:00\+00:00: it has"),
        ({"run_id": "zz"}, r"answers to run zz: it has .* `forecast-assets history backtest_pre"),
        ({"partitions": ["x"]}, r"answers to partition x: it has versions 0 to 5"),
        ({"partitions": ["naive", "x"]}, r"answers to partition naive, x: it has versions 0 to 5"),
        ({"run_id": "aa", "version": 0, "partitions": ["drift"]}, r"partition drift, version 0, r"),
        ({"run_id": "a"}, r"3 runs that wrote .* begin with 'a': aa1, ab2, ac3\. .*more of its id"),
    ],
)
def test_what_nothing_answers_to_is_refused(tmp_path: Path, asked: dict[str, object], says: str):
    with pytest.raises(UnknownVersion, match=says):
        select(make_weeks(tmp_path), BAKE_OFF, **asked)


def test_an_asset_that_was_never_made_is_refused_with_the_command_that_makes_it(tmp_path: Path):
    with pytest.raises(
        UnknownVersion,
        match=r"series has nothing that answers to that: it has no version at all, .* Make one:"
        r" dagster asset materialize -m forecast_assets.definitions --select series\.",
    ):
        select(make_store(tmp_path), "series")


# read_by_run


def read(store: Store, *runs: str, models: tuple[str, ...] = ("naive",)) -> list[int]:
    return numbers(read_by_run(store, BAKE_OFF, partitions=models, runs=runs, as_of=AS_OF))


def test_a_step_reads_what_its_own_run_wrote(tmp_path: Path):
    assert read(make_weeks(tmp_path), "aa1") == [0]
    assert read(make_weeks(tmp_path / "other"), "ab2") == [2]  # its own is never too new


def test_a_step_of_a_repeated_run_reads_its_parent_s(tmp_path: Path):
    assert read(make_weeks(tmp_path), "new", "aa1") == [0]
    assert read(make_weeks(tmp_path / "other"), "new", "ab2", "aa1") == [2]


def test_a_step_reads_the_last_that_its_run_wrote(tmp_path: Path):
    store = make_weeks(tmp_path)
    write_predictions(store, "naive", 2, run_id="aa1")
    assert read(store, "aa1") == [6]


def test_a_step_of_a_new_run_reads_the_newest_that_was_known(tmp_path: Path):
    assert read(make_weeks(tmp_path), "new", models=("drift", "naive")) == [5, 4]


def test_a_table_without_partitions_is_read_by_run(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    assert numbers(read_by_run(store, "series", partitions=None, runs=["new"], as_of=AS_OF)) == [0]


def test_every_partition_that_is_missing_is_named_with_its_command(tmp_path: Path):
    command = "dagster asset materialize -m forecast_assets.definitions --select"
    with pytest.raises(
        UnknownVersion,
        match=rf"no version of theta, ses that was known on 2026-01-05 00:00 UTC.*Make it first:"
        rf" {command} {BAKE_OFF} --partition ses && {command} {BAKE_OFF} --partition theta$",
    ):
        read(make_weeks(tmp_path), "new", models=("naive", "theta", "ses"))


def test_a_version_of_a_later_moment_is_not_there_for_an_earlier_run(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1, as_of=AS_OF + WEEK)
    with pytest.raises(
        UnknownVersion, match=r"series has no version at all that was known on 2026"
    ):
        read_by_run(store, "series", partitions=None, runs=["new"], as_of=AS_OF)


def test_many_missing_partitions_are_mended_by_the_whole_week(tmp_path: Path):
    with pytest.raises(UnknownVersion, match=r"a, b, c, d, e that .* -j weekly_forecast$"):
        read(make_store(tmp_path), "new", models=("a", "b", "c", "d", "e"))


# refuse_mixtures


def test_inputs_of_one_vintage_belong_together(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1, 2)
    models = [write_predictions(store, m, 1, inputs=[series]) for m in ("naive", "drift")]
    refuse_mixtures(store, [series, *models], for_asset="metrics")


def test_a_stale_partition_is_named_with_its_command(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    stale = write_predictions(store, "naive", 1, inputs=[old])
    new = write_series(store, 1, 2, 3)
    fresh = write_predictions(store, "drift", 1, inputs=[new])
    with pytest.raises(
        MixedVintages,
        match=r"inputs of metrics .*: backtest_predictions of naive descend from an older series\."
        r".*nothing was made.*--select backtest_predictions --partition naive$",
    ):
        refuse_mixtures(store, [new, stale, fresh], for_asset="metrics")


def test_the_same_data_under_a_new_version_is_not_stale(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    models = [write_predictions(store, "naive", 1, inputs=[old])]
    again = write_series(store, 1, 2)
    models.append(write_predictions(store, "drift", 1, inputs=[again]))
    refuse_mixtures(store, [again, *models], for_asset="metrics")


def test_what_lies_between_is_made_again_too(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    models = [write_predictions(store, m, 1, inputs=[old]) for m in ("naive", "drift")]
    scores = store.write(make_scores(), make_commit("metrics", inputs=[old, *models]))
    new = write_series(store, 1, 2, 3)
    with pytest.raises(
        MixedVintages,
        match=r"metrics descend from an older series.*--partition drift && .*--partition naive"
        r" && .*--select metrics$",
    ):
        refuse_mixtures(store, [new, scores], for_asset="best_model")


def test_an_ancestor_that_is_gone_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1)
    naive = write_predictions(store, "naive", 1, inputs=[series])
    shutil.rmtree(store.location("series"))
    with pytest.raises(UnknownVersion, match=r"series has no version 0, though .*was deleted"):
        refuse_mixtures(make_store(tmp_path), [naive], for_asset="metrics")


# diff


def test_a_diff_names_what_was_added_removed_and_changed(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_predictions(store, "naive", 1, 2, np.nan)
    other = write_predictions(store, "drift", 9)
    new = write_predictions(store, "naive", 1, 2.5, 3, 4)
    frame = diff(store, [old, other], [new])
    changed = frame[frame["change"] == "changed"].set_index("column")
    assert changed.loc["error", ["old", "new"]].tolist() == ["it failed", None]
    assert changed.loc["y_hat", "new"].tolist() == [2.5, 3.0]
    assert changed.loc["y_hat", "old"].iloc[0] == 2.0
    assert frame.loc[frame["change"] == "added", "model"].tolist() == ["naive"]
    assert frame.loc[frame["change"] == "removed", "model"].tolist() == ["drift"]
    assert list(frame.columns)[-4:] == ["change", "column", "old", "new"]


def test_a_diff_of_equal_versions_is_empty(tmp_path: Path):
    store = make_store(tmp_path)
    old, new = write_series(store, 1, 2), write_series(store, 1, 2)
    assert diff(store, [old], [new]).empty


def test_volatile_columns_do_not_count_as_change(tmp_path: Path):
    store = make_store(tmp_path)
    old = store.write(make_scores(), make_commit("metrics"))
    new = store.write(make_scores().assign(fit_seconds=99.0), make_commit("metrics"))
    assert diff(store, [old], [new]).empty


def test_nulls_on_both_sides_are_no_change(tmp_path: Path):
    store = make_store(tmp_path)
    frame = make_scores().assign(mape=np.nan)
    old, new = (store.write(frame, make_commit("metrics")) for _ in range(2))
    assert diff(store, [old], [new]).empty


def test_rows_without_a_key_come_and_go(tmp_path: Path):
    store = make_store(tmp_path)
    rows = pd.DataFrame({"unique_id": "a", "ds": pd.Timestamp("2024-01-05"), "y": [1, 1, np.nan]})
    old = store.write(rows, make_commit("raw_data"))
    new = store.write(rows.assign(y=[1, 2, np.nan]), make_commit("raw_data"))
    frame = diff(store, [old], [new])
    assert frame[["y", "occurrence", "change"]].to_numpy().tolist() == [
        [1.0, 1, "removed"],
        [2.0, 0, "added"],
    ]


def test_columns_of_an_older_contract_are_compared_as_null(tmp_path: Path):
    old = make_store(tmp_path, levels=[50]).write(make_scores([50]), make_commit("metrics"))
    store = make_store(tmp_path)
    new = store.write(make_scores(mae=2.0), make_commit("metrics"))
    frame = diff(store, [old], [new]).set_index("column")
    assert pd.isna(frame.loc["coverage_80", "old"])
    assert frame.loc["coverage_80", "new"] == 2.0


# verify


def problems(store: Store, *assets: str) -> dict[tuple[str, int], str]:
    findings = verify(store, assets or list(store.tables))
    return {(f.asset, f.version): f.problem for f in findings if f.problem}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def replace_by_its_neighbour(file: Path) -> None:
    """A valid file of other values and the same length: Delta sees no difference."""
    others = [path for path in file.parent.glob("*.parquet") if path != file]
    assert {path.stat().st_size for path in others} == {file.stat().st_size}
    shutil.copyfile(others[0], file)


def test_untouched_versions_are_sound(tmp_path: Path):
    store = make_weeks(tmp_path)
    write_series(store, 1)
    findings = verify(store, store.tables)
    assert [(f.asset, f.version, f.partition, f.problem) for f in findings] == [
        ("series", 0, None, None),
        *((BAKE_OFF, n, "drift" if n % 2 else "naive", None) for n in range(6)),
    ]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, "cannot be read: Could not read version 1 of series in the store"),
        (lambda file: flip(file, 60), "cannot be read|not what was recorded"),
        (lambda file: file.write_bytes(b""), "cannot be read: Could not read version 1"),
        (lambda file: file.write_bytes(b"PAR1" * 30), "cannot be read: Could not read version 1"),
        (replace_by_its_neighbour, "its content is not what was recorded"),
    ],
    ids=["deleted", "bit flipped", "emptied", "garbage", "replaced"],
)
def test_a_damaged_data_file_is_named_by_its_version(
    tmp_path: Path, damage: Callable[[Path], object], says: str
):
    store = make_store(tmp_path)
    for y in range(3):
        write_series(store, y, y + 0.25, y + 0.5)
    damage(data_files(store, "series")[1])
    for opened in (store, make_store(tmp_path)):
        found = problems(opened, "series")
        assert list(found) == [("series", 1)]
        assert any(one in found["series", 1] for one in says.split("|"))


def test_no_flipped_byte_of_a_data_file_goes_unnoticed(tmp_path: Path):
    store = make_store(tmp_path)
    commit = write_predictions(store, "naive", 1, np.nan, 3)
    (file,) = data_files(store, BAKE_OFF)
    sound = file.read_bytes()
    n_named = 0
    for offset in range(0, len(sound), 25):
        flip(file, offset)
        if problems(store, BAKE_OFF):
            n_named += 1
        else:  # a byte that no value hangs on
            assert store.content(commit) == commit.content
        file.write_bytes(sound)
    assert n_named > 10


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_deleted_log_entry_is_named_by_its_version(tmp_path: Path, lost: int):
    store = make_store(tmp_path)
    for y in range(3):
        last = write_series(store, y)
    write_predictions(store, "naive", 1, inputs=[last])
    log_entry(store, "series", lost).unlink()
    found = problems(make_store(tmp_path))
    assert list(found) == [("series", lost)]
    assert ("it is gone" if lost == 2 else "what follows cannot be read") in found["series", lost]


def test_a_damaged_log_entry_is_named_by_its_version(tmp_path: Path):
    store = make_store(tmp_path)
    for y in range(3):
        write_series(store, y)
    entry = log_entry(store, "series", 1)
    entry.write_text(entry.read_text().replace(AS_OF.isoformat(), "2026-99-99"))
    assert list(problems(make_store(tmp_path))) == [("series", 1)]


def test_a_version_that_another_was_written_in_place_of_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1)
    write_predictions(store, "naive", 1, inputs=[series])
    shutil.rmtree(store.location("series"))
    write_series(make_store(tmp_path), 2)
    assert problems(make_store(tmp_path), "series") == {
        ("series", 0): "another was written in its place: backtest_predictions of naive, version 0,"
        " was made from it"
    }


def test_a_report_s_file_that_changed_or_is_gone_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    for n in range(2):
        rows = store.keep_files(f"reports/{n}", {"report.html": f"<p>{n}", "report.md": f"# {n}"})
        store.write(rows, make_commit("weekly_report"))
    assert not problems(store)
    (tmp_path / "reports/1/report.html").write_text("<p>2")
    (tmp_path / "reports/1/report.md").unlink()
    found = problems(store)
    assert list(found) == [("weekly_report", 1)]
    assert "reports/1/report.html is not what was recorded; " in found["weekly_report", 1]
    assert found["weekly_report", 1].endswith("reports/1/report.md is gone")


def test_an_unknown_asset_cannot_be_verified(tmp_path: Path):
    with pytest.raises(UnknownVersion, match=r"no asset 'nope'"):
        verify(make_store(tmp_path), ["nope"])
