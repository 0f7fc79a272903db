"""The schedule: when a week is due, also where clocks change, and which runs a tick requests."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.settings import Settings
from forecast_assets.defs.runs import AS_OF_TAG, WEEK_TAG
from forecast_assets.defs.schedules import (
    JOB,
    build_schedule,
    deadline_cron,
    is_published,
    last_due,
    last_tick,
    ticks_between,
)
from forecast_assets.storage.store import Store
from forecast_assets.storage.withdrawals import Withdrawal, forecasts_as_of, withdraw
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.store_builders import (
    make_commit,
    make_forecast,
    make_store,
    write_series,
)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
TICK = datetime(2026, 11, 23, tzinfo=UTC)
SUNDAY_NIGHT = {"cron": "30 2 * * SUN", "timezone": "Europe/Berlin"}
SUNDAY_TICK = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.fixture
def sunday_night(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, schedule={**SUNDAY_NIGHT, "deadline": "6h"})


def test_the_last_tick_and_the_last_due_tick_are_not_later_than_the_time_given(
    sunday_night: Settings,
):
    for tick_until in (
        lambda time: last_tick(sunday_night, until=time),
        lambda time: last_due(sunday_night, now=time + 6 * HOUR),
    ):
        assert tick_until(SUNDAY_TICK) == SUNDAY_TICK
        assert tick_until(SUNDAY_TICK - SECOND) == SUNDAY_TICK - WEEK


@pytest.mark.parametrize(
    ("after", "until", "ticks"),
    [
        (SUNDAY_TICK, SUNDAY_TICK, []),
        (SUNDAY_TICK - SECOND, SUNDAY_TICK, [SUNDAY_TICK]),
        # Clocks skip 2:30: the tick is at the end of the gap.
        (utc(2026, 3, 22, 1, 30), utc(2026, 4, 6), [utc(2026, 3, 29, 1), utc(2026, 4, 5, 0, 30)]),
        # 2:30 comes twice: one tick, at the second.
        (utc(2026, 10, 24), utc(2026, 11, 2), [utc(2026, 10, 25, 1, 30), utc(2026, 11, 1, 1, 30)]),
    ],
)
def test_ticks_between_two_times(
    sunday_night: Settings, after: datetime, until: datetime, ticks: list[datetime]
):
    assert ticks_between(sunday_night, after=after, until=until) == ticks


def test_a_tick_is_published_once_a_forecast_and_its_data_are_as_new(tmp_path: Path):
    store = make_store(tmp_path)

    def published(tick: datetime, *, now: datetime = TICK + DAY) -> bool:
        return is_published(store, tick, now=now)

    assert not published(TICK)
    series = write_series(store, 1, as_of=TICK - 6 * DAY)
    rebuilt = make_commit("next_week_forecast", as_of=TICK + HOUR, inputs=[series])
    store.write(make_forecast(), rebuilt)
    assert not published(TICK)
    assert published(TICK - 6 * DAY)
    assert not published(TICK - 6 * DAY, now=TICK)  # a clock was wrong
    store.write(make_forecast(), make_commit("next_week_forecast", as_of=TICK))
    assert published(TICK, now=TICK)
    assert not published(TICK + SECOND)


@pytest.mark.parametrize(
    ("cron", "delay", "moved"),
    [
        ("30 6 * * MON", 6 * HOUR, "30 12 * * MON"),
        ("30 6 * * MON-FRI", 6 * HOUR, "30 12 * * MON-FRI"),
        ("30 22 * * sun,3", 1.5 * HOUR, "0 0 * * 1,4"),
        ("0 22 * * SAT", 2 * DAY, "0 22 * * 1"),
        ("0 0 * * *", 2 * HOUR, "0 2 * * *"),
        ("0 22 * * *", 6 * HOUR, "0 4 * * 0,1,2,3,4,5,6"),
        ("0 6 1 * *", 6 * HOUR, "0 12 1 * *"),
        ("0 22 1 * *", 6 * HOUR, None),  # the 2nd is also the day after the 1st of a month
        ("0 22 * 6 SUN", 6 * HOUR, None),
        ("0 22 * * SUN-TUE", 6 * HOUR, None),
        ("*/5 * * * *", 6 * HOUR, None),
        ("0 6 * * MON,WED", 3 * DAY, None),  # longer than from Monday to Wednesday
        ("0 6 * * MON", timedelta(0), None),
    ],
)
def test_a_cron_expression_moves_by_a_delay(cron: str, delay: timedelta, moved: str | None):
    assert deadline_cron(cron, delay) == moved
    if moved:
        assert dg.FreshnessPolicy.cron(moved, delay)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """Yield a Dagster instance on disk, as schedules need it; the tests leave no run in it."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as opened:
        yield opened


def take_back(store: Store, as_of: datetime, *, at: datetime) -> None:
    """Withdraw the forecasts as of a time."""
    row = Withdrawal(as_of, reason="It was wrong", by="ann", at=at)
    withdraw(store, forecasts_as_of(store, as_of), row)


def tick(
    folder: Path,
    instance: dg.DagsterInstance,
    *,
    late: timedelta = 2 * SECOND,
    published: Sequence[datetime] = (),
    at: datetime = TICK,
    **schedule: Any,
) -> list[str] | str:
    """Evaluate a tick: the `as_of` of the runs that it requests, or the reason for none.

    `published` are the `as_of` of the forecasts in the store.
    """
    settings = make_settings(folder, schedule=schedule)
    store = make_store(folder)
    for as_of in published:
        store.write(make_forecast(), make_commit("next_week_forecast", as_of=as_of))
    built = build_schedule(settings, store, clock=lambda: at + late)
    context = dg.build_schedule_context(instance, scheduled_execution_time=at)
    result = built.evaluate_tick(context)
    requests = result.run_requests or []
    assert all(str(request.run_key).startswith(request.tags[AS_OF_TAG]) for request in requests)
    return [request.tags[AS_OF_TAG] for request in requests] or str(result.skip_message)


@pytest.mark.parametrize(
    ("catch_up", "late", "published", "as_of"),
    [
        ("latest", 2 * SECOND, [], [TICK]),
        ("latest", 50 * HOUR, [TICK - 4 * WEEK], [TICK]),
        ("all", 2 * SECOND, [], [TICK]),
        ("all", 50 * HOUR, [TICK - WEEK], [TICK]),
        (
            "all",
            HOUR,
            [TICK - 9 * WEEK, TICK - 4 * WEEK + HOUR],
            [TICK - 3 * WEEK, TICK - 2 * WEEK, TICK - WEEK, TICK],
        ),
        # A forecast from the future of the clock is none.
        ("all", HOUR, [TICK - WEEK, TICK + 30 * WEEK], [TICK]),
        ("all", HOUR, [TICK + 30 * WEEK], [TICK]),
        ("latest", HOUR, [TICK + 30 * WEEK], [TICK]),
        ("skip", 5 * HOUR, [], [TICK]),
    ],
)
def test_a_tick_requests_a_run_for_each_week_that_catch_up_asks_for(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    catch_up: str,
    late: timedelta,
    published: list[datetime],
    as_of: list[datetime],
):
    requests = tick(tmp_path, instance, late=late, published=published, catch_up=catch_up)
    assert requests == [time.isoformat() for time in as_of]


def test_weeks_are_missed_since_the_newest_data_were_published_or_withdrawn(
    tmp_path: Path, instance: dg.DagsterInstance
):
    store = make_store(tmp_path)
    for days, weeks in ((0, 3), (6, 3), (0, 2)):
        series = write_series(store, 1, as_of=TICK - weeks * WEEK)
        rebuilt = make_commit(
            "next_week_forecast", as_of=series.as_of + days * DAY, inputs=[series]
        )
        store.write(make_forecast(), rebuilt)
    missed = [(TICK - n * WEEK).isoformat() for n in (1, 0)]
    assert tick(tmp_path, instance, catch_up="all") == missed
    take_back(make_store(tmp_path), TICK - 2 * WEEK, at=TICK)
    assert tick(tmp_path, instance, catch_up="all") == missed


def test_a_forecast_rebuilt_from_old_data_leaves_its_own_tick_to_be_run(
    tmp_path: Path, instance: dg.DagsterInstance
):
    store = make_store(tmp_path)
    series = write_series(store, 1, as_of=TICK - WEEK)
    rebuilt = make_commit("next_week_forecast", as_of=TICK + HOUR, inputs=[series])
    store.write(make_forecast(), rebuilt)
    for catch_up in ("latest", "all"):
        requested = tick(tmp_path, instance, late=2 * HOUR, catch_up=catch_up)
        assert requested == [TICK.isoformat()]


@pytest.mark.parametrize("is_again", [False, True])
def test_a_withdrawn_week_is_settled_until_a_person_runs_it(
    tmp_path: Path, instance: dg.DagsterInstance, *, is_again: bool
):
    assert tick(tmp_path, instance, published=[TICK]).endswith("is already published.")
    take_back(make_store(tmp_path), TICK, at=TICK + SECOND)
    week = "the week of 2026-11-23 00:00 UTC"
    reason = tick(tmp_path, instance, published=[TICK - WEEK, *([TICK] if is_again else [])])
    state = "published" if is_again else "withdrawn"
    assert reason == f"The forecast for {week} is already {state}."
    next_week = tick(tmp_path, instance, at=TICK + WEEK)
    assert next_week == [(TICK + WEEK).isoformat()]


def test_a_tick_that_requests_no_run_says_why(tmp_path: Path, instance: dg.DagsterInstance):
    week = "the week of 2026-11-23 00:00 UTC"
    assert tick(tmp_path, instance, late=7 * HOUR, catch_up="skip", deadline="6h") == (
        f'The tick for {week} is more than 6h late, and `catch_up = "skip"` skips it.'
    )
    reason = tick(tmp_path, instance, late=2 * HOUR, published=[TICK + HOUR])
    assert reason == f"The forecast for {week} is already published."


def test_a_week_in_progress_is_not_started_twice(tmp_path: Path, instance: dg.DagsterInstance):
    def start(as_of: datetime) -> dg.DagsterRun:
        tags = {WEEK_TAG: "whole", AS_OF_TAG: as_of.isoformat()}
        status = dg.DagsterRunStatus.STARTED
        return create_run_for_test(instance, job_name=JOB, status=status, tags=tags)

    active = [start(TICK - WEEK)]
    assert tick(tmp_path, instance) == [TICK.isoformat()]  # it waits in the queue
    active.append(start(TICK))
    assert tick(tmp_path, instance) == "A run for the week of 2026-11-23 00:00 UTC is in progress."
    for run in active:
        instance.delete_run(run.run_id)


def test_a_tick_in_another_time_zone_is_converted_to_utc(
    tmp_path: Path, instance: dg.DagsterInstance
):
    local = datetime.fromisoformat("2026-10-25T02:30:00+01:00")  # the second 2:30 of that night
    assert tick(tmp_path, instance, at=local, **SUNDAY_NIGHT) == ["2026-10-25T01:30:00+00:00"]


@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_a_tick_requests_its_run_though_the_store_cannot_be_read(
    tmp_path: Path, instance: dg.DagsterInstance, catch_up: str
):
    (tmp_path / "store").write_text("not a folder")
    assert tick(tmp_path, instance, catch_up=catch_up) == [TICK.isoformat()]
