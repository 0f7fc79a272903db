"""The parts of a difference between two forecasts: they sum to it, and name what is not split."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.forecasting.explanation import (
    CODE,
    MODEL,
    NEW,
    NOW,
    OVERRIDE,
    PARTS,
    REVISED,
    SEEN_THEN,
    SETTINGS,
    TARGET,
    THEN,
    TOTALS,
    NotSplit,
    Part,
    Published,
    Recipe,
    Step,
    split,
    telescope,
)

numbers = st.floats(-1e6, 1e6)


def refuse(why: str) -> Callable[[], float]:
    def forecast() -> float:
        raise NotSplit(why)

    return forecast


def test_each_step_is_a_part_and_equal_names_are_summed():
    steps = [(NEW, 12.0), (CODE, 15.0), (NEW, 14.0)]
    parts = telescope(10.0, [Step(name, lambda y=y: y) for name, y in steps])
    assert parts == [Part(NEW, 1.0), Part(CODE, 3.0)]


def test_a_step_that_cannot_be_made_is_joined_with_the_next_ones():
    steps = [
        Step(CODE, refuse("the model gone is no longer installed")),
        Step(SETTINGS, refuse("the model gone is no longer installed")),
        Step(MODEL, lambda: 13.0),
        Step(NEW, lambda: 12.0),
    ]
    assert telescope(10.0, steps) == [
        Part(NEW, -1.0),
        Part(f"{MODEL} + settings + code", 3.0, "the model gone is no longer installed"),
    ]


@settings(deadline=None, max_examples=60)
@given(
    levels=st.lists(numbers, min_size=6, max_size=6),
    made=st.lists(st.none() | numbers, min_size=16, max_size=16),
    weeks=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3)),
    is_recorded=st.booleans(),
)
def test_the_parts_sum_to_the_difference(
    levels: list[float],
    made: list[float | None],
    weeks: tuple[int, int, int],
    *,
    is_recorded: bool,
):
    """Whatever the counterfactual forecasts are, and whichever cannot be made."""
    before, after = Published(*levels[:3]), Published(*levels[3:])
    known: dict[tuple[object, ...], float | None] = {}

    def forecast(*at: object) -> float:
        value = known.setdefault(at, made[len(known) % len(made)])
        if value is None:
            raise NotSplit("it cannot be made")
        return value

    h_then, h_now, n_new = weeks
    parts = split(
        before,
        after,
        forecast,
        h_then=h_then,
        h_now=h_now,
        n_new_weeks=n_new,
        is_recorded=is_recorded,
    )
    total = math.fsum(part.change for part in parts)
    size = max(map(abs, [*levels, *(y for y in made if y is not None)]))
    assert total == pytest.approx(after.in_force - before.in_force, rel=1e-9, abs=1e-9 * size)
    assert {part.name for part in parts} <= set(PARTS) or any(part.problem for part in parts)


def test_forecasts_of_one_week_have_no_part_for_another_target():
    def forecast(*_: object) -> float:
        return 1.0

    same = split(Published(1, 1, 1), Published(1, 1, 1), forecast, h_then=2, h_now=1, n_new_weeks=1)
    later = split(
        Published(1, 1, 1), Published(1, 1, 1), forecast, h_then=1, h_now=1, n_new_weeks=1
    )
    assert TARGET not in [part.name for part in same]
    assert TARGET in [part.name for part in later]


def test_each_change_is_the_part_of_what_changed():
    """A model whose forecast is a sum of what it is given has these as its parts."""
    of_values = dict(zip(("as seen then", "as stored then"), (8.0, 7.0), strict=True))
    of_values |= {"of then as known now": 5.0, "as stored now": 9.0, "as seen now": 10.5}

    def forecast(recipe: str, given: str, values: str, h: int) -> float:
        return (recipe == NOW) * 100 + (given == NOW) * 1000 + of_values[values] + h / 10

    made_then = forecast(THEN, THEN, SEEN_THEN, 1)
    before = Published(made_then - 0.5, made_then, made_then)
    made_now = forecast(NOW, NOW, "as seen now", 1)
    after = Published(made_now, made_now + 3, 2000.0)
    parts = split(before, after, forecast, h_then=1, h_now=1, n_new_weeks=1)
    changes = {part.name: part.change for part in parts}
    expected = {
        NEW: 4.0 - 0.1,
        REVISED: -2.0,
        "revision correction": -1.0 + 1.5,
        TARGET: 0.1,
        MODEL: 100.0,
        SETTINGS: 1000.0,
        CODE: 0.5,
        TOTALS: -0.5 + 3,
        OVERRIDE: 2000 - made_now - 3,
    }
    assert changes == pytest.approx(expected)
    assert list(changes) == list(PARTS)


def test_settings_that_were_not_recorded_are_one_part_with_the_code():
    parts = split(
        Published(1, 1, 1),
        Published(1, 1, 1),
        lambda *_: 2.0,
        h_then=1,
        h_now=1,
        n_new_weeks=1,
        is_recorded=False,
    )
    (joined,) = (part for part in parts if part.problem)
    assert joined == Part("settings + code", 1.0, "the settings of then were not recorded")


def test_a_recipe_has_the_weights_that_were_stored():
    row = {"model": "combination_inverse_error", "members": "a, b", "weights": "0.25, 0.75"}
    assert Recipe.of(row).weights == {"a": 0.25, "b": 0.75}
    assert Recipe.of(row).text == "combination_inverse_error of a 25%, b 75%"
    single = Recipe.of({"model": "theta", "members": None})
    assert (single.weights, single.text) == ({"theta": 1.0}, "theta")
    equal = Recipe.of({"model": "combination_median", "members": "a, b"})
    assert equal.weights == {"a": 0.5, "b": 0.5}


def test_weights_of_an_earlier_release_are_unknown():
    row = {"model": "combination_inverse_error", "members": "a, b", "weights": None}
    with pytest.raises(NotSplit, match="the weights of combination_inverse_error were not record"):
        Recipe.of(row)


def test_the_number_in_force_is_a_persons_where_there_is_one():
    row = {"y_hat": 2.0, "y_hat_base": 1.0, "override": 3.0}
    assert Published.of(row) == (1.0, 2.0, 3.0)
    assert Published.of({"y_hat": 2.0, "override": None}) == (2.0, 2.0, 2.0)
    assert Published.of({"y_hat": 2.0, "y_hat_base": np.nan}) == (2.0, 2.0, 2.0)
