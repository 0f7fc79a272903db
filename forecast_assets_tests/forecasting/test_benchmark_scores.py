"""Forecasts of others: what counts for a published one, and scores computed in another way."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.benchmarks import (
    known_forecasts,
    merge_benchmark,
    read_benchmark,
    read_once,
)
from forecast_assets.errors import DataError, SettingsError, SourceError
from forecast_assets.forecasting.benchmark_scores import (
    compare_benchmark,
    gap_problems,
    score_benchmarks,
    series_problems,
)
from forecast_assets.forecasting.live_accuracy import score_published
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_series, make_settings, walk

QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
COLUMNS = {f"{q:g}": f"q{q:g}" for q in QUANTILES}
SERIES = make_series(a=walk(60, seed=1), b=walk(60, seed=2), c=walk(60, seed=3))
DS = list(SERIES["ds"][:60])
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def monday(week: pd.Timestamp) -> pd.Timestamp:
    """Return the tick from which a week, named by its Friday, is forecast."""
    return (week - pd.Timedelta(days=4)).tz_localize("UTC")


def published() -> pd.DataFrame:
    """Return forecasts of the last 20 weeks, each made on its Monday."""
    rows = SERIES.groupby("unique_id").tail(21).copy()
    rows["cutoff"] = rows["ds"].shift(1)
    rows["y_hat"] = rows["y"].shift(1) + 0.5
    rows = rows[rows["unique_id"] == rows["unique_id"].shift(1)]
    as_of = [monday(ds) for ds in rows["ds"]]
    return rows.assign(
        h=1, lo_80=rows["y_hat"] - 1, hi_80=rows["y_hat"] + 1, backtest_mae=1.0, model="m",
        made_at=as_of, as_of=as_of, coverage=None,
    ).drop(columns=["y", "is_filled", "coverage"])  # fmt: skip


def theirs(**changes: Any) -> pd.DataFrame:
    """Return forecasts of every week, made on the Sunday before its Monday, as a file has them."""
    rng = np.random.default_rng(0)
    rows = SERIES[["unique_id", "ds"]].assign(y_hat=SERIES["y"] + rng.normal(size=len(SERIES)))
    made = rows["ds"] - pd.Timedelta(days=5)
    for quantile in QUANTILES:
        rows[f"q{quantile:g}"] = rows["y_hat"] + 4 * (quantile - 0.5)
    return rows.assign(made_on=made.dt.strftime("%Y-%m-%d"), **changes)


def settings_of(folder: Path, rows: pd.DataFrame, **source: Any) -> Settings:
    rows.to_csv(folder / "theirs.csv", index=False)
    table = {"kind": "file", "path": "theirs.csv", "quantiles": COLUMNS, **source}
    given = {key: value for key, value in table.items() if value is not None}
    return make_settings(folder, benchmark={"theirs": given})


def known(folder: Path, rows: pd.DataFrame, as_of: datetime = LATER, **source: Any) -> Any:
    settings = settings_of(folder, rows, **source)
    return known_forecasts(read_benchmark("theirs", settings, as_of), as_of)


def scores(forecasts: pd.DataFrame) -> pd.DataFrame:
    rows = published()
    own = score_published(rows, SERIES, levels=(80,))
    benchmarks = {"theirs": QUANTILES}
    scored = score_benchmarks(own, rows, forecasts, benchmarks, levels=(80,))
    return table_contracts((80,), (), benchmarks)["forecast_accuracy"].check(scored)


def test_the_interval_score_is_the_mean_of_quantile_scores(tmp_path: Path):
    """WIS is the mean over quantiles of twice the pinball loss, if these come in pairs."""
    given = theirs()
    scored = scores(known(tmp_path, given).rows)
    rows = scored.merge(given, on=["unique_id", "ds"], suffixes=("", "_given"))
    losses = [
        2 * np.maximum(q * (rows["y"] - rows[f"q{q:g}"]), (q - 1) * (rows["y"] - rows[f"q{q:g}"]))
        for q in QUANTILES
    ]
    np.testing.assert_allclose(rows["theirs_wis"], np.mean(losses, axis=0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(rows["theirs_error"], rows["y_hat_given"] - rows["y"], atol=1e-9)
    ends = [(0.1, rows["lo_80"]), (0.5, rows["y_hat"]), (0.9, rows["hi_80"])]
    ours = [2 * np.maximum(q * (rows["y"] - x), (q - 1) * (rows["y"] - x)) for q, x in ends]
    np.testing.assert_allclose(rows["wis"], np.mean(ours, axis=0), rtol=0, atol=1e-9)


def test_only_the_last_forecast_that_was_made_by_the_tick_counts(tmp_path: Path):
    """What is made after a tick changes nothing of it."""
    early = theirs()
    on_tick = early.assign(made_on=early["ds"].dt.strftime("%Y-%m-%d"), y_hat=early["y_hat"] + 1)
    on_tick["made_on"] = (on_tick["ds"] - pd.Timedelta(days=4)).dt.strftime("%Y-%m-%d")
    after = on_tick.assign(y_hat=1e9, made_on=on_tick["made_on"] + "T00:00:01")
    usual = scores(known(tmp_path, pd.concat([early, on_tick])).rows)
    changed = scores(known(tmp_path, pd.concat([after, early, on_tick])).rows)
    pd.testing.assert_frame_equal(usual, changed)
    assert list(usual["theirs_made_on"]) == [monday(ds) for ds in usual["ds"]]
    assert scores(known(tmp_path, after).rows)["theirs_y_hat"].isna().all()
    tick = monday(DS[50]).to_pydatetime()
    assert known(tmp_path, pd.concat([early, after]), tick).rows["made_on"].max() <= tick


def test_scores_use_the_first_value_of_a_revised_week(tmp_path: Path):
    first = score_published(published(), SERIES, levels=(80,))
    revised = SERIES.assign(y=SERIES["y"] + 7)
    own = score_published(published(), revised, levels=(80,), before=first)
    forecasts = known(tmp_path, theirs()).rows
    rows = score_benchmarks(own, published(), forecasts, {"theirs": ()}, levels=(80,))
    np.testing.assert_allclose(rows["theirs_error_first"] - rows["theirs_error"], 7, atol=1e-9)
    assert rows["theirs_wis"].isna().all()  # without quantiles


def test_the_comparison_is_of_the_same_series_and_weeks(tmp_path: Path):
    given = theirs()
    rows = scores(known(tmp_path, given[given["unique_id"] != "c"]).rows)
    comparison = compare_benchmark(rows, SERIES, "theirs")
    assert comparison is not None
    quarter, year = comparison.spans
    assert (quarter.n_weeks, quarter.n, year.n_weeks, year.n) == (13, 26, 20, 40)
    change = SERIES.groupby("unique_id")["y"].apply(lambda y: y.diff().abs().mean())
    both = rows[rows["unique_id"] != "c"]
    both = both[both["ds"].isin(DS[-13:])]
    for column, accuracy in (("theirs_error", quarter.theirs), ("error", quarter.ours)):
        scaled = both[column].abs() / both["unique_id"].map(change)
        assert accuracy.mean == pytest.approx(scaled.groupby(both["ds"]).mean().mean())
        assert 0 < accuracy.error < 1
    assert quarter.gain.mean == pytest.approx(quarter.theirs.mean - quarter.ours.mean)
    assert set(comparison.by_series["unique_id"]) == {"a", "b"}
    assert comparison.by_kind["n"].sum() == 40
    assert compare_benchmark(rows.assign(theirs_error=np.nan), SERIES, "theirs") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(unique_id="x_" + rows["unique_id"]), "3 of 3 series of theirs"),
        (
            lambda rows: rows.assign(y_hat=rows["y_hat"] * 1000),
            "far from the values of 3 of 3 series",
        ),
        (lambda rows: rows[rows["ds"] != DS[55]], "made in time for 3 of the last 39 of ours"),
        (lambda rows: rows.head(0).assign(y_hat=[]), "has no rows"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, change: Any, message: str):
    given = change(theirs())
    if given.empty:
        with pytest.raises(SourceError, match=r"\[benchmark.theirs\]: .*theirs.csv has no rows"):
            known(tmp_path, given)
        return
    forecasts = known(tmp_path, given).rows
    of_series = series_problems(forecasts, SERIES, "theirs")
    (text,) = [*of_series, *gap_problems(scores(forecasts), forecasts, "theirs")]
    assert message in text


def test_forecasts_made_after_their_week_do_not_count(tmp_path: Path):
    late = theirs()
    late.loc[late["ds"] == DS[55], "made_on"] = "2026-01-01"
    found = known(tmp_path, late)
    assert len(found.rows) == len(late) - 3
    assert "3 of 180 forecasts were made after their week" in found.problems[0]


def test_the_same_row_twice_counts_once_and_two_values_are_refused(tmp_path: Path):
    given = theirs()
    assert len(known(tmp_path, pd.concat([given, given])).rows) == len(given)
    with pytest.raises(DataError) as caught:
        known(tmp_path, pd.concat([given, given.head(2).assign(y_hat=0.0)]))
    assert "4 of 182 forecasts have the series, week and `made_on` of another" in str(caught.value)


def test_a_forecast_keeps_the_value_that_was_seen_first(tmp_path: Path):
    first = known(tmp_path, theirs())
    newest = theirs()[lambda rows: rows["ds"] == DS[59]]
    changed = known(tmp_path, newest.assign(y_hat=0.0))
    merged = merge_benchmark(first.rows, changed)
    pd.testing.assert_frame_equal(merged.rows, first.rows)
    assert "3 forecasts were changed after they were made; the first values" in merged.problems[0]
    assert merge_benchmark(first.rows, known(tmp_path, newest)).problems == ()


def test_a_source_that_takes_the_time_is_read_at_each_time(tmp_path: Path):
    """Any other one is read once for all."""
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as database:
        theirs().to_sql("theirs", database, index=False)
    times = [monday(DS[i]).to_pydatetime() for i in (10, 20)]
    dated = "SELECT * FROM theirs WHERE made_on < date(:as_of)"
    for query, n in ((dated, 10), ("SELECT * FROM theirs", 0)):
        settings = settings_of(tmp_path, theirs(), kind="sql", path=None, url=url, query=query)
        read = read_once(settings)
        first, second = (read("theirs", settings, time) for time in times)
        assert len(second) - len(first) == 3 * n
        assert (first is second) == (n == 0)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"path": "absent.csv"}, SourceError, "`benchmark.theirs.path` matches no file"),
        ({"made_on": "made"}, SourceError, "`quantiles` in [benchmark.theirs] of forecast.toml"),
        ({"quantiles": {"0.1": "q0.1"}}, SettingsError, "0.1 comes with 0.9"),
        ({"y": "x"}, SettingsError, "`benchmark.theirs.y` is unknown"),
        ({"kind": "demo"}, SettingsError, "none of: file, http, sql, python"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(
    tmp_path: Path, source: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error) as caught:
        known(tmp_path, theirs(), **source)
    assert message in str(caught.value)


def test_weeks_may_be_named_by_any_day_and_quantiles_must_be_numbers(tmp_path: Path):
    tuesday = theirs().assign(ds=lambda rows: rows["ds"] - timedelta(days=3))
    pd.testing.assert_frame_equal(known(tmp_path, tuesday).rows, known(tmp_path, theirs()).rows)
    bad = theirs().astype({"q0.1": object})
    bad.loc[3, "q0.1"] = "about 90"
    with pytest.raises(DataError, match=r"column `q0\.1`, hold no number: row 4: .about 90"):
        known(tmp_path, bad)
