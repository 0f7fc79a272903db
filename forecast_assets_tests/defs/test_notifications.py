"""Tests of reports on their way to readers, each with the series of their rule."""

import html
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs import notifications
from forecast_assets.defs.build import build_store
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.notification_servers import (
    MailServer,
    mail_server,
    refusing_port,
    webhook,
)

PANEL = {"harbour": walk(40, seed=1), "quarry": walk(45, seed=2)}
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "a/b\\c",
    'nö "quoted" 🚢',
    "it's " * 40 + ".",
    '=HYPERLINK("http://a.example/x","pay")',
)


def run(settings: Settings, **tags: str) -> dg.ExecuteInProcessResult:
    """Run the weekly job once."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_week(settings, instance, **tags)
        assert result.success
        return result


def page_of(mail: EmailMessage) -> str:
    """Return the HTML of the attached report, as a browser reads it."""
    (page,) = [part for part in mail.iter_attachments() if part.get_filename()]
    assert page.get_filename() == "report.html"
    return bytes(page.get_payload(decode=True)).decode()


def text_of(mail: EmailMessage) -> str:
    """Return the plain text of a mail on one line."""
    body = mail.get_body(("plain",))
    assert body is not None
    return " ".join(body.get_content().split())


def everything_in(mail: EmailMessage) -> str:
    """Return the subject, both texts and the attached report of a mail."""
    bodies = [mail.get_body((kind,)) for kind in ("plain", "html")]
    texts = [str(body.get_content()) for body in bodies if body]
    return "\n".join([mail["subject"], *texts, page_of(mail)])


def by_reader(mail: MailServer) -> dict[str, EmailMessage]:
    return {str(message["to"]): message for message in mail.mails}


def test_a_reader_receives_a_report_on_the_series_of_the_rule(tmp_path: Path):
    with mail_server() as mail:
        rules = [
            {"urls": [mail.url("ann@x.org")], "events": ["report"], "series": ["har*"]},
            {"urls": [mail.url("bob@x.org")], "events": ["report"], "series": ["nor*"]},
            {"urls": [mail.url("cem@x.org")], "events": ["run_failed"]},
        ]
        notify = {"urls": [mail.url("all@x.org")], "rules": rules}
        settings = week_settings(tmp_path, make_series(**PANEL), notify=notify)
        run(settings)
    shown = {
        to: {name for name in PANEL if name in page_of(message)}
        for to, message in by_reader(mail).items()
    }
    assert shown == {"all@x.org": {"harbour", "quarry"}, "ann@x.org": {"harbour"}}
    store = build_store(settings)
    files = list(store.read(select(store, "weekly_report"))["file"])
    assert len(files) == 4  # two reports, as HTML and as Markdown
    assert all((settings.var / file).is_file() for file in files)


def test_a_forecast_is_reported_once_and_a_replay_never(tmp_path: Path):
    with mail_server() as mail:
        problems = {"events": ["report"], "severity": "warning"}
        notify = {
            "urls": [mail.url("all@x.org")],
            "rules": [{"urls": [mail.url("ops@x.org")], **problems}],
        }
        settings = week_settings(tmp_path, make_series(**PANEL), notify=notify)
        two_weeks_ago = (datetime.now(UTC) - timedelta(weeks=2)).isoformat()
        run(settings, **{"forecast_assets/as_of": two_weeks_ago})
        assert mail.mails == []
        run(settings)
        run(settings)
        assert [message["to"] for message in mail.mails] == ["all@x.org"]
        revised = {name: [y[0] + 1, *y[1:], 101.0] for name, y in PANEL.items()}
        write_source(tmp_path, make_series(**revised))
        run(settings)
    assert [message["to"] for message in mail.mails[1:]] == ["all@x.org", "ops@x.org"]
    assert f"The data are unusual: revised ({len(PANEL)})." in text_of(mail.mails[1])


def test_a_channel_that_fails_does_not_fail_the_run_and_is_retried_when_corrected(tmp_path: Path):
    with mail_server() as mail:
        urls = [mail.url("all@x.org")]
        rule = {"urls": [f"json://127.0.0.1:{refusing_port()}/secret"], "series": ["har*"]}
        notify: dict[str, Any] = {"urls": urls, "rules": [rule]}
        settings = week_settings(tmp_path, make_series(**PANEL), notify=notify)
        (check,) = [
            evaluation
            for evaluation in run(settings).get_asset_check_evaluations()
            if evaluation.asset_key == dg.AssetKey("weekly_report")
        ]
        assert not check.passed
        assert "'Forecast for the week ending" in str(check.description)
        assert "to json://*** (waiting): " in str(check.description)
        assert "secret" not in str(check.description)
        notify = {"urls": urls, "rules": [{**rule, "urls": [mail.url("ann@x.org")]}]}
        settings = week_settings(tmp_path, make_series(**PANEL), notify=notify)
        now = datetime.now(UTC)
        assert notifications.undelivered(settings, now=now)
        assert notifications.deliver(settings, now=now)
        assert notifications.undelivered(settings, now=now) == []
    assert [message["to"] for message in mail.mails] == ["all@x.org", "ann@x.org"]
    assert "quarry" not in everything_in(mail.mails[1])


def test_a_reader_is_told_of_problems_with_the_series_of_the_rule_alone(tmp_path: Path):
    with mail_server() as mail, webhook() as hook:
        problems = {"events": ["report"], "severity": "warning"}
        rules: list[dict[str, Any]] = [
            {"urls": [mail.url("ann@x.org"), hook.url], "events": ["report"], "series": ["har*"]},
            {"urls": [mail.url("bob@x.org")], "series": ["quarry"], **problems},
            {"urls": [mail.url("cem@x.org")], "series": ["zebra"], **problems},
        ]
        hostile = dict.fromkeys(HOSTILE_NAMES, PANEL["harbour"])
        frame = make_series(**PANEL, **hostile, zebra=[1.0])  # too short for a backtest
        notify = {"urls": [mail.url("all@x.org")], "rules": rules}
        run(week_settings(tmp_path, frame, notify=notify))
    mails = by_reader(mail)
    assert mails.keys() == {"all@x.org", "ann@x.org", "cem@x.org"}
    with_zebra = {to for to, message in mails.items() if "zebra" in everything_in(message)}
    assert with_zebra == {"all@x.org", "cem@x.org"}
    assert "1 of 1 series" in text_of(mails["cem@x.org"])
    assert [message["type"] for message in hook.messages] == ["info"]
    page = page_of(mails["all@x.org"])
    assert "<script>alert(1)" not in page
    assert [name for name in HOSTILE_NAMES if name not in html.unescape(page)] == []
