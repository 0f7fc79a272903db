"""Run past weeks again on what was known then, each once, into a store of their own.

The Dagster job `replay` does the same as the command. What was known at a tick: `data.past_rows`.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

import dagster as dg

from forecast_assets.config.settings import NotifySettings, Settings, StoreSettings
from forecast_assets.data.benchmarks import read_once
from forecast_assets.data.past_rows import MissingVintage, PastRows
from forecast_assets.defs import runs
from forecast_assets.defs.asset_decorator import Interrupted
from forecast_assets.defs.console_logger import console_progress, failure_cause
from forecast_assets.defs.inputs import RunInputs, build_store
from forecast_assets.defs.run_config import AS_OF_TAG, parse_as_of, refuse_future
from forecast_assets.defs.schedules import deadline, last_tick, settled_state, ticks_between
from forecast_assets.errors import DataError, SettingsError, format_list
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import valid_versions

# What does not change a number of a replayed week.
NOT_COMPARED = {"store", "notify", "compute", "deliver", "report"}
# The last asset: with it a week is complete.
LAST_ASSET = "weekly_report"
PAUSE_SECONDS = 30.0
# On the days when clocks change a week is an hour longer or shorter.
CLOCK_CHANGE = timedelta(hours=2)
# Builds the job of the week.
BuildJob = Callable[[Settings, RunInputs], dg.JobDefinition]


@dataclass(frozen=True)
class ReplayPlan:
    """Which ticks are replayed, from `first` to `last`, and how.

    At least `n_weeks` lie between two ticks. `store` is the address of the replay's store; by
    default it lies below `var`.
    """

    first: datetime
    last: datetime
    n_weeks: int = 1
    store: str | None = None
    has_vintages: bool = True
    missing_vintage: MissingVintage = "fail"

    def ticks(self, settings: Settings) -> list[datetime]:
        """Return the ticks, oldest first. Raises SettingsError if there is none."""
        every = timedelta(weeks=self.n_weeks) - CLOCK_CHANGE
        before = self.first - timedelta(microseconds=1)
        selected: list[datetime] = []
        for tick in ticks_between(settings, after=before, until=self.last):
            if not selected or tick - selected[-1] >= every:
                selected.append(tick)
        if not selected:
            raise SettingsError(
                f"The schedule {settings.schedule.cron!r} has no tick from {self.first.isoformat()}"
                f" to {self.last.isoformat()}. Nothing was replayed. Give a longer time."
            )
        return selected


def replay(
    settings: Settings,
    plan: ReplayPlan,
    *,
    build_job: BuildJob,
    write_line: Callable[[str], None],
    find_week: Callable[[], str | None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Store:
    """Replay the ticks of a plan that are not replayed yet, and return the replay's store.

    `build_job` builds the job of the week. Before each tick the replay waits as long as `find_week`
    says which week of the present is due or in progress. Raises SettingsError where the store holds
    anything but this replay, and DataError where a tick cannot be replayed; the weeks before it
    stay.
    """
    refuse_future(plan.last, at=runs.now())
    main, ticks = build_store(settings), plan.ticks(settings)
    replayed = _replay_settings(settings, plan)
    store = build_store(replayed)
    run_ids = _check_store(store, settings, plan, main)
    rows = PastRows(
        settings,
        main,
        {tick: last_tick(settings, until=tick - timedelta(seconds=1)) for tick in ticks},
        runs.now(),
        plan.missing_vintage,
        plan.has_vintages,
    )
    done = {commit.run_id for commit in store.history(LAST_ASSET)}
    left = [tick for tick in ticks if run_ids(tick) not in done]
    _refuse_earlier(store, left)
    if len(left) < len(ticks):
        write_line(f"{len(ticks) - len(left)} of {len(ticks)} weeks are replayed already.")
    rows.intervals = {tick: rows.intervals[tick] for tick in left}
    rows.check()
    inputs = RunInputs(
        fetch=rows.fetch,
        read_benchmark=read_once(settings),
        vintage_stores=[store, main] if rows.has_dated_files else [main],
        has_vintages=plan.has_vintages,
        is_replay=True,
        fold_cache=settings.var / "fold_cache",
    )
    job, began = build_job(replayed, inputs), time.monotonic()
    for n, tick in enumerate(left):
        _wait(find_week, write_line, sleep)
        _run_tick(job, tick, run_ids(tick))
        minutes = (time.monotonic() - began) / (n + 1) * (len(left) - n - 1) / 60
        write_line(
            f"{n + 1} of {len(left)}: the week as of {tick:%Y-%m-%d %H:%M} UTC;"
            f" {minutes:.0f} minutes left"
        )
    return store


def find_week(settings: Settings, store: Store, instance: dg.DagsterInstance) -> str | None:
    """Return which week of the present is due or in progress, None if none is.

    Neither holds for longer than the deadline: nobody may want the week.
    """
    now = runs.now()
    runs.end_orphans(instance)
    for record in runs.active_weekly_runs(instance):
        if record.create_timestamp > now - deadline(settings):
            return f"the run {record.dagster_run.run_id[:8]} is in progress"
    tick = last_tick(settings, until=now)
    is_in_use = bool(valid_versions(store, FORECAST, as_of=now))
    if is_in_use and now < tick + deadline(settings) and not settled_state(store, tick, now=now):
        return f"the week of {tick:%Y-%m-%d %H:%M} UTC is due"
    return None


def parse_weeks(text: str) -> int:
    """Read a number of weeks such as 1w. Raises SettingsError."""
    number = text.removesuffix("w")
    if not number.isdecimal() or number == text or int(number) < 1:
        raise SettingsError(
            f"`every` is {text!r}, which is not a number of weeks. Nothing was replayed. Write it"
            f" as 1w or 4w."
        )
    return int(number)


def _replay_settings(settings: Settings, plan: ReplayPlan) -> Settings:
    """Return the settings of a replayed week: another store and folder; nobody receives it."""
    var = settings.var / "replay"
    uri = settings.resolve_path(plan.store) if plan.store else str(var / "store")
    nobody = {"notify": NotifySettings(), "deliver": {}}
    return settings.model_copy(update={"var": var, "store": StoreSettings(uri=uri), **nobody})


def _check_store(
    store: Store, settings: Settings, plan: ReplayPlan, main: Store
) -> Callable[[datetime], str]:
    """Return the run id of each tick; refuse a store that holds other runs."""
    if store.uri == main.uri:
        raise SettingsError(
            f"The store of the replay is {store.uri}, which holds the weeks as they were published."
            f" Nothing was replayed. Give another one with --store."
        )
    given = settings.model_dump_json(exclude=NOT_COMPARED, exclude_defaults=True)
    text = repr((given, version("forecast_assets"), plan.has_vintages, plan.missing_vintage))
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def run_id(tick: datetime) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} {tick.isoformat()}"))

    others = [
        f"{commit.as_of:%Y-%m-%d %H:%M}"
        for commit in store.history(FORECAST)
        if commit.run_id != run_id(commit.as_of)
    ]
    if others:
        raise SettingsError(
            f"The store {store.uri} holds {len(others)} weeks that were replayed with other"
            f" settings, by another release, or published: as of {format_list(others)} UTC. Nothing"
            f" was replayed, because their errors cannot be compared. Give another store with"
            f" --store, or delete this one to replay all weeks again."
        )
    return run_id


def _refuse_earlier(store: Store, left: Sequence[datetime]) -> None:
    """Raise SettingsError where the store holds weeks after the first of the ticks."""
    commits = store.history(LAST_ASSET) if left else []
    later = [f"{commit.as_of:%Y-%m-%d}" for commit in commits if commit.as_of > left[0]]
    if later:
        raise SettingsError(
            f"The store {store.uri} holds {len(later)} weeks after {left[0]:%Y-%m-%d}: as of"
            f" {format_list(later)}. A week builds on the weeks before it, so nothing was replayed."
            f" Replay later weeks, or give another store with --store."
        )


def _wait(
    find_week: Callable[[], str | None],
    write_line: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Wait until no week of the present is due or in progress."""
    is_shown = False
    while reason := find_week():
        if not is_shown:
            write_line(f"The replay waits: {reason}.")
            is_shown = True
        sleep(PAUSE_SECONDS)


def _run_tick(job: dg.JobDefinition, tick: datetime, run_id: str) -> None:
    """Run one past week in an instance of its own. Raises DataError where it fails."""
    with dg.DagsterInstance.ephemeral() as instance, console_progress(lambda _: None):
        try:
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                tags={AS_OF_TAG: tick.isoformat()},
                raise_on_error=False,
                run_config={"loggers": {"progress": {}}},
            )
        except dg.DagsterExecutionInterruptedError:  # between two steps
            raise KeyboardInterrupt from None
    failures = [event for event in result.all_events if event.is_step_failure]
    if any(_is_interrupt(event) for event in failures):
        raise KeyboardInterrupt
    if not result.success:
        causes = [f"{event.step_key}: {failure_cause(event)}" for event in failures]
        raise DataError(
            f"The week as of {tick:%Y-%m-%d %H:%M} UTC could not be replayed:"
            f" {format_list(causes)}\nThe weeks before it are stored. Correct the cause and start"
            f" the replay again: it goes on from this week."
        )


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    names = {Interrupted.__name__, dg.DagsterExecutionInterruptedError.__name__}
    return error is not None and error.cls_name in names


def build_replay_job(settings: Settings, store: Store, build_job: BuildJob) -> dg.JobDefinition:
    """Build the job `replay`, which the limit on the time of runs does not end."""

    @dg.op(
        name="replay_weeks",
        out=dg.Out(dg.Nothing, io_manager_key="records"),
        config_schema={
            "from": dg.Field(str, description="First time, such as 2025-01-01."),
            "to": dg.Field(str, description="Last time, such as 2025-12-31."),
            "every": dg.Field(str, default_value="1w", description="Weeks between two ticks: 4w."),
            "store": dg.Field(str, is_required=False, description="Address of the replay's store."),
            "vintages": dg.Field(bool, default_value=True, description="Use what was known then."),
            "missing_vintage": dg.Field(
                dg.Enum("MissingVintage", [dg.EnumValue("fail"), dg.EnumValue("nearest")]),
                default_value="fail",
                description="What to do about a tick of which it is not known what was known.",
            ),
        },
    )
    def replay_weeks(context: dg.OpExecutionContext) -> None:
        runs.tag_start(context.run, context.instance)
        given = context.op_config
        plan = ReplayPlan(
            parse_as_of(given["from"]),
            parse_as_of(given["to"]),
            parse_weeks(given["every"]),
            given.get("store"),
            given["vintages"],
            given["missing_vintage"],
        )
        replay(
            settings,
            plan,
            build_job=build_job,
            write_line=context.log.info,
            find_week=lambda: find_week(settings, store, context.instance),
        )

    @dg.job(
        name=runs.REPLAY_JOB,
        description="Run past weeks again on what was known then, into a store of their own.",
        tags={"dagster/max_runtime": "0"},
        executor_def=dg.in_process_executor,
    )
    def replay_job() -> None:
        replay_weeks()

    return replay_job
