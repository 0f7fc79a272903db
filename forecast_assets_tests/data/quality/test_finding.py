"""A finding, and how numbers and names are written in it."""

import pytest

from forecast_assets.data.quality.finding import (
    Finding,
    make_finding,
    named,
    number,
    percent,
    pluralize,
)


def test_what_was_found_and_what_to_do_are_one_paragraph():
    (one,) = make_finding("late", 2, ["a", "b"], "Two are late.", "Wait.")
    assert one == Finding("late", 2, ("a", "b"), "Two are late.", "Wait.")
    assert one.says == "Two are late. Wait."
    assert make_finding("late", 0, [], "None is late.") == []


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 series"), (1, "1 series"), (12_345, "12,345 series")]
)
def test_a_number_has_its_noun(n: int, said: str):
    assert pluralize(n, "series", "series") == said
    assert (pluralize(1, "week"), pluralize(2, "week")) == ("1 week", "2 weeks")


def test_the_first_five_are_named():
    assert named("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("value", "said"), [(0.12345678, "0.12346"), (12_345.6, "12,346"), (1234567.8, "1,234,568")]
)
def test_a_value_is_short(value: float, said: str):
    assert number(value) == said
    assert percent(0.0432) == "4.32 %"
