"""Parents: series that are the sum of their children, and hierarchies that are no tree."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.hierarchy import check_children
from forecast_assets.data.quality.evaluate import PreviousVersion, evaluate
from forecast_assets.data.quality.finding import Finding
from forecast_assets.data.vintages import Vintage, with_present_totals
from forecast_assets.data.weekly import to_weeks
from forecast_assets.errors import DataError, SettingsError
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, make_ragged, make_raw, make_settings, walk

N = 60
SHOPS = make_ragged(
    **{
        "north/a": (0, walk(N, seed=1)),
        "north/b": (3, walk(N - 3, seed=2)),
        "south/c": (1, walk(N - 1, seed=3)),
    }
)
LEVELS = {"levels": ["region", "region/shop"], "total": "all"}
PARENTS = {"north/a": "north", "north/b": "north", "south/c": "south", "north": "all"}


def settings_with(tmp_path: Path, hierarchy: dict[str, Any], **series: Any) -> Settings:
    return make_settings(tmp_path, hierarchy=hierarchy, series=series)


def weeks_of(settings: Settings, rows: pd.DataFrame = SHOPS) -> pd.DataFrame:
    """Return the table `series` of rows `unique_id, ds, y`."""
    frame = to_weeks(make_raw(rows), settings, as_of=AS_OF).frame
    check_children(frame, settings.hierarchy)
    return table_contracts([80])["series"].check(frame)


def findings_of(
    settings: Settings, rows: pd.DataFrame = SHOPS, before: pd.DataFrame | None = None
) -> dict[str, Finding]:
    previous = None if before is None else PreviousVersion(before, AS_OF - timedelta(days=7))
    found = evaluate(make_raw(rows), weeks_of(settings, rows), previous, settings, as_of=AS_OF)
    return {finding.kind: finding for finding in found}


def values(frame: pd.DataFrame, name: str) -> "pd.Series[float]":
    return frame[frame["unique_id"] == name].set_index("ds")["y"]


@pytest.mark.parametrize(
    "hierarchy",
    [
        LEVELS,
        {"parents": {"north": ["north/*"], "south": ["south/c"]}, "total": "all"},
        {"parents": {"all": ["north", "south"], "north": ["north/*"], "south": ["south/?"]}},
    ],
    ids=["by the parts of ids", "by name, and a total", "by name, in any order"],
)
def test_a_parent_is_the_sum_of_its_children(tmp_path: Path, hierarchy: dict[str, Any]):
    frame = weeks_of(settings_with(tmp_path, hierarchy))
    first = frame.drop_duplicates("unique_id").set_index("unique_id")
    assert dict(first["parent"].dropna()) == PARENTS | {"south": "all"}
    assert set(first.index[first["is_sum"].astype(bool)]) == {"all", "north", "south"}
    shops = SHOPS.pivot(index="ds", columns="unique_id", values="y")
    expected = {"all": shops, "north": shops[["north/a", "north/b"]], "south": shops[["south/c"]]}
    for name, of in expected.items():  # of a week in which one has no value there is no sum
        np.testing.assert_allclose(values(frame, name), of.dropna().sum(axis=1), rtol=1e-15)
    assert list(frame["unique_id"]) == sorted(frame["unique_id"])


def test_an_absent_child_counts_zero_where_absent_rows_are_zeros(tmp_path: Path):
    frame = weeks_of(settings_with(tmp_path, LEVELS, missing="zero"))
    north = values(frame, "north")
    np.testing.assert_array_equal(north.iloc[:3], values(frame, "north/a").iloc[:3])
    assert len(north) == len(values(frame, "all")) == N


def test_a_parent_is_not_scored_where_a_value_of_a_child_was_made_up(tmp_path: Path):
    rows = SHOPS.drop(index=[20, 21])
    frame = weeks_of(settings_with(tmp_path, LEVELS), rows).set_index(["unique_id", "ds"])
    gap = list(SHOPS["ds"][20:22])
    for name in ("north", "all"):
        assert list(frame.loc[name].index[frame.loc[name]["is_filled"]]) == gap
    assert not frame.loc["south"]["is_filled"].any()


def test_a_parent_of_the_source_is_kept_and_compared_with_its_children(tmp_path: Path):
    settings = settings_with(tmp_path, LEVELS)
    total = weeks_of(settings)
    held = total[total["unique_id"] == "all"][["unique_id", "ds", "y"]]
    wrong = held.assign(y=held["y"].where(held["ds"] < held["ds"].max(), 1000.0))
    rows = pd.concat([SHOPS, wrong])
    frame = weeks_of(settings, rows)
    assert not frame.loc[frame["unique_id"] == "all", "is_sum"].any()
    assert values(frame, "all").iloc[-1] == 1000
    finding = findings_of(settings, rows)["totals_differ"]
    assert (finding.n, finding.series, finding.policy) == (1, ("all",), "warn")
    children = values(frame, "north").iloc[-1] + values(frame, "south").iloc[-1]
    assert f"all / 2025-02-21 (1,000, its children sum to {children:,.5g})" in finding.message
    assert "totals_differ" not in findings_of(settings, pd.concat([SHOPS, held]))
    assert "totals_differ" not in findings_of(settings, rows, before=frame)  # nothing new


def test_computed_parents_neither_come_nor_go(tmp_path: Path):
    plain, with_parents = make_settings(tmp_path), settings_with(tmp_path, LEVELS)
    for before, now in ((plain, with_parents), (with_parents, plain)):
        assert {*findings_of(now, before=weeks_of(before))} <= {"unchanged", "late"}


def test_a_vintage_has_the_sums_of_what_was_known_then(tmp_path: Path):
    was = SHOPS.assign(y=SHOPS["y"] - 1)
    settings = settings_with(tmp_path, LEVELS)
    today = weeks_of(settings)
    ids = list(SHOPS["unique_id"].unique())

    def seen(rows: pd.DataFrame, ids: list[str] = ids) -> pd.DataFrame:
        vintage = Vintage(AS_OF, lambda: rows[["unique_id", "ds", "y"]])
        (found,) = with_present_totals([vintage], settings, ids)
        frame = found.read()
        assert frame is not None
        return frame

    np.testing.assert_allclose(values(seen(was), "all"), values(today, "all") - 3)
    # A stored sum is of the children and the values of that time, and is made again.
    stored = pd.concat([was, today[today["is_sum"]].assign(y=-1.0)])
    pd.testing.assert_frame_equal(seen(stored), seen(was))
    # A parent was not known where one of its children was not, and no more was its own parent.
    without = seen(stored[stored["unique_id"] != "north/a"])
    assert {*without["unique_id"]} == {*ids, "south"} - {"north/a"}
    assert {*seen(stored, [*ids, "south/new"])["unique_id"]} == {*ids, "north"}


@pytest.mark.parametrize(
    ("hierarchy", "message"),
    [
        (
            {"parents": {"x": ["north/*"], "y": ["north/a"]}},
            r"1 series have more than one parent: north/a \(x and y\)\. Such a .* is no tree",
        ),
        (
            {"parents": {"x": ["y", "north/a"], "y": ["x", "north/b"]}},
            "2 series are sums of each other: .* Such a hierarchy is no tree",
        ),
        (
            {"parents": {"x": ["north/z", "north/a"]}},
            r"1 names or patterns in `\[hierarchy.parents\]` match no series: north/z of x\.",
        ),
        (
            {"levels": ["region", "region/shop/till"]},
            r"3 of 3 series fit no level of `hierarchy.levels` \(.*till\): north/a",
        ),
    ],
)
def test_a_hierarchy_that_is_no_tree_is_refused(
    tmp_path: Path, hierarchy: dict[str, Any], message: str
):
    with pytest.raises(DataError, match=message):
        weeks_of(settings_with(tmp_path, hierarchy))


def test_a_parent_without_a_common_week_is_refused(tmp_path: Path):
    rows = make_ragged(a=(0, walk(20, seed=1)), b=(30, walk(20, seed=2)))
    with pytest.raises(DataError, match="1 parents have no week in which all of their children"):
        weeks_of(settings_with(tmp_path, {"total": "all"}), rows)


@pytest.mark.parametrize("levels", [["region/shop"], ["region", "chain/shop"]])
def test_levels_extend_each_other(tmp_path: Path, levels: list[str]):
    with pytest.raises(SettingsError, match="levels"):
        settings_with(tmp_path, {"levels": levels})
