"""Tests of which channels receive a notification."""

from pathlib import Path
from typing import Any

import pytest

from forecast_assets.notifications.routing import all_channels, recipients, report_recipients
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.notification_servers import make_notification

US_FAILURE = {"events": ["run_failed"], "severity": "error", "series": ["us_*"]}


@pytest.mark.parametrize(
    ("rule", "notification", "is_sent"),
    [
        ({}, {}, True),
        ({"events": ["report", "week_missed"]}, {"event": "week_missed"}, True),
        ({"events": ["run_failed"]}, {"event": "report"}, False),
        ({"severity": "warning"}, {"severity": "info"}, False),
        ({"severity": "warning"}, {"severity": "warning"}, True),
        ({"severity": "warning"}, {"severity": "error"}, True),
        ({"series": ["us_*"]}, {"series": ("us_crude", "mn_gas")}, True),
        ({"series": ["us_*"]}, {"series": ("mn_gas",)}, False),
        ({"series": ["us_*"]}, {"series": ("US_crude",)}, False),
        ({"series": ["us_*"]}, {"series": ()}, True),
        ({"series": ["a*c"]}, {"series": ("a\nb\n🎉c",)}, True),
        ({"series": ["a[1]"]}, {"series": ("a[1]",)}, True),
        (US_FAILURE, {"event": "run_failed", "severity": "error", "series": ("us_gas",)}, True),
        (US_FAILURE, {"event": "run_failed", "severity": "error", "series": ("mn_gas",)}, False),
    ],
)
def test_a_rule_matches_if_all_of_its_conditions_hold(
    tmp_path: Path, rule: dict[str, Any], notification: dict[str, Any], *, is_sent: bool
):
    settings = make_settings(tmp_path, notify={"rules": [{"urls": ["env:OPS"], **rule}]})
    urls = recipients(make_notification(**notification), settings)
    assert urls == (["env:OPS"] if is_sent else [])


def test_each_url_receives_a_notification_once(tmp_path: Path):
    rules = [
        {"urls": ["env:B"]},
        {"urls": ["json://c"], "events": ["run_failed"]},
        {"urls": ["json://a"]},
    ]
    settings = make_settings(tmp_path, notify={"urls": ["json://a", "env:B"], "rules": rules})
    every_url = ["json://a", "env:B", "json://c"]
    assert recipients(make_notification(), settings) == ["json://a", "env:B"]
    assert recipients(make_notification(event="run_failed"), settings) == every_url
    assert all_channels(settings) == every_url


@pytest.mark.parametrize(
    ("with_problems", "expected"),
    [
        ([], {("*",): ["json://a"], ("us_*",): ["json://b"]}),
        ([("*",)], {("*",): ["json://a", "json://b"]}),
        ([("*",), ("us_*",)], {("*",): ["json://a", "json://b"], ("us_*",): ["json://c"]}),
    ],
)
def test_a_reader_of_the_whole_report_receives_no_partial_one(
    tmp_path: Path, with_problems: list[Any], expected: dict[Any, Any]
):
    rules = [
        {"urls": ["json://b"], "severity": "warning"},
        {"urls": ["json://b"], "series": ["us_*"]},
        {"urls": ["json://c"], "series": ["us_*"], "severity": "warning"},
    ]
    settings = make_settings(tmp_path, notify={"urls": ["json://a"], "rules": rules})
    urls = report_recipients(
        settings, severity_of=lambda patterns: "warning" if patterns in with_problems else "info"
    )
    assert urls == expected
