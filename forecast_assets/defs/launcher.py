"""One run of the week's job in this process, told step by step as it happens."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from forecast_assets.backtesting.executor import prewarm
from forecast_assets.config.loader import dagster_home
from forecast_assets.config.settings import ROOT, Settings
from forecast_assets.defs import notifications
from forecast_assets.defs.asset_decorator import Interrupted
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.console_logger import console_progress
from forecast_assets.defs.runs import (
    ACCEPT_TAG,
    AS_OF_TAG,
    YES,
    end_orphans,
    now,
    parse_as_of,
    refuse_future,
)
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.run_failures import notices_of


def run_week(
    settings: Settings,
    *,
    as_of: str | None,
    say: Callable[[str], None],
    is_accepted: bool = False,
) -> str | None:
    """Run the week and return the run's id; None where it failed. `say` is given each line.

    Where it is accepted, data are published that would be held back.

    The run is kept in the Dagster instance that DAGSTER_HOME names, else in <var>/dagster, where
    `make ui` finds it. Raises SettingsError where `as_of` is no time, and KeyboardInterrupt where
    the run was interrupted; Dagster then keeps it as a failed one.
    """
    moment = None if as_of is None else parse_as_of(as_of)
    tags = {} if moment is None else {AS_OF_TAG: moment.isoformat()}
    tags |= {ACCEPT_TAG: YES} if is_accepted else {}
    refuse_future(moment or now(), at=now())
    prewarm(settings, build_store(settings), as_of=moment or now())
    job = build_defs(settings).resolve_job_def(JOB)
    with _opened(ensure_dagster_home(settings)) as instance, console_progress(say):
        end_orphans(instance)
        try:
            result = job.execute_in_process(
                instance=instance,
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"teller": {}}},
            )
        except dg.DagsterExecutionInterruptedError:  # between two steps
            raise KeyboardInterrupt from None
        if any(_is_interrupt(event) for event in result.all_events):
            raise KeyboardInterrupt
        _tell(result.run_id, settings, instance)
    return result.run_id if result.success else None


def _opened(home: str) -> dg.DagsterInstance:
    """The instance of a folder. One process at a time: Dagster 1.13 fails where two begin it."""
    with Path(home, ".begun").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return dg.DagsterInstance.from_config(home)


def _tell(run_id: str, settings: Settings, instance: dg.DagsterInstance) -> None:
    """Tell whom it concerns of what failed: where no daemon is up, nobody else does."""
    record = instance.get_run_record_by_id(run_id)
    notices = list(notices_of(record, instance)) if record is not None else []
    n_new = sum(notifications.enqueue(notice, settings, at=now()) for notice in notices)
    if n_new:
        notifications.deliver(settings, at=now())


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    """Whether a step ended by one: of ours, or, outside of its own code, Dagster's."""
    error = event.step_failure_data.error if event.is_step_failure else None
    names = [one.__name__ for one in (Interrupted, dg.DagsterExecutionInterruptedError)]
    return error is not None and error.cls_name in names


def ensure_dagster_home(settings: Settings) -> str:
    """The folder of the Dagster instance, made where it is not there yet."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    mine, theirs = ROOT / "dagster.yaml", home / "dagster.yaml"
    if not os.environ.get("DAGSTER_HOME") and (
        not theirs.exists() or theirs.read_bytes() != mine.read_bytes()
    ):
        shutil.copyfile(mine, theirs)
    return str(home)
