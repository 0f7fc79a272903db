"""Published forecasts against actuals, computed by hand."""

import math

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from forecast_assets.defs.checks import intervals_and_skill
from forecast_assets.forecasting.live_accuracy import (
    MIN_WEEKS,
    LiveAccuracyCheck,
    _non_overlapping_means,
    check_accuracy,
    rolling_summary,
    score_published,
    summary,
)
from forecast_assets.forecasting.significance import coverage_pvalue
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import AS_OF, make_series, with_gaps

SERIES = make_series(a=[10.0, 12.0, 15.0, 11.0])
DS = list(SERIES["ds"])


def published(cutoff: int, y_hat: float, *, model: str = "m", half_width: float = 2.0) -> dict:
    """Return a forecast of the week after the given one."""
    return {
        "unique_id": "a",
        "h": 1,
        "ds": DS[cutoff] + pd.Timedelta(weeks=1),
        "y_hat": y_hat,
        "lo_80": y_hat - half_width,
        "hi_80": y_hat + half_width,
        "backtest_mae": 2.0,
        "model": model,
        "rung": "champion",
        "cutoff": DS[cutoff],
        "made_at": AS_OF,
        "as_of": AS_OF,
    }


def scored(*rows: dict) -> pd.DataFrame:
    """Return the scores of forecasts, which keep their contract."""
    frame = score_published(pd.DataFrame(rows), SERIES, levels=(80,))
    return table_contracts((80,))["forecast_accuracy"].check(frame)


@pytest.mark.parametrize(
    ("y_hat", "half_width", "error", "is_inside"),
    [
        (16.5, 2.0, 1.5, True),
        (11.0, 2.0, -4.0, False),
        (16.5, 1.5, 1.5, True),
        (16.5, 1.4, 1.5, False),
    ],
)
def test_a_forecast_is_compared_with_the_value_and_with_naive(
    y_hat: float, half_width: float, error: float, *, is_inside: bool
):
    """The ends of an interval belong to it."""
    row = scored(published(1, y_hat, half_width=half_width)).iloc[0]
    assert (row["y"], row["error"], row["abs_error"]) == (15.0, error, abs(error))
    assert (row["naive_abs_error"], bool(row["in_80"])) == (3.0, is_inside)


def test_each_forecast_of_a_week_that_is_over_is_scored():
    frame = scored(published(0, 1.0), published(1, 2.0), published(3, 9.0))
    assert list(frame["cutoff"]) == DS[:2]


def test_a_filled_week_is_neither_scored_nor_the_value_to_start_from():
    filled = with_gaps(SERIES, {"a": [2]})
    rows = [published(0, 1.0), published(1, 2.0), published(2, 3.0)]
    frame = score_published(pd.DataFrame(rows), filled, levels=(80,))
    assert list(frame["cutoff"]) == DS[:1]


def test_naive_repeats_the_value_that_was_known_then():
    """The value at the cutoff was revised from 11 to 12 after the forecast was made."""
    versions = {3: make_series(a=[10.0, 11.0]), 7: None}
    rows = [published(1, 16.0) | {"series_version": 3}, published(0, 9.0) | {"series_version": 7}]
    read: list[int] = []

    def read_version(version: int) -> pd.DataFrame | None:
        read.append(version)
        return versions[version]

    frame = score_published(pd.DataFrame(rows), SERIES, levels=(80,), read_version=read_version)
    assert frame.set_index("cutoff")["naive_abs_error"].to_dict() == {DS[1]: 4.0, DS[0]: 2.0}
    assert sorted(read) == [3, 7]
    again = score_published(
        pd.DataFrame(rows), SERIES, levels=(80,), before=frame, read_version=read_version
    )
    pd.testing.assert_frame_equal(again, frame)
    assert sorted(read) == [3, 7, 7]  # what is known is not read again


def test_errors_are_divided_by_changes_between_real_weeks():
    """The two changes of 1 count; those to and from the filled week would be 49.5."""
    series = with_gaps(make_series(a=[1.0, 2.0, 0.0, 100.0, 101.0]), {"a": [2]})
    frame = score_published(pd.DataFrame([published(0, 5.0)]), series, levels=(80,))
    assert summary(frame, series, levels=(80,))["mase"].item() == pytest.approx(3.0)


def test_of_forecasts_of_one_week_from_one_cutoff_the_last_that_was_made_in_time_counts():
    in_time, later = pd.Timestamp(DS[0], tz="UTC") + pd.Timedelta(days=3), pd.Timestamp(AS_OF)
    early, again, hindsight, replay = (
        {**published(0, float(i), model=name), "made_at": made_at}
        for i, (name, made_at) in enumerate(
            [("early", in_time), ("again", in_time), ("hindsight", later), ("replay", later)]
        )
    )
    assert list(scored(early, again)["model"]) == ["again"]
    assert list(scored(early, again, hindsight)["model"]) == ["again"]
    assert list(scored(hindsight, replay)["model"]) == ["hindsight"]


def test_the_error_against_the_value_as_first_known_is_kept():
    first = scored(published(0, 13.0))
    revised = SERIES.assign(y=SERIES["y"].replace(12.0, 12.5))
    row = score_published(
        pd.DataFrame([published(0, 13.0)]), revised, levels=(80,), before=first
    ).iloc[0]
    assert (row["y_first"], row["error_first"]) == (12.0, 1.0)
    assert (row["y"], row["error"]) == (12.5, 0.5)


def test_a_series_in_large_units_does_not_drown_the_others():
    """Nine series have errors of three steps; one, in units of 1e9, has an error of one step."""
    y = np.array([float(week % 2) for week in range(30)])
    series = make_series(**{f"s{i}": y for i in range(9)}, vast=1e9 * y)
    rows = [
        {
            **published(0, 0.0),
            "unique_id": row.unique_id,
            "ds": row.ds,
            "cutoff": row.ds - pd.Timedelta(weeks=1),
            "y_hat": row.y + (1e9 if row.unique_id == "vast" else 3.0),
            "backtest_mae": 1e9 if row.unique_id == "vast" else 1.5,
        }
        for row in series[series["ds"] > series["ds"].min()].itertuples()
    ]
    result = summary(
        score_published(pd.DataFrame(rows), series, levels=(80,)), series, levels=(80,)
    )
    assert result["over_naive"].item() == pytest.approx((9 * 3 + 1) / 10)
    assert result["over_promise"].item() == pytest.approx((9 * 3 + 1) / (9 * 1.5 + 1))


def test_what_an_older_version_did_not_publish_is_null():
    rows = pd.DataFrame([published(0, 11.0)]).drop(columns="backtest_mae")
    row = score_published(rows, SERIES, levels=(80, 95)).iloc[0]
    assert row[["backtest_mae", "lo_95", "hi_95"]].isna().all()
    assert row["in_95"] is None
    assert row["in_80"] is True


def test_the_summary_is_as_computed_by_hand():
    """The mean change is 3; errors are +1 and -4, those of naive 2 and 3."""
    rows = scored(published(0, 13.0, model="m"), published(1, 11.0, model="k"))
    by_model = summary(rows, SERIES, levels=(80,), by="model")
    assert by_model[["model", "n"]].to_numpy().tolist() == [["k", 1], ["m", 1]]
    ((_, result),) = summary(rows, SERIES, levels=(80,)).iterrows()
    assert result["n"] == 2
    assert result["mase"] == pytest.approx((1 / 3 + 4 / 3) / 2)
    assert result["over_naive"] == pytest.approx(5 / 5)
    assert result["over_promise"] == pytest.approx(5 / 4)
    assert result["bias"] == pytest.approx((1 / 3 - 4 / 3) / 2)
    assert result["coverage_80"] == 0.5


def test_the_rolling_summary_takes_the_quarter_up_to_each_week():
    scores, series = a_year([1.0] * 13 + [3.0] * 13, half_width=2.0)
    result = rolling_summary(scores, series, levels=(80,))
    assert list(result["ds"]) == sorted(scores["ds"], reverse=True)
    assert list(result["n"]) == [13] * 14 + list(range(12, 0, -1))
    assert list(result["mase"].iloc[[0, 6, 13, 25]]) == pytest.approx([3, (7 * 3 + 6) / 13, 1, 1])
    assert list(result["coverage_80"].iloc[[0, 13]]) == pytest.approx([0.0, 1.0])
    assert result["over_promise"].iloc[0] == pytest.approx(3.0 / 2.0)


def a_year(errors: list[float], *, half_width: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a series that alternates by one, and forecasts of its last weeks with these errors."""
    series = make_series(a=[float(week % 2) for week in range(len(errors) + 5)])
    rows = [
        {
            **published(0, row.y + error, half_width=half_width),
            "ds": row.ds,
            "cutoff": row.ds - pd.Timedelta(weeks=1),
        }
        for row, error in zip(series.tail(len(errors)).itertuples(), errors, strict=True)
    ]
    return score_published(pd.DataFrame(rows), series, levels=(80,)), series


@pytest.mark.parametrize(
    ("errors", "half_width", "problems"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.9] * 6, 0.5, []),  # four of five within 0.5
        ([0.1, 0.6, 0.7, 0.4, 0.9] * 6, 0.5, ["40 % of values lay in the 80 % interval"]),
        ([0.1, 0.2] * 20, 5.0, ["100 % of values lay in the 80 % interval"]),
        (
            [1.4, 1.5, 1.8] * 10,
            9.0,
            [
                "errors are 1.57 times naive's (by chance: 0.0 %)",
                "100 % of values lay in the 80 % interval",
            ],
        ),
        ([5.0] * (MIN_WEEKS - 1), 0.5, []),  # too few weeks
    ],
)
def test_errors_beyond_naives_and_unsound_intervals_are_problems(
    errors: list[float], half_width: float, problems: list[str]
):
    check = check_accuracy(*a_year(errors, half_width=half_width), levels=(80,))
    assert (check.n_weeks, check.problems) == (len(errors), problems)


def test_a_week_that_cannot_be_measured_hides_no_warning():
    """A series that never moved has no mean change to scale its error."""
    scores, series = a_year([1.4, 1.5, 1.8] * 10, half_width=9.0)
    first = scores["ds"].min() - pd.Timedelta(weeks=1)
    flat = scores.head(1).assign(
        unique_id="flat", ds=first, cutoff=first - pd.Timedelta(weeks=1), y=5.0
    )
    known = series.assign(unique_id="flat", y=5.0)
    check = check_accuracy(pd.concat([scores, flat]), pd.concat([series, known]), levels=(80,))
    assert check.worse_than_naive is not None


@pytest.mark.parametrize("horizon", [4, 13])
def test_forecasts_that_overlap_are_not_taken_for_more_than_they_are(horizon: int):
    """A shock is outside the intervals of as many weeks as the horizon has."""
    rng = np.random.default_rng(horizon)
    n_weeks, called = MIN_WEEKS * horizon, 0
    ds = pd.date_range("2024-01-05", periods=n_weeks, freq="W-FRI")
    for _ in range(100):
        shocks = rng.normal(size=(n_weeks + horizon, 6))
        sums = np.array([shocks[i : i + horizon].sum(axis=0) for i in range(n_weeks)])
        inside = (np.abs(sums) <= 1.2816 * np.sqrt(horizon)).mean(axis=1)
        weeks = _non_overlapping_means(pd.DataFrame({"share": inside}, index=ds), horizon)
        called += coverage_pvalue(weeks["share"].to_numpy(), 0.8) < 0.01
    assert len(weeks) == MIN_WEEKS
    assert called / 100 < 0.04


def test_a_longer_horizon_needs_more_weeks():
    scores, series = a_year([0.1, 0.2] * 20, half_width=5.0)
    far = check_accuracy(scores.assign(h=6), series, levels=(80,))
    assert (far.n_weeks, far.n_needed, far.problems) == (40, 48, [])


def test_one_series_is_tested_by_counts_too():
    """At 80 %, 11 or fewer of 20 independent weeks have a probability of 1 in 100."""
    weeks = np.random.default_rng(1).permutation(20)
    chances = {n: coverage_pvalue((weeks < n).astype(float), 0.8) for n in range(21)}
    assert chances[16] == pytest.approx(1.0)
    assert chances[11] >= 0.00998 - 1e-5
    assert chances[0] < chances[20] == pytest.approx(0.8**20 + sum_of_rarer())


def sum_of_rarer() -> float:
    """Return the probability of a count of 20 weeks that is rarer than all of them."""
    counts = [math.comb(20, n) * 0.8**n * 0.2 ** (20 - n) for n in range(20)]
    return sum(count for count in counts if count <= 0.8**20)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (LiveAccuracyCheck(3, 8, None, ()), "3 weeks of published forecasts: too few to judge: 8"),
        (LiveAccuracyCheck(20, 8, None, ()), "20 weeks of published forecasts: errors and interv"),
        (LiveAccuracyCheck(20, 8, "errors are high", ("few are inside",)), "are high; few are in"),
    ],
)
def test_the_asset_check_warns_of_significant_problems_only(check: LiveAccuracyCheck, text: str):
    result = intervals_and_skill(check)
    assert result.passed == (not check.problems)
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert text in str(result.description)
