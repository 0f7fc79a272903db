"""Split the difference between two forecasts into parts that sum to it.

The parts are differences between counterfactual forecasts, each with one more thing of this week in
place of last week's, in this order: what a person or the totals changed last week is taken off; the
installed code; this week's settings; this week's models and weights; last week's values without
their correction; the same weeks as they are known now; the target of this week; the new values;
their correction; what totals and a person change this week. Making a counterfactual forecast
belongs to `counterfactuals`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from forecast_assets.forecasting.ensembles import COMBINATIONS

NEW = "new observations"
REVISED = "revised history"
CORRECTION = "revision correction"
MODEL = "models and weights"
SETTINGS = "settings"
CODE = "code"
TARGET = "target one week later"
OVERRIDE = "override by a person"
TOTALS = "totals that add up"
# The order in which they are shown.
PARTS = (NEW, REVISED, CORRECTION, TARGET, MODEL, SETTINGS, CODE, TOTALS, OVERRIDE)
# Ensembles that weight all of their members equally.
EQUAL = ("combination_mean", "combination_median", "combination_best_model")


class NotSplit(Exception):
    """A counterfactual forecast cannot be made; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """The candidate that made a forecast, and the weights of the models that it combines."""

    candidate: str
    weights: Mapping[str, float]

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Self:
        """Read it from a row of next_week_forecast. Raises NotSplit if weights were not stored."""
        name, members, shares = (row.get(key) for key in ("model", "members", "weights"))
        if not isinstance(members, str):
            return cls(str(name), {str(name): 1.0})
        models = members.split(", ")
        if isinstance(shares, str):
            return cls(str(name), dict(zip(models, map(float, shares.split(", ")), strict=True)))
        if name in COMBINATIONS and name not in EQUAL and len(models) > 1:
            raise NotSplit(f"the weights of {name} were not recorded")
        return cls(str(name), dict.fromkeys(models, 1.0 / len(models)))

    @property
    def text(self) -> str:
        """Name the candidate, and its members with their shares."""
        if [*self.weights] == [self.candidate]:
            return self.candidate
        total = sum(self.weights.values())
        shares = [f"{name} {weight / total:.0%}" for name, weight in self.weights.items()]
        return f"{self.candidate} of {', '.join(shares)}"


class Published(NamedTuple):
    """A forecast for a week: as the models made it, as published, and as it counts."""

    base: float  # before totals were made to add up
    y_hat: float
    in_force: float  # a person's number where there is one

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Self:
        """Read it from a row of next_week_forecast; versions of earlier releases lack columns."""
        y_hat = float(row["y_hat"])
        base, given = (_number(row.get(name)) for name in ("y_hat_base", "override"))
        return cls(
            y_hat if math.isnan(base) else base, y_hat, y_hat if math.isnan(given) else given
        )


class Step(NamedTuple):
    """A part, and how to make the forecast with it in place; that may raise NotSplit."""

    part: str
    forecast: Callable[[], float]


@dataclass(frozen=True)
class Part:
    """A part of a difference; `problem` says why it is not split into the parts that it names."""

    name: str
    change: float
    problem: str = ""


def telescope(start: float, steps: Sequence[Step]) -> list[Part]:
    """Return the parts by which the last step's forecast differs from the start.

    A step that cannot be made is joined with the ones after it, up to the next that can: the part
    has the names of all, joined by `+`. Changes of the same name are summed. The parts sum to the
    difference.
    """
    changes: dict[str, float] = {}
    problems: dict[str, list[str]] = {}
    pending: list[str] = []
    why: list[str] = []
    last = start
    for step in steps:
        pending.append(step.part)
        try:
            value = step.forecast()
        except NotSplit as error:
            why.append(str(error))
            continue
        name = " + ".join(part for part in PARTS if part in pending)
        changes[name] = changes.get(name, 0.0) + value - last
        problems[name] = list(dict.fromkeys([*problems.get(name, []), *why]))
        last, pending, why = value, [], []
    order = sorted(changes, key=lambda name: PARTS.index(name.partition(" + ")[0]))
    return [Part(name, changes[name], "; ".join(problems[name])) for name in order]


# Makes the forecast `h` weeks after the cutoff of the values: by a recipe and settings of then or
# now, on values of one of VALUES. Raises NotSplit.
Forecast = Callable[[str, str, str, int], float]
THEN, NOW = "then", "now"
# What models are given: last week's values and this week's as they saw them, both without their
# correction, and this week's values of last week's weeks.
SEEN_THEN, RAW_THEN, REVISED_THEN, RAW_NOW, SEEN_NOW = VALUES = (
    *("as seen then", "as stored then", "of then as known now"),
    *("as stored now", "as seen now"),
)


def split(
    before: Published,
    after: Published,
    forecast: Forecast,
    *,
    h_then: int,
    h_now: int,
    n_new_weeks: int,
    is_recorded: bool = True,
) -> list[Part]:
    """Split the difference between last week's forecast and this week's, in the order above.

    They are `h_then` and `h_now` weeks after their cutoffs, which are `n_new_weeks` apart. With
    `is_recorded` false last week's settings are unknown: code and settings are one part.
    """

    def made(*at: Any) -> Callable[[], float]:
        return lambda: forecast(*at)

    def unknown() -> float:
        raise NotSplit("the settings of then were not recorded")

    code = made(THEN, THEN, SEEN_THEN, h_then) if is_recorded else unknown
    h_ahead = h_now + n_new_weeks
    to_target = [Step(TARGET, made(NOW, NOW, REVISED_THEN, h_ahead))] if h_ahead != h_then else []
    return telescope(
        before.in_force,
        [
            Step(OVERRIDE, lambda: before.y_hat),
            Step(TOTALS, lambda: before.base),
            Step(CODE, code),
            Step(SETTINGS, made(THEN, NOW, SEEN_THEN, h_then)),
            Step(MODEL, made(NOW, NOW, SEEN_THEN, h_then)),
            Step(CORRECTION, made(NOW, NOW, RAW_THEN, h_then)),
            Step(REVISED, made(NOW, NOW, REVISED_THEN, h_then)),
            *to_target,
            Step(NEW, made(NOW, NOW, RAW_NOW, h_now)),
            Step(CORRECTION, made(NOW, NOW, SEEN_NOW, h_now)),
            Step(CODE, lambda: after.base),
            Step(TOTALS, lambda: after.y_hat),
            Step(OVERRIDE, lambda: after.in_force),
        ],
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
