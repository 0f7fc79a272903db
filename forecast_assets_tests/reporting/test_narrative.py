"""Findings: what failed, who leads, what the data lack, and the first sentences of the report."""

import numpy as np
import pandas as pd
import pytest

from forecast_assets.forecasting import leaderboard
from forecast_assets.forecasting import live_accuracy as live
from forecast_assets.reporting import narrative
from forecast_assets.reporting.summary import WeeklyReport, outlook
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import (
    make_choice,
    make_scores_of,
    make_week,
    many_series,
)


def rows_of(week: WeeklyReport) -> pd.DataFrame:
    """The outlook of a week."""
    return outlook(week.forecast, week.series, week.accuracy, levels=week.levels)


def test_failures_of_one_cause_are_one():
    metrics = make_scores_of([f"s{i}" for i in range(9)], {"naive": 1.0, "arima": np.nan})
    steps = [f"{i + 1} of 9 forecasts: LinAlgError: no convergence in {i} steps" for i in range(9)]
    is_failed = metrics["status"] == "failed"
    metrics.loc[is_failed, "reason"] = steps
    metrics.loc[metrics.index[is_failed][-1], "reason"] = "9 of 9 forecasts: it died"
    first, second = narrative.failures(metrics)
    assert (first.model, first.n_series, first.n_asked) == ("arima", 8, 9)
    assert first.reason == "LinAlgError: no convergence in 0 steps"
    assert first.named == "s0, s1, s2 and 5 more"
    assert (second.n_series, second.reason) == (1, "it died")


def test_a_series_that_a_model_was_not_asked_for_is_not_counted():
    metrics = make_scores_of(["a", "b"], {"arima": np.nan})
    metrics.loc[1, "status"] = "ineligible"
    (only,) = narrative.failures(metrics)
    assert (only.n_series, only.n_asked) == (1, 1)


def test_without_failures_there_are_none():
    assert narrative.failures(make_scores_of(["a"], {"naive": 1.0})) == []


def test_standings_are_means_over_the_same_series():
    """`odd` is scored on the easy half alone, and must not lead for that."""
    easy = make_scores_of(["a", "b"], {"naive": 1.0, "theta": 0.8, "odd": 0.5})
    hard = make_scores_of(["c", "d"], {"naive": 2.0, "theta": 2.2, "odd": np.nan})
    found = leaderboard.standings(pd.concat([easy, hard])).set_index("model")
    assert list(found.index) == ["naive", "theta", "odd"]
    assert found["mase"].to_list()[:2] == pytest.approx([1.5, 1.5])
    assert np.isnan(found.loc["odd", "mase"])
    assert found["n_compared"].to_list() == [4, 4, 4]
    assert found["n_series"].to_dict() == {"naive": 4, "theta": 4, "odd": 2}
    assert found["wins"].to_dict() == {"naive": 0.5, "theta": 0.0, "odd": 0.5}


def test_a_failure_on_the_hardest_series_does_not_help():
    """`theta` is the better one wherever it forecast, and has no mean: it failed on one."""
    scores = make_scores_of([f"s{i:02}" for i in range(20)], {"naive": 1.0, "theta": 0.5})
    failed = (scores["unique_id"] == "s03") & (scores["model"] == "theta")
    scores.loc[failed, ["mase", "status"]] = [np.nan, "failed"]
    scores.loc[(scores["unique_id"] == "s03") & ~failed, "mase"] = 99.0
    found = leaderboard.standings(scores).set_index("model")
    assert found["n_compared"].to_list() == [20, 20]
    assert list(found.index) == ["naive", "theta"]
    assert found.loc["naive", "mase"] == pytest.approx((19 + 99) / 20)
    assert np.isnan(found.loc["theta", "mase"])
    assert found["wins"].to_dict() == {"naive": 0.05, "theta": 0.95}


def test_a_tie_is_shared():
    found = leaderboard.standings(make_scores_of(["a"], {"x": 1.0, "y": 1.0, "z": 2.0}))
    assert found.set_index("model")["wins"].to_dict() == {"x": 0.5, "y": 0.5, "z": 0.0}


def test_series_without_a_score_do_not_count():
    undefined = make_scores_of(["flat"], {"naive": 1.0}).assign(mase=np.nan)
    both = pd.concat([undefined, make_scores_of(["a"], {"naive": 1.0})])
    assert leaderboard.standings(both)["n_compared"].to_list() == [1]
    assert leaderboard.standings(undefined)["mase"].isna().all()


def test_the_data_are_described_and_those_behind_named():
    series = make_ragged(a=(0, [1.0] * 10), b=(4, [1.0] * 2), c=(0, [1.0] * 9))
    found = narrative.weeks_of(series)
    assert (found.n_series, found.shortest, found.median, found.longest) == (3, 2, 9, 10)
    assert (str(found.first), str(found.newest)) == ("2024-01-05", "2024-03-08")
    assert found.behind[["unique_id", "n_weeks"]].to_numpy().tolist() == [["b", 4], ["c", 1]]


def test_the_record_is_what_accuracy_sums_up():
    week = make_week(make_series(a=walk(40, seed=1), b=walk(40, seed=2)), n_due=20, half=1.0)
    rows = narrative.track_record(
        week.accuracy, week.series, week.metrics, week.best_model, levels=week.levels
    )
    total = live.summary(week.accuracy, week.series, levels=week.levels).iloc[0]
    recent = live.rolling_summary(week.accuracy, week.series, levels=week.levels).iloc[0]
    names = ["coverage_80", "coverage_95", "over_naive", "over_promise"]
    assert [row["so_far"] for row in rows] == total[names].to_list()
    assert [row["quarter"] for row in rows] == recent[names].to_list()
    assert [row["promised"] for row in rows[:2]] == [0.8, 0.95]
    assert [row["backtest"] for row in rows[:3]] == [1.0, 1.0, 1.0]


def test_without_a_record_there_is_nothing_to_trust():
    week = make_week(n_due=0)
    assert (
        narrative.track_record(
            week.accuracy, week.series, week.metrics, week.best_model, levels=[80]
        )
        == []
    )
    said = narrative.accuracy_sentence(week.accuracy, week.series, levels=[80])
    assert (
        said == "None of the published forecasts has come due yet, so there is no record to trust."
    )


def test_trust_says_how_errors_compare_and_whether_that_is_chance():
    week = make_week(make_series(a=walk(60, seed=1)), n_due=20, half=1.5)
    said = narrative.accuracy_sentence(week.accuracy, week.series, levels=week.levels)
    assert said == (
        "Over 20 weeks of published forecasts, errors were as large as those of repeating the last"
        " value, and nothing is off by more than chance explains."
    )
    worse = week.accuracy.assign(abs_error=week.accuracy["naive_abs_error"] + 1.0)
    said = narrative.accuracy_sentence(worse, week.series, levels=week.levels)
    assert "% larger than those of repeating the last value. More than chance explains: " in said


def test_a_short_record_says_that_it_is_too_early():
    week = make_week(make_series(a=walk(60, seed=1)), n_due=3)
    said = narrative.accuracy_sentence(week.accuracy, week.series, levels=week.levels)
    assert said.startswith("Over 3 weeks of published forecasts, errors were as large as")
    assert said.endswith("; 8 weeks are needed before that says much.")


def moving(*moves: float) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows that are expected to move so far, each with a usual step of one."""
    ids = [f"s{i}" for i in range(len(moves))]
    rows = pd.DataFrame({"unique_id": ids, "last_y": 10.0, "step": 1.0})
    return rows.assign(y_hat=10.0 + np.array(moves)), {
        name: f"{move:+.1f}".replace("-", "−") for name, move in zip(ids, moves, strict=True)
    }


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([0.5, -0.5], "1 of 2 series is expected to rise, 1 to fall; none by more than in a usual"),
        ([0.01, -0.5], "1 of 2 series is expected to fall, 1 to stay level; none by more"),
        ([3, 0.5, -4], "2 of 3 series are expected to rise, 1 to fall; 2 by more than in a usual"),
        ([3, 0.5, -4], "usual week: s2 (−4.0), s0 (+3.0)."),
        ([0, 0], "All 2 series are expected to stay level."),
        ([0.5], "s0 is expected to rise by 0.5."),
        ([-2.0], "s0 is expected to fall by 2.0, more than in a usual week."),
        ([0.0], "s0 is expected to stay level."),
    ],
)
def test_the_first_sentence_says_where_the_series_go(moves: list[float], expected: str):
    assert expected in narrative.next_week(*moving(*moves))


def test_last_week_is_counted_against_what_was_promised():
    jumpy = make_week(many_series(10), half=0.7)
    said = narrative.last_week(rows_of(jumpy), 80)
    n_in = int(jumpy.accuracy[jumpy.accuracy["ds"] == jumpy.series["ds"].max()]["in_80"].sum())
    assert 0 < n_in < 10
    assert (
        said
        == f"Last week {n_in} of 10 values lay inside their 80 % interval; about 8 were meant to."
    )


def test_last_week_of_one_series_is_a_plain_sentence():
    for half, where in ((99.0, "inside"), (1e-6, "outside")):
        said = narrative.last_week(rows_of(make_week(half=half)), 80)
        assert said == f"Last week's value lay {where} the 80 % interval that was forecast for it."


def test_last_week_says_where_nothing_was_there_to_judge():
    assert narrative.last_week(rows_of(make_week(n_due=0)), 80) == (
        "Nothing had been forecast for last week."
    )
    week = make_week()
    bare = make_week(accuracy=week.accuracy.assign(lo_80=np.nan, hi_80=np.nan))
    assert narrative.last_week(rows_of(bare), 80) == (
        "Last week's forecasts had no interval to hold them against."
    )


def test_a_choice_without_scores_still_has_a_record():
    week = make_week(make_series(a=walk(20, seed=1)))
    chosen = make_choice(["a"], model="gone")
    rows = narrative.track_record(week.accuracy, week.series, week.metrics, chosen, levels=[80])
    assert np.isnan([row["backtest"] for row in rows]).all()


def test_a_name_from_right_to_left_does_not_turn_the_sentence():
    assert narrative.bidi_isolate("sales_2 é") == "sales_2 é"
    for name in ("ملف", "שם", "\u202eevil"):
        assert narrative.bidi_isolate(name) == f"\u2068{name}\u2069"
    rows, moves = moving(0.5)
    said = narrative.next_week(rows.assign(unique_id="ملف"), {"ملف": moves["s0"]})
    assert said == "\u2068ملف\u2069 is expected to rise by 0.5."
