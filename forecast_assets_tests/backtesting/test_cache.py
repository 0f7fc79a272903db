"""The fold cache: keys that cover everything that determines a fold, and damaged files."""

import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import FoldCache, fit_key, fold_keys
from forecast_assets.backtesting.fitting import FitConfig
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    SeriesFolds,
    split_series,
)
from forecast_assets.backtesting.panel import Panel
from forecast_assets.errors import StoreError
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.builders import make_ragged, walk
from forecast_assets_tests.misbehaving_models import config_of, user_model

pytestmark = pytest.mark.usefixtures("user_models")

NAIVE, DRIFT, POOLED = MODELS["naive"], MODELS["drift"], user_model("Pooled")
FITS = {b"a" * 16: b"a fit", b"b" * 16: bytes(range(30))}


def make_plan(y: list[float], ends: list[int]) -> list[SeriesFolds]:
    ds = np.datetime64("2024-01-05", "ns") + 7 * np.arange(len(y)) * np.timedelta64(1, "D")
    real = np.zeros(len(y), dtype=bool)
    return [SeriesFolds("a", ds, np.array(y, dtype=float), real, np.array(ends, dtype=np.int64))]


def keys(
    y: list[float], ends: list[int], *, model: ModelSpec = NAIVE, horizon: int = 1, season: int = 4
) -> tuple[bytes, ...]:
    planned = make_plan(y, ends)
    config = FitConfig(model, horizon, season, model.fingerprint)
    return tuple(fold_keys(config, planned, Panel.of(planned)))


def global_keys(series: pd.DataFrame) -> dict[tuple[str, str], bytes]:
    """Return the keys of a global model at each value of each series, by name and day."""
    planned = [replace(item, ends=np.arange(1, len(item.y) + 1)) for item in split_series(series)]
    folds = [(item.unique_id, str(day)[:10]) for item in planned for day in item.ds]
    return dict(zip(folds, fold_keys(config_of(POOLED), planned, Panel.of(planned)), strict=True))


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the folds of both frames whose keys differ."""
    old, new = global_keys(before), global_keys(after)
    return {fold for fold in old.keys() & new.keys() if old[fold] != new[fold]}


def make_folds(n: int, *, start: int = 0) -> dict[bytes, FoldForecast]:
    """Folds of two weeks whose values need every bit."""
    return {
        (start + i).to_bytes(16): FoldForecast(np.array([0.1 + i, np.nextafter(i, 9e9)]), 0.1 * i)
        for i in range(n)
    }


def assert_subset(found: dict[bytes, FoldForecast], folds: dict[bytes, FoldForecast]) -> None:
    """Check that the found folds are equal bit for bit."""
    for key, fold in found.items():
        assert fold.y_hat.tobytes() == folds[key].y_hat.tobytes()
        assert (fold.fit_seconds, fold.error) == (folds[key].fit_seconds, None)


# Keys
def test_a_key_covers_every_value_up_to_the_cutoff_and_none_after_it():
    y = walk(30, seed=1)
    for i in range(5):
        assert keys(y, [5]) != keys([*y[:i], np.nextafter(y[i], 999), *y[i + 1 :]], [5])
    assert keys([1, 2, 3, 4, 5], [2, 3]) == keys([1, 2, 3, -9], [2, 3])
    assert keys(y, [5, 17, 29])[1:] == keys(y, [17, 29])


def test_a_key_covers_the_model_the_horizon_and_the_season_but_no_names_and_dates():
    y = walk(9, seed=1)
    variants = [
        keys(y, [9]),
        keys(y, [9], model=DRIFT),
        keys(y, [9], model=ModelSpec("naive", NAIVE.factory, params={"a": 1})),
        keys(y, [9], horizon=2),
        keys(y, [9], season=5),
        keys(y, [9], horizon=14, season=4),
        keys(y, [9], horizon=1, season=44),
    ]
    assert len(set(variants)) == len(variants)
    (series,) = make_plan(y, [9])
    renamed = replace(series, unique_id="b", ds=series.ds + np.timedelta64(7, "D"))
    assert tuple(fold_keys(config_of(NAIVE), [renamed], Panel.of([renamed]))) == variants[0]


# Keys of a global model
SERIES = make_ragged(a=(0, [1, 2, 3, 4]), b=(1, [5, 6]), c=(2, [7, 8]))
W1, W2, W3, W4 = "2024-01-05", "2024-01-12", "2024-01-19", "2024-01-26"


def test_a_revision_changes_the_keys_of_all_series_from_its_week_on():
    revised = make_ragged(a=(0, [1, 2, 3, 4]), b=(1, [5, 6.5]), c=(2, [7, 8]))
    assert changed(SERIES, revised) == {("a", W3), ("a", W4), ("b", W3), ("c", W3), ("c", W4)}


def test_a_new_week_changes_no_older_key():
    longer = make_ragged(a=(0, [1, 2, 3, 4, 5]), b=(1, [5, 6]), c=(2, [7, 8, 9]))
    assert changed(SERIES, longer) == set()
    assert len(global_keys(longer)) == len(global_keys(SERIES)) + 2


def test_the_weeks_of_an_ended_series_are_part_of_the_keys_of_the_others():
    """Shifted by a week, b has as many values on the last day as before, in other weeks."""
    shifted = make_ragged(a=(0, [1, 2, 3, 4]), b=(0, [5, 6]), c=(2, [7, 8]))
    assert ("a", W4) in changed(SERIES, shifted)
    assert changed(SERIES, shifted) == global_keys(SERIES).keys() - {("b", W3)}


def test_equal_series_share_their_keys():
    found = global_keys(make_ragged(a=(0, [1, 2]), b=(0, [1, 2]), c=(1, [1, 2])))
    assert found["a", W2] == found["b", W2]
    assert len(set(found.values())) == 4


# Keys of fits
def test_a_fit_key_covers_the_model_the_season_and_the_values_of_the_fit():
    panel, longer = [
        Panel.of(split_series(series))
        for series in (SERIES, make_ragged(a=(0, [1, 2, 3, 9, 9]), b=(1, [5, 6])))
    ]
    anchored = user_model("Anchored", refit_every=13)

    def key(model: ModelSpec, panel: Panel, anchor: int, season_length: int = 4) -> bytes:
        config = FitConfig(model, 1, season_length, model.fingerprint)
        series, folds = (ALL_SERIES, (0, 4)) if model == POOLED else (0, (0, anchor))
        return fit_key(config, panel, FitUnit(series, anchor, (folds,)))

    assert key(anchored, panel, 3) == key(anchored, longer, 3)
    different = [
        key(anchored, panel, 3),
        key(anchored, panel, 4),
        key(anchored, longer, 4),
        key(anchored, panel, 3, season_length=5),
        key(user_model("Anchored", refit_every=12), panel, 3),
        key(POOLED, panel, int(panel.day(0, 3).astype(int))),
        key(POOLED, longer, int(panel.day(0, 3).astype(int))),
        key(POOLED, panel, int(panel.day(0, 4).astype(int))),
    ]
    assert len(set(different)) == len(different)


# Storage
def test_folds_return_bit_for_bit(tmp_path: Path):
    folds = make_folds(10_001)  # more than one query takes
    FoldCache(tmp_path).put(NAIVE, folds)
    found = FoldCache(tmp_path).get(NAIVE, list(folds))
    assert found.keys() == folds.keys()
    assert_subset(found, folds)


def test_unknown_folds_are_not_found(tmp_path: Path):
    cache = FoldCache(tmp_path / "cache")
    assert cache.get(NAIVE, list(make_folds(3))) == {}
    assert not (tmp_path / "cache").exists()
    cache.put(NAIVE, make_folds(3))
    assert cache.get(DRIFT, list(make_folds(3))) == {}
    assert cache.get(NAIVE, list(make_folds(3, start=3))) == {}


def test_a_failure_is_known_to_its_own_run_and_replaced_by_a_later_forecast(tmp_path: Path):
    cache, (failed, other) = FoldCache(tmp_path), make_folds(2)
    cache.put(NAIVE, make_folds(2) | {failed: FoldForecast(None, 0.1, "no")}, run_id="1")
    assert cache.get(NAIVE, [failed, other], run_id="1")[failed].error == "no"
    for run_id in ("2", ""):
        assert list(cache.get(NAIVE, [failed, other], run_id=run_id)) == [other]
    cache.put(NAIVE, make_folds(1), run_id="2")
    for run_id in ("1", "2", "3"):
        found = cache.get(NAIVE, [failed], run_id=run_id)
        assert_subset(found, make_folds(1))
        assert len(found) == 1


def test_a_declined_fold_is_known_to_every_run(tmp_path: Path):
    cache = FoldCache(tmp_path)
    declined = {b"0" * 16: FoldForecast(None, 0.1, "too short: ö", is_declined=True)}
    cache.put(NAIVE, declined, run_id="1")
    assert cache.get(NAIVE, list(declined), run_id="2") == declined


def test_fits_return_as_they_were(tmp_path: Path):
    cache = FoldCache(tmp_path / "cache")
    assert cache.get_fits(NAIVE, list(FITS)) == {}
    cache.put_fits(NAIVE, {})
    assert not (tmp_path / "cache").exists()
    cache.put_fits(NAIVE, FITS)
    assert cache.get_fits(NAIVE, [*FITS, b"c" * 16]) == FITS
    assert cache.get_fits(DRIFT, list(FITS)) == {}


# Damage
def filled(folder: Path, n: int) -> tuple[FoldCache, dict[bytes, FoldForecast], Path]:
    """Return a cache with n folds and two fits, and its file."""
    cache, folds = FoldCache(folder), make_folds(n)
    cache.put(NAIVE, folds)
    cache.put_fits(NAIVE, FITS)
    (file,) = folder.glob("*.sqlite")
    return cache, folds, file


def execute(file: Path, statement: str, *values: object) -> None:
    """Change the file behind the back of the cache."""
    with sqlite3.connect(file) as connection:
        connection.execute(statement, values)
    connection.close()


def assert_nothing_false(cache: FoldCache, folds: dict[bytes, FoldForecast]) -> None:
    assert_subset(cache.get(NAIVE, list(folds)), folds)
    assert cache.get_fits(NAIVE, list(FITS)).items() <= FITS.items()


@pytest.mark.parametrize(
    "change",
    [
        "y_hat = zeroblob(16)",
        "fit_seconds = 'dear'",
        "y_hat = NULL, error = CAST('no' AS BLOB)",
        "run = CAST('run' AS BLOB)",
        "seal = 'abcdefgh'",
        "key = zeroblob(15)",
    ],
)
def test_a_fold_without_a_valid_seal_is_unknown(tmp_path: Path, change: str):
    cache, folds, file = filled(tmp_path, 3)
    _, damaged, _ = folds
    execute(file, f"UPDATE fold SET {change} WHERE key = ?", damaged)  # noqa: S608 - ours
    for run_id in ("", "run"):
        found = cache.get(NAIVE, [*folds, bytes(15)], run_id=run_id)
        assert found.keys() == folds.keys() - {damaged}


def test_a_fit_without_a_valid_seal_is_unknown(tmp_path: Path):
    cache, _, file = filled(tmp_path, 1)
    damaged, other = FITS
    execute(file, "UPDATE fit SET fitted = CAST('another' AS BLOB) WHERE key = ?", damaged)
    assert cache.get_fits(NAIVE, list(FITS)) == {other: FITS[other]}


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE fold RENAME COLUMN seal TO sale", "ALTER TABLE fit DROP COLUMN seal"]
)
def test_a_file_with_other_tables_is_set_aside(tmp_path: Path, statement: str):
    cache, folds, file = filled(tmp_path, 1)
    execute(file, statement)
    assert cache.get_fits(NAIVE, list(FITS)) == {}
    assert cache.get(NAIVE, list(folds)) == {}
    assert len(list(tmp_path.glob("*.damaged"))) == 1


@pytest.mark.parametrize(
    "content", [b"not a database at all " * 60, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_set_aside_with_a_warning(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
):
    cache, folds, file = filled(tmp_path, 5)
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.get(NAIVE, list(folds)) == {}
    assert "is damaged. Its folds are computed again. The file was renamed to" in caplog.text
    assert [path.read_bytes() for path in tmp_path.glob("*.damaged")] == [content]
    cache.put(NAIVE, folds)
    assert cache.get(NAIVE, list(folds)).keys() == folds.keys()


def test_a_truncated_file_gives_no_false_fold(tmp_path: Path):
    cache, folds, file = filled(tmp_path, 300)
    content = file.read_bytes()
    for length in range(0, len(content), len(content) // 12):
        file.write_bytes(content[:length])
        assert_nothing_false(cache, folds)
        cache.put(NAIVE, folds)
        cache.put_fits(NAIVE, FITS)
        assert cache.get(NAIVE, list(folds)).keys() == folds.keys()
        assert cache.get_fits(NAIVE, list(FITS)) == FITS


def test_a_flipped_bit_gives_no_false_fold(tmp_path: Path):
    """One bit of every ninth byte that is not zero."""
    cache, folds, file = filled(tmp_path, 4)
    content = file.read_bytes()
    for offset in [i for i, byte in enumerate(content) if byte][::9]:
        damaged = bytearray(content)
        damaged[offset] ^= 1 << offset % 8
        file.write_bytes(damaged)
        assert_nothing_false(cache, folds)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "cache").write_text("a file in place of the folder")
    message = r"fold cache .*naive-.*cannot be used.*New folds of naive.*disk is not full"
    with pytest.raises(StoreError, match=message):
        FoldCache(tmp_path / "cache").put(NAIVE, make_folds(1))


def test_a_file_that_cannot_be_opened_is_refused_and_not_set_aside(tmp_path: Path):
    cache, folds, file = filled(tmp_path, 1)
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match=r"cannot be used: unable to open database file"):
        cache.get(NAIVE, list(folds))
    assert file.is_dir()


def test_two_connections_can_write_to_one_file(tmp_path: Path):
    def put_in_parts(start: int) -> None:
        for part in range(start, start + 100, 10):
            FoldCache(tmp_path).put(NAIVE, make_folds(10, start=part))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put_in_parts, [0, 50]))
    folds = make_folds(150)
    assert len(FoldCache(tmp_path).get(NAIVE, list(folds))) == 150
    assert [path.suffix for path in tmp_path.iterdir()] == [".sqlite"]
