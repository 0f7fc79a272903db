"""Selection: who competes, who wins, and the reason given. Examples are computed by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.policies import POLICIES
from forecast_assets.forecasting.selection import choose
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_settings

Pair = tuple[float | str, float | str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return by(tmp_path, policy="best")


def by(tmp_path: Path, **selection: object) -> Settings:
    """Settings of three models, from the simplest on, and a rule of choice."""
    return make_settings(
        tmp_path, models={"enabled": ["naive", "drift", "theta"]}, selection=selection
    )


def scores(unique_id: str = "a", *, error: float = 0.1, **mase: float | str) -> pd.DataFrame:
    """Return the metrics of one series: each keyword gives a model's MASE, or its status.

    `error` is the standard error of each MASE.
    """
    return pd.DataFrame(
        [
            {
                "unique_id": unique_id,
                "model": model,
                "n_folds": 9,
                "mase": math.nan if isinstance(value, str) else value,
                "mae": 10.0 if isinstance(value, str) or math.isnan(value) else 10 - value,
                "standard_error": error,
                "skill_vs_naive": 0.25,
                "p_vs_naive": 0.04,
                "may_be_best": value != 1.0,
                "status": value if isinstance(value, str) else "scored",
            }
            for model, value in mase.items()
        ]
    )


def chosen(frame: pd.DataFrame, settings: Settings, *previous: pd.DataFrame) -> pd.Series:
    """Choose for a single series and check the contract."""
    choice = table_contracts((80,))["best_model"].check(choose(frame, settings, previous=previous))
    assert len(choice) == 1
    return choice.iloc[0]


def earlier(model: str, *, score: float = 1.0, margin: float = 0.5) -> pd.DataFrame:
    """Return an earlier choice; `margin` is the distance of the runner-up."""
    return pd.DataFrame(
        {"unique_id": ["a"], "model": [model], "score": [score], "margin": [margin]}
    )


def test_the_least_score_wins_and_the_next_is_named(settings: Settings):
    row = chosen(scores(naive=1.0, drift=0.75, theta=0.5), settings)
    assert (row["model"], row["rung"], row["score"]) == ("theta", "champion", 0.5)
    assert (row["runner_up"], row["margin"]) == ("drift", 0.25)
    assert row["reason"] == (
        "theta has the lowest mase, 0.5; drift follows with 0.75, of 3 candidates on 9 folds"
    )


def test_scores_that_read_the_same_are_called_so(settings: Settings):
    row = chosen(scores(naive=1.0003, theta=1.0), settings)
    assert "theta has the lowest mase, 1; naive follows with practically the same" in row["reason"]


def test_the_metric_of_the_settings_decides(tmp_path: Path):
    settings = by(tmp_path, policy="best", metric="mae")
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


def test_where_the_metric_is_not_defined_the_mean_absolute_error_ranks(settings: Settings):
    frame = scores(drift=math.nan, naive=math.nan).assign(mae=[3.0, 4.0])
    row = chosen(frame, settings)
    assert (row["model"], row["rung"], row["runner_up"]) == ("drift", "champion", "naive")
    assert (row["score"], row["margin"]) == (3.0, 1.0)
    assert row["reason"] == (
        "drift has the lowest mae, 3; naive follows with 4, of 2 candidates on 9 folds"
        " (mase is undefined on this series)"
    )


def test_a_change_of_champion_says_what_became_of_the_last_one(settings: Settings):
    now = scores(naive=1.0, drift="failed", theta=0.5)
    assert chosen(now, settings, earlier("naive"))["reason"].endswith(
        "; the previous model, naive, now scores 1"
    )
    for gone in ("drift", "taken_out"):
        assert chosen(now, settings, earlier(gone))["reason"].endswith(
            f"; the previous model, {gone}, no longer competes"
        )
    assert "before" not in chosen(now, settings, earlier("theta"))["reason"]


def test_a_change_of_champion_is_marked(settings: Settings):
    row = chosen(scores(naive=1.0, theta=0.5), settings, earlier("naive"))
    assert (row["previous_model"], bool(row["switched"])) == ("naive", True)


def test_the_same_champion_and_the_first_one_are_no_change(settings: Settings):
    assert not chosen(scores(naive=1.0, theta=0.5), settings, earlier("theta"))["switched"]
    first = chosen(scores(naive=1.0, theta=0.5), settings)
    assert (first["previous_model"], bool(first["switched"])) == (None, False)


def test_every_series_has_its_own_choice(settings: Settings):
    both = pd.concat([scores("a", naive=1.0, theta=0.5), scores("b", naive=0.1, theta=0.5)])
    choice = choose(both, settings).set_index("unique_id")["model"]
    assert dict(choice) == {"a": "theta", "b": "naive"}


# One standard error
def test_the_simplest_within_one_standard_error_of_the_least_is_chosen(tmp_path: Path):
    settings = by(tmp_path, policy="one_standard_error")
    row = chosen(scores(naive=1.0, drift=0.59, theta=0.5, error=0.1), settings)
    assert (row["model"], row["runner_up"]) == ("drift", "theta")
    assert row["margin"] == pytest.approx(-0.09)
    assert row["reason"] == (
        "drift is the simplest within one standard error (0.1) of the lowest; its mase is 0.59,"
        " the lowest is 0.5 by theta, of 3 candidates on 9 folds"
    )


def test_without_a_standard_error_the_least_is_chosen(tmp_path: Path):
    settings = by(tmp_path, policy="one_standard_error")
    assert chosen(scores(drift=0.59, theta=0.5, error=math.nan), settings)["model"] == "theta"


# The incumbent
def test_the_incumbent_stays_while_it_is_beaten_by_less_than_the_margin(tmp_path: Path):
    settings = by(tmp_path, policy="incumbent", margin=0.1, patience=1)
    row = chosen(scores(drift=1.0, theta=0.91), settings, earlier("drift"))
    assert (row["model"], row["runner_up"], bool(row["switched"])) == ("drift", "theta", False)
    assert "drift is kept, beaten by less than 10%" in row["reason"]


def test_the_incumbent_goes_when_it_is_beaten_by_the_margin(tmp_path: Path):
    settings = by(tmp_path, policy="incumbent", margin=0.1, patience=1)
    row = chosen(scores(drift=1.0, theta=0.9), settings, earlier("drift"))
    assert (row["model"], row["previous_model"], bool(row["switched"])) == ("theta", "drift", True)


def test_patience_counts_the_weeks_in_which_it_was_beaten(tmp_path: Path):
    settings = by(tmp_path, policy="incumbent", margin=0.1, patience=3)
    now = scores(drift=1.0, theta=0.5)
    beaten, calm = earlier("drift", margin=-0.2), earlier("drift")
    for before, model in [
        ((beaten,), "drift"),
        ((beaten, calm), "drift"),
        ((calm, beaten), "drift"),
        ((beaten, beaten), "theta"),
    ]:
        assert chosen(now, settings, *before)["model"] == model
    reason = chosen(now, settings, beaten)["reason"]
    assert "drift is kept, beaten by 10% or more in 2 of 3 weeks" in reason


def test_an_incumbent_that_does_not_compete_any_more_is_replaced(tmp_path: Path):
    settings = by(tmp_path, policy="incumbent")
    frame = scores(naive=1.0, drift=0.9, theta="failed")
    assert chosen(frame, settings, earlier("theta"))["model"] == "drift"
    assert chosen(frame, settings, earlier("gone"))["model"] == "drift"
    assert chosen(frame, settings)["model"] == "drift"


def test_the_incumbent_stays_by_its_mean_absolute_error_where_nothing_else_ranks(tmp_path: Path):
    settings = by(tmp_path, policy="incumbent", margin=0.1, patience=2)
    frame = scores(naive=math.nan, drift=math.nan)
    close, far = frame.assign(mae=[1.01, 1.0]), frame.assign(mae=[2.0, 1.0])
    assert chosen(close, settings, earlier("naive"))["model"] == "naive"
    assert chosen(far, settings, earlier("naive"))["model"] == "naive"
    assert chosen(far, settings, earlier("naive", score=2.0, margin=-1.0))["model"] == "drift"


# The combination
def test_the_combination_of_the_settings_is_chosen_whatever_it_scores(tmp_path: Path):
    settings = by(tmp_path, policy="combination", combination="combination_mean")
    row = chosen(scores(naive=1.0, theta=0.5, combination_mean=0.7), settings)
    assert (row["model"], row["runner_up"]) == ("combination_mean", "theta")
    assert "combination_mean is the combination of the settings; its mase is 0.7" in row["reason"]


# One for all
def both(naive: Pair, drift: Pair, theta: Pair) -> pd.DataFrame:
    """Return the metrics of the series a and b, from each model's pair of scores."""
    frames = [
        scores(unique_id, naive=naive[i], drift=drift[i], theta=theta[i])
        for i, unique_id in enumerate("ab")
    ]
    return pd.concat(frames, ignore_index=True)


def test_one_for_all_has_the_least_mean_over_series(tmp_path: Path):
    settings = by(tmp_path, policy="best", scope="all")
    choice = choose(both((0.1, 2.0), (0.5, 0.5), (0.9, 0.4)), settings)
    assert list(choice["model"]) == ["drift", "drift"]
    assert choice["reason"][0] == (
        "drift has the lowest mase, 0.5; theta follows with 0.65, of 3 candidates, over all series"
    )


def test_who_fails_on_one_series_is_not_the_one_for_all(tmp_path: Path):
    """Without its failure theta would have the least mean on the series that is left."""
    settings = by(tmp_path, policy="best", scope="all")
    frame = both((1.0, 1.0), (0.9, 0.9), (0.1, "failed"))
    assert list(choose(frame, settings)["model"]) == ["drift", "drift"]


def test_a_series_too_short_for_most_does_not_decide_for_all(tmp_path: Path):
    settings = by(tmp_path, policy="best", scope="all")
    new = scores("new", naive=0.5, drift="ineligible", theta="ineligible")
    frame = pd.concat([both((1.0, 1.0), (0.9, 0.9), (0.1, 0.1)), new])
    assert list(choose(frame, settings)["model"]) == ["theta", "theta", "theta"]


def test_series_that_nobody_is_on_do_not_keep_the_others_apart(tmp_path: Path):
    settings = by(tmp_path, policy="best", scope="all")
    no = "ineligible"
    lone = [scores(f"lone_{i}", naive=no, drift=no, theta=no) for i in range(5)]
    frame = pd.concat([both((1.0, 0.1), (0.5, 0.5), (0.9, 0.9)), *lone])
    choice = choose(frame, settings).set_index("unique_id")
    assert choice.loc[["a", "b"], "model"].tolist() == ["drift", "drift"]
    assert (choice.drop(index=["a", "b"])["model"] == "naive").all()


@pytest.mark.parametrize("policy", list(POLICIES))
@pytest.mark.parametrize("scope", ["series", "all"])
def test_every_rule_copes_with_awkward_series(tmp_path: Path, policy: str, scope: str):
    settings = by(tmp_path, policy=policy, scope=scope)
    no, bad = "ineligible", "failed"
    value: dict[str, tuple[float | str, ...]] = {
        "sound": (1.0, 0.9, 0.5, 0.6),
        "tied": (0.5, 0.5, 0.5, 0.5),
        "perfect": (0.0, 0.0, 0.0, 0.0),
        "failed": (bad, bad, bad, no),
        "short": (1.0, 1.0, no, 1.0),
        "undefined": (math.nan, math.nan, math.nan, math.nan),
    }
    names = ("naive", "drift", "theta", "combination_median")
    frame = pd.concat(
        scores(unique_id, error=0.0, **dict(zip(names, mase, strict=True)))
        for unique_id, mase in value.items()
    )
    choice = table_contracts((80,))["best_model"].check(choose(frame, settings))
    assert list(choice["unique_id"]) == sorted(value)
    result = choice.set_index("unique_id")
    assert (result.loc["failed", "model"], result.loc["failed", "rung"]) == ("naive", "naive")
    assert (result.drop(index="failed")["rung"] == "champion").all()
