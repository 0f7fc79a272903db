"""Weeks from an HTTP server that fails, in Dagster: retries in the log, secrets nowhere."""

import re
from pathlib import Path

import dagster as dg

from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.schedules import JOB
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.http_servers import HttpServer, Reply, csv_reply, serve

SERIES = make_series(harbour=walk(40, seed=1), market=walk(40, seed=2))
SECRET = "hush-1234"  # noqa: S105 - the tests look for it
FAILURES = [
    Reply(is_raw=True, end="reset"),
    Reply(status=503, headers={"Retry-After": "1"}),
    Reply(b"{}", status=429),
    csv_reply(b"[", Content_Type="application/json"),
    csv_reply(b"1,2,3", Content_Encoding="gzip"),
]


def csv_of_series() -> bytes:
    frame = SERIES.assign(ds=SERIES["ds"].dt.strftime("%Y-%m-%d"))
    return frame[["unique_id", "ds", "y"]].to_csv(index=False).encode()


def run_week(
    folder: Path, server: HttpServer, instance: dg.DagsterInstance
) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """Run the week, and return the log lines and errors that the run's page shows."""
    source = {
        "kind": "http",
        "url": server.url("/rows"),
        "headers": {"Authorization": SECRET},
        "retry_base_seconds": 0.001,
        "retry_cap_seconds": 0.01,
        "timeout_seconds": 1,
    }
    models = {"enabled": ["naive", "drift"]}
    settings = week_settings(folder, SERIES, source=source, models=models)
    job = build_defs(settings).resolve_job_def(JOB)
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    entries = instance.all_logs(result.run_id)
    events = [entry.dagster_event for entry in entries]
    errors = [e.step_failure_data.error for e in events if e and e.is_step_failure]
    assert not any(SECRET in str(entry) for entry in entries)
    return result, [entry.user_message for entry in entries] + [str(error) for error in errors]


def test_the_week_is_published_after_transient_failures(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with serve([*FAILURES, csv_reply(csv_of_series())]) as server:
        result, log = run_week(tmp_path, server, instance)
    assert result.success
    store = build_store(week_settings(tmp_path, SERIES))
    (commit,) = store.history("next_week_forecast")
    assert set(store.read([commit])["unique_id"]) == {"harbour", "market"}
    attempts = [line for line in log if line.startswith("Attempt ")]
    assert len(attempts) == len(FAILURES)
    for n, line in enumerate(attempts, start=1):
        assert re.match(rf"Attempt {n} of 43 failed: http://127\.0\.0\.1:\d+/rows \w", line), line
        assert re.search(r"Retrying in [\d.e-]+ s\.$", line), line


def test_a_permanent_error_fails_the_run_without_a_retry(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with serve(Reply(status=401)) as server:
        result, log = run_week(tmp_path, server, instance)
        assert len(server.requests) == 1
    assert not result.success
    assert any("answered 401" in line for line in log)
