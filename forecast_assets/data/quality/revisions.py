"""Compare the weeks of two versions: which are new, missing, late, revised, shifted or rescaled.

Whether new values are plausible in themselves: `value_checks`.
"""

from collections.abc import Collection, Sequence

import numpy as np

from forecast_assets.data.quality.comparison import MIN_COMPARED, VersionComparison, format_change
from forecast_assets.data.quality.finding import Finding, about_series, about_weeks, make_finding

REWRITTEN_SHARE = 0.5  # of the compared values of a series
MATERIAL_CHANGE = 0.005  # of a value: smaller changes are rounding or revisions
# A window cut on one day for all, such as the first of a month, may lose a few weeks more than
# have passed, if a year remains.
EXTRA_WEEKS, MIN_WINDOW_WEEKS = 4, 52


def new_week(comparison: VersionComparison) -> list[Finding]:
    """Find weeks that are new to series of the previous version."""
    new, old = comparison.new, comparison.old
    if not len(old.ids):
        first, last = new.day(new.first_week.min()), new.day(new.newest_week)
        return make_finding("new_week/first", n=len(new.ids), first=first, last=last)
    old_last = old.last_week[comparison.old_index]
    has_new = (comparison.old_index >= 0) & (new.last_week > old_last)
    if not has_new.any():
        return []
    first, last = new.day(old_last[has_new].min() + 1), new.day(new.last_week[has_new].max())
    which = f"week ending {last} is" if first == last else f"weeks ending {first} to {last} are"
    return about_series("new_week", new, has_new, old_last + 1, new.newest_value, which=which)


def unchanged(comparison: VersionComparison) -> list[Finding]:
    """Find that nothing differs from the previous version."""
    new, old = comparison.new, comparison.old
    is_same = len(new.y) == len(old.y) and comparison.is_unchanged.all()
    return make_finding("unchanged", n=int(is_same), total=len(new.ids))


def revised(comparison: VersionComparison) -> list[Finding]:
    """Find changed values: `rewritten` series, and `revised` values of the others.

    A series is rewritten if half of the compared weeks differ by more than rounding. Histories that
    were shifted by a week or multiplied are left to the findings on that.
    """
    new, old_y = comparison.new, comparison.old_y
    is_explained = (comparison.is_shifted | ~np.isnan(comparison.factor))[new.series_index]
    is_changed = comparison.is_changed & ~is_explained
    scale = np.where(old_y == 0, np.abs(new.y), np.abs(old_y))
    is_material = is_changed & (np.abs(new.y - old_y) > MATERIAL_CHANGE * scale)
    n_compared = new.counts(comparison.is_compared)
    is_rewritten = n_compared >= MIN_COMPARED
    is_rewritten &= new.counts(is_material) >= REWRITTEN_SHARE * n_compared
    findings = []
    for kind, is_kind in (("rewritten", is_rewritten), ("revised", ~is_rewritten)):
        mask = is_changed & is_kind[new.series_index]
        percent = 100 * np.abs(new.y - old_y)[mask] / scale[mask]
        findings += about_weeks(
            kind,
            new,
            mask,
            lambda row: format_change(old_y[row], new.y[row]),
            n_compared=int(n_compared.sum()),
            median=np.median(percent) if len(percent) else 0.0,
            largest=percent.max(initial=0.0),
        )
    return findings


def shifted(comparison: VersionComparison) -> list[Finding]:
    """Find series whose whole history has moved to the week after."""
    mask, new = comparison.is_shifted, comparison.new
    return about_series("repeated/history", new, mask, None, lambda _: "all values a week later")


def rescaled(comparison: VersionComparison) -> list[Finding]:
    """Find series whose whole history was multiplied by one factor."""
    factor, new = comparison.factor, comparison.new
    mask = ~np.isnan(factor)
    return about_series("rescaled/history", new, mask, None, lambda i: f"times {factor[i]:.4g}")


def shrunk(
    comparison: VersionComparison, *, n_passed: int, left_out: Sequence[Finding] = ()
) -> list[Finding]:
    """Find missing weeks.

    At the front of a series as many may be missing as weeks have passed (`n_passed`): the window
    rolled on. So may all weeks before a long gap that were `left_out`.
    """
    new, old, index = comparison.new, comparison.old, comparison.new_index
    if not len(old.ids):
        return []
    series = index[old.series_index]
    rows = new.positions(series, old.weeks)
    is_gone = old.is_observed & (series >= 0) & ((rows < 0) | ~new.is_observed[rows])
    is_front = is_gone & (old.weeks < new.first_week[series])
    n_front = old.counts(is_front)
    n_rolled = np.maximum(n_passed, new.last_week[index] - old.last_week)
    starts = new.first_week[index[n_front > 0]]
    is_cut = len(starts) > 0 and (starts == starts[0]).all()
    is_cut = is_cut and new.newest_week - starts[0] >= MIN_WINDOW_WEEKS
    is_rolled = n_front <= n_rolled + (EXTRA_WEEKS if is_cut else 0)
    is_rolled |= np.isin(old.ids.astype(str), [name for one in left_out for name in one.series])
    is_lost = is_gone & ~(is_front & is_rolled[old.series_index])
    if not is_lost.any():
        return []
    n, weeks = old.counts(is_lost)[old.series_index], old.weeks[is_lost]
    first, last = old.day(weeks.min()), old.day(weeks.max())
    return about_weeks(
        "shrunk", old, is_lost, lambda row: f"{n[row]:,} missing", first=first, last=last
    )


def new_series(comparison: VersionComparison) -> list[Finding]:
    """Find series that the previous version did not have."""
    new = comparison.new
    mask = (comparison.old_index < 0) & (len(comparison.old.ids) > 0)
    return about_series(
        "new_series", new, mask, new.first_week, lambda i: f"{new.sizes[i]:,} weeks"
    )


def vanished_series(comparison: VersionComparison) -> list[Finding]:
    """Find series that only the previous version has, unless they ended before the new window."""
    old = comparison.old
    has_ended = old.last_week < comparison.new.first_week.min()
    is_gone = (comparison.new_index < 0) & ~has_ended
    return about_series("vanished_series", old, is_gone, old.last_week, old.newest_value)


def late(
    comparison: VersionComparison, *, due: int, was_due: int | None, partial: Collection[str]
) -> list[Finding]:
    """Find that the source, or some series, are further behind than in the previous version.

    `due` is the newest week that is over, `was_due` that of the previous version. Series in
    `partial` have a part of their newest week, and are left to that finding.
    """
    new, old, index = comparison.new, comparison.old, comparison.old_index
    n_behind = due - new.newest_week
    n_was = 0 if was_due is None or not len(old.ids) else max(0, was_due - old.newest_week)
    if n_behind > n_was and not (partial and n_behind == 1):
        newest = new.day(new.newest_week)
        return make_finding("late", n=n_behind, newest=newest, due=new.day(due))
    if not len(old.ids) or new.newest_week <= old.newest_week:
        return []
    was_up_to_date = (index >= 0) & (old.last_week[index] == old.newest_week)
    lags = was_up_to_date & (new.last_week >= old.newest_week) & (new.last_week < new.newest_week)
    lags &= ~np.isin(new.ids.astype(str), list(partial))
    week = new.day(new.newest_week)
    return about_series(
        "late/series", new, lags, new.last_week + 1, lambda _: f"no week {week}", week=week
    )
