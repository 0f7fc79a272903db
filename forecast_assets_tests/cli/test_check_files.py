"""`check` prints what a run would do with files as people have them, and how to go on."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets_tests.builders import walk
from forecast_assets_tests.cli_runner import output_of, records

SETTINGS = """
[source]
kind = "file"
path = "{path}"
{source}
[series]
frequency = "W-SUN"
{series}
[models]
enabled = ["naive"]
"""
SUNDAYS = pd.date_range("2025-01-05", periods=60, freq="W-SUN").strftime("%Y-%m-%d")
DAYS = pd.date_range("2026-01-01", "2026-11-22")


def table(y: Any, *, ids: Any = "Graz", ds: Any = SUNDAYS) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": ids, "ds": ds, "y": y})


def csv(frame: pd.DataFrame, **options: Any) -> str:
    return frame.to_csv(index=False, **options)


def grown(n: int = 60) -> list[int]:
    """Make whole numbers around 1,000."""
    return [round(y) for y in walk(n, seed=1, start=1000.0)]


def monthly_dumps() -> dict[str, str]:
    """Make a file for each month that begins with the last three days of the month before."""
    y = np.random.default_rng(1).integers(10, 40, len(DAYS))
    days = table(y, ids="kiosk", ds=DAYS)
    files = {}
    for month, part in days.groupby(days["ds"].dt.month):
        start = part["ds"].min() - pd.Timedelta(days=3)
        files[f"sales_{month:02}.csv"] = csv(days[days["ds"].between(start, part["ds"].max())])
    return files


def departments() -> pd.DataFrame:
    parts = [table(walk(60, seed=n), ids=n // 3 + 1).assign(Dept=n % 3 + 1) for n in range(6)]
    return pd.concat(parts)


def blanks() -> list[str]:
    return ["Graz " if n % 3 else "Graz" for n in range(60)]


def null_ids() -> bytes:
    file = io.BytesIO()
    ids = [1.0, 2.0, 10.0] * 20
    table([*walk(60, seed=1)], ids=[*ids[:-1], None]).to_parquet(file)
    return file.getvalue()


GERMAN = [f"{y:,}".replace(",", ".") for y in grown()]
COMMAS = [f"{y:.2f}".replace(".", ",") for y in walk(60, seed=1)]
LATIN = csv(table(grown(), ids="Köln")).encode("latin-1")
TRENDS = "Category: All categories\n\n" + csv(table([*grown(59), "<1"]).drop(columns="unique_id"))
Lines = Mapping[str, str | None]

# Files, settings of [source] and [series], and the lines that are not well or name how it is read;
# None: there is no such line.
CASES: dict[str, tuple[dict[str, str | bytes], str, str, Lines]] = {
    "a point for thousands": (
        {"a.csv": csv(table(GERMAN))},
        "", "",
        {"number_format": "A run would hold these data: "},
    ),
    "a point for thousands, set": (
        {"a.csv": csv(table(GERMAN))},
        'thousands = "."', "",
        {"number_format": None, "series": "1 series up to 2026-02-22"},
    ),
    "a unit that changes": (
        {"a.csv": csv(table([*grown(20), *np.array(grown(20)) / 1000, *grown(20)]))},
        "", "",
        {"number_format": "A run would hold these data: 2 steps within the histories of 1 series"},
    ),
    "files that overlap": (
        monthly_dumps(),
        "", 'aggregate = "sum"',
        {"overlapping_files": "A run would hold these data: 30 rows of 1 series are in two files"},
    ),
    "files that overlap, once": (
        monthly_dumps(),
        'overlap = "once"', 'aggregate = "sum"',
        {"overlapping_files": None, "read_as": "30 rows that several files have are taken from on"},
    ),
    "a blank in a name": (
        {"a.csv": csv(table(walk(60, seed=1), ids=blanks()))},
        "", "",
        {"similar_names": "The names of 2 series differ from others in blanks"},
    ),
    "stores and departments": (
        {"a.csv": csv(departments())},
        "", "",
        {"source": "360 of 360 rows have the series and the time of another row"},
    ),
    "stores and departments, joined": (
        {"a.csv": csv(departments())},
        'unique_id = ["unique_id", "Dept"]', "",
        {"series": "6 series up to 2026-02-22"},
    ),
    "semicolons and decimal commas": (
        {"a.csv": csv(table(COMMAS), sep=";")},
        "", "",
        {"read_as": "columns are separated by `;`; numbers have a decimal comma"},
    ),
    "lines above the header, and no id": (
        {"a.csv": TRENDS},
        "", "",
        {"source": "has no column unique_id; it has ds, y"},
    ),
    "lines above the header": (
        {"a.csv": "Sales\n\n" + csv(table(grown()))},
        "", "",
        {"read_as": "2 lines before the header are left out", "series": "1 series up to 2026-02"},
    ),
    "latin-1": (
        {"a.csv": LATIN},
        "", "",
        {"source": "is not written in utf-8: line 2 holds the byte 0xf6"},
    ),
    "latin-1, set": (
        {"a.csv": LATIN},
        'encoding = "latin-1"', "",
        {"read_as": None, "series": "1 series up to 2026-02-22"},
    ),
    "whole numbers as ids, with a null": (
        {"a.parquet": null_ids()},
        'on_bad_rows = "quarantine"', "",
        {"malformed": "1 of 60 rows could not be read", "series": "3 series up to 2026-02-1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "source", "series", "lines"), CASES.values(), ids=CASES)
def test_check_prints_what_a_run_would_do(
    folder: Path, files: Mapping[str, str | bytes], source: str, series: str, lines: Lines
):
    (folder / "source.csv").unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    path = next(iter(files)) if len(files) == 1 else "*.csv"
    text = SETTINGS.format(path=path, source=source, series=series)
    (folder / "forecast.toml").write_text(text)
    is_well = (
        not any("would hold" in str(line) for line in lines.values()) and "source" not in lines
    )
    printed = {row["name"]: row for row in records("check", exit_code=0 if is_well else 1)}
    text = output_of("check", exit_code=0 if is_well else 1)
    for name, line in lines.items():
        assert (name in printed) is (line is not None), text
        assert line is None or line in text
