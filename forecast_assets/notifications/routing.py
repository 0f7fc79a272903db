"""Who is told of what, and handing it to Apprise: mail, chats and webhooks, a URL each.

What is on its way and tried again: `outbox`. What a notice says belongs to whoever puts it there;
hearing why a channel failed to `hearing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from forecast_assets.config.settings import Event, NotifyRule, Settings, Severity, matches_any

Patterns = tuple[str, ...]  # of series' names, as `fits` reads them
EVERY_SERIES: Patterns = ("*",)  # the pattern of who reads of all


@dataclass(frozen=True)
class Notification:
    """What is told: Markdown under a title, and the files that go with it.

    HTML in the text reaches a mail as HTML: whoever writes a name into it escapes it, by
    `report.cell`.
    """

    id: str  # one that was put before is not told again
    event: Event
    severity: Severity
    title: str
    text: str
    files: tuple[Path, ...] = ()
    series: tuple[str, ...] = ()  # that it is about; none: all; of a report: its readers' patterns


def all_channels(settings: Settings) -> list[str]:
    """Every URL that the settings name, as it is written there, each once."""
    every = [settings.notify.urls, *(rule.urls for rule in settings.notify.rules)]
    return list(dict.fromkeys(url for urls in every for url in urls))


def recipients(notice: Notification, settings: Settings) -> list[str]:
    """The URLs that are told of a notice, as they are written in the settings, each once."""
    rules = [rule.urls for rule in settings.notify.rules if _fits(rule, notice)]
    every = [settings.notify.urls, *rules]
    return list(dict.fromkeys(url for urls in every for url in urls))


def report_recipients(
    settings: Settings, *, severity_of: Callable[[Patterns], Severity]
) -> dict[Patterns, list[str]]:
    """Who is sent a report: the URLs by the series that they read of.

    `severity_of` says how severe the report of these series is. A URL that is sent that of every
    series is not sent a part beside it.
    """
    found: dict[Patterns, list[str]] = {EVERY_SERIES: [*settings.notify.urls]}
    for rule in settings.notify.rules:
        if _asks_for(rule, "report", severity_of(rule.series)):
            found.setdefault(rule.series, []).extend(rule.urls)
    whole = set(found[EVERY_SERIES])
    parts = {patterns: [u for u in urls if u not in whole] for patterns, urls in found.items()}
    every = {**parts, EVERY_SERIES: found[EVERY_SERIES]}
    return {patterns: list(dict.fromkeys(urls)) for patterns, urls in every.items() if urls}


def current_recipients(notice: Notification, settings: Settings) -> list[str]:
    """The URLs that a notice which was put before is for by these settings.

    Those of a report are who reads of the very same series, for it tells of no other.
    """
    if notice.event != "report":
        return recipients(notice, settings)
    return report_recipients(settings, severity_of=lambda _: notice.severity).get(notice.series, [])


def _asks_for(rule: NotifyRule, event: Event, severity: Severity) -> bool:
    ranks = get_args(Severity)
    return event in rule.events and ranks.index(severity) >= ranks.index(rule.severity)


def _fits(rule: NotifyRule, notice: Notification) -> bool:
    if not _asks_for(rule, notice.event, notice.severity):
        return False
    return not notice.series or any(matches_any(name, rule.series) for name in notice.series)
