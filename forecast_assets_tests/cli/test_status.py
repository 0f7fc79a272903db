"""The lines of `status`: what the store holds and whether it is well."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.cli.output import StatusLine
from forecast_assets.cli.status import newest_versions
from forecast_assets.cli.status_lines import SECTIONS, main_report_file, status_lines
from forecast_assets.forecasting.live_accuracy import score_published
from forecast_assets.notifications.queue import NotificationQueue
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF, make_raw, make_series, make_settings, walk
from forecast_assets_tests.cli_runner import output_of, records
from forecast_assets_tests.notification_servers import make_notification
from forecast_assets_tests.store_builders import (
    WEEK,
    data_files,
    make_choice,
    make_commit,
    make_forecast,
    make_scores,
    make_store,
    write_predictions,
    write_series,
)

Y = walk(40, seed=1)
NOW = datetime.now(UTC)


def forecast_after(week: int, *, y_hat: float, half_width: float, rung: str) -> pd.DataFrame:
    """Make the forecast of the series `a` after its week of that number."""
    day = make_series(a=Y)["ds"][week] + WEEK
    made = day.tz_localize("UTC")
    widths = {"lo_80": -1, "hi_80": 1, "lo_95": -2, "hi_95": 2}
    bounds = {name: y_hat + n * half_width for name, n in widths.items()}
    return make_forecast(week=day, y_hat=y_hat, rung=rung, made_at=made, as_of=made, **bounds)


def write_week(
    store: Store,
    *,
    rung: str = "champion",
    failed: tuple[str, ...] = (),
    ineligible: tuple[str, ...] = (),
    previous: str | None = None,
    half_width: float = 2.0,
    past: int = 0,
) -> Commit:
    """Write a week as a run does; return the commit of its forecast."""
    raw = store.write(make_raw(make_series(a=Y)), make_commit("raw_data"))
    series = write_series(store, *Y, inputs=[raw])
    others = [
        make_scores().assign(model=name, status=status, reason="x")
        for status, names in (("failed", failed), ("ineligible", ineligible))
        for name in names
    ]
    scores = pd.concat([make_scores(), *others])
    predictions = write_predictions(store, "naive", 1, inputs=[series])
    metrics = store.write(scores, make_commit("metrics", inputs=[predictions, series]))
    commit = make_commit("best_model", inputs=[metrics])
    choice = store.write(make_choice(previous=previous), commit)
    read = [choice, series, predictions]
    rows = forecast_after(39, y_hat=Y[-1], half_width=half_width, rung=rung)
    forecast = store.write(rows, make_commit("next_week_forecast", run_id="run-1", inputs=read))
    published = [
        forecast_after(39 - n, y_hat=Y[40 - n] + 1, half_width=half_width, rung="champion")
        for n in range(1, past + 1)
    ]
    scored = score_published(pd.concat([*published, rows]), make_series(a=Y), levels=(80, 95))
    store.write(scored, make_commit("forecast_accuracy", inputs=[forecast, series]))
    files = store.write_report_files("reports/1", {"report.html": "<p>1", "report.md": "# 1"})
    store.write(files, make_commit("weekly_report", inputs=[forecast]))
    return forecast


def lines_of(store: Store, *, now: datetime = NOW, **tables: Any) -> Mapping[str, StatusLine]:
    lines = status_lines(make_settings(store.var, **tables), store, now=now)
    return {line.name: line for line in lines}


def not_well(lines: Mapping[str, StatusLine]) -> list[str]:
    return [name for name, line in lines.items() if line.is_well is False]


def test_a_quiet_week_is_well(tmp_path: Path):
    store = make_store(tmp_path)
    write_week(store)
    lines = lines_of(store)
    # Nothing is to be delivered.
    assert list(lines) == [n for names in SECTIONS for n in names if n != "delivered"]
    assert not_well(lines) == []
    texts = {name: line.display for name, line in lines.items()}
    assert texts.pop("made_at").endswith(", just now")
    assert texts.pop("data") == "nothing odd"
    assert list(texts.values()) == [
        *("2024-10-11", "1", "none", "none", "none", "none"),
        *(f"{AS_OF:%Y-%m-%d %H:%M}", "run-1", "best_model 0, series 0, backtest_predictions 0"),
        *("none", "none"),
        *("none", "none", "none", "0", "–", "–", "none", str(tmp_path / "reports/1/report.html")),
    ]


def test_the_newest_week_is_named_and_the_series_that_lag(folder: Path):
    """Series `b` misses its newest week, and `c` ended long ago."""
    store = make_store(folder)
    weeks = {"a": "2026-11-27", "b": "2026-11-20", "c": "2025-11-21"}
    rows = [make_forecast(week=week).assign(unique_id=name) for name, week in weeks.items()]
    ahead = make_forecast(week="2026-12-04", h=2, cutoff=pd.Timestamp("2026-11-20"))
    store.write(pd.concat([*rows, ahead]), make_commit("next_week_forecast"))
    lines = {row["name"]: row["value"] for row in records("status")}
    assert (lines["week"], lines["n_series"], lines["n_late"]) == ("2026-11-27", 3, 2)
    text = output_of("status")
    assert "week               2026-11-27\n" in text
    assert "n late             2: c (53 weeks), b (1 week)\n" in text


@pytest.mark.parametrize("part", ["week/for_ab", "a/b"])
def test_the_main_report_is_not_one_of_some_series(part: str):
    names = ("details.html", "report.html", "report.md")
    files = [f"{folder}/{name}" for folder in (part, "week") for name in names]
    assert main_report_file(files) == "week/report.html"
    assert main_report_file([]) == ""


def test_undelivered_notifications_are_shown_for_a_week(tmp_path: Path):
    store, outbox = make_store(tmp_path), NotificationQueue(make_settings(tmp_path).var / "outbox")
    write_week(store)
    settings, enqueued_at = make_settings(tmp_path), NOW - timedelta(days=6)
    outbox.enqueue(make_notification(), ["env:GONE"], now=enqueued_at)
    outbox.deliver(settings, now=enqueued_at, seconds=30)
    early, late = (lines_of(store, now=NOW + timedelta(days=days)) for days in (0, 2))
    assert not_well(early) == ["not_delivered"]
    text = "'The week of 2 January' to env:GONE (given up): The settings"
    assert early["not_delivered"].display.startswith(text)
    assert not_well(late) == []


def test_problems_are_named(tmp_path: Path):
    store = make_store(tmp_path)
    failed, ineligible = ("tbats", "theta"), ("drift", "ridge")
    write_week(store, rung="naive", failed=failed, ineligible=ineligible, previous="ses")
    (tmp_path / "reports/1/report.html").unlink()
    (make_settings(tmp_path).var / "outbox/queue.sqlite").mkdir(parents=True)
    lines = lines_of(store)
    assert not_well(lines) == ["not_by_champion", "models_failed", "not_delivered", "report"]
    assert lines["report"].display.endswith("reports/1/report.html")
    assert lines["models_failed"].value == ["tbats", "theta"]
    assert lines["models_failed"].display == "tbats on 1 series, theta on 1 series"
    assert lines["models_left_out"].value == ["drift", "ridge"]
    assert lines["models_left_out"].display == "drift, ridge on 1 series (x)"
    assert lines["not_by_champion"].display == "a: naive (naive)"
    changed = lines["champions_changed"]
    assert (changed.value, changed.display, changed.is_well) == (["a"], "a: ses → naive", None)


@pytest.mark.parametrize(
    ("half_width", "wrong", "share"), [(2.0, [], 1.0), (0.1, ["coverage"], 0.0)]
)
def test_past_forecasts_are_compared_with_what_was_promised(
    tmp_path: Path, half_width: float, wrong: list[str], share: float
):
    store = make_store(tmp_path)
    write_week(store, past=12, half_width=half_width)
    lines = lines_of(store)
    assert lines["forecasts_due"].value == 12
    found = make_series(a=Y)["y"].diff().abs().tail(12)
    assert lines["error_over_naive"].value == pytest.approx(12 / found.sum())
    assert lines["coverage"].value == {"80": share, "95": share}
    texts = [f"{share:.0%} in the {level} % interval" for level in (80, 95)]
    assert lines["coverage"].display == ", ".join(texts)
    assert [name for name in not_well(lines) if name == "coverage"] == wrong


@pytest.mark.parametrize(("levels", "shares"), [([50, 80], {"80": 1.0}), ([50], {})])
def test_levels_that_the_scores_lack_are_left_out(
    tmp_path: Path, levels: list[int], shares: dict[str, float]
):
    store = make_store(tmp_path)
    write_week(store, past=3)
    lines = lines_of(store, forecast={"levels": levels})
    assert lines["coverage"].value == shares
    assert lines["coverage"].display == ("100% in the 80 % interval" if shares else "–")
    assert lines["forecasts_due"].value == 3


def test_forecasts_without_an_interval_have_no_coverage(tmp_path: Path):
    store = make_store(tmp_path)
    write_week(store, past=12, half_width=float("nan"))
    assert store.read(store.history("forecast_accuracy"))["in_80"].isna().all()
    lines = lines_of(store)
    assert (lines["coverage"].value, lines["coverage"].display) == ({}, "–")
    assert not [line.display for line in lines.values() if "nan" in line.display]


def test_a_lost_version_affects_only_its_own_lines(tmp_path: Path):
    write_week(make_store(tmp_path))
    store = make_store(tmp_path)
    data_files(store, "metrics")[0].unlink()
    lines = lines_of(store)
    assert not_well(lines) == ["models_failed", "models_left_out"]
    assert "Could not read version 0 of metrics" in lines["models_failed"].display
    data_files(store, "next_week_forecast")[0].unlink()
    lost = ["week", "n_series", "n_late", "not_by_champion", "left_out", "models_failed"]
    lost += ["models_left_out"]
    assert not_well(lines_of(store)) == lost


def test_a_forecast_without_recorded_inputs_is_reported(tmp_path: Path):
    store = make_store(tmp_path)
    rows = forecast_after(39, y_hat=1.0, half_width=1.0, rung="champion")
    store.write(rows, make_commit("next_week_forecast"))
    lines = lines_of(store)
    assert lines["models_failed"].is_well is False
    assert "does not record which best_model it was made from" in lines["models_failed"].display


def test_the_newest_version_of_each_asset_is_listed(tmp_path: Path):
    store = make_store(tmp_path)
    for model in ("naive", "drift"):
        write_predictions(store, model, 1, 2, run_id=f"run of {model}")
    (row,) = newest_versions(store, now=NOW)
    texts = [row[name] for name in ("asset", "version", "partitions", "run_id", "n_rows")]
    assert texts == ["backtest_predictions", 1, 2, "run of drift", 4]


@pytest.mark.parametrize("has_series", [False, True])
def test_without_a_forecast_it_shows_how_to_make_one(folder: Path, *, has_series: bool):
    if has_series:
        write_series(make_store(folder), 1)
    texts = output_of("status")
    assert texts.startswith("There is no forecast yet. To make one:\n  forecast-assets check ")
    assert ("\nseries " in texts) == has_series
    assert [row["name"] for row in records("status")] == ["series"] * has_series
