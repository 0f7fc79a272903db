"""Find the ensemble that would have done best on all series in the past weeks.

How ensembles combine their members belongs to `ensembles`.
"""

import numpy as np

from forecast_assets.forecasting import significance
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.models.base import Positions, Values

# The ensembles to choose among. Where nothing tells them apart, the first is used.
RULES = (
    "combination_inverse_error",
    "combination_median",
    "combination_best_subset",
    "combination_best_model",
)
# With fewer weeks a standard error says little; the rules count as equal.
MIN_WEEKS = 8
# A rule is replaced if it is further behind the best than this many standard errors. Of four
# equally good rules, the one in use is so far behind in any week of a year with a probability of
# 5 %; it would be 30 % with two (simulated with independent weeks and 52 folds).
MAX_BEHIND = 3


def errors_behind(results: BacktestResults) -> Values:
    """Return how many standard errors each rule is behind the best, over all weeks: [R]."""
    return errors_behind_best(_weekly_losses(results), overlap=results.weekly.overlap)


def choose_rule(behind: Values, previous: int = 0) -> int:
    """Choose a rule by how many standard errors each is behind the best: [R].

    The previous rule, at first the first one, stays until the best one is better by more than three
    standard errors; then the first one within one standard error of the best replaces it (Breiman,
    Friedman, Olshen & Stone (1984), Classification and regression trees, section 3.4.3).
    """
    return previous if behind[previous] <= MAX_BEHIND else int((behind <= 1).argmax())


def rules_by_week(results: BacktestResults) -> Positions:
    """Return the rule that would have been chosen at each cutoff week: positions in RULES [W].

    A week knows the weeks that were over by then, and the choice of the week before.
    """
    losses, weekly = _weekly_losses(results), results.weekly
    rules = np.zeros(len(weekly.weeks), dtype=np.int64)
    for i, n in enumerate(weekly.n_over(weekly.weeks)):
        behind = errors_behind_best(losses[:, :n], overlap=weekly.overlap)
        rules[i] = choose_rule(behind, int(rules[i - 1]))
    return rules


def _weekly_losses(results: BacktestResults) -> Values:
    """Return each rule's mean error over all series in each week, in units of naive's: [R, W]."""
    names = list(results.models)
    return np.stack([results.weekly.means(results.y_hat[names.index(rule)]) for rule in RULES])


def errors_behind_best(losses: Values, *, overlap: int) -> Values:
    """Return how many standard errors each rule is behind the best: [R, W] -> [R].

    The error of a difference is that of weekly means, because series have good and bad weeks
    together. Targets of `overlap` successive weeks overlap. With few weeks the error is uncertain
    itself: the number is that of a normal variable which is as improbable as Student's t.
    """
    from scipy.special import ndtri, stdtr

    known = losses[:, ~np.isnan(losses).any(axis=0)]
    n_weeks = known.shape[1]
    if n_weeks < MIN_WEEKS:
        return np.zeros(len(losses))
    behind = known - known[known.mean(axis=1).argmin()]
    mean, error = significance.hac_mean_and_error(behind, overlap=overlap)
    tiny = np.finfo(float).tiny
    chance = stdtr(n_weeks - 1, -mean / np.maximum(error, tiny))
    return np.where(mean > 0, -ndtri(np.maximum(chance, tiny)), 0.0)
