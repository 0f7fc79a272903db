"""Runs: which moment a run stands for, when it began, and which runs it carries on.

Nothing else in the package asks for the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from forecast_assets.errors import SettingsError

AS_OF_TAG = "forecast_assets/as_of"


@dataclass(frozen=True)
class Moment:
    """`as_of`: what the run may know; `made_at`: when it began; `runs`: it and its parents."""

    as_of: datetime
    made_at: datetime
    runs: Sequence[str]


def moment_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Moment:
    """The moment of a run: its tag's, else when it, or the run it carries on, was created.

    Raises SettingsError where the tag holds no time with an offset.
    """
    first = run.root_run_id or run.run_id
    record = instance.get_run_record_by_id(first) or instance.get_run_record_by_id(run.run_id)
    if record is None:
        raise SettingsError(f"The run {run.run_id} is not known to its Dagster instance.")
    made_at = record.create_timestamp.astimezone(UTC)
    said = run.tags.get(AS_OF_TAG)
    as_of = made_at if said is None else parse_as_of(said)
    chain = dict.fromkeys([run.run_id, run.parent_run_id, run.root_run_id])
    return Moment(as_of, made_at, [run_id for run_id in chain if run_id])


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
