"""Judge which weeks are complete: the newest one by the rows of all series together.

Aggregating rows to weeks belongs to `weekly`. Days are numbers since 1970.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.offsets import Easter

from forecast_assets.config.series_settings import SeriesSettings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DAYS = 7
# The values of `series.missing` that make a value up. A zero is one: nothing was sold.
FILLING = ("interpolate", "ffill")
# Weeks that the usual number of days or rows is taken from.
USUAL_WEEKS = 52
# Share of these weeks that may have fewer days. A daily source with five short weeks a year is
# still expected to have all days; one with rows on two days or on four is expected to have two.
SHORT_WEEK_SHARE = 0.1
# With fewer earlier weeks no number is usual, and every week counts as complete.
MIN_USUAL_WEEKS = 4
# Independent rows of which 7 are expected are all absent in at most exp(-7) = 0.0009 of the weeks,
# less than 1 in 500.
MIN_ROWS = 7.0
# A source that had no row on the same days in two of the last eight weeks has other days now, or is
# often closed on them: 28 * exp(-7) ** 2 = 0.00002.
RECENT_WEEKS, MIN_SILENT_WEEKS = 8, 2
# Standard deviations of a Poisson variable between the rows of the recent weeks and of the year,
# from which on the recent weeks are the usual ones: by chance less than 1 in 1,000.
MAX_DEVIATION = 3.5
# The turn of the year, when much is closed also in the first year of a source.
YEAR_END = ("12-24", "01-02")
# Share of a week's rows below which the absence of a day is not worth a finding.
MIN_SHARE = 0.02


@dataclass(frozen=True)
class NewestWeek:
    """The newest week that counts, and the days without a row that followed the last row."""

    end: int  # last day of the week
    last_day: int  # newest day with a row of any series
    n_usual_rows: float = 0.0  # of the silent days; 0 if they are usual, or there are none

    @property
    def is_cut_off(self) -> bool:
        """Whether the source ended within the week after, which does not count."""
        return self.end < self.last_day

    @property
    def silent_end(self) -> int:
        """Last of the days without a row that were judged."""
        return self.end + DAYS if self.is_cut_off else self.end


def find_newest_week(day: Ints, *, today: int, due: int, has_empty_weeks: bool) -> NewestWeek:
    """Return the newest week up to the one that ends on `due` that counts as complete.

    `day` [N] are the days of all rows with a value. Those after `today` do not count: a date in the
    future is an error. The week of the source's last row is incomplete if the days after that row
    usually have at least MIN_ROWS rows. Weeks after it, without any row, count only with
    `has_empty_weeks`, if there was none on each weekday before, and as long as all days since that
    row usually have fewer. A silence on days that were silent a year ago too, or at the turn of the
    year, is no sign.
    """
    day = day[day <= today]
    if not len(day) or day.max() >= due:
        return NewestWeek(due, int(day.max(initial=due)))
    last_day = int(day.max())
    end = last_day + (due - last_day) % DAYS
    counts = _count_rows(day, end)
    if len(counts) < MIN_USUAL_WEEKS:
        return NewestWeek(end, last_day)
    n_silent = end - last_day
    missing = counts[:, DAYS - n_silent :].sum(axis=1)
    n_usual = _usual_rows(missing)
    is_habit = np.sum(missing[-RECENT_WEEKS:] == 0) >= MIN_SILENT_WEEKS
    is_holiday = partial(_is_holiday, np.sort(pd.unique(day)), counts.mean(axis=0))
    if n_usual >= MIN_ROWS and not is_habit and not is_holiday(end):
        return NewestWeek(end - DAYS, last_day, n_usual)
    a_week = float(counts.sum(axis=1).mean())
    is_sparse = bool((counts == 0).any(axis=0).all())
    while (
        has_empty_weeks
        and end < due
        and ((is_sparse and n_usual + a_week < MIN_ROWS) or is_holiday(end + DAYS))
    ):
        n_usual, end = n_usual + a_week, end + DAYS
    return NewestWeek(end, last_day, n_usual if n_usual >= MIN_SHARE * a_week else 0.0)


def count_days(group: Ints, weekday: Ints, n_groups: int) -> Ints:
    """Count the distinct weekdays of each group of rows."""
    return np.bincount(pd.unique(group * DAYS + weekday) // DAYS, minlength=n_groups)


def coverage_of_all(n_days: Ints) -> Floats:
    """Return the coverage of all series taken as one; `n_days` are its days of each week: [W]."""
    weeks, coverage = np.flatnonzero(n_days), np.ones(len(n_days))
    coverage[weeks] = _share_of_usual_days(np.zeros_like(weeks), weeks, n_days[weeks])
    return coverage


def compute_coverage(series: Ints, week: Ints, n_days: Ints, of_all: Floats) -> Floats:
    """Return the share of its usual days that each week of each series has, at most 1: [N].

    `series`, `week` and `n_days`, each [N], are sorted by series and week; `of_all` [W] is the
    coverage of all series taken as one.

    Nine in ten of the 52 weeks before a series' newest one have the usual number of days or more,
    but it is that of the week a year earlier if that had fewer. For a series with several days in
    any week, `of_all` is an upper bound.
    """
    share = _share_of_usual_days(series, week, n_days)
    first_row = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    has_several_days = np.maximum.reduceat(n_days, first_row) > 1
    return np.where(has_several_days[series], np.minimum(share, of_all[week]), share)


def _share_of_usual_days(series: Ints, week: Ints, n_days: Ints) -> Floats:
    """Return each week's days as a share of the usual number, at most 1; sorted by series, week."""
    n_later_weeks = np.cumsum(np.bincount(series))[series] - 1 - np.arange(len(series))
    is_recent = (n_later_weeks >= 1) & (n_later_weeks <= USUAL_WEEKS)
    recent = pd.Series(n_days[is_recent]).groupby(series[is_recent])
    quantile = recent.quantile(SHORT_WEEK_SHARE, interpolation="lower")
    usual_by_series = quantile[recent.size() >= MIN_USUAL_WEEKS]
    usual: Floats = usual_by_series.reindex(series, fill_value=1.0).to_numpy()
    # A holiday may move by a week from one year to the next.
    width = int(week.max(initial=0)) + 1
    cell = series * width + week
    for n_weeks_ago in (USUAL_WEEKS - 1, USUAL_WEEKS, USUAL_WEEKS + 1):
        earlier = np.searchsorted(cell, cell - n_weeks_ago).clip(max=len(cell) - 1)
        exists = (cell[earlier] == cell - n_weeks_ago) & (week >= n_weeks_ago)
        usual = np.where(exists, np.minimum(usual, n_days[earlier]), usual)
    return (n_days / usual).clip(max=1.0)


def select_weeks(
    weeks: pd.DataFrame, is_cut_off: Mask, of_all: Floats, settings: SeriesSettings
) -> tuple[Mask, Mask]:
    """Return which weeks are incomplete, and which are used: [N], [N].

    `weeks` has `series, week, coverage`, sorted by series and week; `is_cut_off` [N] are those that
    follow the newest complete one, and `of_all` [W] is the coverage of all series taken as one.
    What is left out besides are the weeks before a gap that is too long to fill. Where a week
    without rows is a zero, only the first week of the whole source may be incomplete.
    """
    series, week = weeks["series"].to_numpy(), weeks["week"].to_numpy()
    is_used = ~is_cut_off
    if settings.missing in FILLING:
        is_used[is_used] = ~precede_long_gap(series[is_used], week[is_used], settings.max_gap)
    used = np.flatnonzero(is_used)
    is_first = np.append(True, np.diff(series[used]) != 0)[: len(used)]
    first = used[is_first]
    coverage = weeks["coverage"].to_numpy()[first]
    if settings.missing == "zero":
        coverage = np.where(week[first] == week.min(), of_all[week[first]], 1.0)
    partial_starts = first[coverage < settings.min_coverage]
    is_partial = is_cut_off.copy()
    is_partial[partial_starts], is_used[partial_starts] = True, False
    return is_partial, is_used


def precede_long_gap(series: Ints, week: Ints, max_gap: int) -> Mask:
    """Return which weeks lie before a series' last gap of more than `max_gap` weeks: [N].

    `series` and `week` [N] are sorted, by series and then by week.
    """
    is_first = np.append(True, series[1:] != series[:-1])[: len(series)]
    is_after_gap = np.append(False, np.diff(week) > max_gap + 1)[: len(series)] & ~is_first
    n_gaps = np.cumsum(is_after_gap)
    is_last = np.append(is_first[1:], True)[: len(series)]
    is_before: Mask = n_gaps < n_gaps[is_last][np.cumsum(is_first) - 1]
    return is_before


def _count_rows(day: Ints, end: int) -> Ints:
    """Count the rows of each day in the year before the week that ends on `end`: [W, 7].

    The first of the W weeks is the first that has rows.
    """
    n_ago = end - DAYS - day
    is_usual = (n_ago >= 0) & (n_ago < DAYS * USUAL_WEEKS)
    counts = np.bincount(n_ago[is_usual], minlength=DAYS * USUAL_WEEKS)[::-1].reshape(-1, DAYS)
    return counts[np.logical_or.accumulate(counts.any(axis=1))]


def _usual_rows(rows: Ints) -> float:
    """Return the mean of the rows of each week, or of the recent weeks if they differ: [W]."""
    mean, recent = rows.mean(), rows[-RECENT_WEEKS:]
    expected = mean * len(recent)
    is_changed = abs(recent.sum() - expected) > MAX_DEVIATION * np.sqrt(expected)
    return float(recent.mean() if is_changed else mean)


def _is_holiday(days: Ints, by_weekday: Floats, end: int) -> bool:
    """Whether the silence that ends with a week is at the turn of the year, or was a year ago too.

    `days` [D] are those with rows, ascending, of which the last precedes the silence. `by_weekday`
    [7] are the usual rows of the days of the week. A holiday returns on its date, on its weekday
    after 52 weeks, or with Easter.
    """
    silence = pd.DatetimeIndex(np.arange(days[-1] + 1, end + 1).astype("datetime64[D]"))
    date = silence.strftime("%m-%d")
    if ((date >= YEAR_END[0]) | (date <= YEAR_END[1])).all():
        return True
    new_year = pd.Timestamp(silence[0].year, 1, 1)
    easter, last_easter = (new_year - pd.DateOffset(years=n) + Easter() for n in (0, 1))
    for year in (pd.DateOffset(years=1), pd.Timedelta(weeks=52), easter - last_easter):
        before = (silence - year).to_numpy().astype("datetime64[D]").astype(np.int64)
        is_usual = by_weekday[(before - end - 1) % DAYS].sum() >= MIN_ROWS
        if is_usual and before[0] > days[0] and not np.isin(before, days).any():
            return True
    return False
