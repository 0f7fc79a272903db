"""Files that overlap and files that do not, and each way to take what they have in common."""

from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.overlap import find_overlaps, resolve_overlap
from forecast_assets.errors import DataError

FIRST = pd.Timestamp("2026-01-01")
MONTH, BACK = 30, 3  # days of a file, and days of the file before that it repeats
SEEDS = range(5)

Values = Mapping[tuple[str, int], float]  # by series and day


def sales(names: str = "ab", n_days: int = 180, *, rate: float = 20.0, seed: int = 1) -> Values:
    """Make the sales of each item and day: Poisson, as of a till."""
    rng = np.random.default_rng(seed)
    return {(name, day): float(rng.poisson(rate)) for name in names for day in range(n_days)}


def part(values: Values, start: int, end: int) -> Values:
    return {key: y for key, y in values.items() if start <= key[1] < end}


def months(values: Values, *, back: int = BACK, n_days: int = 180) -> list[Values]:
    """Cut sales into monthly files that each reach some days back."""
    return [part(values, start - back, start + MONTH) for start in range(0, n_days, MONTH)]


def raw_data(*files: Values, names: Iterator[str] | None = None) -> pd.DataFrame:
    """Make raw_data of files; their names are in their order."""
    names = names or (f"{n:03}.csv" for n in count())
    rows = [
        (series, day, y, name)
        for file, name in zip(files, names, strict=False)
        for (series, day), y in file.items()
    ]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "file"])
    days = FIRST + pd.to_timedelta(frame["ds"], unit="D")
    return frame.assign(ds=days, problem=None, given=None, note=None)


def revised(values: Values, share: float) -> Values:
    """Change a share of the values by a tenth and more."""
    rng = np.random.default_rng(3)
    return {key: y + 5 if rng.random() < share else y for key, y in values.items()}


ALL = sales()
FEW = {key: y for key, y in sales("abcdefghij", rate=0.3).items() if y}
OVERLAPPING = {
    "monthly files that reach back": months(ALL),
    "monthly files that reach back by one day": months(sales("a"), back=1),
    "weekly files of the last eight weeks": [part(ALL, n - 56, n) for n in range(56, 180, 7)],
    "files of everything up to their day": [part(ALL, 0, n) for n in range(30, 180, 30)],
    "a copy": [ALL, ALL],
    "a copy in which a third is revised": [ALL, revised(ALL, 0.33)],
    "monthly files whose common days are all revised": [
        revised(file, 1.0) if n % 2 else file for n, file in enumerate(months(ALL))
    ],
    "a history and its newest month": [part(ALL, 0, 160), part(ALL, 150, 180)],
    "items that are seldom sold, in monthly files": months(FEW, back=10),
    "two tills in monthly files that reach back": [
        file for till in (1, 2) for file in months(sales(seed=till))
    ],
    "two tills in monthly files, by month": [
        file
        for both in zip(months(sales(seed=1)), months(sales(seed=2)), strict=True)
        for file in both
    ],
}  # fmt: skip
SEPARATE = {
    "monthly files": months(ALL, back=0),
    "two tills": [sales(seed=1), sales(seed=2)],
    "three tills in monthly files": [
        file for till in SEEDS[:3] for file in months(sales(seed=till), back=0)
    ],
    "two tills of which one begins and ends later": [
        part(sales(seed=1), 0, 178), part(sales(seed=2), 2, 180)
    ],
    "two tills of small numbers": [sales("abcdefgh", rate=0.5, seed=n) for n in (1, 2)],
    "two tills that sell little, without the zeros": [
        {k: y for k, y in sales("abcdefghij", rate=0.2, seed=n).items() if y} for n in (1, 2)
    ],
    "two tills that are closed on the same days": [
        {key: y * (key[1] % 7 > 4) for key, y in sales(rate=3, seed=n).items()} for n in (1, 2)
    ],
    "two tills with many items that nobody buys": [
        sales("abcdef", rate=0.02, seed=n) | sales("xyz", rate=9, seed=n) for n in (1, 2)
    ],
    "one file of each item": [sales("a"), sales("b"), sales("c")],
    "one file": [ALL],
}  # fmt: skip


@pytest.mark.parametrize("files", OVERLAPPING.values(), ids=OVERLAPPING)
def test_files_that_overlap_are_found(files: list[Values]):
    common = find_overlaps(raw_data(*files))
    assert len(common) > 0
    assert set(common.columns) == {
        *("unique_id", "ds", "first", "second", "y_first", "y_second", "is_equal")
    }
    assert (common["first"] < common["second"]).all()


@pytest.mark.parametrize("files", SEPARATE.values(), ids=SEPARATE)
def test_files_of_several_tills_are_no_overlap(files: list[Values]):
    assert len(find_overlaps(raw_data(*files))) == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 1, 3, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_neither_small_nor_large_sales_of_two_tills_overlap(rate: float, seed: int):
    tills = [sales("abcd", 365, rate=rate, seed=10 * seed + till) for till in (1, 2)]
    assert len(find_overlaps(raw_data(*tills))) == 0
    once = months(tills[0], n_days=365)
    assert len(find_overlaps(raw_data(*once))) > 0


def test_common_rows_are_named_with_their_files_and_values():
    first, second = part(ALL, 0, 33), part(ALL, 30, 60) | {("a", 31): -1.0}
    common = find_overlaps(raw_data(first, second, names=iter(["jan.csv", "february.csv"])))
    assert common["unique_id"].value_counts().to_dict() == {"a": 3, "b": 3}
    assert set(common["ds"]) == {FIRST + pd.Timedelta(days=day) for day in (30, 31, 32)}
    assert set(common["first"] + common["second"]) == {"jan.csvfebruary.csv"}
    (other,) = common[~common["is_equal"]].itertuples()
    assert (other.unique_id, other.y_first, other.y_second) == ("a", ALL["a", 31], -1.0)


def test_rows_without_a_file_do_not_overlap():
    """Only sources of files have them, and versions from before they were kept have no column."""
    raw = raw_data(ALL, ALL).assign(file=None)
    for rows in (raw, raw.drop(columns="file")):
        assert resolve_overlap(rows, "once", note=print) is rows
        assert len(find_overlaps(rows)) == 0


def total(raw: pd.DataFrame) -> float:
    return float(raw["y"].sum())


def test_common_rows_are_taken_once():
    notes: list[str] = []
    raw = raw_data(*months(ALL))
    once = resolve_overlap(raw, "once", note=notes.append)
    assert total(once) == sum(ALL.values())
    assert list(once.index) == list(range(len(ALL)))
    assert notes == ["30 rows that several files have are taken from one of them"]
    assert total(resolve_overlap(raw, "latest_file", note=notes.append)) == sum(ALL.values())
    for how in ("report", "sum"):
        assert resolve_overlap(raw, how, note=notes.append) is raw


def test_several_rows_of_one_file_are_taken_together():
    """Two sales of one item on one day, in both files, are two sales."""
    twice = pd.concat([raw_data(ALL, ALL)] * 2, ignore_index=True)
    once = resolve_overlap(twice, "once", note=print)
    assert total(once) == 2 * sum(ALL.values())


def test_rows_with_other_values_are_not_taken_once():
    raw = raw_data(part(ALL, 0, 33), part(ALL, 30, 60) | {("a", 31): -1.0})
    message = (
        r"^Several files have different values for 1 of 6 series and times that they have in"
        rf" common: a / 2026-02-01 \({ALL['a', 31]:g} in 000\.csv, -1 in 001\.csv\)\. With"
        r" `source\.overlap = \"once\"` they have to be equal, so nothing was published\. Set it to"
        r" \"latest_file\" to take those of the file with the newest day, or to \"sum\" to add"
    )
    with pytest.raises(DataError, match=message):
        resolve_overlap(raw, "once", note=print)
    latest = resolve_overlap(raw, "latest_file", note=print)
    is_revised = (latest["unique_id"] == "a") & (latest["ds"] == FIRST + pd.Timedelta(days=31))
    assert latest.loc[is_revised, "y"].tolist() == [-1.0]
    assert len(latest) == 120


VERSIONS = [
    {key: y + n for key, y in part(ALL, 0, n_days).items()}
    for n, n_days in enumerate((90, 120, 150))
]
SOUTH = sales(seed=2)
NEWEST = "taken from the file with the newest day"


@pytest.mark.parametrize("names", [["s_9", "s_10", "s_11"], ["jun", "may", "april"], "cba"])
def test_the_latest_file_has_the_newest_day(names: list[str]):
    """Each file has the whole history, with other values everywhere."""
    notes: list[str] = []
    raw = resolve_overlap(raw_data(*VERSIONS, names=iter(names)), "latest_file", note=notes.append)
    assert total(raw) == sum(VERSIONS[-1].values())
    which = f"{names[2]} instead of {names[0]}, {names[2]} instead of {names[1]}"
    assert notes == [f"420 rows that several files have are {NEWEST}: {which}"]


def test_files_that_end_on_one_day_are_in_the_order_of_their_numbers():
    files = [part(ALL, 0, 60), revised(part(ALL, 0, 60), 0.3), part(SOUTH, 60, 90)]
    raw = raw_data(*files, names=iter(["s 9", "s 10", "s 1"]))
    latest = resolve_overlap(raw, "latest_file", note=print)
    assert total(latest) == sum(files[1].values()) + sum(files[2].values())


@pytest.mark.parametrize("how", ["once", "latest_file"])
@pytest.mark.parametrize("order", ["by till", "by month"])
@pytest.mark.parametrize("n_tills", [2, 4])
def test_parts_of_tills_overlap_among_themselves(how: str, order: str, n_tills: int):
    tills = [sales(seed=n) for n in range(n_tills)]
    parts = [months(till) for till in tills]
    by_name = zip(*parts, strict=True) if order == "by month" else parts
    notes: list[str] = []
    raw = raw_data(*(file for files in by_name for file in files))
    common = find_overlaps(raw)
    assert common["is_equal"].sum() == len(common) == n_tills * 5 * BACK * 2
    resolved = resolve_overlap(raw, how, note=notes.append)
    assert total(resolved) == sum(sum(till.values()) for till in tills)
    assert "these groups of files are added up: 000.csv and 5 more, 0" in notes[0]


def test_tills_of_which_one_is_revised_overlap_among_themselves():
    north = [revised(file, 1.0) if n == 3 else file for n, file in enumerate(months(ALL))]
    raw = raw_data(*north, *months(SOUTH))
    latest = {key: y for file in north for key, y in file.items()}
    expected = sum(latest.values()) + sum(SOUTH.values())
    assert total(resolve_overlap(raw, "latest_file", note=print)) == expected


def test_files_whose_order_cannot_be_told_are_refused_as_versions():
    all_revised = [
        [revised(file, 1.0) if n % 2 else file for n, file in enumerate(months(till))]
        for till in (ALL, SOUTH)
    ]
    message = (
        r"different values in files that end on the same day: 00\d\.csv and 0\d\d\.csv.*\. Neither"
        r" file is known to be the later one, so with `source\.overlap = \"latest_file\"` nothing"
        r" was published\. If they are files of several tills, set it to \"sum\"; if one corrects"
        r" the other, remove the other; if both, put them together in a function"
    )
    for files in ([ALL, SOUTH], [*all_revised[0], *all_revised[1]], [*months(ALL), SOUTH]):
        with pytest.raises(DataError, match=message):
            resolve_overlap(raw_data(*files), "latest_file", note=print)
    assert total(resolve_overlap(raw_data(ALL, SOUTH), "sum", note=print)) == sum(
        [*ALL.values(), *SOUTH.values()]
    )
    assert total(resolve_overlap(raw_data(SOUTH), "latest_file", note=print)) == sum(SOUTH.values())
