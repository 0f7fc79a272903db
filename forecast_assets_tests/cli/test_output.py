"""How values and tables look for people, and what programs get."""

import io
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.cli.output import (
    fit_width,
    for_json,
    format_value,
    humanize_age,
    humanize_bytes,
    print_csv,
)

NAMES = ["name", "n", "reason"]
ROWS = [["a" * 30, "1", "b" * 40], ["c", "22", "d"]]
IS_TEXT = [True, False, True]


def widths(rows: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("width", "kept", "left_out"),
    [
        (200, [30, 2, 40], []),
        (77, [30, 2, 40], []),  # the name of `n` and its room take 3
        (70, [30, 2, 33], []),
        (60, [26, 2, 27], []),
        (55, [24, 2, 24], []),
        (54, [30, 2], ["reason"]),
        (30, [25, 2], ["reason"]),
        (28, [28], ["n", "reason"]),
        (10, [24], ["n", "reason"]),
        (0, [24], ["n", "reason"]),
    ],
)
def test_a_table_is_cut_in_its_long_texts_and_then_by_its_last_columns(
    width: int, kept: list[int], left_out: list[str]
):
    rows, gone = fit_width(NAMES, ROWS, IS_TEXT, width=width)
    assert (widths(rows), gone) == (kept, left_out)
    assert rows[1][0] == "c"
    assert all(row[0].endswith("…") == (kept[0] < 30 and i == 0) for i, row in enumerate(rows))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (math.nan, "–"),
        (pd.NaT, "–"),
        (1234567.8, "1,234,568"),
        (0.123456789, "0.12346"),
        (7, "7"),
        (True, "True"),
        (datetime(2026, 1, 5), "2026-01-05"),  # noqa: DTZ001 - a day has no zone
        (datetime(2026, 1, 5, 6, 30, tzinfo=UTC), "2026-01-05 06:30"),
        ([], "none"),
        (list("abcdefg"), "a, b, c, d, e and 2 more"),
        ("a\n\x1b[31mb", "a  [31mb"),
    ],
)
def test_a_value_for_people(value: object, shown: str):
    assert format_value(value) == shown


def test_ids_are_abbreviated_by_their_names_alone():
    assert format_value("0123456789", "run_id") == "01234567"
    assert format_value("0123456789", "other") == "0123456789"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.inf, None),
        (pd.NaT, None),
        (np.nan, None),
        (0, 0),
        (False, False),
        ({"80": math.nan, "95": 0.9}, {"80": None, "95": 0.9}),
        ((1, math.nan), [1, None]),
        (Path("/a"), "/a"),
        (pd.Timestamp("2026-01-05"), "2026-01-05"),
        (pd.Timestamp("2026-01-05T06:30", tz="UTC"), "2026-01-05T06:30:00+00:00"),
    ],
)
def test_a_value_for_programs(value: object, told: object):
    assert for_json(value) == told


def test_csv_has_a_header_iso_times_and_empty_fields_for_nulls(monkeypatch: pytest.MonkeyPatch):
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    print_csv([{"a": 'x,"y"', "ds": pd.Timestamp("2026-01-05"), "y": 1.5}, dict.fromkeys("a")])
    print_csv([])
    assert output.getvalue() == 'a,ds,y\n"x,""y""",2026-01-05,1.5\n,,\n\n'


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (7200, "2 hours ago"),
        (86_400 * 20, "20 days ago"),
    ],
)
def test_how_long_ago(seconds: int, told: str):
    assert humanize_age(timedelta(seconds=seconds)) == told


@pytest.mark.parametrize(
    ("n_bytes", "told"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (2_340_000, "2.3 MB"),
        (5e12, "5000.0 GB"),
    ],
)
def test_how_many_bytes(n_bytes: int, told: str):
    assert humanize_bytes(n_bytes) == told
