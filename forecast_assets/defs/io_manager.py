"""The IO manager: the version that a step reads, and what is recorded of the version it writes.

A step reads what its own run wrote, else the newest version. Partitions always arrive as one frame.
How versions are stored is in `storage`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.vintages import digest_values
from forecast_assets.data.weekly import with_is_filled
from forecast_assets.defs.asset_decorator import fail_fast
from forecast_assets.defs.metadata import first_rows
from forecast_assets.defs.run_config import WEEK
from forecast_assets.defs.runs import run_context_of, tag_start, tag_week
from forecast_assets.forecasting.made_with import MadeWith
from forecast_assets.models.registry import with_regressors
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.commit import Commit, InputVersion, span_text
from forecast_assets.storage.lineage import check_same_vintage
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import resolve_inputs

FORECAST = "next_week_forecast"
# Every model's step reads it, so it stays in memory from one step to the next.
CACHED_INPUT = "series"
# Columns that the page of an asset shows first, if the asset shows no rows itself.
PAGE_COLUMNS = {
    "backtest_predictions": ("unique_id", "ds", "h", "y_hat", "error"),
    "weekly_report": ("file", "n_bytes"),
}
# The value of a partitioned asset: its frame by partition.
FrameByPartition = Callable[[str], pd.DataFrame]


class DeltaVersionIOManager(dg.IOManager):
    """Read and write all assets in one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._inputs: dict[tuple[str, str], dict[tuple[str, str | None], Commit]] = {}
        self._cached: tuple[list[Commit], pd.DataFrame] | None = None

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read the version that belongs to this run; refuse inputs of different vintages."""
        step = context.step_context
        asset = context.asset_key.path[-1]
        has_partitions = context.has_asset_partitions
        with fail_fast():
            run = run_context_of(step.dagster_run, step.instance)
            commits = resolve_inputs(
                self._store,
                asset,
                partitions=sorted(context.asset_partition_keys) if has_partitions else None,
                runs=run.runs,
                as_of=run.as_of,
            )
            inputs = self._inputs.setdefault((step.run_id, step.step.key), {})
            inputs.update({(commit.asset, commit.partition): commit for commit in commits})
            check_same_vintage(self._store, list(inputs.values()), for_asset=step.step.key)
            if asset != CACHED_INPUT:
                return self._store.read(commits)
            if self._cached is None or self._cached[0] != commits:
                self._cached = commits, with_is_filled(self._store.read(commits), self._settings)
                tag_week(step.dagster_run, step.instance, series=self._cached[1])
            return self._cached[1]

    def handle_output(
        self, context: dg.OutputContext, obj: pd.DataFrame | FrameByPartition
    ) -> None:
        """Write one version of each partition, and record the versions that it was made from."""
        step = context.step_context
        inputs = self._inputs.pop((step.run_id, step.step.key), {})
        asset, has_partitions = context.asset_key.path[-1], context.has_asset_partitions
        partitions = sorted(context.asset_partition_keys) if has_partitions else [None]
        with fail_fast():
            as_of = run_context_of(step.dagster_run, step.instance).as_of
            for partition in partitions:
                frame = obj if isinstance(obj, pd.DataFrame) else obj(str(partition))
                commit = self._store.write(
                    frame,
                    Commit(
                        asset=asset,
                        partition=partition,
                        run_id=step.run_id,
                        as_of=as_of,
                        code_version=context.asset_spec.code_version or "",
                        inputs=self._read_for(partition, inputs.values()),
                        values_digest=_digest(frame) if asset == CACHED_INPUT else "",
                        made_with=self._made_with(frame) if asset == FORECAST else "",
                    ),
                )
                step.add_asset_metadata(
                    asset_key=context.asset_key,
                    metadata=_version_metadata(commit, frame, context.output_metadata, self._store),
                    partition_key=partition,
                )
                if commit.asset == CACHED_INPUT:
                    tag_week(step.dagster_run, step.instance, series=frame)
                if commit.asset == FORECAST:
                    for observation in _observe_inputs(commit):
                        context.log_event(observation)

    def _read_for(self, model: str | None, inputs: Iterable[Commit]) -> tuple[InputVersion, ...]:
        """Return the versions that a table was made from: for a model only what its kind reads.

        So a new version of regressors or benchmarks leaves other models as they are.
        """
        settings, unused = self._settings, set[str]()
        if model is not None and not with_regressors([model], settings):
            unused.add(REGRESSORS)
        if model is not None and model not in settings.used_benchmarks:
            unused.add(BENCHMARK_FORECASTS)
        return tuple(read.as_input for read in inputs if read.asset not in unused)

    def _made_with(self, forecast: pd.DataFrame) -> str:
        """Return the record of the settings and the code that made a forecast."""
        return MadeWith.of(forecast, self._settings).to_text()


@dg.io_manager(
    required_resource_keys={"store", "settings", WEEK},
    description="Reads and writes all assets in one store; each write is a new version.",
)
def delta_version_io_manager(context: dg.InitResourceContext) -> DeltaVersionIOManager:
    """Provide the IO manager. Every run needs it, so it also records the run's process."""
    if context.run and context.instance:
        tag_start(context.run, context.instance, settings=context.resources.settings)
    return DeltaVersionIOManager(context.resources.store, context.resources.settings)


def _digest(series: pd.DataFrame) -> str:
    """Return the digest of all values of `series`."""
    return [*digest_values(series)][-1]


def _observe_inputs(commit: Commit) -> Iterator[dg.AssetObservation]:
    """Yield an observation of each input that links to the forecast made from it."""
    link = dg.MetadataValue.md(f"[{commit.asset} {commit.version}](/runs/{commit.run_id})")
    for read in commit.inputs:
        if read.partition is None:
            metadata: dict[str, Any] = {"version": read.version, "made_from_this": link}
            yield dg.AssetObservation(read.asset, metadata=metadata)


def _input_links(commit: Commit, store: Store) -> dg.MetadataValue:
    """Return the versions that a version was made from, each with a link to its run."""
    versions: dict[tuple[str, str], list[int]] = {}
    for read in commit.inputs:
        versions.setdefault((read.asset, store.commit(read).run_id), []).append(read.version)
    links = [f"[{name} {span_text(n)}](/runs/{run})" for (name, run), n in versions.items()]
    return dg.MetadataValue.md(", ".join(links) or "the source")


def _version_metadata(
    commit: Commit, frame: pd.DataFrame, given: Mapping[str, dg.MetadataValue], store: Store
) -> dict[str, dg.MetadataValue]:
    """Return what the UI shows about a version, beside the metadata given by its asset."""
    partition = f" --partition {commit.partition}" if commit.partition else ""
    command = f"forecast-assets show {commit.asset} --version {commit.version}{partition}"
    return {
        **(
            {}
            if "rows" in given
            else {"rows": first_rows(frame, PAGE_COLUMNS.get(commit.asset, ()))}
        ),
        "dagster/row_count": dg.MetadataValue.int(commit.n_rows),
        "version": dg.MetadataValue.int(commit.version),
        "as_of": dg.MetadataValue.timestamp(commit.as_of),
        "content_hash": dg.MetadataValue.text(commit.content),
        "show": dg.MetadataValue.text(command),
        "made_from": _input_links(commit, store),
    }
