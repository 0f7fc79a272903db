"""The data of the series' pages hold the weeks, the past forecasts and the sentences."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from forecast_assets.data.quality.finding import Finding, SeriesRow
from forecast_assets.reporting.narrative import NO_TRACK_RECORD
from forecast_assets.reporting.overview import summarize
from forecast_assets.reporting.series_pages import SERIES_PER_FILE, Record, series_files, series_url
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.report_builders import make_report, many_series


def records_of(report: WeeklyReport) -> list[list[Record]]:
    """Return the records of each file."""
    summary = summarize(report)
    files = dict(series_files(report, summary.rows, summary.reasons, summary.levels))
    contents = []
    for number, (name, text) in enumerate(files.items()):
        assert name == f"series/{number}.js"
        head, tail = f"forecastAssets.add({number}, ", ");\n"
        assert text.startswith(head)
        contents.append(json.loads(text.removeprefix(head).removesuffix(tail)))
    return contents


def test_a_record_holds_the_weeks_and_what_was_forecast_for_them():
    series = make_series(sales=walk(150, seed=1))
    report = make_report(series, n_weeks=5, half=1.0, levels=[50, 80, 95], units={"*": "tons"})
    (record,) = records_of(report)[0]
    y = series["y"].to_numpy()
    assert (record["name"], record["unit"]) == ("sales", "tons")
    assert record["start"] == str(series["ds"].iloc[-104].date())
    np.testing.assert_allclose(record["y"], y[-104:], atol=0.05)
    assert record["from"] == 104 - 5
    np.testing.assert_allclose(record["was"], y[-6:-1], atol=0.05)
    np.testing.assert_allclose(record["low"], y[-6:-1] - 1.0, atol=0.05)
    assert len(record["ends"]) == 3
    assert record["shown"] == 1
    np.testing.assert_allclose(record["ends"][1], [[y[-1] - 1.0], [y[-1] + 1.0]], atol=0.05)
    assert record["next"] == [str(report.forecast["ds"].iloc[0].date())]
    assert record["spells"] == [[str(report.accuracy["ds"].min().date()), "naive", 6]]
    assert record["expect"].startswith(f"{y[-1]:.1f} tons is expected for the week ending ")
    n_inside = int(report.accuracy["in_80"].sum())
    assert record["record"].endswith(f"; {n_inside} of 5 values were in their likely range.")
    assert "as much as repeating the last value would have been" in record["record"]


def test_a_week_without_a_forecast_is_null_and_a_first_week_has_no_track_record():
    report = make_report(n_weeks=5)
    is_gap = report.accuracy["ds"] == sorted(report.accuracy["ds"])[2]
    (record,) = records_of(replace(report, accuracy=report.accuracy[~is_gap]))[0]
    assert [value is None for value in record["was"]] == [False, False, True, False, False]
    (first,) = records_of(make_report(n_weeks=0))[0]
    assert (first["was"], first["record"]) == ([], NO_TRACK_RECORD)
    (second,) = records_of(make_report(n_weeks=1))[0]
    assert re.search(r"; the value was (in|outside) its likely range\.$", second["record"])


def test_a_record_has_findings_reasons_and_overrides_of_its_series_only():
    report = make_report(many_series(2), half=2.0)
    row = SeriesRow("s0001", "2024-07-26", 1, "9 usual changes")
    finding = Finding("unusual", 1, ("s0001",), "It is odd.", (row,), policy="warn")
    given = {"override": [3.0, np.nan], "override_by": "ann", "override_reason": "a contract"}
    given |= {"moved_by_data": [0.0, 0.25], "moved_by_model": [np.nan, -1.0]}
    given |= {"moved_from": report.forecast["y_hat"] + 0.75}
    report = replace(report, findings=[finding], forecast=report.forecast.assign(**given))
    first, second = records_of(report)[0]
    assert first["override"] == {"y": 3.0, "text": "3 by ann (a contract)"}
    assert (first["findings"], first["moved"], second["override"]) == ([], [], None)
    assert second["findings"] == ["unusual, week 2024-07-26: 9 usual changes"]
    y_hat = report.forecast["y_hat"].iloc[1]
    assert second["moved"] == [
        f"the forecast for the week before was {y_hat + 0.75:.1f}, this one is {y_hat:.1f}",
        "new and revised data: +0.25",
        "another model or other weights: −1.00",
    ]
    assert second["look"].startswith("data: unusual")


def test_a_forecast_without_a_range_says_that_it_is_unknown():
    report = make_report(n_weeks=0)
    ends = dict.fromkeys(["lo_80", "hi_80", "lo_95", "hi_95"], np.nan)
    (record,) = records_of(replace(report, forecast=report.forecast.assign(**ends)))[0]
    assert record["expect"].endswith(" How sure that is, is unknown.")
    assert record["ends"] == [[[None], [None]]] * 2


@pytest.mark.parametrize("name", ["</script><!-- & \u2028", "a#b/c?d e%20", "ملف"])
def test_names_are_safe_in_scripts_and_addresses(name: str):
    report = make_report(make_series(**{name: walk(5, seed=1)}), n_weeks=0)
    summary = summarize(report)
    ((_, text),) = series_files(report, summary.rows, summary.reasons, summary.levels)
    assert not set("<>&\u2028") & set(text)
    assert records_of(report)[0][0]["name"] == name
    assert series_url(name).startswith("series.html#")
    assert not set('<>&" /?') & set(series_url(name).removeprefix("series.html#"))


def test_many_series_are_split_into_files_in_the_order_of_the_table():
    report = make_report(many_series(SERIES_PER_FILE + 3, n_weeks=4), n_weeks=1)
    first, second = records_of(report)
    assert (len(first), [record["name"] for record in second]) == (
        SERIES_PER_FILE,
        [f"s{i:04}" for i in range(SERIES_PER_FILE, SERIES_PER_FILE + 3)],
    )
