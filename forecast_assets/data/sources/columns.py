"""Check that a source has the mapped columns once each, or say what it has and what to do."""

import difflib
import re
from collections.abc import Iterable, Sequence

from forecast_assets.errors import SourceError, format_list

DATE = re.compile(r"\d{4}-?\d\d-?\d\d.*|\d{4}-?W\d\d.*|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


def check_columns(given: Iterable[object], columns: Sequence[str], *, origin: str) -> None:
    """Raise SourceError if one of the mapped columns is absent or occurs twice."""
    names = [str(name) for name in given]
    absent = [column for column in columns if column not in names]
    if absent:
        raise SourceError(
            f"{origin} has no column {format_list(absent)}; it has {format_list(names, limit=12)}."
            f" Nothing was published. {_advice(absent, columns, names)}"
        )
    repeated = [column for column in columns if names.count(column) > 1]
    if repeated:
        raise SourceError(
            f"{origin} has several columns named {format_list(dict.fromkeys(repeated))}, so it is"
            f" not clear which one to read. Nothing was published. Give each column its own name."
        )


def _advice(absent: Sequence[str], columns: Sequence[str], names: Sequence[str]) -> str:
    """Return what to do about absent columns, by the names of those that there are."""
    usual = "Name the columns that hold unique_id, ds and y in [source] of forecast.toml."
    nearest = [
        f"`{near[0]}` for {column}"
        for column in absent
        if (near := difflib.get_close_matches(column, names, n=1))
    ]
    if nearest:
        return f"{usual} Did you mean {format_list(nearest)}?"
    n_dates = sum(bool(DATE.fullmatch(name.strip())) for name in names)
    *ids, ds, y = columns
    in_function = 'in a function (`kind = "python"`; docs/connect-your-data.md has one)'
    if n_dates > 1 or (n_dates == 0 and {*ids, y} <= {*absent} and ds in names):
        return (
            f"It looks like a wide table, with a column for each {'week' if n_dates else 'series'}."
            f" Make it a long one {in_function}."
        )
    if n_dates:
        return f"Its first line looks like data: add a line with names, or read it {in_function}."
    if len(names) == 1 and all(column in names[0] for column in columns):
        return "Its columns are separated by another character: set `source.separator` to it."
    if {*absent} == {*ids}:
        return f"{usual} If it has one series only, add a column with its name {in_function}."
    return usual
