"""The choice to next week's numbers: each series forecast by its model, with intervals.

The ladder: where the champion fails on the newest week the runner-up forecasts, then naive; the
rung is printed beside the forecast, and so is the model. How a model is run: `compute`.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from forecast_assets.backtest import SeriesFolds, latest
from forecast_assets.compute import Compute
from forecast_assets.intervals import radius
from forecast_assets.jobs import Asked
from forecast_assets.models.base import Values
from forecast_assets.models.registry import find
from forecast_assets.panel import Panel
from forecast_assets.selection import NAIVE, RUNNER_UP
from forecast_assets.settings import Settings
from forecast_assets.tables import column_suffix

Rung = tuple[str, str]  # a model's name, and the name of the rung it would stand on
Made = tuple[str, str, Values]  # a model's name, the rung it stands on, and what it said: [h]


def forecast(
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    *,
    compute: Compute,
    as_of: datetime,
    made_at: datetime,
) -> pd.DataFrame:
    """Forecast `horizon` weeks after each series' last: rows of next_week_forecast.

    An interval is drawn from the absolute errors that the same model made in its backtest; where
    there are too few for its level it is null.
    """
    targets = {one.unique_id: one for one in latest(series)}
    chosen = [one for one in best_model.to_dict("records") if one["unique_id"] in targets]
    ladders = {str(one["unique_id"]): _ladder(one) for one in chosen}
    made = _climb(ladders, targets, settings, compute)
    errors = _errors(predictions, series, made)
    rows = []
    for unique_id, (model, rung, y_hat) in made.items():
        one = targets[unique_id]
        rows.append(
            _rows(one, y_hat, errors.get(unique_id), settings).assign(
                model=model, rung=rung, cutoff=one.ds[-1], made_at=made_at, as_of=as_of
            )
        )
    return pd.concat(rows, ignore_index=True)


def _ladder(choice: Mapping[Hashable, object]) -> list[Rung]:
    rungs = [(str(choice["model"]), str(choice["rung"]))]
    if choice["runner_up"] is not None:
        rungs.append((str(choice["runner_up"]), RUNNER_UP))
    return [*rungs, ("naive", NAIVE)]


def _climb(
    ladders: Mapping[str, Sequence[Rung]],
    targets: Mapping[str, SeriesFolds],
    settings: Settings,
    compute: Compute,
) -> dict[str, Made]:
    """Try each series' rungs in turn, the models of all series that stand equally high at once."""
    made: dict[str, Made] = {}
    panel = Panel.of(list(targets.values()))
    for depth in range(max(map(len, ladders.values()))):
        asked: dict[Rung, set[str]] = {}
        for unique_id, rungs in ladders.items():
            if unique_id not in made and depth < len(rungs):
                asked.setdefault(rungs[depth], set()).add(unique_id)
        runs = compute.run_all(
            [
                Asked(find(model, settings), _only(ids, targets), panel)
                for (model, _), ids in asked.items()
            ]
        )
        for (model, rung), run in zip(asked, runs, strict=True):
            ids = [one.unique_id for one in run.planned if len(one.ends)]
            for unique_id, y_hat, is_there in zip(
                ids, run.folds.y_hat, run.folds.is_forecast, strict=True
            ):
                if is_there:
                    made[unique_id] = (model, rung, y_hat)
    return {unique_id: made[unique_id] for unique_id in ladders}


def _only(ids: Collection[str], targets: Mapping[str, SeriesFolds]) -> list[SeriesFolds]:
    """Every series, with a fold for those alone: a global model sees the others too."""
    return [
        one if one.unique_id in ids else replace(one, ends=one.ends[:0]) for one in targets.values()
    ]


def _errors(
    predictions: pd.DataFrame, series: pd.DataFrame, made: Mapping[str, Made]
) -> dict[str, Values]:
    """The absolute errors that each series' model made in its backtest: id -> [K, H]."""
    makers = pd.DataFrame({"unique_id": made.keys(), "model": [m for m, _, _ in made.values()]})
    own = predictions.merge(makers, on=["unique_id", "model"], validate="many_to_one")
    known = own.merge(series, on=["unique_id", "ds"], validate="many_to_one")
    known["error"] = (known["y_hat"] - known["y"]).abs()
    horizon = int(known["h"].max()) if len(known) else 1
    found = {}
    for unique_id, one in known.sort_values(["cutoff", "h"]).groupby("unique_id"):
        folds = one["error"].to_numpy().reshape(-1, horizon)
        found[str(unique_id)] = folds[np.isfinite(folds).all(axis=1)]
    return found


def _rows(
    one: SeriesFolds, y_hat: Values, errors: Values | None, settings: Settings
) -> pd.DataFrame:
    horizon = settings.backtest.horizon
    h = np.arange(1, horizon + 1, dtype=np.int64)
    seen: Values = np.empty((0, horizon)) if errors is None else errors
    intervals = {}
    for level in settings.forecast.levels:
        half_width = radius(seen, level)
        intervals[f"lo_{column_suffix(level)}"] = y_hat - half_width
        intervals[f"hi_{column_suffix(level)}"] = y_hat + half_width
    return pd.DataFrame(
        {
            "unique_id": one.unique_id,
            "h": h,
            "ds": one.ds[-1] + 7 * h * np.timedelta64(1, "D"),
            "y_hat": y_hat,
            **intervals,
        }
    )
