"""The commands that watch over the week, and try the channels."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecast_assets_tests.cli_runner import SMALL, configure, output_of, records
from forecast_assets_tests.notification_servers import refusing_port, webhook
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store


def publish(folder: Path, moment: datetime) -> None:
    """Let there be a forecast that was made for the moment."""
    make_store(folder).write(make_forecast(), make_commit("next_week_forecast", as_of=moment))


def test_a_watchdog_reads_one_line_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configure(tmp_path, monkeypatch)
    line = output_of("healthcheck", "--no-daemon", exit_code=1)
    assert line.startswith("Not well: the forecast of the week of ")
    assert line.count("\n") == 1
    publish(tmp_path, datetime.now(UTC))
    assert output_of("healthcheck", "--no-daemon").startswith("Well: the newest forecast is as of ")
    assert "no Dagster daemon ever ran here" in output_of("healthcheck", exit_code=1)
    (record,) = records("healthcheck", exit_code=1)
    assert record["ailment"].startswith("no Dagster daemon ever ran here")


def test_what_cannot_be_asked_is_no_ailment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configure(tmp_path, monkeypatch, "[schedule]\nevery = 1")
    assert "`schedule.every` is unknown" in output_of("healthcheck", exit_code=2)


def test_every_channel_is_tried_and_its_answer_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with webhook() as hook:
        dead = f"json://127.0.0.1:{refusing_port()}/secret"
        text = f'{SMALL}\n[notify]\nurls = ["{dead}", "env:HOOK"]'
        configure(tmp_path, monkeypatch, text)
        monkeypatch.setenv("HOOK", hook.url)
        output = output_of("notify", exit_code=1)
        assert "NO  json://***" in output
        assert "ok  env:HOOK" in output
        assert "secret" not in output
        assert hook.told == ["A test of forecast_assets"]
        assert [row["is_well"] for row in records("notify", exit_code=1)] == [False, True]


def test_where_no_channel_is_set_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configure(tmp_path, monkeypatch)
    assert output_of("notify").startswith("No channel is set.")
    assert records("notify") == []
