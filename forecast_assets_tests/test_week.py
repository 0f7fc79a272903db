"""The week in real Dagster runs: one run, one model, re-execution, and what is refused."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.storage.audit import verify
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source
from forecast_assets_tests.cli_runner import configure
from forecast_assets_tests.dagster_runs import materialize, run_week

PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}
LONGER = {"a": walk(41, seed=1), "b": walk(46, seed=2)}
MODELS = ["naive", "drift", "window_average"]
FITTED = ["pooled_growth"]
AS_OF = "forecast_assets/as_of"
DRIFT = {"dagster/partition": "drift"}


def small_settings(folder: Path, **tables: Mapping[str, Any]) -> Settings:
    small = {"models": {"enabled": MODELS}, "backtest": {"n_windows": 4}, "compute": {"workers": 1}}
    return week_settings(folder, make_series(**PANEL), **{**small, **tables})


@dataclass(frozen=True)
class TwoWeeks:
    """Two runs over the same data, and the forecast as the first one left it."""

    folder: Path
    store: Store
    first: dg.ExecuteInProcessResult
    second: dg.ExecuteInProcessResult
    forecast: pd.DataFrame


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWeeks]:
    """Two finished weeks: only look at them."""
    folder = tmp_path_factory.mktemp("weeks")
    settings = small_settings(folder, models={"enabled": [*MODELS, *FITTED]})
    store = build_store(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        first = run_week(settings, instance)
        forecast = latest(store, "next_week_forecast")
        yield TwoWeeks(folder, store, first, run_week(settings, instance), forecast)


@pytest.fixture
def published(weeks: TwoWeeks, tmp_path: Path) -> Settings:
    """Return a copy of the two weeks, to continue without the model that needs fits."""
    shutil.copytree(weeks.folder / "var", tmp_path / "var")
    return small_settings(tmp_path)


def latest(store: Store, asset: str) -> pd.DataFrame:
    """Return the newest rows of an asset."""
    return store.read(select(store, asset))


def error_texts(result: dg.ExecuteInProcessResult) -> str:
    """Return the messages of the failed steps, with those of their causes."""
    messages = []
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None:
            messages.append(error.message)
            error = error.cause
    return "\n".join(messages)


def partitions(
    result: dg.ExecuteInProcessResult,
) -> dict[str | None, Mapping[str, dg.MetadataValue[Any]]]:
    """Return the metadata of each partition that a run materialized."""
    return {
        event.partition: event.materialization.metadata
        for event in result.all_events
        if event.is_step_materialization and event.partition
    }


def observed(result: dg.ExecuteInProcessResult, key: str) -> dict[str, str]:
    """Return a metadata value of the assets that a run observed."""
    observations = [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.is_asset_observation
    ]
    return {
        seen.asset_key.path[-1]: str(seen.metadata[key].value)
        for seen in observations
        if key in seen.metadata
    }


def test_one_run_makes_every_table_and_every_partition_with_a_step_per_model(weeks: TwoWeeks):
    assert weeks.first.success
    made = {
        (event.asset_key.path[-1], event.partition)
        for event in weeks.first.all_events
        if event.is_step_materialization and event.asset_key
    }
    models = {("backtest_predictions", model) for model in [*MODELS, *FITTED]}
    assert made == {(name, None) for name in ASSETS if name != "backtest_predictions"} | models
    steps = {event.step_key for event in weeks.first.all_events if event.is_step_success}
    assert {f"backtest_predictions.backtest[{name}]" for _, name in models} <= steps
    assert list(weeks.forecast["unique_id"]) == ["a", "b"]


def test_the_page_of_an_asset_shows_its_rows_plots_and_version(weeks: TwoWeeks):
    (page,) = weeks.first.asset_materializations_for_node("next_week_forecast")
    assert {"week", "dagster/row_count", "show"} <= set(page.metadata)
    assert page.metadata["version"].value == 0
    lines = str(page.metadata["rows"].value).splitlines()
    assert lines[0] == "| series | forecast | 80 % |"  # the errors are too few for 95 %
    assert [line[:5] for line in lines[2:]] == ["| a |", "| b |"]
    assert str(page.metadata["forecast_plot"].value).startswith("![")
    pages = partitions(weeks.first)
    assert str(pages["drift"]["rows"].value).startswith("| series | week | h | forecast |")
    assert next(iter(pages["drift"])) == "competed"
    assert pages["drift"]["competed"].value == "2 of 2 series"
    assert pages["drift"]["n_folds"].value == 8
    assert pages["drift"]["n_forecast"].value == 8
    assert pages["drift"]["version"].value != pages["naive"]["version"].value


def test_a_forecast_and_its_inputs_link_to_each_other(weeks: TwoWeeks):
    run = f"(/runs/{weeks.first.run_id})"
    (page,) = weeks.first.asset_materializations_for_node("next_week_forecast")
    for version in ("series 0", "best_model 0", "backtest_predictions 0-3"):
        assert f"[{version}]{run}" in str(page.metadata["made_from"].value)
    link = f"[next_week_forecast 0]{run}"
    assert observed(weeks.first, "made_from_this") == {"series": link, "best_model": link}


def test_a_second_week_keeps_the_first_and_computes_nothing_twice(weeks: TwoWeeks):
    def n_fits(result: dg.ExecuteInProcessResult) -> dict[str | None, object]:
        return {model: page["n_fits"].value for model, page in partitions(result).items()}

    assert n_fits(weeks.first) == {**dict.fromkeys(MODELS, 0), "pooled_growth": 8}
    assert n_fits(weeks.second) == {**dict.fromkeys(MODELS, 0), "pooled_growth": 0}
    assert observed(weeks.first, "timeline")["backtest_predictions"].startswith("![")
    assert observed(weeks.second, "timeline") == {}
    assert len(weeks.store.history("next_week_forecast")) == 2
    kept = weeks.store.read(select(weeks.store, "next_week_forecast", version=0))
    pd.testing.assert_frame_equal(kept, weeks.forecast)


def test_the_same_data_have_the_same_data_versions_in_the_store_and_in_dagster(weeks: TwoWeeks):
    # best_model also has the previous choice, and each report is a file of its own.
    for asset in (name for name in ASSETS if name not in ("best_model", "weekly_report")):
        by_partition: dict[str | None, set[str]] = {}
        for commit in weeks.store.history(asset):
            by_partition.setdefault(commit.partition, set()).add(commit.data_version)
        assert all(len(versions) == 1 for versions in by_partition.values()), asset
        if asset == "backtest_predictions":
            continue
        (page,) = weeks.first.asset_materializations_for_node(asset)
        assert page.tags is not None
        assert {page.tags["dagster/data_version"]} == by_partition[None]


def test_a_new_week_scores_the_forecast_of_the_week_before(
    published: Settings, instance: dg.DagsterInstance
):
    store = build_store(published)
    assert latest(store, "forecast_accuracy").empty
    forecast = latest(store, "next_week_forecast").iloc[0]
    write_source(published.root, make_series(**LONGER))
    result = run_week(published, instance)
    assert result.success
    (page,) = result.asset_materializations_for_node("next_week_forecast")
    moved = page.metadata["what_moved"]
    lines = str(moved.value).splitlines()
    assert lines[0].startswith("| series | change | moved by data |")
    assert [line[:5] for line in lines[2:]] == ["| a |", "| b |"]
    row = latest(store, "next_week_forecast").iloc[0]
    assert row["moved_from"] == forecast["y_hat"]
    # A model of the forecast before is not enabled any more.
    parts = row[["moved_by_data", "moved_by_totals", "moved_not_split"]]
    assert parts.sum() == pytest.approx(row["y_hat"] - forecast["y_hat"], abs=1e-9)
    scored = latest(store, "forecast_accuracy").iloc[0]
    assert scored["y_hat"] == forecast["y_hat"]
    assert scored["error"] == pytest.approx(forecast["y_hat"] - LONGER["a"][-1])


def test_a_forecast_of_a_filled_week_is_scored_once_the_week_has_a_value(
    published: Settings, instance: dg.DagsterInstance
):
    store = build_store(published)
    series = make_series(a=walk(42, seed=1), b=walk(47, seed=2))
    late = series.iloc[[40]]
    write_source(published.root, series.drop(index=40))
    assert run_week(published, instance).success
    weeks = latest(store, "series")
    assert weeks.loc[weeks["is_filled"], "ds"].tolist() == late["ds"].tolist()
    assert set(latest(store, "forecast_accuracy")["unique_id"]) == {"b"}
    write_source(published.root, series)
    assert run_week(published, instance).success
    scored = latest(store, "forecast_accuracy").set_index(["unique_id", "ds"]).loc["a"]
    assert scored.loc[late["ds"].item(), "y_first"] == late["y"].item()


def test_a_past_as_of_uses_the_weeks_before_it_and_does_not_become_the_latest(
    published: Settings, instance: dg.DagsterInstance
):
    store = build_store(published)
    current = latest(store, "next_week_forecast")
    past = run_week(published, instance, **{AS_OF: "2024-09-07T00:00:00Z"})
    assert past.success
    pd.testing.assert_frame_equal(latest(store, "next_week_forecast"), current)
    series = store.read(select(store, "series", run_id=past.run_id))
    assert str(series["ds"].max().date()) == "2024-09-06"
    forecast = store.read(select(store, "next_week_forecast", run_id=past.run_id))
    assert {str(day.date()) for day in forecast["ds"]} == {"2024-09-13"}
    assert store.history("series")[-1].as_of.isoformat() == "2024-09-07T00:00:00+00:00"


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({AS_OF: "last Monday"}, "`as_of` is 'last Monday', which is not an ISO 8601 time"),
        ({AS_OF: "2962-01-05"}, "2962-01-05T00:00:00+00:00, which is in the future"),
        (DRIFT, "drift was selected for a run of the models naive to window_average"),
    ],
)
def test_a_run_with_tags_that_contradict_it_is_refused(
    tmp_path: Path, instance: dg.DagsterInstance, tags: dict[str, str], message: str
):
    settings = small_settings(tmp_path)
    result = run_week(settings, instance, **tags)
    assert not result.success
    assert message in error_texts(result)
    assert build_store(settings).history("raw_data") == []


def test_a_reversed_range_of_models_is_refused(published: Settings, instance: dg.DagsterInstance):
    tags = {
        "dagster/asset_partition_range_start": "window_average",
        "dagster/asset_partition_range_end": "naive",
    }
    result = materialize(published, instance, "backtest_predictions", **tags)
    assert not result.success
    assert "The range of models window_average to naive selects none" in error_texts(result)


def test_one_model_alone_can_be_materialized_again(
    published: Settings, instance: dg.DagsterInstance
):
    store = build_store(published)
    before = len(store.history("backtest_predictions"))
    assert materialize(published, instance, "backtest_predictions", **DRIFT).success
    added = store.history("backtest_predictions")[before:]
    assert [commit.partition for commit in added] == ["drift"]
    assert materialize(published, instance, "metrics", "best_model", "next_week_forecast").success


def test_a_missing_model_is_refused_by_name(published: Settings, instance: dg.DagsterInstance):
    models = {"enabled": [*MODELS, "theta", "seasonal_naive"]}
    result = materialize(small_settings(published.root, models=models), instance, "metrics")
    message = error_texts(result)
    assert "backtest_predictions has no version of seasonal_naive, theta" in message
    assert "--select backtest_predictions --partition theta" in message


def test_models_of_an_older_vintage_are_refused_by_name(
    published: Settings, instance: dg.DagsterInstance
):
    write_source(published.root, make_series(**LONGER))
    assert materialize(published, instance, "raw_data", "series").success
    assert materialize(published, instance, "backtest_predictions", **DRIFT).success
    message = error_texts(materialize(published, instance, "metrics"))
    assert "come from different data" in message
    assert "backtest_predictions of naive, backtest_predictions of window_average" in message
    assert "--partition naive && dagster asset materialize" in message
    assert "--partition drift" not in message


@pytest.mark.usefixtures("user_models")
def test_a_broken_model_does_not_stop_the_week_but_fails_alone(
    tmp_path: Path, instance: dg.DagsterInstance
):
    broken = {"factory": "user_models:Misbehaving", "params": {"way": "raises"}}
    models = {"enabled": ["naive", "broken"], "broken": broken}
    settings = small_settings(tmp_path, models=models)
    result = run_week(settings, instance)
    assert result.success
    store = build_store(settings)
    assert len(latest(store, "next_week_forecast")) == 2
    metrics = latest(store, "metrics").set_index(["unique_id", "model"])
    assert metrics.loc[("a", "broken"), "status"] == "failed"
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    check = checks["models_complete"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "broken on a (4 of 4 forecasts: RuntimeError: no licence)" in str(check.description)
    files = latest(store, "weekly_report")["file"]
    page = next(settings.var / name for name in files if ".md" in name).read_text()
    assert "**broken** on 2 of 2 series (a, b): RuntimeError: no licence" in page

    before = store.history("backtest_predictions")
    partition = {"dagster/partition": "broken"}
    alone = materialize(settings, instance, "backtest_predictions", **partition)
    assert not alone.success
    message = "broken forecast none of 8 folds. The first error: RuntimeError: no licence"
    assert message in error_texts(alone)
    assert store.history("backtest_predictions") == before


def test_bad_data_fail_without_retry_and_leave_the_week_before(
    published: Settings, instance: dg.DagsterInstance
):
    (published.root / "source.csv").write_text("unique_id,ds,y\na,2024-01-05,much\n")
    result = run_week(published, instance)
    assert not result.success
    assert "row 1: 'much'" in error_texts(result)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    store = build_store(published)
    assert [len(store.history(name)) for name in ("raw_data", "next_week_forecast")] == [2, 2]
    assert all(audit.problem is None for audit in verify(store, ASSETS))


def test_a_source_that_does_not_answer_is_retried_within_the_step(
    tmp_path: Path, instance: dg.DagsterInstance
):
    unreachable = {"kind": "file", "path": "ftp://127.0.0.1:1/x.csv"}
    quick = {"max_retries": 3, "retry_base_seconds": 0.001}
    settings = small_settings(tmp_path, source={**unreachable, **quick})
    result = materialize(settings, instance, "raw_data")
    assert not result.success
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    tries = [line.partition(":")[0] for line in logged if line.startswith("Attempt ")]
    assert tries == [f"Attempt {n} of 4 failed" for n in (1, 2, 3)]
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert "did not answer" in error_texts(result)
    assert "Attempt 4 of 4 failed" in error_texts(result)


def week_job() -> dg.JobDefinition:
    """Load the job for the settings in force, as a re-execution does."""
    return build_defs(load()).resolve_job_def("weekly_forecast")


def test_a_run_re_executed_from_failure_reads_what_it_wrote_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
):
    configure(tmp_path, monkeypatch)
    store, job = build_store(load()), dg.reconstructable(week_job)
    obstacle = Path(store.uri) / "weekly_report"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the folder of the table should be")
    with dg.execute_job(job, instance=instance) as failed:
        assert not failed.success
    obstacle.unlink()
    options = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
    with dg.execute_job(job, instance=instance, reexecution_options=options) as result:
        assert result.success
        steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert steps == {"weekly_report"}
    (report,) = store.history("weekly_report")
    (forecast,) = store.history("next_week_forecast")
    assert forecast.as_input in report.inputs
    assert report.as_of == forecast.as_of
