"""The ensemble by evidence: when it changes, and what it may know."""

from pathlib import Path

import numpy as np
import pytest

from forecast_assets.forecasting.evidence import choose_rule, errors_behind, rules_by_week
from forecast_assets.forecasting.metrics import collect
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.report_builders import make_predictions


def test_a_rule_stays_unless_another_is_clearly_better():
    behind = np.array([1.2, 0.8, 0.0, 3.1])
    assert [choose_rule(behind, previous) for previous in range(4)] == [0, 1, 2, 1]
    assert choose_rule(behind) == 0
    assert choose_rule(behind[::-1]) == 1


@pytest.mark.parametrize(("n_windows", "rule"), [(52, 3), (7, 0)])
def test_the_best_model_is_found_where_the_others_are_wrong(
    tmp_path: Path, n_windows: int, rule: int
):
    """Not with fewer than eight weeks."""
    settings = make_settings(tmp_path, backtest={"n_windows": n_windows})
    series = make_series(a=walk(120, seed=1), b=walk(120, seed=2))
    rng = np.random.default_rng(3)
    errors = {name: rng.normal(3, 0.5, 104) for name in "nopqr"} | {"m": rng.normal(0, 0.5, 104)}
    results = collect(make_predictions(series, settings, **errors), series, settings)
    behind = errors_behind(results)
    assert choose_rule(behind) == rule
    assert (behind == 0).sum() == (1 if rule else 4)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_rule_knows_only_weeks_that_were_over(tmp_path: Path, horizon: int):
    """Values from the 40th on, where other models are right, change no rule of a fold before."""
    settings = make_settings(tmp_path, backtest={"n_windows": 30, "horizon": horizon})
    series = make_series(a=walk(60, seed=1), b=walk(60, seed=2))
    rng = np.random.default_rng(3)
    errors = {name: rng.normal(3, 0.5, 60 * horizon) for name in "nopqr"}
    errors["m"] = rng.normal(0, 0.5, 60 * horizon)
    predictions = make_predictions(series, settings, **errors)
    is_late = series.groupby("unique_id").cumcount() >= 40
    changed = series.assign(y=series["y"] + 3 * is_late)
    before, after = (
        rules_by_week(collect(predictions, frame, settings)) for frame in (series, changed)
    )
    n_same = 41 - (60 - horizon + 1 - 30)
    assert (before[:n_same] == after[:n_same]).all()
    assert set(before) > {0}
    assert (before != after).any()
