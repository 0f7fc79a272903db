"""Texts have enough contrast in the light, the dark and the printed theme; no browser is needed."""

import re

import pytest

from forecast_assets.reporting.render import template_source

# WCAG 2.2 AA for text of a usual size.
MIN_CONTRAST = 4.5
TEXTS, GROUNDS = ("ink", "pale", "accent", "warn"), ("paper", "wash")
CSS = template_source("report.css")


def palettes() -> dict[str, dict[str, str]]:
    """Return the colours of each theme by name."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    names = ("light", "dark", "print")
    colours = [dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block)) for block in blocks]
    return dict(zip(names, colours, strict=True))


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG defines it."""
    digits = colour.removeprefix("#")
    pairs = re.findall("..", digits) if len(digits) == 6 else [2 * digit for digit in digits]
    shares = [int(pair, 16) / 255 for pair in pairs]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_every_text_has_enough_contrast(theme: str):
    palette = palettes()[theme]
    for text in TEXTS:
        for ground in GROUNDS:
            low, high = sorted(luminance(palette[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= MIN_CONTRAST, (text, ground)


def test_the_contrast_of_black_and_white_is_known():
    assert (luminance("#fff") + 0.05) / (luminance("#000000") + 0.05) == pytest.approx(21)
