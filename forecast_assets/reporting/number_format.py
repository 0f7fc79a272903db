"""Write numbers for people: values of a series, shares, ratios, counts and axis labels.

Packages below `reporting` write plain format specs in their messages, as they cannot import this.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from forecast_assets.config.series_settings import first_match

MISSING = "–"
# More digits of an uncertainty are noise.
UNCERTAINTY_DIGITS, DIGITS_WITHOUT_UNCERTAINTY = 2, 5
MAX_DECIMALS = 15
# Decimals of values from here on are noise.
MIN_WHOLE = 10_000


@dataclass(frozen=True)
class NumberFormat:
    """Decimals and unit that all numbers of one series share."""

    decimals: int
    unit: str = ""

    def text(self, value: float | None) -> str:
        """Write a value with thousands separators; a dash where it is missing."""
        if value is None or not math.isfinite(value):
            return MISSING
        text = f"{value:,.{self.decimals}f}"
        return text.strip("-") if is_zero(text) else text.replace("-", "−")

    def signed(self, value: float | None) -> str:
        """Write a change with its sign; zero and missing values have none."""
        text = self.text(value)
        return text if text[0] in f"−{MISSING}" or is_zero(text) else f"+{text}"

    def range(self, low: float, high: float) -> str:
        """Write an interval; a dash where an end is missing."""
        is_complete = math.isfinite(low) and math.isfinite(high)
        return f"{self.text(low)} to {self.text(high)}" if is_complete else MISSING


def choose_format(value: float, uncertainty: float, *, unit: str = "") -> NumberFormat:
    """Choose the decimals that show two significant digits of the uncertainty.

    The uncertainty is half the width of an interval, or a usual weekly change. Where it is zero or
    missing, the value gets up to five significant digits.
    """
    if math.isfinite(uncertainty) and uncertainty > 0:
        decimals = UNCERTAINTY_DIGITS - 1 - _magnitude(uncertainty)
    else:
        size = abs(value) if math.isfinite(value) else 0.0
        plain = f"{size:.{max(0, DIGITS_WITHOUT_UNCERTAINTY - 1 - _magnitude(size))}f}"
        decimals = len(plain.partition(".")[2].rstrip("0"))
    return NumberFormat(min(max(decimals, 0), MAX_DECIMALS), unit)


def unit_of(name: str, units: Mapping[str, str]) -> str:
    """Return the unit of the first pattern that matches a series' name, else an empty text."""
    return first_match(name, units) or ""


def is_zero(text: str) -> bool:
    """Return whether a written number, with or without its sign, is rounded to zero."""
    return not text.strip("+-−0.,")


def format_number(value: float | None) -> str:
    """Write a single number: five significant digits, thousands separators; a dash for none."""
    if value is None or pd.isna(value):
        return MISSING
    return f"{value:,.0f}" if abs(value) >= MIN_WHOLE else f"{value:,.5g}"


def format_percent(share: float | None, decimals: int = 0) -> str:
    """Write a fraction in percent; a dash where it is missing."""
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{share:.{decimals}%}".replace("%", " %").replace("-", "−")


def format_score(value: float, metric: str) -> str:
    """Write a score: scaled errors with two decimals, percentage errors in percent."""
    if metric in ("mase", "rmsse"):
        return f"{value:.2f}" if math.isfinite(value) else MISSING
    return format_percent(value, 1) if metric in ("mape", "smape") else format_number(value)


def si_format(value: float) -> str:
    """Shorten a number for an axis: 1928460 -> 1.928M, 12500 -> 12.5k, 2.5 -> 2.5."""
    for prefix, size, smallest in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, MIN_WHOLE)):
        if abs(value) >= smallest:
            return f"{value / size:.4g}{prefix}"
    return f"{value:.4g}"


def _magnitude(size: float) -> int:
    """Return the power of ten of the first significant digit."""
    return math.floor(math.log10(size)) if size else 0
