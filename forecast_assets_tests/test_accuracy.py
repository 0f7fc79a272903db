"""Published forecasts against what came, computed by hand."""

import pandas as pd
import pytest

from forecast_assets.accuracy import score_published
from forecast_assets.tables import tables
from forecast_assets_tests.builders import AS_OF, make_series

SERIES = make_series(a=[10.0, 12.0, 15.0, 11.0])
DS = list(SERIES["ds"])


def published(cutoff: int, y_hat: float, *, model: str = "m", half_width: float = 2.0) -> dict:
    """One forecast, one week after the week of that number."""
    return {
        "unique_id": "a",
        "h": 1,
        "ds": DS[cutoff] + pd.Timedelta(weeks=1),
        "y_hat": y_hat,
        "lo_80": y_hat - half_width,
        "hi_80": y_hat + half_width,
        "model": model,
        "rung": "champion",
        "cutoff": DS[cutoff],
        "made_at": AS_OF,
        "as_of": AS_OF,
    }


def scored(*rows: dict, levels: tuple[float, ...] = (80,)) -> pd.DataFrame:
    """The scores of the given forecasts, which keep their contract."""
    frame = score_published(pd.DataFrame(rows), SERIES, levels=levels)
    return tables(levels)["forecast_accuracy"].check(frame)


def test_a_forecast_is_held_against_the_value_and_against_naive():
    row = scored(published(1, 16.5)).iloc[0]
    assert (row["y"], row["error"], row["abs_error"]) == (15.0, 1.5, 1.5)
    assert row["naive_abs_error"] == 3.0
    assert row["in_80"]


def test_a_forecast_that_is_too_low_has_a_negative_error():
    row = scored(published(1, 11.0)).iloc[0]
    assert row["error"] == -4.0
    assert not row["in_80"]


def test_a_forecast_whose_week_is_not_over_is_not_scored():
    assert scored(published(3, 9.0)).empty


def test_of_forecasts_of_one_week_from_one_cutoff_the_last_counts():
    both = scored(published(0, 1.0, model="old"), published(0, 2.0, model="new"))
    assert list(both["model"]) == ["new"]


def test_a_forecast_from_another_cutoff_is_another_forecast():
    assert len(scored(published(0, 1.0), published(1, 2.0))) == 2


def test_a_level_that_was_not_published_then_is_null():
    row = scored(published(1, 16.0), levels=(80, 95)).iloc[0]
    assert row["lo_95"] != row["lo_95"]
    assert not row["in_95"]


@pytest.mark.parametrize(("half_width", "inside"), [(1.5, True), (1.4, False)])
def test_the_ends_of_an_interval_belong_to_it(half_width: float, inside: bool):  # noqa: FBT001
    assert bool(scored(published(1, 16.5, half_width=half_width)).iloc[0]["in_80"]) is inside
