"""Tell lines below a table, such as notes and sources, from rows of the table.

How lines are read belongs to `csv_text` and `excel`.
"""

import re
from collections.abc import Mapping

import pandas as pd

MAX_FOOTER_LINES = 20
DATE = re.compile(r"\s*(\d{4}-?\d\d-?\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{2,4})([T ].*)?\s*")


def has_known_place(
    places: Mapping[str, str], known: Mapping[str, pd.Index], *, ds: str, last: str = ""
) -> bool:
    """Return whether a line has a text of the table in its place, of a time in the column `ds`.

    `known` has the texts of each column. At the place `last` the beginning of one is enough.
    """
    for name, texts in known.items():
        field = places.get(name, "").strip()
        if name == ds:  # 2026-01-02 is 9999-99-99
            field = re.sub(r"\d", "9", field)
        alike = texts.str.replace(r"\d", "9", regex=True) if name == ds else texts
        is_beginning = name == last and bool(field.strip("9")) and alike.str.startswith(field).any()
        if field and (field in alike or is_beginning):
            return True
    return False
