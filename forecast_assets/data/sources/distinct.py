"""Work on the distinct values of a column: millions of rows have few ids and days."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.storage.contract import Values

# Types that never hold values which are equal but written differently, such as 1 and 1.0.
UNIFORM_TYPES = ("string", "date", "datetime", "integer", "empty")
Mask = NDArray[np.bool_]
# A converted column, null where a value has a problem, and the bad rows [N] of each problem.
ParsedColumn = tuple[Values, Mapping[str, Mask]]


def factorize(values: Values) -> tuple[NDArray[np.intp], Values]:
    """Return for each row the index of its distinct value, -1 if missing, and these values."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy().astype(np.intp), pd.Series(values.cat.categories)
    if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) in UNIFORM_TYPES:
        codes, distinct = pd.factorize(values)
        return codes, pd.Series(distinct, dtype=distinct.dtype)
    codes = np.where(values.isna(), -1, np.arange(len(values)))  # 1, 1.0 and True are three ids
    return codes, values.astype(object)


def take(distinct: Values, codes: NDArray[np.intp], *, missing: object) -> Values:
    """Return the distinct value of each row."""
    with_missing = pd.concat([distinct, pd.Series([missing], dtype=distinct.dtype)])
    return pd.Series(with_missing.to_numpy()[codes])
