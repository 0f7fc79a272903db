"""Small stores: frames that keep their contracts, commits, and a writer for another process."""

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, FIRST_WEEK, make_series

BACKTEST = "backtest_predictions"
WEEK = timedelta(weeks=1)


def make_store(folder: Path, *, levels: Sequence[float] = (80, 95)) -> Store:
    """A store below the folder, as a process that starts now opens it."""
    return Store(str(folder / "store"), table_contracts(levels), var=folder)


def make_commit(
    asset: str,
    partition: str | None = None,
    *,
    run_id: str = "run",
    as_of: datetime = AS_OF,
    inputs: Sequence[Commit] = (),
) -> Commit:
    """A commit that is not written yet."""
    read = tuple(one.as_input for one in inputs)
    return Commit(asset, partition, run_id=run_id, as_of=as_of, code_version="1", inputs=read)


def write_series(
    store: Store,
    *y: float,
    run_id: str = "run",
    as_of: datetime = AS_OF,
    inputs: Sequence[Commit] = (),
) -> Commit:
    """A version of `series`: one series `a` with these weeks."""
    commit = make_commit("series", run_id=run_id, as_of=as_of, inputs=inputs)
    return store.write(make_series(a=y), commit)


def make_predictions(model: str, *y_hat: float) -> pd.DataFrame:
    """One model's forecasts of the series `a`, a fold each; NaN is a fold that failed."""
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


def write_predictions(
    store: Store,
    model: str,
    *y_hat: float,
    run_id: str = "run",
    as_of: datetime = AS_OF,
    inputs: Sequence[Commit] = (),
) -> Commit:
    """A version of one partition of `backtest_predictions`."""
    commit = make_commit(BACKTEST, model, run_id=run_id, as_of=as_of, inputs=inputs)
    return store.write(make_predictions(model, *y_hat), commit)


def make_scores(levels: Sequence[float] = (80, 95), *, mae: float = 1.0) -> pd.DataFrame:
    """The table `metrics`: one series and one model that was scored."""
    names = table_contracts(levels)["metrics"].names
    row = dict.fromkeys(names, mae)
    row |= {"unique_id": "a", "model": "naive", "n_folds": 3, "status": "scored", "reason": None}
    row |= {"may_be_best": True}
    return pd.DataFrame([row], columns=names)


def make_choice(*, score: float = 1.0) -> pd.DataFrame:
    """The table `best_model`: naive, chosen for one series `a`."""
    names = table_contracts((80, 95))["best_model"].names
    row: dict[str, object] = dict.fromkeys(names)
    row |= {"unique_id": "a", "model": "naive", "rung": "champion", "policy": "best"}
    row |= {"score": score, "n_may_be_best": 1, "switched": False, "reason": "none is better"}
    row |= dict.fromkeys(["margin", "skill_vs_naive", "p_vs_naive"], float("nan"))
    return pd.DataFrame([row], columns=names)


def make_forecast(levels: Sequence[float] = (80, 95), *, week: str = FIRST_WEEK) -> pd.DataFrame:
    """The table `next_week_forecast`: one series `a`, forecast for one week."""
    names = table_contracts(levels)["next_week_forecast"].names
    row = dict.fromkeys(names, 1.0)
    ds = pd.Timestamp(week)
    row |= {"unique_id": "a", "h": 1, "ds": ds, "cutoff": ds - pd.Timedelta(weeks=1)}
    row |= {"model": "naive", "members": None, "rung": "champion", "made_at": AS_OF, "as_of": AS_OF}
    return pd.DataFrame([row], columns=names)


def make_input(asset: str, version: int, *, data_version: str = "00") -> InputVersion:
    """A version that another was made from, there or not."""
    return InputVersion(asset, None, version, data_version)


def write_from_elsewhere(folder: Path, models: Sequence[str]) -> list[tuple[int, str | None, str]]:
    """What another process does: write these partitions one by one, and say what it wrote.

    Each version holds its number within this process, so that no two of them are equal; each
    process is a run of its own.
    """
    store = make_store(folder)
    wrote = []
    for i, model in enumerate(models):
        commit = write_predictions(store, model, float(i), run_id=f"run of {os.getpid()}")
        wrote.append((commit.version, commit.partition, commit.content))
    return wrote


def log_entry(store: Store, asset: str, version: int) -> Path:
    """The file of one version's entry in an asset's log."""
    return Path(store.location(asset)) / "_delta_log" / f"{version:020}.json"


def data_files(store: Store, asset: str) -> list[Path]:
    """The data files of an asset, the oldest first."""
    files = Path(store.location(asset)).rglob("*.parquet")
    return sorted(files, key=lambda file: file.stat().st_mtime_ns)


def make_weeks(folder: Path) -> Store:
    """Two partitions over two weeks, then the first week repeated: versions 0-1, 2-3 and 4-5."""
    store = make_store(folder)
    for run_id, as_of in (("aa1", AS_OF), ("ab2", AS_OF + WEEK), ("ac3", AS_OF)):
        for model in ("naive", "drift"):
            write_predictions(store, model, 1.0, run_id=run_id, as_of=as_of)
    return store


def age(store: Store, asset: str, weeks: float) -> None:
    """Make every version of an asset as if it was written so many weeks earlier.

    A store that read the log before keeps what it read: open another one.
    """
    for entry in sorted(Path(store.location(asset), "_delta_log").glob("*.json")):
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        for line in lines:
            if "commitInfo" in line:
                line["commitInfo"]["timestamp"] -= int(weeks * 7 * 86_400_000)
        entry.write_text("\n".join(map(json.dumps, lines)))


def age_file(file: Path, weeks: float) -> Path:
    """Make a file as if it was last written so many weeks earlier."""
    at = file.stat().st_mtime - weeks * 7 * 86_400
    os.utime(file, (at, at))
    return file
