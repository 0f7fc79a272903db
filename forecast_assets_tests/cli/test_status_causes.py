"""The lines of `status` on what people know."""

from pathlib import Path

import pandas as pd

from forecast_assets.cli.status_causes import totals
from forecast_assets_tests.builders import make_settings

PARENTS = {"north": None, "north/1": "north", "north/2": "north", "south": None, "south/3": "south"}


def make_forecast(**method: str | None) -> pd.DataFrame:
    """Return the columns of a forecast; `method` is that of a total and its parts."""
    rows = [(name, parent, method[parent or name]) for name, parent in PARENTS.items()]
    return pd.DataFrame(rows, columns=["unique_id", "parent", "reconciliation"])


def test_the_method_by_which_totals_add_up_is_named(tmp_path: Path):
    settings = make_settings(tmp_path, hierarchy={"levels": ["region", "region/store"]})
    cases: list[tuple[dict[str, str | None], object]] = [
        ({"north": "min_trace", "south": "min_trace"}, ("min_trace", True, "by min_trace")),
        (
            {"north": "bottom_up", "south": None},
            (
                "bottom_up",
                False,
                "by bottom_up; 1 of 2 totals are no sums of their parts: south",
            ),
        ),
        ({"north": None, "south": None}, (None, False, "none of the forecasts add up")),
    ]
    for methods, expected in cases:
        (line,) = totals(make_forecast(**methods), settings)
        assert (line.value, line.is_well, line.text) == expected
    assert not [*totals(make_forecast(north=None, south=None), make_settings(tmp_path))]
