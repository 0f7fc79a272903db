"""The command `status`: the state of the newest forecast, read from the store alone.

A section is a function that returns one or several lines; `SECTIONS` lists them with the names of
their lines, so that a section whose data cannot be read still shows the cause.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import as_json, help_epilog, open_store
from forecast_assets.cli.output import Record, StatusLine, humanize_age, print_lines, print_records
from forecast_assets.errors import StoreError, format_list

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store


NO_FORECAST_TEXT = """\
There is no forecast yet. To make one:
  forecast-assets check   checks everything that a run needs
  forecast-assets run     runs a week"""


@click.command(epilog=help_epilog("forecast-assets status", "forecast-assets status --json"))
@as_json
def status(*, is_json: bool) -> None:
    """Show the state of the newest forecast.

    Also lists the newest version of every asset. With --json, one record for each line with
    `name`, `value` and `is_well` (null if there is nothing to judge), then one for each asset with
    its newest version as the value.
    """
    settings, store = open_store()
    lines = status_lines(settings, store, now=datetime.now(UTC))
    assets = newest_versions(store)
    if is_json:
        print_lines([*lines, *(StatusLine(str(row["asset"]), row) for row in assets)], is_json=True)
        return
    if lines:
        print_lines(lines)
    else:
        click.echo(NO_FORECAST_TEXT)
    if assets:
        click.echo()
        print_records(assets)


@dataclass(frozen=True)
class StatusContext:
    """The newest forecast and the versions it was made from, each read once."""

    settings: "Settings"
    store: "Store"
    forecast: "Commit"
    now: datetime

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """Read the rows of the forecast."""
        return self.store.read([self.forecast])

    @cached_property
    def best_model(self) -> "Commit":
        """Return the version of best_model that the forecast was made from."""
        return self.input_of(self.forecast, "best_model")

    def newest(self, asset: str) -> "Commit":
        """Return the newest version of an asset without partitions."""
        from forecast_assets.storage import versions

        return versions.select(self.store, asset)[0]

    def input_of(self, commit: "Commit", asset: str) -> "Commit":
        """Return the version of an asset that a version was made from. Raises StoreError."""
        source = commit.input_of(asset)
        if source is None:
            raise StoreError(
                f"Version {commit.version} of {commit.asset} does not record which {asset} it was"
                f" made from, so this line is empty. Run the week again."
            )
        return self.store.commit(source)


def _week(context: StatusContext) -> Iterator[StatusLine]:
    yield StatusLine("week", context.rows["ds"].min())


def _run(context: StatusContext) -> Iterator[StatusLine]:
    written_at = context.forecast.written_at or context.now
    age = f"{written_at:%Y-%m-%d %H:%M}, {humanize_age(context.now - written_at)}"
    yield StatusLine("as_of", context.forecast.as_of)
    yield StatusLine("made_at", written_at, text=age)
    yield StatusLine("run_id", context.forecast.run_id)


def _series(context: StatusContext) -> Iterator[StatusLine]:
    yield StatusLine("n_series", int(context.rows["unique_id"].nunique()))


def _inputs(context: StatusContext) -> Iterator[StatusLine]:
    yield StatusLine("made_from", context.forecast.made_from)


def _data(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize the findings on the newest fetch; not well if any is a warning or hold."""
    from forecast_assets.data.quality.evaluate import one_line, with_policy
    from forecast_assets.data.quality.stored_findings import findings_of, held_findings

    held, series = held_findings(context.store), context.newest("series")
    findings = held or findings_of(context.store, series, context.settings)
    is_well = not with_policy(findings, "hold", "warn")
    counts = {finding.kind: finding.n for finding in findings}
    text = f"{'held back: ' if held else ''}{one_line(findings)}"
    yield StatusLine("data", counts, is_well=is_well, text=text)


def _failed_models(context: StatusContext) -> Iterator[StatusLine]:
    scores = context.store.read([context.input_of(context.best_model, "metrics")])
    counts = scores[scores["status"] == "failed"].groupby("model").size()
    text = _first_few([f"{model} on {n} series" for model, n in counts.items()])
    yield StatusLine("models_failed", list(counts.index), is_well=counts.empty, text=text)


def _changed_champions(context: StatusContext) -> Iterator[StatusLine]:
    choice = context.store.read([context.best_model])
    changed = choice[choice["switched"]]
    changes = zip(changed["unique_id"], changed["previous_model"], changed["model"], strict=True)
    text = _first_few([f"{series}: {before} → {now}" for series, before, now in changes])
    yield StatusLine("champions_changed", list(changed["unique_id"]), text=text)


def _fallbacks(context: StatusContext) -> Iterator[StatusLine]:
    """List the series that were forecast by another model than the chosen one."""
    from forecast_assets.storage.tables import CHAMPION

    others = context.rows[context.rows["rung"] != CHAMPION].drop_duplicates("unique_id")
    models = zip(others["unique_id"], others["model"], others["rung"], strict=True)
    text = _first_few([f"{series}: {model} ({rung})" for series, model, rung in models])
    yield StatusLine("not_by_champion", list(others["unique_id"]), is_well=others.empty, text=text)


def _accuracy(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize past forecasts; not well if they are worse than promised by more than chance."""
    from forecast_assets.config.settings import column_suffix
    from forecast_assets.forecasting import live_accuracy

    has_scores = bool(context.store.history("forecast_accuracy"))
    scored = context.store.read([context.newest("forecast_accuracy")]) if has_scores else None
    if scored is None or scored.empty:
        yield StatusLine("forecasts_due", 0)
        yield StatusLine("error_over_naive", None)
        yield StatusLine("coverage", None)
        return
    series = context.store.read([context.input_of(context.forecast, "series")])
    # The scores may have been written with other levels than today's.
    levels = context.settings.forecast.levels
    levels = tuple(level for level in levels if f"in_{column_suffix(level)}" in scored)
    total = live_accuracy.summary(scored, series, levels=levels).iloc[0]
    check = live_accuracy.check_accuracy(scored, series, levels=levels)
    ratio = float(total["over_naive"])
    names = [name for name in map(str, total.index) if name.startswith("coverage_")]
    shares = {name.removeprefix("coverage_"): float(total[name]) for name in names}
    text = ", ".join(f"{share:.0%} in the {level} % interval" for level, share in shares.items())
    yield StatusLine("forecasts_due", int(total["n"]))
    yield StatusLine("error_over_naive", ratio, not check.worse_than_naive, f"{ratio:.2f}")
    yield StatusLine("coverage", shares, not check.off_coverage, text or "–")


def _report(context: StatusContext) -> Iterator[StatusLine]:
    files = context.store.read([context.newest("weekly_report")])["file"]
    path = context.store.var / main_report_file(files)
    yield StatusLine("report", str(path), path.is_file())


def _undelivered(context: StatusContext) -> Iterator[StatusLine]:
    """List notifications that wait for a retry or were given up within the last week."""
    from forecast_assets.notifications.queue import NotificationQueue

    texts = NotificationQueue(context.settings.var / "outbox").undelivered(now=context.now)
    yield StatusLine("not_delivered", texts, is_well=not texts, text=_first_few(texts))


SECTIONS = {
    ("week",): _week,
    ("as_of", "made_at", "run_id"): _run,
    ("n_series",): _series,
    ("made_from",): _inputs,
    ("data",): _data,
    ("models_failed",): _failed_models,
    ("champions_changed",): _changed_champions,
    ("not_by_champion",): _fallbacks,
    ("forecasts_due", "error_over_naive", "coverage"): _accuracy,
    ("report",): _report,
    ("not_delivered",): _undelivered,
}


def status_lines(settings: "Settings", store: "Store", *, now: datetime) -> list[StatusLine]:
    """Return the lines of the newest forecast, none if there is no forecast yet."""
    from forecast_assets.storage import versions

    forecast = versions.newest(store.history("next_week_forecast"))
    if forecast is None:
        return []
    context = StatusContext(settings, store, forecast, now)
    lines: list[StatusLine] = []
    for names, section in SECTIONS.items():
        try:
            lines += list(section(context))
        except StoreError as error:
            lines += [StatusLine(name, None, is_well=False, text=str(error)) for name in names]
    return lines


def main_report_file(files: Iterable[str]) -> str:
    """Return the whole report among the files of weekly_report; partial ones are in subfolders."""
    pages = (name for name in files if name.endswith(".html"))
    return min(pages, key=lambda name: name.count("/"))


def newest_versions(store: "Store") -> list[Record]:
    """Return a record of the newest version of each asset that has one.

    For an asset with partitions it is the last one written, with the rows of all partitions.
    """
    from forecast_assets.storage import versions

    records: list[Record] = []
    for asset in store.tables:
        if store.history(asset):
            commits = versions.select(store, asset)
            last = max(commits, key=lambda commit: commit.version)
            record = {
                "asset": asset,
                "version": last.version,
                "partitions": len(commits) if last.partition else None,
                "as_of": last.as_of,
                "written_at": last.written_at,
                "run_id": last.run_id,
                "n_rows": sum(commit.n_rows for commit in commits),
            }
            records.append(record)
    return records


def _first_few(texts: Sequence[str]) -> str:
    return format_list(texts, limit=3) or "none"
