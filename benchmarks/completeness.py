"""Judge newest weeks of made-up sources: how often is a complete one left out, a cut one not?

Usage: python benchmarks/completeness.py. Sources of 1, 3, 30 and 1,000 items have a row on 10 to
95 % of their item-days, with or without holidays. Each is judged at the Monday tick with its whole
newest week, to Sunday or to Friday, and with rows that end 1 to 6 days early. Prints for each
number of items: the complete weeks that were left out; the cut weeks that were found, where the
missing days usually have 7 rows or more (not those that were a holiday a year ago); and of those
with fewer how many count, and how many the finding names.
"""

from collections import Counter
from itertools import product

import numpy as np
from numpy.typing import NDArray

from forecast_assets.data.completeness import MIN_ROWS, NewestWeek, find_newest_week

N_WEEKS = 110  # DUE is in February
DUE = 7 * N_WEEKS - 1  # last day of the newest week
MISSING = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the item-days
HOLIDAYS = (0, 8)  # a year, on any days
N_SOURCES = {1: 500, 3: 500, 30: 500, 1000: 50}  # by items, for each share
# Sources whose days have about 7 rows are on one side or the other by chance.
MARGIN = 0.5


def make_rows(
    n_items: int, missing: float, n_holidays: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many rows each day has, up to two days after DUE; some days are holidays."""
    rows = rng.binomial(n_items, 1 - missing, DUE + 3)
    rows[rng.choice(DUE - 14, n_holidays * N_WEEKS // 52, replace=False)] = 0
    return rows


def judge(rows: NDArray[np.int64], last: int, today: int) -> NewestWeek:
    """Judge the source whose rows end on a day."""
    day = np.repeat(np.arange(last + 1), rows[: last + 1])
    return find_newest_week(day, today=today, due=DUE, has_empty_weeks=True)


def simulate(n_items: int, n_sources: int, n_holidays: int) -> Counter[str]:
    """Count complete and cut weeks, and how they were judged."""
    counts: Counter[str] = Counter()
    rng = np.random.default_rng(n_items)
    for missing in MISSING:
        for i in range(n_sources):
            rows = make_rows(n_items, missing, n_holidays, rng)
            n_after = 2 * (i % 2)  # a week to Friday is followed by two days
            newest = judge(rows, DUE + n_after, DUE + 1 + n_after)
            counts["complete"] += 1
            counts["complete, left out"] += newest.end < DUE
            for n_early in range(1, 7):
                newest = judge(rows, DUE - n_early, DUE + 1 + n_after)
                n_a_day = n_items * (1 - missing) * (1 - n_holidays / 365)
                n_missing = n_a_day * (DUE - newest.last_day)
                if n_missing >= MIN_ROWS + MARGIN:
                    counts["cut"] += 1
                    counts["cut, found"] += newest.end < DUE
                elif n_missing < MIN_ROWS - MARGIN:
                    counts["few"] += 1
                    counts["few, counts"] += newest.end == DUE
                    counts["few, named"] += newest.end == DUE and newest.n_usual_rows > 0
    return counts


def main() -> None:
    """Print a row for each number of items and of holidays."""
    for n_items, n_holidays in product(N_SOURCES, HOLIDAYS):
        counts = simulate(n_items, N_SOURCES[n_items], n_holidays)
        parts = [f"{n_items:>5} items, {n_holidays} holidays"]
        for whole, part in (
            ("complete", "complete, left out"),
            ("cut", "cut, found"),
            ("few", "few, counts"),
            ("few", "few, named"),
        ):
            parts.append(f"{part}: {counts[part]:,} of {counts[whole]:,}")
        print("; ".join(parts), flush=True)


if __name__ == "__main__":
    main()
