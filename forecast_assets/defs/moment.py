"""Runs: which moment a run stands for, when it began, and which runs it carries on.

Nothing else in the package asks for the time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from forecast_assets.errors import SettingsError

AS_OF_TAG = "forecast_assets/as_of"
ACCEPT_TAG = "forecast_assets/accept"  # on a run that publishes what would be held back
YES = "yes"  # its value
WEEK_TAG = "forecast_assets/week"  # on runs that publish a week: the queue lets one run at a time
WHOLE, THE_REST = "whole", "the rest"  # its values: from the data on, or from further down
ONE_PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Moment:
    """`as_of`: what the run may know; `made_at`: when it began; `runs`: it and its parents."""

    as_of: datetime
    made_at: datetime
    runs: Sequence[str]


def moment_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Moment:
    """The moment of a run: its tag's, else when it, or the run it carries on, was created.

    Raises SettingsError where the tag holds no time, and where one partition was picked for a run
    that carries the range of all: it would run that one alone while all are planned.
    """
    if ONE_PARTITION in run.tags and RANGE_START in run.tags:
        raise SettingsError(
            f"The model {run.tags[ONE_PARTITION]} was picked for a run of the models"
            f" {run.tags[RANGE_START]} to {run.tags[RANGE_END]}. What it would publish is not what"
            f" its plan says, so nothing ran. For the whole week leave the partition empty, or"
            f" press Materialize all and choose All; for one model use the Partitions tab of"
            f" backtest_predictions, or: dagster asset materialize -m forecast_assets.definitions"
            f" --select backtest_predictions --partition {run.tags[ONE_PARTITION]}"
        )
    first = run.root_run_id or run.run_id
    record = instance.get_run_record_by_id(first) or instance.get_run_record_by_id(run.run_id)
    if record is None:
        raise SettingsError(f"The run {run.run_id} is not known to its Dagster instance.")
    made_at = record.create_timestamp.astimezone(UTC)
    said = run.tags.get(AS_OF_TAG)
    as_of = made_at if said is None else parse_as_of(said)
    refuse_future(as_of, at=made_at)
    chain = dict.fromkeys([run.run_id, run.parent_run_id, run.root_run_id])
    return Moment(as_of, made_at, [run_id for run_id in chain if run_id])


Clock = Callable[[], datetime]


def now() -> datetime:
    """The moment of what is about to begin."""
    return datetime.now(UTC)


def refuse_future(as_of: datetime, *, at: datetime) -> None:
    """Raise SettingsError where a run is to stand for a moment that is yet to come."""
    if as_of > at:
        raise SettingsError(
            f"`as_of` is {as_of.isoformat()}, which is yet to come. Every week until then would"
            f" seem to be forecast already, and nothing that was published can be taken back, so"
            f" nothing ran. Give a moment that is past, or none: that is now."
        )


def parse_as_of(text: str) -> datetime:
    """Read an ISO 8601 moment; a bare date or time is in UTC. Raises SettingsError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"`as_of` is {text!r}, which is no ISO 8601 time, so it is not known what the run may"
            f" know. Nothing ran. Write it as 2026-11-23 or 2026-11-23T06:00:00+01:00."
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
