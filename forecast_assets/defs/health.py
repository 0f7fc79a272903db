"""Health: what stands between this installation and next Monday's forecast, for a watchdog.

A daemon that is down cannot say so itself: something outside of Dagster has to ask.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from forecast_assets.config.loader import dagster_home
from forecast_assets.config.settings import Settings
from forecast_assets.defs import notifications
from forecast_assets.defs.runs import orphans
from forecast_assets.defs.schedules import is_published, last_due
from forecast_assets.errors import format_list
from forecast_assets.storage.store import Store

SILENCE = timedelta(minutes=5)  # of a daemon that beats every half minute, a long tick allowed for
NO_DAEMON = "no Dagster daemon ever ran here, so that the week does not run by itself"
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")


def health_problems(
    settings: Settings, store: Store, *, at: datetime, has_daemon: bool
) -> list[str]:
    """What is not well, a sentence each; nothing is changed.

    `has_daemon` says that the week is to run by a Dagster daemon, which then has to be up.
    Raises StoreError where the store cannot be read.
    """
    found = []
    tick = last_due(settings, now=at)
    if not is_published(store, tick):
        found.append(
            f"the forecast of the week of {tick:%Y-%m-%d %H:%M} UTC is not there, though"
            f" {settings.schedule.deadline} have passed"
        )
    home = dagster_home(settings)
    if (home / "dagster.yaml").exists():
        with dg.DagsterInstance.from_config(str(home)) as instance:
            gone = [run.run_id[:8] for run in orphans(instance)]
            found += _silent_daemons(instance, at=at) if has_daemon else []
        if gone:
            found.append(f"the process of {len(gone)} runs is gone: {format_list(gone)}")
    elif has_daemon:
        found.append(NO_DAEMON)
    waiting = notifications.undelivered(settings, at=at)
    if waiting:
        found.append(f"{len(waiting)} notices are not delivered: {format_list(waiting)}")
    return found


def _silent_daemons(instance: dg.DagsterInstance, *, at: datetime) -> Iterator[str]:
    beats = instance.get_daemon_heartbeats()
    needed = [name for name in DAEMONS if name in instance.get_required_daemon_types()]
    last = {
        name: datetime.fromtimestamp(beats[name].timestamp, UTC) for name in needed if name in beats
    }
    if not last:
        yield NO_DAEMON
        return
    for name in needed:
        if name not in last or last[name] < at - SILENCE:
            when = f"since {last[name]:%Y-%m-%d %H:%M} UTC" if name in last else "at all"
            yield f"Dagster's {name.replace('_', ' ').lower()} daemon has not been heard {when}"
