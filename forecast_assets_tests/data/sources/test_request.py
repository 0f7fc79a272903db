"""Dates in texts of the settings."""

from datetime import datetime

import pytest

from forecast_assets.data.sources.request import expand_as_of

AS_OF = datetime(2026, 1, 5, 7, 30)  # noqa: DTZ001 - in the source's own time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no date", "no date"),
        ("{as_of}", "2026-01-05"),
        ("a/{as_of:%Y/%m}/{as_of:%d}.csv", "a/2026/01/05.csv"),
        ("{as_of:W%V %H:%M}", "W02 07:30"),
        ("{as_of:}", "2026-01-05"),
        ("{other} {} {{as_of}} {as_off} {as_of!r}", "{other} {} {2026-01-05} {as_off} {as_of!r}"),
        ('{"day": "{as_of}"}', '{"day": "2026-01-05"}'),
    ],
)
def test_only_as_of_is_replaced(text: str, expected: str) -> None:
    assert expand_as_of(text, AS_OF) == expected
