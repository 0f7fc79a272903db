"""Runs whose data were held back: told by a tag on the run, which names the content.

What is held back: `verdict`, as the asset `series` asks it. Here is how sensors know of it.
"""

from collections.abc import Iterator

import dagster as dg

HELD_TAG = "forecast_assets/held"  # on a run that refused its data: their data version
NONE = "none"  # of a run that carries on one that did


def mark_held(run: dg.DagsterRun, instance: dg.DagsterInstance, *, content: str) -> None:
    """Record on a run that it held these data back."""
    instance.add_run_tags(run.run_id, {HELD_TAG: content})


def forget_parent(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Take back what a run inherits of one that held its data: its own are yet to be judged."""
    if content_held(run):
        instance.add_run_tags(run.run_id, {HELD_TAG: NONE})


def content_held(run: dg.DagsterRun) -> str | None:
    """The data version of what a run held back; null where it held nothing."""
    content = run.tags.get(HELD_TAG, NONE)
    return None if content == NONE else content


def runs_that_held(instance: dg.DagsterInstance, **tags: str) -> Iterator[dg.DagsterRun]:
    """The failed runs with these tags that held their data back, the newest first."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags=tags)
    return (run for run in instance.get_runs(failed) if content_held(run))
