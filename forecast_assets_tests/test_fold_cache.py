"""The fold cache: keys that cover all that decides a fold, and files that may be damaged."""

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.backtest import Fold, SeriesFolds, plan
from forecast_assets.compute import run_model
from forecast_assets.errors import StoreError
from forecast_assets.fold_cache import FoldCache, fold_keys
from forecast_assets.models.registry import MODELS, Model
from forecast_assets_tests.builders import make_series, make_settings, walk

NAIVE, DRIFT = MODELS["naive"], MODELS["drift"]


def make_plan(y: list[float], ends: list[int]) -> list[SeriesFolds]:
    ds = np.datetime64("2024-01-05", "ns") + 7 * np.arange(len(y)) * np.timedelta64(1, "D")
    return [SeriesFolds("a", ds, np.array(y, dtype=float), np.array(ends, dtype=np.int64))]


def keys(
    y: list[float], ends: list[int], *, model: Model = NAIVE, horizon: int = 1, season: int = 4
) -> list[bytes]:
    return fold_keys(make_plan(y, ends), model, horizon=horizon, season_length=season)


def make_folds(n: int, *, start: int = 0) -> dict[bytes, Fold]:
    """Folds of two weeks whose values need every bit, under keys that are numbers."""
    return {
        (start + i).to_bytes(16): Fold(np.array([0.1 + i, np.nextafter(i, 9e9)]), 0.1 * i)
        for i in range(n)
    }


def assert_subset(found: dict[bytes, Fold], folds: dict[bytes, Fold]) -> None:
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
    other = Model("naive", NAIVE.factory, params={"a": 1})
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
    said = [fold_keys([p], NAIVE, horizon=1, season_length=4) for p in (one, renamed)]
    assert said[0] == said[1]


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


def test_failures_are_not_kept(tmp_path: Path):
    failed = {b"0" * 16: Fold(None, 0.1, "no")}
    cache = FoldCache(tmp_path / "cache")
    cache.put(NAIVE, failed)
    assert not (tmp_path / "cache").exists()
    cache.put(NAIVE, failed | make_folds(1))
    assert list(cache.get(NAIVE, [*failed, *make_folds(1)])) == list(make_folds(1))


def test_known_folds_are_not_computed_again_and_say_the_same(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": 5}, series={"season_length": 4})
    planned = plan(make_series(a=walk(30, seed=2), b=walk(30, seed=3)), settings.backtest)
    cache = FoldCache(tmp_path / "cache")
    runs = [run_model(DRIFT, planned, settings=settings, cache=cache) for _ in range(2)]
    assert [run.n_computed for run in runs] == [10, 0]
    assert [f.y_hat.tobytes() for f in runs[0].folds] == [f.y_hat.tobytes() for f in runs[1].folds]


# Damage


def cache_file(folder: Path) -> Path:
    (file,) = folder.glob("*.sqlite")
    return file


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


def test_a_truncated_file_costs_no_more_than_time(tmp_path: Path):
    cache, folds = FoldCache(tmp_path), make_folds(300)
    cache.put(NAIVE, folds)
    file = cache_file(tmp_path)
    sound = file.read_bytes()
    for length in range(0, len(sound), len(sound) // 40):
        file.write_bytes(sound[:length])
        assert_subset(cache.get(NAIVE, list(folds)), folds)
        cache.put(NAIVE, folds)
        assert cache.get(NAIVE, list(folds)).keys() == folds.keys()


def test_a_flipped_bit_costs_no_more_than_time(tmp_path: Path):
    """All bits of the table's layout and of its last folds; a fold is the kept one or none."""
    cache, folds = FoldCache(tmp_path), make_folds(4)
    cache.put(NAIVE, folds)
    file = cache_file(tmp_path)
    sound = file.read_bytes()
    for offset in [i for i, byte in enumerate(sound) if byte]:
        for bit in (0, 4, 7):
            damaged = bytearray(sound)
            damaged[offset] ^= 1 << bit
            file.write_bytes(damaged)
            assert_subset(cache.get(NAIVE, list(folds)), folds)
    file.write_bytes(sound)
    assert cache.get(NAIVE, list(folds)).keys() == folds.keys()


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
