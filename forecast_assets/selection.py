"""Scores to a choice: which model forecasts each series, and why.

Measuring does not belong here, nor forecasting.
"""

from collections.abc import Mapping

import pandas as pd

from forecast_assets.settings import Settings

CHAMPION, RUNNER_UP, NAIVE = "champion", "runner-up", "naive"
# The ladder: which rung a forecast stands on.
TIE = 0.001  # scores that differ by less than a thousandth read the same to a person


def choose(
    metrics: pd.DataFrame, settings: Settings, *, previous: Mapping[str, str]
) -> pd.DataFrame:
    """Choose one model a series by the settings' metric: one row a series, as in `best_model`.

    Only scored models compete; of equals the first in the settings' order wins. A series on which
    the metric is defined for no model gets naive, on the rung of that name. `previous` maps a
    series to its last choice.
    """
    order = {name: place for place, name in enumerate(settings.models.enabled)}
    ranked = metrics.assign(place=metrics["model"].map(order).fillna(len(order)))
    ranked = ranked.sort_values(["unique_id", settings.selection.metric, "place"], kind="stable")
    rows = [
        _choice(str(unique_id), group, settings, previous.get(str(unique_id)))
        for unique_id, group in ranked.groupby("unique_id", sort=True)
    ]
    return pd.DataFrame(rows)


def _choice(
    unique_id: str, models: pd.DataFrame, settings: Settings, previous: str | None
) -> dict[str, object]:
    metric = settings.selection.metric
    scored = models[(models["status"] == "scored") & models[metric].notna()]
    row: dict[str, object] = {
        "unique_id": unique_id,
        "policy": settings.selection.policy,
        "runner_up": None,
        "margin": float("nan"),
        "previous_model": previous,
    }
    if scored.empty:
        why = (
            "no model forecast every fold"
            if not (models["status"] == "scored").any()
            else f"{metric} is not defined on this series"
        )
        row |= {"model": "naive", "rung": NAIVE, "score": float("nan"), "reason": why}
    else:
        best = scored.iloc[0]
        score, name = float(best[metric]), str(best["model"])
        row |= {"model": name, "rung": CHAMPION, "score": score}
        reason = f"{name} has the least {metric}, {score:.4g}"
        if len(scored) > 1:
            second = scored.iloc[1]
            row |= {"runner_up": second["model"], "margin": float(second[metric]) - score}
            follows = float(second[metric])
            is_tie = follows - score < TIE * abs(score)
            with_score = "practically the same" if is_tie else f"{follows:.4g}"
            reason += f"; {second['model']} follows with {with_score}"
        row["reason"] = f"{reason}, of {len(scored)} models on {best['n_folds']} folds"
    return row | {"switched": previous is not None and previous != row["model"]}
