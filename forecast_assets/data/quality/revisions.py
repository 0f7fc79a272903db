"""What became of the weeks that the version before had: new, gone, revised, moved, rescaled.

Whether values are likely in themselves: `values`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from forecast_assets.data.quality.comparison import Floats, Ints, Mask, VersionComparison, is_close
from forecast_assets.data.quality.finding import (
    Finding,
    make_finding,
    named,
    number,
    percent,
    pluralize,
)

HALF = 0.5  # of the compared values: more are no revision, but another history
LEAST = 8  # values that are compared before a history is called another one, moved or rescaled
NEARLY_ALL = 0.9
SAME = 0.005  # how far the ratios of rescaled values may lie apart: they are rounded
FIRST = 3  # values that are written out
MONTH = 4  # weeks
YEAR = 52  # weeks that a window keeps at least
MATERIAL = 0.005  # of a value: a lesser change is rounding, or a revision
NO_FACTOR = 0.02  # a factor closer to 1 is a revision


@dataclass(frozen=True, eq=False)
class Revisions:
    """What the two versions say of the same weeks; [N] over the weeks of now, [S] over series."""

    beside: VersionComparison

    @cached_property
    def was(self) -> Floats:
        """What the version before gave for each week: [N]."""
        return self.beside.was_at()

    @cached_property
    def is_compared(self) -> Mask:
        """Where both versions give the week: [N]."""
        is_both: Mask = self.beside.now.is_given & ~np.isnan(self.was)
        return is_both

    @cached_property
    def is_changed(self) -> Mask:
        """Where they give other values: [N]."""
        is_other: Mask = self.is_compared & ~is_close(self.beside.now.y, self.was)
        return is_other

    def counts(self, mask: Mask) -> Ints:
        """In how many weeks of each series a mask is set: [S]."""
        return np.add.reduceat(mask, self.beside.now.starts[:-1], dtype=np.int64)

    @cached_property
    def is_moved(self) -> Mask:
        """Which series carry, under each week, what the version before had a week earlier: [S]."""
        before = self.beside.was_at(weeks_before=1)
        tells = self.is_compared & ~np.isnan(before) & ~is_close(before, self.was)
        n, n_moved = self.counts(tells), self.counts(tells & is_close(self.beside.now.y, before))
        is_moved: Mask = (n >= LEAST) & (n_moved >= NEARLY_ALL * n)
        return is_moved

    @cached_property
    def factor(self) -> Floats:
        """By which each series was multiplied as a whole; NaN where it was not: [S]."""
        now = self.beside.now
        tells = self.is_compared & ((now.y != 0) | (self.was != 0))
        n = self.counts(tells)
        is_candidate = (n >= LEAST) & (self.counts(tells & self.is_changed) >= NEARLY_ALL * n)
        factors = np.full(len(now.ids), np.nan)
        if not is_candidate.any():
            return factors
        at = tells & is_candidate[now.of_series]
        ratio = pd.Series(now.y[at] / self.was[at])
        of = now.of_series[at]
        middle = ratio.groupby(of).transform("median").to_numpy()
        n_same = np.bincount(of[np.abs(ratio - middle) <= SAME * np.abs(middle)], minlength=len(n))
        factors[of] = middle
        is_one = (n_same >= NEARLY_ALL * n) & (np.abs(factors - 1) > NO_FACTOR) & (factors != 0)
        return np.where(is_one & np.isfinite(factors), factors, np.nan)


def new_weeks(history: Revisions) -> list[Finding]:
    """Tell which weeks came."""
    now, was = history.beside.now, history.beside.was
    if not len(was.ids):
        said = (
            f"The first version: {pluralize(len(now.ids), 'series', 'series')}, weeks ending"
            f" {now.day(now.first.min())} to {now.day(now.newest)}."
        )
        return make_finding("new_week", len(now.ids), (), said)
    at = history.beside.in_was
    n = np.where(at >= 0, now.last - was.last[at], 0)
    came = n > 0
    if not came.any():
        return []
    first, last = int((now.last - n + 1)[came].min()), int(now.last[came].max())
    weeks = (
        f"The week ending {now.day(last)} is new"
        if first == last
        else f"The weeks ending {now.day(first)} to {now.day(last)} are new"
    )
    of = f"{int(came.sum()):,} of {pluralize(len(now.ids), 'series', 'series')}"
    return make_finding("new_week", int(came.sum()), now.ids[came], f"{weeks}, of {of}.")


def unchanged(history: Revisions) -> list[Finding]:
    """Tell that nothing differs."""
    now, was = history.beside.now, history.beside.was
    is_same = len(now.y) == len(was.y) and history.beside.is_known.all()
    said = (
        f"Every value of {pluralize(len(now.ids), 'series', 'series')} is that of the previous"
        f" version: the source has nothing new since. What is made of it stays as it is."
    )
    return make_finding("unchanged", int(is_same), (), said)


def rewritten_or_revised(history: Revisions) -> list[Finding]:
    """Tell of values that the version before gave otherwise.

    A series of which half the compared weeks, of 8 at least, differ by more than rounding is
    rewritten; others are revised. A history that was moved by a week, or multiplied, is told as
    that alone.
    """
    now = history.beside.now
    is_told = (history.is_moved | ~np.isnan(history.factor))[now.of_series]
    is_changed = history.is_changed & ~is_told
    if not is_changed.any():
        return []
    scale = np.where(history.was == 0, np.abs(now.y), np.abs(history.was))
    is_material = is_changed & (np.abs(now.y - history.was) > MATERIAL * scale)
    n_compared = history.counts(history.is_compared)
    is_rewritten = (n_compared >= LEAST) & (history.counts(is_material) >= HALF * n_compared)
    at_large = is_changed & is_rewritten[now.of_series]
    then = (
        "That is no revision: it is another history, and models would be judged by it. Ask the"
        " source whether it means these values."
    )
    rewritten = _changed("rewritten", history, at_large, then)
    then = (
        "From there on the weeks are backtested again. `forecast-assets diff series` lists every"
        " one."
    )
    return rewritten + _changed("revised", history, is_changed & ~at_large, then)


def _changed(kind: str, history: Revisions, is_changed: Mask, then: str) -> list[Finding]:
    now, n = history.beside.now, int(is_changed.sum())
    if not n:
        return []
    ids = now.ids[np.unique(now.of_series[is_changed])]
    y, was = now.y[is_changed], history.was[is_changed]
    change = np.abs(y - was) / np.where(was == 0, np.abs(y), np.abs(was))
    first = [
        f"{now.ids[now.of_series[i]]} / {now.day(now.week[i])} ({number(history.was[i])}, now"
        f" {number(now.y[i])})"
        for i in np.flatnonzero(is_changed)[:FIRST]
    ]
    more = f" and {n - len(first):,} more" if n > len(first) else ""
    what = (
        f"{n:,} of {pluralize(int(history.is_compared.sum()), 'value')} that the previous version"
        f" had, of {pluralize(len(ids), 'series', 'series')}, are others now, by"
        f" {percent(float(np.median(change)))} in the middle and {percent(float(change.max()))} at"
        f" most: {', '.join(first)}{more}."
    )
    return make_finding(kind, n, ids, what, then)


def moved(history: Revisions) -> list[Finding]:
    """Tell of series whose whole history stands under the week after."""
    ids = history.beside.now.ids[history.is_moved]
    what = (
        f"{pluralize(len(ids), 'series', 'series')} of {len(history.beside.now.ids):,} carry, under"
        f" each week, the value that the previous version had a week earlier: {named(ids)}."
    )
    then = "Old data came under new dates. Ask the source for the week that is missing."
    return make_finding("repeated", len(ids), ids, what, then)


def rescaled(history: Revisions) -> list[Finding]:
    """Tell of series whose whole history was multiplied."""
    is_scaled = ~np.isnan(history.factor)
    ids = history.beside.now.ids[is_scaled]
    told = [f"{one} ({f:.4g})" for one, f in zip(ids, history.factor[is_scaled], strict=True)]
    what = (
        f"Nearly every value of {pluralize(len(ids), 'series', 'series')} is that of the previous"
        f" version times one factor: {named(told)}."
    )
    then = (
        "The unit changed, or the history was revised as a whole. Ask the source which; the next"
        " week has to be in the same unit."
    )
    return make_finding("rescaled", len(ids), ids, what, then)


def shrunk(history: Revisions, *, n_passed: int, is_zero: bool = False) -> list[Finding]:
    """Tell of weeks that are gone; at the front so many may be as have passed since.

    Where a week without rows is a zero (`is_zero`), one inside a series is revised, not gone.
    """
    now, was, at = history.beside.now, history.beside.was, history.beside.in_now
    if not len(was.ids):
        return []
    of = at[was.of_series]
    places = now.places(of, was.week)
    is_gone = was.is_given & (of >= 0) & ((places < 0) | ~(is_zero | now.is_given[places]))
    is_front = is_gone & (was.week < now.first[of])
    n_front = np.add.reduceat(is_front, was.starts[:-1], dtype=np.int64)
    n_rolled = np.maximum(n_passed, now.last[at] - was.last)
    # A window that is cut on one day for all, such as the first of a month, skips some weeks.
    cut = now.first[at[n_front > 0]]
    is_cut = len(cut) > 0 and (cut == cut[0]).all() and now.newest - cut[0] >= YEAR
    is_rolled = n_front <= n_rolled + (MONTH if is_cut else 0)
    is_lost = is_gone & ~(is_front & is_rolled[was.of_series])
    n = np.add.reduceat(is_lost, was.starts[:-1], dtype=np.int64)
    ids = was.ids[n > 0]
    if not len(ids):
        return []
    told = [f"{one} ({k:,})" for one, k in zip(ids, n[n > 0], strict=True)]
    weeks = was.week[is_lost]
    what = (
        f"{pluralize(int(n.sum()), 'week')} that the previous version had, from the one ending"
        f" {was.day(weeks.min())} to {was.day(weeks.max())}, are gone, of"
        f" {pluralize(len(ids), 'series', 'series')}: {named(told)}."
    )
    then = (
        "The source was cut off, or gave a part of its rows. Look whether it is whole, and run the"
        " week again."
    )
    return make_finding("shrunk", int(n.sum()), ids, what, then)


def new_series(beside: VersionComparison) -> list[Finding]:
    """Tell of series that the version before had not."""
    ids = beside.now.ids[(beside.in_was < 0) & (len(beside.was.ids) > 0)]
    what = f"{pluralize(len(ids), 'series', 'series')} that the previous version had not: {named(ids)}."
    then = (
        "They are forecast from now on. Where one is an old series under another name, its past"
        " stays with the old one."
    )
    return make_finding("new_series", len(ids), ids, what, then)


def vanished_series(beside: VersionComparison) -> list[Finding]:
    """Tell of series that only the version before had."""
    ended = beside.was.last < beside.now.first.min()  # and left a window that rolled on
    ids = beside.was.ids[(beside.in_now < 0) & ~ended]
    what = (
        f"{len(ids):,} of {pluralize(len(beside.was.ids), 'series', 'series')} of the previous"
        f" version are gone: {named(ids)}."
    )
    then = (
        "They would get no forecast. Where they have ended, or you read another source now, that"
        " is right; else ask the source."
    )
    return make_finding("vanished_series", len(ids), ids, what, then)


def late(
    beside: VersionComparison, *, due: int, was_due: int | None, partial: Sequence[str]
) -> list[Finding]:
    """Tell of weeks that should be there: where the source is further behind than it was.

    `due` is the newest week that is over, `was_due` what it was for the version before. A source
    that is always a week behind is told once. Series of which the newest week is there in part
    are left to that finding.
    """
    now, was = beside.now, beside.was
    n_behind = due - now.newest
    n_was = 0 if was_due is None or not len(was.ids) else max(0, was_due - was.newest)
    if n_behind > n_was and not (partial and n_behind == 1):
        what = (
            f"The source is {pluralize(n_behind, 'week')} behind: its newest week ends"
            f" {now.day(now.newest)}, and the one ending {now.day(due)} is over."
        )
        then = (
            "What is forecast as next week has begun or passed. See why the source is late, and"
            " run the week again once it has caught up."
        )
        return make_finding("late", n_behind, (), what, then)
    if not len(was.ids) or now.newest <= was.newest:
        return []
    at = beside.in_was
    was_last = was.last[at]
    lags = (at >= 0) & (was_last == was.newest) & (now.last >= was_last) & (now.last < now.newest)
    ids = np.array([one for one in now.ids[lags] if one not in set(partial)], dtype=object)
    what = (
        f"{pluralize(len(ids), 'series', 'series')} of {len(now.ids):,} have no value for the week"
        f" ending {now.day(now.newest)}, and were up to date in the previous version: {named(ids)}."
    )
    then = "What is forecast of them is for an earlier week. Ask the source for what is missing."
    return make_finding("late", len(ids), ids, what, then)
