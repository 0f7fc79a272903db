"""Test defs.run_config: what is refused before Dagster creates a run, and in its first step."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.run_config import LaunchRefused
from forecast_assets.defs.sensors.run_failures import run_notifications
from forecast_assets_tests.dagster_runs import run_week, small_week
from forecast_assets_tests.markdown_blocks import blocks

AS_OF = "2024-11-20"  # before the week that `published_week` publishes


def config(as_of: str) -> dict[str, object]:
    """Return the configuration of the job for a past week, as docs/operate.md has it."""
    (block,) = [block.text for block in blocks("yaml") if "as_of" in block.text]
    given = yaml.safe_load(block.replace("2026-11-02", as_of))
    return {**given, "loggers": {"console": {}}}


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("2024-13-01", "`as_of` is '2024-13-01', which is not an ISO 8601 time. Nothing ran."),
        ("0001-01-01T00:00+10:00", r"`as_of` is '0001-01-01T00:00\+10:00', which is not an ISO"),
        ("2999-01-01", "`as_of` is 2999-01-01.*, which is in the future. Nothing ran"),
        ("1999-01-01", "the first week of the data, 2024-01-05, was not over. Nothing ran"),
    ],
)
def test_an_impossible_time_is_refused_before_a_run_exists(
    published: Settings, instance: dg.DagsterInstance, as_of: str, message: str
):
    job = build_defs(published).resolve_job_def("weekly_forecast")
    with pytest.raises(LaunchRefused, match=message):
        job.execute_in_process(instance=instance, run_config=config(as_of))
    assert instance.get_runs() == []


class Refused:
    """A run of a published week with impossible tags, and what Dagster has recorded of it."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, **tags: str) -> None:
        self.result = run_week(settings, instance, **tags)
        assets = build_defs(settings).resolve_asset_graph()
        keys = list(assets.asset_check_keys)
        self.checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[self.result.run_id]))
        self.notifications = list(run_notifications(record, instance))

    def failed_steps(self) -> dict[str, str]:
        """Return the message of each failed step."""
        return {
            str(event.step_key): str(event.step_failure_data.user_failure_data.description)
            for event in self.result.all_events
            if event.is_step_failure and event.step_failure_data.user_failure_data
        }

    def descriptions(self) -> Iterator[str]:
        """Yield the description of every check."""
        for record in self.checks.values():
            event = record.event.dagster_event if record.event else None
            assert event is not None
            result = event.asset_check_evaluation_data
            assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
            yield str(result.description)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"forecast_assets/as_of": "1999-01-01"}, "the first week of the data, 2024-01-05"),
        ({"dagster/partition": "naive"}, "The partition naive was selected for a run of"),
        (
            {
                "dagster/asset_partition_range_start": "window_average",
                "dagster/asset_partition_range_end": "naive",
            },
            "The range of models window_average to naive selects none",
        ),
    ],
)
def test_a_run_that_exists_fails_in_one_step_and_its_checks_are_not_evaluated(
    published: Settings, instance: dg.DagsterInstance, tags: dict[str, str], message: str
):
    refused = Refused(published, instance, **tags)
    failed = refused.failed_steps()
    assert list(failed) == ["raw_data"]
    assert message in failed["raw_data"]
    texts = list(refused.descriptions())
    assert len(texts) == 12
    start = f"Not evaluated: the run {refused.result.run_id[:8]} was refused."
    assert all(text.startswith(start) and message in text for text in texts)
    assert [message.event for message in refused.notifications] == ["run_failed"]


def test_a_past_week_is_chosen_by_the_configuration_and_becomes_tags(
    published: Settings, instance: dg.DagsterInstance
):
    job = build_defs(published).resolve_job_def("weekly_forecast")
    result = job.execute_in_process(instance=instance, run_config=config(AS_OF))
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["forecast_assets/as_of"] == "2024-11-20T00:00:00+00:00"
    assert run.tags["week"] == "2024-11-15"
    for asset in ("series", "weekly_report"):
        (page,) = result.asset_materializations_for_node(asset)
        assert next(iter(page.metadata)) == "a_past_week"
        note = str(page.metadata["a_past_week"].value)
        assert note.startswith("As of 2024-11-20 00:00 UTC. The newest version is 0, as of 2024-12")


def test_two_times_that_differ_are_refused(tmp_path: Path, instance: dg.DagsterInstance):
    job = build_defs(small_week(tmp_path)).resolve_job_def("weekly_forecast")
    tags = {"forecast_assets/as_of": "2024-11-13"}
    result = job.execute_in_process(
        instance=instance, run_config=config(AS_OF), tags=tags, raise_on_error=False
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "has the `as_of` 2024-11-20, and its tag" in str(failure.step_failure_data)
