"""Backtest predictions to one row of scores for each series and model.

Choosing among them does not belong here.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtest import SeriesFolds, is_declined, plan
from forecast_assets.errors import DataError
from forecast_assets.intervals import rolling_radii, weighted_interval_score
from forecast_assets.models.base import Values
from forecast_assets.settings import Settings
from forecast_assets.tables import column_suffix

LOSSES = ("mae", "rmse", "mape", "smape", "mase", "rmsse", "bias")
SCALED = ("mase", "rmsse")


def score(predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Score every model on every series: one row a pair, in the columns of `metrics`.

    Errors are forecast less value. A model is `scored` only where it forecast every planned fold:
    leaving out a bad week must not help it. `failed` and `ineligible` rows carry their reason and
    no scores.

    Raises DataError where a model's folds are not those that the data and the settings plan.
    """
    every = plan(series, settings.backtest)
    planned = [one for one in every if len(one.ends)]
    models = list(dict.fromkeys(predictions["model"]))
    blocks = [predictions[predictions["model"] == model] for model in models]
    horizon = settings.backtest.horizon
    for model, block in zip(models, blocks, strict=True):
        _refuse_other_folds(model, block, planned, horizon=horizon)
    y_hat = np.stack([block["y_hat"].to_numpy() for block in blocks])  # [M, R]
    levels = settings.forecast.levels
    rows, start = [], 0
    losses = _losses(models, y_hat, planned, horizon=horizon)
    for one in planned:
        stop = start + len(one.ends) * horizon
        forecasts = y_hat[:, start:stop].reshape(len(models), len(one.ends), horizon)
        scores = _interval_scores(one, forecasts, levels, step=settings.backtest.step)
        for i, (model, block) in enumerate(zip(models, blocks, strict=True)):
            part = block.iloc[start:stop]
            status, reason = _status(part["error"])
            measured = {name: losses[name].loc[one.unique_id, model] for name in LOSSES}
            measured |= {name: values[i] for name, values in scores.items()}
            if status != "scored":
                measured = dict.fromkeys(measured, np.nan)
            rows.append(
                {
                    "unique_id": one.unique_id,
                    "model": model,
                    "n_folds": len(one.ends),
                    **measured,
                    "fit_seconds": part["fit_seconds"].sum() / horizon,
                    "status": status,
                    "reason": reason,
                }
            )
        start = stop
    rows += [
        {
            "unique_id": one.unique_id,
            "model": model,
            "n_folds": 0,
            "fit_seconds": 0.0,
            "status": "ineligible",
            "reason": "the series has no week to hold out",
        }
        for one in every
        if not len(one.ends)
        for model in models
    ]
    return pd.DataFrame(rows)


def _refuse_other_folds(
    model: str, block: pd.DataFrame, planned: Sequence[SeriesFolds], *, horizon: int
) -> None:
    cutoffs = np.concatenate([one.ds[one.ends - 1] for one in planned])
    ids = np.repeat([one.unique_id for one in planned], [len(one.ends) for one in planned])
    same = (
        len(block) == len(cutoffs) * horizon
        and (block["unique_id"].to_numpy() == np.repeat(ids, horizon)).all()
        and (block["cutoff"].to_numpy() == np.repeat(cutoffs, horizon)).all()
    )
    if not same:
        raise DataError(
            f"The backtest of {model} has {len(block)} rows on other folds than the"
            f" {len(cutoffs) * horizon} that the series and [backtest] of forecast.toml plan now."
            f" Scores on different folds cannot be compared, so nothing was scored. Run it again:"
            f" dagster asset materialize -m forecast_assets.definitions"
            f" --select backtest_predictions --partition {model}"
        )


def _status(errors: "pd.Series[str]") -> tuple[str, str | None]:
    said = errors.dropna()
    failures = said[[not is_declined(error) for error in said]]
    if len(failures):
        return "failed", f"{len(failures)} of {len(errors)} forecasts: {failures.iloc[0]}"
    return ("ineligible", str(said.iloc[0])) if len(said) else ("scored", None)


def _losses(
    models: Sequence[str], y_hat: Values, planned: Sequence[SeriesFolds], *, horizon: int
) -> dict[str, pd.DataFrame]:
    """Each loss as a frame, series by model."""
    from utilsforecast import losses  # noqa: PLC0415 - only scoring needs it

    ids = np.repeat(
        [one.unique_id for one in planned], [len(one.ends) * horizon for one in planned]
    )
    actual = np.concatenate([_actual(one, horizon).reshape(-1) for one in planned])
    wide = pd.DataFrame({"unique_id": ids, "y": actual, **dict(zip(models, y_hat, strict=True))})
    training = pd.concat(
        pd.DataFrame({"unique_id": one.unique_id, "ds": one.ds, "y": one.y})[: one.ends[0]]
        for one in planned
    )
    found = {}
    for name in LOSSES:
        scale = {"seasonality": 1, "train_df": training} if name in SCALED else {}
        frame = getattr(losses, name)(wide, list(models), **scale).set_index("unique_id")
        found[name] = frame.where(np.isfinite(frame))
    has_zero = (wide["y"] == 0).groupby(wide["unique_id"]).any()
    found["mape"].loc[has_zero.index[has_zero]] = np.nan
    return found


def _interval_scores(
    one: SeriesFolds, y_hat: Values, levels: Sequence[float], *, step: int
) -> dict[str, Values]:
    """Coverage, WIS and the comparison with naive of one series: y_hat [M, K, H] -> name: [M]."""
    y = _actual(one, y_hat.shape[2])  # [K, H]
    errors = np.abs(y_hat - y)  # [M, K, H]
    radii = rolling_radii(np.moveaxis(errors, 0, -1), levels, step=step)  # [L, K, H, M]
    radii = np.moveaxis(radii, -1, 1)  # [L, M, K, H]
    scores = {
        f"coverage_{column_suffix(level)}": _mean(np.where(np.isnan(r), np.nan, errors <= r))
        for level, r in zip(levels, radii, strict=True)
    }
    scores["wis"] = _mean(weighted_interval_score(y, y_hat, radii, levels))
    naive = np.abs(one.y[one.ends - 1][:, None] - y)  # [K, H]
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = 1 - errors.mean(axis=(1, 2)) / naive.mean()
    scores["skill_vs_naive"] = np.where(np.isfinite(skill), skill, np.nan)
    gains = naive.mean(axis=1) - errors.mean(axis=2)  # [M, K]
    scores["p_vs_naive"] = np.array([p_of_gain(gain, horizon=y.shape[1]) for gain in gains])
    return scores


def p_of_gain(gains: Values, *, horizon: int) -> float:
    """The chance of a mean gain this large if the true one were zero: [K] -> 0 to 1, or NaN.

    The one-sided Diebold-Mariano test with the correction of Harvey, Leybourne & Newbold (1997),
    Testing the equality of prediction mean squared errors, eq. 9, against Student's t with K - 1
    degrees of freedom; the long-run variance takes the autocovariances up to horizon - 1.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - only scoring needs it

    n = len(gains)
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n if n else 0.0
    centred = gains - gains.mean() if n else gains
    variance = sum(
        (1 if lag == 0 else 2) * float(centred[lag:] @ centred[: n - lag]) / n
        for lag in range(min(horizon, n))
    )
    if n < 2 or correction <= 0 or not variance > 0:  # noqa: PLR2004 - a t needs two values
        return float("nan")
    statistic = gains.mean() / np.sqrt(variance / n) * np.sqrt(correction)
    return float(stdtr(n - 1, -statistic))


def _actual(one: SeriesFolds, horizon: int) -> NDArray[np.float64]:
    """The values that followed each cutoff: [K, H]."""
    after: Values = one.y[one.ends[:, None] + np.arange(horizon)]
    return after


def _mean(values: Values) -> Values:
    """The mean over folds and weeks ahead of what is known, [M, K, H] -> [M]; NaN where nothing."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=(1, 2))
    total = np.where(known, values, 0.0).sum(axis=(1, 2))
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
