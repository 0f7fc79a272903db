"""Turn `best_model` into `next_week_forecast`: point forecasts with prediction intervals.

Which candidate forecasts a series belongs to `fallback`, the width of an interval to `intervals`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.vintage_folds import LatestValue
from forecast_assets.config.forecast_settings import ForecastSettings, column_suffix, quantile_of
from forecast_assets.config.settings import ForecastPolicy, Settings
from forecast_assets.data.quality.evaluate import is_many
from forecast_assets.errors import DataError, format_list
from forecast_assets.forecasting import totals
from forecast_assets.forecasting.backtest_results import BacktestResults, mean_of_known
from forecast_assets.forecasting.ensembles import add_ensembles
from forecast_assets.forecasting.fallback import (
    Attempt,
    LatestForecasts,
    fallback_order,
    forecast_with_fallback,
)
from forecast_assets.forecasting.fold_blocks import as_weeks
from forecast_assets.forecasting.intervals import half_widths
from forecast_assets.forecasting.moves import NewestFolds
from forecast_assets.forecasting.scale_choice import as_published
from forecast_assets.forecasting.volatility import is_non_negative, volatility_at_cutoffs
from forecast_assets.models.base import Values
from forecast_assets.storage.tables import IMPLAUSIBLE, NAIVE


class WeekForecast(NamedTuple):
    """The forecasts of a week, and what is wrong with them.

    `rows` are rows of next_week_forecast for every series that has a forecast at all. Those of the
    series in `implausible` are not published unless they are accepted; `missing` have no rows. The
    whole week is held back if `is_held`.
    """

    rows: pd.DataFrame
    implausible: Sequence[str] = ()
    missing: Sequence[str] = ()
    is_held: bool = False
    reconciliation: pd.DataFrame | None = None  # its errors by level; None without `[hierarchy]`
    newest_folds: NewestFolds | None = None  # of the backtest; None where it was not read

    @property
    def published(self) -> pd.DataFrame:
        """Return the rows of the series whose forecast is plausible."""
        return self.rows[~self.rows["unique_id"].isin(list(self.implausible))]


def forecast(
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    *,
    executor: BacktestExecutor,
    as_of: datetime,
    made_at: datetime,
) -> WeekForecast:
    """Forecast the `horizon` weeks after each series' last.

    The errors that the same candidate made in its backtest give the interval; where they are too
    few for its level, it is null. No value is below `forecast.minimum`. Raises DataError where no
    candidate of any series makes a forecast.
    """
    planned, _, targets = executor.plan(series)
    results = BacktestResults.from_predictions(predictions, series, settings, planned=planned)
    columns = best_model[["unique_id", "model", "rung", "runner_up"]].to_numpy()
    orders = {unique_id: fallback_order(*rest) for unique_id, *rest in columns}
    choice = dict(zip(best_model["unique_id"], best_model["reason"], strict=True))
    chosen = [target for target in targets if target.unique_id in orders]
    attempts = forecast_with_fallback(
        {target.unique_id: orders[target.unique_id] for target in chosen},
        LatestForecasts(targets, results, settings, executor),
    )
    policy = settings.data_quality.implausible_forecast
    used = select_attempts(attempts, policy)
    pairs = [*zip(chosen, used, strict=True)]
    implausible = [
        target.unique_id for target, made in pairs if made and made.problem and policy != "publish"
    ]
    missing = [target.unique_id for target, made in pairs if made is None]
    if len(missing) == len(chosen):
        raise DataError(_nothing_message(chosen, attempts))
    kept = [i for i, made in enumerate(used) if made]
    rows, evidence = _to_rows(
        [chosen[i] for i in kept],
        [made for made in used if made],
        [_reason(attempts[i], used[i], choice[chosen[i].unique_id]) for i in kept],
        results,
        settings,
        parent_of=totals.parents_in(series),
    )
    n_left_out = len(implausible) + len(missing)
    is_held = policy != "publish" and is_many(n_left_out, len(chosen))
    frame = rows.assign(made_at=made_at, as_of=as_of)
    folds = NewestFolds.of(results)
    return WeekForecast(frame, implausible, missing, is_held, evidence, folds)


def select_attempts(
    attempts: Sequence[Sequence[Attempt]], policy: ForecastPolicy
) -> list[Attempt | None]:
    """Return the attempt that forecasts each series; None where no candidate gave a number.

    It is the plausible one or, where there is none, the first. With the policy `publish` it is
    always the first, and with `hold` if the first ones of one series in twenty are implausible.
    """
    first = [next((made for made in tried if made.is_number), None) for tried in attempts]
    n_implausible = sum(made is None or made.problem is not None for made in first)
    if policy == "publish" or (policy == "hold" and is_many(n_implausible, len(attempts))):
        return first
    last = [tried[-1] for tried in attempts]
    return [b if b.problem is None else a for a, b in zip(first, last, strict=True)]


def _to_rows(
    chosen: Sequence[SeriesFolds],
    used: Sequence[Attempt],
    reasons: Sequence[str | None],
    results: BacktestResults,
    settings: Settings,
    *,
    parent_of: Mapping[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Lay out forecasts with their intervals: `horizon` rows for each series.

    They add up where series have parents; the second result is why they do so in this way.
    """
    models = [made.model for made in used]
    members = [", ".join(made.members) or None for made in used]
    weights = [", ".join(map(repr, made.unequal_weights)) or None for made in used]
    candidates = {*models, settings.selection.combination}
    published = as_published(add_ensembles(results, candidates), settings)
    levels = settings.forecast.all_levels
    horizon = settings.backtest.horizon
    h = np.arange(1, horizon + 1)
    cutoff = np.array([target.ds[-1] for target in chosen], dtype="datetime64[ns]")
    last = [LatestValue.of(target) for target in chosen]
    minimum = settings.forecast.minimum
    is_on_scale = np.array([[is_non_negative(target)] for target in chosen])
    week = _reconcile(chosen, used, published, parent_of, settings)
    y_hat = week.y_hat  # [S, H]
    widths, mae = interval_half_widths(chosen, week.candidates, week.results, levels)
    lows, highs = published.scale.bounds(y_hat, widths, is_on_scale, minimum=minimum)
    not_whole = [week.not_whole.get(target.unique_id) for target in chosen]
    why = ["; ".join(filter(None, pair)) or None for pair in zip(reasons, not_whole, strict=True)]
    rows = pd.DataFrame(
        {
            "unique_id": np.repeat([target.unique_id for target in chosen], horizon),
            "h": np.tile(h, len(chosen)),
            "ds": (cutoff[:, None] + 7 * h * np.timedelta64(1, "D")).ravel(),
            "y_hat": y_hat.ravel(),
            **_interval_ends(y_hat, lows, highs, settings.forecast),
            "backtest_mae": mae.ravel(),
            "model": np.repeat(models, horizon),
            "members": np.repeat(np.array(members, dtype=object), horizon),
            "weights": np.repeat(np.array(weights, dtype=object), horizon),
            "rung": np.repeat([made.rung for made in used], horizon),
            "reason": np.repeat(np.array(why, dtype=object), horizon),
            "last_published": np.repeat([value.published for value in last], horizon),
            "last_corrected": np.repeat([value.corrected for value in last], horizon),
            "cutoff": np.repeat(cutoff, horizon),
            **{name: values.ravel() for name, values in week.columns.items()},
        }
    )
    return rows, None if week.evidence.empty else week.evidence


def _reconcile(
    chosen: Sequence[SeriesFolds],
    used: Sequence[Attempt],
    results: BacktestResults,
    parent_of: Mapping[str, str],
    settings: Settings,
) -> totals.WeekTotals:
    """Return the forecasts that are published: none below the minimum, and they add up."""
    y_hat = np.stack([made.y_hat for made in used])
    policy, minimum = settings.data_quality.implausible_forecast, settings.forecast.minimum
    return totals.reconcile(
        chosen,
        [made.model for made in used],
        y_hat if minimum is None else np.maximum(y_hat, minimum),
        results,
        parent_of,
        is_plausible=np.array([made.problem is None or policy == "publish" for made in used]),
        minimum=minimum,
    )


def _reason(attempts: Sequence[Attempt], used: Attempt | None, choice: str) -> str | None:
    """Say why a forecast is implausible, or why no earlier candidate forecasts the series.

    `choice` is the reason why best_model has the candidate.
    """
    if used is None:
        return None
    if used.problem:
        return f"{IMPLAUSIBLE}{used.model} {used.problem}"
    tried = [f"{made.model} {made.problem}" for made in attempts if made.problem]
    problems = dict.fromkeys([*tried, *used.left_out])
    if not problems and used.rung == NAIVE:
        return choice
    return "; ".join(problems) or None


def _nothing_message(chosen: Sequence[SeriesFolds], attempts: Sequence[Sequence[Attempt]]) -> str:
    names = [
        f"{target.unique_id} ({tried[-1].model} {tried[-1].problem})"
        for target, tried in zip(chosen, attempts, strict=True)
    ]
    return (
        f"No candidate of any of {len(chosen)} series makes a forecast: {format_list(names)}."
        f" `next_week_forecast` was not written, and the previous forecast stays in force. Correct"
        f" what the models report, and run the week again."
    )


def _interval_ends(
    y_hat: Values, lows: Values, highs: Values, settings: ForecastSettings
) -> dict[str, Values]:
    """Return the columns of intervals and quantiles; `lows` [L, S, H] are of all levels.

    A quantile is an end of the interval that leaves as much on either side, 0.5 the forecast.
    """
    ends = {0.5: y_hat}
    columns = {}
    for level, low, high in zip(settings.all_levels, lows, highs, strict=True):
        ends |= {quantile_of(level, -1): low, quantile_of(level, 1): high}
        if level in settings.levels:
            columns[f"lo_{column_suffix(level)}"] = low.ravel()
            columns[f"hi_{column_suffix(level)}"] = high.ravel()
    quantiles = {f"q{column_suffix(q)}": ends[q].ravel() for q in settings.quantiles}
    return {**columns, **quantiles}


def interval_half_widths(
    chosen: Sequence[SeriesFolds],
    models: Sequence[str],
    results: BacktestResults,
    levels: Sequence[float],
) -> tuple[Values, Values]:
    """Return each series' interval half-widths and backtest MAE: [L, S, H] and [S, H].

    Both come from the errors of the series' own model (`models` [S]); NaN where it did not forecast
    every fold. Half-widths are on the scale of the results, the MAE is in the series' unit.
    """
    horizon = results.y.shape[1]
    half = np.full((len(levels), len(chosen), horizon), np.nan)
    mae = np.full((len(chosen), horizon), np.nan)
    ids = pd.Index([target.unique_id for target in chosen])
    positions = ids.get_indexer(pd.Index([series.unique_id for series in results.planned]))
    volatility = volatility_at_cutoffs(chosen, results.scale, horizon=horizon)
    model_of = np.array(models)
    weeks = np.unique(as_weeks(np.array([target.ds[-1] for target in chosen])))
    for m, name in enumerate(results.models):
        if name not in models:
            continue
        panel = results.errors_of_panel(m, weeks)
        for block in results.blocks():
            rows = positions[block.series]
            here = np.flatnonzero((rows >= 0) & (model_of[rows] == name) & block.is_scored[m])
            if not len(here):
                continue
            rows = rows[here]
            now = as_weeks(chosen[rows[0]].ds[-1:])
            widths = half_widths(
                block.scaled_errors(m)[here],
                block.recent_volatility[here],
                block.weeks,
                levels,
                panel,
                target_weeks=now,
                target_volatility=volatility[rows, None],
            )
            half[:, rows] = widths[:, :, 0]
            mae[rows] = mean_of_known(np.abs(block.errors[m, here]), 1)
    return half, mae
