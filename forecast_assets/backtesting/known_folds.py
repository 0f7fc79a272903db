"""Give folds what was known at their ticks: vintages of the values, and regressors."""

from collections.abc import Callable, Sequence

import pandas as pd

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.regressor_folds import with_regressors
from forecast_assets.backtesting.vintage_folds import (
    History,
    KnownValues,
    with_correction,
    with_vintages,
)
from forecast_assets.config.settings import Settings
from forecast_assets.data.regressor_frame import midnight_after


def as_known(
    folds: Sequence[SeriesFolds],
    latest: Sequence[SeriesFolds],
    settings: Settings,
    *,
    history: History | None,
    regressors: Callable[[], pd.DataFrame | None],
) -> tuple[Sequence[SeriesFolds], Sequence[SeriesFolds]]:
    """Return past folds, and those that forecast the future, with what each sees.

    Without a history all see today's values. `regressors` returns the table of that name.
    """
    if history:
        known = KnownValues.of(folds, history)
        folds, latest = with_correction(with_vintages(folds, known), latest, known)
    if settings.has_regressors and folds:
        folds, latest = with_regressors(
            folds,
            latest,
            settings,
            table=regressors(),
            week_ticks=history.week_ticks if history else midnight_after,
        )
    return folds, latest
