"""`check` reads the calendar and regressors, and says what a run would report of them or hold."""

import json
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets_tests.builders import FIRST_WEEK, make_series, walk
from forecast_assets_tests.cli_runner import invoke, output_of

WEEKS = pd.date_range(FIRST_WEEK, periods=41, freq="W-FRI")
PRICE = pd.DataFrame({"unique_id": "a", "ds": WEEKS, "price": [1.0, 2.0, 4.0, 3.0] * 10 + [2.0]})
SETTINGS = """
[source]
kind = "file"
path = "y.csv"
[models]
enabled = ["naive"]
[backtest]
n_windows = 4
[calendar]
country = "US"
[regressors.offer]
kind = "file"
path = "price.csv"
columns = ["price"]
known = "ahead"
"""
AHEAD = "A run would hold the week: The regressor offer.price is not known for the week ahead of"


def lines(folder: Path, price: pd.DataFrame, settings: str = SETTINGS) -> dict[str, list[str]]:
    """Return the texts of `check` on the calendar and regressors, by how well they are."""
    make_series(a=walk(40, seed=1)).to_csv(folder / "y.csv", index=False)
    price.to_csv(folder / "price.csv", index=False)
    (folder / "forecast.toml").write_text(settings)
    found: dict[str, list[str]] = {"ok": [], "note": [], "bad": []}
    for row in json.loads(invoke("check", "--json").stdout):
        if row["name"] in ("regressors", "calendar"):
            key = {True: "ok", False: "bad", None: "note"}[row["is_well"]]
            found[key].append(str(row["value"]))
    return found


def test_a_regressor_and_the_next_holidays_are_shown(folder: Path):
    found = lines(folder, PRICE)
    assert found["ok"] == ["{'name': 'offer.price', 'n': 41}", "11"]
    assert not found["bad"] + found["note"]


@pytest.mark.parametrize(
    ("price", "key", "text"),
    [
        (PRICE.head(30), "bad", "week ahead of 1 of 1 series: a. Its values end on 2024-07-26."),
        (PRICE.tail(2), "note", "is not known in 75% of the folds"),
        (PRICE.assign(price=2), "note", "has the same value in every week"),
        (PRICE.assign(unique_id="z"), "note", "1 series that the source does not have: z"),
        (pd.concat([PRICE, PRICE.head(1)]), "bad", "2 of 42 rows of `regressors.offer` have"),
        (PRICE.assign(price="high"), "bad", "map another column in [regressors.offer]"),
        (PRICE.head(0), "bad", "[regressors.offer]: "),
    ],
    ids=["stops", "starts late", "constant", "other series", "repeated", "no number", "empty"],
)
def test_a_regressor_that_cannot_be_used_is_reported(
    folder: Path, price: pd.DataFrame, key: str, text: str
):
    assert text in " ".join(lines(folder, price)[key])


def test_a_row_that_cannot_be_used_is_left_out_on_request(folder: Path):
    price = PRICE.assign(price=PRICE["price"].astype(object).where(PRICE.index != 3, "?"))
    settings = f'{SETTINGS}on_bad_rows = "quarantine"\n'
    assert lines(folder, price, settings)["ok"][0] == "{'name': 'offer.price', 'n': 40}"


def test_an_unknown_country_is_reported_once(folder: Path):
    found = lines(folder, PRICE, SETTINGS.replace("US", "XX"))
    assert len(found["bad"]) == 1
    assert "`calendar.country` is 'XX'" in found["bad"][0]


def test_a_benchmark_is_compared_with_the_series_before_the_first_run(folder: Path):
    planner = pd.DataFrame({"unique_id": "a", "ds": WEEKS[:20], "y_hat": 1e6, "made_on": WEEKS[0]})
    other = planner.head(1).assign(unique_id="z")
    pd.concat([planner, other]).to_csv(folder / "planner.csv", index=False)
    make_series(a=walk(40, seed=1)).to_csv(folder / "y.csv", index=False)
    table = '[benchmark.planner]\nkind = "file"\npath = "planner.csv"\n'
    (folder / "forecast.toml").write_text(SETTINGS.partition("[calendar]")[0] + table)
    text = output_of("check")
    assert "21 forecasts of 2 series; 1 of 2 series of planner are not among ours" in text
    assert "far from the values of 1 of 1 series, as if they were in another unit: a" in text
    planner.drop(columns="made_on").to_csv(folder / "planner.csv", index=False)
    text = output_of("check", exit_code=1)
    assert "has no column made_on; it has unique_id, ds, y_hat. Correct `unique_id`, `ds`" in text
    assert "`made_on` or `quantiles` in [benchmark.planner]" in text
    (folder / "planner.csv").unlink()
    text = output_of("check", exit_code=1)
    assert "`benchmark.planner.path` matches no file" in text
    assert "Nothing was published" not in text


def test_events_and_periods_of_no_series_are_named(folder: Path):
    (folder / "events.csv").write_text(
        "name,first,last,unique_id\nfair,2030-05-01,,z*\nsale,2030-06-01,,a\n"
    )
    make_series(a=walk(40, seed=1)).to_csv(folder / "y.csv", index=False)
    period = "from = 2024-03-04\nto = 2024-03-05\nreason = 'strike'"
    (folder / "forecast.toml").write_text(
        f'{SETTINGS.partition("[calendar]")[0]}[calendar]\nevents = "events.csv"\n'
        f"[[series.excluded]]\nseries = 'b'\n{period}\n"
    )
    text = output_of("check")
    assert "Events of no series, which have no effect: z*" in text
    assert "Periods of `[[series.excluded]]` of no series, which have no effect: b" in text
