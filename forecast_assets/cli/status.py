"""The week at a glance, from the store alone.

A line is a function from what was seen to its `Line`, named in `LINES`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import as_json, help_epilog, open_store
from forecast_assets.cli.output import Record, StatusLine, humanize_age, print_lines, print_records
from forecast_assets.cli.run import NOTHING_YET
from forecast_assets.errors import StoreError, format_list

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.forecasting.live_accuracy import LiveAccuracyCheck
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store


@click.command(epilog=help_epilog("forecast-assets status", "forecast-assets status --json"))
@as_json
def status(*, is_json: bool) -> None:
    """Tell the week at a glance.

    How the newest forecast stands, and the newest version of every asset. With --json a record a
    line, with `name`, `value` and `is_well` (null where there is nothing to judge), and then one an
    asset, whose value is its newest version.
    """
    settings, store = open_store()
    lines = status_lines(settings, store, now=datetime.now(UTC))
    assets = newest_versions(store)
    if is_json:
        newest = [StatusLine(str(row["asset"]), row) for row in assets]
        print_lines([*lines, *newest], is_json=True)
        return
    if lines:
        print_lines(lines)
    else:
        click.echo(NOTHING_YET)
    if assets:
        click.echo()
        print_records(assets)


@dataclass(frozen=True)
class StatusContext:
    """The newest forecast, and the versions that it was made from, each read once."""

    settings: "Settings"
    store: "Store"
    forecast: "Commit"
    now: datetime

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """The forecast."""
        return self.store.read([self.forecast])

    @cached_property
    def choice(self) -> "Commit":
        """The version of best_model that the forecast was made from."""
        return self.input_of(self.forecast, "best_model")

    @cached_property
    def accuracy(self) -> "tuple[pd.DataFrame, LiveAccuracyCheck] | None":
        """How the forecasts that are due turned out, over all, and the verdict; none before."""
        from forecast_assets.config.settings import column_suffix
        from forecast_assets.forecasting import live_accuracy
        from forecast_assets.storage import versions

        if not self.store.history("forecast_accuracy"):
            return None
        scored = self.store.read(versions.select(self.store, "forecast_accuracy"))
        series = self.store.read([self.input_of(self.forecast, "series")])
        if scored.empty:
            return None
        asked = self.settings.forecast.levels  # maybe others than when it was written
        levels = [level for level in asked if f"in_{column_suffix(level)}" in scored]
        found = live_accuracy.summary(scored, series, levels=levels)
        return found, live_accuracy.check_accuracy(scored, series, levels=levels)

    def input_of(self, commit: "Commit", asset: str) -> "Commit":
        """The version of an asset that a version was made from. Raises StoreError."""
        found = next((one for one in commit.inputs if one.asset == asset), None)
        if found is None:
            raise StoreError(
                f"Version {commit.version} of {commit.asset} does not say which {asset} it was made"
                f" from, so nothing is told of it. Run the week again."
            )
        return self.store.commit(found)


def week(seen: StatusContext) -> StatusLine:
    """The first week that is forecast."""
    return StatusLine("week", seen.rows["ds"].min())


def as_of(seen: StatusContext) -> StatusLine:
    """The moment that the forecast stands for."""
    return StatusLine("as_of", seen.forecast.as_of)


def made_at(seen: StatusContext) -> StatusLine:
    """When it was written."""
    at = seen.forecast.written_at or seen.now
    return StatusLine("made_at", at, text=f"{at:%Y-%m-%d %H:%M}, {humanize_age(seen.now - at)}")


def run_id(seen: StatusContext) -> StatusLine:
    """The run that wrote it."""
    return StatusLine("run_id", seen.forecast.run_id)


def n_series(seen: StatusContext) -> StatusLine:
    """How many series have a forecast."""
    return StatusLine("n_series", int(seen.rows["unique_id"].nunique()))


def made_from(seen: StatusContext) -> StatusLine:
    """The versions that it was made from."""
    return StatusLine("made_from", seen.forecast.made_from)


def data(seen: StatusContext) -> StatusLine:
    """What the newest version of the data shows, in a line; not well where something was odd."""
    from forecast_assets.data.quality.baseline import evaluate_stored
    from forecast_assets.data.quality.evaluate import one_line, with_policy
    from forecast_assets.storage import versions

    (newest,) = versions.select(seen.store, "series")
    findings = evaluate_stored(seen.store, newest, seen.settings)
    odd = with_policy(findings, "hold", "warn")
    kinds = {one.kind: one.n for one in findings}
    return StatusLine("data", kinds, is_well=not odd, text=one_line(findings))


def models_failed(seen: StatusContext) -> StatusLine:
    """The models that failed in the backtest behind it."""
    scores = seen.store.read([seen.input_of(seen.choice, "metrics")])
    counts = scores[scores["status"] == "failed"].groupby("model").size()
    return StatusLine(
        "models_failed",
        list(counts.index),
        is_well=counts.empty,
        text=_few([f"{model} on {n} series" for model, n in counts.items()]),
    )


def champions_changed(seen: StatusContext) -> StatusLine:
    """The series whose model is another one than the week before."""
    choice = seen.store.read([seen.choice])
    changed = choice[choice["switched"]]
    told = zip(changed["unique_id"], changed["previous_model"], changed["model"], strict=True)
    return StatusLine(
        "champions_changed",
        list(changed["unique_id"]),
        text=_few([f"{series}: {before} → {now}" for series, before, now in told]),
    )


def not_by_champion(seen: StatusContext) -> StatusLine:
    """The series that another model than the chosen one had to forecast."""
    from forecast_assets.storage.tables import CHAMPION

    others = seen.rows[seen.rows["rung"] != CHAMPION].drop_duplicates("unique_id")
    told = zip(others["unique_id"], others["model"], others["rung"], strict=True)
    return StatusLine(
        "not_by_champion",
        list(others["unique_id"]),
        is_well=others.empty,
        text=_few([f"{series}: {model} ({rung})" for series, model, rung in told]),
    )


def forecasts_due(seen: StatusContext) -> StatusLine:
    """How many past forecasts were for weeks that are over."""
    return StatusLine("forecasts_due", int(seen.accuracy[0]["n"].iloc[0]) if seen.accuracy else 0)


def error_over_naive(seen: StatusContext) -> StatusLine:
    """Their error over naive's; not well where that is worse by more than chance."""
    if seen.accuracy is None:
        return StatusLine("error_over_naive", None)
    found, verdict = seen.accuracy
    ratio = float(found["over_naive"].iloc[0])
    return StatusLine("error_over_naive", ratio, not verdict.worse_than_naive, f"{ratio:.2f}")


def coverage(seen: StatusContext) -> StatusLine:
    """The share of values in each interval; not well where it is off by more than chance."""
    if seen.accuracy is None:
        return StatusLine("coverage", None)
    found, verdict = seen.accuracy
    names = [name for name in map(str, found) if name.startswith("coverage_")]
    shares = {name.removeprefix("coverage_"): float(found[name].iloc[0]) for name in names}
    told = [f"{share:.0%} in the {level} % interval" for level, share in shares.items()]
    return StatusLine("coverage", shares, not verdict.off_coverage, ", ".join(told) or "–")


def report(seen: StatusContext) -> StatusLine:
    """Where the newest report is."""
    from forecast_assets.storage import versions

    files = seen.store.read(versions.select(seen.store, "weekly_report"))["file"]
    page = seen.store.var / main_report_file(files)
    return StatusLine("report", str(page), page.is_file())


def not_delivered(seen: StatusContext) -> StatusLine:
    """Notifications that wait for a retry, or that were given up in the last week."""
    from forecast_assets.notifications.queue import NotificationQueue

    undelivered = NotificationQueue(seen.settings.var / "outbox").undelivered(now=seen.now)
    return StatusLine("not_delivered", undelivered, is_well=not undelivered, text=_few(undelivered))


LINES: Sequence[Callable[[StatusContext], StatusLine]] = (
    week,
    as_of,
    made_at,
    run_id,
    n_series,
    made_from,
    data,
    models_failed,
    champions_changed,
    not_by_champion,
    forecasts_due,
    error_over_naive,
    coverage,
    report,
    not_delivered,
)


def status_lines(settings: "Settings", store: "Store", *, now: datetime) -> list[StatusLine]:
    """The lines of the newest forecast; none where there is no forecast yet."""
    from forecast_assets.storage import versions

    if not store.history("next_week_forecast"):
        return []
    (forecast,) = versions.select(store, "next_week_forecast")
    seen = StatusContext(settings, store, forecast, now=now)
    return [_tried(line, seen) for line in LINES]


def main_report_file(files: Iterable[str]) -> str:
    """The page of the whole report among the files of weekly_report: a part's lies deeper."""
    return min((name for name in files if name.endswith(".html")), key=lambda one: one.count("/"))


def newest_versions(store: "Store") -> list[Record]:
    """What is recorded of the newest version of each asset that has one.

    Of a partitioned asset it is the last written, and the rows of all partitions.
    """
    from forecast_assets.storage import versions

    rows: list[Record] = []
    for asset in store.tables:
        if store.history(asset):
            found = versions.select(store, asset)
            last = max(found, key=lambda commit: commit.version)
            row = {
                "asset": asset,
                "version": last.version,
                "partitions": len(found) if last.partition else None,
                "as_of": last.as_of,
                "written_at": last.written_at,
                "run_id": last.run_id,
                "n_rows": sum(commit.n_rows for commit in found),
            }
            rows.append(row)
    return rows


def _tried(line: Callable[[StatusContext], StatusLine], seen: StatusContext) -> StatusLine:
    """The line; where the store does not give what it needs, that is what it says."""
    try:
        return line(seen)
    except StoreError as error:
        return StatusLine(line.__name__, None, is_well=False, text=str(error))


def _few(told: Sequence[str]) -> str:
    return format_list(told, limit=3) or "none"
