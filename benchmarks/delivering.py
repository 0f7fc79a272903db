"""Measure deliveries of 10,000 series and 13 weeks: a database, Excel, Parquet and CSV.

Usage: python benchmarks/delivering.py FOLDER [URL]. URL is a database of its own, such as
postgresql+psycopg://…; its table `benchmark_deliveries` is replaced. Prints the seconds of each.
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from forecast_assets.config.loader import parse
from forecast_assets.delivery.deliver import deliver
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, table_contracts

AS_OF = datetime(2026, 1, 5, tzinfo=UTC)
N_SERIES, N_WEEKS = 10_000, 13
LIMITS = {"database": 10, "excel": 20, "parquet": 1, "csv": None}


def make_forecast() -> pd.DataFrame:
    """Make up a forecast of all series and weeks."""
    n_rows = N_SERIES * N_WEEKS
    h = np.tile(np.arange(1, N_WEEKS + 1), N_SERIES)
    y_hat = np.random.default_rng(0).normal(100, 10, n_rows)
    cutoff = pd.Timestamp("2026-01-02")
    widths = {"lo_95": -2, "lo_80": -1, "hi_80": 1, "hi_95": 2}
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"series_{i:05d}" for i in range(N_SERIES)], N_WEEKS),
            "h": h,
            "ds": cutoff + pd.to_timedelta(7 * h, unit="D"),
            "y_hat": y_hat,
            **{name: y_hat + width for name, width in widths.items()},
            "backtest_mae": 1.0,
            "model": "combination_median",
            "members": "theta, ses, naive",
            "rung": "champion",
            "reason": None,
            "cutoff": cutoff,
            "made_at": AS_OF,
            "as_of": AS_OF,
        }
    )


def main() -> None:
    """Deliver the forecast to each destination, then again, and print the seconds."""
    folder, url = Path(sys.argv[1]), (sys.argv[2:] or [f"sqlite:///{sys.argv[1]}/numbers.db"])[0]
    table = {"kind": "sql", "url": url, "table": "benchmark_deliveries"}
    tables = {
        "database": table,
        "excel": {"kind": "file", "path": str(folder / "numbers.xlsx")},
        "parquet": {"kind": "file", "path": str(folder / "numbers.parquet")},
        "csv": {"kind": "file", "path": str(folder / "numbers.csv")},
    }
    settings = parse({"deliver": tables}, root=folder, var=folder, origin="the benchmark")
    store = Store(str(folder / "store"), table_contracts((80, 95)), var=folder)
    commit = store.write(make_forecast(), Commit(FORECAST, None, "run", AS_OF, "1"))
    for name, limit in LIMITS.items():
        row: dict[str, object] = {"name": f"delivery of 130,000 rows, {name}, seconds"}
        for suffix in ("", "_again"):
            started, used = time.perf_counter(), time.process_time()
            deliver(name, settings, store, commit, now=datetime.now(UTC))
            row[f"value{suffix}"] = round(time.perf_counter() - started, 2)
            row[f"cpu{suffix}"] = round(time.process_time() - used, 2)
        print(json.dumps({**row, "must": f"<= {limit}" if limit else None}), flush=True)


if __name__ == "__main__":
    main()
