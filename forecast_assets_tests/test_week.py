"""The week in real Dagster runs: one run, one model, re-execution, and what is refused."""

import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.storage.audit import verify
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source

ALL_MODELS = {
    "dagster/asset_partition_range_start": "naive",
    "dagster/asset_partition_range_end": "seasonal_naive",
}
PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}
BROKEN = """
class Broken:
    def fit(self, y, *, season_length):
        raise RuntimeError("no licence")
    def predict(self, h):
        raise AssertionError
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return week_settings(tmp_path, make_series(**PANEL))


def run_week(
    settings: Settings, instance: dg.DagsterInstance, **tags: str
) -> dg.ExecuteInProcessResult:
    """One run of the job."""
    job = build_defs(settings).resolve_job_def("weekly_forecast")
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def materialize(
    settings: Settings, instance: dg.DagsterInstance, *names: str, **tags: str
) -> dg.ExecuteInProcessResult:
    """A run of some assets, as the UI and `dagster asset materialize` start it."""
    defs = build_defs(settings)
    job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey(name) for name in names])
    assert job is not None
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in names],
        tags=tags,
        raise_on_error=False,
    )


def latest(store: Store, asset: str) -> pd.DataFrame:
    """The newest rows of an asset."""
    return store.read(select(store, asset))


def failures(result: dg.ExecuteInProcessResult) -> str:
    """What the failed steps said."""
    said = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                said.append(error.message)
                error = error.cause
    return "\n".join(said)


def test_one_run_makes_every_table_and_every_partition(
    settings: Settings, instance: dg.DagsterInstance
):
    result = run_week(settings, instance)
    assert result.success
    made = {
        (event.asset_key.path[-1], event.partition)
        for event in result.all_events
        if event.is_step_materialization and event.asset_key
    }
    models = {("backtest_predictions", model) for model in settings.models.enabled}
    assert made == {(name, None) for name in ASSETS if name != "backtest_predictions"} | models
    forecast = latest(build_store(settings), "next_week_forecast")
    assert list(forecast["unique_id"]) == ["a", "b"]


def test_each_model_is_a_step_of_its_own(settings: Settings, instance: dg.DagsterInstance):
    result = run_week(settings, instance)
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert {f"backtest_predictions.backtest[{name}]" for name in settings.models.enabled} <= steps


def test_an_assets_page_has_what_a_person_wants(settings: Settings, instance: dg.DagsterInstance):
    result = run_week(settings, instance)
    (found,) = result.asset_materializations_for_node("next_week_forecast")
    assert {
        "rows",
        "forecast_plot",
        "week",
        "version",
        "dagster/row_count",
        "command_to_show_it",
        "made_from",
    } <= set(found.metadata)
    assert found.metadata["version"].value == 0
    table = found.metadata["rows"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["unique_id"] for record in table.records] == ["a", "b"]
    assert str(found.metadata["forecast_plot"].value).startswith("![")
    published = {
        event.partition: event.materialization.metadata
        for event in result.all_events
        if event.is_step_materialization and event.partition
    }
    assert isinstance(published["drift"]["rows"], dg.TableMetadataValue)
    assert published["drift"]["n_folds"].value == 16
    assert published["drift"]["n_forecast"].value == 16
    assert published["drift"]["version"].value != published["naive"]["version"].value


def fits(result: dg.ExecuteInProcessResult) -> dict[str | None, object]:
    """How many fits each model's partition took."""
    return {
        event.partition: event.materialization.metadata["n_fits"].value
        for event in result.all_events
        if event.is_step_materialization and event.partition
    }


def timelines(result: dg.ExecuteInProcessResult) -> list[str]:
    """The pictures of which model ran when."""
    return [
        str(seen.metadata["timeline"].value)
        for seen in observations(result)
        if "timeline" in seen.metadata
    ]


def observations(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    """What was observed of assets, beside their materializations."""
    return [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.is_asset_observation
    ]


def test_a_forecast_and_what_it_was_made_from_lead_to_each_other(
    settings: Settings, instance: dg.DagsterInstance
):
    result = run_week(settings, instance)
    run = f"(/runs/{result.run_id})"
    (found,) = result.asset_materializations_for_node("next_week_forecast")
    for behind in ("series 0", "best_model 0", "backtest_predictions 0-2"):
        assert f"[{behind}]{run}" in str(found.metadata["made_from"].value)
    back = {
        seen.asset_key.path[-1]: str(seen.metadata["made_from_this"].value)
        for seen in observations(result)
        if "made_from_this" in seen.metadata
    }
    link = f"[next_week_forecast 0]{run}"
    assert back == {"series": link, "best_model": link}


def test_a_second_week_keeps_the_first_and_computes_nothing_twice(
    tmp_path: Path, instance: dg.DagsterInstance
):
    models = {"enabled": ["naive", "ses"]}
    settings = week_settings(tmp_path, make_series(**PANEL), models=models, compute={"workers": 1})
    first = run_week(settings, instance)
    assert fits(first) == {"naive": 0, "ses": 16}
    assert [svg[:24] for svg in timelines(first)] == ["![which model ran when, "]
    store = build_store(settings)
    forecast = latest(store, "next_week_forecast")
    again = run_week(settings, instance)
    assert fits(again) == {"naive": 0, "ses": 0}
    assert timelines(again) == []
    assert len(store.history("next_week_forecast")) == 2
    kept = store.read(select(store, "next_week_forecast", version=0))
    pd.testing.assert_frame_equal(kept, forecast)


def test_the_same_data_gives_the_same_data_versions(
    settings: Settings, instance: dg.DagsterInstance
):
    for _ in range(2):
        run_week(settings, instance)
    store = build_store(settings)
    # The choice also tells what was chosen before, and the report is a file of its own each time.
    for asset in (name for name in ASSETS if name not in ("best_model", "weekly_report")):
        by_partition: dict[str | None, set[str]] = {}
        for commit in store.history(asset):
            by_partition.setdefault(commit.partition, set()).add(commit.data_version)
        assert all(len(versions) == 1 for versions in by_partition.values()), asset


def test_dagster_and_the_store_agree_on_data_versions(
    settings: Settings, instance: dg.DagsterInstance
):
    result = run_week(settings, instance)
    store = build_store(settings)
    for name in ("raw_data", "series", "metrics", "best_model", "next_week_forecast"):
        (found,) = result.asset_materializations_for_node(name)
        assert found.tags is not None
        assert found.tags["dagster/data_version"] == store.history(name)[-1].data_version


def test_a_new_week_scores_the_forecast_of_the_week_before(
    tmp_path: Path, instance: dg.DagsterInstance
):
    longer = make_series(a=walk(41, seed=1))
    settings = week_settings(tmp_path, longer.iloc[:-1])
    run_week(settings, instance)
    store = build_store(settings)
    assert latest(store, "forecast_accuracy").empty
    forecast = latest(store, "next_week_forecast").iloc[0]
    write_source(tmp_path, longer)
    run_week(settings, instance)
    scored = latest(store, "forecast_accuracy").iloc[0]
    assert scored["y_hat"] == forecast["y_hat"]
    assert scored["error"] == pytest.approx(forecast["y_hat"] - longer["y"].iloc[-1])


def test_as_of_decides_which_weeks_are_over(settings: Settings, instance: dg.DagsterInstance):
    result = run_week(settings, instance, **{"forecast_assets/as_of": "2024-09-07T00:00:00Z"})
    assert result.success
    store = build_store(settings)
    assert str(latest(store, "series")["ds"].max().date()) == "2024-09-06"
    assert {str(day.date()) for day in latest(store, "next_week_forecast")["ds"]} == {"2024-09-13"}
    assert store.history("series")[-1].as_of.isoformat() == "2024-09-07T00:00:00+00:00"


def test_an_as_of_that_is_no_time_is_refused(settings: Settings, instance: dg.DagsterInstance):
    result = run_week(settings, instance, **{"forecast_assets/as_of": "last Monday"})
    assert not result.success
    assert "`as_of` is 'last Monday', which is no ISO 8601 time" in failures(result)


def test_an_as_of_that_is_yet_to_come_is_refused(settings: Settings, instance: dg.DagsterInstance):
    result = run_week(settings, instance, **{"forecast_assets/as_of": "2962-01-05"})
    assert not result.success
    assert "2962-01-05T00:00:00+00:00, which is yet to come" in failures(result)
    assert build_store(settings).history("raw_data") == []


def test_a_repeated_old_week_does_not_become_the_latest(
    settings: Settings, instance: dg.DagsterInstance
):
    run_week(settings, instance)
    store = build_store(settings)
    current = latest(store, "next_week_forecast")
    run_week(settings, instance, **{"forecast_assets/as_of": "2024-09-07T00:00:00Z"})
    pd.testing.assert_frame_equal(latest(store, "next_week_forecast"), current)
    assert len(store.history("next_week_forecast")) == 2


def test_one_model_alone_can_be_made_again(settings: Settings, instance: dg.DagsterInstance):
    run_week(settings, instance)
    store = build_store(settings)
    before = len(store.history("backtest_predictions"))
    one = {"dagster/partition": "drift"}
    assert materialize(settings, instance, "backtest_predictions", **one).success
    added = store.history("backtest_predictions")[before:]
    assert [commit.partition for commit in added] == ["drift"]
    assert materialize(settings, instance, "metrics", "best_model", "next_week_forecast").success


def test_one_model_or_many_come_back_as_the_same_table(
    tmp_path: Path, instance: dg.DagsterInstance
):
    settings = week_settings(tmp_path, make_series(**PANEL), models={"enabled": ["naive"]})
    assert run_week(settings, instance).success
    candidates = set(latest(build_store(settings), "metrics")["model"])
    assert candidates == {"naive", *COMBINATIONS}


def test_a_missing_model_is_refused_by_name(settings: Settings, instance: dg.DagsterInstance):
    assert materialize(settings, instance, "raw_data", "series").success
    one = {"dagster/partition": "drift"}
    assert materialize(settings, instance, "backtest_predictions", **one).success
    result = materialize(settings, instance, "metrics")
    said = failures(result)
    assert "backtest_predictions has no version of naive, seasonal_naive" in said
    assert "--select backtest_predictions --partition naive" in said


def test_models_of_an_older_vintage_are_refused_by_name(
    tmp_path: Path, settings: Settings, instance: dg.DagsterInstance
):
    run_week(settings, instance)
    write_source(tmp_path, make_series(a=walk(41, seed=1), b=walk(46, seed=2)))
    assert materialize(settings, instance, "raw_data", "series").success
    one = {"dagster/partition": "drift"}
    assert materialize(settings, instance, "backtest_predictions", **one).success
    said = failures(materialize(settings, instance, "metrics"))
    assert "come from different data" in said
    assert "backtest_predictions of naive, backtest_predictions of seasonal_naive descend" in said
    assert "--partition naive && dagster asset materialize" in said
    assert "--partition drift" not in said


def test_a_reversed_range_fails_by_name(settings: Settings, instance: dg.DagsterInstance):
    reversed_range = dict(zip(ALL_MODELS, reversed(ALL_MODELS.values()), strict=True))
    result = materialize(settings, instance, *ASSETS, **reversed_range)
    assert not result.success
    assert "asked for the models seasonal_naive to naive (none) and given none" in failures(result)


def test_one_partition_picked_for_the_whole_job_fails_by_name(
    settings: Settings, instance: dg.DagsterInstance
):
    result = run_week(settings, instance, **{"dagster/partition": "drift"})
    assert not result.success
    assert "drift was picked for a run of the models naive to seasonal_naive" in failures(result)
    assert build_store(settings).history("raw_data") == []


@pytest.fixture
def with_a_broken_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A week in which one of three models always raises."""
    (tmp_path / "broken_model.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    models = {
        "enabled": ["naive", "broken", "drift"],
        "broken": {"factory": "broken_model:Broken"},
    }
    return week_settings(tmp_path, make_series(**PANEL), models=models)


def test_a_broken_model_does_not_cost_the_week_and_is_named_everywhere(
    with_a_broken_model: Settings, instance: dg.DagsterInstance
):
    result = run_week(with_a_broken_model, instance)
    assert result.success
    store = build_store(with_a_broken_model)
    assert len(latest(store, "next_week_forecast")) == 2
    metrics = latest(store, "metrics").set_index(["unique_id", "model"])
    assert metrics.loc[("a", "broken"), "status"] == "failed"
    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    failed = evaluations["no_model_failed"]
    assert not failed.passed
    assert failed.severity == dg.AssetCheckSeverity.WARN
    assert "broken on a (8 of 8 forecasts: RuntimeError: no licence)" in str(failed.description)
    report = latest(store, "weekly_report")
    page = next(with_a_broken_model.var / name for name in report["file"] if ".md" in name)
    assert "**broken** on 2 of 2 series (a, b): RuntimeError: no licence" in page.read_text()


def test_a_broken_model_made_by_hand_raises(
    with_a_broken_model: Settings, instance: dg.DagsterInstance
):
    assert materialize(with_a_broken_model, instance, "raw_data", "series").success
    one = {"dagster/partition": "broken"}
    result = materialize(with_a_broken_model, instance, "backtest_predictions", **one)
    assert not result.success
    assert "broken forecast none of 16 folds; the first said: RuntimeError: no licence" in failures(
        result
    )
    assert build_store(with_a_broken_model).history("backtest_predictions") == []


def test_a_series_of_one_week_is_named_by_a_check_and_forecast_by_naive(
    tmp_path: Path, instance: dg.DagsterInstance
):
    settings = week_settings(tmp_path, make_series(lone=[5.0], **PANEL))
    result = run_week(settings, instance)
    assert result.success
    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    said = str(evaluations["series_can_be_backtested"].description)
    assert said.startswith("1 of 3 series have no more than 1 week: lone.")
    assert "lone by naive (naive)" in str(evaluations["champions_forecast"].description)
    forecast = latest(build_store(settings), "next_week_forecast").set_index("unique_id")
    assert (forecast.loc["lone", "y_hat"], forecast.loc["lone", "rung"]) == (5.0, "naive")


def test_bad_data_fails_at_once_and_leaves_the_week_before(
    tmp_path: Path, settings: Settings, instance: dg.DagsterInstance
):
    run_week(settings, instance)
    (tmp_path / "source.csv").write_text("unique_id,ds,y\na,2024-01-05,much\n")
    result = run_week(settings, instance)
    assert not result.success
    assert "column `y`, hold no number: row 1: 'much'" in failures(result)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    store = build_store(settings)
    assert [len(store.history(name)) for name in ("raw_data", "next_week_forecast")] == [1, 1]
    assert all(finding.problem is None for finding in verify(store, ASSETS))


def test_a_source_that_does_not_answer_is_tried_again(tmp_path: Path, instance: dg.DagsterInstance):
    away = {"kind": "file", "path": "ftp://127.0.0.1:1/x.csv"}
    quick = {"max_retries": 3, "retry_base_seconds": 0.001}
    settings = week_settings(tmp_path, make_series(**PANEL), source={**away, **quick})
    result = materialize(settings, instance, "raw_data")
    assert not result.success
    told = [entry.user_message for entry in instance.all_logs(result.run_id)]
    tries = [line for line in told if line.startswith("Attempt ")]
    assert [line.partition(":")[0] for line in tries] == [
        f"Attempt {n} of 4 failed" for n in (1, 2, 3)
    ]
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert "did not answer" in failures(result)
    assert "Attempt 4 of 4 failed" in failures(result)


def week_job() -> dg.JobDefinition:
    """The job for the settings of the environment, to be loaded anew for a re-execution."""
    return build_defs(load()).resolve_job_def("weekly_forecast")


def test_a_run_carried_on_from_its_failure_reads_what_it_wrote_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = write_source(tmp_path, make_series(**PANEL))
    config = tmp_path / "forecast.toml"
    config.write_text(
        f"source = {{ kind = 'file', path = {json.dumps(str(source))} }}\n"
        "models = { enabled = ['naive', 'drift'] }\nbacktest = { n_windows = 4 }\n"
    )
    monkeypatch.setenv("FORECAST_CONFIG", str(config))
    monkeypatch.setenv("FORECAST_VAR", str(tmp_path / "var"))
    in_the_way = tmp_path / "var" / "reports"
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file where the folder of reports should be")
    store = build_store(load())
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        job = dg.reconstructable(week_job)
        with dg.execute_job(job, instance=instance) as failed:
            assert not failed.success
        in_the_way.unlink()
        carried_on = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        with dg.execute_job(job, instance=instance, reexecution_options=carried_on) as result:
            assert result.success
            steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert steps == {"weekly_report"}
    (report,) = store.history("weekly_report")
    (forecast,) = store.history("next_week_forecast")
    assert forecast.as_input in report.inputs
    assert report.as_of == forecast.as_of
