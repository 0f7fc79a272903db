"""Bound what a series can plausibly do next, by its own past.

A forecast beyond the bounds is a fault of its model, however well the model scored in the backtest:
a diverging fit, a wrong unit, a constant. What to do about it belongs to `fallback`.

The bounds are the recent range, extended by a multiple of the usual change over so many weeks and
by the latest trend. The scale of a series whose changes grow with its level is logarithmic. A
series that was never negative has no negative forecast. A value of ten times all others is no
evidence of what may come: as the newest one until another week confirms it, as a past one unless it
may return after a season.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.data.quality.comparison import format_value
from forecast_assets.forecasting.backtest_results import mean_of_known
from forecast_assets.models.base import Values

RECENT_WEEKS = 104
# A newest value this many times all others, of at least so many, does not count if it changed by
# this multiple of the largest change before.
ISOLATED_FACTOR, ISOLATED_JUMP, MIN_OTHERS = 10.0, 2.0, 12
# Usual changes that a forecast may lie beyond the recent range, and from the last value.
N_BEYOND, N_FROM_LAST = 0.75, 4.0
# Weeks of the latest trend, and the multiple of it that may continue.
TREND_WEEKS, N_TRENDS = 4, 2.0
# With n changes known, bounds are wider by this number over n.
SHORT = 8.0
# The smallest usual change, as a share of the level.
MIN_CHANGE = 0.02
# The largest usual change within a week, as a multiple of the level.
MAX_FACTOR = 2.0


@dataclass(frozen=True, eq=False)
class PlausibleRange:
    """The lowest and the highest plausible value of S series, 1 to H weeks ahead."""

    low: Values  # [S, H]
    high: Values  # [S, H]

    @classmethod
    def of(cls, panel: Sequence[Values], *, horizon: int, season_length: int) -> Self:
        """Bound the weeks after the last one of each series, in the series' unit."""
        recent = _tails(panel, max(RECENT_WEEKS, 2 * season_length) + 1)
        lowest, highest = (np.array([end(y) for y in panel]) for end in (np.min, np.max))
        # A series that was never positive is judged upside down.
        sign = np.where((lowest < 0) & (highest <= 0), -1.0, 1.0)[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            known = _without_isolated_newest(sign * recent)
            known = _without_isolated_past(known, season_length, horizon)
            low, high = _bounds(known, horizon)
        has_one_sign = ((lowest >= 0) | (highest <= 0))[:, None]
        low = np.where(has_one_sign, np.maximum(low, 0.0), low)
        return cls(np.where(sign < 0, -high, low), np.where(sign < 0, -low, high))

    def problem(self, series: int, y_hat: Values) -> str | None:
        """Describe the first value of a forecast [H] of a series that is not plausible."""
        low, high = self.low[series], self.high[series]
        for h in np.flatnonzero((y_hat < low) | (y_hat > high))[:1]:
            is_below = y_hat[h] < low[h]
            side, end, bound = ("below", "lowest", low) if is_below else ("above", "highest", high)
            return (
                f"forecast {format_value(y_hat[h])}, {side} {format_value(bound[h])}, the {end}"
                f" plausible value {h + 1} week{'s' * bool(h)} ahead"
            )
        return None


def _tails(panel: Sequence[Values], n: int) -> Values:
    """Return the last n values of each series, NaN before its first: [S, n]."""
    tails = np.full((len(panel), n), np.nan)
    for row, y in zip(tails, panel, strict=True):
        row[n - min(len(y), n) :] = y[-n:]
    return tails


def _without_isolated_newest(recent: Values) -> Values:
    """Repeat the value before the newest one where that is far from all others: [S, n]."""
    others, newest = recent[:, :-1], recent[:, -1]
    low, high = np.fmin.reduce(others, axis=1), np.fmax.reduce(others, axis=1)
    largest = np.fmax.reduce(np.abs(others), axis=1)
    size, changes = np.abs(newest), np.abs(np.diff(recent, axis=1))
    is_isolated = size > ISOLATED_FACTOR * largest
    is_isolated |= ((newest < 0) & (low >= 0)) | ((newest > 0) & (high <= 0))
    is_isolated &= changes[:, -1] > ISOLATED_JUMP * np.fmax.reduce(changes[:, :-1], axis=1)
    is_isolated &= (np.sum(~np.isnan(others), axis=1) >= MIN_OTHERS) & (largest > 0)
    recent[is_isolated, -1] = recent[is_isolated, -2]
    return recent


def _without_isolated_past(recent: Values, season_length: int, horizon: int) -> Values:
    """Repeat the value before one that is ten times all others: [S, n].

    Not if it may return in the weeks to forecast, a season after it and a week earlier or later.
    """
    size = np.abs(recent)
    largest = np.nan_to_num(size, nan=-1.0).argmax(axis=1)
    rows = np.arange(len(size))
    others = size.copy()
    others[rows, largest] = np.nan
    n_ago = size.shape[1] - largest
    may_return = (n_ago <= season_length + 1) & (n_ago >= season_length - horizon)
    is_isolated = size[rows, largest] > ISOLATED_FACTOR * np.fmax.reduce(others, axis=1)
    is_isolated &= (np.sum(~np.isnan(others), axis=1) >= MIN_OTHERS) & ~may_return & (largest > 0)
    is_isolated &= np.fmax.reduce(others, axis=1) > 0
    before = recent[rows, largest - 1]
    recent[rows[is_isolated], largest[is_isolated]] = before[is_isolated]
    return recent


def _is_multiplicative(recent: Values) -> NDArray[np.bool_]:
    """Tell which positive series change more where their level is high: [S, n] -> [S].

    Changes grow with a power of the level that follows from its mean in the upper and the lower
    half of the weeks (Guerrero 1993, Time-series analysis supported by power transformations, with
    two groups); above one half, a logarithm makes them more alike than no transformation.
    """
    is_positive = ~(recent <= 0).any(axis=1)
    level = (recent[:, 1:] + recent[:, :-1]) / 2
    change = np.abs(np.diff(recent, axis=1))
    is_high = level > mean_of_known(level, axis=1)[:, None]
    (high_level, high_change), (low_level, low_change) = (
        [mean_of_known(np.where(half, values, np.nan), axis=1) for values in (level, change)]
        for half in (is_high, ~is_high)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log(high_change / low_change) / np.log(high_level / low_level)
    return np.asarray(is_positive & (power > 1 / 2))


def _is_count(recent: Values) -> NDArray[np.bool_]:
    """Tell which series are whole numbers from 0 on: [S, n] -> [S]."""
    is_whole = (recent >= 0) & (recent == np.round(recent)) | np.isnan(recent)
    return np.asarray(is_whole.all(axis=1))


def _bounds(recent: Values, horizon: int) -> tuple[Values, Values]:
    """Return the lowest and the highest plausible value of each series: [S, n] -> [S, H] each."""
    is_log, is_count = _is_multiplicative(recent), _is_count(recent)
    scaled = np.where(is_log[:, None], np.log(recent), recent)
    count_low, count_high = _within(recent, lambda level: np.where(is_count, np.sqrt(level), 0.0))
    smallest = np.fmin.reduce(recent, axis=1)
    least = np.where(smallest > 0, smallest / ISOLATED_FACTOR, -np.inf)
    low, high = np.empty((2, len(recent), horizon))
    for h, change in enumerate(_usual_changes(scaled, is_log, horizon=horizon)):
        ends = _within(scaled, _always(change))
        trends = [_trend(recent, h + 1), _trend(scaled, h + 1)]
        below, above, trend = (np.where(is_log, np.exp(end), end) for end in (*ends, trends[1]))
        lowest = np.fmax(np.fmin(below, count_low), least)
        low[:, h] = np.fmin.reduce([lowest, trends[0], trend])
        high[:, h] = np.fmax.reduce([above, count_high, trends[0], trend])
    return low, high


def _within(values: Values, change: Callable[[Values], Values]) -> tuple[Values, Values]:
    """Return the ends of the range and of what usual changes make of the last value: [S] each.

    `change` returns the usual change at a level, [S] -> [S].
    """
    bottom, top = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    last = values[:, -1]
    low = np.fmin(bottom - N_BEYOND * change(bottom), last - N_FROM_LAST * change(last))
    high = np.fmax(top + N_BEYOND * change(top), last + N_FROM_LAST * change(last))
    return low, high


def _always(change: Values) -> Callable[[Values], Values]:
    return lambda _: change


def _trend(values: Values, h: int) -> Values:
    """Return the value that the latest trend leads to in h weeks, with twice its slope: [S]."""
    slope = mean_of_known(np.diff(values[:, -TREND_WEEKS - 1 :], axis=1), axis=1)
    return values[:, -1] + N_TRENDS * h * slope


def _usual_changes(scaled: Values, is_log: NDArray[np.bool_], *, horizon: int) -> Iterator[Values]:
    """Yield the mean size of changes over 1 to `horizon` weeks, wider for a short past: [S]."""
    least = MIN_CHANGE * np.where(is_log, 1.0, mean_of_known(np.abs(scaled), axis=1))
    usual, n_known = np.full(len(scaled), np.nan), np.ones(len(scaled))
    for h in range(1, horizon + 1):
        changes = np.abs(scaled[:, h:] - scaled[:, :-h])
        n = np.sum(~np.isnan(changes), axis=1)
        # Where the past is shorter, the usual change is taken to grow with the weeks.
        usual = np.where(n > 0, mean_of_known(changes, axis=1), usual * h / max(h - 1, 1))
        n_known = np.where(n > 0, n, n_known)
        most = np.where(is_log, np.log(MAX_FACTOR) * np.sqrt(h), np.inf)
        change = (1 + SHORT / n_known) * np.minimum(np.maximum(usual, least), most)
        # A single week has no unit to measure a change in; a series of zeros for long changes by 1.
        yield np.where(change > 0, change, np.where(n_known >= MIN_OTHERS, 1.0, np.inf))
