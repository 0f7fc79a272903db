"""Backtest predictions to one row of scores for each series and candidate.

Candidates are the models and the combinations of them. Choosing among them does not belong here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_assets.backtest import plan
from forecast_assets.combinations import COMBINATIONS, combined
from forecast_assets.evidence import INELIGIBLE, SCORED, Block, Evidence
from forecast_assets.intervals import rolling_radii, weighted_interval_score
from forecast_assets.models.base import Values
from forecast_assets.settings import Settings
from forecast_assets.tables import column_suffix

LOSSES = ("mae", "rmse", "mape", "smape", "mase", "rmsse", "bias")
SCALED = ("mase", "rmsse")


def score(evidence: Evidence, series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Score every candidate on every series: one row a pair, in the columns of `metrics`.

    Errors are forecast less value. A model is `scored` only where it forecast every planned fold:
    leaving out a bad week must not help it. `failed` and `ineligible` rows carry their reason and
    no scores; so do all of a series that has no week to hold out.
    """
    lone = _without_folds(series, evidence.models, settings)
    return pd.concat([scores(evidence, settings), lone], ignore_index=True)


def gather(predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> Evidence:
    """What every candidate, combinations included, said at every fold.

    Raises DataError where a model's folds are not those that the data and the settings plan.
    """
    return with_combinations(Evidence.of(predictions, series, settings.backtest), settings)


def scores(evidence: Evidence, settings: Settings) -> pd.DataFrame:
    """Score every candidate of the evidence on every series that has folds, as `score` does."""
    shape = (len(evidence.models), len(evidence.planned))
    measured = _losses(evidence)
    for block in evidence.blocks():
        for name, values in _measured(block, evidence, settings).items():
            measured.setdefault(name, np.full(shape, np.nan))[:, block.series] = values
    is_scored = evidence.status == SCORED
    return pd.DataFrame(
        {
            "unique_id": np.tile([one.unique_id for one in evidence.planned], shape[0]),
            "model": np.repeat(evidence.models, shape[1]),
            "n_folds": np.tile(evidence.n_folds, shape[0]),
            **{name: np.where(is_scored, v, np.nan).ravel() for name, v in measured.items()},
            "fit_seconds": evidence.fit_seconds.ravel(),
            "status": evidence.status.ravel(),
            "reason": evidence.reason.ravel(),
        }
    )


def over_all(evidence: Evidence) -> pd.DataFrame:
    """Each candidate over all series that it is scored on, by weeks ahead: a row a pair.

    `h` is 1 up to the horizon; errors are over the series' naive error before the first cutoff, so
    `mase` and `bias` are the means of what a series has there.
    """
    scale = evidence.naive_error()
    shape = (len(evidence.models), len(scale), evidence.y.shape[1])
    size, signed = np.full(shape, np.nan), np.full(shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for block in evidence.blocks():
            scaled = block.errors / scale[block.series, None, None]
            size[:, block.series] = np.abs(scaled).mean(axis=2)
            signed[:, block.series] = scaled.mean(axis=2)
    counts = np.isfinite(size) & (evidence.status == SCORED)[:, :, None]
    n, horizon = counts.sum(axis=1), shape[2]  # [C, H]
    with np.errstate(invalid="ignore"):
        mase, bias = (np.where(counts, one, 0.0).sum(axis=1) / n for one in (size, signed))
    return pd.DataFrame(
        {
            "model": np.repeat(evidence.models, horizon),
            "h": np.tile(np.arange(1, horizon + 1), shape[0]),
            "n_series": n.ravel(),
            "mase": mase.ravel(),
            "bias": bias.ravel(),
        }
    ).sort_values(["h", "mase"], ignore_index=True, kind="stable")


def with_combinations(evidence: Evidence, settings: Settings) -> Evidence:
    """The evidence, and what combinations of its models would have said, beside it."""
    names = list(COMBINATIONS)
    y_hat = np.full((len(names), *evidence.y.shape), np.nan)
    for block in evidence.blocks():
        said = combined(block, names, behind=settings.backtest.behind)
        for i, name in enumerate(names):
            y_hat[i, block.folds] = said[name]
    is_any = (evidence.status == SCORED).any(axis=0)
    shape = (len(names), len(is_any))
    return evidence.joined(
        replace(
            evidence,
            models=names,
            y_hat=y_hat,
            fit_seconds=np.zeros(shape),
            status=np.broadcast_to(np.where(is_any, SCORED, INELIGIBLE), shape).astype(object),
            reason=np.broadcast_to(np.array([NO_MEMBER, None])[is_any.astype(int)], shape),
        )
    )


NO_MEMBER = "no model forecast every fold"


def _losses(evidence: Evidence) -> dict[str, Values]:
    """Each loss: [C, S]."""
    from utilsforecast import losses  # noqa: PLC0415 - only scoring needs it

    horizon, models = evidence.y.shape[1], list(evidence.models)
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


def _training(evidence: Evidence) -> pd.DataFrame:
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


def _measured(block: Block, evidence: Evidence, settings: Settings) -> dict[str, Values]:
    """What a loss does not tell: coverage, WIS, the comparison with naive; each [C, S]."""
    horizon, levels = settings.backtest.horizon, settings.forecast.levels
    errors = np.abs(block.errors)  # [C, S, K, H]
    radii = rolling_radii(errors, block.noise, levels, step=settings.backtest.step)
    scores = {
        f"coverage_{column_suffix(level)}": _mean(np.where(np.isnan(r), np.nan, errors <= r))
        for level, r in zip(levels, radii, strict=True)
    }
    wis = weighted_interval_score(block.y, block.y_hat, radii, levels)
    scores["wis"] = _mean(wis)
    naive = np.abs(block.last[:, :, None] - block.y).mean(axis=2)  # [S, K]
    mae = errors.mean(axis=3)  # [C, S, K]
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = 1 - mae.mean(axis=2) / naive.mean(axis=1)
    scores["skill_vs_naive"] = np.where(np.isfinite(skill), skill, np.nan)
    scores["p_vs_naive"] = p_of_gain(naive - mae, horizon=horizon)
    scores["standard_error"] = _standard_error(block, evidence, wis, settings)
    return scores


def _standard_error(block: Block, evidence: Evidence, wis: Values, settings: Settings) -> Values:
    """The standard error of the settings' metric: [C, S]."""
    metric, horizon = settings.selection.metric, settings.backtest.horizon
    error = np.abs(block.errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "wis":
            terms = wis[:, :, _first_known(wis) :]
        elif metric == "mape":
            terms = error / np.abs(block.y)
        elif metric == "smape":
            terms = error / (np.abs(block.y_hat) + np.abs(block.y))
        else:
            terms = error**2 if metric in ("rmse", "rmsse") else error
        mean, spread = mean_and_error(terms.mean(axis=3), horizon=horizon)
        if metric in ("rmse", "rmsse"):
            spread = spread / (2 * np.sqrt(mean))  # the delta method: of a root
        if metric in SCALED:
            spread = spread / evidence.naive_error(is_squared=metric == "rmsse")[block.series]
    return np.where(np.isfinite(spread), spread, np.nan)


def mean_and_error(terms: Values, *, horizon: int) -> tuple[Values, Values]:
    """The mean over folds and its standard error: [..., K] -> [...]; NaN for fewer than two.

    Forecasts of `horizon` weeks overlap, so the variance takes the autocovariances up to
    horizon - 1 (Diebold & Mariano (1995), Comparing predictive accuracy, eq. 5), and where they
    make it negative, none of them.
    """
    n = terms.shape[-1]
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return terms.sum(axis=-1), np.full(terms.shape[:-1], np.nan)
    mean = terms.mean(axis=-1)
    centred = terms - mean[..., None]
    alone = (centred * centred).mean(axis=-1)
    variance = alone.copy()
    for lag in range(1, min(horizon, n)):
        variance += 2 * (centred[..., lag:] * centred[..., : n - lag]).sum(axis=-1) / n
    return mean, np.sqrt(np.where(variance > 0, variance, alone) / n)


def p_of_gain(gains: Values, *, horizon: int) -> Values:
    """The chance of a mean gain this large if the true one were zero: [..., K] -> [...], or NaN.

    The one-sided Diebold-Mariano test with the correction of Harvey, Leybourne & Newbold (1997),
    Testing the equality of prediction mean squared errors, eq. 9, against Student's t with K - 1
    degrees of freedom.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - only scoring needs it

    n = gains.shape[-1]
    mean, error = mean_and_error(gains, horizon=horizon)
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n if n else 0.0
    is_testable = (error > 0) & (correction > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / error * np.sqrt(max(correction, 0.0))
    return np.where(is_testable, stdtr(max(n - 1, 1), -statistic), np.nan)


def _mean(values: Values) -> Values:
    """The mean over folds and weeks ahead of what is known, [C, S, K, H] -> [C, S]; else NaN."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=(2, 3))
    total = np.where(known, values, 0.0).sum(axis=(2, 3))
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)


def _first_known(wis: Values) -> int:
    """The first fold from which on every score that is known at all is known."""
    some = ~np.isnan(wis).any(axis=(0, 1, 3))
    return int(some.argmax()) if some.any() else wis.shape[2]


def _without_folds(series: pd.DataFrame, models: Sequence[str], settings: Settings) -> pd.DataFrame:
    """The rows of series that have no week to hold out."""
    lone = [one.unique_id for one in plan(series, settings.backtest) if not len(one.ends)]
    return pd.DataFrame(
        {
            "unique_id": np.repeat(lone, len(models)),
            "model": np.tile(models, len(lone)),
            "n_folds": 0,
            "fit_seconds": 0.0,
            "status": INELIGIBLE,
            "reason": "the series has no week to hold out",
        }
    )
