"""The fold cache: keys that cover all that decides a fold, and files that may be damaged."""

import logging
import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import FoldCache, fit_key, fold_keys
from forecast_assets.backtesting.folds import (
    NOT_FOR,
    TOO_SHORT,
    FoldForecast,
    Panel,
    SeriesFolds,
    split_series,
)
from forecast_assets.errors import StoreError
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.builders import make_ragged, walk
from forecast_assets_tests.worker_builders import odd_model

NAIVE, DRIFT, POOLED = MODELS["naive"], MODELS["drift"], odd_model("Pooled")
FITS = {b"a" * 16: b"a fit", b"b" * 16: bytes(range(30))}


def make_plan(y: list[float], ends: list[int]) -> list[SeriesFolds]:
    ds = np.datetime64("2024-01-05", "ns") + 7 * np.arange(len(y)) * np.timedelta64(1, "D")
    return [SeriesFolds("a", ds, np.array(y, dtype=float), np.array(ends, dtype=np.int64))]


def keys(
    y: list[float], ends: list[int], *, model: ModelSpec = NAIVE, horizon: int = 1, season: int = 4
) -> list[bytes]:
    planned = make_plan(y, ends)
    return fold_keys(planned, model, Panel.of(planned), horizon=horizon, season_length=season)


def global_keys(series: pd.DataFrame) -> dict[tuple[str, str], bytes]:
    """The keys of a global model's folds, one at each value of each series, by name and day."""
    every = [
        SeriesFolds(one.unique_id, one.ds, one.y, np.arange(1, len(one.y) + 1))
        for one in split_series(series)
    ]
    found = fold_keys(every, POOLED, Panel.of(every), horizon=1, season_length=4)
    folds = [(one.unique_id, str(day)[:10]) for one in every for day in one.ds]
    return dict(zip(folds, found, strict=True))


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """The folds that both have, under another key."""
    old, new = global_keys(before), global_keys(after)
    return {fold for fold in old.keys() & new.keys() if old[fold] != new[fold]}


def make_folds(n: int, *, start: int = 0) -> dict[bytes, FoldForecast]:
    """Folds of two weeks whose values need every bit, under keys that are numbers."""
    return {
        (start + i).to_bytes(16): FoldForecast(np.array([0.1 + i, np.nextafter(i, 9e9)]), 0.1 * i)
        for i in range(n)
    }


def assert_subset(found: dict[bytes, FoldForecast], folds: dict[bytes, FoldForecast]) -> None:
    """What is found is what was kept, bit for bit."""
    for key, fold in found.items():
        assert fold.y_hat.tobytes() == folds[key].y_hat.tobytes()
        assert fold.fit_seconds == folds[key].fit_seconds
        assert fold.error is None


# Keys
@pytest.mark.parametrize("i", range(5))
def test_every_training_value_counts(i: int):
    y = [1.0, 2.0, 3.0, 4.0, 5.0]
    changed = y.copy()
    changed[i] = np.nextafter(y[i], 9)
    assert keys(y, [5]) != keys(changed, [5])


def test_nothing_after_the_cutoff_counts():
    assert keys([1, 2, 3, 4, 5], [2, 3]) == keys([1, 2, 3, -9], [2, 3])


def test_a_key_does_not_depend_on_the_other_cutoffs():
    y = walk(30, seed=1)
    assert keys(y, [5, 17, 29])[1:] == keys(y, [17, 29])


def test_the_model_the_horizon_and_the_season_count():
    y = walk(9, seed=1)
    other = ModelSpec("naive", NAIVE.factory, params={"a": 1})
    every = [
        keys(y, [9]),
        keys(y, [9], model=DRIFT),
        keys(y, [9], model=other),
        keys(y, [9], horizon=2),
        keys(y, [9], season=5),
        keys(y, [9], horizon=14, season=4),
        keys(y, [9], horizon=1, season=44),
    ]
    assert len({tuple(one) for one in every}) == len(every)


def test_names_and_dates_do_not_count():
    (one,) = make_plan([1, 2, 3], [2])
    renamed = SeriesFolds("b", one.ds + np.timedelta64(7, "D"), one.y, one.ends)
    said = [
        fold_keys([p], NAIVE, Panel.of([p]), horizon=1, season_length=4) for p in (one, renamed)
    ]
    assert said[0] == said[1]


# Keys of a global model
SERIES = make_ragged(a=(0, [1, 2, 3, 4]), b=(1, [5, 6]), c=(2, [7, 8]))
W1, W2, W3, W4 = "2024-01-05", "2024-01-12", "2024-01-19", "2024-01-26"


@pytest.mark.usefixtures("odd_models")
def test_a_value_of_one_series_counts_for_the_folds_of_all_from_its_week_on():
    revised = make_ragged(a=(0, [1, 2, 3, 4]), b=(1, [5, 6.5]), c=(2, [7, 8]))
    assert changed(SERIES, revised) == {("a", W3), ("a", W4), ("b", W3), ("c", W3), ("c", W4)}


@pytest.mark.usefixtures("odd_models")
def test_a_new_week_changes_no_key_there_was():
    longer = make_ragged(a=(0, [1, 2, 3, 4, 5]), b=(1, [5, 6]), c=(2, [7, 8, 9]))
    assert changed(SERIES, longer) == set()
    assert len(global_keys(longer)) == len(global_keys(SERIES)) + 2


@pytest.mark.usefixtures("odd_models")
def test_the_weeks_of_a_series_that_has_ended_count_for_the_others():
    """Shifted by a week, b has as many values on the last day as before, in other weeks."""
    shifted = make_ragged(a=(0, [1, 2, 3, 4]), b=(0, [5, 6]), c=(2, [7, 8]))
    assert ("a", W4) in changed(SERIES, shifted)
    assert changed(SERIES, shifted) == global_keys(SERIES).keys() - {("b", W3)}


@pytest.mark.usefixtures("odd_models")
def test_two_series_alike_from_the_same_week_share_their_keys_and_others_do_not():
    found = global_keys(make_ragged(a=(0, [1, 2]), b=(0, [1, 2]), c=(1, [1, 2])))
    assert found["a", W2] == found["b", W2]
    assert len(set(found.values())) == 4


# Keys of fits
@pytest.mark.usefixtures("odd_models")
def test_a_fit_is_known_by_what_it_sees():
    panel, longer = [
        Panel.of(split_series(one))
        for one in (SERIES, make_ragged(a=(0, [1, 2, 3, 9, 9]), b=(1, [5, 6])))
    ]
    moved = odd_model("Anchored", refit_every=13)

    def key(model: ModelSpec, panel: Panel, anchor: int, season_length: int = 4) -> bytes:
        return fit_key(model, panel, 0, anchor, season_length=season_length)

    assert key(moved, panel, 3) == key(moved, longer, 3)
    different = [
        key(moved, panel, 3),
        key(moved, panel, 4),
        key(moved, longer, 4),
        key(moved, panel, 3, season_length=5),
        key(odd_model("Anchored", refit_every=12), panel, 3),
        key(POOLED, panel, int(panel.day(0, 3).astype(int))),
        key(POOLED, longer, int(panel.day(0, 3).astype(int))),
        key(POOLED, panel, int(panel.day(0, 4).astype(int))),
    ]
    assert len(set(different)) == len(different)


# Keeping
def test_folds_come_back_bit_for_bit(tmp_path: Path):
    folds = make_folds(20)
    FoldCache(tmp_path).put(NAIVE, folds)
    found = FoldCache(tmp_path).get(NAIVE, list(folds))
    assert found.keys() == folds.keys()
    assert_subset(found, folds)


def test_what_was_never_kept_is_not_found(tmp_path: Path):
    cache = FoldCache(tmp_path / "cache")
    assert cache.get(NAIVE, list(make_folds(3))) == {}
    assert not (tmp_path / "cache").exists()
    cache.put(NAIVE, make_folds(3))
    assert cache.get(DRIFT, list(make_folds(3))) == {}
    assert cache.get(NAIVE, list(make_folds(3, start=3))) == {}


def test_more_keys_than_one_statement_takes_are_found(tmp_path: Path):
    folds = make_folds(10_001)
    cache = FoldCache(tmp_path)
    cache.put(NAIVE, folds)
    assert cache.get(NAIVE, list(folds)).keys() == folds.keys()


def test_a_failure_is_known_to_its_own_run_alone(tmp_path: Path):
    failed = {b"0" * 16: FoldForecast(None, 0.1, "no")}
    cache = FoldCache(tmp_path)
    cache.put(NAIVE, failed | make_folds(1), run_id="1")
    asked = [*failed, *make_folds(1)]
    assert cache.get(NAIVE, asked, run_id="1")[b"0" * 16].error == "no"
    for run_id in ("2", ""):
        assert list(cache.get(NAIVE, asked, run_id=run_id)) == list(make_folds(1))


def test_a_later_run_puts_its_forecast_in_a_failures_place(tmp_path: Path):
    cache, (key, fold) = FoldCache(tmp_path), *make_folds(1).items()
    cache.put(NAIVE, {key: FoldForecast(None, 0.1, "no")}, run_id="1")
    cache.put(NAIVE, {key: fold}, run_id="2")
    for run_id in ("1", "2", "3"):
        assert_subset(cache.get(NAIVE, [key], run_id=run_id), {key: fold})
        assert len(cache.get(NAIVE, [key], run_id=run_id)) == 1


@pytest.mark.parametrize("said", [f"{TOO_SHORT}ö", f"{NOT_FOR}it goes down"])
def test_what_a_model_declines_is_known_to_every_run(tmp_path: Path, said: str):
    cache = FoldCache(tmp_path)
    cache.put(NAIVE, {b"0" * 16: FoldForecast(None, 0.1, said)}, run_id="1")
    assert cache.get(NAIVE, [b"0" * 16], run_id="2") == {b"0" * 16: FoldForecast(None, 0.1, said)}


def test_fits_come_back_as_they_were(tmp_path: Path):
    cache = FoldCache(tmp_path / "cache")
    assert cache.get_fits(NAIVE, list(FITS)) == {}
    cache.put_fits(NAIVE, {})
    assert not (tmp_path / "cache").exists()
    cache.put_fits(NAIVE, FITS)
    assert cache.get_fits(NAIVE, [*FITS, b"c" * 16]) == FITS
    assert cache.get_fits(DRIFT, list(FITS)) == {}


# Damage
def cache_file(folder: Path) -> Path:
    (file,) = folder.glob("*.sqlite")
    return file


def rewrite(folder: Path, statement: str, *values: object) -> None:
    """Change the file as nobody should."""
    with sqlite3.connect(cache_file(folder)) as connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fold SET y_hat = zeroblob(16) WHERE key = ?",
        "UPDATE fold SET fit_seconds = 7 WHERE key = ?",
        "UPDATE fold SET fit_seconds = 'dear' WHERE key = ?",
        "UPDATE fold SET y_hat = NULL, error = CAST('no' AS BLOB) WHERE key = ?",
        "UPDATE fold SET run = CAST('run' AS BLOB) WHERE key = ?",
        "UPDATE fold SET seal = zeroblob(8) WHERE key = ?",
        "UPDATE fold SET seal = 'abcdefgh' WHERE key = ?",
    ],
)
def test_a_fold_whose_seal_does_not_fit_is_not_known(tmp_path: Path, statement: str):
    cache, folds = FoldCache(tmp_path), make_folds(3)
    cache.put(NAIVE, folds)
    first, *others = folds
    rewrite(tmp_path, statement, first)
    for run_id in ("", "run"):
        assert list(cache.get(NAIVE, list(folds), run_id=run_id)) == others


def test_a_fold_under_another_key_is_not_known(tmp_path: Path):
    cache, folds = FoldCache(tmp_path), make_folds(2)
    cache.put(NAIVE, folds)
    first, _ = folds
    rewrite(tmp_path, "UPDATE fold SET key = ? WHERE key = ?", b"k" * 16, first)
    assert cache.get(NAIVE, [b"k" * 16]) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fit SET fitted = CAST('another' AS BLOB) WHERE key = ?",
        "UPDATE fit SET seal = zeroblob(8) WHERE key = ?",
        "UPDATE fit SET key = zeroblob(16) WHERE key = ?",
    ],
)
def test_a_fit_whose_seal_does_not_fit_is_not_known(tmp_path: Path, statement: str):
    cache = FoldCache(tmp_path)
    cache.put_fits(NAIVE, FITS)
    first, other = FITS
    rewrite(tmp_path, statement, first)
    assert cache.get_fits(NAIVE, [*FITS, bytes(16)]) == {other: FITS[other]}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE fold RENAME COLUMN seal TO sale",
        "ALTER TABLE fit RENAME COLUMN fitted TO fatted",
        "ALTER TABLE fit DROP COLUMN seal",
    ],
)
def test_a_file_of_another_layout_is_set_aside(tmp_path: Path, statement: str):
    cache = FoldCache(tmp_path)
    cache.put(NAIVE, make_folds(1))
    rewrite(tmp_path, statement)
    assert cache.get_fits(NAIVE, list(FITS)) == {}
    assert cache.get(NAIVE, list(make_folds(1))) == {}
    assert len(list(tmp_path.glob("*.damaged"))) == 1


@pytest.mark.parametrize(
    "content", [b"not a database at all " * 60, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_garbage_file_is_set_aside_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
):
    cache, folds = FoldCache(tmp_path), make_folds(5)
    cache.put(NAIVE, folds)
    cache_file(tmp_path).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.get(NAIVE, list(folds)) == {}
    assert "is damaged. Its folds are computed again; the file is now" in caplog.text
    assert [file.read_bytes() for file in tmp_path.glob("*.damaged")] == [content]
    cache.put(NAIVE, folds)
    assert cache.get(NAIVE, list(folds)).keys() == folds.keys()


def kept(folder: Path, n: int) -> tuple[FoldCache, dict[bytes, FoldForecast], bytes]:
    """A cache with n folds and two fits, and its file as it should be."""
    cache, folds = FoldCache(folder), make_folds(n)
    cache.put(NAIVE, folds)
    cache.put_fits(NAIVE, FITS)
    return cache, folds, cache_file(folder).read_bytes()


def assert_nothing_false(cache: FoldCache, folds: dict[bytes, FoldForecast]) -> None:
    assert_subset(cache.get(NAIVE, list(folds)), folds)
    assert cache.get_fits(NAIVE, list(FITS)).items() <= FITS.items()


def test_a_truncated_file_costs_no_more_than_time(tmp_path: Path):
    cache, folds, sound = kept(tmp_path, 300)
    for length in range(0, len(sound), len(sound) // 40):
        cache_file(tmp_path).write_bytes(sound[:length])
        assert_nothing_false(cache, folds)
        cache.put(NAIVE, folds)
        cache.put_fits(NAIVE, FITS)
        assert cache.get(NAIVE, list(folds)).keys() == folds.keys()
        assert cache.get_fits(NAIVE, list(FITS)) == FITS


def test_a_flipped_bit_costs_no_more_than_time(tmp_path: Path):
    """A bit of every byte of the tables' layout and content: all is as it was kept, or unknown."""
    cache, folds, sound = kept(tmp_path, 4)
    file = cache_file(tmp_path)
    for offset in [i for i, byte in enumerate(sound) if byte]:
        damaged = bytearray(sound)
        damaged[offset] ^= 1 << offset % 8
        file.write_bytes(damaged)
        assert_nothing_false(cache, folds)
    file.write_bytes(sound)
    assert cache.get(NAIVE, list(folds)).keys() == folds.keys()
    assert cache.get_fits(NAIVE, list(FITS)) == FITS


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "cache").write_text("a file where a folder must be")
    with pytest.raises(
        StoreError, match=r"fold cache .*naive-.*cannot be used.*Folds of naive.*disk is not full"
    ):
        FoldCache(tmp_path / "cache").put(NAIVE, make_folds(1))


def test_a_file_that_cannot_be_opened_is_refused_and_not_set_aside(tmp_path: Path):
    cache = FoldCache(tmp_path)
    cache.put(NAIVE, make_folds(1))
    file = cache_file(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match=r"cannot be used: unable to open database file"):
        cache.get(NAIVE, list(make_folds(1)))
    assert file.is_dir()


def put_in_parts(folder: Path, start: int) -> None:
    """What another process does: keep a hundred folds, ten at a time."""
    cache = FoldCache(folder)
    for part in range(start, start + 100, 10):
        cache.put(NAIVE, make_folds(10, start=part))


def test_two_processes_keep_folds_in_one_file(tmp_path: Path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(put_in_parts, [tmp_path] * 2, [0, 50]))
    folds = make_folds(150)
    found = FoldCache(tmp_path).get(NAIVE, list(folds))
    assert len(found) == 150
    assert [path.suffix for path in tmp_path.iterdir()] == [".sqlite"]
