"""Dagster resource `week`: the configuration of a run, and the refusal of one that cannot run.

Dagster reads the configuration before it creates a run, so that a refused one leaves no trace. Tags
and partitions it reads later: the run's first step refuses those.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from forecast_assets.errors import RunRefusedError, StoreError, format_list
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest, valid_versions

AS_OF_TAG = "forecast_assets/as_of"  # the time up to which a run knows data
# The resource whose configuration has it, too: `resources: {week: {config: {as_of: …}}}`.
WEEK = "week"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
SCHEMA = {
    "as_of": dg.Field(
        str,
        is_required=False,
        description="Forecast a past week: use only data up to this time, such as 2026-11-23 or"
        " 2026-11-23T06:00:00+01:00. Leave it out to forecast next week.",
    )
}


class LaunchRefused(dg.DagsterError):
    """Refuse a configuration. Dagster shows other errors as unexpected ones of this function."""


def build_week(store: Store, *, clock: Callable[[], datetime]) -> dg.ResourceDefinition:
    """Build the resource `week`, whose configuration is checked before a run is created."""

    def check(config: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            if "as_of" in config:
                as_of = parse_as_of(config["as_of"])
                refuse_future(as_of, at=clock())
                refuse_before_data(as_of, store)
        except RunRefusedError as error:
            raise LaunchRefused(str(error)) from None
        return config

    resource = dg.ResourceDefinition(lambda context: context.resource_config, SCHEMA)
    return resource.configured(check, config_schema=SCHEMA)


def given_as_of(run: dg.DagsterRun) -> datetime | None:
    """Return the `as_of` of a run's configuration or of its tag, None if it has neither.

    Raises RunRefusedError where one is not a time, or where they differ.
    """
    resources: Any = run.run_config.get("resources", {})
    config = resources.get(WEEK, {}).get("config", {}).get("as_of")
    tag = run.tags.get(AS_OF_TAG)
    times = {parse_as_of(text) for text in (config, tag) if text is not None}
    if len(times) > 1:
        raise RunRefusedError(
            f"The configuration of the run has the `as_of` {config}, and its tag {AS_OF_TAG} is"
            f" {tag}. Nothing ran. Give one of them."
        )
    return next(iter(times), None)


def parse_as_of(text: str) -> datetime:
    """Read an ISO 8601 time, in UTC where it names no time zone. Raises RunRefusedError."""
    try:
        time = datetime.fromisoformat(text)
        as_of = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RunRefusedError(
            f"`as_of` is {text!r}, which is not an ISO 8601 time. Nothing ran. Write it as"
            f" 2026-11-23 or 2026-11-23T06:00:00+01:00."
        ) from error
    return as_of


def refuse_future(as_of: datetime, *, at: datetime) -> None:
    """Raise RunRefusedError where `as_of` is later than `at`."""
    if as_of > at:
        raise RunRefusedError(
            f"`as_of` is {as_of.isoformat()}, which is in the future. Nothing ran, because a"
            f" forecast from the future does not count as published. Give a past time, or leave"
            f" `as_of` out to use the present time."
        )


def refuse_before_data(as_of: datetime, store: Store) -> None:
    """Raise RunRefusedError where `as_of` is before the end of the first week that is stored.

    A store that cannot be read is left to the run.
    """
    with suppress(StoreError):
        last = newest(valid_versions(store, "series"))
        if last is None or last.as_of <= as_of:
            return
        first = store.read([last], columns=["ds"])["ds"].min().date()
        if as_of.date() <= first:
            raise RunRefusedError(
                f"`as_of` is {as_of.isoformat()}, when the first week of the data, {first}, was not"
                f" over. Nothing ran, and the forecast stays as it was. Give a later time, or"
                f" leave `as_of` out to use the present time."
            )


def refuse_empty_range(run: dg.DagsterRun, models: Sequence[str]) -> None:
    """Raise RunRefusedError where a run's range of models selects none: where it is reversed."""
    first, last = (run.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG))
    places = [models.index(name) for name in (first, last) if name in models]
    if places != sorted(places):
        raise RunRefusedError(
            f"The range of models {first} to {last} selects none, so no model ran. Give the range"
            f" in the order of `enabled`: {format_list(models, limit=40)}."
        )


@contextmanager
def report_refusal(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Iterator[None]:
    """Report every check that a refused run planned as not evaluated: a warning, sent to nobody.

    Dagster would show that their execution failed, as if they had found something.
    """
    try:
        yield
    except RunRefusedError as error:
        planned = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
        records = instance.get_records_for_run(run.run_id, of_type=planned).records
        events = [record.event_log_entry.dagster_event for record in records]
        for check in [event.asset_check_planned_data for event in events if event]:
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=check.asset_key,
                    check_name=check.check_name,
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"Not evaluated: the run {run.run_id[:8]} was refused. {error}",
                )
            )
        raise
