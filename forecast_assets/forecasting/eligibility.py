"""Decide where models compete: their status on a series, and the series to compare them on.

Scores belong to `metrics`, choosing to `selection`.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import (
    NOT_FOR,
    TOO_SHORT,
    SeriesFolds,
    is_declined,
    possible_ends,
)
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.errors import format_list
from forecast_assets.models.base import Values
from forecast_assets.storage.table_rules import STATUSES

SCORED, FAILED, INELIGIBLE, TOO_FEW = STATUSES
# Where a candidate could be compared with others: it may have failed.
ELIGIBLE = (SCORED, FAILED)
# With so many scores a mean absolute error is within a half of the true one in 19 of 20 cases.
MIN_REAL_WEEKS = 8
# A model competes with the folds since the series was long enough for it: half of the planned ones,
# or so many. Half a year holds the turn of a season.
MAX_COMPETING_FOLDS = 26
# How the column `reason` ends where a series is too short: differently for each series.
HAS = re.compile(r" and has (them at )?\d.*$")
# How the column `reason` of a model that failed on a series begins.
N_FAILED = re.compile(r"^\d+ of \d+ forecasts: ")


def competing_text(outcomes: Sequence[tuple[str, str | None]]) -> str:
    """Say on how many series a model competes, and why not on the others: the status and reason.

    For example: "0 of 21 series: needs 104 weeks".
    """
    text = f"{sum(status != INELIGIBLE for status, _ in outcomes)} of {len(outcomes)} series"
    reasons = [needs_text(str(reason)) for status, reason in outcomes if status == INELIGIBLE]
    return f"{text}: {format_list(dict.fromkeys(reasons), limit=2)}" if reasons else text


def needs_text(reason: str) -> str:
    """Return what a model needs: the reason why it does not suit a series, without its length."""
    text = HAS.sub("", reason.removeprefix(TOO_SHORT).removeprefix(NOT_FOR))
    return re.sub(r"\b(?:it )?needs (\d+) values\b", r"needs \1 weeks", text)


def too_few_weeks(folds: SeriesFolds, backtest: BacktestSettings) -> str | None:
    """Return why a series has too few real weeks for scores; None if filled weeks took none."""
    if not folds.is_filled.any():
        return None
    n_possible = len(possible_ends(len(folds.y), backtest)[-backtest.n_windows :])
    n_real, n_needed = folds.n_real_targets(backtest.horizon), min(MIN_REAL_WEEKS, n_possible)
    if n_real >= n_needed:
        return None
    n_filled, n_weeks = int(folds.is_filled.sum()), len(folds.y)
    distances = np.diff(np.flatnonzero(~folds.is_filled))
    usual = int(np.median(distances)) if len(distances) >= n_needed else 0
    remedy = f"; values are {usual} weeks apart, so set `backtest.horizon` to {usual}"
    return (
        f"{n_real} week{'s' * (n_real != 1)} can be scored and {n_needed} are needed: {n_filled} of"
        f" {n_weeks} weeks were filled{remedy if usual > backtest.horizon else ''}"
    )


def status_of(errors: NDArray[np.object_]) -> tuple[str, str | None]:
    """Return the status of a model on a series and its reason, from the errors of its folds: [K].

    Folds before the series was long enough for the model do not count, if enough are left.
    """
    n_short = next((k for k, error in enumerate(errors) if not _is_too_short(error)), len(errors))
    n_left, messages = len(errors) - n_short, [error for error in errors[n_short:] if error]
    failures = [error for error in messages if not is_declined(error)]
    if failures:
        return FAILED, f"{len(failures)} of {n_left} forecasts: {failures[0]}"
    if messages:
        return INELIGIBLE, str(messages[0])
    if n_left < folds_needed(len(errors)):
        return INELIGIBLE, _too_short_for_most(str(errors[0]), n_left, len(errors))
    return SCORED, None


def folds_needed(n_planned: int) -> int:
    """Return on how many of the planned folds a model must be able to forecast to compete."""
    return min(MAX_COMPETING_FOLDS, -(-n_planned // 2))


def _too_short_for_most(error: str, n_left: int, n: int) -> str:
    """Return why a model does not compete, from the error of its first fold: all, or most of n."""
    if n_left == 0:
        return error
    needed = HAS.sub("", error.removeprefix(TOO_SHORT))
    return f"too short for most folds: {needed} and has them at {n_left} of {n}"


def _is_too_short(error: str | None) -> bool:
    return error is not None and error.startswith(TOO_SHORT)


def comparable_candidates_and_series(
    is_eligible: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the candidates to compare over series, and the series: [S, C] -> [C], [S].

    Eligibility decides, not failure: the candidates that are eligible on most series that have any,
    and the series on which all of these are eligible.
    """
    is_open = is_eligible.any(axis=1)
    usual = is_eligible[is_open].sum(axis=0) * 2 > is_open.sum()
    return usual, is_eligible[:, usual].all(axis=1) & usual.any()


def pivot_scores(metrics: pd.DataFrame, column: str, candidates: Sequence[str]) -> Values:
    """Return a column of `metrics`: [S, C], by name of the series; NaN where not scored."""
    return _pivot(metrics, metrics[column].where(metrics["status"] == SCORED), candidates)


def pivot_eligible(metrics: pd.DataFrame, candidates: Sequence[str]) -> NDArray[np.bool_]:
    """Return where candidates could be compared in `metrics`: [S, C], by name of the series."""
    is_eligible = metrics["status"].isin(ELIGIBLE)
    return np.asarray(_pivot(metrics, is_eligible, candidates) == 1)


def _pivot(metrics: pd.DataFrame, values: "pd.Series[Any]", candidates: Sequence[str]) -> Values:
    table = metrics.assign(value=values).pivot(index="unique_id", columns="model", values="value")
    return table.reindex(columns=list(candidates)).to_numpy(dtype=np.float64)
