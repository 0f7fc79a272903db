"""Scales on which errors are measured: level, square root, log(1 + y).

On the right scale the errors of a series are as large at a high level as at a low one. Only series
without negative values are put on the latter two. `scale_choice` chooses one for a panel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Values
from forecast_assets.models.transforms import TRANSFORMS

# By name of the scale, the name of the transform of a model's target; the simplest first.
SCALES: Mapping[str, str | None] = MappingProxyType({"level": None, "sqrt": "sqrt", "log1p": "log"})


@dataclass(frozen=True)
class Scale:
    """A monotone function of the level, and its inverse."""

    name: str = "level"

    def forward(self, values: Values, is_on: NDArray[np.bool_]) -> Values:
        """Put values on the scale where `is_on`, negative ones as 0: [...] -> [...]."""
        transform = SCALES[self.name]
        if transform is None:
            return values
        changed = TRANSFORMS[transform].forward(np.maximum(values, 0.0), 0.0)
        return np.where(is_on, changed, values)

    def inverse(self, values: Values, is_on: NDArray[np.bool_]) -> Values:
        """Put values back on the level where `is_on`: [...] -> [...]."""
        transform = SCALES[self.name]
        if transform is None:
            return values
        changed = TRANSFORMS[transform].inverse(np.where(is_on, np.maximum(values, 0.0), 0.0), 0.0)
        return np.where(is_on, changed, values)

    def bounds(
        self, y_hat: Values, widths: Values, is_on: NDArray[np.bool_], *, minimum: float | None
    ) -> tuple[Values, Values]:
        """Return the ends of intervals in the unit of the level, none below `minimum`.

        `widths` [L, ..., H] are half-widths on the scale around forecasts `y_hat` [..., H] of the
        weeks ahead, with which no side of an interval narrows. An end beyond all numbers is NaN.
        """
        below = above = widths
        if SCALES[self.name] is not None:
            middle, is_point = self.forward(y_hat, is_on), widths == 0
            with np.errstate(over="ignore"):
                lows, highs = (self.inverse(middle + side * widths, is_on) for side in (-1, 1))
            # There and back a value changes by rounding.
            below, above = (np.where(is_point, 0.0, v) for v in (y_hat - lows, highs - y_hat))
        lows, highs = y_hat - _never_narrower(below), y_hat + _never_narrower(above)
        if SCALES[self.name] is not None:
            lows = np.where(is_on, np.minimum(np.maximum(lows, 0.0), y_hat), lows)
        if minimum is None:
            return lows, highs
        return np.maximum(lows, minimum), np.maximum(highs, minimum)


def _never_narrower(sides: Values) -> Values:
    """Return sides of intervals that never narrow with the weeks ahead: [..., H].

    It is the mean of the widest side up to a week and the narrowest from it on: where sides narrow
    by chance, neither the early nor the late ones are the better estimate.
    """
    known = np.maximum(sides, 0.0)
    widest = np.fmax.accumulate(known, axis=-1)
    narrowest = np.fmin.accumulate(known[..., ::-1], axis=-1)[..., ::-1]
    return np.where(np.isfinite(sides), (widest + narrowest) / 2, np.nan)


LEVEL = Scale()
