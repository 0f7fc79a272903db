"""Find problems that would prevent the next forecast, for a monitor outside of Dagster.

A Dagster daemon that is down cannot report itself.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from forecast_assets.config.loader import dagster_home
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import one_line
from forecast_assets.data.quality.stored_versions import held_findings
from forecast_assets.defs import notifications
from forecast_assets.defs.runs import orphans
from forecast_assets.defs.schedules import build_schedule, is_published, last_due
from forecast_assets.errors import StoreError, format_list
from forecast_assets.storage.store import Store

# A daemon sends a heartbeat every 30 seconds, later during a long tick.
HEARTBEAT_TIMEOUT = timedelta(minutes=5)
NO_DAEMON = "no Dagster daemon has run here, so the weekly forecast does not start by itself"
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")


def health_problems(
    settings: Settings, store: Store, *, now: datetime, has_daemon: bool
) -> list[str]:
    """Return the problems as sentences; change nothing.

    `has_daemon` says that a Dagster daemon must be running. Raises StoreError if the store cannot
    be read, and SettingsError where the schedule never starts.
    """
    check_schedule(settings, store)
    problems = list(_unpublished(settings, store, now=now))
    home = dagster_home(settings)
    if (home / "dagster.yaml").exists():
        with dg.DagsterInstance.from_config(str(home)) as instance:
            run_ids = [run.run_id[:8] for run in orphans(instance)]
            problems += _silent_daemons(instance, now=now) if has_daemon else []
        if run_ids:
            problems.append(f"the process of a run no longer exists: {format_list(run_ids)}")
    elif has_daemon:
        problems.append(NO_DAEMON)
    try:
        undelivered = notifications.undelivered(settings, now=now)
    except StoreError as error:
        return [*problems, f"notifications are not sent: {str(error).rstrip('.')}"]
    if undelivered:
        problems.append(f"notifications were not delivered: {format_list(undelivered)}")
    return problems


def check_schedule(settings: Settings, store: Store) -> None:
    """Raise SettingsError where the schedule would never start a week."""
    build_schedule(settings, store)


def _unpublished(settings: Settings, store: Store, *, now: datetime) -> Iterator[str]:
    """Yield a problem if the forecast of the week is missing, or newer data are held back."""
    tick, held = last_due(settings, now=now), held_findings(store)
    cause = f"data are held back, because of {one_line(held)}"
    if not is_published(store, tick):
        missing = (
            f"the forecast of the week of {tick:%Y-%m-%d %H:%M} UTC is missing, although the"
            f" deadline of {settings.schedule.deadline} has passed"
        )
        yield f"{missing}: the {cause}" if held else missing
    elif held:
        yield f"the newest {cause}"


def _silent_daemons(instance: dg.DagsterInstance, *, now: datetime) -> Iterator[str]:
    heartbeats = instance.get_daemon_heartbeats()
    required = [name for name in DAEMONS if name in instance.get_required_daemon_types()]
    if not any(name in heartbeats for name in required):
        yield NO_DAEMON
        return
    for name in required:
        heartbeat = heartbeats.get(name)
        last = datetime.fromtimestamp(heartbeat.timestamp, UTC) if heartbeat else None
        if last is None or last < now - HEARTBEAT_TIMEOUT:
            since = f" since {last:%Y-%m-%d %H:%M} UTC" if last else ""
            yield f"Dagster's {name.replace('_', ' ').lower()} daemon sent no heartbeat{since}"
