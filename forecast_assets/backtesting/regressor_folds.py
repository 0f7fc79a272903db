"""Give each fold the regressors that were known at its tick."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.panel import WEEK
from forecast_assets.backtesting.regressors import CommonColumns, FoldRegressors
from forecast_assets.config.settings import Settings
from forecast_assets.data.regressor_frame import RegressorFrame, Weeks, WeekTicks
from forecast_assets.models.base import Positions, Values


def with_regressors(
    planned: Sequence[SeriesFolds],
    latest: Sequence[SeriesFolds],
    settings: Settings,
    *,
    table: pd.DataFrame | None,
    week_ticks: WeekTicks,
) -> tuple[list[SeriesFolds], list[SeriesFolds]]:
    """Return the folds of the backtest, and those that forecast the future, with regressors.

    `table` is `regressors`. A fold of the backtest sees what was known at its tick, the first one
    after its week; the latest folds see what is known now.
    """
    cutoffs = [item.ds[item.ends - 1].astype("datetime64[D]") for item in planned]
    days = np.unique(np.concatenate(cutoffs)) if cutoffs else np.array([], dtype="datetime64[D]")
    first = np.array([item.ds[0] for item in planned]).astype("datetime64[D]")
    sizes = np.array([len(item.y) for item in planned], dtype=np.int64)
    ends = first + (sizes - 1) * WEEK
    first_cutoff: np.datetime64 = np.append(days, np.max(ends))[0]
    ids, horizon = [item.unique_id for item in planned], settings.backtest.horizon
    weeks = Weeks(ids, first, sizes, first_cutoff, horizon)
    frame = RegressorFrame.of(weeks, settings, table, week_ticks)
    by_day = defaultdict(list)
    for i, (item, of_series) in enumerate(zip(planned, cutoffs, strict=True)):
        for end, day in zip(item.ends.tolist(), of_series, strict=True):
            by_day[int(day.astype(int))].append((i, end))
    ticks = dict(zip(days.astype(int).tolist(), week_ticks(days.tolist()), strict=True))
    differing = frame.differing(by_day, ticks)
    common = CommonColumns(frame.common, np.min(first), frame.names[: frame.common.shape[1]])
    starts = frame.starts()
    patches: dict[int, dict[int, tuple[Positions, Values]]] = defaultdict(dict)
    for (i, end), patch in differing.items():
        patches[i][end] = patch
    x = [
        FoldRegressors(
            frame.names,
            common,
            int((first[i] - common.first) // WEEK),
            frame.own[starts[i] : starts[i + 1]],
            patches[i],
        )
        for i in range(len(planned))
    ]
    return (
        [replace(item, x=each) for item, each in zip(planned, x, strict=True)],
        [replace(item, x=replace(each, patches={})) for item, each in zip(latest, x, strict=True)],
    )
