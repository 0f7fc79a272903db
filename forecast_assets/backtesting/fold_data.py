"""What the model of a fit sees of the panel: values and regressors up to a cutoff.

`fitting` runs the model.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from forecast_assets.backtesting.folds import FitUnit
from forecast_assets.backtesting.panel import Panel

FoldId = tuple[int, int]  # the index of a series, and how many of its values the model sees


class LocalData:
    """One series; a cutoff is a number of values. The model may modify what it gets: a copy.

    `seen_at` is the cutoff whose fold sees the values.
    """

    def __init__(self, panel: Panel, unit: FitUnit) -> None:
        self._panel, self._series, self._folds = panel, unit.series, unit.folds

    def steps(self) -> Iterator[tuple[int, list[FoldId]]]:
        """Yield each cutoff with its folds."""
        for fold in self._folds:
            yield fold[1], [fold]

    def size(self, cutoff: int) -> int:
        """Return how many values the longest series has at a cutoff."""
        return cutoff

    def between(self, after: int | None, upto: int, *, seen_at: int) -> Any:
        """Return the values after a cutoff up to another one, as the fold `seen_at` sees them."""
        return self._panel.training(self._series, seen_at)[after:upto]

    def regressors(self, after: int | None, upto: int, *, seen_at: int, n_ahead: int = 0) -> Any:
        """Return the rows between two cutoffs, or those of the weeks ahead of the second."""
        return self._panel.x[self._series].seen(seen_at, after or 0, upto + n_ahead)

    def no_regressors(self, after: int | None, upto: int, *, n_ahead: int) -> Any:
        """Return regressors without columns."""
        return np.empty((upto + n_ahead - (after or 0), 0))

    def rows(self, y_hat: Any, *_: object) -> Any:
        """Return a forecast for each fold: [folds, h]."""
        return y_hat[None]


class GlobalData:
    """All series; a cutoff is the number of a day."""

    def __init__(self, panel: Panel, unit: FitUnit) -> None:
        self._panel, self._folds = panel, unit.folds

    def steps(self) -> Iterator[tuple[int, list[FoldId]]]:
        """Yield each cutoff with its folds."""
        by_day = sorted((int(self._panel.day(*fold).astype(int)), fold) for fold in self._folds)
        for day, pairs in groupby(by_day, key=lambda pair: pair[0]):
            yield day, [fold for _, fold in pairs]

    def size(self, cutoff: int) -> int:
        """Return how many values the longest series has at a cutoff."""
        return int(self._sizes(cutoff).max())

    def between(self, after: int | None, upto: int, *, seen_at: int) -> Any:
        """Return the values after a cutoff up to another one, as the fold `seen_at` sees them."""
        sizes = self._sizes(upto)
        first = np.zeros_like(sizes) if after is None else self._sizes(after)
        return self._panel.frame(first, sizes, seen_at=self._sizes(seen_at))

    def regressors(self, after: int | None, upto: int, *, seen_at: int, n_ahead: int = 0) -> Any:
        """Return a row for each of `between`; of the weeks ahead, an array for each series."""
        sizes = self._sizes(upto)
        first = np.zeros_like(sizes) if after is None else self._sizes(after)
        spans = zip(self._panel.x, self._sizes(seen_at), first, sizes, strict=True)
        seen = [x.seen(int(end), a, b + n_ahead) for x, end, a, b in spans if b]
        return np.stack(seen) if n_ahead else np.concatenate(seen)

    def no_regressors(self, after: int | None, upto: int, *, n_ahead: int) -> Any:
        """Return regressors without columns."""
        sizes = self._sizes(upto)
        if n_ahead:
            return np.empty(((sizes > 0).sum(), n_ahead, 0))
        n_before = 0 if after is None else self._sizes(after).sum()
        return np.empty((sizes.sum() - n_before, 0))

    def rows(self, y_hat: Any, cutoff: int, folds: Sequence[FoldId]) -> Any:
        """Return a forecast for each fold: [folds, h]."""
        has_begun = self._sizes(cutoff) > 0
        if len(y_hat) != has_begun.sum():
            raise ValueError(f"{len(y_hat)} forecasts for {has_begun.sum()} series")
        row = np.cumsum(has_begun) - 1
        return y_hat[row[[series for series, _ in folds]]]

    def _sizes(self, day: int) -> Any:
        return self._panel.sizes_at(np.datetime64(day, "D"))
