"""Convert the columns of a frame to values or texts, each distinct value once."""

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

import pandas as pd

from forecast_assets.storage.contract import Kind

# From what pandas holds.
CONVERSIONS: Mapping[Kind, Callable[[Any], Any]] = {
    "date": lambda time: time.date(),
    "timestamp": lambda time: time.to_pydatetime().astimezone(UTC),
}


def by_value(
    values: "pd.Series[Any]", convert: Callable[[Any], Any], *, missing: Any = None
) -> list[Any]:
    """Return each value converted; most columns have few distinct ones."""
    codes, distinct = pd.factorize(values)
    converted = [convert(value) for value in distinct.tolist()]
    converted.append(missing)  # its code is -1
    return [converted[code] for code in codes.tolist()]


def to_values(values: "pd.Series[Any]", kind: Kind) -> list[Any]:
    """Return Python values: dates, times in UTC, numbers, texts; None for a missing one."""
    return by_value(values, CONVERSIONS.get(kind, lambda value: value))
