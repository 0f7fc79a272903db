"""The examples of the guide to deliveries, against real servers."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.delivery.deliver import deliver, take_back
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, table_contracts
from forecast_assets.storage.withdrawals import Withdrawal, withdraw
from forecast_assets_tests.databases import Server
from forecast_assets_tests.markdown_blocks import Block, blocks, settings_of
from forecast_assets_tests.s3_server import bucket, keys
from forecast_assets_tests.store_builders import make_commit, make_forecast

NOW = datetime.now(UTC)
WEEK = "2026-12-04"


def example(language: str, mark: str) -> Block:
    """Return the one block of the guide that contains the mark."""
    found = [b for b in blocks(language) if b.guide == "deliver.md" and mark in b.text]
    (block,) = found
    return block


def published(settings: Settings, folder: Path, name: str = "a") -> Store:
    """Return a store with a forecast as of now, of one series."""
    quantiles = settings.forecast.quantiles
    contracts = table_contracts((80, 95), quantiles)
    store = Store(str(folder / "store"), contracts, var=folder)
    values = {f"q{quantile:g}": 2 + quantile for quantile in quantiles}
    ends = {"y_hat": 2.5, "lo_80": 1.5, "hi_80": 3.5, "lo_95": 1.0, "hi_95": 4.0}
    row = make_forecast(week=WEEK, as_of=NOW, made_at=NOW, **ends)
    store.write(row.assign(unique_id=name, **values), make_commit(FORECAST, as_of=NOW))
    return store


def test_the_query_of_the_guide_returns_the_rows_of_this_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: Server
):
    server = postgresql_server
    server.run("DROP SCHEMA IF EXISTS planning CASCADE", "CREATE SCHEMA planning")
    monkeypatch.setenv("ERP_DATABASE", server.url())
    settings = settings_of(example("toml", "env:ERP_DATABASE"), tmp_path)
    store = published(settings, tmp_path)
    (commit,) = store.history(FORECAST)
    query = example("sql", "planning").text

    def rows() -> list[psycopg.rows.TupleRow]:
        with server.connected() as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    assert deliver("erp", settings, store, commit, now=NOW).n_changed == 1
    day = pd.Timestamp(WEEK).date()
    assert rows() == [("a", day, 1, 2.5, 1.5, 3.5)]
    server.run("UPDATE planning.forecasts SET as_of = as_of - interval '7 days'")
    assert rows() == []  # of last week
    deliver("erp", settings, store, commit, now=NOW)
    withdraw(store, [commit], Withdrawal(NOW, "wrong", "ann", NOW))
    assert take_back("erp", settings, store, now=NOW).n_taken_back == 1
    assert rows() == []
    server.run("DROP SCHEMA planning CASCADE")


def test_the_file_of_the_guide_is_named_by_its_week(tmp_path: Path):
    block = example("toml", "s3://")
    settings = settings_of(
        Block(block.guide, "toml", "", block.text.replace("//pla", "//bucket/pla")), tmp_path
    )
    store = published(settings, tmp_path)
    with bucket():
        deliver("planning", settings, store, store.history(FORECAST)[0], now=NOW)
        assert keys() == [f"planning/{NOW:%G-W%V}/forecast.parquet"]


def test_the_file_of_the_hub_has_the_name_of_the_guide(tmp_path: Path):
    settings = settings_of(example("toml", "hubverse"), tmp_path)
    store = published(settings, tmp_path, "us_gasoline_price")
    deliver("hub", settings, store, store.history(FORECAST)[0], now=NOW)
    (file,) = (tmp_path / "our_hub/model-output/ours-ensemble").iterdir()
    assert file.name == f"{WEEK}-ours-ensemble.csv"
    frame = pd.read_csv(file)
    assert len(frame) == 23
    assert set(frame["location"]) == {"US"}
    assert set(frame["horizon"]) == {0}
