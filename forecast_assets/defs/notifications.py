"""The post: notices on their way from this package to people, and what became of them as a check.

What is told to whom, and by what channel: `notify`. Keeping and trying again: `outbox`.
"""

import functools
import hashlib
from dataclasses import replace
from datetime import datetime

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings, Severity
from forecast_assets.data.quality.evaluate import one_line, with_policy
from forecast_assets.defs import checks
from forecast_assets.forecasting import live_accuracy
from forecast_assets.notifications.queue import NotificationQueue
from forecast_assets.notifications.routing import (
    EVERY_SERIES,
    Notification,
    Patterns,
    recipients,
    report_recipients,
)
from forecast_assets.reporting import render, summary
from forecast_assets.storage.store import Store

SECONDS = 40.0  # that a round of deliveries may take: a sensor's tick is ended after 60


def outbox(settings: Settings) -> NotificationQueue:
    """Where notices wait until they are delivered."""
    return NotificationQueue(settings.var / "outbox")


def enqueue(notice: Notification, settings: Settings, *, at: datetime) -> bool:
    """Put a notice in the outbox for all whom it concerns; false where it was put before."""
    return outbox(settings).put(notice, recipients(notice, settings), now=at)


def with_problems(week: summary.WeeklyReport, settings: Settings) -> summary.WeeklyReport:
    """The week with what the checks of its tables complain of, as its problems."""
    found = [
        checks.series_can_be_backtested(week.series, horizon=settings.backtest.horizon),
        checks.no_model_failed(week.metrics),
        checks.champions_forecast(week.forecast),
        checks.live_forecasts_keep_their_promise(
            live_accuracy.check_accuracy(week.accuracy, week.series, levels=week.levels)
        ),
    ]
    odd = with_policy(week.findings, "hold", "warn")
    problems = [f"What came is odd: {one_line(odd)}. More of that under “The data”."] if odd else []
    problems += [str(one.description) for one in found if not one.passed]
    return replace(week, problems=problems)


def send_report(
    week: summary.WeeklyReport,
    store: Store,
    settings: Settings,
    *,
    folder: str,
    version: str,
    at: datetime,
) -> list[pd.DataFrame]:
    """Send the week's report to its readers, to each of the series that are theirs.

    A report of some series is judged by them alone, and tells of no problem of another. `version`
    is the forecast's: what says the same is not sent twice. Returns the files that were kept for
    readers of some series alone, as rows of weekly_report.
    """

    @functools.cache
    def edition_of(patterns: Patterns) -> summary.WeeklyReport:
        return week if patterns == EVERY_SERIES else with_problems(week.only(patterns), settings)

    def severity_of(patterns: Patterns) -> Severity:
        return "warning" if edition_of(patterns).problems else "info"

    kept = []
    for patterns, urls in report_recipients(settings, severity_of=severity_of).items():
        edition, place = edition_of(patterns), folder
        if edition.forecast.empty:
            continue
        if patterns != EVERY_SERIES:
            digest = hashlib.blake2b(repr(patterns).encode(), digest_size=4).hexdigest()
            place = f"{folder}/for_{digest}"
            kept.append(store.write_report_files(place, render.render(edition)))
        notice = Notification(
            id=f"report {version} {patterns}",
            event="report",
            severity=severity_of(patterns),
            title=edition.title,
            text=render.render_brief(edition),
            files=(store.var / place / "report.html",),
            series=patterns,
        )
        outbox(settings).put(notice, urls, now=at)
    deliver(settings, at=at)
    outbox(settings).tidy(now=at)
    return kept


def deliver(settings: Settings, *, at: datetime) -> bool:
    """Try to deliver what is due, and say whether anything was."""
    return bool(outbox(settings).deliver(settings, now=at, seconds=SECONDS))


def undelivered(settings: Settings, *, at: datetime) -> list[str]:
    """What waits to be tried again, or was given up within a week of the moment, a line each."""
    return [
        f"{one.title!r} to {one.channel}: {one.reason}"
        for one in outbox(settings).undelivered(now=at)
    ]


def report_delivery_check(
    instance: dg.DagsterInstance, settings: Settings, *, at: datetime
) -> None:
    """Show on the report's page what became of deliveries after its run."""
    result = checks.everyone_was_told(undelivered(settings, at=at))
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("weekly_report"),
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )
    )
