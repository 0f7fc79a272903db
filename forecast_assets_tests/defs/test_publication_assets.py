"""Test defs.publication_assets in real runs: an implausible forecast is held until accepted."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.cli.status_lines import status_lines
from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.health import health_problems
from forecast_assets.defs.sensors.run_failures import run_notifications
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets.forecasting.held_forecast import newest_held
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.dagster_runs import PANEL, materialize, run_week, small_week

# The source's newest value is wrong, and nobody notices before the forecast.
PUBLISH = {"late": "publish", "rescaled": "publish", "unusual": "publish"}
ACCEPT = {"forecast_assets/accept": "yes"}
PUBLISHED = ("next_week_forecast", "forecast_accuracy", "weekly_report")


def set_newest(settings: Settings, factor: float) -> None:
    """Let the newest value of series b be wrong by a factor."""
    series = {**PANEL, "b": [*PANEL["b"][:-1], factor * PANEL["b"][-1]]}
    write_source(settings.root, make_series(**series))


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """Return the evaluation of champions_used."""
    evaluations = result.get_asset_check_evaluations()
    return next(check for check in evaluations if check.check_name == "champions_used")


def lines_of(settings: Settings, store: Store) -> Mapping[str, Any]:
    lines = status_lines(settings, store, now=datetime.now(UTC))
    return {line.name: (line.value, line.is_well, line.text) for line in lines}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """Start the Dagster instance that has the run whose forecast was held back."""
    with dg.DagsterInstance.ephemeral() as started:
        yield started


@dataclass(frozen=True)
class HeldWeek:
    """A week after a published one, whose forecast was held back: only look at it."""

    settings: Settings
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def held_week(
    published_week: Path, tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance
) -> HeldWeek:
    """Publish a week, then run one on a source with a wrong value."""
    settings = copy_week(published_week, tmp_path_factory.mktemp("held"))
    return HeldWeek(settings, run_week(settings, instance))


@pytest.fixture
def settings(held_week: HeldWeek, tmp_path: Path) -> Settings:
    """Return the settings of a copy of the week that was held back, to continue."""
    return copy_week(held_week.settings.root, tmp_path)


def copy_week(root: Path, folder: Path) -> Settings:
    """Copy what a week has written; the copy's source has a wrong value."""
    shutil.copytree(root / "var", folder / "var")
    settings = small_week(folder, data_quality=PUBLISH)
    set_newest(settings, 1000)
    return settings


def test_an_implausible_forecast_is_held_kept_and_named_everywhere(
    held_week: HeldWeek, instance: dg.DagsterInstance
):
    settings, result = held_week.settings, held_week.result
    store = build_store(settings)
    assert not result.success
    assert (len(store.history("next_week_forecast")), len(store.history("best_model"))) == (1, 2)
    (held,) = store.history("held_forecast")
    assert newest_held(store, as_of=datetime.now(UTC)) == held
    assert {source.asset for source in held.inputs} == {
        "best_model",
        "series",
        "backtest_predictions",
    }
    rows = store.read([held]).set_index("unique_id")
    assert list(rows.index) == ["a", "b", "c"]
    assert rows.loc["b", "reason"].startswith("implausible: combination_inverse_error forecast ")
    (event,) = [event for event in result.all_events if event.is_step_failure]
    message = str(event.step_failure_data.user_failure_data.description)
    assert "that of 1 of 3 series is not plausible. `next_week_forecast` was not" in message
    assert "\n- b: combination_inverse_error forecast " in message
    assert "`forecast-assets run --accept`" in message
    assert f'forecast_assets/accept = "{held.data_version}"' in message
    check = check_of(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["series"].value == ["b"]
    record = instance.get_run_record_by_id(result.run_id)
    assert record is not None
    assert record.dagster_run.tags["forecast_assets/held"] == held.data_version
    (notification,) = run_notifications(record, instance)
    assert notification.title.endswith(": forecast held back")
    problem = health_problems(settings, store, now=datetime.now(UTC), has_daemon=False)[0]
    assert re.search(
        r": the forecast as of 20[-0-9: ]+ UTC is held back, because of 1 series without a"
        r" plausible one \(b\)$",
        problem,
    )
    value, is_well, text = lines_of(settings, store)["held_forecast"]
    assert (value, is_well) == (["b"], False)
    assert text.endswith(": 1 series without a plausible one (b)")
    sensor, defs = build_stale_assets(settings, store), build_defs(settings)
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance, definitions=defs))
    assert str(tick.skip_message) == "The newest forecast is held back."


def test_what_was_held_is_accepted_by_its_data_version_and_nothing_else_is(
    settings: Settings, instance: dg.DagsterInstance
):
    store = build_store(settings)
    set_newest(settings, 1001)
    assert not run_week(settings, instance, **ACCEPT).success
    first, second = store.history("held_forecast")
    assert first.data_version != second.data_version
    tag = {"forecast_assets/accept": first.data_version}
    assert not materialize(settings, instance, *PUBLISHED, **tag).success
    result = materialize(settings, instance, *PUBLISHED, **ACCEPT)
    assert result.success
    check = check_of(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "It was accepted, so the forecast is published." in str(check.description)
    published = store.history("next_week_forecast")[-1]
    assert published.data_version == second.data_version
    assert newest_held(store, as_of=datetime.now(UTC)) is None
    assert lines_of(settings, store)["held_forecast"] == ([], None, "none")
    report = next((settings.var / "reports").rglob("report.md")).parent.parent
    texts = [file.read_text() for file in report.rglob("report.md")]
    assert any("1 of 3 series is forecast far outside their past: b" in text for text in texts)


def test_a_corrected_source_is_published_and_ends_the_hold(
    settings: Settings, instance: dg.DagsterInstance
):
    store = build_store(settings)
    set_newest(settings, 1)
    result = run_week(settings, instance, **ACCEPT)
    assert result.success
    assert check_of(result).passed
    assert newest_held(store, as_of=datetime.now(UTC)) is None


def test_few_of_many_series_are_left_out_and_named(tmp_path: Path, instance: dg.DagsterInstance):
    settings = small_week(tmp_path, data_quality=PUBLISH)
    panel = {f"s{i:02}": walk(45, seed=i) for i in range(21)}
    panel["s07"][-1] *= 1000
    write_source(tmp_path, make_series(**panel))
    store = build_store(settings)
    result = run_week(settings, instance)
    assert result.success
    rows = store.read(store.history("next_week_forecast"))
    assert set(panel) - set(rows["unique_id"]) == {"s07"}
    assert store.history("held_forecast") == []
    check = check_of(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    text = "1 of 21 series is left out, as none of their candidates makes a plausible"
    assert text in str(check.description)
    assert check.metadata["series"].value == ["s07"]
    assert lines_of(settings, store)["left_out"] == (["s07"], False, "s07")
    (report,) = (settings.var / "reports").rglob("report.md")
    assert text in report.read_text()


def test_totals_add_up_and_the_report_marks_them(tmp_path: Path, instance: dg.DagsterInstance):
    settings = small_week(tmp_path, hierarchy={"parents": {"ab": ["a", "b"]}, "total": "all"})
    store = build_store(settings)
    result = run_week(settings, instance)
    assert result.success
    rows = store.read(store.history("next_week_forecast")).set_index("unique_id")
    y_hat = rows["y_hat"]
    assert y_hat["ab"] == y_hat["a"] + y_hat["b"]
    assert y_hat["all"] == y_hat["a"] + y_hat["b"] + y_hat["c"]
    assert dict(rows["parent"].dropna()) == {"a": "ab", "b": "ab", "ab": "all", "c": "all"}
    assert set(rows["reconciliation"]) == {"bottom_up"}
    (made,) = result.asset_materializations_for_node("next_week_forecast")
    table = str(made.metadata["reconciliation"].value).splitlines()
    assert len(table) == 2 + 3
    assert "n series" in table[0]
    (report,) = (settings.var / "reports").rglob("report.md")
    assert "| all, total of 2 |" in report.read_text()
    assert "2 totals are forecast as the sum of the parts, by bottom_up" in report.read_text()
    (page,) = (settings.var / "reports").rglob("report.html")
    assert page.read_text().count("total of 2") == 2 * 2  # a row and a chart of each
