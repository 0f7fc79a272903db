"""How much of a week a source gave: its days that are there, of those that are usual.

Half a week must not be taken for a whole one. What a week's value is made of is for `series`.
"""

import numpy as np
from numpy.typing import NDArray

WEEKS = 52  # that the usual number of days is taken from
SHARE = 0.1  # of them may have fewer days: holidays, and series that do not sell every day
# A daily source with five short weeks a year keeps all of its days, one with rows on two days here
# and four there is asked for the fewer.

FEWEST = 4  # weeks before the newest; of fewer nothing can be called usual, and all are whole

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def covered(series: Ints, nth_week: Ints, n_days: Ints, n_days_of_all: Ints) -> Floats:
    """The coverage of each week of each series: its days with a value, of the usual ones.

    The first three are a week each, ascending by series and, within it, by week; `n_days_of_all`
    is, by week, on how many days any series has a value. Usual are the days that nine in ten of
    the last 52 weeks before the newest reach, or those of a year ago where they are fewer; a week
    has 1 at most. Where a series has several
    days in any week, its coverage is no more than that of all series taken as one.
    """
    share = _of_usual(series, nth_week, n_days)
    there = np.flatnonzero(n_days_of_all)
    of_all = np.ones(len(n_days_of_all))
    of_all[there] = _of_usual(np.zeros(len(there), dtype=int), there, n_days_of_all[there])
    starts = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    is_finer = np.maximum.reduceat(n_days, starts) > 1
    return np.where(is_finer[series], np.minimum(share, of_all[nth_week]), share)


def _of_usual(series: Ints, nth_week: Ints, n_days: Ints) -> Floats:
    """Each week's days of the usual ones, 1 at most; `series` ascends, and weeks within each.

    Of a week that had fewer a year ago, give or take a week, those are usual: a holiday's.
    """
    nth_last = np.cumsum(np.bincount(series))[series] - 1 - np.arange(len(series))
    is_judged = (nth_last >= 1) & (nth_last <= WEEKS)
    judged, n = series[is_judged], n_days[is_judged]
    ranked = n[np.lexsort((n, judged))]
    counts = np.bincount(judged, minlength=series.max(initial=0) + 1)
    is_known = counts >= FEWEST
    places = np.cumsum(counts) - counts + (SHARE * (counts - 1)).astype(np.int64)
    of_series = np.ones(len(counts))
    of_series[is_known] = ranked[places[is_known]]
    usual = of_series[series]
    width = int(nth_week.max(initial=0)) + 1
    cell = series * width + nth_week
    for ago in (WEEKS - 1, WEEKS, WEEKS + 1):
        place = np.searchsorted(cell, cell - ago).clip(max=len(cell) - 1)
        is_there = (cell[place] == cell - ago) & (nth_week >= ago)
        usual = np.where(is_there, np.minimum(usual, n_days[place]), usual)
    shares: Floats = np.minimum(1.0, n_days / usual)
    return shares
