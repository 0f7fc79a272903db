"""Tests of reports on their way to readers, each with the series of their rule."""

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.finding import Finding
from forecast_assets.defs import notifications
from forecast_assets.defs.sensors.run_failures import run_notifications
from forecast_assets.reporting.render import render
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.dagster_runs import materialize, small_week
from forecast_assets_tests.notification_servers import (
    MailServer,
    mail_server,
    refusing_port,
    webhook,
)
from forecast_assets_tests.report_builders import make_report
from forecast_assets_tests.store_builders import make_store

PANEL = {"harbour": walk(40, seed=1), "quarry": walk(45, seed=2)}
PROBLEMS = {"events": ["report"], "severity": "warning"}
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "a/b\\c",
    'nö "quoted" 🚢',
    "it's " * 40 + ".",
    '=HYPERLINK("http://a.example/x","pay")',
)


def send(
    folder: Path, series: pd.DataFrame, notify: Mapping[str, Any], **fields: Any
) -> list[pd.DataFrame]:
    """Send the report of a week; return the files of partial reports."""
    settings = make_settings(folder, notify=notify)
    week = notifications.with_problems(make_report(series, **fields), settings)
    now, store = datetime.now(UTC), make_store(folder)
    store.write_report_files("reports/1", render(week))
    report = notifications.report_notifications
    addressed, files = report(week, store, settings, folder="reports/1", version="1")
    assert notifications.send_reports(addressed, settings, now=now).passed
    return files


def page_of(mail: EmailMessage) -> str:
    """Return the HTML of the attached pages, as a browser reads it."""
    page, details = [part for part in mail.iter_attachments() if part.get_filename()]
    assert (page.get_filename(), details.get_filename()) == ("report.html", "details.html")
    return "\n".join(bytes(part.get_payload(decode=True)).decode() for part in (page, details))


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """Return a text of a mail on one line."""
    body = mail.get_body((kind,))
    assert body is not None
    return " ".join(body.get_content().split())


def everything_in(mail: EmailMessage) -> str:
    """Return the subject, both texts and the attached report of a mail."""
    return "\n".join([mail["subject"], text_of(mail), text_of(mail, "html"), page_of(mail)])


def by_reader(mail: MailServer) -> dict[str, EmailMessage]:
    return {str(message["to"]): message for message in mail.mails}


def test_a_run_sends_a_report_once_and_of_a_past_week_never(
    published: Settings, instance: dg.DagsterInstance
):
    with mail_server() as mail:
        notify = {"urls": [mail.url("all@x.org")]}
        settings = small_week(published.root, notify=notify)
        for tags in ({"forecast_assets/as_of": "2024-12-03"}, {}, {}):
            assert materialize(settings, instance, "weekly_report", **tags).success
            assert len(mail.mails) == (0 if tags else 1)
    assert [message["to"] for message in mail.mails] == ["all@x.org"]


def test_a_channel_or_queue_that_fails_does_not_fail_the_run_and_a_corrected_url_is_retried(
    published: Settings, instance: dg.DagsterInstance
):
    with mail_server() as mail:
        urls = [mail.url("all@x.org")]
        rule = {"urls": [f"json://127.0.0.1:{refusing_port()}/secret"], "series": ["a"]}
        settings = small_week(published.root, notify={"urls": urls, "rules": [rule]})
        result = materialize(settings, instance, "weekly_report")
        assert result.success
        checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
        check = checks["notifications_delivered"]
        assert (check.passed, checks["pages_written"].passed) == (False, True)
        assert "'Forecast for the week ending" in str(check.description)
        assert "to json://*** (waiting): " in str(check.description)
        assert "secret" not in str(check.description)
        record = instance.get_run_record_by_id(result.run_id)
        assert record is not None
        (alarm,) = run_notifications(record, instance)
        assert (alarm.event, alarm.series) == ("check_failed", ())  # not of some series alone
        rule["urls"] = [mail.url("ann@x.org")]
        settings = small_week(published.root, notify={"urls": urls, "rules": [rule]})
        now = datetime.now(UTC)
        assert notifications.undelivered(settings, now=now)
        assert notifications.deliver(settings, now=now)
        assert notifications.undelivered(settings, now=now) == []
    assert [message["to"] for message in mail.mails] == ["all@x.org", "ann@x.org"]
    assert mail.mails[1]["subject"].endswith(": 1 series")
    (settings.var / "outbox/queue.sqlite").write_bytes(b"no database" * 1000)
    result = materialize(settings, instance, "weekly_report")
    assert result.success
    assert "Restore queue.sqlite" in str(result.get_asset_check_evaluations()[-1].description)


def test_a_report_whose_pages_could_not_be_written_is_sent_without_them(tmp_path: Path):
    rule = {"urls": ["json://127.0.0.1:2"], "events": ["report"], "series": ["har*"]}
    settings = make_settings(tmp_path, notify={"urls": ["json://127.0.0.1:1"], "rules": [rule]})
    week, store = make_report(make_series(**PANEL)), make_store(tmp_path)
    addressed, files = notifications.report_notifications(
        week, store, settings, folder="reports/1", version="1", has_files=False
    )
    assert files == []
    assert [notification.files for notification, _ in addressed] == [(), ()]
    assert not (tmp_path / "reports").exists()


def test_a_reader_receives_a_report_on_the_series_of_the_rule(tmp_path: Path):
    with mail_server() as mail:
        rules = [
            {"urls": [mail.url("ann@x.org")], "events": ["report"], "series": ["har*"]},
            {"urls": [mail.url("bob@x.org")], "events": ["report"], "series": ["nor*"]},
            {"urls": [mail.url("cem@x.org")], "events": ["run_failed"]},
        ]
        notify = {"urls": [mail.url("all@x.org")], "rules": rules}
        files = send(tmp_path, make_series(**PANEL), notify)
    shown = {
        to: {name for name in PANEL if name in everything_in(message)}
        for to, message in by_reader(mail).items()
    }
    assert shown == {"all@x.org": {"harbour", "quarry"}, "ann@x.org": {"harbour"}}
    assert [len(rows) for rows in files] == [3]  # two pages, and the Markdown
    assert all((tmp_path / file).is_file() for file in files[0]["file"])


def test_a_reader_is_told_of_problems_with_the_series_of_the_rule_alone(tmp_path: Path):
    hostile = dict.fromkeys(HOSTILE_NAMES, PANEL["harbour"])
    series = make_series(**PANEL, **hostile, zebra=[1.0])  # too short for a backtest
    revised = [Finding("revised", 1, ("zebra",), "A week was revised.", policy="warn")]
    with mail_server() as mail, webhook() as hook:
        rules: list[dict[str, Any]] = [
            {"urls": [mail.url("ann@x.org"), hook.url], "events": ["report"], "series": ["har*"]},
            {"urls": [mail.url("bob@x.org")], "series": ["quarry"], **PROBLEMS},
            {"urls": [mail.url("cem@x.org")], "series": ["zebra"], **PROBLEMS},
        ]
        notify = {"urls": [mail.url("all@x.org")], "rules": rules}
        for _ in range(2):  # the same forecast is sent once
            send(tmp_path, series, notify, findings=revised)
    mails = by_reader(mail)
    assert len(mail.mails) == len(mails)
    assert mails.keys() == {"all@x.org", "ann@x.org", "cem@x.org"}
    with_zebra = {to for to, message in mails.items() if "zebra" in everything_in(message)}
    assert with_zebra == {"all@x.org", "cem@x.org"}
    assert "1 of 1 series" in text_of(mails["cem@x.org"])
    assert "The data are unusual: revised (1)." in text_of(mails["cem@x.org"])
    assert [message["type"] for message in hook.messages] == ["info"]
    page = page_of(mails["all@x.org"])
    assert "<script>alert(1)" not in page
    assert [name for name in HOSTILE_NAMES if name not in html.unescape(page)] == []
