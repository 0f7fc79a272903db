"""A replayed week with a regressor: it knows the values that were published by its tick."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.regressors import ALL_SERIES, ALWAYS
from forecast_assets.defs.inputs import build_store
from forecast_assets.defs.launcher import replay_weeks
from forecast_assets.defs.replay import ReplayPlan
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS, DATA_FINDINGS
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.store_builders import make_commit

N_WEEKS = 26
PUBLISHED = datetime(2024, 9, 2, tzinfo=UTC)  # long after the ticks
CHANGED = 9.0
TICKS = [datetime(2024, 6, 24, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)]
MODELS = ("naive", "pooled_growth_x")
VOLATILE = ["made_at", "fit_seconds"]


@pytest.fixture(autouse=True)
def _own_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def announcements() -> pd.DataFrame:
    """Return values that are announced five days before their week ends, and corrected later."""
    weeks = pd.date_range("2024-01-05", periods=N_WEEKS + 1, freq="W-FRI")
    value = np.arange(len(weeks)) % 3.0
    early = pd.DataFrame({"ds": weeks, "at": weeks - pd.Timedelta(days=5), "price": value})
    late = early.assign(at=weeks + pd.Timedelta(days=4), price=value + 0.5)
    return pd.concat([early, late], ignore_index=True)


def settings_of(folder: Path, price: pd.DataFrame) -> Settings:
    weeks = make_series(a=walk(N_WEEKS, seed=1), b=walk(N_WEEKS, seed=2))
    published = weeks.assign(published=weeks["ds"] + pd.Timedelta(days=2))
    published.to_csv(folder / "published.csv", index=False)
    price.to_csv(folder / "price.csv", index=False)
    rates = pd.DataFrame({"ds": price["ds"].unique(), "rate": CHANGED})
    rates.to_csv(folder / "rates.csv", index=False)
    source = {"kind": "file", "path": str(folder / "published.csv"), "published": "published"}
    offer = {"kind": "file", "path": str(folder / "price.csv"), "columns": ["price"]}
    bank = {"kind": "file", "path": str(folder / "rates.csv"), "columns": ["rate"]}
    return week_settings(
        folder,
        weeks,
        source=source,
        models={"enabled": MODELS},
        backtest={"n_windows": 4},
        regressors={
            "bank": {**bank, "known": "ahead"},
            "offer": {**offer, "known": "ahead", "available": "at"},
        },
    )


def write_published_rates(settings: Settings) -> pd.DataFrame:
    """Write what the published weeks knew: of each week a rate, and of some another one later.

    Return what the ticks knew of it.
    """
    weeks = pd.date_range("2024-01-05", periods=N_WEEKS + 1, freq="W-FRI")
    first = pd.DataFrame({"ds": weeks, "value": np.arange(len(weeks)) % 4.0})
    first = first.assign(regressor="bank.rate", unique_id=ALL_SERIES, known_at=ALWAYS)
    changed = first[::2].assign(value=CHANGED, known_at=pd.Timestamp(PUBLISHED))
    store = build_store(settings)
    rows = pd.concat([first, changed], ignore_index=True)
    store.write(rows, make_commit(REGRESSORS, as_of=PUBLISHED))
    return first


def tables_of(store: Store, as_of: datetime) -> dict[str, pd.DataFrame]:
    """Return every table of a replayed week, with the texts of its report."""
    names = (*ASSETS, DATA_FINDINGS, REGRESSORS)
    commits = {name: [c for c in store.history(name) if c.as_of == as_of] for name in names}
    found = {name: store.read(of_table) for name, of_table in commits.items()}
    files = found["weekly_report"]["file"]
    found["pages"] = pd.DataFrame({"text": [(store.var / file).read_text() for file in files]})
    return {name: frame.drop(columns=VOLATILE, errors="ignore") for name, frame in found.items()}


def test_what_was_published_after_a_tick_changes_no_number_of_it(tmp_path: Path):
    """Every table and page of the first tick; the second one knew part of what was changed."""
    price = announcements()
    settings, plan = settings_of(tmp_path, price), ReplayPlan(*TICKS)
    rates = write_published_rates(settings)
    before = replay_weeks(settings, plan, write_line=lambda _: None)
    is_later = price["at"] > TICKS[0].replace(tzinfo=None)
    settings_of(tmp_path, price.assign(price=price["price"].where(~is_later, -7.0)))
    other = settings.model_copy(update={"var": tmp_path / "again"})
    write_published_rates(other)
    again = replay_weeks(other, plan, write_line=lambda _: None)
    for tick in TICKS:  # the changes are of later, those that no published week saw, too
        table = tables_of(before, tick)[REGRESSORS]
        found = table[table["regressor"] == "bank.rate"]
        assert list(found["value"]) == list(rates["value"])
        assert set(found["known_at"]) == {ALWAYS}
    first, second = (tables_of(store, TICKS[0]) for store in (before, again))
    for name, frame in first.items():
        pd.testing.assert_frame_equal(frame, second[name], check_exact=True, obj=name)
    assert set(first["backtest_predictions"]["model"]) == {*MODELS}
    assert first["backtest_predictions"]["error"].isna().all()
    (read,) = {
        each
        for commit in before.history("backtest_predictions")[-len(MODELS) :]
        for each in commit.inputs
        if each.asset == REGRESSORS
    }
    assert read.version == before.history(REGRESSORS)[-1].version
    first, second = (tables_of(store, TICKS[1]) for store in (before, again))
    changed = {name for name, frame in first.items() if not frame.equals(second[name])}
    assert {REGRESSORS, "next_week_forecast", "pages"} <= changed
    assert "backtest_predictions" not in changed  # the ticks of all folds lie before
