"""Parse CSV as programs write it, without the lines before the header and after the last row.

What is certain is read and noted; anything else is refused. `csv_layout` recognizes how a file is
written; numbers and times belong to `mapping`.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from forecast_assets.data.sources.columns import check_columns
from forecast_assets.data.sources.csv_layout import CsvLayout, recognize
from forecast_assets.data.sources.footer import DATE, MAX_FOOTER_LINES, has_known_place
from forecast_assets.data.sources.request import ParseOptions, has_each_once
from forecast_assets.errors import SourceError

BLOCK_BYTES = 1 << 20
ONE_MORE = (
    "so have others: quote numbers with a decimal comma or separate columns by another character,"
    " or end rows without a separator"
)
# Keeps each distinct text of a column once.
TEXTS = pa.dictionary(pa.int32(), pa.string())
# What pyarrow tells of a row after the number of its columns.
VALUES_IN_ERROR = re.compile(r"(columns, got \d+):.*", re.DOTALL)


def parse_csv(
    file: "io.BufferedReader[Any]", options: ParseOptions, *, name: str, tail: Callable[[], bytes]
) -> pd.DataFrame:
    """Return the columns of a CSV file as `parse` does; `tail` returns its last bytes once read.

    Lines before the header and after the last row are left out. Raises ValueError if a row has
    another number of columns, and SourceError if its bytes do not have its encoding.
    """
    start = file.peek(BLOCK_BYTES)
    layout = recognize(start, options, is_whole=len(start) < BLOCK_BYTES)
    if layout.names and not has_each_once(layout.names, options.columns):
        if _first_bad_byte(start, layout.encoding):
            raise _encoding_error(start, layout.encoding, name)
        if layout.skip_rows and options.skip_rows is None:
            where = f"(its header seems to be line {layout.skip_rows + 1}; if it is not, set"
            where += " `source.skip_rows` to the number of lines before it)"
            check_columns(layout.names, options.columns, origin=f"{name} {where}")
        return pd.DataFrame(columns=layout.names)
    invalid: list[arrow_csv.InvalidRow] = []
    reason = ""
    try:
        is_clean = not _first_bad_byte(start, layout.encoding)
        frame = to_frame(_read(file, layout, options, invalid if is_clean else None))
    except (pa.ArrowInvalid, UnicodeError) as error:
        reason = VALUES_IN_ERROR.sub(r"\1", str(error))
        if isinstance(error, UnicodeError) or "invalid UTF8" in reason:
            raise _encoding_error(start, layout.encoding, name) from None
    # Raised here, because the error of pyarrow may hold personal data.
    if invalid and (reason or not _are_footer(invalid, frame, layout, options, tail())):
        row = invalid[0]
        n_columns = f"Expected {row.expected_columns} columns, got {row.actual_columns}"
        reason = f"CSV parse error: Row #{row.number}: {n_columns}"
        if len(invalid) > 1 and all(_has_one_more(other) for other in invalid):
            reason += f", and {ONE_MORE}"
    if reason:
        raise ValueError(reason)
    _note(layout, len(invalid), options)
    is_blank = frame[list(options.columns)].isna().all(axis=1)
    if is_blank.any():
        options.note(f"{is_blank.sum()} rows without any value are left out")
    return frame[~is_blank] if is_blank.any() else frame


def _has_one_more(row: arrow_csv.InvalidRow) -> bool:
    return bool(row.actual_columns == row.expected_columns + 1)


def _read(
    file: "io.BufferedReader[Any]",
    layout: CsvLayout,
    options: ParseOptions,
    invalid: list[arrow_csv.InvalidRow] | None,
) -> pa.Table:
    """Read the rows; those with another number of columns go to `invalid`, up to a limit.

    Without it the first one is an error: pyarrow cannot pass on a row with bytes that are no text.
    """
    rows = [] if invalid is None else invalid

    def handle(row: arrow_csv.InvalidRow) -> str:
        rows.append(row)
        return "skip" if len(rows) <= MAX_FOOTER_LINES else "error"

    columns = options.selected(layout.names)
    is_utf8 = codecs.lookup(layout.encoding).name in ("utf-8", "utf-8-sig")
    return arrow_csv.read_csv(
        file,
        read_options=arrow_csv.ReadOptions(
            use_threads=False,  # as fast; its errors name the row
            encoding="utf8" if is_utf8 else layout.encoding,
            skip_rows=layout.header_end,
            column_names=list(layout.names),
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=layout.separator,
            newlines_in_values=True,
            invalid_row_handler=None if invalid is None else handle,
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, TEXTS),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _are_footer(
    invalid: Sequence[arrow_csv.InvalidRow],
    frame: pd.DataFrame,
    layout: CsvLayout,
    options: ParseOptions,
    tail: bytes,
) -> bool:
    """Return whether invalid rows are the last lines of the file, and no rows of the table.

    A row of the table has a known id or a time in its place. The last line of a file that was cut
    off may have the beginning of them.
    """
    if frame.empty:
        return False
    text = tail.decode(layout.encoding, "replace")
    lines = [line.strip() for line in text.splitlines()]
    ends = [i for i, line in enumerate(lines) if line][-len(invalid) :]
    if [lines[i] for i in ends] != [row.text.strip() for row in invalid]:
        return False
    may_be_cut = not text.endswith(("\n", "\r")) and (not ends[0] or bool(lines[ends[0] - 1]))
    return not any(
        _is_like_data(row.text, frame, layout, options, is_cut=may_be_cut and row is invalid[-1])
        for row in invalid
    )


def _is_like_data(
    text: str, frame: pd.DataFrame, layout: CsvLayout, options: ParseOptions, *, is_cut: bool
) -> bool:
    """Return whether a line has an id of the table, or a time as the table has them, in its place.

    If the line may be cut off, the beginning of an id or a time is enough.
    """
    fields = next(csv.reader([text], delimiter=layout.separator))
    places = dict(zip(layout.names, fields, strict=False))
    last = layout.names[len(fields) - 1] if is_cut and len(fields) <= len(layout.names) else ""
    known = {name: frame[name].cat.categories for name in (*options.ids, options.ds)}
    has_open_quote = text.count('"') % 2 == 1
    return (
        has_known_place(places, known, ds=options.ds, last=last)
        or has_open_quote
        or any(map(DATE.fullmatch, fields))
        or (is_cut and places.keys().isdisjoint(known))
    )


def _note(layout: CsvLayout, n_footer: int, options: ParseOptions) -> None:
    """Note what was recognized, except what the settings say."""
    if layout.encoding != "utf-8" and not options.encoding:
        options.note(f"the encoding is {layout.encoding}")
    if layout.separator != "," and not options.separator:
        name = {"\t": "tabs"}.get(layout.separator, f"`{layout.separator}`")
        options.note(f"columns are separated by {name}")
    if layout.skip_rows and options.skip_rows is None:
        options.note(lines_left_out(layout.skip_rows, "before the header"))
    if n_footer:
        options.note(lines_left_out(n_footer, "after the last row"))


def lines_left_out(n: int, where: str) -> str:
    """Return the note about lines that are no rows."""
    return f"{n} line{'s' * (n > 1)} {where} {'are' if n > 1 else 'is'} left out"


def _first_bad_byte(start: bytes, encoding: str) -> str:
    """Describe the first byte that the encoding does not have; empty if there is none."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError as error:
        line = start[: error.start].count(b"\n") + 1
        return f": line {line} holds the byte 0x{start[error.start]:02x}"
    return ""


def _encoding_error(start: bytes, encoding: str, name: str) -> SourceError:
    return SourceError(
        f"{name} is not written in {encoding}{_first_bad_byte(start, encoding)}. None of its rows"
        f" were used. Set `source.encoding` to the encoding of the program that writes it, such as"
        f' "cp1252" (Windows in Western Europe), "latin-1" or "utf-16".'
    )


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return the table with texts as categories, the same for all chunks of a column."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(i, field.name, table.column(i).dictionary_encode())
    # A column of integers with nulls would become floats: 1.0, and no longer exact from 2^53 on.
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(
        ignore_metadata=True, integer_object_nulls=True
    )
    return frame
