"""The lines of `status`: the state of the newest forecast, read from the store alone.

A section is a function that yields lines; `SECTIONS` lists them with the names of their lines, so
that a line whose data cannot be read still shows the cause.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from forecast_assets.cli import status_causes
from forecast_assets.cli.deliver import delivered
from forecast_assets.cli.output import StatusLine, first_few, humanize_age
from forecast_assets.errors import StoreError, format_list

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store


@dataclass(frozen=True)
class StatusContext:
    """The newest forecast and where its inputs are read."""

    settings: "Settings"
    store: "Store"
    forecast: "Commit"
    now: datetime

    def newest(self, asset: str) -> "Commit | None":
        """Return the newest valid version of an asset, None if there is none. Raises StoreError."""
        from forecast_assets.storage.versions import newest_of_each

        return next(iter(newest_of_each(self.store, asset, as_of=self.now)), None)

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
    """Name the newest week, and the series that are forecast for an earlier one."""
    from forecast_assets.reporting.narrative import late_series
    from forecast_assets.storage.tables import CHOSEN, PINNED, target_week

    rows = context.store.read([context.forecast])
    yield StatusLine("week", target_week(rows))
    yield StatusLine("n_series", int(rows["unique_id"].nunique()))
    late = late_series(rows[rows["h"] == 1])
    weeks = [f"{n} week{'s' * (n > 1)}" for n in late["n_weeks"]]
    names = first_few(f"{name} ({n})" for name, n in zip(late["unique_id"], weeks, strict=True))
    yield StatusLine(
        "n_late", len(late), is_well=late.empty, text=f"{len(late)}: {names}" if weeks else "none"
    )
    others = rows[~rows["rung"].isin(CHOSEN)].drop_duplicates("unique_id")
    text = first_few(others["unique_id"] + ": " + others["model"] + " (" + others["rung"] + ")")
    yield StatusLine("not_by_champion", list(others["unique_id"]), is_well=others.empty, text=text)
    pinned = rows[rows["rung"] == PINNED].drop_duplicates("unique_id")
    if len(pinned):
        text = first_few(pinned["unique_id"] + ": " + pinned["model"])
        yield StatusLine("pinned", list(pinned["unique_id"]), text=text)
    yield from status_causes.overrides(rows, context.settings)
    yield from status_causes.totals(rows, context.settings)


def _left_out(context: StatusContext) -> Iterator[StatusLine]:
    """List the series that have no plausible forecast."""
    source = context.input_of(context.forecast, "series")
    rows, series = (context.store.read([commit]) for commit in (context.forecast, source))
    left_out = sorted({*series["unique_id"]} - {*rows["unique_id"]})
    yield StatusLine("left_out", left_out, is_well=not left_out, text=first_few(left_out))


def _held_forecast(context: StatusContext) -> Iterator[StatusLine]:
    yield StatusLine("held_forecast", [], text="none")
    yield from held_forecast_line(context.store, now=context.now)


def held_forecast_line(store: "Store", *, now: datetime) -> Iterator[StatusLine]:
    """Name the series that hold the newest forecast back; yield nothing if it is not held."""
    from forecast_assets.forecasting import held_forecast

    if held := held_forecast.last_held(store, now=now):
        text = f"as of {held.as_of:%Y-%m-%d %H:%M}: {held_forecast.held_series_text(store, held)}"
        yield StatusLine(
            "held_forecast", held_forecast.held_series(store, held), is_well=False, text=text
        )


def _run(context: StatusContext) -> Iterator[StatusLine]:
    forecast = context.forecast
    written_at = forecast.written_at or context.now
    age = f"{written_at:%Y-%m-%d %H:%M}, {humanize_age(context.now - written_at)}"
    yield StatusLine("as_of", forecast.as_of)
    yield StatusLine("made_at", written_at, text=age)
    yield StatusLine("run_id", forecast.run_id)
    yield StatusLine("made_from", forecast.made_from)


def _not_counted(context: StatusContext) -> Iterator[StatusLine]:
    return not_counted(context.store, context.forecast.as_of, now=context.now)


def not_counted(store: "Store", newest: datetime | None, *, now: datetime) -> Iterator[StatusLine]:
    """Name the weeks that are withdrawn, and the forecasts from the future of the clock.

    Not well if a week after the `newest` forecast is withdrawn, or any forecast is from the future.
    """
    from forecast_assets.storage.versions import future_forecasts
    from forecast_assets.storage.withdrawals import describe_future, open_withdrawals

    rows = [row for row in open_withdrawals(store) if row.as_of <= now]
    is_newest = any(newest is None or row.as_of > newest for row in rows)
    text = first_few(row.text for row in rows)
    yield StatusLine("withdrawn", [row.as_of for row in rows], False if is_newest else None, text)
    future = future_forecasts(store, now=now)
    times, text = [commit.as_of for commit in future], describe_future(future) or "none"
    yield StatusLine("from_the_future", times, is_well=not times, text=text)


def _data(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize the findings on the newest fetch; not well if any is a warning or hold."""
    from forecast_assets.data.quality.evaluate import published_line, with_policy
    from forecast_assets.data.quality.stored_versions import findings_of

    if held := [*held_data_line(context.store, now=context.now)]:
        yield from held
        return
    series = context.newest("series") or context.input_of(context.forecast, "series")
    findings = findings_of(context.store, series, context.settings)
    counts = {finding.kind: finding.n for finding in findings}
    is_well = not with_policy(findings, "hold", "warn")
    yield StatusLine("data", counts, is_well, published_line(findings))


def held_data_line(store: "Store", *, now: datetime) -> Iterator[StatusLine]:
    """Summarize what holds the newest or the last fetch back; yield nothing if neither is held."""
    from forecast_assets.data.quality.evaluate import one_line
    from forecast_assets.data.quality.stored_versions import last_held_fetch

    if held := last_held_fetch(store, now=now):
        counts = {finding.kind: finding.n for finding in held.findings}
        text = f"held back: {one_line(held.findings)}, as of {held.as_of:%Y-%m-%d %H:%M}"
        yield StatusLine("data", counts, is_well=False, text=text)


def _models(context: StatusContext) -> Iterator[StatusLine]:
    from forecast_assets.reporting.narrative import models_left_out

    chosen = context.input_of(context.forecast, "best_model")
    choice = context.store.read([chosen])
    changed = choice[choice["switched"]]
    changes = changed["unique_id"] + ": " + changed["previous_model"] + " → " + changed["model"]
    yield StatusLine("champions_changed", list(changed["unique_id"]), text=first_few(changes))
    scores = context.store.read([context.input_of(chosen, "metrics")])
    counts = scores[scores["status"] == "failed"].groupby("model").size()
    text = first_few([f"{model} on {n} series" for model, n in counts.items()])
    yield StatusLine("models_failed", list(counts.index), is_well=counts.empty, text=text)
    left_out = models_left_out(scores)
    texts = [
        f"{format_list(group['models'])} on {group['n_series']} series ({group['reason']})"
        for group in left_out
    ]
    names = sorted({name for group in left_out for name in group["models"]})
    yield StatusLine("models_left_out", names, text=first_few(texts))
    yield from status_causes.regressors(scores, context.settings)


def _accuracy(context: StatusContext) -> Iterator[StatusLine]:
    """Summarize past forecasts; not well if they are worse than promised by more than chance."""
    from forecast_assets.config.forecast_settings import column_suffix
    from forecast_assets.data.weekly import with_is_filled
    from forecast_assets.forecasting import live_accuracy
    from forecast_assets.storage.withdrawals import drop_withdrawn

    newest = context.newest("forecast_accuracy")
    scored = drop_withdrawn(context.store, context.store.read([newest])) if newest else None
    if scored is None or scored.empty:
        values = {"forecasts_due": 0, "error_over_naive": None, "coverage": None}
        yield from (StatusLine(name, value) for name, value in values.items())
        return
    series = context.store.read([context.input_of(context.forecast, "series")])
    series = with_is_filled(series, context.settings)
    # The scores may have been written with other levels than today's.
    levels = context.settings.forecast.levels
    levels = tuple(level for level in levels if f"in_{column_suffix(level)}" in scored)
    total = live_accuracy.summary(scored, series, levels=levels).iloc[0]
    check = live_accuracy.check_accuracy(scored, series, levels=levels)
    shares = {suffix: float(total[f"coverage_{suffix}"]) for suffix in map(column_suffix, levels)}
    shares = {suffix: share for suffix, share in shares.items() if not math.isnan(share)}
    ratio = float(total["over_naive"])
    text = ", ".join(f"{share:.0%} in the {level} % interval" for level, share in shares.items())
    yield StatusLine("forecasts_due", int(total["n"]))
    shown = "–" if math.isnan(ratio) else f"{ratio:.2f}"
    yield StatusLine("error_over_naive", ratio, not check.worse_than_naive, shown)
    yield StatusLine("coverage", shares, not check.off_coverage, text or "–")
    yield from status_causes.benchmarks(scored, series, context.settings)


def _delivery(context: StatusContext) -> Iterator[StatusLine]:
    """Show notifications that wait or were given up within the last week."""
    from forecast_assets.notifications.queue import NotificationQueue

    texts = NotificationQueue(context.settings.var / "outbox").undelivered(now=context.now)
    yield StatusLine("not_delivered", texts, is_well=not texts, text=first_few(texts))


def _report(context: StatusContext) -> Iterator[StatusLine]:
    report = context.newest("weekly_report")
    if report is None:
        yield StatusLine("report", None, is_well=False)
        return
    file = main_report_file(context.store.read([report])["file"])
    path = context.store.var / file
    text = str(path) if file else "could not be written: see the check pages_written"
    yield StatusLine("report", text, path.is_file())


SECTIONS = {
    ("week", "n_series", "n_late", "not_by_champion"): _forecast,
    ("left_out",): _left_out,
    ("held_forecast",): _held_forecast,
    ("as_of", "made_at", "run_id", "made_from"): _run,
    ("withdrawn", "from_the_future"): _not_counted,
    ("data",): _data,
    ("champions_changed", "models_failed", "models_left_out"): _models,
    ("forecasts_due", "error_over_naive", "coverage"): _accuracy,
    ("not_delivered",): _delivery,
    ("delivered",): delivered,
    ("report",): _report,
}


def status_lines(settings: "Settings", store: "Store", *, now: datetime) -> list[StatusLine]:
    """Return the lines of the newest forecast; without one, what keeps it from being published."""
    from forecast_assets.storage.tables import FORECAST
    from forecast_assets.storage.versions import newest_of_each

    forecast = newest_of_each(store, FORECAST, as_of=now)
    if not forecast:
        held = [*held_data_line(store, now=now), *held_forecast_line(store, now=now)]
        return [*held, *(line for line in not_counted(store, None, now=now) if line.value)]
    context = StatusContext(settings, store, forecast[0], now)
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
    """Return the first page of the whole report; partial ones are in subfolders; "" for none."""
    pages = (name for name in files if name.endswith("/report.html"))
    return min(pages, key=lambda name: name.count("/"), default="")
