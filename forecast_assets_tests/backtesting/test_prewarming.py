"""What models need is loaded beside the first steps, where the week is likely to need fits."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.backtesting import chunk
from forecast_assets.backtesting.executor import prewarm
from forecast_assets.data.weekly import newest_week
from forecast_assets.defs.build import build_store
from forecast_assets.defs.runs import AS_OF_TAG
from forecast_assets_tests.builders import make_series, make_settings, walk, week_settings
from forecast_assets_tests.test_week import run_week

SATURDAY = datetime(2026, 1, 3, 6, tzinfo=UTC)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which model's libraries were to be loaded, in how many processes."""
    told: list[tuple[str, int]] = []

    def warm_up(question: Any, *, n_processes: int) -> None:
        told.append((question.model.name, n_processes))

    monkeypatch.setattr(chunk, "start_processes", warm_up)
    return told


@pytest.mark.parametrize(
    ("moment", "week"),
    [
        ("2026-01-02T23:59:00+00:00", "2025-12-26"),  # Friday's week is not over
        ("2026-01-03T00:00:00+00:00", "2026-01-02"),
        ("2026-01-09T12:00:00+00:00", "2026-01-02"),
    ],
)
def test_the_newest_week_is_the_last_that_was_over(tmp_path: Path, moment: str, week: str):
    found = newest_week(datetime.fromisoformat(moment), make_settings(tmp_path))
    assert found.isoformat() == week


def test_the_schedules_zone_says_when_a_week_is_over(tmp_path: Path):
    settings = make_settings(tmp_path, schedule={"timezone": "Asia/Tokyo"})
    moment = datetime(2026, 1, 2, 15, 30, tzinfo=UTC)
    assert newest_week(moment, settings).isoformat() == "2026-01-02"


def test_the_first_week_loads_what_its_first_fitted_model_needs(
    tmp_path: Path, asked: list[tuple[str, int]]
):
    models = {"enabled": ["naive", "theta", "ses"]}
    settings = make_settings(tmp_path, models=models, compute={"workers": 3})
    prewarm(settings, build_store(settings), as_of=SATURDAY)
    assert asked == [("theta", 3)]


@pytest.mark.parametrize(
    "tables",
    [
        {"models": {"enabled": ["naive", "drift"]}},  # formulas
        {"compute": {"dask_address": "tcp://10.0.0.1:8786"}},  # not on this machine
        {"models": {"enabled": ["nosuch", "theta"]}},  # refused elsewhere
    ],
)
def test_nothing_is_loaded_that_this_process_does_not_need(
    tmp_path: Path, asked: list[tuple[str, int]], tables: dict[str, Any]
):
    settings = make_settings(tmp_path, **tables)
    prewarm(settings, build_store(settings), as_of=SATURDAY)
    assert asked == []


def test_a_week_that_was_backtested_loads_nothing_and_the_next_one_does(
    tmp_path: Path, asked: list[tuple[str, int]]
):
    settings = week_settings(tmp_path, make_series(a=walk(60, seed=1)))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_week(settings, instance, **{AS_OF_TAG: "2025-03-01"}).success
    fitted = settings.model_copy(update={"models": make_settings(tmp_path).models})
    store = build_store(settings)
    asked.clear()
    prewarm(fitted, store, as_of=datetime(2025, 3, 3, tzinfo=UTC))
    assert asked == []
    prewarm(fitted, store, as_of=datetime(2025, 3, 8, tzinfo=UTC))
    assert [model for model, _ in asked] == ["ses"]
