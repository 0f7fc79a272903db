"""How values and tables look for people, in JSON and in CSV."""

import math
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.cli.output import format_value, humanize_age, print_records, to_json

RECORDS = [
    {"name": "a b" + " a b" * 7, "n": 1, "reason": "c d" + " c d" * 7},
    {"name": "[b]c[/b] :smile: ü", "n": 1234, "reason": None},
]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_records(RECORDS)
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_a_plain_table_with_whole_values(capsys: pytest.CaptureFixture[str]):
    assert printed(capsys) == [
        "name                                n  reason",
        "-" * 70,
        "a b a b a b a b a b a b a b a b     1  c d c d c d c d c d c d c d c d",
        "[b]c[/b] :smile: ü               1234  –",
    ]


@pytest.mark.parametrize(
    ("width", "omitted"), [(200, ""), (71, ""), (40, ""), (20, "reason"), (10, "n, reason")]
)
def test_a_terminal_wraps_texts_and_leaves_out_the_last_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, omitted: str
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    size = os.terminal_size((width, 24))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
    *table, last = [*printed(capsys), ""] if not omitted else printed(capsys)
    assert last == (f"… and the columns {omitted}; --json prints them all." if omitted else "")
    assert "\x1b" not in "".join(table)
    assert max(map(len, table)) <= width
    assert any("1234" in line for line in table) == ("n, " not in omitted)
    assert "".join(table).count("b") == 8 + 2  # nothing is cut


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_values_for_people(value: object, expected: str):
    assert format_value(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_values_in_json(value: object, expected: object):
    assert to_json(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86_400 * 20, "20 days ago")],
)
def test_ages(seconds: int, expected: str):
    assert humanize_age(timedelta(seconds=seconds)) == expected
