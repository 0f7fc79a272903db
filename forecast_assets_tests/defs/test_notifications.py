"""Reports on their way to their readers, each with the series that are theirs."""

import html
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.defs import notifications
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source
from forecast_assets_tests.notification_servers import (
    MailServer,
    mail_server,
    refusing_port,
    webhook,
)

PANEL = {"harbour": walk(40, seed=1), "quarry": walk(45, seed=2)}


def run_week(settings: Settings, **tags: str) -> dg.ExecuteInProcessResult:
    """One run of the job."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(settings).resolve_job_def("weekly_forecast")
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def readers(folder: Path, notify: dict[str, Any]) -> Settings:
    return week_settings(folder, make_series(**PANEL), notify=notify)


def attached(mail: EmailMessage) -> str:
    """The report that a mail brings, as HTML."""
    (page,) = [part for part in mail.iter_attachments() if part.get_filename()]
    assert page.get_filename() == "report.html"
    return bytes(page.get_payload(decode=True)).decode()  # as a browser reads the file


def told(mail: EmailMessage) -> str:
    """All that a mail says: its subject, its text and the report that it brings."""
    parts = [mail.get_body((kind,)) for kind in ("plain", "html")]
    return "\n".join([mail["subject"], *(str(p.get_content()) for p in parts if p), attached(mail)])


def by_reader(mail: MailServer) -> dict[str, EmailMessage]:
    return {str(one["to"]): one for one in mail.mails}


def test_each_reader_is_sent_the_series_that_are_theirs(tmp_path: Path):
    with mail_server() as mail:
        rules = [{"urls": [mail.url("ann@x.org")], "events": ["report"], "series": ["har*"]}]
        rules += [{"urls": [mail.url("bob@x.org")], "events": ["report"], "series": ["nor*"]}]
        rules += [{"urls": [mail.url("cem@x.org")], "events": ["run_failed"]}]
        settings = readers(tmp_path, {"urls": [mail.url("all@x.org")], "rules": rules})
        assert run_week(settings).success
        mails = by_reader(mail)
        assert mails.keys() == {"all@x.org", "ann@x.org"}
        told = {to: {name for name in PANEL if name in attached(mails[to])} for to in mails}
        assert told == {"all@x.org": {"harbour", "quarry"}, "ann@x.org": {"harbour"}}
        store = build_store(settings)
        files = list(store.read(select(store, "weekly_report"))["file"])
        assert len(files) == 4  # an edition for each of the two readers, as a page and as text
        assert all((settings.var / file).is_file() for file in files)


def test_what_says_the_same_is_not_sent_twice_and_news_is(tmp_path: Path):
    with mail_server() as mail:
        settings = readers(tmp_path, {"urls": [mail.url()]})
        assert run_week(settings).success
        assert run_week(settings).success
        assert len(mail.mails) == 1
        write_source(tmp_path, make_series(**{name: [*y, 101.0] for name, y in PANEL.items()}))
        assert run_week(settings).success
        assert len(mail.mails) == 2


def test_nobody_is_told_of_a_week_that_is_replayed(tmp_path: Path):
    with mail_server() as mail:
        settings = readers(tmp_path, {"urls": [mail.url()]})
        old = (datetime.now(UTC) - timedelta(weeks=2)).isoformat()
        assert run_week(settings, **{"forecast_assets/as_of": old}).success
        assert mail.mails == []


def test_a_report_reaches_its_reader_once_the_url_is_corrected(tmp_path: Path):
    with mail_server() as mail:
        rule = {"urls": [f"json://127.0.0.1:{refusing_port()}"], "series": ["har*"]}
        settings = readers(tmp_path, {"urls": [mail.url("all@x.org")], "rules": [rule]})
        assert run_week(settings).success
        corrected = {"urls": [mail.url("ann@x.org")], "series": ["har*"]}
        settings = readers(tmp_path, {"urls": [mail.url("all@x.org")], "rules": [corrected]})
        now = datetime.now(UTC)
        assert notifications.undelivered(settings, at=now)
        assert notifications.deliver(settings, at=now)
        assert notifications.undelivered(settings, at=now) == []
    assert [one["to"] for one in mail.mails] == ["all@x.org", "ann@x.org"]
    assert "quarry" not in told(mail.mails[1])


def test_a_channel_that_fails_does_not_fail_the_week(tmp_path: Path):
    with mail_server() as mail:
        dead = f"json://127.0.0.1:{refusing_port()}/secret"
        settings = readers(tmp_path, {"urls": [dead, mail.url()]})
        result = run_week(settings)
        assert result.success
        assert len(mail.mails) == 1
        (check,) = [
            one
            for one in result.get_asset_check_evaluations()
            if one.check_name == "everyone_was_told"
        ]
        assert not check.passed
        assert "1 notices were not taken: 'Forecast for the week" in str(check.description)
        assert "json://***" in str(check.description)
        assert "secret" not in str(check.description)


def test_a_week_with_a_problem_is_told_to_those_who_ask_for_problems(tmp_path: Path):
    with mail_server() as mail:
        rule = {"urls": [mail.url()], "events": ["report"], "severity": "warning"}
        settings = readers(tmp_path, {"rules": [rule]})
        assert run_week(settings).success
        assert mail.mails == []
        write_source(tmp_path, make_series(**PANEL, new=[1.0]))
        assert run_week(settings).success
        assert len(mail.mails) == 1
        body = mail.mails[0].get_body(("plain",))
        assert body is not None
        assert "None can be held out to judge a model by" in " ".join(body.get_content().split())


def test_what_is_odd_in_the_data_is_told_first(tmp_path: Path):
    with mail_server() as mail:
        rule = {"urls": [mail.url()], "events": ["report"], "severity": "warning"}
        settings = readers(tmp_path, {"rules": [rule]})
        assert run_week(settings).success
        revised = {name: [y[0] + 1, *y[1:]] for name, y in PANEL.items()}
        write_source(tmp_path, make_series(**revised))
        assert run_week(settings).success
        (one,) = mail.mails
        body = one.get_body(("plain",))
        assert body is not None
        assert f"What came is odd: revised ({len(PANEL)})." in " ".join(body.get_content().split())
        assert "are others now, by" in html.unescape(attached(one))


def test_a_reader_of_sound_series_hears_nothing_of_what_is_wrong_with_another(tmp_path: Path):
    with mail_server() as mail, webhook() as hook:
        urls = [mail.url("ann@x.org"), hook.url]
        rules: list[dict[str, Any]] = [{"urls": urls, "events": ["report"], "series": ["har*"]}]
        alarmed = {"events": ["report"], "severity": "warning"}
        rules += [{"urls": [mail.url("bob@x.org")], "series": ["quarry"], **alarmed}]
        rules += [{"urls": [mail.url("cem@x.org")], "series": ["zebra"], **alarmed}]
        frame = make_series(**PANEL, zebra=[1.0])
        notify = {"urls": [mail.url("all@x.org")], "rules": rules}
        assert run_week(week_settings(tmp_path, frame, notify=notify)).success
    mails = by_reader(mail)
    assert mails.keys() == {"all@x.org", "ann@x.org", "cem@x.org"}
    assert {to for to, one in mails.items() if "zebra" in told(one)} == {"all@x.org", "cem@x.org"}
    assert {to for to, one in mails.items() if "held out" in told(one)} == {
        "all@x.org",
        "cem@x.org",
    }
    assert [said["type"] for _, _, said in hook.asked] == ["info"]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a/b\\c",
        'nö "quoted" 🚢',
        "it's " * 40 + ".",
        '=HYPERLINK("http://a.example/x","pay")',
    ],
)
def test_a_hostile_name_arrives_as_it_is(tmp_path: Path, name: str):
    with mail_server() as mail:
        frame = make_series(**PANEL).replace({"unique_id": {"harbour": name}})
        settings = week_settings(tmp_path, frame, notify={"urls": [mail.url()]})
        assert run_week(settings).success
        page = attached(mail.mails[0])
        assert "<script>alert(1)" not in page
        assert name in html.unescape(page)
