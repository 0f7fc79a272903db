"""Scores to a choice: which model forecasts each series, by which rule, and why.

The rules: `policies`. Measuring does not belong here, nor forecasting.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import SelectionSettings, Settings
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.policies import NOBODY, POLICIES, Candidates, is_beaten
from forecast_assets.models.base import Positions, Values
from forecast_assets.storage.tables import CHAMPION, NAIVE

TIE = 0.001  # scores that differ by less than a thousandth read the same to a person
EVERY_SERIES = "all"


def choose(
    metrics: pd.DataFrame, settings: Settings, *, previous: Sequence[pd.DataFrame] = ()
) -> pd.DataFrame:
    """Choose who forecasts each series: one row a series, as in `best_model`.

    Only scored candidates compete. Where the settings' metric is defined for none of them, the mean
    absolute error ranks them; a series with none at all gets naive, on the rung of that name.
    `previous` holds the earlier choices, the newest first.
    """
    rule = settings.selection
    names = _from_simplest(metrics, settings)
    ids = sorted(set(metrics["unique_id"]))
    scored = metrics["status"] == "scored"

    def wide(values: "pd.Series[Any]") -> Values:
        table = metrics.assign(value=values).pivot(
            index="unique_id", columns="model", values="value"
        )
        found: Values = table.reindex(index=pd.Index(ids), columns=pd.Index(names)).to_numpy()
        return found

    scores, by_mae = (wide(metrics[column].where(scored)) for column in (rule.metric, "mae"))
    has_mae = np.asarray(~np.isnan(by_mae).all(axis=1))
    undefined = np.asarray(np.isnan(scores).all(axis=1) & has_mae)
    before = _by_series(previous[0]) if previous else {}
    ranking = np.where(undefined[:, None], by_mae, scores)
    field = Candidates(
        names,
        ranking,
        np.where(undefined[:, None], np.nan, wide(metrics["standard_error"].where(scored))),
        _incumbents([before.get(one) for one in ids], names, ranking),
        _n_beaten(previous, ids, rule),
    )
    at = np.arange(len(ids))
    if rule.scope == EVERY_SERIES:
        eligible = wide((metrics["status"] != "ineligible").astype(float)) == 1
        together = field.as_one(eligible & ~undefined[:, None])
        if not together.is_empty.all():
            field, at, undefined = together, np.zeros(len(ids), dtype=int), np.array([False])
    n_folds = metrics.groupby("unique_id", sort=True)["n_folds"].max().to_numpy()
    n_in = metrics["may_be_best"].groupby(metrics["unique_id"], sort=True).sum().to_numpy()
    choices = _choices(field, undefined, n_folds, rule)
    chosen = pd.DataFrame(
        [
            {
                "unique_id": unique_id,
                "rung": CHAMPION if has_mae[i] else NAIVE,
                "policy": rule.policy,
                **_since(
                    before.get(unique_id),
                    choices[at[i]] if has_mae[i] else NOT_SCORED,
                    dict(zip(names, ranking[i], strict=True)),
                ),
            }
            for i, unique_id in enumerate(ids)
        ]
    )
    told = metrics.set_index(["unique_id", "model"])[["skill_vs_naive", "p_vs_naive"]]
    of_it = pd.MultiIndex.from_frame(chosen[["unique_id", "model"]])
    return chosen.assign(**told.reindex(of_it).set_axis(chosen.index), n_may_be_best=n_in)


def _since(last: str | None, choice: Mapping[str, Any], now: Mapping[str, float]) -> dict[str, Any]:
    """A choice with what was chosen before, and why that is no more; `now` is who scores what."""
    switched = last is not None and last != choice["model"]
    reason = choice["reason"]
    if switched:
        score = now.get(str(last), np.nan)
        became = "does not compete any more" if np.isnan(score) else f"now scores {score:.4g}"
        reason += f"; {last}, chosen before, {became}"
    return {**choice, "reason": reason, "previous_model": last, "switched": switched}


NOT_SCORED = {
    "model": "naive",
    "score": np.nan,
    "runner_up": None,
    "margin": np.nan,
    "reason": "no model forecast every fold",
}


def _choices(
    field: Candidates, by_mae: NDArray[np.bool_], n_folds: Positions, rule: SelectionSettings
) -> list[dict[str, Any]]:
    """What the rule makes of each row of the field, and how it is told."""
    chosen, why = POLICIES[rule.policy](field, rule)
    least, second = field.least, field.runner_up(chosen)
    score, lowest, after = (field.of(field.scores, which) for which in (chosen, least, second))
    n_competing = (~np.isnan(field.scores)).sum(axis=1)
    choices = []
    for i, (c, b) in enumerate(zip(chosen, least, strict=True)):
        metric = "mae" if by_mae[i] else rule.metric
        name, follows = field.names[c], field.names[second[i]] if second[i] != NOBODY else None
        if c != b:
            reason = f"{name} {why[i]}; its {metric} is {score[i]:.4g}, the least is"
            reason += f" {lowest[i]:.4g} by {field.names[b]}"
        else:
            reason = f"{name} has the least {metric}, {score[i]:.4g}"
            if follows:
                is_tie = after[i] - score[i] < TIE * abs(score[i])
                with_score = "practically the same" if is_tie else f"{after[i]:.4g}"
                reason += f"; {follows} follows with {with_score}"
        reason += f", of {n_competing[i]} candidates"
        if rule.scope == EVERY_SERIES and len(field.scores) == 1:
            reason += ", over all series"
        else:
            reason += f" on {n_folds[i]} fold" + "s" * bool(n_folds[i] > 1)
        if by_mae[i]:
            reason += f" ({rule.metric} is not defined on this series)"
        choices.append(
            {
                "model": name,
                "score": score[i],
                "runner_up": follows,
                "margin": after[i] - score[i],
                "reason": reason,
            }
        )
    return choices


def _from_simplest(metrics: pd.DataFrame, settings: Settings) -> list[str]:
    """The candidates in the order of the settings, which goes from the simplest on."""
    there = dict.fromkeys(metrics["model"])
    known = [name for name in (*settings.models.enabled, *COMBINATIONS) if name in there]
    return known + [name for name in there if name not in known]


def _by_series(choice: pd.DataFrame) -> dict[str, str]:
    return dict(zip(choice["unique_id"], choice["model"], strict=True))


def _incumbents(before: Sequence[str | None], names: Sequence[str], scores: Values) -> Positions:
    """The place of each series' last choice, where it competes."""
    place = {name: i for i, name in enumerate(names)}
    at = np.array([NOBODY if one is None else place.get(one, NOBODY) for one in before])
    competes = ~np.isnan(scores[np.arange(len(at)), at])
    return np.where(competes, at, NOBODY)


def _n_beaten(
    previous: Sequence[pd.DataFrame], ids: Sequence[str], rule: SelectionSettings
) -> Positions:
    """In how many of the newest choices, one after the other, the model was beaten and stayed."""
    n_beaten = np.zeros(len(ids), dtype=np.int64)
    goes_on = np.ones(len(ids), dtype=bool)
    for choice in previous[: rule.patience - 1]:
        last = choice.set_index("unique_id").reindex(pd.Index(ids))
        score, margin = (last[name].to_numpy(dtype=np.float64) for name in ("score", "margin"))
        goes_on &= is_beaten(score, score + margin, rule)
        n_beaten += goes_on
    return n_beaten
