"""Make texts safe to open in spreadsheet programs, which run what looks like a formula."""

import re
from typing import Any

# What begins a formula in Excel, LibreOffice or Google Sheets, also in full width.
FORMULA_STARTS = tuple("=+-@＝＋－＠")
# Control characters, ends of lines, and what no file of Excel may hold.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def without_control_characters(text: str) -> str:
    """Return a text with a space for each control character."""
    return UNSAFE.sub(" ", text)


def safe_cell(value: Any) -> Any:
    """Return a value for a cell of CSV; a text that would be a formula has ' before it."""
    if not isinstance(value, str):
        return value
    text = without_control_characters(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text
