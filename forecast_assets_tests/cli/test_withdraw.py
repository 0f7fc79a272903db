"""The command `withdraw` on real weeks: what is told to whom, and what everything shows then."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import make_series, walk, write_source
from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.notification_servers import Webhook, webhook
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

MONDAY, NEXT_MONDAY = "2026-01-05T00:00:00+00:00", "2026-01-12T00:00:00+00:00"
REASON = "The file was of *last* year"
TITLE = "Forecast for the week ending 2024-10-18: 2 series"


@dataclass(frozen=True)
class Weeks:
    """The folder of three runs, as of two Mondays and of now; the last one sent its report."""

    folder: Path
    readers: Webhook


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    """Run two weeks on the same data and one on more; the tests follow each other."""
    folder = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as monkeypatch, webhook() as readers:
        rule = f'[[notify.rules]]\nurls = ["{readers.url}"]\nevents = ["report"]\n'
        configure(folder, monkeypatch, SMALL + rule)
        for time in (MONDAY, NEXT_MONDAY):
            output_of("run", "--as-of", time)
        write_source(folder, make_series(a=walk(41, seed=1), b=walk(41, seed=2)))
        output_of("run")
        yield Weeks(folder, readers)


def newest() -> str:
    """Return the time of the forecast that `status` shows."""
    return str(status()["as_of"]["value"])


def status() -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in records("status")}


def test_nobody_is_told_while_a_forecast_with_the_same_numbers_counts(weeks: Weeks):
    scores = records("show", "forecast_accuracy")
    output = output_of("withdraw", "--as-of", NEXT_MONDAY, "--reason", REASON, "--by", "ann")
    assert "Withdrawn: backtest_predictions 2-3, best_model 1, " in output
    assert "Notified:  nobody, because another forecast with its numbers counts." in output
    assert f"To publish the week again: forecast-assets run --as-of {NEXT_MONDAY}" in output
    assert weeks.readers.titles == [TITLE]
    line = status()["withdrawn"]
    assert (line["value"], line["is_well"]) == ([NEXT_MONDAY], None)  # a later one counts
    assert len(scores) == 2
    assert records("show", "forecast_accuracy") == []  # though the table is older
    assert records("show", "forecast_accuracy", "--version", "2") == scores


def test_the_newest_week_is_withdrawn_and_its_readers_are_told(weeks: Weeks):
    as_of = newest()
    assert as_of not in (MONDAY, NEXT_MONDAY)
    args = ["--as-of", as_of[:10], "--reason", f" {REASON}\n"]
    (record,) = records("withdraw", *args)
    assert (record["as_of"], record["reason"]) == (as_of, REASON)
    assert record["notified"] == ["json://***"]
    assert weeks.readers.titles == [TITLE, f"Withdrawn: {TITLE}"]
    told = weeks.readers.messages[-1]
    assert told["type"] == "warning"
    assert "The newest forecast is now that as of 2026-01-05 00:00 UTC." in told["message"]
    assert "last" in told["message"]
    assert told["attachments"] == []


def test_everything_shows_the_week_before_and_marks_the_withdrawn_ones(weeks: Weeks):
    lines = status()
    assert lines["as_of"]["value"] == MONDAY
    assert lines["withdrawn"]["is_well"] is False
    assert lines["week"]["value"] == "2024-10-11"
    assert REASON in output_of("status")
    assert records("show", "next_week_forecast") == records(
        "show", "next_week_forecast", "--version", "0"
    )
    for asset in ASSETS:
        marks = [row["withdrawn_at"] is not None for row in records("history", asset)]
        assert marks == ([False] * 2 + [True] * 4 if len(marks) > 3 else [False, True, True])
    assert "withdrawn_at" in output_of("history", "series")
    assert len(records("show", "withdrawals")) == 2
    line = output_of("healthcheck", "--no-daemon")
    assert line.startswith("Healthy: the newest forecast is as of 2026-01-05 00:00 UTC; the one as")
    assert output_of("verify").endswith("match their records.\n")
    index = weeks.folder / "reports/index.html"
    marked = index.read_text()
    assert marked.count("Withdrawn by ") == 2
    assert output_of("site") == f"{index} lists 3 reports.\n"
    assert index.read_text() == marked


def test_a_week_that_is_run_again_is_published_and_sent_anew(weeks: Weeks):
    pages = sorted(weeks.folder.glob("reports/*/report.html"))
    assert len(pages) == 3  # none was deleted
    output_of("run", "--as-of", NEXT_MONDAY)
    assert newest() == NEXT_MONDAY
    output_of("run")
    assert weeks.readers.titles == [TITLE, f"Withdrawn: {TITLE}", TITLE]
    assert newest()[:10] == f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--reason", "x"], "Missing option '--as-of'"),
        (["--as-of", MONDAY], "Missing option '--reason'"),
        (["--as-of", MONDAY, "--reason", " "], "--reason: give the reason in words"),
        (["--as-of", "Monday", "--reason", "x"], "'Monday' is not an ISO 8601 time"),
        (["--as-of", "2025-01-06", "--reason", "x"], "There is no forecast as of 2025-01-06T00:"),
    ],
)
@pytest.mark.usefixtures("weeks")
def test_what_cannot_be_withdrawn_is_refused(args: list[str], message: str):
    result = invoke("withdraw", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_commands_in_an_error_work(folder: Path):
    """Follow each: the forecast is withdrawn, and the refusal of the second time leads to a run."""
    future = datetime.now(UTC).replace(microsecond=0) + timedelta(weeks=20)
    make_store(folder).write(make_forecast(), make_commit("next_week_forecast", as_of=future))
    text = output_of("healthcheck", "--no-daemon", exit_code=1)
    assert f"1 forecast as of a future time ({future.isoformat()}) is not counted" in text
    assert "There is no forecast that counts as published." in output_of("status")
    assert "NO  from the future" in output_of("status")
    assert [row["is_future"] for row in records("history", "next_week_forecast")] == [True]
    command = text.split("`forecast-assets ")[1].split(" --reason")[0].split()
    output = output_of(*command, "--reason", "wrong clock")
    assert "nobody, because no report of it was sent.\nThere is no other forecast." in output
    assert "from_the_future" not in status()
    again = invoke(*command, "--reason", "wrong clock")
    assert again.exit_code == 2
    assert "is withdrawn already" in again.stderr
    assert "`forecast-assets run`" in again.stderr
    output_of("run")
    assert newest()[:10] == f"{datetime.now(UTC):%Y-%m-%d}"


def test_a_queue_that_cannot_be_used_is_reported_after_the_withdrawal(folder: Path):
    make_store(folder).write(make_forecast(), make_commit("next_week_forecast"))
    (folder / "outbox").mkdir()
    (folder / "outbox/queue.sqlite").write_bytes(b"no database" * 1000)
    result = invoke("withdraw", "--as-of", MONDAY, "--reason", "x", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["notified"] == []
    assert "The forecast is withdrawn, but its readers could not be notified. " in result.stderr
