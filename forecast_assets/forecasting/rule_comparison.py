"""Compare what each rule would have published over the past weeks of a backtest.

A rule is an ensemble, or the policy `evidence`, which is one of them each week.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds, split_series
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting import metrics
from forecast_assets.forecasting.backtest_results import BacktestResults, mean_of_known
from forecast_assets.forecasting.eligibility import SCORED
from forecast_assets.forecasting.evidence import RULES, choose_rule, errors_behind, rules_by_week
from forecast_assets.forecasting.weekly_losses import WeeklyLosses
from forecast_assets.models.base import Positions, Values
from forecast_assets.storage.tables import NAIVE

EVIDENCE = "evidence"
WEEKS_A_YEAR = 52
N_RESAMPLES = 2000
# The bounds of the interval of a resampled ratio.
BOUNDS = (0.05, 0.95)


def folds_of(predictions: pd.DataFrame, series: pd.DataFrame) -> list[SeriesFolds]:
    """Return the folds that the forecasts of the first model have, in the order of the series."""
    first = predictions[predictions["model"] == predictions["model"].iloc[0]]
    cutoffs = first.groupby("unique_id")["cutoff"].unique()
    return [
        replace(folds, ends=np.searchsorted(folds.ds, np.sort(cutoffs[folds.unique_id])) + 1)
        if folds.unique_id in cutoffs
        else replace(folds, ends=folds.ends[:0])
        for folds in split_series(series)
    ]


def compare_rules(results: BacktestResults, settings: Settings) -> pd.DataFrame:
    """Return one row for each rule and for naive: what it would have published.

    `results` hold every ensemble. `mase` is the mean over all series and weeks of the absolute
    error, in units of naive's before the first cutoff; `to_naive` its ratio to naive's, with the
    bounds of a 90 % interval by a block bootstrap over weeks (Politis & Romano (1992), A circular
    block-resampling procedure for stationary data). `wis` is the weighted interval score in the
    same unit, `coverage_L` the share of values inside their interval, and `switches_a_year` how
    often a rule changes its ensemble.

    Raises DataError where there is no error to compare, or no naive to compare it with.
    """
    _check(results)
    path = rules_by_week(results)
    compared = _add_evidence(_keep(results, [NAIVE, *RULES]), path)
    now = choose_rule(errors_behind(results), int(path[-1]))
    scores, weekly = metrics.compute(compared, settings), compared.weekly
    losses = np.stack([weekly.means(y_hat) for y_hat in compared.y_hat])
    losses = losses[:, ~np.isnan(losses).any(axis=0)]
    unit = np.where(compared.naive_error() > 0, compared.naive_error(), np.nan)
    low, high = _ratio_bounds(losses, losses[0], block=_block_weeks(losses, weekly))
    coverage = {
        f"coverage_{level}": _share(inside.sum(axis=(1, 2)), n.sum(axis=(1, 2)))
        for level, (inside, n) in scores.coverage.items()
    }
    n_switches = np.zeros(len(losses))
    n_switches[-1] = np.count_nonzero(np.diff(path))
    n_years = max(int(np.ptp(weekly.weeks)), 1) / WEEKS_A_YEAR
    rows = pd.DataFrame(
        {
            "rule": list(compared.models),
            "mase": losses.mean(axis=1),
            "to_naive": losses.mean(axis=1) / losses[0].mean(),
            "to_naive_low": low,
            "to_naive_high": high,
            "wis": mean_of_known(scores.by_series["wis"] / unit, 1),
            **coverage,
            "switches_a_year": n_switches / n_years,
            "n_weeks": losses.shape[1],
            "chosen_now": np.array(compared.models) == RULES[now],
        }
    )
    return rows.sort_values("mase", kind="stable", ignore_index=True)


def _check(results: BacktestResults) -> None:
    if NAIVE not in results.models:
        raise DataError(
            f"The backtest has no forecasts of {NAIVE}, by whose errors those of the rules are"
            f" divided. Nothing was compared. Add it to `models.enabled`, and run a week again."
        )
    of_first = results.y_hat[list(results.models).index(RULES[0])]
    if np.isnan(results.weekly.means(of_first)).all():
        raise DataError(
            "No week of the backtest has a forecast to score on a series that had moved before."
            " Nothing was compared. Run a week on longer series."
        )


def _share(n_inside: Values, n: Values) -> Values:
    return np.asarray(np.divide(n_inside, n, out=np.full(n.shape, np.nan), where=n > 0))


def _keep(results: BacktestResults, names: list[str]) -> BacktestResults:
    """Keep the forecasts of some candidates, in this order."""
    which = [list(results.models).index(name) for name in names]
    return replace(
        results,
        models=names,
        y_hat=results.y_hat[which],
        fit_seconds=results.fit_seconds[which],
        status=results.status[which],
        reason=results.reason[which],
    )


def _add_evidence(results: BacktestResults, path: Positions) -> BacktestResults:
    """Add the forecasts of the rule that was chosen at each cutoff week: [W]."""
    offset = list(results.models).index(RULES[0])
    of_fold = offset + path[results.weekly.position]
    y_hat = results.y_hat[of_fold, np.arange(len(of_fold))]
    is_scored = (results.status[offset:] == SCORED).all(axis=0)
    status = np.where(is_scored, SCORED, results.status[offset])
    return replace(
        results,
        models=[*results.models, EVIDENCE],
        y_hat=np.concatenate([results.y_hat, y_hat[None]]),
        fit_seconds=np.concatenate([results.fit_seconds, results.fit_seconds[offset][None]]),
        status=np.concatenate([results.status, status[None]]),
        reason=np.concatenate([results.reason, results.reason[offset][None]]),
    )


def _block_weeks(losses: Values, weekly: WeeklyLosses) -> int:
    """Return the weeks of a block: the cube root of their number, at least an overlap."""
    n_weeks = losses.shape[1]
    return int(min(max(round(n_weeks ** (1 / 3)), weekly.overlap), n_weeks))


def _ratio_bounds(losses: Values, naive: Values, *, block: int) -> tuple[Values, Values]:
    """Return the bounds of each rule's mean loss over naive's: [R, W] and [W] -> [R], [R]."""
    n_weeks = len(naive)
    rng = np.random.default_rng(0)
    starts = rng.integers(n_weeks, size=(N_RESAMPLES, -(-n_weeks // block)))
    weeks: NDArray[np.int64] = (starts[:, :, None] + np.arange(block)) % n_weeks
    drawn = weeks.reshape(N_RESAMPLES, -1)[:, :n_weeks]
    ratios = losses[:, drawn].sum(axis=2) / naive[drawn].sum(axis=1)
    low, high = np.quantile(ratios, BOUNDS, axis=1)
    return low, high
