"""The command `status`: the state of the newest forecast, read from the store alone.

A section is a function that yields lines; `SECTIONS` lists them with the names of their lines, so
that a line whose data cannot be read still shows the cause.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import command, open_store
from forecast_assets.cli.output import Record, StatusLine, humanize_age, print_lines, print_records
from forecast_assets.errors import StoreError, format_list

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.data.quality.finding import Finding
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store


NO_FORECAST_TEXT = """\
There is no forecast yet. To make one:
  forecast-assets check   checks everything that a run needs
  forecast-assets run     runs a week"""
HELD_TEXT = """\
There is no forecast yet, because the data are held back. To see why, and to make one:
  forecast-assets show data_findings   lists the findings
  forecast-assets run                  runs a week with corrected data
  forecast-assets run --accept         publishes the data as they are"""


@command("status", "status --json")
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
    if not store.history("next_week_forecast"):
        click.echo(HELD_TEXT if lines else NO_FORECAST_TEXT)
    if assets:
        click.echo()
        print_records(assets)


@dataclass(frozen=True)
class StatusContext:
    """The newest forecast and where its inputs are read."""

    settings: "Settings"
    store: "Store"
    forecast: "Commit"
    now: datetime

    def newest(self, asset: str) -> "pd.DataFrame":
        """Read the newest version of an asset. Raises StoreError."""
        from forecast_assets.storage import versions

        return self.store.read(versions.select(self.store, asset))

    def input_of(self, commit: "Commit", asset: str) -> "Commit":
        """Return the version of an asset that a version was made from. Raises StoreError."""
        source = commit.input_of(asset)
        if source is None:
            raise StoreError(
                f"Version {commit.version} of {commit.asset} does not record which {asset} it was"
                f" made from, so this line is empty. Run the week again."
            )
        return self.store.commit(source)


def _forecast(context: StatusContext) -> Iterator[StatusLine]:
    from forecast_assets.storage.tables import CHAMPION

    rows = context.store.read([context.forecast])
    yield StatusLine("week", rows["ds"].min())
    yield StatusLine("n_series", int(rows["unique_id"].nunique()))
    others = rows[rows["rung"] != CHAMPION].drop_duplicates("unique_id")
    text = _first_few(others["unique_id"] + ": " + others["model"] + " (" + others["rung"] + ")")
    yield StatusLine("not_by_champion", list(others["unique_id"]), is_well=others.empty, text=text)


def _run(context: StatusContext) -> Iterator[StatusLine]:
    forecast = context.forecast
    written_at = forecast.written_at or context.now
    age = f"{written_at:%Y-%m-%d %H:%M}, {humanize_age(context.now - written_at)}"
    yield StatusLine("as_of", forecast.as_of)
    yield StatusLine("made_at", written_at, text=age)
    yield StatusLine("run_id", forecast.run_id)
    yield StatusLine("made_from", forecast.made_from)


def _data(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize the findings on the newest fetch; not well if any is a warning or hold."""
    from forecast_assets.data.quality.evaluate import one_line, with_policy
    from forecast_assets.data.quality.stored_versions import findings_of, held_findings
    from forecast_assets.storage import versions

    if held := held_findings(context.store):
        yield _held_line(held)
        return
    (series,) = versions.select(context.store, "series")
    findings = findings_of(context.store, series, context.settings)
    counts = {finding.kind: finding.n for finding in findings}
    is_well = not with_policy(findings, "hold", "warn")
    yield StatusLine("data", counts, is_well, one_line(findings))


def _held_line(held: "Sequence[Finding]") -> StatusLine:
    """Return the line of a newest fetch that these findings hold back."""
    from forecast_assets.data.quality.evaluate import one_line

    counts = {finding.kind: finding.n for finding in held}
    return StatusLine("data", counts, is_well=False, text=f"held back: {one_line(held)}")


def _models(context: StatusContext) -> Iterator[StatusLine]:
    chosen = context.input_of(context.forecast, "best_model")
    choice = context.store.read([chosen])
    changed = choice[choice["switched"]]
    changes = changed["unique_id"] + ": " + changed["previous_model"] + " → " + changed["model"]
    yield StatusLine("champions_changed", list(changed["unique_id"]), text=_first_few(changes))
    scores = context.store.read([context.input_of(chosen, "metrics")])
    counts = scores[scores["status"] == "failed"].groupby("model").size()
    text = _first_few([f"{model} on {n} series" for model, n in counts.items()])
    yield StatusLine("models_failed", list(counts.index), is_well=counts.empty, text=text)


def _accuracy(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize past forecasts; not well if they are worse than promised by more than chance."""
    from forecast_assets.config.settings import column_suffix
    from forecast_assets.forecasting import live_accuracy

    has_scores = context.store.history("forecast_accuracy")
    scored = context.newest("forecast_accuracy") if has_scores else None
    if scored is None or scored.empty:
        values = {"forecasts_due": 0, "error_over_naive": None, "coverage": None}
        yield from (StatusLine(name, value) for name, value in values.items())
        return
    series = context.store.read([context.input_of(context.forecast, "series")])
    # The scores may have been written with other levels than today's.
    levels = context.settings.forecast.levels
    levels = tuple(level for level in levels if f"in_{column_suffix(level)}" in scored)
    total = live_accuracy.summary(scored, series, levels=levels).iloc[0]
    check = live_accuracy.check_accuracy(scored, series, levels=levels)
    shares = {suffix: float(total[f"coverage_{suffix}"]) for suffix in map(column_suffix, levels)}
    ratio = float(total["over_naive"])
    text = ", ".join(f"{share:.0%} in the {level} % interval" for level, share in shares.items())
    yield StatusLine("forecasts_due", int(total["n"]))
    yield StatusLine("error_over_naive", ratio, not check.worse_than_naive, f"{ratio:.2f}")
    yield StatusLine("coverage", shares, not check.off_coverage, text or "–")


def _delivery(context: StatusContext) -> Iterator[StatusLine]:
    """Show notifications that wait or were given up within the last week."""
    from forecast_assets.notifications.queue import NotificationQueue

    texts = NotificationQueue(context.settings.var / "outbox").undelivered(now=context.now)
    yield StatusLine("not_delivered", texts, is_well=not texts, text=_first_few(texts))


def _report(context: StatusContext) -> Iterator[StatusLine]:
    path = context.store.var / main_report_file(context.newest("weekly_report")["file"])
    yield StatusLine("report", str(path), path.is_file())


SECTIONS = {
    ("week", "n_series", "not_by_champion"): _forecast,
    ("as_of", "made_at", "run_id", "made_from"): _run,
    ("data",): _data,
    ("champions_changed", "models_failed"): _models,
    ("forecasts_due", "error_over_naive", "coverage"): _accuracy,
    ("not_delivered",): _delivery,
    ("report",): _report,
}


def status_lines(settings: "Settings", store: "Store", *, now: datetime) -> list[StatusLine]:
    """Return the lines of the newest forecast; without one, at most the line of held data."""
    from forecast_assets.data.quality.stored_versions import held_findings
    from forecast_assets.storage import versions

    forecast = versions.newest(store.history("next_week_forecast"))
    if forecast is None:
        return [_held_line(held)] if (held := held_findings(store)) else []
    context = StatusContext(settings, store, forecast, now)
    lines: dict[str, StatusLine] = {}
    for names, section in SECTIONS.items():
        try:
            for line in section(context):
                lines[line.name] = line
        except StoreError as error:
            for name in names:
                lines.setdefault(name, StatusLine(name, None, is_well=False, text=str(error)))
    return list(lines.values())


def main_report_file(files: Iterable[str]) -> str:
    """Return the whole report among the files of weekly_report; partial ones are in subfolders."""
    return min((name for name in files if name.endswith(".html")), key=lambda name: name.count("/"))


def newest_versions(store: "Store") -> list[Record]:
    """Return a record of the newest version of each asset that has one.

    For an asset with partitions it is the last one written, with the rows of all partitions.
    """
    from forecast_assets.storage import versions

    records: list[Record] = []
    for asset in filter(store.history, store.tables):
        commits = versions.select(store, asset)
        last = max(commits, key=lambda commit: commit.version)
        record = {name: getattr(last, name) for name in ("asset", "version", "as_of", "written_at")}
        n_partitions = len(commits) if last.partition else None
        n_rows = sum(commit.n_rows for commit in commits)
        records += [{**record, "run_id": last.run_id, "partitions": n_partitions, "n_rows": n_rows}]
    return records


def _first_few(texts: Iterable[str]) -> str:
    return format_list(texts, limit=3) or "none"
