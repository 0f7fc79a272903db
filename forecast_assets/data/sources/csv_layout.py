"""Recognize how a CSV file is written: its encoding, separator and header."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from forecast_assets.data.sources.request import ParseOptions

SEPARATORS = (",", ";", "\t", "|")
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # before that of UTF-16, which is its first half
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
MAX_LINES = 100  # that are searched for the header


@dataclass(frozen=True)
class CsvLayout:
    """How a CSV file is written."""

    encoding: str
    separator: str
    skip_rows: int  # lines before the header
    header_end: int  # lines up to the end of the header
    names: tuple[str, ...]


def recognize(start: bytes, options: ParseOptions, *, is_whole: bool) -> CsvLayout:
    """Return how CSV is written, by the settings or else by its first bytes.

    The header is the first line that has the name of every column under some separator. If there is
    none, it is guessed, so that an error can show its names.
    """
    encoding = options.encoding or encoding_of(start)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start)
    lines = list(islice(io.StringIO(text.removeprefix("\ufeff"), newline=""), 2 * MAX_LINES))
    if not is_whole and len(lines) < 2 * MAX_LINES:
        lines.pop()  # it may be cut off
    separators = (options.separator,) if options.separator else SEPARATORS
    first = options.skip_rows or 0
    n_tried = MAX_LINES if options.skip_rows is None else 1
    for i in range(first, min(first + n_tried, len(lines))):
        for separator in separators:
            names, n_lines = _names(lines[i:], separator, options.columns)
            if set(options.columns) <= set(names):
                return CsvLayout(encoding, separator, i, i + n_lines, names)
    separator, i = _guess(lines[first:], separators)
    names, n_lines = _names(lines[first + i :], separator, options.columns)
    return CsvLayout(encoding, separator, first + i, first + i + n_lines, names)


def encoding_of(start: bytes) -> str:
    """Return the encoding that a byte order mark shows, or separators with a zero; else utf-8."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        for encoding in ("utf-16-le", "utf-16-be"):
            lines = start.decode(encoding, "replace").splitlines()[:MAX_LINES]
            if any(separator in line for line in lines for separator in SEPARATORS):
                return encoding
    return "utf-8"


def _names(
    lines: Sequence[str], separator: str, columns: Sequence[str]
) -> tuple[tuple[str, ...], int]:
    """Return the names in a header and its number of lines; blanks around a name do not count."""
    rows = csv.reader(lines, delimiter=separator)
    try:
        names = next(rows, [])
    except csv.Error:  # a field that never ends
        return (), 0
    stripped = names if set(columns) <= set(names) else [name.strip() for name in names]
    return tuple(stripped), rows.line_num


def _guess(lines: Sequence[str], separators: Sequence[str]) -> tuple[str, int]:
    """Return the separator with which most lines have the same number of columns, and the first."""
    best, best_score = (separators[0], 0), (1, 0)
    for separator in separators:
        sizes = [len(_names([line], separator, ())[0]) for line in lines]
        counts = Counter(size for size in sizes if size > 1)
        if not counts:
            continue
        size, n = counts.most_common(1)[0]
        if (n, size) > best_score:
            best, best_score = (separator, sizes.index(size)), (n, size)
    return best
