"""Decide which channels receive a notification; a channel is an Apprise URL of the settings.

Sending is in `apprise_client`. The text of a notification is written where its event happens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from forecast_assets.config.series_settings import matches_any
from forecast_assets.config.settings import Event, NotifyRule, Settings, Severity

Patterns = tuple[str, ...]  # of series names, for `matches_any`
ALL_SERIES: Patterns = ("*",)


@dataclass(frozen=True)
class Notification:
    """A message in Markdown, with files to attach.

    A mail shows HTML in the text as HTML: escape names with `render.escape_markdown`.
    """

    id: str  # each id is sent once
    event: Event
    severity: Severity
    title: str
    text: str
    files: tuple[Path, ...] = ()
    # The series concerned, empty for all. For a report: the patterns of the rule that it is for.
    series: tuple[str, ...] = ()


NOTIFICATION_ADAPTER = TypeAdapter(Notification)


def report_id(version: str, patterns: Patterns | str) -> str:
    """Return the id of the report of a version of the forecast on some series."""
    return f"report {version} {patterns}"


def all_channels(settings: Settings) -> list[str]:
    """Return every URL in the settings once, as it is written there."""
    return _unique(settings.notify.urls, *(rule.urls for rule in settings.notify.rules))


def recipients(notification: Notification, settings: Settings) -> list[str]:
    """Return the URLs that receive a notification: `urls`, and those of each rule that matches."""
    names = notification.series
    matching = [
        rule.urls
        for rule in settings.notify.rules
        if _includes(rule, notification.event, notification.severity)
        and (not names or any(matches_any(name, rule.series) for name in names))
    ]
    return _unique(settings.notify.urls, *matching)


def report_recipients(
    settings: Settings, *, severity_of: Callable[[Patterns], Severity]
) -> dict[Patterns, list[str]]:
    """Return who receives the report, as URLs by the patterns of the series that it shows.

    `severity_of` returns the severity of the report on these series. A URL that receives the whole
    report receives no partial one.
    """
    urls_by_patterns = {ALL_SERIES: [*settings.notify.urls]}
    for rule in settings.notify.rules:
        if _includes(rule, "report", severity_of(rule.series)):
            urls_by_patterns.setdefault(rule.series, []).extend(rule.urls)
    whole = urls_by_patterns.pop(ALL_SERIES)
    parts = {
        patterns: [url for url in urls if url not in whole]
        for patterns, urls in urls_by_patterns.items()
    }
    return {
        patterns: _unique(urls) for patterns, urls in {ALL_SERIES: whole, **parts}.items() if urls
    }


def current_recipients(notification: Notification, settings: Settings) -> list[str]:
    """Return the URLs that would receive a queued notification under the present settings.

    A report goes to the readers of exactly the same series, because it shows no others.
    """
    if notification.event != "report":
        return recipients(notification, settings)
    by_patterns = report_recipients(settings, severity_of=lambda _: notification.severity)
    return by_patterns.get(notification.series, [])


def _includes(rule: NotifyRule, event: Event, severity: Severity) -> bool:
    ranks = get_args(Severity)
    return event in rule.events and ranks.index(severity) >= ranks.index(rule.severity)


def _unique(*url_lists: tuple[str, ...] | list[str]) -> list[str]:
    return list(dict.fromkeys(url for urls in url_lists for url in urls))
