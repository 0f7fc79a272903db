"""The choice: who competes, who wins, and how it is told. Every example is computed by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.selection import choose
from forecast_assets.settings import Settings
from forecast_assets.tables import tables
from forecast_assets_tests.builders import make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, models={"enabled": ["naive", "drift", "theta"]})


def scores(unique_id: str = "a", **mase: float | str) -> pd.DataFrame:
    """Metrics of one series: each keyword a model, its MASE or the status that it has instead."""
    return pd.DataFrame(
        [
            {
                "unique_id": unique_id,
                "model": model,
                "n_folds": 9,
                "mase": math.nan if isinstance(said, str) else said,
                "mae": 10.0 if isinstance(said, str) else 10 - said,
                "status": said if isinstance(said, str) else "scored",
            }
            for model, said in mase.items()
        ]
    )


def chosen(frame: pd.DataFrame, settings: Settings, **previous: str) -> pd.Series:
    """The one choice that is made, which keeps its contract."""
    choice = tables((80,))["best_model"].check(choose(frame, settings, previous=previous))
    assert len(choice) == 1
    return choice.iloc[0]


def test_the_least_score_wins_and_the_next_is_named(settings: Settings):
    row = chosen(scores(naive=1.0, drift=0.75, theta=0.5), settings)
    assert (row["model"], row["rung"], row["score"]) == ("theta", "champion", 0.5)
    assert (row["runner_up"], row["margin"]) == ("drift", 0.25)
    assert row["reason"] == (
        "theta has the least mase, 0.5; drift follows with 0.75, of 3 models on 9 folds"
    )


def test_scores_that_read_the_same_are_called_so(settings: Settings):
    row = chosen(scores(naive=1.0003, theta=1.0), settings)
    assert "theta has the least mase, 1; naive follows with practically the same" in row["reason"]


def test_the_metric_of_the_settings_decides(tmp_path: Path):
    settings = make_settings(tmp_path, selection={"metric": "mae"})
    assert chosen(scores(naive=1.0, theta=0.5), settings)["model"] == "naive"


def test_of_equals_the_first_in_the_settings_wins(settings: Settings):
    assert chosen(scores(theta=0.5, drift=0.5), settings)["model"] == "drift"


@pytest.mark.parametrize("status", ["failed", "ineligible"])
def test_only_scored_models_compete(settings: Settings, status: str):
    row = chosen(scores(naive=1.0, theta=status), settings)
    assert (row["model"], row["runner_up"]) == ("naive", None)
    assert math.isnan(row["margin"])


def test_a_series_that_no_model_could_forecast_gets_naive_on_its_own_rung(settings: Settings):
    row = chosen(scores(drift="failed", theta="ineligible"), settings)
    assert (row["model"], row["rung"]) == ("naive", "naive")
    assert row["reason"] == "no model forecast every fold"


def test_a_metric_that_is_not_defined_is_said_so(settings: Settings):
    row = chosen(scores(drift=math.nan, naive=math.nan), settings)
    assert (row["model"], row["rung"]) == ("naive", "naive")
    assert row["reason"] == "mase is not defined on this series"


def test_a_change_of_champion_is_marked(settings: Settings):
    row = chosen(scores(naive=1.0, theta=0.5), settings, a="naive")
    assert (row["previous_model"], bool(row["switched"])) == ("naive", True)


def test_the_same_champion_and_the_first_one_are_no_change(settings: Settings):
    assert not chosen(scores(naive=1.0, theta=0.5), settings, a="theta")["switched"]
    first = chosen(scores(naive=1.0, theta=0.5), settings)
    assert (first["previous_model"], bool(first["switched"])) == (None, False)


def test_every_series_has_its_own_choice(settings: Settings):
    both = pd.concat([scores("a", naive=1.0, theta=0.5), scores("b", naive=0.1, theta=0.5)])
    choice = choose(both, settings, previous={}).set_index("unique_id")["model"]
    assert dict(choice) == {"a": "theta", "b": "naive"}
