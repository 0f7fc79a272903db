"""Many rows fetched, checked and stored: of days, to weeks; and of weeks, over http.

Usage: python benchmarks/fetching.py write|measure daily|csv|parquet|json FOLDER. The second prints
the seconds of each step.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from forecast_assets.config.loader import parse
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import to_weeks
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts

AS_OF = datetime(2027, 1, 1, tzinfo=UTC)
SHAPES = {"daily": (2_500, 2_000, "D")}  # series, times of each
WEEKLY = (10_000, 520, "W-FRI")


def write(file: Path, n_series: int, n_times: int, frequency: str) -> None:
    """Write rows of made-up series to a file of the kind that its ending says."""
    days = pd.date_range("2016-01-01", periods=n_times, freq=frequency).strftime("%Y-%m-%d")
    ids = np.char.add("series_", np.char.zfill(np.arange(n_series).astype(str), 5))
    y = np.random.default_rng(0).gamma(9, 10, n_series * n_times).round(2)
    columns = {"unique_id": ids.repeat(n_times), "ds": np.tile(days, n_series), "y": y}
    if file.suffix == ".csv":
        csv.write_csv(pa.table(columns), file)
    elif file.suffix == ".parquet":
        parquet.write_table(pa.table(columns), file)
    else:
        pd.DataFrame(columns).to_json(file, orient="records")


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: str) -> None:
    """Serve the files of a folder, and print the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: _Files(*a, directory=folder))
    print(server.server_port, flush=True)
    server.serve_forever()


def measure(kind: str, folder: Path, source: dict[str, object]) -> None:
    """Fetch, make weeks, and store both; print the seconds of each."""
    aggregate = "sum" if kind == "daily" else "error"
    given = {"source": source, "series": {"aggregate": aggregate}}
    settings = parse(given, root=folder, var=folder / "var", origin="the benchmark")
    store = Store(str(folder / "store"), table_contracts((80, 95)), var=folder / "var")
    started = time.perf_counter()

    def told(step: str) -> None:
        nonlocal started
        print(f"{step} {time.perf_counter() - started:.3f} s", flush=True)
        started = time.perf_counter()

    def keep(asset: str, frame: pd.DataFrame) -> None:
        commit = Commit(
            asset=asset, partition=None, run_id=kind, as_of=AS_OF, code_version="1", inputs=()
        )
        store.write(frame, commit)

    raw = fetch.fetch(FetchRequest(settings, AS_OF))
    told("fetching")
    weeks = to_weeks(raw, settings, as_of=AS_OF).frame
    told("weeks")
    keep("raw_data", raw)
    keep("series", weeks)
    told("storing")


def main() -> None:
    """Write the rows, or serve them where they come over http, and measure."""
    task, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    file = folder / f"rows.{'csv' if kind == 'daily' else kind}"
    if task == "serve":
        serve(str(folder))
    elif task == "write":
        write(file, *SHAPES.get(kind, WEEKLY))
    elif kind == "daily":
        measure(kind, folder, {"kind": "file", "path": str(file)})
    else:
        command = [sys.executable, __file__, "serve", kind, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None  # noqa: S101 - it was asked for
                url = f"http://127.0.0.1:{int(server.stdout.readline())}/{file.name}"
                measure(kind, folder, {"kind": "http", "url": url})
            finally:
                server.kill()


if __name__ == "__main__":
    main()
