"""The command `run`: run one week and print its forecast."""

import functools
import sys
from os.path import relpath
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import FAILED, command, open_store
from forecast_assets.cli.output import Record, print_records, records_of
from forecast_assets.errors import format_list

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


@command(
    "run", "run --as-of 2026-01-05 --json > forecast.json", "run --accept", failure="the run failed"
)
@click.option("--as-of", metavar="TIME", help="Use only data up to this time; the default is now.")
@click.option("--accept", "is_accepted", is_flag=True, help="Publish what was held back last.")
def run(as_of: str | None, *, is_accepted: bool, is_json: bool) -> None:
    """Run one week: every asset and every model.

    Suspicious data are held back, and so is a forecast that is not plausible: the run stops with
    the reason, and the previous forecast stays in force. --accept publishes what was held back last
    if it has not changed since; what has changed is checked again. With --json the forecast is
    printed to stdout and the progress to stderr.
    """
    from forecast_assets.defs.launcher import run_week
    from forecast_assets.storage import versions

    settings, store = open_store()
    run_id, undelivered = run_week(
        settings,
        as_of=as_of,
        write_line=functools.partial(click.echo, err=is_json),
        is_accepted=is_accepted,
    )
    if run_id is None:
        click.echo(
            "The run failed; see the errors above. Earlier versions are unchanged.", err=True
        )
        if is_json:
            click.echo("[]")
        raise click.exceptions.Exit(FAILED)
    if is_json:
        forecast = versions.select(store, "next_week_forecast", run_id=run_id)
        print_records(records_of(store.read(forecast)), is_json=True)
    else:
        _print_week(settings, store, run_id)
    if undelivered:
        commands = " && ".join(f"forecast-assets deliver {name}" for name in undelivered)
        click.echo(
            f"The week is published, but was not delivered to {format_list(undelivered)}; see the"
            f" errors above. Correct the cause, then: {commands}",
            err=True,
        )
        raise click.exceptions.Exit(FAILED)


def _print_week(settings: "Settings", store: "Store", run_id: str) -> None:
    from forecast_assets.cli.status_lines import main_report_file
    from forecast_assets.data.quality.evaluate import published_line, with_policy
    from forecast_assets.data.quality.stored_versions import findings_of
    from forecast_assets.reporting.render import forecast_rows
    from forecast_assets.reporting.summary import is_overridden
    from forecast_assets.storage import versions

    forecast, series, report = (
        versions.select(store, asset, run_id=run_id)
        for asset in ("next_week_forecast", "series", "weekly_report")
    )
    weeks = store.read(series)
    rows = forecast_rows(store.read(forecast), weeks)
    click.echo()
    levels = settings.forecast.levels
    has_overrides = any(map(is_overridden, rows))
    print_records([_to_record(row, levels, has_overrides=has_overrides) for row in rows])
    reasons = dict.fromkeys(f"{row['unique_id']}: {row['reason']}" for row in rows if row["reason"])
    left_out = sorted({*weeks["unique_id"]} - {row["unique_id"] for row in rows})
    if reasons:
        click.echo(f"\nThe forecast:   {format_list(reasons)}")
    if left_out:
        click.echo(f"\nLeft out:       {format_list(left_out)}, without a plausible forecast")
    for line in _left_out_models(store, run_id):
        click.echo(f"\nNot competing:  {line}")
    findings = findings_of(store, series[0], settings)
    if with_policy(findings, "hold", "warn"):
        click.echo(
            f"\nThe data:       {published_line(findings)};"
            " more: forecast-assets show data_findings"
        )
    file = main_report_file(store.read(report)["file"])
    written = settings.var / file if file else "could not be written: see the check pages_written"
    click.echo(f"\nThe report:     {written}")
    click.echo(f"Earlier weeks:  {relpath(sys.argv[0])} history next_week_forecast")
    click.echo("The UI:         make ui, then http://127.0.0.1:3000")


def _left_out_models(store: "Store", run_id: str) -> list[str]:
    """Say which models did not compete on some series, and what they need."""
    from forecast_assets.forecasting.eligibility import needs_text
    from forecast_assets.reporting.narrative import models_left_out
    from forecast_assets.storage import versions

    metrics = store.read(versions.select(store, "metrics", run_id=run_id))
    n_series = metrics["unique_id"].nunique()
    return [
        f"{format_list(group['models'])} on {group['n_series']} of {n_series} series:"
        f" {needs_text(group['reason'])}"
        for group in models_left_out(metrics)
    ]


def _to_record(row: Record, levels: tuple[float, ...], *, has_overrides: bool) -> Record:
    from forecast_assets.config.forecast_settings import column_suffix
    from forecast_assets.reporting.summary import model_label

    return {
        "series": row["unique_id"],
        "week": row["ds"],
        "last week": row["last_y"],
        "forecast": row["y_hat"],
        **{
            f"{end} {suffix} %": row[f"{end}_{suffix}"]
            for suffix in map(column_suffix, levels)
            for end in ("lo", "hi")
        },
        **({"override": row["override"]} if has_overrides else {}),
        "model": model_label(str(row["model"]), str(row["rung"])),
    }
