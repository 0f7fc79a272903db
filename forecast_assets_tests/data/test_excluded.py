"""Excluded weeks: unknown to models, to the findings and to the scores, as the weeks of a gap."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import plan
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import PreviousVersion, evaluate
from forecast_assets.data.vintages import (
    Vintage,
    published_vintages,
    stored_vintages,
    with_present_exclusions,
)
from forecast_assets.data.weekly import to_weeks
from forecast_assets.errors import DataError, SettingsError
from forecast_assets.forecasting.live_accuracy import score_published
from forecast_assets_tests.builders import AS_OF, make_raw, make_series, make_settings, walk
from forecast_assets_tests.store_builders import make_commit, make_store

PANEL = make_series(shop_1=walk(80, seed=1), shop_2=walk(80, seed=2), web=walk(80, seed=3))
DS = list(PANEL["ds"][:80])


def period(first: int, last: int, series: str = "shop_*", **other: Any) -> dict[str, Any]:
    """Return a period from the Monday of one week to the Friday of another."""
    start = (DS[first] - pd.Timedelta(days=4)).date()
    return {"series": series, "from": start, "to": DS[last].date(), "reason": "strike"} | other


def settings_with(tmp_path: Path, *periods: dict[str, Any], **series: Any) -> Settings:
    return make_settings(tmp_path, series={"excluded": list(periods), **series})


def weeks_with(tmp_path: Path, *periods: dict[str, Any], **series: Any) -> pd.DataFrame:
    settings = settings_with(tmp_path, *periods, **series)
    return to_weeks(make_raw(PANEL), settings, as_of=AS_OF).frame


@pytest.mark.parametrize("missing", ["error", "interpolate", "ffill", "zero"])
def test_a_week_that_is_excluded_has_no_value_of_its_own(tmp_path: Path, missing: str):
    frame = weeks_with(tmp_path, period(30, 31), missing=missing)
    for name, rows in frame.groupby("unique_id"):
        before = PANEL[PANEL["unique_id"] == name].reset_index(drop=True)
        is_out = rows["is_filled"].to_numpy()
        assert list(np.flatnonzero(is_out)) == ([] if name == "web" else [30, 31])
        np.testing.assert_array_equal(rows["y"].to_numpy()[~is_out], before["y"][~is_out])
        if name != "web":
            line = np.linspace(before["y"][29], before["y"][32], 4)
            np.testing.assert_allclose(rows["y"].to_numpy()[29:33], line)


@pytest.mark.parametrize("missing", ["interpolate", "ffill", "zero"])
def test_any_value_of_an_excluded_week_gives_the_same_series(tmp_path: Path, missing: str):
    """Also where it has gaps next to it, in the middle of a series and at its ends."""
    settings = settings_with(
        tmp_path, period(0, 0), period(30, 31), period(78, 79, "web"), missing=missing
    )
    is_gap = PANEL["ds"].isin([DS[i] for i in (1, 29, 32, 33, 77)])
    panel = PANEL[~is_gap].reset_index(drop=True)
    changed = panel.copy()
    changed.loc[changed["ds"].isin(DS[:1]) & (changed["unique_id"] != "web"), "y"] = 1e9
    changed.loc[changed["ds"].isin(DS[30:32]) & (changed["unique_id"] != "web"), "y"] = 1e9
    changed.loc[changed["ds"].isin(DS[78:]) & (changed["unique_id"] == "web"), "y"] = -1e9
    frames = [to_weeks(make_raw(rows), settings, as_of=AS_OF).frame for rows in (panel, changed)]
    pd.testing.assert_frame_equal(*frames)
    shop = frames[0].query("unique_id == 'shop_1'").set_index("ds")
    if missing == "interpolate":
        line = np.linspace(PANEL["y"][28], PANEL["y"][34], 7)
        np.testing.assert_allclose(shop.loc[DS[28] : DS[34], "y"], line)
        assert shop.index[0] == DS[2]
    assert shop.loc[DS[30:32], "is_filled"].all()


def test_at_the_end_the_last_value_is_repeated_and_at_the_start_weeks_are_dropped(tmp_path: Path):
    frame = weeks_with(tmp_path, period(0, 2, "shop_1"), period(77, 79, "shop_1"))
    rows = frame[frame["unique_id"] == "shop_1"]
    y = PANEL["y"][:80]
    assert list(rows["ds"]) == DS[3:]
    assert list(rows["y"].tail(4)) == [y[76]] * 4
    assert len(frame) == len(PANEL) - 3


def test_no_fold_starts_from_an_excluded_week_and_none_is_scored_on_it(tmp_path: Path):
    settings = settings_with(tmp_path, period(60, 62))
    frame = to_weeks(make_raw(PANEL), settings, as_of=AS_OF).frame
    for item in plan(frame, settings.backtest):
        cutoffs = item.ds[item.ends - 1]
        is_web = item.unique_id == "web"
        assert np.isin(np.array(DS[60:63], "datetime64[ns]"), cutoffs).any() == is_web
    row = {"unique_id": "shop_1", "h": 1, "y_hat": 1.0, "model": "m", "made_at": AS_OF}
    rows = [{**row, "ds": DS[i], "cutoff": DS[i - 1]} for i in (59, 60, 64)]
    scores = score_published(pd.DataFrame(rows).assign(lo_80=0.0, hi_80=2.0), frame, levels=(80,))
    assert list(scores["ds"]) == [DS[59], DS[64]]


def test_an_exclusion_makes_no_finding_new_or_old(tmp_path: Path):
    settings = settings_with(tmp_path, period(70, 75), period(79, 79, "web"))
    raw = make_raw(PANEL)
    frame = to_weeks(raw, settings, as_of=AS_OF).frame
    usual = evaluate(
        raw, PANEL, PreviousVersion(PANEL, AS_OF), make_settings(tmp_path), as_of=AS_OF
    )
    for before in (PreviousVersion(PANEL, AS_OF), PreviousVersion(frame, AS_OF), None):
        kinds = {f.kind for f in evaluate(raw, frame, before, settings, as_of=AS_OF)}
        assert kinds <= {f.kind for f in usual} | {"new_series", "new_week"}


def test_a_vintage_does_not_know_an_excluded_week_either(tmp_path: Path):
    settings = settings_with(tmp_path, period(30, 31))
    young = make_series(shop_3=[1.0, 2.0]).assign(ds=DS[30:32])  # nothing is left of it
    known = pd.concat([PANEL, young]).sort_values(["unique_id", "ds"], ignore_index=True)
    vintage = Vintage(AS_OF, lambda: known[["unique_id", "ds", "y"]])
    (seen,) = with_present_exclusions([vintage], settings)
    raw = make_raw(known).assign(published=pd.Timestamp(AS_OF - timedelta(days=1)))
    (published,) = published_vintages(raw, settings, [AS_OF], as_of=AS_OF + timedelta(days=1))
    for frame in (seen.read(), published.read()):
        assert frame is not None
        pd.testing.assert_series_equal(frame["y"], weeks_with(tmp_path, period(30, 31))["y"])


@pytest.mark.parametrize("missing", ["interpolate", "ffill"])
def test_a_stored_vintage_has_no_value_that_was_made_up_from_one_that_is_excluded(
    tmp_path: Path, missing: str
):
    """The gaps around the week were filled before it was excluded."""
    raw = make_raw(PANEL[~PANEL["ds"].isin([DS[i] for i in (10, 29, 32, 33)])])
    outlier = raw.assign(y=raw["y"].mask(raw["ds"] == DS[30], 1e9))
    before = make_settings(tmp_path, series={"missing": missing})
    store = make_store(tmp_path)
    store.write(to_weeks(outlier, before, as_of=AS_OF).frame, make_commit("series"))
    (vintage,) = stored_vintages([store], [AS_OF], as_of=AS_OF + timedelta(days=1), now=AS_OF)
    settings = settings_with(tmp_path, period(30, 31), missing=missing)
    (seen,) = with_present_exclusions([vintage], settings)
    frame, today = seen.read(), to_weeks(raw, settings, as_of=AS_OF).frame
    assert frame is not None
    shops, expected = (rows[rows["unique_id"] != "web"] for rows in (frame, today))
    pd.testing.assert_frame_equal(shops, expected[["unique_id", "ds", "y"]])


@pytest.mark.parametrize(
    ("periods", "message"),
    [
        ([period(30, 35), period(35, 40, "*_1")], "overlap in 1 series: shop_1 (shop_"),
        ([period(0, 79, "web")], "Every week of 1 series is excluded: web."),
    ],
)
def test_periods_that_cannot_be_used_are_refused(
    tmp_path: Path, periods: list[dict[str, Any]], message: str
):
    with pytest.raises(DataError) as caught:
        weeks_with(tmp_path, *periods)
    assert message in str(caught.value)
    assert "nothing was published" in str(caught.value)


def test_a_period_of_a_computed_total_alone_is_refused(tmp_path: Path):
    tables = {"hierarchy": {"total": "all"}}
    both = make_settings(tmp_path, series={"excluded": [period(3, 4, "*")]}, **tables)
    frame = to_weeks(make_raw(PANEL), both, as_of=AS_OF).frame
    assert frame.query("unique_id == 'all'")["is_filled"].sum() == 2
    alone = make_settings(tmp_path, series={"excluded": [period(3, 4, "all")]}, **tables)
    with pytest.raises(DataError, match=r"1 periods .* are of totals .*: all \(.*Name the parts"):
        to_weeks(make_raw(PANEL), alone, as_of=AS_OF)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reason": " "}, "give the reason in words"),
        ({"to": "2000-01-01"}, "`to` lies before `from`"),
        ({"from": "Christmas"}, "`series.excluded.0.from` is 'Christmas'"),
        ({"reson": "x"}, "`series.excluded.0.reson` is unknown (did you mean `reason`?)"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, given: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        settings_with(tmp_path, period(1, 2, **given))
    assert message in str(caught.value)
