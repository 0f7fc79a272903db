"""Read a column of numbers, also texts with a decimal comma or with separators of thousands.

Texts are read if every notation that most of them can have gives the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from forecast_assets.data.sources.distinct import Mask, ParsedColumn, factorize, take
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.contract import Values

DECIMALS, THOUSANDS = (".", ","), ("", ",", ".", " ", "'")
# As typesetters write blanks and apostrophes.
BLANKS, APOSTROPHES = "[\u00a0\u2007\u2009\u202f]", "[\u2019\u02bc]"
# A number in any notation. RE2, not Python's syntax.
NUMBER = r"^[+-]?[0-9.,' ]*[0-9][0-9.,' ]*([eE][+-]?[0-9]+)?$"
# What `note` tells of a row whose number may mean a thousand times as much.
MAY_BE_THOUSANDS = "the point in y may separate thousands"
# Plain numbers of a series, as a share of those whose point may separate thousands.
MAX_PLAIN = 0.1
CHUNK = 1 << 14  # texts; the first ones of most columns show that a point separates decimals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Notation:
    """The separator of decimals, and that of thousands or none."""

    decimal: str
    thousands: str

    def pattern(self, *, strict: bool = True) -> str:
        """Return a regular expression; strict: four digits need a separator of thousands."""
        fraction = f"[{self.decimal}][0-9]*"
        whole = "[0-9]+"
        if self.thousands:
            grouped = f"[1-9][0-9]{{0,2}}([{self.thousands}][0-9]{{3}})+"
            whole = f"([0-9]{{1,3}}|{grouped})" if strict else f"([0-9]+|{grouped})"
        return f"^[+-]?({whole}({fraction})?|[{self.decimal}][0-9]+)([eE][+-]?[0-9]+)?$"

    def read(self, texts: pa.Array, is_number: Mask) -> Floats:
        """Return the numbers of texts; NaN where `is_number` [N] is false."""
        plain = pc.replace_substring(texts, self.thousands, "") if self.thousands else texts
        plain = pc.replace_substring(plain, self.decimal, ".")
        chosen = pc.if_else(pa.array(is_number), plain, pa.scalar(None, pa.string())).to_pandas()
        return np.asarray(pd.to_numeric(chosen, errors="coerce"), dtype=np.float64)

    def __str__(self) -> str:
        """Return a description for a note."""
        text = f"numbers have a decimal {'point' if self.decimal == '.' else 'comma'}"
        name = {" ": "a blank"}.get(self.thousands, f"`{self.thousands}`")
        return f"{text} and {name} between thousands" if self.thousands else text


PLAIN = Notation(".", "")


@dataclass(frozen=True)
class Numbers:
    """The numbers of texts, NaN where a text is none: [N].

    `is_doubtful` marks numbers that may mean a thousand times as much: 1.022, if every point has
    exactly three digits after it; `is_plain` marks those of four digits or more without a point in
    the same column. `is_ambiguous` marks texts that cannot be read, because a comma
    may separate decimals or thousands.
    """

    values: Floats
    is_doubtful: Mask
    is_ambiguous: Mask
    is_plain: Mask
    notation: Notation = PLAIN

    def doubtful_in(self, series: Values) -> Mask:
        """Return the doubtful numbers of series in which few numbers are plain: [N]."""
        counts = pd.DataFrame({"point": self.is_doubtful, "plain": self.is_plain})
        counts = counts.groupby(series.to_numpy(), dropna=False).transform("sum")
        has_few_plain = counts["plain"] <= MAX_PLAIN * counts["point"]
        return self.is_doubtful & has_few_plain.to_numpy()


def read_numbers(
    values: Values,
    decimal: str | None,
    thousands: str | None,
    *,
    origin: str,
    note: Callable[[str], None],
) -> Numbers:
    """Return the numbers of all rows: texts in their notation, anything else as it is.

    `note` gets the notation where it is recognized. Raises DataError if numbers are ambiguous.
    """
    if isinstance(values.dtype, pd.ArrowDtype | pd.StringDtype):
        values = values.astype(object)
    codes, distinct = _factorize_texts(values)
    if not len(distinct):
        no_rows = np.zeros(len(values), dtype=bool)
        return Numbers(_floats(values), no_rows, no_rows, no_rows)
    texts = parse_texts(distinct, decimal, thousands)
    is_ambiguous = np.append(texts.is_ambiguous, False)[codes]
    if is_ambiguous.any():
        raise _ambiguous_error(values, is_ambiguous, origin=origin)
    is_set = decimal is not None and (thousands is not None or not texts.notation.thousands)
    if texts.notation != PLAIN and not is_set:
        note(str(texts.notation))
    numbers = np.append(texts.values, np.nan)[codes]
    if values.dtype == object:
        others = _floats(values.where(codes < 0))
        numbers = np.where(codes < 0, others, numbers)
    is_doubtful, is_plain = (
        np.append(mask, False)[codes] for mask in (texts.is_doubtful, texts.is_plain)
    )
    return Numbers(numbers, is_doubtful, is_ambiguous, is_plain)


def _factorize_texts(values: Values) -> tuple[NDArray[np.intp], "pd.Series[str]"]:
    """Return the index of each row's distinct text, -1 if it is none, and these texts."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = factorize(values)
        is_text = pd.api.types.infer_dtype(distinct) == "string"
        return codes, distinct if is_text else distinct[:0].astype(str)
    kind = pd.api.types.infer_dtype(values) if values.dtype == object else ""
    if kind.startswith("mixed"):
        values = values.where(values.map(lambda value: isinstance(value, str)))
    elif kind != "string":
        return np.full(len(values), -1), pd.Series([], dtype=object)
    text_codes, texts = pd.factorize(values)
    return text_codes, pd.Series(texts, dtype=object)


def parse_numbers(values: Values, numbers: Numbers) -> ParsedColumn:
    """Return the numbers of a column that was read, and its bad rows."""
    is_infinite = np.isinf(numbers.values)
    parsed = pd.Series(np.where(is_infinite, np.nan, numbers.values))
    return parsed, {
        "no number": np.isnan(numbers.values) & values.notna().to_numpy(),
        "an infinite number": is_infinite,
    }


def _ambiguous_error(values: Values, is_ambiguous: Mask, *, origin: str) -> DataError:
    first = np.flatnonzero(is_ambiguous)[:5]
    shown = format_list(
        (f"row {row + 1}: {values.iloc[row]!r}" for row in first), total=int(is_ambiguous.sum())
    )
    return DataError(
        f"{is_ambiguous.sum()} of {len(values)} rows of {origin}, column `{values.name}`, have a"
        f" separator that may stand before decimals or between thousands: {shown}. Their values"
        f" are ambiguous, so nothing was published. Set `source.decimal` or `source.thousands` to"
        f" the separator, whichever it is."
    )


def parse_texts(texts: "pd.Series[str]", decimal: str | None, thousands: str | None) -> Numbers:
    """Return the numbers of distinct texts; `decimal` and `thousands` are given by the settings."""
    none = np.zeros(len(texts), dtype=bool)
    plain = _floats(texts)
    if thousands != "." and decimal != ",":
        failed = _clean(texts[np.isnan(plain)])
        if not _matches(failed, NUMBER).any():
            is_certain = decimal is not None or thousands is not None
            is_doubtful, is_plain = (none, none) if is_certain else _doubtful(texts)
            return Numbers(plain, is_doubtful, none, is_plain)
    clean = _clean(texts)
    is_number = _matches(clean, NUMBER)
    used = [t for t in THOUSANDS if not t or pc.any(pc.match_substring(clean, t)).as_py()]
    notations = [
        Notation(d, t)
        for d, t in product(DECIMALS, used if thousands is None else (thousands,))
        if d != t and decimal in (None, d)
    ]
    fits = [_matches(clean, n.pattern(strict=thousands is None)) & is_number for n in notations]
    most = max(int(fit.sum()) for fit in fits)
    best = [(n, fit) for n, fit in zip(notations, fits, strict=True) if fit.sum() == most]
    notation, is_read = best[0]
    values, *others = (n.read(clean, fit) for n, fit in best)
    differs = is_read & np.logical_or.reduce([values != other for other in others] or [none])
    values = np.where(is_number, values, plain)
    if notation == PLAIN:
        return Numbers(values, differs, none, none)
    return Numbers(values, none, differs, none, notation)


def _clean(texts: "pd.Series[str]") -> pa.Array:
    """Return the texts without blanks around them, and with plain blanks and apostrophes."""
    try:
        array = pa.array(texts, pa.string())
    except UnicodeEncodeError:  # half of a character
        array = pa.array([text.encode(errors="ignore").decode() for text in texts], pa.string())
    array = pc.replace_substring_regex(array, BLANKS, " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(array, APOSTROPHES, "'"))


def _matches(texts: pa.Array, pattern: str) -> Mask:
    mask: Mask = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return mask


def _doubtful(texts: "pd.Series[str]") -> tuple[Mask, Mask]:
    """Return where a point may separate thousands, and where four digits or more have no point.

    Nowhere if any number has a point that cannot separate thousands.
    """
    none = np.zeros((2, len(texts)), dtype=bool)
    has_point, is_plain = none.copy()
    pattern = Notation(",", ".").pattern()
    for start in range(0, len(texts), CHUNK):
        chunk, part = _clean(texts[start : start + CHUNK]), slice(start, start + CHUNK)
        is_number, with_point = _matches(chunk, NUMBER), _matches(chunk, "[.]")
        is_other = is_number & ~_matches(chunk, pattern)
        if (is_other & with_point).any():
            return none[0], none[1]
        has_point[part], is_plain[part] = is_number & with_point, is_other
    return has_point, is_plain


def _floats(values: Values) -> Floats:
    return np.asarray(to_float64(values), dtype=np.float64)


def to_float64(values: Values) -> "pd.Series[float]":
    """Convert to float64; NaN where the value is not a number or too large."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = factorize(values)
        return take(to_float64(distinct), codes, missing=float("nan"))
    if values.dtype.kind in "mMc":  # times, durations and complex numbers
        return pd.Series(float("nan"), index=values.index)
    if isinstance(values.dtype, pd.ArrowDtype):  # pandas cannot convert decimals of Arrow
        values = values.astype(object)
    try:
        numbers = pd.to_numeric(values, errors="coerce")
    except OverflowError:
        numbers = pd.to_numeric(values.astype(str).where(values.notna()), errors="coerce")
    return to_float64(numbers) if numbers.dtype.kind == "c" else numbers.astype("float64")
