"""The Dagster job `override`: a person's number for a week, from the launchpad of the UI.

What an override does is in `forecasting.overrides`; the command of the same name does the same.
"""

from datetime import date

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs import runs
from forecast_assets.defs.asset_decorator import fail_fast
from forecast_assets.defs.metadata import first_rows
from forecast_assets.errors import DataError
from forecast_assets.forecasting import overrides
from forecast_assets.storage.overrides import Override
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST


def build_override_job(settings: Settings, store: Store) -> dg.JobDefinition:
    """Build the job `override`, which writes the newest forecast again with a person's number."""

    @dg.op(
        name="override_week",
        out=dg.Out(dg.Nothing, io_manager_key="records"),
        config_schema={
            "series": dg.Field(str, description="Name of the series."),
            "week": dg.Field(str, description="A day of the week, such as 2026-12-25."),
            "value": dg.Field(
                dg.Noneable(float), is_required=False, description="The value that you expect."
            ),
            "lower": dg.Field(
                dg.Noneable(float), is_required=False, description="The lowest one that you expect."
            ),
            "upper": dg.Field(
                dg.Noneable(float), is_required=False, description="The highest one."
            ),
            "withdraw": dg.Field(
                bool, default_value=False, description="Withdraw the override of the week instead."
            ),
            "reason": dg.Field(str, description="Why; it is shown with the number."),
            "by": dg.Field(str, description="Who expects it."),
        },
    )
    def override_week(context: dg.OpExecutionContext) -> None:
        with fail_fast():
            published = overrides.override(store, settings, _to_override(context.op_config))
            context.log.info(published.text)
            if published.forecast:
                rows = store.read([published.forecast])
                first = ["unique_id", "y_hat", "override", "override_by"]
                metadata = {"rows": first_rows(rows.drop(columns="members"), first)}
                context.log_event(dg.AssetObservation(FORECAST, metadata=metadata))

    @dg.job(
        name="override",
        description="Put a person's number next to the forecast of a week, or withdraw it.",
        executor_def=dg.in_process_executor,
    )
    def override_job() -> None:
        override_week()

    return override_job


def _to_override(given: dict[str, object]) -> Override:
    """Read the configuration of the job. Raises DataError if it has no day, or not one value."""
    value, is_withdrawn = given.get("value"), bool(given["withdraw"])
    if (value is None) != is_withdrawn:
        raise DataError("Nothing was changed. Give one of `value` and `withdraw: true`.")
    try:
        week = date.fromisoformat(str(given["week"]))
    except ValueError as error:
        raise DataError(
            f"`week` is {given['week']!r}, which is not a day like 2026-12-25. Nothing was changed."
        ) from error
    ends = {name: given.get(name) for name in ("value", "lower", "upper")}
    return Override(
        unique_id=str(given["series"]),
        ds=week,
        reason=" ".join(str(given["reason"]).split()),
        by=str(given["by"]).strip(),
        at=runs.now(),
        **{name: None if end is None else float(str(end)) for name, end in ends.items()},
    )
