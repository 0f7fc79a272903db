"""Read a sheet of an Excel file (.xlsx) with openpyxl, which the extra `excel` installs."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any

import pandas as pd

from forecast_assets.data.sources.csv_layout import MAX_LINES
from forecast_assets.data.sources.csv_text import lines_left_out
from forecast_assets.data.sources.footer import DATE, MAX_FOOTER_LINES, has_known_place
from forecast_assets.data.sources.request import ByteBudget, ParseOptions, has_each_once
from forecast_assets.errors import SourceError, format_list

CELL_BYTES = 8  # of a value in memory; a text takes its length more


def parse_excel(
    body: IO[bytes], options: ParseOptions, *, name: str, budget: ByteBudget
) -> pd.DataFrame:
    """Return the columns of the only sheet that has them, as `parse` does.

    The header is the first of 100 rows with every name, or the one after `skip_rows`. Formulas have
    the values that Excel saved. Raises SourceError if openpyxl is absent or two sheets have the
    columns.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise SourceError(
            f"{name} is an Excel file, and openpyxl, which reads it, is not installed. Nothing was"
            f" read. Install it with `pip install openpyxl` (the extra `excel` of this package), or"
            f" save the file as CSV."
        ) from error
    book = openpyxl.load_workbook(body, read_only=True, data_only=True)
    try:
        headers = {sheet.title: _header(sheet, options) for sheet in book.worksheets}
        found = {title: header for title, header in headers.items() if header[1] is not None}
        if len(found) > 1:
            raise SourceError(
                f"{name} has {len(found)} sheets with the columns {format_list(options.columns)}:"
                f" {format_list(found)}. It is not clear which one to read, so nothing was"
                f" published. Save the right one as a file of its own."
            )
        if not found:
            names = max((names for names, _ in headers.values()), key=len, default=[])
            return pd.DataFrame(columns=names)
        ((title, (names, end)),) = found.items()
        if not has_each_once(names, options.columns):
            return pd.DataFrame(columns=names)
        _note(title, len(headers), end or 1, options)
        rows = book[title].iter_rows(min_row=(end or 1) + 1, values_only=True)
        frame = _to_frame(rows, names, options, name=name, budget=budget)
        return _without_footer(frame, options)
    finally:
        book.close()


def _header(sheet: Any, options: ParseOptions) -> tuple[list[str], int | None]:
    """Return the names in the header and its row from 1; no row if the sheet has no header."""
    first = (options.skip_rows or 0) + 1
    last = first + MAX_LINES - 1 if options.skip_rows is None else first
    longest: list[str] = []
    for i, row in enumerate(sheet.iter_rows(first, last, values_only=True), start=first):
        names = ["" if value is None else str(value).strip() for value in row]
        if set(options.columns) <= set(names):
            return names, i
        longest = max(longest, list(filter(None, names)), key=len)
    return longest, None


def _note(title: str, n_sheets: int, header_row: int, options: ParseOptions) -> None:
    if n_sheets > 1:
        options.note(f"the sheet {title} is read")
    if header_row > 1 and options.skip_rows is None:
        options.note(lines_left_out(header_row - 1, "before the header"))


def _to_frame(
    rows: Iterator[Sequence[Any]],
    names: Sequence[str],
    options: ParseOptions,
    *,
    name: str,
    budget: ByteBudget,
) -> pd.DataFrame:
    """Return the columns of the rows, without those that are blank in the mapped columns."""
    columns, n_mapped = options.selected(names), len(options.columns)
    places = [names.index(column) for column in columns]
    kept: list[list[Any]] = []
    while block := list(islice(rows, 10_000)):
        cells = [[row[i] if i < len(row) else None for i in places] for row in block]
        cells = [row for row in cells if any(value is not None for value in row[:n_mapped])]
        texts = sum(len(value) for row in cells for value in row if isinstance(value, str))
        budget.take(CELL_BYTES * len(cells) * len(columns) + texts, of=name)
        kept += cells
    values = list(zip(*kept, strict=True)) or [()] * len(columns)
    return pd.DataFrame(
        {column: pd.Series(v, dtype=object) for column, v in zip(columns, values, strict=True)}
    )


def _without_footer(frame: pd.DataFrame, options: ParseOptions) -> pd.DataFrame:
    """Leave out the last rows if they are no rows of the table, as `parse_csv` does.

    Such a row has no value, and lacks the time or a part of the id.
    """
    at = [*options.ids, options.ds]
    is_odd = frame[at].isna().any(axis=1) & frame[options.columns[-1]].isna()
    n_footer = int(is_odd[::-1].cumprod().sum())
    table, footer = frame[: len(frame) - n_footer], frame[len(frame) - n_footer :]
    if table.empty or not 0 < n_footer <= MAX_FOOTER_LINES:
        return frame
    known = {name: pd.Index(table[name].dropna().map(str).unique()) for name in at}
    for row in footer[list(options.columns)].to_dict("records"):
        places = {str(name): str(value) for name, value in row.items() if value is not None}
        has_date = any(map(DATE.fullmatch, places.values()))
        if has_date or has_known_place(places, known, ds=options.ds):
            return frame
    options.note(lines_left_out(n_footer, "after the last row"))
    return table
