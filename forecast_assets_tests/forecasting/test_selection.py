"""Selection: which candidates compete, which one wins, and the reason, computed by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.policies import POLICIES
from forecast_assets.forecasting.selection import choose
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_settings

NAN, FAILED, INELIGIBLE = math.nan, "failed", "ineligible"


def by(policy: str = "best", **selection: object) -> Settings:
    """Return settings of three models, from the simplest on, and a selection policy."""
    models = {"enabled": ["naive", "drift", "theta"]}
    return make_settings(Path("/"), models=models, selection={"policy": policy, **selection})


# Standard errors behind the best ensemble.
BEHIND = {
    "combination_inverse_error": 1.4,
    "combination_median": 0.9,
    "combination_best_subset": 0.0,
    "combination_best_model": 4.0,
}


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
                "mase": NAN if isinstance(value, str) else value,
                "mae": 10.0 if isinstance(value, str) or math.isnan(value) else 10 - value,
                "standard_error": error,
                "skill_vs_naive": 0.25,
                "p_vs_naive": 0.04,
                "may_be_best": value != 1.0,
                "panel_error": error / value if isinstance(value, float) and value else NAN,
                "errors_behind": BEHIND.get(model, NAN),
                "status": value if isinstance(value, str) else "scored",
                "reason": f"it is {value}" if isinstance(value, str) else None,
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
        {
            "unique_id": ["a"],
            "model": [model],
            "rung": ["champion"],
            "score": [score],
            "margin": [margin],
        }
    )


def test_the_lowest_score_wins_and_the_next_is_named():
    row = chosen(scores(naive=1.0, drift=0.75, theta=0.5), by())
    assert (row["model"], row["rung"], row["score"]) == ("theta", "champion", 0.5)
    assert (row["runner_up"], row["margin"]) == ("drift", 0.25)
    assert row["reason"] == (
        "theta has the lowest mase, 0.5; drift follows with 0.75, of 3 candidates on 9 folds"
    )
    row = chosen(scores(naive=1.0003, theta=1.0), by())
    assert "theta has the lowest mase, 1; naive follows with practically the same" in row["reason"]


def test_the_metric_of_the_settings_decides_and_of_equals_their_order():
    assert chosen(scores(naive=1.0, theta=0.5), by(metric="mae"))["model"] == "naive"
    assert chosen(scores(theta=0.5, drift=0.5), by())["model"] == "drift"


@pytest.mark.parametrize("status", [FAILED, INELIGIBLE])
def test_only_scored_models_compete(status: str):
    row = chosen(scores(naive=1.0, theta=status), by())
    assert (row["model"], row["runner_up"]) == ("naive", None)
    assert math.isnan(row["margin"])


def test_a_series_that_no_model_could_forecast_gets_naive_on_its_own_rung():
    row = chosen(scores(drift=FAILED, theta=INELIGIBLE), by())
    assert (row["model"], row["rung"]) == ("naive", "naive")
    assert row["reason"] == "no model forecast every fold"


def test_a_series_with_too_few_real_weeks_gets_naive_with_the_reason():
    row = chosen(scores(naive="too_few", theta="too_few"), by())
    assert (row["model"], row["rung"], row["runner_up"]) == ("naive", "naive", None)
    assert row["reason"] == "too few to compare models: it is too_few"


def test_where_the_metric_is_not_defined_the_mean_absolute_error_ranks():
    row = chosen(scores(drift=NAN, naive=NAN).assign(mae=[3.0, 4.0]), by())
    assert (row["model"], row["rung"], row["runner_up"]) == ("drift", "champion", "naive")
    assert (row["score"], row["margin"]) == (3.0, 1.0)
    assert row["reason"] == (
        "drift has the lowest mae, 3; naive follows with 4, of 2 candidates on 9 folds"
        " (mase is undefined on this series)"
    )


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        ("naive", "; the previous model, naive, now scores 1"),
        ("drift", "; the previous model, drift, no longer competes"),
        ("gone", "; the previous model, gone, no longer competes"),
    ],
)
def test_a_change_of_champion_is_marked_with_what_became_of_the_last_one(before: str, outcome: str):
    row = chosen(scores(naive=1.0, drift=FAILED, theta=0.5), by(), earlier(before))
    assert (row["model"], row["previous_model"], bool(row["switched"])) == ("theta", before, True)
    assert row["reason"].endswith(outcome)


def test_the_same_champion_and_the_first_one_are_no_change():
    row = chosen(scores(naive=1.0, theta=0.5), by(), earlier("theta"))
    assert not row["switched"]
    assert "previous" not in row["reason"]
    first = chosen(scores(naive=1.0, theta=0.5), by())
    assert (first["previous_model"], bool(first["switched"])) == (None, False)


# One standard error
def test_the_simplest_within_one_standard_error_of_the_lowest_is_chosen():
    frame = scores(naive=1.0, drift=0.59, theta=0.5, error=0.1)
    row = chosen(frame, by("one_standard_error"))
    assert (row["model"], row["runner_up"]) == ("drift", "theta")
    assert row["margin"] == pytest.approx(-0.09)
    assert row["reason"] == (
        "drift is the simplest within one standard error (0.1) of the lowest; its mase is 0.59,"
        " the lowest is 0.5 by theta, of 3 candidates on 9 folds"
    )
    unknown = frame.assign(standard_error=NAN)
    assert chosen(unknown, by("one_standard_error"))["model"] == "theta"


# The incumbent
@pytest.mark.parametrize(("theta", "model"), [(0.91, "drift"), (0.9, "theta")])
def test_the_incumbent_goes_once_it_is_beaten_by_the_margin(theta: float, model: str):
    settings = by("incumbent", margin=0.1, patience=1)
    row = chosen(scores(drift=1.0, theta=theta), settings, earlier("drift"))
    assert (row["model"], bool(row["switched"])) == (model, model == "theta")
    assert ("drift is kept, beaten by less than 10%" in row["reason"]) == (model == "drift")


def test_patience_counts_the_weeks_in_which_it_was_beaten():
    settings = by("incumbent", margin=0.1, patience=3)
    now = scores(drift=1.0, theta=0.5)
    beaten, calm = earlier("drift", margin=-0.2), earlier("drift")
    for previous, model in [
        ((beaten,), "drift"),
        ((beaten, calm), "drift"),
        ((calm, beaten), "drift"),
        ((beaten, beaten), "theta"),
    ]:
        assert chosen(now, settings, *previous)["model"] == model
    reason = chosen(now, settings, beaten)["reason"]
    assert "drift is kept, beaten by 10% or more in 2 of 3 weeks" in reason


def test_an_incumbent_that_does_not_compete_any_more_is_replaced():
    frame = scores(naive=1.0, drift=0.9, theta=FAILED)
    for previous in ([earlier("theta")], [earlier("gone")], []):
        assert chosen(frame, by("incumbent"), *previous)["model"] == "drift"


def test_the_incumbent_stays_by_its_mean_absolute_error_where_nothing_else_ranks():
    settings = by("incumbent", margin=0.1, patience=2)
    frame = scores(naive=NAN, drift=NAN)
    close, far = frame.assign(mae=[1.01, 1.0]), frame.assign(mae=[2.0, 1.0])
    assert chosen(close, settings, earlier("naive"))["model"] == "naive"
    assert chosen(far, settings, earlier("naive"))["model"] == "naive"
    assert chosen(far, settings, earlier("naive", score=2.0, margin=-1.0))["model"] == "drift"


# The combination
def test_the_combination_of_the_settings_is_chosen_whatever_it_scores():
    settings = by("combination", combination="combination_mean")
    row = chosen(scores(naive=1.0, theta=0.5, combination_mean=0.7), settings)
    assert (row["model"], row["runner_up"]) == ("combination_mean", "theta")
    assert "is used for every series, as the settings say; its mase is 0.7, the" in row["reason"]


def test_the_ensemble_of_the_evidence_is_that_of_last_week_unless_another_is_clearly_better():
    """Then it is the first within a standard error of the best; the reason says so."""
    ensembles = dict.fromkeys(BEHIND, 0.7) | {"combination_inverse_error": 0.8}
    row = chosen(scores(naive=1.0, **ensembles), by("evidence"))
    assert (row["model"], row["policy"]) == ("combination_inverse_error", "evidence")
    assert "is the ensemble with the lowest error over all series, or not" in row["reason"]
    for before, now in (
        ("combination_best_subset", "combination_best_subset"),
        ("combination_inverse_error", "combination_inverse_error"),
        ("combination_best_model", "combination_median"),
        ("theta", "combination_inverse_error"),
    ):
        row = chosen(scores(naive=1.0, **ensembles), by("evidence"), earlier(before))
        assert row["model"] == now
    unscored = pd.concat([earlier("combination_best_subset"), *[earlier("naive")] * 2])
    unscored["unique_id"] = ["a", "b", "c"]
    row = chosen(scores(naive=1.0, **ensembles), by("evidence"), unscored)
    assert row["model"] == "combination_best_subset"


# Several series
NAMES = ("naive", "drift", "theta", "combination_median")


def panel(**mase: tuple[float | str, ...]) -> pd.DataFrame:
    """Return the metrics of several series: each keyword gives the MASE of the first models."""
    return pd.concat(
        scores(unique_id, error=0.0, **dict(zip(NAMES, values, strict=False)))
        for unique_id, values in mase.items()
    )


@pytest.mark.parametrize(
    ("scope", "mase", "models"),
    [
        ("series", {"a": (1.0, 0.9, 0.5), "b": (0.1, 0.9, 0.5)}, ["theta", "naive"]),
        ("all", {"a": (0.1, 0.5, 0.9), "b": (2.0, 0.5, 0.4)}, ["drift", "drift"]),
        # Without its failure theta would have the lowest mean on the series that is left.
        ("all", {"a": (1.0, 0.9, 0.1), "b": (1.0, 0.9, FAILED)}, ["drift", "drift"]),
        # A series that is too short for most models does not decide for all.
        (
            "all",
            {"a": (1.0, 0.9, 0.1), "b": (1.0, 0.9, 0.1), "new": (0.5, INELIGIBLE, INELIGIBLE)},
            ["theta", "theta", "theta"],
        ),
        # Series without a candidate do not keep the others from a common choice.
        (
            "all",
            {"a": (1.0, 0.5, 0.9), "b": (0.1, 0.5, 0.9), "c": (INELIGIBLE,), "d": ("too_few",) * 3},
            ["drift", "drift", "naive", "naive"],
        ),
    ],
)
def test_each_series_has_its_own_choice_or_all_have_one(
    scope: str, mase: dict[str, tuple[float | str, ...]], models: list[str]
):
    choice = choose(panel(**mase), by(scope=scope))
    assert list(choice["model"]) == models
    assert choice["reason"][0].endswith("over all series") == (scope == "all")


@pytest.mark.parametrize("policy", list(POLICIES))
@pytest.mark.parametrize("scope", ["series", "all"])
def test_every_rule_copes_with_awkward_series(policy: str, scope: str):
    frame = panel(
        sound=(1.0, 0.9, 0.5, 0.6),
        tied=(0.5, 0.5, 0.5, 0.5),
        perfect=(0.0, 0.0, 0.0, 0.0),
        failed=(FAILED, FAILED, FAILED, INELIGIBLE),
        short=(1.0, 1.0, INELIGIBLE, 1.0),
        undefined=(NAN, NAN, NAN, NAN),
    )
    choice = table_contracts((80,))["best_model"].check(choose(frame, by(policy, scope=scope)))
    assert list(choice["unique_id"]) == sorted(set(frame["unique_id"]))
    result = choice.set_index("unique_id")
    assert (result.loc["failed", "model"], result.loc["failed", "rung"]) == ("naive", "naive")
    assert (result.drop(index="failed")["rung"] == "champion").all()
