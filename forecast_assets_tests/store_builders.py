"""Build small stores: frames that keep their contracts, commits, and damage to files."""

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, FIRST_WEEK, make_raw, make_series

BACKTEST = "backtest_predictions"
WEEK = timedelta(weeks=1)


def make_store(folder: Path, *, levels: Sequence[float] = (80, 95)) -> Store:
    """Open a store below the folder, as a new process does."""
    return Store(str(folder / "store"), table_contracts(levels), var=folder)


def make_commit(
    asset: str,
    partition: str | None = None,
    *,
    run_id: str = "run",
    as_of: datetime = AS_OF,
    inputs: Sequence[Commit] = (),
) -> Commit:
    """Make a commit that is not written yet."""
    sources = tuple(commit.as_input for commit in inputs)
    return Commit(asset, partition, run_id=run_id, as_of=as_of, code_version="1", inputs=sources)


def make_input(asset: str, version: int, *, data_version: str = "00") -> InputVersion:
    """Refer to a version, whether it exists or not."""
    return InputVersion(asset, None, version, data_version)


def write_series(store: Store, *y: float, **commit: Any) -> Commit:
    """Write a version of `series`: one series `a` with these weeks."""
    return store.write(make_series(a=y), make_commit("series", **commit))


def write_predictions(store: Store, model: str, *y_hat: float, **commit: Any) -> Commit:
    """Write a version of one partition of `backtest_predictions`."""
    return store.write(make_predictions(model, *y_hat), make_commit(BACKTEST, model, **commit))


def make_predictions(model: str, *y_hat: float) -> pd.DataFrame:
    """Make one model's forecasts of the series `a`, one for each fold; NaN is a failed fold."""
    cutoffs = pd.date_range(FIRST_WEEK, periods=len(y_hat), freq="W-FRI")
    return pd.DataFrame(
        {
            "model": model,
            "unique_id": "a",
            "cutoff": cutoffs,
            "h": 1,
            "ds": cutoffs + pd.Timedelta(days=7),
            "y_hat": y_hat,
            "fit_seconds": 0.25,
            "error": [None if y == y else "it failed" for y in y_hat],  # noqa: PLR0124 - NaN
        }
    )


def make_row(asset: str, levels: Sequence[float] = (80, 95), **values: object) -> pd.DataFrame:
    """Make a table of one row: these values, null elsewhere."""
    names = table_contracts(levels)[asset].names
    return pd.DataFrame([dict.fromkeys(names) | values], columns=names)


def make_scores(levels: Sequence[float] = (80, 95), *, mae: float = 1.0) -> pd.DataFrame:
    """Make the table `metrics` of one series `a` and the model naive, with equal scores."""
    scores = dict.fromkeys(table_contracts(levels)["metrics"].names, mae)
    texts = {"unique_id": "a", "model": "naive", "status": "scored", "reason": None}
    return make_row(
        "metrics",
        levels,
        **(scores | texts | {"n_folds": 3, "n_real": 3, "may_be_best": True}),
    )


def make_choice(*, score: float = 1.0, previous: str | None = None) -> pd.DataFrame:
    """Make the table `best_model`: naive, chosen for one series `a`."""
    return make_row(
        "best_model",
        unique_id="a",
        model="naive",
        rung="champion",
        policy="best",
        score=score,
        n_may_be_best=1,
        previous_model=previous,
        switched=previous not in (None, "naive"),
        reason="none is better",
    )


def make_forecast(
    levels: Sequence[float] = (80, 95), *, week: str | pd.Timestamp = FIRST_WEEK, **values: object
) -> pd.DataFrame:
    """Make the table `next_week_forecast`: one series `a`, forecast for one week."""
    names = table_contracts(levels)["next_week_forecast"].names
    ds = pd.Timestamp(week)
    row = dict.fromkeys(names, 1.0) | {"unique_id": "a", "h": 1, "model": "naive"}
    row |= {"ds": ds, "cutoff": ds - pd.Timedelta(weeks=1), "rung": "champion"}
    row |= dict.fromkeys(["members", "weights", "reason"])
    row |= dict.fromkeys(["parent", "y_hat_base", "reconciliation"])
    row |= {name: None for name in names if name.startswith("override")}
    return make_row(
        "next_week_forecast", levels, **(row | {"made_at": AS_OF, "as_of": AS_OF} | values)
    )


def write_whole_week(
    store: Store, *y: float, as_of: datetime = AS_OF, run_id: str = "run"
) -> dict[str, Commit]:
    """Write every table of a week with two models, each from its inputs in the graph.

    Return the commits by asset, and those of the backtest by model.
    """
    made: dict[str, Commit] = {}

    def write(asset: str, frame: pd.DataFrame, *inputs: str) -> None:
        read = [made[name] for name in inputs]
        commit = make_commit(asset, as_of=as_of, run_id=run_id, inputs=read)
        made[asset] = store.write(frame, commit)

    write("raw_data", make_raw(make_series(a=y)))
    write("series", make_series(a=y), "raw_data")
    for model in ("drift", "naive"):
        commit = {"as_of": as_of, "run_id": run_id, "inputs": [made["series"]]}
        made[model] = write_predictions(store, model, *y, **commit)
    write("metrics", make_scores(mae=y[-1]), "drift", "naive", "series")
    write("best_model", make_choice(score=y[-1]), "metrics")
    forecast = make_forecast(y_hat=1.0, made_at=as_of, as_of=as_of)
    write("next_week_forecast", forecast, "best_model", "series", "drift", "naive")
    write("forecast_accuracy", store.tables["forecast_accuracy"].empty(), "next_week_forecast")
    write("weekly_report", store.tables["weekly_report"].empty(), "next_week_forecast", "metrics")
    return made


def log_entry(store: Store, asset: str, version: int) -> Path:
    """Return the file of one version's entry in an asset's log."""
    return Path(store.location(asset)) / "_delta_log" / f"{version:020}.json"


def data_files(store: Store, asset: str) -> list[Path]:
    """List the data files of an asset, oldest first."""
    files = Path(store.location(asset)).rglob("*.parquet")
    return sorted(files, key=lambda file: file.stat().st_mtime_ns)


def make_weeks(folder: Path) -> Store:
    """Write two partitions over two weeks, then the first week again: versions 0-1, 2-3, 4-5."""
    store = make_store(folder)
    for run_id, as_of in (("aa1", AS_OF), ("ab2", AS_OF + WEEK), ("ac3", AS_OF)):
        for model in ("naive", "drift"):
            write_predictions(store, model, 1.0, run_id=run_id, as_of=as_of)
    return store


def age(store: Store, asset: str, weeks: float) -> None:
    """Make every version of an asset look as if it had been written so many weeks earlier.

    A store that has read the log before does not notice: open another one.
    """
    for entry in sorted(Path(store.location(asset), "_delta_log").glob("*.json")):
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        for line in lines:
            if "commitInfo" in line:
                line["commitInfo"]["timestamp"] -= int(weeks * 7 * 86_400_000)
        entry.write_text("\n".join(map(json.dumps, lines)))


def age_file(file: Path, weeks: float) -> Path:
    """Make a file look as if it had been written so many weeks earlier."""
    at = file.stat().st_mtime - weeks * 7 * 86_400
    os.utime(file, (at, at))
    return file
