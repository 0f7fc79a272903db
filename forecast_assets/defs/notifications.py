"""Queue the notifications of runs and reports, and deliver them; report failures as an asset check.

Routing, sending and retries are in the package `notifications`.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings, Severity
from forecast_assets.data.quality.evaluate import published_line, with_policy
from forecast_assets.defs import checks
from forecast_assets.errors import StoreError
from forecast_assets.forecasting.regressor_gains import probable_leak
from forecast_assets.notifications.queue import NotificationQueue
from forecast_assets.notifications.routing import (
    ALL_SERIES,
    Notification,
    Patterns,
    recipients,
    report_id,
    report_recipients,
)
from forecast_assets.reporting import render, summary
from forecast_assets.storage.store import Store

# Dagster stops the tick of a sensor after 60 seconds.
DELIVERY_SECONDS = 40.0
# A notification and the URLs that receive it.
Addressed = tuple[Notification, Sequence[str]]


def open_queue(settings: Settings) -> NotificationQueue:
    """Return the queue of notifications in <var>/outbox."""
    return NotificationQueue(settings.var / "outbox")


def enqueue(notification: Notification, settings: Settings, *, now: datetime) -> bool:
    """Queue a notification for its recipients; return False if its id was queued before."""
    return open_queue(settings).enqueue(notification, recipients(notification, settings), now=now)


def deliver(settings: Settings, *, now: datetime) -> bool:
    """Send what is due, and return whether anything was due."""
    return open_queue(settings).deliver(settings, now=now, seconds=DELIVERY_SECONDS) > 0


def undelivered(settings: Settings, *, now: datetime) -> list[str]:
    """Describe each notification that waits for a retry or was given up in the last week."""
    return open_queue(settings).undelivered(now=now)


def with_problems(week: summary.WeeklyReport, settings: Settings) -> summary.WeeklyReport:
    """Add the failures of the asset checks of its tables to a week, as its problems."""
    results = [
        checks.long_enough(week.series, horizon=settings.backtest.horizon),
        checks.models_complete(week.metrics),
        checks.champions_used(
            week.forecast, week.best_model, policy=settings.data_quality.implausible_forecast
        ),
        checks.intervals_and_skill(week.accuracy_check, benchmarks=week.benchmark_problems),
    ]
    findings = with_policy(week.findings, "hold", "warn")
    unusual = f"The data are unusual: {published_line(findings)}."
    problems = [f"{unusual} “The data”, with the scores, has the details."]
    failures = [str(result.description) for result in results if not result.passed]
    leak = probable_leak(week.metrics, settings)
    found = [*(problems if findings else []), *failures, *([leak] if leak else [])]
    return replace(week, problems=found)


def report_notifications(
    week: summary.WeeklyReport,
    store: Store,
    settings: Settings,
    *,
    folder: str,
    version: str,
    has_files: bool = True,
) -> tuple[list[Addressed], list[pd.DataFrame]]:
    """Return the notifications of a report, to each reader on the series of their rule.

    A report on some series has only their problems, and its severity follows from these. `version`
    is the data version of the forecast: the same forecast is not sent twice. Also return the files
    written for partial reports, as rows of weekly_report. Without files, where the folder could not
    be written, nothing is attached.
    """

    @functools.cache
    def edition_of(patterns: Patterns) -> summary.WeeklyReport:
        return week if patterns == ALL_SERIES else with_problems(week.only(patterns), settings)

    def severity_of(patterns: Patterns) -> Severity:
        return "warning" if edition_of(patterns).problems else "info"

    addressed: list[Addressed] = []
    files = []
    for patterns, urls in report_recipients(settings, severity_of=severity_of).items():
        edition, pages = edition_of(patterns), store.var / folder
        if edition.forecast.empty:
            continue
        if has_files and patterns != ALL_SERIES:
            digest = hashlib.blake2b(repr(patterns).encode(), digest_size=4).hexdigest()
            files.append(store.write_report_files(f"{folder}/for_{digest}", render.render(edition)))
            pages = pages / f"for_{digest}"
        notification = Notification(
            id=report_id(version, patterns),
            event="report",
            severity=severity_of(patterns),
            title=edition.title,
            text=render.render_brief(edition),
            files=(pages / "report.html", pages / "details.html") if has_files else (),
            series=patterns,
        )
        addressed.append((notification, urls))
    return addressed, files


def send_reports(
    addressed: Sequence[Addressed], settings: Settings, *, now: datetime
) -> dg.AssetCheckResult:
    """Queue notifications, send what is due, and return the check of deliveries.

    A queue that cannot be used fails the check and not the week.
    """
    queue = open_queue(settings)
    try:
        for notification, urls in addressed:
            queue.enqueue(notification, urls, now=now)
        deliver(settings, now=now)
        queue.purge(now=now)
        return checks.notifications_delivered(undelivered(settings, now=now))
    except StoreError as error:
        return checks.notifications_delivered([], error=str(error))


def report_check(instance: dg.DagsterInstance, settings: Settings, *, now: datetime) -> None:
    """Report the check of deliveries on weekly_report, outside of a run."""
    result = checks.notifications_delivered(undelivered(settings, now=now))
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("weekly_report"),
        check_name=str(result.check_name),
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )
    instance.report_runless_asset_event(evaluation)
