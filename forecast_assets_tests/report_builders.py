"""Build predictions, metrics and weekly reports of made-up series; tables keep their contracts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import FoldForecast, FoldForecasts, plan, to_frame
from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.live_accuracy import check_accuracy, score_published
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, make_series, walk


def make_report(
    series: pd.DataFrame | None = None,
    *,
    levels: Sequence[float] = (80, 95),
    horizon: int = 1,
    n_weeks: int = 10,
    half: float = 2.0,
    **fields: Any,
) -> WeeklyReport:
    """Return a report of naive forecasts, with the published forecasts of the last `n_weeks`.

    `half` is half the width of the 80 % interval. `fields` replace those of the report.
    """
    series = make_series(sales=walk(60, seed=1)) if series is None else series
    contracts = table_contracts(levels)
    forecasts = [
        _forecast(series, age, levels=levels, horizon=horizon, half=half)
        for age in range(n_weeks, -1, -1)
    ]
    published = pd.concat([rows for rows in forecasts if len(rows)], ignore_index=True)
    ids = list(dict.fromkeys(series["unique_id"]))
    report: dict[str, Any] = {
        "series": series,
        "forecast": contracts["next_week_forecast"].arrange(forecasts[-1]),
        "best_model": contracts["best_model"].arrange(make_best_model(ids)),
        "metrics": make_metrics(ids, {"naive": 1.0, "theta": 0.8}, levels=levels),
        "accuracy": contracts["forecast_accuracy"].arrange(
            score_published(published, series, levels=levels)
        ),
        "levels": levels,
        "metric": "mase",
        "run_id": "0123456789abcdef",
        **fields,
    }
    check = check_accuracy(report["accuracy"], series, levels=levels)
    return WeeklyReport(**{"accuracy_check": check, **report})


def make_predictions(
    series: pd.DataFrame, settings: Settings, **errors: Sequence[float]
) -> pd.DataFrame:
    """Return `backtest_predictions`: each keyword gives a model's errors, repeated as needed.

    They go fold by fold, and by weeks ahead in a fold. NaN marks a fold on which the model failed.
    """
    planned, horizon = plan(series, settings.backtest), settings.backtest.horizon
    actuals = [folds.y[end : end + horizon] for folds in planned for end in folds.ends]
    frames = []
    for model, sizes in errors.items():
        pairs = zip(actuals, np.resize(sizes, (len(actuals), horizon)), strict=True)
        folds = [
            FoldForecast(None, 0.5, "ValueError: no")
            if np.isnan(error).any()
            else FoldForecast(y + error, 0.5)
            for y, error in pairs
        ]
        forecasts = FoldForecasts.of(folds, horizon=horizon)
        frames.append(to_frame(model, planned, forecasts, horizon=horizon))
    return pd.concat(frames, ignore_index=True)


def make_best_model(ids: Sequence[str], **columns: Any) -> pd.DataFrame:
    """Return the table `best_model`: naive for each series, as the week before."""
    row = {
        "model": "naive",
        "rung": "champion",
        "policy": "best",
        "score": 1.0,
        "runner_up": "theta",
        "margin": 0.1,
        "skill_vs_naive": 0.0,
        "p_vs_naive": 0.5,
        "n_may_be_best": 2,
        "previous_model": "naive",
        "switched": False,
        "reason": "naive has the lowest mase, 1",
    }
    return pd.DataFrame({"unique_id": list(ids), **row, **columns})


def make_metrics(
    ids: Sequence[str], scores: Mapping[str, float], *, levels: Sequence[float] = (80, 95)
) -> pd.DataFrame:
    """Return the table `metrics`: each model has its score in every metric; NaN is a failure."""
    table = table_contracts(levels)["metrics"]
    values = np.tile(list(scores.values()), len(ids))
    rows = pd.DataFrame(dict.fromkeys(table.names, values))
    is_failed = np.isnan(values)
    return table.arrange(
        rows.assign(
            unique_id=np.repeat(list(ids), len(scores)),
            model=np.tile(list(scores), len(ids)),
            n_folds=9,
            n_real=9,
            skill_vs_naive=1 - values,
            may_be_best=~is_failed,
            errors_behind=np.nan,
            panel_error=0.1,
            fit_seconds=0.0,
            status=np.where(is_failed, "failed", "scored"),
            reason=np.where(is_failed, "9 of 9 forecasts: ValueError: no", None),
        )
    )


def many_series(n: int, *, n_weeks: int = 30) -> pd.DataFrame:
    """Return the table `series` with `n` random walks named s0000, s0001 and so on."""
    return make_series(**{f"s{i:04}": walk(n_weeks, seed=i) for i in range(n)})


def _forecast(
    series: pd.DataFrame, age: int, *, levels: Sequence[float], horizon: int, half: float
) -> pd.DataFrame:
    """Return the forecast published `age` weeks ago, for the series that are long enough."""
    cutoffs = series.groupby("unique_id").nth(-1 - age)
    last = cutoffs.loc[cutoffs.index.repeat(horizon)].reset_index(drop=True)
    h = np.tile(np.arange(1, horizon + 1), len(cutoffs))
    ends = {
        f"{side}_{column_suffix(level)}": last["y"] + sign * half * level / 80
        for level in levels
        for side, sign in (("lo", -1), ("hi", 1))
    }
    return pd.DataFrame(
        {
            "unique_id": last["unique_id"],
            "h": h,
            "ds": last["ds"] + pd.to_timedelta(7 * h, unit="D"),
            "y_hat": last["y"],
            **ends,
            "backtest_mae": half / 1.5,
            "model": "naive",
            "members": None,
            "rung": "champion",
            "reason": None,
            "cutoff": last["ds"],
            "made_at": last["ds"].dt.tz_localize("UTC") + pd.Timedelta(days=1),
            "as_of": pd.Timestamp(AS_OF),
        }
    )
