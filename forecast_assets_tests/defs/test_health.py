"""Tests of the problems that `healthcheck` reports."""

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli import cli as dagster_cli
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from forecast_assets.config.settings import Settings
from forecast_assets.defs.health import DAEMONS, health_problems
from forecast_assets.defs.launcher import ensure_dagster_home
from forecast_assets.defs.notifications import open_queue
from forecast_assets.storage.withdrawals import Withdrawal, forecasts_as_of, withdraw
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.dagster_runs import dead_process
from forecast_assets_tests.notification_servers import make_notification
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

TICK = datetime(2026, 11, 23, tzinfo=UTC)
NOON = TICK + timedelta(hours=12)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return make_settings(tmp_path)


def problems(settings: Settings, *, now: datetime = NOON, has_daemon: bool = False) -> list[str]:
    store = make_store(settings.var.parent)
    return health_problems(settings, store, now=now, has_daemon=has_daemon)


def publish(settings: Settings, as_of: datetime) -> None:
    """Write a forecast."""
    store = make_store(settings.var.parent)
    store.write(make_forecast(), make_commit("next_week_forecast", as_of=as_of))


def send_heartbeats(settings: Settings, now: datetime, *daemons: str) -> None:
    """Record a heartbeat of these daemons."""
    with dg.DagsterInstance.from_config(ensure_dagster_home(settings)) as instance:
        for name in daemons:
            instance.add_daemon_heartbeat(DaemonHeartbeat(now.timestamp(), name, "it", []))


def test_a_week_without_a_forecast_is_a_problem_after_its_deadline(settings: Settings):
    publish(settings, TICK - timedelta(weeks=1))
    assert problems(settings, now=TICK + timedelta(hours=5)) == []
    (problem,) = problems(settings)
    assert problem == (
        "the forecast of the week of 2026-11-23 00:00 UTC is missing, although the deadline of 6h"
        " has passed"
    )


def test_a_forecast_from_the_future_is_a_problem_and_leaves_the_week_missing(settings: Settings):
    publish(settings, TICK + timedelta(weeks=20))
    missing, future = problems(settings)
    assert missing.startswith("the forecast of the week of 2026-11-23 00:00 UTC is missing")
    assert future.startswith("1 forecast as of a future time (2027-04-12T00:00:00+00:00) is not")
    assert "`forecast-assets withdraw --as-of 2027-04-12T00:00:00+00:00 --reason" in future
    assert problems(settings, now=TICK + timedelta(weeks=20)) == []


def test_a_tick_of_a_future_clock_is_a_problem_until_its_remedy_is_applied(settings: Settings):
    publish(settings, TICK)
    home = ensure_dagster_home(settings)
    with dg.DagsterInstance.from_config(home) as instance:
        add_tick(instance, "every_week", NOON + timedelta(weeks=20))
        add_tick(instance, "alarms", NOON)
    (problem,) = problems(settings)
    assert problem.startswith("Dagster evaluated every_week at a future time, so it does not again")
    assert "run `dagster schedule wipe`" in problem
    # Dagster recommends its new command `dg` to those who call `dagster`.
    with warnings.catch_warnings(action="ignore", category=dg.SupersessionWarning):
        wiped = CliRunner().invoke(
            dagster_cli, ["schedule", "wipe"], input="DELETE\n", env={"DAGSTER_HOME": home}
        )
    assert wiped.exit_code == 0, wiped.output
    assert problems(settings) == []


def add_tick(instance: dg.DagsterInstance, name: str, at: datetime) -> None:
    """Record that a schedule was evaluated at a time."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
    origin = RemoteInstigatorOrigin(repository, name)
    kind, status = InstigatorType.SCHEDULE, InstigatorStatus.DECLARED_IN_CODE
    state = InstigatorState(origin, kind, status, ScheduleInstigatorData("0 0 * * MON", 0.0))
    instance.add_instigator_state(state)
    ids = (state.instigator_origin_id, name, kind)
    tick = TickData(*ids, TickStatus.SKIPPED, at.timestamp(), selector_id=state.selector_id)
    instance.create_tick(tick)


def test_a_withdrawn_week_is_no_problem(settings: Settings):
    publish(settings, TICK - timedelta(weeks=1))
    publish(settings, TICK)
    store = make_store(settings.var.parent)
    row = Withdrawal(TICK, reason="It was wrong", by="ann", at=NOON)
    withdraw(store, forecasts_as_of(store, TICK), row)
    assert problems(settings) == []
    (missing,) = problems(settings, now=NOON + timedelta(weeks=1))
    assert missing.startswith("the forecast of the week of 2026-11-30 00:00 UTC is missing")


def test_daemons_without_a_heartbeat_are_a_problem(settings: Settings):
    publish(settings, TICK)
    assert problems(settings, has_daemon=True) == [
        "no Dagster daemon has run here, so the weekly forecast does not start by itself"
    ]
    send_heartbeats(settings, NOON, *DAEMONS[1:3])
    send_heartbeats(settings, NOON - timedelta(minutes=6), DAEMONS[0])
    assert problems(settings, has_daemon=True) == [
        "Dagster's scheduler daemon sent no heartbeat since 2026-11-23 11:54 UTC",
        "Dagster's monitoring daemon sent no heartbeat",
    ]
    assert problems(settings) == []
    send_heartbeats(settings, NOON - timedelta(seconds=40), *DAEMONS)
    assert problems(settings, has_daemon=True) == []


def test_runs_without_a_process_and_undelivered_notifications_are_problems(settings: Settings):
    publish(settings, NOON)
    with dg.DagsterInstance.from_config(ensure_dagster_home(settings)) as instance:
        started = dg.DagsterRunStatus.STARTED
        run_id = create_run_for_test(instance, job_name="x", status=started).run_id
        instance.add_run_tags(run_id, {"forecast_assets/process": f"{run_id} {dead_process()}"})
    queue = open_queue(settings)
    queue.enqueue(make_notification(), ["env:GONE"], now=NOON)
    queue.deliver(settings, now=NOON, seconds=5)
    for _ in range(2):  # nothing is changed
        orphan, undelivered = problems(settings)
        assert orphan == f"the process of a run no longer exists: {run_id[:8]}"
        assert undelivered.startswith(
            "notifications were not delivered: 'The week of 2 January' to env:GONE (given up): "
        )
    (settings.var / "outbox/queue.sqlite").write_bytes(b"no database" * 1000)
    assert problems(settings)[1].startswith("notifications are not sent: The notification queue ")
