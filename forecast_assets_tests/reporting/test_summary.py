"""A report knows its weeks and series, and summarizes each series in one row."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.quality.finding import Finding
from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets.reporting.summary import (
    WeeklyReport,
    displayed_levels,
    format_miss,
    interval_outcome,
    summarize_series,
)
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import make_report

NARROW, WIDE = {"lo_80": 9.0, "hi_80": 11.0}, {"lo_95": 8.0, "hi_95": 12.0}


def rows_of(report: WeeklyReport) -> pd.DataFrame:
    """Return the summary of each series by its name."""
    return summarize_series(report).set_index("unique_id")


def last_week(y: float, **ends: float) -> dict[str, float]:
    """Return a row with a value and the interval that was published for it."""
    return {"last_y": y, "miss": 0.0, **{f"was_{name}": end for name, end in ends.items()}}


def test_the_title_has_the_weeks_and_the_number_of_series():
    series = make_ragged(ended=(0, walk(10, seed=1)), current=(0, walk(20, seed=2)))
    title = "Forecast for the week ending 2024-05-24: 2 series"
    assert make_report(series, n_weeks=0).title == title
    further = make_report(series, n_weeks=0, horizon=3).title
    assert further == "Forecast for the weeks ending 2024-05-24 to 2024-06-07: 2 series"
    assert make_report(n_weeks=0).only(["nothing"]).title == "Forecast of no series"


def test_a_report_of_some_series_has_only_their_rows_and_findings():
    ids = ["Sales", "a1", "a[1]", "sales_uk", "stock"]
    findings = [
        Finding("flat", 1, series, "It is flat.")
        for series in (("sales_uk",), ("Sales", "sales_uk"), ("Sales",), ())
    ]
    report = make_report(
        make_series(**{name: walk(20, seed=i) for i, name in enumerate(ids)}),
        n_weeks=10,
        problems=["Sales is late."],
        findings=findings,
    )
    some = report.only(["sales*", "st?ck", "a[1]"])
    for frame in (some.forecast, some.series, some.best_model, some.metrics, some.accuracy):
        assert set(frame["unique_id"]) == {"sales_uk", "stock", "a[1]", "a1"}
    assert (some.run_id, some.levels) == (report.run_id, report.levels)
    assert (list(some.problems), list(some.findings)) == ([], findings[:1])
    assert report.only(["Sales"]).accuracy_check.n_weeks == report.accuracy_check.n_weeks == 10


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([80, 95], [80, 95]),
        ([90], [90]),
        ([50, 80, 95], [80, 95]),
        (list(range(1, 100, 4)), [81, 93]),
        ([99.9], [99.9]),
    ],
)
def test_at_most_two_levels_are_displayed(levels: list[float], expected: list[float]):
    assert displayed_levels(levels) == expected


def test_a_row_compares_the_newest_value_with_its_published_forecast():
    """Forecasts of the same week that were made earlier do not count."""
    series = make_series(a=[10.0, 11.0, 13.0, 12.0, 12.5, 12.5, 13.5])
    row = rows_of(make_report(series, half=2, horizon=3)).loc["a"]
    assert (row["last_y"], row["y_hat"], row["was_y_hat"]) == (13.5, 13.5, 12.5)
    assert (row["lo_80"], row["hi_80"]) == (11.5, 15.5)
    assert (row["miss"], row["surprise"]) == (-1.0, 0.5)
    assert row["step"] == pytest.approx(np.mean([1, 2, 1, 0.5, 0, 1]))


def test_without_a_published_interval_the_surprise_is_the_change_in_usual_changes():
    report = make_report(make_series(a=[1.0, 3.0, 1.0]), n_weeks=0)
    forecast = report.forecast.assign(y_hat=4.0, hi_80=9.0, hi_95=9.0)
    row = rows_of(replace(report, forecast=forecast)).loc["a"]
    assert np.isnan(row["miss"])
    assert row["surprise"] == 1.5
    flat = make_report(make_series(a=[5.0, 5.0]), n_weeks=0)
    assert np.isnan(rows_of(flat).loc["a", "surprise"])
    published = make_report(report.series)
    accuracy = published.accuracy.assign(lo_80=np.nan, hi_80=np.nan)
    assert rows_of(replace(published, accuracy=accuracy)).loc["a", "surprise"] == 0.0


def test_a_series_that_ended_has_its_own_last_week():
    series = make_ragged(a=(0, walk(10, seed=1)), b=(0, walk(20, seed=2)))
    rows = rows_of(make_report(series))
    assert rows["is_newest"].to_dict() == {"a": False, "b": True}
    assert (rows["ds"] - rows["last_ds"] == pd.Timedelta(weeks=1)).all()


def test_the_number_format_of_a_row_fits_its_interval_else_its_usual_change():
    report = make_report(make_series(a=[1.0, 1.25, 1.0]), half=20, units={"a": "tons"})
    assert rows_of(report).loc["a", "format"] == NumberFormat(0, unit="tons")
    forecast = report.forecast.assign(lo_80=np.nan, hi_80=np.nan)
    by_change = rows_of(replace(report, forecast=forecast, units={}))
    assert by_change.loc["a", "format"] == NumberFormat(2)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (last_week(9.0, **NARROW, **WIDE), "inside 80 %"),
        (last_week(11.5, **NARROW, **WIDE), "outside 80 %, inside 95 %"),
        (last_week(7.0, **NARROW, **WIDE), "outside 95 %"),
        (last_week(7.0, **NARROW, lo_95=np.nan, hi_95=np.nan), "no interval was published"),
        ({**last_week(7.0, **NARROW, **WIDE), "miss": np.nan}, "no forecast"),
    ],
)
def test_an_outcome_names_the_narrowest_interval_that_holds_the_value(
    row: dict[str, float], expected: str
):
    assert interval_outcome(row, [80, 95]) == expected


@pytest.mark.parametrize(
    ("miss", "expected"),
    [(1.26, "1.3 too high"), (-0.3, "0.3 too low"), (0.01, "none"), (np.nan, "–")],
)
def test_a_miss_has_its_direction(miss: float, expected: str):
    assert format_miss(miss, NumberFormat(1)) == expected
