"""The recent volatility of series: the size of their changes from week to week, on a scale.

Errors are divided by it, so that calm and lively times and series can be compared (`intervals`).
The further ahead a forecast, the more it is the usual volatility that counts, and the less that of
the latest weeks; so for h weeks ahead it is measured over h times as many.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.forecasting.scales import Scale
from forecast_assets.models.base import Values

# The weight of a weekly change halves in so many weeks, times the weeks ahead; chosen on public
# series (docs/choosing.md).
VOLATILITY_HALF_LIFE = 26
# A change larger than so many usual ones counts as that many; changes of how many weeks are recent.
OUTLIER = 5
OUTLIER_WINDOW = 26
# With fewer changes before it, none is an outlier.
MIN_CHANGES = 8
# Numbers held at once: 32 MB of float64.
CHUNK_SIZE = 4_000_000


def recent_volatility(panel: Sequence[Values], *, horizon: int = 1) -> Iterator[Values]:
    """Yield the exponentially weighted mean size of each series' changes: [n] -> [n, H].

    In the series' unit; 0 until the series first moves, positive from then on. A change is that
    from one real value to the next; a filled week is NaN and keeps the volatility before it.
    """
    is_real = [~np.isnan(y) for y in panel]
    without_gaps = [y[real] for y, real in zip(panel, is_real, strict=True)]
    for values, real in zip(_real_volatility(without_gaps, horizon), is_real, strict=True):
        yield values if real.all() else values[np.cumsum(real) - 1]


def _real_volatility(panel: Sequence[Values], horizon: int) -> Iterator[Values]:
    """Yield the volatility of series without filled weeks."""
    keep = 0.5 ** (1 / (VOLATILITY_HALF_LIFE * np.arange(1, horizon + 1)))  # [H]
    n = np.arange(max(map(len, panel), default=0))[:, None]
    weight = ((1 - keep**n) / (1 - keep))[:, None]  # [n, 1, H]; the first value has no step
    width = max(CHUNK_SIZE // max(weight.size, 1), 1)
    for first in range(0, len(panel), width):
        chunk = panel[first : first + width]
        steps = np.zeros((len(n), len(chunk)))
        for s, y in enumerate(chunk):
            steps[: len(y), s] = np.abs(np.diff(y, prepend=y[:1]))
        total = np.zeros((*steps.shape, horizon))
        for t in range(1, len(total)):
            now = steps[t, :, None]
            if t >= MIN_CHANGES:
                now = _limit_outliers(steps, t, usual=total[t - 1] / weight[t - 1])
            total[t] = now + keep * total[t - 1]
        is_known = weight > 0
        mean = np.divide(total, weight, out=np.zeros(total.shape), where=is_known)
        whole = np.divide(np.cumsum(steps, axis=0), n, out=np.zeros(steps.shape), where=n > 0)
        volatility = np.maximum(mean, 1e-3 * whole[:, :, None])
        yield from (volatility[: len(y), s] for s, y in enumerate(chunk))


def _limit_outliers(steps: Values, t: int, *, usual: Values) -> Values:
    """Return the changes at t, none above OUTLIER times the usual size of changes: [S, H].

    `steps` [n, S] are all changes, `usual` [S, H] are their weighted means before t. Where the
    median of the recent changes other than 0 is larger, that is the usual size: a series that moves
    rarely, or has begun to move more, has no outliers.
    """
    now: Values = np.broadcast_to(steps[t, :, None], usual.shape)
    large = np.flatnonzero((now > OUTLIER * usual).any(axis=1))
    if not len(large):
        return now
    recent = steps[max(t + 1 - OUTLIER_WINDOW, 1) : t + 1, large]
    ranked = np.sort(np.where(recent > 0, recent, np.inf), axis=0)
    middle = ((recent > 0).sum(axis=0) - 1) // 2
    median = ranked[middle, np.arange(len(large))][:, None]
    limited = now.copy()
    limited[large] = np.minimum(now[large], OUTLIER * np.maximum(usual[large], median))
    return limited


def is_non_negative(series: SeriesFolds) -> bool:
    """Tell whether a series has no negative value; filled weeks do not count."""
    return not (series.real_y < 0).any()


def volatility_at_cutoffs(planned: Sequence[SeriesFolds], scale: Scale, *, horizon: int) -> Values:
    """Return the recent volatility of what each fold saw, in the order of the folds: [F, H].

    It is measured on the scale, or on the level where that does not suit the series.
    """
    is_on = [np.array(is_non_negative(folds)) for folds in planned]
    today = [scale.forward(folds.real_y, on) for folds, on in zip(planned, is_on, strict=True)]
    pairs = zip(planned, recent_volatility(today, horizon=horizon), strict=True)
    at_cutoffs = [values[folds.ends - 1] for folds, values in pairs]
    patched = (
        (values, i, scale.forward(folds.real_training(end), on))
        for folds, values, on in zip(planned, at_cutoffs, is_on, strict=True)
        if folds.patches
        for i, end in enumerate(folds.ends.tolist())
        if end in folds.patches
    )
    longest = max((len(y) for y in today), default=1)
    n_at_once = max(CHUNK_SIZE // (longest * horizon), 1)
    while chunk := list(islice(patched, n_at_once)):
        seen = recent_volatility([y for *_, y in chunk], horizon=horizon)
        for (values, i, _), of_fold in zip(chunk, seen, strict=True):
            values[i] = of_fold[-1]
    return np.concatenate([np.zeros((0, horizon)), *at_cutoffs])
