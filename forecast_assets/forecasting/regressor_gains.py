"""Measure by how much models are better with regressors, and whether that is plausible."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.errors import format_list
from forecast_assets.forecasting.eligibility import SCORED
from forecast_assets.forecasting.twins import twins_of

# A promotion that raises sales by a fifth, and the holidays, lower the error of shops by 60 %.
IMPLAUSIBLE_GAIN = 0.9
# With fewer folds a gain may be luck.
MIN_FOLDS = 4


def regressor_gains(
    metrics: pd.DataFrame, twins: Iterable[tuple[str, str]], *, metric: str
) -> pd.DataFrame:
    """Compare each model with regressors with its twin without: one row each, most helpful first.

    `twins` are those of `twins_of`; pairs without a score are left out.

    `without` and `with_regressors` are means of the metric over the series on which both are
    scored, `gain` is by how much the second is lower, as a share, and `n_better` counts the series
    on which it is lower.
    """
    scored = metrics[metrics["status"] == SCORED]
    scores = scored.pivot(index="unique_id", columns="model", values=metric)
    rows = []
    for plain, name in twins:
        if not {plain, name} <= {*scores.columns}:
            continue
        pair = scores[[plain, name]].dropna()
        before, after = pair.mean()
        is_better = pair[name] < pair[plain]
        gain = 1 - after / before if before else np.nan
        rows.append((name, before, after, gain, len(pair), int(is_better.sum())))
    columns = ["model", "without", "with_regressors", "gain", "n_series", "n_better"]
    gains = pd.DataFrame(rows, columns=columns)
    return gains.sort_values(["gain", "model"], ascending=[False, True], ignore_index=True)


def probable_leak(metrics: pd.DataFrame, settings: Settings) -> str:
    """Say where regressors without a time of publication gain more than is plausible; or nothing.

    Such values count as known before their week, which may not be true.
    """
    undated = [name for name, table in settings.regressors.items() if not table.available]
    scored = metrics[(metrics["status"] == SCORED) & (metrics["n_real"] >= MIN_FOLDS)]
    errors = scored.pivot(index="unique_id", columns="model", values="mae")
    texts = []
    for plain, name in twins_of(errors.columns, settings) if undated else ():
        pair = errors[[plain, name]].dropna()
        found = pair.index[pair[name] < (1 - IMPLAUSIBLE_GAIN) * pair[plain]]
        if len(found):
            share = 1 - pair.loc[found, name].sum() / pair.loc[found, plain].sum()
            texts.append(
                f"{name} has errors {share:.0%} lower than {plain} on {len(found)} of {len(pair)}"
                f" series ({format_list(found)})"
            )
    if not texts:
        return ""
    keys = format_list([f"`regressors.{name}.available`" for name in undated])
    return (
        f"{'; '.join(texts)}. That is too good to be true: values of {format_list(undated)}, which"
        f" have no time of publication, were probably not known as early as the backtest takes"
        f" them to be. Forecasts will be worse than it says. Set {keys} to the column"
        f' of publication times or, with `known = "past"`, to how long after its week it is known.'
    )
