"""Choose a candidate for each series by its scores: the policies of `[selection]`.

Where the scores come from, and the words of `best_model`, belong to `selection`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.config.settings import SelectionSettings
from forecast_assets.forecasting.eligibility import comparable_candidates_and_series
from forecast_assets.models.base import Positions, Values

NO_CANDIDATE = -1


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores of C candidates, the simplest first, on S series; lower is better."""

    names: Sequence[str]  # [C]
    scores: Values  # [S, C]; NaN where a candidate does not compete
    standard_errors: Values  # [S, C]; of the scores, NaN where there is a single fold
    # [C]; of the mean error over all series, as a share of it
    panel_errors: Values
    incumbent: Positions  # [S]; last week's choice, or NO_CANDIDATE where it does not compete
    n_beaten: Positions  # [S]; of the preceding choices, how many kept a beaten incumbent

    @property
    def best(self) -> Positions:
        """The candidate with the lowest score, the simplest of equals: [S]."""
        return _argmin(self.scores)

    def runner_up(self, chosen: Positions) -> Positions:
        """Return the best candidate except the chosen one, or NO_CANDIDATE: [S]."""
        others = self.scores.copy()
        others[np.arange(len(chosen)), chosen] = np.nan
        return np.where(np.isnan(others).all(axis=1), NO_CANDIDATE, _argmin(others))

    def select(self, values: Values, candidates: Positions) -> Values:
        """Pick one candidate's value for each series: [S, C], [S] -> [S]; NaN for NO_CANDIDATE."""
        picked = values[np.arange(len(candidates)), candidates]
        return np.where(candidates == NO_CANDIDATE, np.nan, picked)

    def pooled(self, is_eligible: NDArray[np.bool_]) -> Self:
        """Treat all series as a single one whose scores are the means over series: S = 1.

        `comparable_candidates_and_series` decides which series count. A candidate that failed on
        one of them does not compete. The standard error is that of weekly means over all series,
        because series have good and bad weeks together.
        """
        usual, counts = comparable_candidates_and_series(is_eligible)
        n = max(int(counts.sum()), 1)
        scores = np.where(usual, self.scores[counts].sum(axis=0) / n, np.nan)
        incumbents = self.incumbent[self.incumbent != NO_CANDIDATE]
        kept = int(np.bincount(incumbents).argmax()) if len(incumbents) else NO_CANDIDATE
        kept = NO_CANDIDATE if np.isnan(scores[kept]) else kept
        n_beaten = self.n_beaten[self.incumbent == kept].max(initial=0)
        return type(self)(
            self.names,
            scores[None, :] if counts.any() else np.full((1, len(usual)), np.nan),
            (np.abs(scores) * self.panel_errors)[None, :],
            self.panel_errors,
            np.array([kept]),
            np.array([n_beaten]),
        )


# A candidate for each series, and why it is chosen where it is not the best.
Choice = tuple[Positions, Sequence[str]]
Policy = Callable[[Candidates, SelectionSettings], Choice]


def best(candidates: Candidates, settings: SelectionSettings) -> Choice:
    """Choose the lowest score."""
    del settings
    return candidates.best, ()


def one_standard_error(candidates: Candidates, settings: SelectionSettings) -> Choice:
    """Choose the simplest candidate within one standard error of the lowest score.

    Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees, section 3.4.3.
    """
    del settings
    lowest = candidates.best
    error = np.nan_to_num(candidates.select(candidates.standard_errors, lowest))
    limit = candidates.select(candidates.scores, lowest) + error
    is_within = candidates.scores <= limit[:, None]
    chosen = np.where(np.isnan(limit), lowest, is_within.argmax(axis=1))
    reason = "is the simplest within one standard error ({:.3g}) of the lowest"
    return chosen, [reason.format(size) for size in error]


def incumbent(candidates: Candidates, settings: SelectionSettings) -> Choice:
    """Keep last week's choice until it was beaten by `margin` for `patience` weeks."""
    lowest = candidates.best
    kept = np.where(candidates.incumbent == NO_CANDIDATE, lowest, candidates.incumbent)
    score, best_score = (candidates.select(candidates.scores, c) for c in (kept, lowest))
    n_weeks = np.where(is_beaten(score, best_score, settings), candidates.n_beaten + 1, 0)
    chosen = np.where(n_weeks >= settings.patience, lowest, kept)
    margin, patience = f"{settings.margin:.0%}", settings.patience
    return chosen, [
        f"is kept, beaten by {margin} or more in {n} of {patience} weeks"
        if n
        else f"is kept, beaten by less than {margin}"
        for n in n_weeks
    ]


def combination(candidates: Candidates, settings: SelectionSettings) -> Choice:
    """Choose the combination that the settings name."""
    lowest, named = candidates.best, list(candidates.names).index(settings.combination)
    chosen = np.where(np.isnan(candidates.scores[:, named]), lowest, named)
    return chosen, ["is used for every series, as the settings say"] * len(chosen)


def evidence(candidates: Candidates, settings: SelectionSettings) -> Choice:
    """Choose the combination that did best on all series, which `choose` puts into the settings."""
    chosen, reasons = combination(candidates, settings)
    reason = "is the ensemble with the lowest error over all series, or not clearly behind it"
    return chosen, [reason] * len(reasons)


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        policy.__name__: policy
        for policy in (best, one_standard_error, incumbent, combination, evidence)
    }
)


def is_beaten(score: Values, lowest: Values, settings: SelectionSettings) -> NDArray[np.bool_]:
    """Return whether the lowest score is below a score by the margin, a share of it: [S]."""
    limit = score - settings.margin * np.abs(score)
    return np.asarray((lowest < score) & (lowest <= limit))


def _argmin(values: Values) -> Positions:
    return np.asarray(np.where(np.isnan(values), np.inf, values).argmin(axis=1))
