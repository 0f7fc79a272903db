"""What commit 9e085b0 left on disk goes on working: README.md describes the state."""

import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result

import forecast_assets
from forecast_assets.definitions import defs
from forecast_assets_tests.cli_runner import invoke, records
from forecast_assets_tests.notification_servers import Webhook, webhook

ARCHIVE = Path(__file__).with_name("state_9e085b0.tar.xz")
WRITTEN_BELOW = "/srv/weekly"
JOB = "weekly_forecast"
BEFORE_ALL_RUNS = "2026-11-28T00:00:00+00:00"
NEXT_WEEK = {"north": 186.75, "south": 190.25, "west": 189.5}
HELD, REPORT, NOT_DELIVERED = (
    "The week as of 2026-11-28 08:31 UTC is held back",
    "Forecast for the week ending 2026-01-16: 3 series",
    "The week as of 2026-11-28 08:32 UTC: 1 checks failed",
)


@dataclass(frozen=True)
class Upgraded:
    """The state after one more week: what the command printed, and what was posted to whom."""

    folder: Path
    result: Result
    readers: Sequence[Any]
    on_call: Sequence[Any]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """Run one more week on the old store, Dagster instance, fold cache and queue."""
    folder = tmp_path_factory.mktemp("upgraded")
    with pytest.MonkeyPatch.context() as monkeypatch, webhook() as readers, webhook() as on_call:
        unpack(folder)
        use(folder, monkeypatch, readers=readers, on_call=on_call)
        with (folder / "data/sales.csv").open("a") as source:
            source.writelines(f"{name},2026-01-16,{y}\n" for name, y in NEXT_WEEK.items())
        yield Upgraded(folder, invoke("run"), readers.messages, on_call.messages)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the old state in a folder of its own, its settings in force."""
    unpack(tmp_path)
    use(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def instance(old: Path) -> Iterator[dg.DagsterInstance]:
    """Yield the old Dagster instance."""
    with dg.DagsterInstance.from_config(str(old / "var/dagster")) as opened:
        yield opened


def unpack(folder: Path) -> None:
    """Unpack the state; files that notifications attach are looked for where they are now."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for notification in (folder / "var/outbox").rglob("*.json"):
        text = notification.read_text(encoding="utf-8")
        notification.write_text(text.replace(WRITTEN_BELOW, str(folder)), encoding="utf-8")


def use(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    readers: Webhook | None = None,
    on_call: Webhook | None = None,
) -> None:
    """Put the settings of a folder in force, its own model on the path, and the channels' URLs."""
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "forecast.toml"))
    monkeypatch.delenv("FORECAST_VAR", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    for name, hook in (("FORECAST_READERS", readers), ("FORECAST_ON_CALL", on_call)):
        monkeypatch.setenv(name, hook.url if hook else "json://127.0.0.1:9/hook")


def printed(folder: Path) -> dict[str, Any]:
    """Return what the old version printed: by asset its history, and the rows of each version."""
    recorded: dict[str, Any] = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    return recorded


def has_all(rows: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> bool:
    """Return whether rows hold all that is expected of them; they may have more columns."""
    return len(rows) == len(expected) and all(
        row.items() >= want.items() for row, want in zip(rows, expected, strict=True)
    )


def weekly_job() -> dg.JobDefinition:
    """Load the job of the week for the settings in force, as a re-execution does."""
    return defs().resolve_job_def(JOB)


@pytest.mark.usefixtures("old")
def test_settings_with_a_table_verdict_are_in_force():
    result = invoke("config", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: `[verdict]` in /")
    assert "forecast.toml is deprecated: its name is `[data_quality]` now." in result.stderr
    in_force = {row["name"]: row for row in json.loads(result.stdout)}
    assert in_force["source.path"]["value"] == "data/sales.csv"
    assert in_force["notify.urls"]["from"].startswith("forecast.toml")
    assert in_force["data_quality.late"]["value"] == "publish"
    assert in_force["data_quality.late"]["from"] == "forecast.toml"


def test_dagster_logs_that_the_table_verdict_is_deprecated(
    old: Path, caplog: pytest.LogCaptureFixture
):
    assert defs().sensors
    (message,) = caplog.messages
    assert message.startswith(f"`[verdict]` in {old}/forecast.toml is deprecated: its name is")


def test_every_old_version_has_its_history_and_its_rows(upgraded: Upgraded):
    for asset, recorded in printed(upgraded.folder).items():
        n_old = len(recorded["history"])
        history = records("history", asset)
        assert has_all(history[:n_old], recorded["history"]), asset
        assert len(history) > n_old, asset
        for version, rows in recorded["show"].items():
            assert has_all(records("show", asset, "--version", version), rows), (asset, version)


@pytest.mark.usefixtures("old")
def test_old_versions_are_found_by_time_and_by_run():
    first, second, _ = records("history", "next_week_forecast")
    by_version = records("show", "next_week_forecast", "--version", "0")
    assert [row["ds"] for row in by_version] == ["2025-12-26"] * 3
    assert records("show", "next_week_forecast", "--as-of", "2025-12-25") == by_version
    assert records("show", "next_week_forecast", "--run", first["run_id"][:8]) == by_version
    (later, *_) = records("show", "next_week_forecast", "--run", second["run_id"])
    assert later["ds"] == "2026-01-02"


@pytest.mark.usefixtures("upgraded")
def test_versions_are_compared_across_the_upgrade():
    changes = records("diff", "series", "0", "1")
    (revised,) = [row for row in changes if "2025-12-12" in map(str, row.values())]
    assert {186.44, 188.94} <= set(revised.values())
    newest = records("history", "series")[-1]["version"]
    across = records("diff", "series", str(newest - 1), str(newest))
    assert {row["unique_id"] for row in across} == set(NEXT_WEEK)


@pytest.mark.usefixtures("upgraded")
def test_every_version_is_sound():
    found = records("verify")
    assert len(found) > len(records("history", "backtest_predictions"))
    assert [row for row in found if row["problem"]] == []


def test_a_further_week_is_run_on_the_old_state(upgraded: Upgraded):
    assert upgraded.result.exit_code == 0, upgraded.result.output
    forecast = records("show", "next_week_forecast")
    assert [(row["unique_id"], row["ds"]) for row in forecast] == [
        (name, "2026-01-23") for name in NEXT_WEEK
    ]
    assert {row["rung"] for row in forecast} == {"champion"}
    assert {row["status"] for row in records("show", "metrics")} == {"scored"}


@pytest.mark.usefixtures("upgraded")
def test_forecasts_of_the_old_version_are_scored_and_its_choices_are_known():
    scored = [row for row in records("show", "forecast_accuracy") if row["ds"] == "2026-01-16"]
    assert {row["unique_id"]: row["y"] for row in scored} == NEXT_WEEK
    last = records("show", "next_week_forecast", "--version", "2")
    assert [row["y_hat"] for row in scored] == [row["y_hat"] for row in last]
    assert all(row["previous_model"] for row in records("show", "best_model"))


def test_the_old_fold_cache_is_no_obstacle(upgraded: Upgraded):
    assert "damaged" not in upgraded.result.output
    assert [*(upgraded.folder / "var").rglob("*.damaged")] == []
    assert invoke("prune").exit_code == 0


def test_what_was_not_delivered_is_delivered_by_the_next_run(upgraded: Upgraded):
    titles = [message["title"] for message in upgraded.readers]
    expected = [HELD, REPORT, NOT_DELIVERED, "Forecast for the week ending 2026-01-23: 3 series"]
    assert [titles.count(title) for title in expected] == [1] * 4, titles
    assert [message["title"] for message in upgraded.on_call].count(NOT_DELIVERED) == 1
    (old_report,) = [message for message in upgraded.readers if message["title"] == REPORT]
    (page,) = old_report["attachments"]
    assert page["filename"] == "report.html"


@pytest.mark.usefixtures("upgraded")
def test_the_week_has_a_status_after_the_upgrade():
    rows = {row["name"]: row for row in records("status")}
    assert rows["week"]["value"] == "2026-01-23"
    health = invoke("healthcheck", "--no-daemon").output
    assert "is missing" not in health
    assert "FORECAST_READERS" not in health


def test_old_runs_are_readable_next_to_the_new_one(upgraded: Upgraded):
    histories = {asset: records("history", asset) for asset in printed(upgraded.folder)}
    known = {row["run_id"]: row["as_of"] for rows in histories.values() for row in rows}
    with dg.DagsterInstance.from_config(str(upgraded.folder / "var/dagster")) as instance:
        runs = {run.run_id: run for run in instance.get_runs()}
        assert runs.keys() == known.keys()
        assert sorted(run.status.value for run in runs.values()) == ["FAILURE", *["SUCCESS"] * 4]
        for run_id, run in runs.items():
            assert run.job_name == JOB
            assert run.tags.get("forecast_assets/as_of", known[run_id]) == known[run_id]
            assert instance.all_logs(run_id)
        page = instance.fetch_materializations(dg.AssetKey("weekly_report"), limit=100)
        assert len(page.records) == 4
        assert all("report_text" in one.asset_materialization.metadata for one in page.records)


def test_sensors_stay_on_or_off_as_they_were(instance: dg.DagsterInstance):
    loaded = defs()
    names = {one.name for one in [*(loaded.sensors or ()), *(loaded.schedules or ())]}
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    assert states.keys() - {"the_rest_follows"} <= names  # stale_assets, whose state starts again
    assert states["new_data"].status.value == "STOPPED"
    locations = {
        state.origin.repository_origin.code_location_origin.location_name
        for state in states.values()
    }
    workspace = Path(forecast_assets.__file__).parents[1] / "workspace.yaml"
    assert [f"location_name: {name}" in workspace.read_text() for name in locations] == [True]


@pytest.mark.parametrize("name", ["stale_assets", "missed_week"])
def test_nothing_is_made_again_because_of_the_upgrade(instance: dg.DagsterInstance, name: str):
    old_name = {"stale_assets": "the_rest_follows"}.get(name, name)
    (state,) = [s for s in instance.all_instigator_state() if s.instigator_name == old_name]
    cursor = state.instigator_data.cursor if name == old_name else None
    loaded = defs()
    context = dg.build_sensor_context(instance, cursor=cursor, definitions=loaded)
    answer = loaded.resolve_sensor_def(name).evaluate_tick(context)
    assert answer.run_requests == []


def test_the_sensor_delivers_what_was_left_and_repeats_nothing(
    instance: dg.DagsterInstance, old: Path, monkeypatch: pytest.MonkeyPatch
):
    with webhook() as readers, webhook() as on_call:
        use(old, monkeypatch, readers=readers, on_call=on_call)
        sensor = defs().resolve_sensor_def("alarms")
        for _ in range(2):
            sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=BEFORE_ALL_RUNS))
    assert sorted(readers.titles) == sorted([HELD, REPORT, NOT_DELIVERED])
    assert on_call.titles == [NOT_DELIVERED]


def test_old_runs_are_understood(
    instance: dg.DagsterInstance, old: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.rmtree(old / "var/outbox")  # so that every run that needs attention is new to the sensor
    with webhook() as readers, webhook() as on_call:
        use(old, monkeypatch, readers=readers, on_call=on_call)
        sensor = defs().resolve_sensor_def("alarms")
        sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=BEFORE_ALL_RUNS))
    runs = instance.get_runs()
    messages = {
        run.run_id: [message for message in on_call.messages if run.run_id in message["message"]]
        for run in runs
    }
    assert [len(found) for found in messages.values()] == [1] * len(runs)
    for run in runs:
        (message,) = messages[run.run_id]
        as_of = run.tags.get("forecast_assets/as_of", "2026-11-28")
        assert as_of[:10] in message["title"]
        is_held = run.status == dg.DagsterRunStatus.FAILURE
        assert ("vanished_series" in message["message"]) is is_held
        assert ("held back" in message["title"]) is is_held


def test_a_run_that_held_its_data_back_is_carried_on_and_accepted(instance: dg.DagsterInstance):
    (held,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    carried_on = dg.ReexecutionOptions.from_failure(held.run_id, instance)
    with dg.execute_job(
        dg.reconstructable(weekly_job),
        instance=instance,
        reexecution_options=carried_on,
        tags={**held.tags, "forecast_assets/accept": "yes"},
    ) as result:
        assert result.success
    accepted = records("show", "next_week_forecast", "--run", result.run_id)
    assert [row["unique_id"] for row in accepted] == ["north", "south"]
