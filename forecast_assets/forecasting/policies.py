"""Rules of choice: from the scores of those who compete on a series to one of them, and why.

Which tables scores come from and a choice goes to: `selection`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.config.settings import SelectionSettings
from forecast_assets.forecasting.backtest_results import comparable_candidates_and_series
from forecast_assets.models.base import Positions, Values

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Candidates:
    """Who competes: S series, C candidates from the simplest on.

    `incumbent` is the last choice, NOBODY where there is none that competes; `n_beaten` in how many
    of the choices just before it was beaten by the margin, and stayed.
    """

    names: Sequence[str]  # [C]
    scores: Values  # [S, C]; NaN where a candidate does not compete
    standard_errors: Values  # [S, C]; of the scores, NaN where there is but one fold
    incumbent: Positions  # [S]
    n_beaten: Positions  # [S]

    @property
    def least(self) -> Positions:
        """The candidate of the least score, of equals the simplest: [S]."""
        return _least(self.scores)

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Where nobody competes: [S]."""
        empty: NDArray[np.bool_] = np.asarray(np.isnan(self.scores).all(axis=1))
        return empty

    def runner_up(self, chosen: Positions) -> Positions:
        """The least score beside the chosen one's: [S]; NOBODY where there is none."""
        others = self.scores.copy()
        others[np.arange(len(chosen)), chosen] = np.nan
        found: Positions = np.where(np.isnan(others).all(axis=1), NOBODY, _least(others))
        return found

    def of(self, values: Values, which: Positions) -> Values:
        """A value of one candidate for each series: [S]; NaN for NOBODY."""
        found: Values = np.where(which == NOBODY, np.nan, values[np.arange(len(which)), which])
        return found

    def as_one(self, is_eligible: NDArray[np.bool_]) -> Self:
        """All series as a single one, its scores the means over series: S = 1.

        Which series count: `evidence.in_common`. Who failed on one of them does not compete. Series
        are taken for independent, so the squares of their standard errors add up.
        """
        usual, counts = comparable_candidates_and_series(is_eligible)
        n = max(int(counts.sum()), 1)
        scores = np.where(usual, self.scores[counts].sum(axis=0) / n, np.nan)
        squares = np.nan_to_num(self.standard_errors[counts]) ** 2
        last = self.incumbent[self.incumbent != NOBODY]
        stays = int(np.bincount(last).argmax()) if len(last) else NOBODY
        stays = NOBODY if np.isnan(scores[stays]) else stays
        n_beaten = self.n_beaten[self.incumbent == stays].max(initial=0)
        return type(self)(
            self.names,
            scores[None, :] if counts.any() else np.full((1, len(usual)), np.nan),
            np.sqrt(squares.sum(axis=0))[None, :] / n,
            np.array([stays]),
            np.array([n_beaten]),
        )


Chosen = tuple[Positions, Sequence[str]]  # a candidate for each series; why, where not the least
Policy = Callable[[Candidates, SelectionSettings], Chosen]


def best(field: Candidates, settings: SelectionSettings) -> Chosen:
    """Choose the least score."""
    del settings
    return field.least, [""] * len(field.scores)


def one_standard_error(field: Candidates, settings: SelectionSettings) -> Chosen:
    """Choose the simplest whose score lies within one standard error of the least.

    Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees, section 3.4.3.
    """
    del settings
    least = field.least
    error = np.nan_to_num(field.of(field.standard_errors, least))
    within = field.scores <= (field.of(field.scores, least) + error)[:, None]
    chosen: Positions = np.where(field.is_empty, least, within.argmax(axis=1))
    return chosen, [
        "" if c == b else f"is the simplest within one standard error ({e:.3g}) of the least"
        for c, b, e in zip(chosen, least, error, strict=True)
    ]


def incumbent(field: Candidates, settings: SelectionSettings) -> Chosen:
    """Keep the last choice until it is beaten by the margin as many times as patience has it."""
    least = field.least
    stays = np.where(field.incumbent == NOBODY, least, field.incumbent)
    beaten = is_beaten(field.of(field.scores, stays), field.of(field.scores, least), settings)
    times = np.where(beaten, field.n_beaten + 1, 0)
    chosen = np.where(times >= settings.patience, least, stays)
    why = [
        ""
        if c == b
        else f"stays, beaten by {settings.margin:.0%} or more in {n} of {settings.patience} weeks"
        if n
        else f"stays, beaten by less than {settings.margin:.0%}"
        for c, b, n in zip(chosen, least, times, strict=True)
    ]
    return chosen, why


def combination(field: Candidates, settings: SelectionSettings) -> Chosen:
    """Choose the combination that the settings name."""
    least, at = field.least, list(field.names).index(settings.combination)
    chosen = np.where(np.isnan(field.scores[:, at]), least, at)
    return chosen, [
        "" if c == b else "is the combination of the settings"
        for c, b in zip(chosen, least, strict=True)
    ]


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {one.__name__: one for one in (best, one_standard_error, incumbent, combination)}
)


def is_beaten(score: Values, least: Values, settings: SelectionSettings) -> NDArray[np.bool_]:
    """Whether the least score lies below a score by the margin, a share of it: [S]."""
    beaten: NDArray[np.bool_] = (least < score) & (least <= score - settings.margin * np.abs(score))
    return beaten


def _least(scores: Values) -> Positions:
    found: Positions = np.where(np.isnan(scores), np.inf, scores).argmin(axis=1)
    return found
