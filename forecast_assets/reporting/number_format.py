"""How the numbers of a series are written: in its unit, with the decimals that it deserves.

What the numbers are does not belong here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from forecast_assets.config.settings import matches_any

NOTHING = "–"
SIGNIFICANT = 2  # digits of the uncertainty: a third one nobody could tell from chance
CERTAIN_DIGITS = 5  # of a value that is known without any
MOST_DECIMALS = 9
LARGE, MOST_PLAIN_DECIMALS = 1e10, 6  # beyond either, numbers are told in powers of ten
MOST_SCALED_DIGITS = 6  # after the point, or the power would hide what differs
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class NumberFormat:
    """How all numbers of one series are written, so that they line up."""

    decimals: int
    power: int = 0  # of ten, that the numbers are told in
    unit: str = ""

    @property
    def label(self) -> str:
        """What the numbers are in: the power of ten if there is one, and the unit."""
        power = f"×10{str(self.power).translate(RAISED)}" if self.power else ""
        return " ".join(part for part in (power, self.unit) if part)

    def text(self, value: float | None) -> str:
        """A number for people, thousands apart; a dash for none."""
        if value is None or not math.isfinite(value):
            return NOTHING
        text = f"{value / 10**self.power:,.{self.decimals}f}"
        is_zero = not text.strip("-0.,")
        return text.strip("-") if is_zero else text.replace("-", "−")

    def signed(self, value: float | None) -> str:
        """A change for people: as `text`, with its sign."""
        text = self.text(value)
        return text if text[0] in "−–" or not text.strip("0.,") else f"+{text}"

    def range(self, low: float, high: float) -> str:
        """An interval for people; a dash where there is none."""
        known = math.isfinite(low) and math.isfinite(high)
        return f"{self.text(low)} to {self.text(high)}" if known else NOTHING


def number_format_of(value: float, *, uncertainty: float, unit: str = "") -> NumberFormat:
    """Two significant digits of the uncertainty (half an interval's width, or a usual step).

    Where that is none, five of the value. Numbers too large or too small to read are told in powers
    of ten, unless that would cost them what tells them apart.
    """
    size = abs(value) if math.isfinite(value) else 0.0
    if math.isfinite(uncertainty) and uncertainty > 0:
        decimals = SIGNIFICANT - 1 - math.floor(math.log10(uncertainty))
        size = max(size, uncertainty)
    else:
        plain = f"{size:.{max(0, CERTAIN_DIGITS - 1 - _magnitude(size))}f}"
        decimals = len(plain.partition(".")[2].rstrip("0"))
    power = 3 * (_magnitude(size) // 3)
    is_awkward = size >= LARGE or decimals > MOST_PLAIN_DECIMALS
    if not (is_awkward and decimals + power <= MOST_SCALED_DIGITS):
        power = 0
    return NumberFormat(min(max(decimals + power, 0), MOST_DECIMALS), power, unit)


def unit_of(name: str, units: Mapping[str, str]) -> str:
    """The unit of a series: that of the first pattern that its name fits, else none."""
    return next((unit for pattern, unit in units.items() if matches_any(name, [pattern])), "")


def _magnitude(size: float) -> int:
    return math.floor(math.log10(size)) if size else 0


def format_number(value: float | None) -> str:
    """A number for people: five significant digits, thousands apart; a dash for none."""
    if value is None or pd.isna(value):
        return NOTHING
    whole = 10_000  # from here on, what follows the point is noise
    return f"{value:,.0f}" if abs(value) >= whole else f"{value:,.5g}"


def format_share(value: float | None, decimals: int = 0) -> str:
    """A fraction in percent; a dash for none."""
    is_known = value is not None and math.isfinite(value)
    return f"{value:.{decimals}%}".replace("%", " %").replace("-", "−") if is_known else NOTHING


def _ratio(value: float | None) -> str:
    return f"{value:.2f}" if value is not None and math.isfinite(value) else NOTHING
