"""Tests of the commands `healthcheck`, `notify` and `prune`."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.cli_runner import SMALL, output_of, records
from forecast_assets_tests.notification_servers import refusing_port, webhook
from forecast_assets_tests.store_builders import (
    BACKTEST,
    WEEK,
    age,
    age_file,
    data_files,
    make_commit,
    make_forecast,
    make_store,
    write_predictions,
)


def test_healthcheck_prints_one_line_and_exits_with_1_if_there_is_a_problem(folder: Path):
    line = output_of("healthcheck", "--no-daemon", exit_code=1)
    assert line.startswith("Not healthy: the forecast of the week of ")
    assert line.count("\n") == 1
    commit = make_commit("next_week_forecast", as_of=datetime.now(UTC))
    make_store(folder).write(make_forecast(), commit)
    line = output_of("healthcheck", "--no-daemon")
    assert line.startswith("Healthy: the newest forecast is as of ")
    assert "no Dagster daemon has run here" in output_of("healthcheck", exit_code=1)
    (record,) = records("healthcheck", exit_code=1)
    assert record["problem"].startswith("no Dagster daemon has run here")


def test_notify_sends_to_every_channel_and_prints_the_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    with webhook() as hook:
        dead = f"json://127.0.0.1:{refusing_port()}/secret"
        text = f'{SMALL}\n[notify]\nurls = ["{dead}", "env:HOOK"]'
        (folder / "forecast.toml").write_text(text)
        monkeypatch.setenv("HOOK", hook.url)
        output = output_of("notify", exit_code=1)
        assert "NO  json://***" in output
        assert "ok  env:HOOK" in output
        assert output.endswith("  accepted\n")
        assert "secret" not in output
        assert hook.titles == ["Test message of forecast_assets"]
        assert [row["is_well"] for row in records("notify", exit_code=1)] == [False, True]


@pytest.mark.usefixtures("folder")
def test_notify_explains_that_there_are_no_channels():
    assert output_of("notify").startswith("There are no channels.")
    assert records("notify") == []


@pytest.fixture
def store(folder: Path) -> Store:
    """Three versions of a model, written 30 weeks ago, a fold cache, and values of a run."""
    store = make_store(folder)
    for i in range(3):
        write_predictions(store, "naive", float(i), as_of=AS_OF + i * WEEK)
    age(store, BACKTEST, 30)
    values = folder / "dagster/storage/a-run/backtest_predictions.fan/result/naive"
    for path, weeks in ((folder / "fold_cache/naive-1.sqlite", 40), (values, 50)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12345")
        age_file(path, weeks)
    return make_store(folder)


def test_prune_lists_what_it_would_delete(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    n_bytes = sum(file.stat().st_size for file in data_files(store, BACKTEST)[:2]) + 10
    output = output_of("prune")
    assert "rows of superseded backtests and scores" in output
    assert output.endswith(f"\n--yes deletes these {n_bytes / 1000:.1f} kB.\n")
    rows = records("prune")
    assert [(row["kind"], row["name"], row["n_files"], row["deleted"]) for row in rows] == [
        ("records", "a-run", 1, False),
        ("folds", "naive-1.sqlite", 1, False),
        ("rows", f"{BACKTEST} of naive, version 0", 1, False),
        ("rows", f"{BACKTEST} of naive, version 1", 1, False),
    ]
    assert sum(row["n_bytes"] for row in rows) == n_bytes
    assert len(data_files(store, BACKTEST)) == 3
    assert store.pruned(BACKTEST) == {}
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "elsewhere"))
    assert "records" not in [row["kind"] for row in records("prune")]


def test_prune_deletes_and_the_history_shows_it(store: Store):
    assert output_of("prune", "--yes").splitlines()[-1].startswith("Deleted ")
    assert output_of("prune", "--yes").startswith("Nothing to delete: everything was needed in")
    assert len(data_files(store, BACKTEST)) == 1
    pruned_at = [row["pruned_at"] for row in records("history", BACKTEST)]
    assert [time is None for time in pruned_at] == [False, False, True]
    assert output_of("history", BACKTEST).splitlines()[0].split()[-2:] == ["pruned_at", "made_from"]
    assert "pruned_at" not in output_of("history", BACKTEST, "--limit", "1")
    assert "Error: Pruned on " in output_of("show", BACKTEST, "--version", "0", exit_code=2)
    assert [row["y_hat"] for row in records("show", BACKTEST)] == [2.0]
    assert "2 more are pruned" in output_of("verify")
    assert [row["pruned_at"] for row in records("verify")] == pruned_at


def test_prune_keeps_what_was_needed_in_the_weeks_given(store: Store):
    assert records("prune", "--keep-weeks", "60", "--yes") == []
    assert len(data_files(store, BACKTEST)) == 3
    kinds = [row["kind"] for row in records("prune", "--keep-weeks", "35", "--yes")]
    assert kinds == ["records", "folds"]
