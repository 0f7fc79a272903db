"""Backtest predictions to one row of scores for each series and candidate.

Candidates are the models and the combinations of them. Choosing among them does not belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import plan
from forecast_assets.config.settings import Settings, column_suffix
from forecast_assets.forecasting.backtest_results import (
    INELIGIBLE,
    SCORED,
    BacktestResults,
    SeriesBlock,
)
from forecast_assets.forecasting.ensembles import COMBINATIONS, add_ensembles
from forecast_assets.forecasting.intervals import ErrorPool, half_widths, weighted_interval_score
from forecast_assets.forecasting.significance import (
    diebold_mariano_pvalue,
    hac_mean_and_error,
    model_confidence_set,
)
from forecast_assets.models.base import Values

LOSSES = ("mae", "rmse", "mape", "smape", "mase", "rmsse", "bias")
SCALED = ("mase", "rmsse")


def collect(predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> BacktestResults:
    """What every candidate, combinations included, said at every fold.

    Raises DataError where a model's folds are not those that the data and the settings plan.
    """
    evidence = BacktestResults.of(predictions, series, settings)
    return add_ensembles(evidence, COMBINATIONS, behind=settings.backtest.overlap)


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured of C candidates, on S series, and over W weeks."""

    by_series: dict[str, Values]  # [C, S] each; NaN where a candidate is not scored
    may_be_best: NDArray[np.bool_]  # [C, S]; as in `comparing`
    n_inside: dict[str, Values]  # [C, W, H] each, by level: values that lay in their interval
    n_intervals: dict[str, Values]  # [C, W, H] each: forecasts that had one


def compute(evidence: BacktestResults, settings: Settings) -> Scores:
    """Measure every candidate of the evidence on every series that has folds."""
    shape = (len(evidence.models), len(evidence.planned))
    is_scored = evidence.status == SCORED
    weeks = np.unique(evidence.weeks)
    pools = [evidence.pools(c, weeks) for c in range(shape[0])]
    names = [column_suffix(level) for level in settings.forecast.levels]
    horizon = settings.backtest.horizon
    n_inside, n_intervals = np.zeros((2, len(names), shape[0], len(weeks), horizon))
    others = ["wis", "skill_vs_naive", "p_vs_naive", "standard_error"]
    others += [f"coverage_{name}" for name in names]
    found = {**_losses(evidence), **{name: np.full(shape, np.nan) for name in others}}
    is_in = np.zeros(shape, dtype=bool)
    for block in evidence.blocks():
        at = np.searchsorted(weeks, block.weeks)
        widths = _rolling_radii(block, [[pool.at(at) for pool in one] for one in pools], settings)
        for name, values in _measured(block, evidence, widths, settings).items():
            found[name][:, block.series] = values
        errors = np.where(block.is_scored[:, :, None, None], np.abs(block.errors), np.nan)
        is_in[:, block.series] = model_confidence_set(
            errors.mean(axis=3), overlap=settings.backtest.overlap
        )
        known = ~np.isnan(widths) & block.is_scored[:, :, None, None]  # [L, C, S, K, H]
        n_inside[:, :, at] += (known & (np.abs(block.errors) <= widths)).sum(axis=2)
        n_intervals[:, :, at] += known.sum(axis=2)
    return Scores(
        {name: np.where(is_scored, values, np.nan) for name, values in found.items()},
        is_in,
        dict(zip(names, n_inside, strict=True)),
        dict(zip(names, n_intervals, strict=True)),
    )


def to_frame(
    evidence: BacktestResults, scores: Scores, series: pd.DataFrame, settings: Settings
) -> pd.DataFrame:
    """Lay the scores out, one row a candidate and series, in the columns of `metrics`.

    Errors are forecast less value. A model is `scored` only where it forecast every planned fold:
    leaving out a bad week must not help it. `failed` and `ineligible` rows carry their reason and
    no scores; so do all of a series that has no week to hold out.
    """
    shape = evidence.status.shape
    scored = pd.DataFrame(
        {
            "unique_id": np.tile([one.unique_id for one in evidence.planned], shape[0]),
            "model": np.repeat(evidence.models, shape[1]),
            "n_folds": np.tile(evidence.n_folds, shape[0]),
            **{name: values.ravel() for name, values in scores.by_series.items()},
            "may_be_best": scores.may_be_best.ravel(),
            "fit_seconds": evidence.fit_seconds.ravel(),
            "status": evidence.status.ravel(),
            "reason": evidence.reason.ravel(),
        }
    )
    lone = _without_folds(series, evidence.models, settings)
    return pd.concat([scored, lone], ignore_index=True)


def _losses(evidence: BacktestResults) -> dict[str, Values]:
    """Each loss of K folds and H weeks ahead on each series: [C, S]; e is forecast less value y.

    mae = mean |e|; rmse = sqrt(mean e^2); bias = mean e;
    mape = mean |e / y|, null where any y is 0;
    smape = mean |e| / (|forecast| + |y|), 0 where both are (Makridakis (1993), Accuracy measures,
    without its factor of 2: 0 to 1);
    mase = mae over the mean |y_t - y_(t-1)| before the first cutoff (Hyndman & Koehler (2006),
    Another look at measures of forecast accuracy, section 3, with one week for the season);
    rmsse = rmse over the root of the mean squared (y_t - y_(t-1)) there (Makridakis, Spiliotis &
    Assimakopoulos (2022), M5 accuracy competition, eq. 1). Both null where that is 0.
    """
    from utilsforecast import losses  # noqa: PLC0415 - only scoring needs it

    horizon, models = evidence.y.shape[1], list(evidence.models)
    if not evidence.planned:
        return dict.fromkeys(LOSSES, np.zeros((len(models), 0)))
    which = np.repeat(np.arange(len(evidence.planned)), evidence.n_folds * horizon)
    y = evidence.y.reshape(-1)
    said = dict(zip(models, evidence.y_hat.reshape(len(models), -1), strict=True))
    wide = pd.DataFrame({"unique_id": which, "y": y, **said})
    training = _training(evidence)
    found = {}
    for name in LOSSES:
        scale = {"seasonality": 1, "train_df": training} if name in SCALED else {}
        values = getattr(losses, name)(wide, models, **scale)[models].to_numpy(dtype=np.float64).T
        found[name] = np.where(np.isfinite(values), values, np.nan)
    found["mape"][:, np.unique(which[y == 0])] = np.nan
    return found


def _training(evidence: BacktestResults) -> pd.DataFrame:
    """Each series up to its first cutoff."""
    sizes = [int(one.ends[0]) for one in evidence.planned]
    parts = list(zip(evidence.planned, sizes, strict=True))
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(sizes)), sizes),
            "ds": np.concatenate([one.ds[:size] for one, size in parts]),
            "y": np.concatenate([one.y[:size] for one, size in parts]),
        }
    )


def _rolling_radii(
    block: SeriesBlock, pools: Sequence[Sequence[ErrorPool]], settings: Settings
) -> Values:
    """The radius that each candidate's interval would have had at each fold: [L, C, S, K, H]."""
    sizes = np.abs(block.errors)
    found = [
        half_widths(
            size,
            block.recent_volatility,
            block.weeks,
            settings.forecast.levels,
            pool,
            at=block.weeks,
            noise_then=block.recent_volatility,
        )
        for size, pool in zip(sizes, pools, strict=True)
    ]
    return np.stack(found, axis=1)


def _measured(
    block: SeriesBlock, evidence: BacktestResults, widths: Values, settings: Settings
) -> dict[str, Values]:
    """What a loss does not tell: coverage, WIS, the comparison with others; each [C, S]."""
    overlap, levels = settings.backtest.overlap, settings.forecast.levels
    errors = np.abs(block.errors)  # [C, S, K, H]
    scores = {
        f"coverage_{column_suffix(level)}": _mean(np.where(np.isnan(r), np.nan, errors <= r))
        for level, r in zip(levels, widths, strict=True)
    }
    wis = _known_to_all(weighted_interval_score(block.y, block.y_hat, widths, levels), block)
    scores["wis"] = _mean(wis)
    naive = np.abs(block.last[:, :, None] - block.y).mean(axis=2)  # [S, K]
    mae = errors.mean(axis=3)  # [C, S, K]
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = 1 - mae.mean(axis=2) / naive.mean(axis=1)
    scores["skill_vs_naive"] = np.where(np.isfinite(skill), skill, np.nan)
    scores["p_vs_naive"] = diebold_mariano_pvalue(naive - mae, overlap=overlap)
    scores["standard_error"] = _standard_error(block, evidence, wis, settings)
    return scores


def _known_to_all(scores: Values, block: SeriesBlock) -> Values:
    """Null on a fold that is not known of every candidate that competes: [C, S, K, H].

    How early a candidate has an interval depends on what it did elsewhere, and must not help it.
    """
    missing = np.isnan(scores) & block.is_scored[:, :, None, None]
    known = np.asarray(~missing.any(axis=(0, 3)))  # [S, K]
    return np.where(known[:, :, None], scores, np.nan)


def _standard_error(
    block: SeriesBlock, evidence: BacktestResults, wis: Values, settings: Settings
) -> Values:
    """The standard error of the settings' metric: [C, S]."""
    metric, error = settings.selection.metric, np.abs(block.errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "wis":
            terms = wis
        elif metric == "mape":
            terms = error / np.abs(block.y)
        elif metric == "smape":
            size = np.abs(block.y_hat) + np.abs(block.y)
            terms = np.where(size == 0, 0.0, error / size)
        else:
            terms = error**2 if metric in ("rmse", "rmsse") else error
        terms = terms.mean(axis=3)  # [C, S, K]
        mean, spread = np.full((2, *terms.shape[:2]), np.nan)
        patterns, which = np.unique(~np.isnan(terms).all(axis=0), axis=0, return_inverse=True)
        for i, known in enumerate(patterns):
            rows = np.flatnonzero(which.reshape(-1) == i)
            of_them = terms[:, rows][:, :, known]
            mean[:, rows], spread[:, rows] = hac_mean_and_error(
                of_them, overlap=settings.backtest.overlap
            )
        if metric in ("rmse", "rmsse"):
            spread = spread / (2 * np.sqrt(mean))  # the delta method: of a root
        if metric in SCALED:
            spread = spread / evidence.naive_error(is_squared=metric == "rmsse")[block.series]
    return np.where(np.isfinite(spread), spread, np.nan)


def _mean(values: Values) -> Values:
    """The mean over folds and weeks ahead of what is known, [C, S, K, H] -> [C, S]; else NaN."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=(2, 3))
    total = np.where(known, values, 0.0).sum(axis=(2, 3))
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)


def _without_folds(series: pd.DataFrame, models: Sequence[str], settings: Settings) -> pd.DataFrame:
    """The rows of series that have no week to hold out."""
    lone = [one.unique_id for one in plan(series, settings.backtest) if not len(one.ends)]
    return pd.DataFrame(
        {
            "unique_id": np.repeat(lone, len(models)),
            "model": np.tile(models, len(lone)),
            "n_folds": 0,
            "may_be_best": False,
            "fit_seconds": 0.0,
            "status": INELIGIBLE,
            "reason": "the series has no week to hold out",
        }
    )
