"""The IO manager: which version a step reads, and what is recorded of the one it writes.

How versions are kept: `store`. A step reads what its own run wrote, else the newest; partitions
always come as one frame, be it one model or many.
"""

from collections.abc import Callable, Iterator, Mapping

import dagster as dg
import pandas as pd
from dagster._core.execution.context.system import StepExecutionContext

from forecast_assets.defs.asset_decorator import fail_fast
from forecast_assets.defs.metadata import first_rows
from forecast_assets.defs.runs import RunContext, clear_inherited_hold, run_context_of, tag_process
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import check_same_vintage
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import resolve_inputs

PUBLISHED = "next_week_forecast"
READ_BY_EVERY_MODEL = "series"  # and so kept in memory from one model's step to the next's
Frames = Callable[[str], pd.DataFrame]  # a partitioned asset's value: its frame by partition


class DeltaVersionIOManager(dg.IOManager):
    """Reads and writes every asset of the week in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._moments: dict[str, RunContext] = {}
        self._read: dict[tuple[str, str], dict[tuple[str, str | None], Commit]] = {}
        self._kept: tuple[list[Commit], pd.DataFrame] | None = None

    def _moment(self, step: StepExecutionContext) -> RunContext:
        """The moment of the step's run, looked up once: it is asked for at every input."""
        if step.run_id not in self._moments:
            self._moments = {step.run_id: run_context_of(step.dagster_run, step.instance)}
        return self._moments[step.run_id]

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read the version that belongs to this run; refuse what does not belong together."""
        step = context.step_context
        asset = context.asset_key.path[-1]
        with fail_fast():
            moment = self._moment(step)
            partitions = (
                sorted(context.asset_partition_keys) if context.has_asset_partitions else None
            )
            commits = resolve_inputs(
                self._store, asset, partitions=partitions, runs=moment.runs, as_of=moment.as_of
            )
            read = self._read.setdefault((step.run_id, step.step.key), {})
            read.update({(commit.asset, commit.partition): commit for commit in commits})
            check_same_vintage(self._store, list(read.values()), for_asset=step.step.key)
            if asset != READ_BY_EVERY_MODEL:
                return self._store.read(commits)
            if self._kept is None or self._kept[0] != commits:
                self._kept = commits, self._store.read(commits)
            return self._kept[1]

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame | Frames) -> None:
        """Write one version of each partition, with what was read to make it."""
        step = context.step_context
        read = self._read.pop((step.run_id, step.step.key), {})
        partitions = (
            sorted(context.asset_partition_keys) if context.has_asset_partitions else [None]
        )
        with fail_fast():
            moment = self._moment(step)
            for partition in partitions:
                frame = obj if isinstance(obj, pd.DataFrame) else obj(str(partition))
                commit = self._store.write(
                    frame,
                    Commit(
                        asset=context.asset_key.path[-1],
                        partition=partition,
                        run_id=step.run_id,
                        as_of=moment.as_of,
                        code_version=context.asset_spec.code_version or "",
                        inputs=tuple(one.as_input for one in read.values()),
                    ),
                )
                step.add_asset_metadata(
                    asset_key=context.asset_key,
                    metadata=_recorded(commit, frame, context.output_metadata, self._store),
                    partition_key=partition,
                )
                if commit.asset == PUBLISHED:
                    for one in _behind(commit):
                        context.log_event(one)


@dg.io_manager(
    required_resource_keys={"store"},
    description="Reads and writes every asset of the week in one store, a version each time.",
)
def versioned_tables(context: dg.InitResourceContext) -> DeltaVersionIOManager:
    """Every run needs it, and so it is where a run records its process."""
    if context.run and context.instance:
        tag_process(context.run.run_id, context.instance)
        clear_inherited_hold(context.run, context.instance)
    return DeltaVersionIOManager(context.resources.store)


def _behind(commit: Commit) -> Iterator[dg.AssetObservation]:
    """The way back: on the page of what a forecast was made from, the forecast."""
    for asset in dict.fromkeys(one.asset for one in commit.inputs if one.partition is None):
        version = next(one.version for one in commit.inputs if one.asset == asset)
        made = f"[{commit.asset} {commit.version}](/runs/{commit.run_id})"
        yield dg.AssetObservation(
            asset,
            metadata={
                "version": version,
                "made_from_this": dg.MetadataValue.md(made),
            },
        )


def _linked(commit: Commit, store: Store) -> dg.MetadataValue:
    """The versions that a version was made from, each with its run's page."""
    runs: dict[tuple[str, str], list[int]] = {}
    for one in commit.inputs:
        runs.setdefault((one.asset, store.commit(one).run_id), []).append(one.version)
    said = [
        f"[{asset} {'-'.join(map(str, sorted({min(some), max(some)})))}](/runs/{run_id})"
        for (asset, run_id), some in runs.items()
    ]
    return dg.MetadataValue.md(", ".join(said) or "the source")


def _recorded(
    commit: Commit, frame: pd.DataFrame, said: Mapping[str, dg.MetadataValue], store: Store
) -> dict[str, dg.MetadataValue]:
    """What a version's page shows, beside what its asset said of it."""
    chosen = f" --partition {commit.partition}" if commit.partition else ""
    return {
        **({} if "rows" in said else {"rows": first_rows(frame)}),
        "dagster/row_count": dg.MetadataValue.int(commit.n_rows),
        "version": dg.MetadataValue.int(commit.version),
        "as_of": dg.MetadataValue.timestamp(commit.as_of),
        "content_hash": dg.MetadataValue.text(commit.content),
        "command_to_show_it": dg.MetadataValue.text(
            f"forecast-assets show {commit.asset} --version {commit.version}{chosen}"
        ),
        "made_from": _linked(commit, store),
    }
