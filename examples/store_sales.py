"""Write made-up weekly sales of stores, which rise near holidays and events.

    python examples/store_sales.py [FILE]

writes store_sales.csv next to this script, or FILE. Every run writes the same values.
"""

import csv
import math
import random
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
STORES = 9
FIRST_WEEK, LAST_WEEK = date(2022, 11, 4), date(2025, 11, 21)  # Fridays; Thanksgiving follows
# By how much one day near a holiday or event raises the sales of its week.
THANKSGIVING, BEFORE_CHRISTMAS = 0.12, 0.07
EVENTS = {"Super Bowl": 0.05, "Easter sale": 0.03, "Mother's Day": 0.06}


def days_of_events() -> Iterator[tuple[date, float]]:
    """Yield the days that raise sales, and by how much."""
    for year in range(FIRST_WEEK.year, LAST_WEEK.year + 1):
        first = date(year, 11, 1)
        thanksgiving = first + timedelta(days=(3 - first.weekday()) % 7 + 21)
        yield from ((thanksgiving + timedelta(days=n), THANKSGIVING) for n in range(4))
        christmas = date(year, 12, 25)
        yield from ((christmas - timedelta(days=n), BEFORE_CHRISTMAS) for n in range(1, 8))
    with (HERE / "retail_events.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            first = date.fromisoformat(row["first"])
            last = date.fromisoformat(row["last"] or row["first"])
            for n in range((last - first).days + 1):
                yield first + timedelta(days=n), EVENTS[row["name"]]


def sales() -> Iterator[tuple[str, date, int]]:
    """Yield the store, week and sales of each row."""
    effects = list(days_of_events())
    rng = random.Random(1)  # noqa: S311 - no secrets
    for store in range(1, STORES + 1):
        level = rng.uniform(20_000, 90_000)
        week = FIRST_WEEK
        while week <= LAST_WEEK:
            level *= 1 + rng.gauss(0.0005, 0.01)
            year = 1 + 0.05 * math.cos(2 * math.pi * (week.timetuple().tm_yday - 355) / 365)
            lift = sum(by for day, by in effects if week - timedelta(days=7) < day <= week)
            yield f"store_{store}", week, round(level * year * (1 + lift) * rng.gauss(1, 0.02))
            week += timedelta(days=7)


def main() -> None:
    """Write the file."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "store_sales.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["unique_id", "ds", "y"])
        writer.writerows(sales())


if __name__ == "__main__":
    main()
