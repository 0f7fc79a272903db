"""Dagster assets of the group `delivery`: one for each `[deliver.NAME]`, the last of a run.

What a delivery does is in the package `delivery`. By itself only the newest week is delivered.
"""

from datetime import datetime

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs.asset_decorator import OWNER, RETRIES, fail_fast
from forecast_assets.defs.replay import LAST_ASSET
from forecast_assets.defs.runs import DELIVERY_GROUP, now, run_context_of
from forecast_assets.defs.schedules import last_tick
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest, resolve_inputs, valid_versions


def delivery_keys(settings: Settings) -> list[dg.AssetKey]:
    """Return the keys of the assets that deliver."""
    return [dg.AssetKey([DELIVERY_GROUP, name]) for name in settings.deliver]


def build_deliveries(settings: Settings) -> list[dg.AssetsDefinition]:
    """Build an asset for each `[deliver.NAME]`."""
    return [_build_delivery(name, settings) for name in settings.deliver]


def _build_delivery(name: str, settings: Settings) -> dg.AssetsDefinition:
    delivery = settings.deliver[name]

    @dg.asset(
        key=dg.AssetKey([DELIVERY_GROUP, name]),
        deps=list(dict.fromkeys([delivery.asset, LAST_ASSET])),
        group_name=DELIVERY_GROUP,
        kinds={delivery.kind},
        owners=[OWNER],
        code_version="1",
        retry_policy=RETRIES,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"Deliver {delivery.asset} as `[deliver.{name}]` says: the newest week by"
        f" itself, any other version with `forecast-assets deliver {name} --version N`.",
    )
    def deliver_version(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from forecast_assets.delivery.deliver import deliver  # imports slowly

        run = run_context_of(context.run, context.instance)
        with fail_fast(n_retries=context.retry_number):
            (commit,) = resolve_inputs(
                store, delivery.asset, partitions=None, runs=run.runs, as_of=run.as_of
            )
            if reason := _not_newest(commit, store, settings, at=now()):
                command = f"forecast-assets deliver {name} --version {commit.version}"
                text = f"Nothing was delivered: {reason}. `{command}` delivers it."
            else:
                run_id = context.run.run_id
                written = deliver(name, settings, store, commit, now=now(), run_id=run_id)
                text = written.text
        context.log.info(text)
        return dg.MaterializeResult(
            metadata={
                "delivered": not reason,
                "text": text,
                "version": commit.version,
                "as_of": dg.MetadataValue.timestamp(commit.as_of),
                **({} if reason else {"dagster/row_count": written.n_rows}),
            }
        )

    return deliver_version


def _not_newest(commit: Commit, store: Store, settings: Settings, *, at: datetime) -> str:
    """Say why a version is not delivered by itself; nothing if it is of the newest week."""
    version = f"version {commit.version} of {commit.asset}"
    if commit.as_of < last_tick(settings, until=at):
        return f"{version} is of a past week"
    last = newest(valid_versions(store, commit.asset, as_of=at))
    if last is not None and last != commit:
        return f"{version} is older than version {last.version}"
    return ""
