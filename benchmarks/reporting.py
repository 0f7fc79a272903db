"""Measure the pages of made-up series: 104 weeks, 20 candidates, a year of published forecasts.

Usage: python benchmarks/reporting.py SERIES FOLDER. Writes the pages of the week, the index and the
pages of the series there, and prints the seconds.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from made_up import weekly

from forecast_assets.forecasting.live_accuracy import check_accuracy, score_published
from forecast_assets.forecasting.losses import LOSSES
from forecast_assets.reporting.render import render, render_brief
from forecast_assets.reporting.site import ReportedWeek, build_site
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.storage.tables import table_contracts, target_week

LEVELS = (80, 95)
N_MODELS, N_WEEKS, N_PUBLISHED = 20, 104, 52
# Half widths of a normal interval, in standard deviations.
HALF_WIDTHS = {80: 1.28, 95: 1.96}
# Share of the scores that are failures.
FAILURE_RATE = 0.001
WEEK = "2026-01-09_01234567"


def publish(series: pd.DataFrame, age: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the forecast of `age` weeks ago: the last value plus noise."""
    last = series.groupby("unique_id").nth(-1 - age).reset_index(drop=True)
    size = series.groupby("unique_id")["y"].std().to_numpy() + 0.1
    y_hat = last["y"] + 0.2 * size * rng.normal(size=len(last))
    ends = {
        f"{side}_{level}": y_hat + sign * HALF_WIDTHS[level] * size
        for level in LEVELS
        for side, sign in (("lo", -1), ("hi", 1))
    }
    made_at = last["ds"].dt.tz_localize("UTC") + pd.Timedelta(days=3)
    return pd.DataFrame(
        {
            "unique_id": last["unique_id"],
            "h": 1,
            "ds": last["ds"] + pd.Timedelta(weeks=1),
            "y_hat": y_hat,
            **ends,
            "backtest_mae": 0.8 * size,
            "model": "combination_median",
            "members": "m00, m01, m02",
            "rung": "champion",
            "reason": None,
            "cutoff": last["ds"],
            "made_at": made_at,
            "as_of": made_at,
        }
    )


def make_metrics(ids: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return the table `metrics` with a few failures."""
    models = ["combination_median", *(f"m{m:02d}" for m in range(N_MODELS - 1))]
    n = len(ids) * N_MODELS
    names = table_contracts(LEVELS)["metrics"].names
    rows = pd.DataFrame({name: rng.uniform(0.5, 1.2, n) for name in names})
    is_failed = rng.random(n) < FAILURE_RATE
    reasons = [f"9 of 52 forecasts: LinAlgError: singular at step {i % 7}" for i in range(n)]
    rows = rows.assign(
        unique_id=np.repeat(ids, N_MODELS),
        model=np.tile(models, len(ids)),
        n_folds=N_WEEKS,
        n_real=N_WEEKS,
        errors_behind=np.nan,
        panel_error=0.1,
        may_be_best=rng.random(n) < FAILURE_RATE,
        status=np.where(is_failed, "failed", "scored"),
        reason=np.where(is_failed, reasons, None),
    )
    rows.loc[is_failed, list(LOSSES)] = np.nan
    return table_contracts(LEVELS)["metrics"].arrange(rows)


def make_best_model(ids: np.ndarray) -> pd.DataFrame:
    """Return the table `best_model`: one combination for all series, with a few switches."""
    is_new = np.arange(len(ids)) % 100 == 0
    return pd.DataFrame(
        {
            "unique_id": ids,
            "model": "combination_median",
            "previous_model": np.where(is_new, "m00", "combination_median"),
            "switched": is_new,
            "reason": "combination_median is used for every series, as the settings say",
        }
    )


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Make up a week, then measure its report and its brief message."""
    n_series, folder = int(sys.argv[1]), Path(sys.argv[2])
    rng = np.random.default_rng(0)
    series = weekly(n_series, n_weeks=N_WEEKS).assign(is_filled=False)
    forecasts = [publish(series, age, rng) for age in range(N_PUBLISHED, -1, -1)]
    ids = forecasts[-1]["unique_id"].to_numpy()
    accuracy = score_published(pd.concat(forecasts, ignore_index=True), series, levels=LEVELS)
    report = WeeklyReport(
        forecast=forecasts[-1],
        series=series,
        best_model=make_best_model(ids),
        metrics=make_metrics(ids, rng),
        accuracy=accuracy,
        accuracy_check=check_accuracy(accuracy, series, levels=LEVELS),
        levels=LEVELS,
        metric="mase",
        run_id="0123456789",
        units={"s0*": "pieces"},
    )
    started = time.perf_counter()
    write(folder / WEEK, render(report, site="../"))
    print(f"rendering {time.perf_counter() - started:.3f} s", flush=True)
    started = time.perf_counter()
    as_of = report.forecast["as_of"].iloc[0].to_pydatetime()
    weeks = [ReportedWeek(target_week(report.forecast), as_of, f"{WEEK}/report.html")]
    write(folder, build_site(report, weeks))
    print(f"site {time.perf_counter() - started:.3f} s", flush=True)
    started = time.perf_counter()
    render_brief(report)
    print(f"brief {time.perf_counter() - started:.3f} s", flush=True)


if __name__ == "__main__":
    main()
