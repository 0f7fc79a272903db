"""Turn `metrics` into `best_model`: which candidate forecasts each series, by which rule, and why.

The rules are in `policies`. Scoring and forecasting do not belong here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import SelectionSettings, Settings
from forecast_assets.forecasting.eligibility import SCORED, TOO_FEW, pivot_eligible, pivot_scores
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.evidence import RULES, choose_rule
from forecast_assets.forecasting.policies import NO_CANDIDATE, POLICIES, Candidates, is_beaten
from forecast_assets.models.base import Positions, Values
from forecast_assets.models.registry import find_model
from forecast_assets.storage.tables import CHAMPION, NAIVE, PINNED

# A reader takes scores that differ by less than a thousandth for equal.
TIE = 0.001
NO_SCORE = {"score": np.nan, "runner_up": None, "margin": np.nan}


def choose(
    metrics: pd.DataFrame, settings: Settings, *, previous: Sequence[pd.DataFrame] = ()
) -> pd.DataFrame:
    """Choose a candidate for each series: one row a series, in the columns of `best_model`.

    Only scored candidates compete. Where the settings' metric is undefined for all of them, the
    mean absolute error ranks them. A series that is too short for any fold gets the best model that
    is fitted to all series, if it is better than naive on the others; any other series without a
    score gets naive, on the rung `naive`.
    `previous` holds the earlier choices, the newest first. A series that is pinned to a model gets
    it on the rung `pinned`, if the model has a score there.
    """
    rule = settings.selection
    if rule.policy == "evidence":
        by_evidence = _rule_by_evidence(metrics, previous)
        rule = rule.model_copy(update={"combination": by_evidence})
    names = _simplest_first(metrics, settings)
    ids = sorted(set(metrics["unique_id"]))
    scores, by_mae, standard_errors = (
        pivot_scores(metrics, column, names) for column in (rule.metric, "mae", "standard_error")
    )
    has_mae = np.asarray(~np.isnan(by_mae).all(axis=1))
    is_undefined = np.asarray(np.isnan(scores).all(axis=1) & has_mae)
    last_choice = dict(previous[0][["unique_id", "model"]].to_numpy()) if previous else {}
    ranking = np.where(is_undefined[:, None], by_mae, scores)
    candidates = Candidates(
        names,
        ranking,
        np.where(is_undefined[:, None], np.nan, standard_errors),
        metrics.groupby("model")["panel_error"].first().reindex(names).to_numpy(dtype=np.float64),
        _incumbents([last_choice.get(unique_id) for unique_id in ids], names, ranking),
        _times_beaten(previous, ids, rule),
    )
    choice_of = np.arange(len(ids))
    if rule.scope == "all":
        is_eligible = pivot_eligible(metrics, names)
        pooled = candidates.pooled(is_eligible & ~is_undefined[:, None])
        if not np.isnan(pooled.scores).all():
            candidates, is_undefined, choice_of = pooled, np.array([False]), 0 * choice_of
    n_folds = metrics.groupby("unique_id", sort=True)["n_folds"].max().to_numpy()
    n_may_be_best = metrics["may_be_best"].groupby(metrics["unique_id"], sort=True).sum().to_numpy()
    choices = _apply_rule(candidates, is_undefined, n_folds, rule)
    too_few = metrics[metrics["status"] == TOO_FEW].groupby("unique_id")["reason"].first()
    for_short = _for_short_series(metrics, settings)
    rows = []
    for i, unique_id in enumerate(ids):
        choice = {"rung": CHAMPION, **choices[choice_of[i]]}
        if not has_mae[i]:
            is_short = n_folds[i] == 0 and unique_id not in too_few
            choice = for_short if is_short else _not_scored(too_few.get(unique_id))
        of_candidates = dict(zip(names, ranking[i], strict=True))
        change = _add_change(choice, last_choice.get(unique_id), of_candidates)
        rows.append({"unique_id": unique_id, "policy": rule.policy, **change})
    chosen = pd.DataFrame(rows)
    chosen = _pin(chosen, metrics, rule, last_choice)
    skill = metrics.set_index(["unique_id", "model"])[["skill_vs_naive", "p_vs_naive"]]
    index = pd.MultiIndex.from_frame(chosen[["unique_id", "model"]])
    return chosen.assign(**skill.reindex(index).set_axis(chosen.index), n_may_be_best=n_may_be_best)


def _rule_by_evidence(metrics: pd.DataFrame, previous: Sequence[pd.DataFrame]) -> str:
    """Return the ensemble for all series: that of last week, unless another is clearly better."""
    by_model = metrics.fillna({"errors_behind": 0.0}).groupby("model")["errors_behind"].first()
    behind = by_model.reindex(list(RULES), fill_value=np.inf).to_numpy(dtype=np.float64)
    by_rule = [choice[choice["rung"] != PINNED] for choice in previous[:1]]
    last = by_rule[0]["model"] if by_rule else pd.Series(dtype=object)
    last = last[last.isin(RULES)].mode()  # series without scores have naive
    position = RULES.index(last[0]) if len(last) else 0
    return RULES[choose_rule(behind, position)]


def _pin(
    chosen: pd.DataFrame,
    metrics: pd.DataFrame,
    rule: SelectionSettings,
    last_choice: Mapping[str, str],
) -> pd.DataFrame:
    """Replace the choices of pinned series; the choice of the rule becomes the runner-up."""
    if not rule.pinned:
        return chosen
    scores = metrics.set_index(["unique_id", "model"])
    rows = []
    for row in chosen.to_dict("records"):
        name = row["unique_id"]
        model, usual = rule.pinned_model(name), row["model"]
        if model is None:
            rows.append(row)
            continue
        status = scores["status"].get((name, model), "not tried")
        if status != SCORED:
            reason = f"{row['reason']}; the settings pin {model}, which is {status} here"
            rows.append(row | {"reason": reason})
            continue
        metric = "mae" if np.isnan(scores[rule.metric][name, model]) else rule.metric
        score, previous = scores[metric][name, model], last_choice.get(name)
        changes = {"previous_model": previous, "switched": previous not in (None, model)}
        reason = f"{model} is pinned by the settings; the rule would use {usual}"
        runner_up, margin = (
            (row["runner_up"], row["margin"])
            if usual == model
            else (usual, scores[metric].get((name, usual), np.nan) - score)
        )
        new = {"model": model, "rung": PINNED, "score": score, "reason": reason}
        rows.append(row | new | changes | {"runner_up": runner_up, "margin": margin})
    return pd.DataFrame(rows, columns=chosen.columns)


def _not_scored(too_few: str | None) -> dict[str, Any]:
    """Choose naive for a series without scores; `too_few` is the reason of that status."""
    reason = f"too few to compare models: {too_few}" if too_few else "no model forecast every fold"
    return {"rung": NAIVE, "model": "naive", **NO_SCORE, "reason": reason}


def _for_short_series(metrics: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Choose for series that are too short for any fold.

    It is the global model with the lowest error over naive's, if that is below 1: the mean over the
    series on which it is scored.
    """
    ratio = (1 - metrics["skill_vs_naive"]).groupby(metrics["model"]).mean().dropna()
    models = [name for name in ratio.index if name in settings.models.enabled]
    of_all = ratio[[name for name in models if find_model(name, settings).is_global]]
    if of_all.empty or of_all.min() >= 1:
        return _not_scored(None)
    best = str(of_all.idxmin())
    reason = (
        f"the series is too short for a backtest; {best} learns from all series, and its error on"
        f" the others is {of_all.min():.4g} of naive's"
    )
    return {"rung": CHAMPION, "model": best, **NO_SCORE, "reason": reason}


def _add_change(
    choice: Mapping[str, Any], previous: str | None, scores: Mapping[str, float]
) -> dict[str, Any]:
    """Add the previous model to a choice, and why it was replaced; `scores` are this week's."""
    switched = previous is not None and previous != choice["model"]
    reason = choice["reason"]
    if switched:
        score = scores.get(str(previous), np.nan)
        outcome = "no longer competes" if np.isnan(score) else f"now scores {score:.4g}"
        reason += f"; the previous model, {previous}, {outcome}"
    return {**choice, "reason": reason, "previous_model": previous, "switched": switched}


def _apply_rule(
    candidates: Candidates,
    is_undefined: NDArray[np.bool_],
    n_folds: Positions,
    rule: SelectionSettings,
) -> list[dict[str, Any]]:
    """Choose on each row of the candidates and put the reason into words."""
    chosen, reasons = POLICIES[rule.policy](candidates, rule)
    best, second = candidates.best, candidates.runner_up(chosen)
    score, lowest, next_score = (
        candidates.select(candidates.scores, which) for which in (chosen, best, second)
    )
    n_competing = (~np.isnan(candidates.scores)).sum(axis=1)
    choices = []
    for i, (c, b) in enumerate(zip(chosen, best, strict=True)):
        metric = "mae" if is_undefined[i] else rule.metric
        name = candidates.names[c]
        runner_up = candidates.names[second[i]] if second[i] != NO_CANDIDATE else None
        if c != b:
            reason = f"{name} {reasons[i]}; its {metric} is {score[i]:.4g}, the lowest is"
            reason += f" {lowest[i]:.4g} by {candidates.names[b]}"
        else:
            reason = f"{name} has the lowest {metric}, {score[i]:.4g}"
            if runner_up:
                is_tie = next_score[i] - score[i] < TIE * abs(score[i])
                with_score = "practically the same" if is_tie else f"{next_score[i]:.4g}"
                reason += f"; {runner_up} follows with {with_score}"
        reason += f", of {n_competing[i]} candidates"
        if rule.scope == "all" and len(candidates.scores) == 1:
            reason += ", over all series"
        else:
            reason += f" on {n_folds[i]} fold" + "s" * bool(n_folds[i] > 1)
        if is_undefined[i]:
            reason += f" ({rule.metric} is undefined on this series)"
        choices.append(
            {
                "model": name,
                "score": score[i],
                "runner_up": runner_up,
                "margin": next_score[i] - score[i],
                "reason": reason,
            }
        )
    return choices


def _simplest_first(metrics: pd.DataFrame, settings: Settings) -> list[str]:
    """Return the candidates in the order of the settings, which lists the simplest first."""
    present = dict.fromkeys(metrics["model"])
    order = dict.fromkeys([*settings.models.enabled, *COMBINATIONS, *present])
    return [name for name in order if name in present]


def _incumbents(previous: Sequence[str | None], names: Sequence[str], scores: Values) -> Positions:
    """Return the position of each series' previous model, where it still competes."""
    position = {name: i for i, name in enumerate(names)}
    positions = np.array([position.get(str(model), NO_CANDIDATE) for model in previous])
    competes = ~np.isnan(scores[np.arange(len(positions)), positions])
    return np.where(competes, positions, NO_CANDIDATE)


def _times_beaten(
    previous: Sequence[pd.DataFrame], ids: Sequence[str], rule: SelectionSettings
) -> Positions:
    """Count the newest consecutive choices that kept a model though it was beaten: [S]."""
    n_beaten = np.zeros(len(ids), dtype=np.int64)
    is_consecutive = np.ones(len(ids), dtype=bool)
    for choice in previous[: rule.patience - 1]:
        last = choice.set_index("unique_id").reindex(pd.Index(ids))
        score, margin = (last[name].to_numpy(dtype=np.float64) for name in ("score", "margin"))
        is_consecutive &= is_beaten(score, score + margin, rule)
        n_beaten += is_consecutive
    return n_beaten
