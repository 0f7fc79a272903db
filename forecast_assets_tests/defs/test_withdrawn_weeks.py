"""Weeks that do not count, in real runs: withdrawn ones, and forecasts from the future."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from forecast_assets.cli.status_lines import status_lines
from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.runs import AS_OF_TAG, LATE_TAG
from forecast_assets.defs.schedules import build_schedule
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import select
from forecast_assets.storage.withdrawals import Withdrawal, forecasts_as_of, withdraw
from forecast_assets_tests.builders import make_series, write_source
from forecast_assets_tests.dagster_runs import PANEL, materialize, run_week, small_week
from forecast_assets_tests.store_builders import make_commit, make_forecast

HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
FIRST = datetime(2024, 12, 2, tzinfo=UTC)  # the week that is published
SECOND = FIRST + WEEK


def run(
    settings: Settings, instance: dg.DagsterInstance, as_of: datetime, **tags: str
) -> dg.ExecuteInProcessResult:
    return run_week(settings, instance, **{AS_OF_TAG: as_of.isoformat(), **tags})


def add_weeks(settings: Settings, *values: float) -> None:
    """Let the source have these values after those of the week that is published."""
    longer = {name: [*y, *values] for name, y in PANEL.items()}
    write_source(settings.root, make_series(**longer))


def take_back(settings: Settings, as_of: datetime) -> None:
    """Withdraw the forecasts as of a time, an hour later."""
    store = build_store(settings)
    row = Withdrawal(as_of, reason="It was wrong", by="ann", at=as_of + HOUR)
    withdraw(store, forecasts_as_of(store, as_of), row)


def newest_report(settings: Settings) -> str:
    pages = settings.var.glob("reports/*/report.md")
    return max(pages, key=lambda path: path.stat().st_mtime).read_text()


def stale_assets(settings: Settings, instance: dg.DagsterInstance, now: datetime) -> str:
    """Return what the sensor says at a time."""
    sensor = build_stale_assets(settings, build_store(settings), clock=lambda: now)
    context = dg.build_sensor_context(instance, definitions=build_defs(settings))
    return str(sensor.evaluate_tick(context).skip_message)


def test_nothing_but_a_person_publishes_a_withdrawn_week(
    published: Settings, instance: dg.DagsterInstance
):
    add_weeks(published, 130.0)
    assert run(published, instance, SECOND).success
    take_back(published, SECOND)
    add_weeks(published, 131.0)  # that the source was corrected changes nothing
    tags = {AS_OF_TAG: (SECOND + 2 * HOUR).isoformat()}
    assert materialize(published, instance, "raw_data", "series", **tags).success
    withdrawn = "The forecast of these data's week is withdrawn. Only a person publishes it."
    for now in (SECOND + 3 * HOUR, SECOND + WEEK):
        assert stale_assets(published, instance, now) == withdrawn
    n_forecasts = len(build_store(published).history(FORECAST))
    late_runs = [run(published, instance, SECOND, **{LATE_TAG: "x"})]
    for tag in ("dagster/schedule_name", "dagster/sensor_name"):
        tags = {AS_OF_TAG: SECOND.isoformat(), tag: "x"}
        late_runs.append(materialize(published, instance, FORECAST, **tags))
    for late in late_runs:
        (failure,) = [event for event in late.all_events if event.is_step_failure]
        assert failure.step_key == FORECAST
        assert "was withdrawn while this run, which a schedule or a" in str(
            failure.step_failure_data
        )
    assert run(published, instance, FIRST).success  # another week, again
    assert stale_assets(published, instance, SECOND + 3 * HOUR) == withdrawn
    assert len(build_store(published).history(FORECAST)) == n_forecasts + 1
    assert run(published, instance, SECOND + 4 * HOUR).success
    assert stale_assets(published, instance, SECOND + 5 * HOUR) == "No asset is stale."
    (newest,) = select(build_store(published), FORECAST)
    assert newest.as_of == SECOND + 4 * HOUR


def test_a_withdrawn_forecast_is_not_scored_and_the_next_week_is_compared_with_the_one_before(
    published: Settings, instance: dg.DagsterInstance
):
    def scored() -> list[str]:
        rows = build_store(published).read(select(build_store(published), "forecast_accuracy"))
        return sorted({str(day.date()) for day in rows["ds"]})

    def n_scored_by_status() -> object:
        lines = status_lines(published, build_store(published), now=SECOND + 3 * WEEK)
        return next(line.value for line in lines if line.name == "forecasts_due")

    add_weeks(published, 130.0)
    assert run(published, instance, SECOND).success
    assert (scored(), n_scored_by_status()) == (["2024-11-15"], 3)
    take_back(published, FIRST)
    assert n_scored_by_status() == 0  # though the table is older
    assert run(published, instance, SECOND + HOUR).success
    text = "that as of 2024-12-02 00:00 UTC (by ann on 2024-12-02 01:00 UTC: It was wrong)."
    assert f"Last week's forecast was withdrawn: {text}" in newest_report(published)
    add_weeks(published, 130.0, 131.0)
    assert run(published, instance, SECOND + WEEK).success
    assert scored() == ["2024-11-22"]
    take_back(published, SECOND + WEEK)
    add_weeks(published, 130.0, 150.0)
    tags = {AS_OF_TAG: (SECOND + WEEK).isoformat()}
    corrected = materialize(published, instance, "raw_data", "series", **tags)
    findings = {
        check.check_name: str(check.description)
        for check in corrected.get_asset_check_evaluations()
    }
    # The value that was withdrawn is not taken for a revised one.
    assert findings["same_history"].startswith("The week ending 2024-11-22 is new for 3 of 3")


def test_a_forecast_from_the_future_is_a_finding_until_it_is_withdrawn(
    published: Settings, instance: dg.DagsterInstance
):
    store, future = build_store(published), datetime.now(UTC) + 20 * WEEK
    store.write(make_forecast(), make_commit(FORECAST, as_of=future))

    def on_time(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
        assert result.success
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        return checks["on_time"]

    check = on_time(run_week(published, instance))
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    text = f"1 forecast as of a future time, by a clock that was or is wrong: {future.isoformat()}."
    assert text in str(check.description)
    assert "future clock (1)" in newest_report(published)
    take_back(published, future)
    assert on_time(materialize(published, instance, "raw_data", "series")).passed


def test_weeks_that_were_missed_are_run_in_their_order(
    published: Settings, instance: dg.DagsterInstance, tmp_path: Path
):
    """The daemon was down for two weeks, in which the source had a value each."""
    tick, store = FIRST + 2 * WEEK, build_store(published)
    latest, every = (
        build_schedule(
            small_week(published.root, schedule={"catch_up": catch_up}),
            store,
            clock=lambda: tick + HOUR,
        )
        for catch_up in ("latest", "all")
    )
    add_weeks(published, 130.0, 131.0)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as on_disk:
        context = dg.build_schedule_context(on_disk, scheduled_execution_time=tick)
        requests = every.evaluate_tick(context).run_requests or []
        assert [request.tags[AS_OF_TAG] for request in requests] == [
            (FIRST + n * WEEK).isoformat() for n in (1, 2)
        ]
        assert latest.evaluate_tick(context).run_requests == requests[-1:]
        for request in requests:
            assert run_week(published, instance, **request.tags).success
        for schedule in (every, latest):
            assert "already published" in str(schedule.evaluate_tick(context).skip_message)
    times = [commit.as_of for commit in store.history(FORECAST)]
    assert times == [FIRST + n * WEEK for n in range(3)]
