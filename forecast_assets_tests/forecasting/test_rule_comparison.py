"""What each rule would have published: errors, coverage, switches and their uncertainty."""

from pathlib import Path

import numpy as np
import pytest

from forecast_assets.errors import DataError
from forecast_assets.forecasting.evidence import RULES
from forecast_assets.forecasting.metrics import collect
from forecast_assets.forecasting.rule_comparison import EVIDENCE, compare_rules
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.report_builders import make_predictions


def test_the_policy_evidence_is_scored_by_the_rule_of_each_week(tmp_path: Path):
    """Model m alone is right: the best model of the panel wins, and is found after some weeks."""
    settings = make_settings(tmp_path, backtest={"n_windows": 52})
    series = make_series(a=walk(120, seed=1), b=walk(120, seed=2))
    rng = np.random.default_rng(3)
    errors = {"naive": rng.normal(0, 4.0, 104), "m": rng.normal(0, 0.5, 104)}
    errors |= {name: rng.normal(3, 0.5, 104) for name in "opqr"}
    results = collect(make_predictions(series, settings, **errors), series, settings)
    rows = compare_rules(results, settings).set_index("rule")
    assert set(rows.index) == {"naive", EVIDENCE, *RULES}
    best = rows.loc["combination_best_model"]
    assert best["chosen_now"]
    assert best["mase"] < rows.loc[EVIDENCE, "mase"] < rows.loc["combination_median", "mase"]
    assert rows.loc[EVIDENCE, "switches_a_year"] == pytest.approx(52 / 51)
    assert rows["switches_a_year"].drop(EVIDENCE).eq(0).all()
    units = results.naive_error()[:, None]
    naive = np.abs(errors["naive"].reshape(2, 52) / units).mean()
    assert rows.loc["naive", "mase"] == pytest.approx(naive)
    assert rows["to_naive"].between(rows["to_naive_low"], rows["to_naive_high"]).all()
    assert rows["n_weeks"].eq(52).all()
    assert rows["coverage_80"].between(0.6, 1).all()


def test_without_naive_or_without_errors_nothing_is_compared(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": 2})
    moving, still = make_series(a=walk(20, seed=1)), make_series(a=[1.0] * 20)
    for series, models, message in (
        (moving, ("m",), "no forecasts of naive, by whose errors"),
        (still, ("naive", "m"), "Run a week on longer series"),
    ):
        errors = {name: np.ones(2) for name in models}
        results = collect(make_predictions(series, settings, **errors), series, settings)
        with pytest.raises(DataError, match=message):
            compare_rules(results, settings)


def test_a_level_without_intervals_has_no_coverage(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": 2})
    series = make_series(a=walk(20, seed=1))
    errors = {"naive": np.ones(2), "m": np.ones(2)}
    results = collect(make_predictions(series, settings, **errors), series, settings)
    assert compare_rules(results, settings)["coverage_95"].isna().all()
