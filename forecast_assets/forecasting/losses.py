"""Compute the losses of every candidate on every series: mean errors, with and without a scale.

Scores of intervals, and tests, belong to `metrics`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.eligibility import SCORED
from forecast_assets.models.base import Values

LOSSES = ("mae", "rmse", "mape", "smape", "mase", "rmsse", "bias")
SCALED = ("mase", "rmsse")
# The column of naive's forecasts; no model has a space in its name.
LAST = "last value"


def losses_by_series(results: BacktestResults) -> dict[str, Values]:
    """Return each loss over the real weeks of K folds, H ahead: [C, S]; e is forecast minus y.

    mae = mean |e|; rmse = sqrt(mean e^2); bias = mean e;
    mape = mean |e / y|, null where any y is 0;
    smape = mean |e| / (|forecast| + |y|), 0 where both are (Makridakis (1993), Accuracy measures,
    without its factor of 2: 0 to 1);
    mase = mae over the mean |y_t - y_(t-1)| before the first cutoff (Hyndman & Koehler (2006),
    Another look at measures of forecast accuracy, section 3, with one week for the season);
    rmsse = rmse over the root of the mean squared (y_t - y_(t-1)) there (Makridakis, Spiliotis &
    Assimakopoulos (2022), M5 accuracy competition, eq. 1). Both null where that is 0, or no two
    real weeks follow each other.
    A candidate that lacks the first folds, because the series was too short for it, has its ratio
    to naive on its own folds times naive's loss on all; its bias is that of its own folds.
    """
    models = list(results.models)
    if not results.planned:
        return dict.fromkeys(LOSSES, np.zeros((len(models), 0)))
    horizon = results.y.shape[1]
    series = np.repeat(np.arange(len(results.planned)), results.n_folds * horizon)
    y_hat = dict(zip(models, results.y_hat.reshape(len(models), -1), strict=True))
    last = np.repeat(results.last, horizon)
    wide = pd.DataFrame({"unique_id": series, "y": results.y.reshape(-1), LAST: last, **y_hat})
    wide, training = wide[wide["y"].notna()], _training(results)
    scores = _mean_losses(wide, [*models, LAST], training, n_series=len(results.planned))
    of_last = {name: values[-1] for name, values in scores.items()}
    scores = {name: values[:-1] for name, values in scores.items()}
    starts = np.cumsum(results.n_folds) - results.n_folds
    has_all = np.logical_and.reduceat(results.is_own, starts, axis=1)
    is_lacking = (results.status == SCORED) & ~has_all
    for m in np.flatnonzero(is_lacking.any(axis=1)):
        own = wide[np.isfinite(wide[models[m]])]
        on_own = _mean_losses(own, [models[m], LAST], training, n_series=len(results.planned))
        for name, (values, naive) in on_own.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                whole = values / naive * of_last[name]
            is_ratio = np.isfinite(whole) & (name != "bias")
            row = np.where(is_ratio, whole, values)
            scores[name][m] = np.where(is_lacking[m], row, scores[name][m])
    return scores


def _mean_losses(
    wide: pd.DataFrame, models: Sequence[str], training: pd.DataFrame, *, n_series: int
) -> dict[str, Values]:
    """Return each loss of the models' columns over the rows of each series: [M, S]."""
    from utilsforecast import losses

    scores = {}
    for name in LOSSES:
        scale = {"seasonality": 1, "train_df": training} if name in SCALED else {}
        means = getattr(losses, name)(wide, list(models), **scale).set_index("unique_id")
        table = means.reindex(range(n_series))[list(models)]
        values = table.to_numpy(dtype=np.float64).T
        scores[name] = np.where(np.isfinite(values), values, np.nan)
    scores["mape"][:, np.unique(wide.loc[wide["y"] == 0, "unique_id"])] = np.nan
    return scores


def _training(results: BacktestResults) -> pd.DataFrame:
    """Return each series up to its first cutoff, as a long frame."""
    sizes = [int(folds.ends[0]) for folds in results.planned]
    parts = list(zip(results.planned, sizes, strict=True))
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(sizes)), sizes),
            "ds": np.concatenate([folds.ds[:size] for folds, size in parts]),
            "y": np.concatenate([folds.real_y[:size] for folds, size in parts]),
        }
    )
