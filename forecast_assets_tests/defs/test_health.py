"""What a watchdog is told of an installation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from forecast_assets.config.settings import Settings
from forecast_assets.defs.health import DAEMONS, health_problems
from forecast_assets.defs.launcher import ensure_dagster_home
from forecast_assets.defs.notifications import outbox
from forecast_assets.notifications.routing import Notification
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.dagster_runs import dead_process
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

TICK = datetime(2026, 11, 23, tzinfo=UTC)
NOON = TICK + timedelta(hours=12)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return make_settings(tmp_path, notify={"urls": ["json://127.0.0.1:1"]})


def found(settings: Settings, *, at: datetime = NOON, has_daemon: bool = False) -> list[str]:
    """What is not well there at a moment."""
    return health_problems(settings, make_store(settings.var.parent), at=at, has_daemon=has_daemon)


def publish(settings: Settings, moment: datetime) -> None:
    """Let there be a forecast that was made for the moment."""
    store = make_store(settings.var.parent)
    store.write(make_forecast(), make_commit("next_week_forecast", as_of=moment))


def beat(settings: Settings, at: datetime, *names: str) -> None:
    """Let these daemons have been heard at a moment."""
    with dg.DagsterInstance.from_config(ensure_dagster_home(settings)) as instance:
        for name in names:
            instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, "it", []))


def test_an_installation_that_has_its_week_is_well(settings: Settings):
    publish(settings, TICK)
    beat(settings, NOON - timedelta(seconds=40), *DAEMONS)
    assert found(settings, has_daemon=True) == []


def test_a_week_that_is_not_there_by_its_deadline_is_named(settings: Settings):
    publish(settings, TICK - timedelta(weeks=1))
    assert found(settings, at=TICK + timedelta(hours=5)) == []
    assert found(settings) == [
        "the forecast of the week of 2026-11-23 00:00 UTC is not there, though 6h have passed"
    ]


def test_daemons_that_fell_silent_are_named(settings: Settings):
    publish(settings, TICK)
    assert found(settings, has_daemon=True) == [
        "no Dagster daemon ever ran here, so that the week does not run by itself"
    ]
    beat(settings, NOON, *DAEMONS[1:3])
    beat(settings, NOON - timedelta(minutes=6), DAEMONS[0])
    assert found(settings, has_daemon=True) == [
        "Dagster's scheduler daemon has not been heard since 2026-11-23 11:54 UTC",
        "Dagster's monitoring daemon has not been heard at all",
    ]
    assert found(settings) == []  # where no daemon is to run the week


def test_runs_whose_process_is_gone_are_named_and_left_as_they_are(settings: Settings):
    publish(settings, TICK)
    with dg.DagsterInstance.from_config(ensure_dagster_home(settings)) as instance:
        started = dg.DagsterRunStatus.STARTED
        run_id = create_run_for_test(instance, job_name="x", status=started).run_id
        tag = {"forecast_assets/process": f"{run_id} {dead_process()}"}
        instance.add_run_tags(run_id, tag)
        for _ in range(2):
            assert found(settings) == [f"the process of 1 runs is gone: {run_id[:8]}"]


def test_notices_that_no_channel_took_are_named_for_a_week(settings: Settings):
    publish(settings, NOON)
    notice = Notification(
        "a", event="report", severity="info", title="The week", text="It is here."
    )
    outbox(settings).put(notice, settings.notify.urls, now=NOON)
    outbox(settings).deliver(settings, now=NOON, seconds=5)
    (said,) = found(settings)
    assert said.startswith("1 notices are not delivered: 'The week' to json://***: ")
    assert found(settings, at=NOON + timedelta(days=6))[-1] == said
