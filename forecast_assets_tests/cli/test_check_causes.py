"""`check` reads the calendar and regressors, and says what a run would report of them or hold."""

import json
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets_tests.builders import FIRST_WEEK, make_series, walk
from forecast_assets_tests.cli_runner import invoke

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
