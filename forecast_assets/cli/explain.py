"""The command `explain`: why the forecast of a series differs from last week's."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.cli.options import command, open_store, parse_time
from forecast_assets.cli.output import print_records

if TYPE_CHECKING:
    from forecast_assets.forecasting.explained_series import ExplainedSeries


@command(
    "explain us_gasoline_supplied",
    "explain store_01 --ahead 4 --as-of 2026-11-23",
    "explain store_01 --version 12 --json",
)
@click.argument("series")
@click.option("--version", type=int, metavar="N", help="A version of next_week_forecast.")
@click.option("--as-of", metavar="TIME", help="The newest forecast as of this time.")
@click.option(
    "--ahead",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="The forecast so many weeks ahead.",
)
def explain(
    series: str, version: int | None, as_of: str | None, ahead: int, *, is_json: bool
) -> None:
    """Say why the forecast of SERIES moved.

    Compares it with the forecasts of the week before: with that for the same week, where the run
    forecast so far ahead, and with that for the run's own next week. Each difference is split into
    parts that sum to it: new observations, revised history, the correction for revisions, another
    model or other weights, settings, code, totals that add up, and overrides. Forecasts that no run
    has made yet are fitted, and kept for the next time. With --json, prints a record for each part.
    """
    from forecast_assets.backtesting.local_pool import LocalPool
    from forecast_assets.defs.past_weeks import PastWeek
    from forecast_assets.forecasting.explained_series import explain_series
    from forecast_assets.reporting import explanation

    settings, store = open_store()
    is_by_version = as_of is None and version is not None
    pool = LocalPool()
    try:
        explained = explain_series(
            store,
            settings,
            series,
            open_run=lambda commit: PastWeek(store, commit, pool, settings.var / "fold_cache"),
            version=version,
            as_of=None if is_by_version else parse_time(as_of) if as_of else datetime.now(UTC),
            ahead=ahead,
        )
    finally:
        pool.close()
    number_format = explanation.format_of(explained, settings.forecast.levels)
    if is_json:
        print_records(_records(explained), is_json=True)
    for comparison in () if is_json else explained.comparisons:
        click.echo(explanation.headline(series, comparison, number_format))
        click.echo()
        print_records(explanation.part_rows(comparison, number_format))
        click.echo()
    for note in explanation.notes(explained, number_format):
        click.echo(note, err=is_json)


def _records(explained: "ExplainedSeries") -> list[dict[str, Any]]:
    """Return a record for each part of each comparison."""
    return [
        {
            "series": explained.row["unique_id"],
            "version": explained.version,
            "previous_version": explained.previous_version,
            "comparison": comparison.kind,
            "week": comparison.week_now,
            "previous_week": comparison.week_then,
            "forecast": comparison.now,
            "previous_forecast": comparison.then,
            "previous_actual": comparison.actual,
            "part": part.name,
            "change": part.change,
            "not_split": part.problem or None,
        }
        for comparison in explained.comparisons
        for part in comparison.parts
    ]
