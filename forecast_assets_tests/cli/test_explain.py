"""The command `explain` on four weeks with revisions, a new series, other models and settings.

The weeks are forecast without Dagster, which would take most of the time.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.local_pool import LocalPool
from forecast_assets.config import loader
from forecast_assets.config.settings import Settings
from forecast_assets.defs.past_weeks import PastWeek
from forecast_assets.forecasting import metrics, moves, selection
from forecast_assets.forecasting.forecast import forecast
from forecast_assets.forecasting.made_with import MadeWith
from forecast_assets.forecasting.overrides import with_overrides
from forecast_assets.storage.commit import DataFile, mark_pruned
from forecast_assets.storage.overrides import Override, append_override
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.store_builders import data_files, make_commit, make_store

N_WEEKS = 40  # of the first of four runs
FIRST_TICK = datetime(2024, 1, 8, tzinfo=UTC) + timedelta(weeks=N_WEEKS - 1)
# The newest value is first published so much lower.
EARLY = 0.95
OWN_MODEL = """
[models.theirs]
factory = "forecast_assets.models.naive:WindowAverage"
[selection.pinned]
b = "theirs"
"""
BEFORE = SMALL.replace('"drift"]', '"drift", "theirs"]') + OWN_MODEL
AFTER = SMALL.replace("season_length = 4", "season_length = 5").replace(
    "n_windows = 5", "n_windows = 5\nhorizon = 2"
)
Record = dict[str, Any]


def known(n_weeks: int) -> dict[str, list[float]]:
    """Return the first weeks of two series, of which the newest value is not revised yet."""
    series = {name: walk(60, seed=seed)[:n_weeks] for name, seed in (("a", 1), ("b", 2))}
    return {name: [*y[:-1], y[-1] * EARLY] for name, y in series.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Forecast four weeks, after ten whose values alone are stored; the last tests change them."""
    folder = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(folder, monkeypatch)
        store = make_store(folder)
        for age in range(10, 0, -1):
            at = FIRST_TICK - timedelta(weeks=age)
            store.write(make_series(**known(N_WEEKS - age)), make_commit("series", as_of=at))
        for week, text in enumerate((BEFORE, BEFORE, AFTER, AFTER)):
            (folder / "forecast.toml").write_text(text)
            forecast_week(store, loader.load(), week)
            if week == 1:
                day = (FIRST_TICK + timedelta(weeks=2, days=4)).date()
                at = datetime(2026, 1, 1, tzinfo=UTC)
                row = Override("a", day, 120.0, None, None, reason="a fair", by="ann", at=at)
                append_override(store, row)
        yield make_store(folder)


def forecast_week(store: Store, settings: Settings, week: int) -> None:
    """Forecast a week as a run does; in the second an old value is revised, and a series is new."""
    values = known(N_WEEKS + week)
    if week:
        values["a"][30] += 4
        values["c"] = walk(60, seed=3)[: N_WEEKS + week]
    series, as_of = make_series(**values), FIRST_TICK + timedelta(weeks=week)
    read = store.write(series, make_commit("series", as_of=as_of, run_id=f"run-{week}"))
    made = make_commit("next_week_forecast", as_of=as_of, run_id=f"run-{week}", inputs=[read])
    compute = PastWeek(store, made, LocalPool(), store.var / "fold_cache").executor(settings)
    requests = compute.requests(series, settings.models.enabled)
    predictions = pd.concat(each.predictions(settings) for each in compute.run_all(requests))
    results = metrics.collect(predictions, series, settings, planned=compute.plan(series).planned)
    scores = metrics.to_frame(results, metrics.compute(results, settings))
    made_week = forecast(
        selection.choose(scores, settings),
        series,
        predictions,
        settings,
        executor=compute,
        as_of=as_of,
        made_at=as_of,
    )
    target = (as_of + timedelta(days=4)).date()
    before = moves.previous_forecast(store, week=target, as_of=as_of)
    moved = moves.with_moves(made_week.rows, made_week.newest_folds, before, settings)
    record = MadeWith.of(moved, settings).to_text()
    store.write(with_overrides(moved, store), replace(made, made_with=record))


@cache
def explained(*args: str) -> dict[str, dict[str, Record]]:
    """Return the records of each comparison by part, after checking that they sum up.

    Each is made once: a test that changes the store calls `explained.__wrapped__`.
    """
    by_kind: dict[str, dict[str, Record]] = {}
    for record in records("explain", *args):
        by_kind.setdefault(record["comparison"], {})[record["part"]] = record
    for parts in by_kind.values():
        one = next(iter(parts.values()))
        total = math.fsum(record["change"] for record in parts.values())
        assert total == pytest.approx(one["forecast"] - one["previous_forecast"], abs=1e-9)
    return by_kind


def changes(*args: str, kind: str = "next week") -> dict[str, float]:
    return {part: record["change"] for part, record in explained(*args)[kind].items()}


def test_a_week_is_split_into_all_that_changed(store: Store):
    parts = changes("a", "--version", "1")
    unchanged = ("settings", "code", "totals that add up", "override by a person")
    assert [parts[name] for name in unchanged] == pytest.approx([0.0] * 4, abs=1e-9)
    moved = ("new observations", "revised history", "revision correction")
    assert all(abs(parts[name]) > 1e-3 for name in moved)
    assert abs(parts["models and weights"]) > 1e-6
    row = store.read([store.history("next_week_forecast")[1]]).iloc[0]
    assert row["last_corrected"] > row["last_published"]


def test_the_text_begins_with_what_moved_and_ends_with_why(store: Store):
    assert store.history("next_week_forecast")
    text = output_of("explain", "a", "--version", "1")
    assert text.startswith("The forecast of a for the week ending 2024-10-18 is ")
    assert "than last week's for the week ending 2024-10-11, " in text
    assert "; the value that came is " in text
    assert "together" in text
    assert "2 past values were revised, the newest in the week ending 2024-10-04: from " in text
    assert "was corrected to" in text
    assert "Last week's forecast was made by combination_inverse_error of " in text


def test_the_columns_of_the_forecast_have_the_same_parts_as_far_as_they_cost_nothing(store: Store):
    rows = store.read([store.history("next_week_forecast")[1]]).set_index("unique_id")
    parts = changes("a", "--version", "1")
    row = rows.loc["a"]
    by_data = parts["new observations"] + parts["revised history"]
    by_data += parts["revision correction"] + parts["target one week later"]
    moved = row[[name for name in rows if name.startswith("moved_by")]]
    assert moved.sum() == pytest.approx(row["y_hat"] - row["moved_from"], abs=1e-9)
    assert row["moved_by_model"] == pytest.approx(parts["models and weights"])
    assert row["moved_by_data"] == pytest.approx(by_data)
    assert rows.loc["c", [name for name in rows if name.startswith("moved")]].isna().all()
    moved = moves.largest_moves(rows.reset_index())
    assert list(moved["size"]) == sorted(moved["size"], reverse=True)


def test_two_weeks_ahead_the_same_week_is_compared_too(store: Store):
    assert len(store.history("next_week_forecast")) == 4
    found = explained("a")
    assert [*found] == ["same week", "next week"]
    assert "target one week later" not in found["same week"]
    assert abs(found["same week"]["code"]["change"]) < 1e-9
    same = next(iter(found["same week"].values()))
    assert same["week"] == same["previous_week"] == "2024-11-01"
    text = output_of("explain", "a")
    assert "last week's for that week." in text
    assert "Last week's forecast was overridden by ann: 120" in text
    rows = store.read([store.history("next_week_forecast")[3]])
    first = rows[(rows["unique_id"] == "a") & (rows["h"] == 1)].iloc[0]
    assert first["moved_not_split"] == pytest.approx(first["y_hat"] - first["moved_from"])


def test_other_settings_and_an_override_are_parts(store: Store):
    assert len(store.history("next_week_forecast")) == 4
    parts = changes("a", "--version", "2")
    assert abs(parts["code"]) < 1e-9
    assert abs(parts["override by a person"]) > 1
    text = output_of("explain", "a", "--version", "2")
    assert "backtest.horizon default → 2" in text
    assert "series.season_length 4 → 5" in text
    assert "This week's forecast was overridden by ann: 120" in text
    assert "Last week's run forecast 1 week ahead, and not the week ending 2024-10-25." in text


def test_a_model_that_is_gone_is_named_and_the_rest_is_split(store: Store):
    assert len(store.history("next_week_forecast")) == 4
    parts = explained("b", "--version", "2")["next week"]
    joined = parts["models and weights + settings"]
    assert joined["not_split"] == "the model theirs is no longer installed"
    assert abs(parts["code"]["change"]) < 1e-9
    assert "new observations" in parts
    text = output_of("explain", "b", "--version", "2")
    assert (
        "Models and weights + settings: not split, because the model theirs is no longer installed."
        in text
    )


@pytest.mark.parametrize(
    ("args", "remark"),
    [
        (("a", "--version", "0"), "is the first week's: there is no earlier forecast to compare"),
        (("c", "--version", "1"), "has none of c: there was no such series."),
        (("a", "--version", "2", "--ahead", "2"), "it has no forecast 2 weeks ahead to compare"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_cannot_be_compared_is_said(args: tuple[str, ...], remark: str):
    result = invoke("explain", *args, "--json")
    assert (result.exit_code, result.stdout) == (0, "[]\n")
    assert remark in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("aa",), "has no forecast of 'aa': there was no such series; the nearest are a."),
        (("zzz",), "it has a, b, c."),
        (("a", "--ahead", "5"), "forecasts a 2 weeks ahead, and not 5"),
        (("a", "--ahead", "0"), "0 is not in the range"),
        (("a", "--version", "99"), "matches version 99"),
        (("a", "--as-of", "2020-01-01"), "matches as of 2020-01-01"),
        (("a", "--as-of", "Friday"), "'Friday' is not an ISO 8601 time"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_does_not_exist_is_refused(args: tuple[str, ...], message: str):
    result = invoke("explain", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_time_selects_the_forecast(store: Store):
    week = (FIRST_TICK + timedelta(weeks=1, days=1)).date()
    assert explained("a", "--as-of", str(week)) == explained("a", "--version", "1")
    assert store.history("next_week_forecast")


def test_a_forecast_of_an_earlier_release_lacks_weights_and_settings(store: Store):
    """Rows without weights and a commit without settings, as an earlier release wrote them."""
    first = store.history("next_week_forecast")[0]
    rows = store.read([first]).assign(weights=None)
    store.write(rows, replace(first, as_of=first.as_of + timedelta(hours=1), made_with=""))
    parts = explained.__wrapped__("a", "--version", "1")["next week"]
    name = "models and weights + settings + code"
    assert parts[name]["not_split"] == (
        "the settings of then were not recorded; the weights of combination_inverse_error were not"
        " recorded"
    )
    single = explained.__wrapped__("b", "--version", "1")["next week"]
    assert single["settings + code"]["not_split"] == "the settings of then were not recorded"
    assert abs(single["settings + code"]["change"]) < 1e-9


def test_values_that_were_deleted_leave_the_parts_that_do_not_need_them(store: Store):
    (then,) = (c for c in store.history("series") if c.as_of == FIRST_TICK)
    (file,) = (
        file
        for file in data_files(store, "series")
        if np.array_equal(sizes(pd.read_parquet(file)), [N_WEEKS, N_WEEKS])
    )
    rest = DataFile("series", then.version, then.seal, file.name, file.stat().st_size)
    mark_pruned(store.uri, [rest], now=FIRST_TICK)
    file.unlink()
    parts = explained.__wrapped__("a", "--version", "1")["next week"]
    (joined,) = (record for record in parts.values() if record["not_split"])
    assert "new observations" in joined["part"]
    assert f"version {then.version} of series cannot be read: Pruned on" in joined["not_split"]
    assert joined["change"] != 0
    assert parts["totals that add up"]["change"] == 0


def sizes(frame: pd.DataFrame) -> list[int]:
    return frame.groupby("unique_id").size().tolist()
