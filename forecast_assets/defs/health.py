"""Find problems that would prevent the next forecast, for a monitor outside of Dagster.

A Dagster daemon that is down cannot report itself.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.regressor_problems import RegressorProblem
from forecast_assets.config.loader import dagster_home
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import one_line
from forecast_assets.data.quality.stored_versions import last_held_fetch
from forecast_assets.defs import notifications
from forecast_assets.defs.regressor_assets import problems_of, read_table
from forecast_assets.defs.runs import orphans
from forecast_assets.defs.schedules import build_schedule, last_due, settled_state
from forecast_assets.errors import StoreError, format_list
from forecast_assets.forecasting.held_forecast import held_series_text, last_held
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import future_forecasts
from forecast_assets.storage.withdrawals import describe_future

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
    problems = [*_unpublished(settings, store, now=now), *_from_the_future(store, now=now)]
    home = dagster_home(settings)
    if (home / "dagster.yaml").exists():
        with dg.DagsterInstance.from_config(str(home)) as instance:
            run_ids = [run.run_id[:8] for run in orphans(instance)]
            problems += _silent_daemons(instance, now=now) if has_daemon else []
            problems += _future_ticks(instance, now=now)
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


def check_regressors(
    series: pd.DataFrame,
    settings: Settings,
    store: Store,
    *,
    as_of: datetime,
    log: Callable[[str], None],
) -> tuple[pd.DataFrame, list[RegressorProblem]]:
    """Return the table `regressors` that a run would write now, and what is wrong with it.

    Raises SourceError and DataError as `read_table` does.
    """
    table = read_table(settings, store, as_of=as_of, log=log)
    return table, problems_of(table, series, settings)


def check_schedule(settings: Settings, store: Store) -> None:
    """Raise SettingsError where the schedule would never start a week."""
    build_schedule(settings, store)


def _unpublished(settings: Settings, store: Store, *, now: datetime) -> Iterator[str]:
    """Yield a problem if the week's forecast is missing, or a newer one or its data are held."""
    tick, held = last_due(settings, now=now), _held(store, now=now)
    if not settled_state(store, tick, now=now):
        missing = (
            f"the forecast of the week of {tick:%Y-%m-%d %H:%M} UTC is missing, although the"
            f" deadline of {settings.schedule.deadline} has passed"
        )
        yield f"{missing}: the {held}" if held else missing
    elif held:
        yield f"the {held}"


def _held(store: Store, *, now: datetime) -> str | None:
    """Say what is held back and why, if anything is."""
    if fetch := last_held_fetch(store, now=now):
        why = f"because of {one_line(fetch.findings)}"
        return f"data as of {fetch.as_of:%Y-%m-%d %H:%M} UTC are held back, {why}"
    if held := last_held(store, now=now):
        why = f"because of {held_series_text(store, held)}"
        return f"forecast as of {held.as_of:%Y-%m-%d %H:%M} UTC is held back, {why}"
    return None


def _from_the_future(store: Store, *, now: datetime) -> Iterator[str]:
    """Yield a problem if a wrong clock dated forecasts later than `now`."""
    if text := describe_future(future_forecasts(store, now=now)):
        yield text


def _future_ticks(instance: dg.DagsterInstance, *, now: datetime) -> Iterator[str]:
    """Yield a problem if Dagster waits for a time that a wrong clock showed once."""
    names = []
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        if ticks and ticks[0].timestamp > (now + HEARTBEAT_TIMEOUT).timestamp():
            names.append(state.instigator_name)
    if names:
        yield (
            f"Dagster evaluated {format_list(sorted(names))} at a future time, so it does not again"
            f" until then: correct the clock or, if it is right now, stop the daemon, run `dagster"
            f" schedule wipe`, which switches every schedule and sensor on again, and start it"
        )


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
