"""Whole weeks to report on: every table by its contract, from series alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.forecasting.live_accuracy import score_published
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, make_series, walk

RUN = "0123456789abcdef"


def make_week(
    series: pd.DataFrame | None = None,
    *,
    levels: Sequence[float] = (80, 95),
    horizon: int = 1,
    n_due: int = 10,
    half: float = 2.0,
    **changes: Any,
) -> WeeklyReport:
    """A week that naive forecasts: with intervals of `half` a width, and `n_due` weeks of record.

    A series of fewer weeks has a record of fewer. `changes` replaces fields of the week.
    """
    series = make_series(sales=walk(60, seed=1)) if series is None else series
    contracts = table_contracts(levels)
    cuts = [
        _said(series, k, levels=levels, horizon=horizon, half=half) for k in range(n_due, -1, -1)
    ]
    published = pd.concat([cut for cut in cuts if len(cut)], ignore_index=True)
    ids = list(dict.fromkeys(series["unique_id"]))
    week = {
        "series": series,
        "forecast": contracts["next_week_forecast"].arrange(cuts[-1]),
        "best_model": contracts["best_model"].arrange(make_choice(ids)),
        "metrics": make_scores_of(ids, {"naive": 1.0, "theta": 0.8}, levels=levels),
        "accuracy": contracts["forecast_accuracy"].arrange(
            score_published(published, series, levels=levels)
        ),
        "levels": levels,
        "run_id": RUN,
    }
    return WeeklyReport(**{**week, **changes})


def make_choice(ids: Sequence[str], **changes: Any) -> pd.DataFrame:
    """The table `best_model`: naive for each series, as the week before."""
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
    return pd.DataFrame({"unique_id": list(ids), **row, **changes})


def make_scores_of(
    ids: Sequence[str], mase: Mapping[str, float], *, levels: Sequence[float] = (80, 95)
) -> pd.DataFrame:
    """The table `metrics`: each model with its MASE on each series; NaN is one that failed."""
    table = table_contracts(levels)["metrics"]
    scores = np.tile(list(mase.values()), len(ids))
    rows = pd.DataFrame(dict.fromkeys(table.names, scores))
    is_failed = np.isnan(scores)
    return table.arrange(
        rows.assign(
            unique_id=np.repeat(list(ids), len(mase)),
            model=np.tile(list(mase), len(ids)),
            n_folds=9,
            skill_vs_naive=1 - scores,
            may_be_best=~is_failed,
            fit_seconds=0.0,
            status=np.where(is_failed, "failed", "scored"),
            reason=np.where(is_failed, "9 of 9 forecasts: ValueError: no", None),
        )
    )


def many_series(n: int, *, n_weeks: int = 30) -> pd.DataFrame:
    """The table `series`: `n` random walks named s0000 and on."""
    return make_series(**{f"s{i:04}": walk(n_weeks, seed=i) for i in range(n)})


def _said(
    series: pd.DataFrame, ago: int, *, levels: Sequence[float], horizon: int, half: float
) -> pd.DataFrame:
    """What was published so many weeks ago, of the series that are long enough."""
    known = series.groupby("unique_id").nth(-1 - ago)
    last = known.loc[known.index.repeat(horizon)].reset_index(drop=True)
    h = np.tile(np.arange(1, horizon + 1), len(known))
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
            "cutoff": last["ds"],
            "made_at": last["ds"].dt.tz_localize("UTC") + pd.Timedelta(days=1),
            "as_of": pd.Timestamp(AS_OF),
        }
    )
