"""Whole weeks from a server that fails: what may pass is waited for, what may not is refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.schedules import JOB
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.data.sources.http.test_reader import causes
from forecast_assets_tests.http_servers import Reply, Request, Web, csv, web

N_FAILURES = 41
SERIES = make_series(harbour=walk(40, seed=1), market=walk(40, seed=2))
SECRET = "hush-1234"  # noqa: S105 - it must not be found anywhere


def rows() -> bytes:
    """The series as the server gives them."""
    days = SERIES["ds"].dt.strftime("%Y-%m-%d")
    frame = SERIES.assign(ds=days)[["unique_id", "ds", "y"]]
    return frame.to_csv(index=False).encode()


def failing() -> Iterator[Reply]:
    """The failures of a server that listens, and then the rows for ever."""
    replies = [reply for _, reply, _ in causes() if reply]
    for i in range(N_FAILURES):
        yield replies[i % len(replies)]
    while True:
        yield csv(rows())


def run(
    folder: Path, server: Web, instance: dg.DagsterInstance, **source: Any
) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """A week from the server, and what its log says to a person."""
    given = {
        "kind": "http",
        "url": server.url("/rows"),
        "headers": {"Authorization": SECRET},
        "retry_base_seconds": 0.001,
        "retry_cap_seconds": 0.01,
        "timeout_seconds": 0.2,
    }
    settings = week_settings(folder, SERIES, source={**given, **source})
    job = build_defs(settings).resolve_job_def(JOB)
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    entries = instance.all_logs(result.run_id)
    why = [failure_of(entry) for entry in entries]
    return result, [entry.user_message for entry in entries] + [one for one in why if one]


def failure_of(entry: dg.EventLogEntry) -> str | None:
    """Why a step failed, as its page shows it."""
    event = entry.dagster_event
    error = event.step_failure_data.error if event and event.is_step_failure else None
    return error.to_string() if error else None


def test_the_week_is_published_though_the_server_fails_41_times_of_42(
    tmp_path: Path, instance: dg.DagsterInstance
):
    replies = failing()
    with web(lambda _: next(replies)) as server:
        result, log = run(tmp_path, server, instance)
    assert result.success
    store = build_store(week_settings(tmp_path, SERIES))
    (commit,) = store.history("next_week_forecast")
    assert set(store.read([commit])["unique_id"]) == {"harbour", "market"}
    tries = [line for line in log if line.startswith("Try ")]
    assert len(tries) == N_FAILURES
    for n, line in enumerate(tries, start=1):
        assert re.match(rf"Try {n} of 43: http://127\.0\.0\.1:\d+/rows \w", line), line
        assert re.search(r"The next in [\d.e-]+ s\.$", line), line
    assert not any(SECRET in str(entry) for entry in instance.all_logs(result.run_id))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_trying_again_cannot_mend_fails_within_one_try(
    tmp_path: Path, instance: dg.DagsterInstance, status: int
):
    with web(Reply(status=status)) as server:
        result, log = run(tmp_path, server, instance)
        assert len(server.asked) == 1
    assert not result.success
    assert any(f"answered {status}" in line for line in log)
    assert not any(SECRET in str(entry) for entry in instance.all_logs(result.run_id))


def test_a_column_that_is_not_there_fails_within_one_try(
    tmp_path: Path, instance: dg.DagsterInstance
):
    with web(csv(rows())) as server:
        result, log = run(tmp_path, server, instance, y="sold")
        assert len(server.asked) == 1
    assert not result.success
    assert any("has no column sold; it has unique_id, ds, y" in line for line in log)


def test_an_unknown_host_fails_within_one_try(tmp_path: Path, instance: dg.DagsterInstance):
    with web(csv(rows())) as server:
        result, log = run(tmp_path, server, instance, url="http://no-such-host.invalid/rows")
    assert not result.success
    assert not any(line.startswith("Try ") for line in log)
    assert any("no-such-host.invalid" in line for line in log)


def test_an_unchanged_body_is_not_sent_twice_and_gives_the_same_versions(
    tmp_path: Path, instance: dg.DagsterInstance
):
    def answer(request: Request) -> Reply:
        is_known = request.headers.get("If-None-Match") == '"v1"'
        return Reply(status=304) if is_known else csv(rows(), ETag='"v1"')

    with web(answer) as server:
        for _ in range(2):
            result, _ = run(tmp_path, server, instance)
            assert result.success
        assert ["If-None-Match" in one.headers for one in server.asked] == [False, True]
    store = build_store(week_settings(tmp_path, SERIES))
    for asset in ("raw_data", "series"):
        first, second = store.history(asset)
        assert first.data_version == second.data_version
