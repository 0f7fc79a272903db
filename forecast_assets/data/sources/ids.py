"""Read the ids of series: text as it is written, whole numbers as such, several columns joined."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.data.sources.distinct import ParsedColumn, factorize, take
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.contract import Values

# Between the columns that are joined to one id, as in hierarchies: Austria/Graz.
JOINED_BY = "/"


def parse_ids(columns: Sequence[Values], *, origin: str) -> ParsedColumn:
    """Return the ids; those of several columns are joined, with a slash between them."""
    codes, names = _factorize_ids(columns[0])
    for column in columns[1:]:
        more_codes, more_names = _factorize_ids(column)
        is_missing = (codes < 0) | (more_codes < 0)
        pair = np.where(is_missing, -1, codes * len(more_names) + more_codes)
        codes, pairs = pd.factorize(np.where(is_missing, np.nan, pair))
        first, second = np.divmod(pairs.astype(np.int64), max(1, len(more_names)))
        parts = pd.DataFrame({0: names.to_numpy()[first], 1: more_names.to_numpy()[second]})
        names = parts[0].str.cat(parts[1], sep=JOINED_BY).astype(object)
        _check_distinct(parts.drop_duplicates(), names, origin=origin)
    is_name = names.notna()
    return take(names, codes, missing=None), {
        "no series (the id is missing)": codes < 0,
        "no name for a series": np.append(~is_name, False)[codes],
    }


def _check_distinct(parts: pd.DataFrame, names: Values, *, origin: str) -> None:
    """Refuse different ids that are the same once they are joined: a/b with c, and a with b/c."""
    is_same = names[parts.index].duplicated(keep=False) & names[parts.index].notna()
    if is_same.any():
        raise DataError(
            f"{is_same.sum()} ids of {origin} are the same once their columns are joined by"
            f" {JOINED_BY}: {format_list(names[parts.index][is_same].unique())}. Different series"
            f" would be one, so nothing was published. Rename them at the source."
        )


def _factorize_ids(values: Values) -> tuple[NDArray[np.intp], Values]:
    """Return the index of each row's id, -1 if missing, and the ids as text, null if no name."""
    codes, distinct = factorize(values)
    distinct = distinct.astype(object)
    is_name = distinct.map(_is_name).astype(bool)
    return codes, distinct.where(is_name).map(_id_text, na_action="ignore").astype(object)


def _id_text(value: object) -> str:
    """Write an id as text. Nulls make floats of integers: 1.0 is 1 without them."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _is_name(value: object) -> bool:
    """Accept text that is neither blank nor broken, and any single value that can be written so."""
    if isinstance(value, str):
        return bool(value.strip()) and value.encode(errors="ignore").decode() == value
    return pd.api.types.is_scalar(value) and not isinstance(value, bytes)
