"""Pool the errors that one model made on all series, for the intervals of each of them.

Errors come here as scores: divided by the volatility at their own cutoffs. A series whose scores
were larger than those of the panel will have larger ones again, so that each score is divided by
the size that was to be expected of its series too. How scores become intervals belongs to
`intervals`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from forecast_assets.models.base import Positions, Values

# Chosen on public series (docs/choosing.md): the weight of an error falls by 1 % a week.
WEEKLY_DECAY = 0.99
# A series' mean score is drawn towards that of the panel, which counts as so many of its own.
PANEL_MEAN_WEIGHT = 16
# For the size to expect of the next one, an error above so many usual changes is an outlier, which
# counts as that many; a usual change of h weeks is sqrt(h) times that of a week.
OUTLIER = 5
POOL_POINTS = 50
# The shares of the pool's weight up to its points, from a point at 0 on: densest at the largest.
POOL_SHARES = 1 - (1 - np.arange(POOL_POINTS + 1) / POOL_POINTS) ** 2


def weights_by_age(age: Positions) -> Values:
    """Return the weights of errors that are so many weeks old; of a negative age above 1."""
    return np.asarray(WEEKLY_DECAY ** age.astype(np.float64))


def scale_errors(abs_errors: Values, volatility: Values) -> Values:
    """Divide errors by the volatility at their cutoff: [...], [...] -> [...].

    Where a series had never moved, an error is infinite, and a zero error stays zero. A NaN stays.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(abs_errors == 0, 0.0, abs_errors / volatility)


@dataclass(frozen=True, eq=False)
class ErrorPool:
    """The scores of many series known at each of T weeks, summarized by weighted quantiles."""

    points: Values  # [T, POOL_POINTS]; quantiles at POOL_SHARES[1:], 0 without scores
    weight: Values  # [T]; their total weight
    n_effective: Values  # [T]; how many scores of equal weight would say as much

    @classmethod
    def from_scores(cls, scores: Values, weeks: Positions, at_weeks: Positions, *, h: int) -> Self:
        """Pool n scores of h weeks ahead, made at cutoffs `weeks` [n], as known at T `at_weeks`.

        Weeks are counted from any common day. A score that is NaN does not count.
        """
        is_known = ~np.isnan(scores)
        scores, weeks = scores[is_known], weeks[is_known]
        n_weeks = len(at_weeks)
        points, (weight, n_effective) = np.zeros((n_weeks, POOL_POINTS)), np.zeros((2, n_weeks))
        order = np.argsort(scores, kind="stable")
        ranked, made = scores[order], weeks[order]
        newest = max(at_weeks, default=0)
        weights = weights_by_age(newest - made)
        for t, week in enumerate(at_weeks):
            known = np.where(week - made >= h, weights, 0.0)
            cumulative = np.cumsum(known)
            if len(cumulative) and cumulative[-1] > 0:
                weight[t] = cumulative[-1] * weights_by_age(week - newest)
                n_effective[t] = cumulative[-1] ** 2 / (known @ known)
                # Between two scores the weight is spread evenly: few scores are no steps.
                shares = np.append(0.0, cumulative[known > 0] / cumulative[-1])
                points[t] = np.interp(POOL_SHARES[1:], shares, np.append(0.0, ranked[known > 0]))
        return cls(points, weight, n_effective)

    def at_weeks(self, positions: Positions) -> Self:
        """Select some of the pool's weeks by position."""
        return type(self)(
            self.points[positions], self.weight[positions], self.n_effective[positions]
        )


@dataclass(frozen=True, eq=False)
class PanelErrors:
    """What was known of the scores of the whole panel, for each of H weeks ahead."""

    weeks: Positions  # [W], ascending
    means: Values  # [W, H]; the weighted mean score known then, 0 where there is none
    pool_weeks: Positions  # [T], ascending
    pools: Sequence[ErrorPool]  # [H]; of scores over the size that was to be expected

    @classmethod
    def from_scores(
        cls,
        blocks: Iterable[tuple[Values, Positions]],
        at_weeks: Positions,
        *,
        horizon: int,
    ) -> Self:
        """Summarize blocks of scores [S, K, H] made at cutoffs [K], as known at T ascending weeks.

        A score that is NaN does not count.
        """
        every = [*blocks, (np.zeros((0, 0, horizon)), np.zeros(0, dtype=np.int64))]
        weeks = np.unique(np.concatenate([at_weeks, *(made for _, made in every)]))
        total, weight = np.zeros((2, len(weeks), horizon))
        for scores, made in every:
            of_series, weights = known_sums(scores, made, weeks)
            total, weight = total + of_series.sum(axis=0), weight + weights.sum(axis=0)
        means = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        panel = cls(weeks, means, at_weeks, ())
        relative = [
            (scores / panel.expected_size(scores, made, made)).reshape(-1, horizon)
            for scores, made in every
        ]
        cutoffs = [np.broadcast_to(made, scores.shape[:2]).ravel() for scores, made in every]
        pooled, all_made = np.concatenate(relative), np.concatenate(cutoffs)
        pools = [
            ErrorPool.from_scores(pooled[:, h], all_made, at_weeks, h=h + 1) for h in range(horizon)
        ]
        return replace(panel, pools=pools)

    def expected_size(self, scores: Values, weeks: Positions, at_weeks: Positions) -> Values:
        """Return the size to expect of each series' scores over the panel's: -> [S, T, H].

        It is the mean of the series' scores [S, K, H], made at cutoffs [K], as known at T weeks of
        the panel, drawn towards the mean over the panel; 1 where that is not known or 0.
        """
        position = np.searchsorted(self.weeks, at_weeks)
        mean = np.where(self.means[position] > 0, self.means[position], np.nan)
        total, weight = known_sums(scores, weeks, at_weeks)
        size = (total / mean + PANEL_MEAN_WEIGHT) / (weight + PANEL_MEAN_WEIGHT)
        return np.where(np.isnan(size), 1.0, size)


def known_sums(scores: Values, weeks: Positions, at_weeks: Positions) -> tuple[Values, Values]:
    """Sum the weighted scores [S, K, H] that are known at T weeks, and their weights: [S, T, H].

    A score made at cutoff `weeks` [K] is known once its target week is over. None counts as more
    than an outlier, and one that is NaN does not count.
    """
    is_known = ~np.isnan(scores)
    limited = np.minimum(scores, OUTLIER * np.sqrt(np.arange(1, scores.shape[2] + 1)))
    newest = max(at_weeks, default=0)
    weights = weights_by_age(newest - weeks)[:, None]
    known = np.stack([np.where(is_known, limited, 0.0), is_known]) * weights
    cumulative = np.pad(np.cumsum(known, axis=2), ((0, 0), (0, 0), (1, 0), (0, 0)))
    since = weights_by_age(at_weeks - newest)
    sums = [
        cumulative[:, :, np.searchsorted(weeks, at_weeks - h - 1, side="right"), h] * since
        for h in range(scores.shape[2])
    ]
    total, weight = np.stack(sums, axis=-1)
    return total, weight
