"""Find the rows of each model in `backtest_predictions`, and check their folds."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.errors import DataError


def rows_by_model(predictions: pd.DataFrame) -> dict[str, slice]:
    """Return the contiguous rows of each model, in their order."""
    names = predictions["model"].to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    spans = pairwise([*starts.tolist(), len(names)])
    return {str(names[start]): slice(start, end) for start, end in spans}


def check_folds(
    predictions: pd.DataFrame,
    rows: Mapping[str, slice],
    planned: Sequence[SeriesFolds],
    *,
    horizon: int,
) -> None:
    """Raise DataError where the rows of a model are not those of the planned folds."""
    sizes = [len(folds.ends) * horizon for folds in planned]
    ids = np.repeat(np.array([folds.unique_id for folds in planned], dtype=object), sizes)
    cutoffs = np.concatenate([np.repeat(folds.ds[folds.ends - 1], horizon) for folds in planned])
    for model, model_rows in rows.items():
        given = predictions.iloc[model_rows]
        n_rows = len(given)
        if (
            n_rows != len(ids)
            or (given["cutoff"].to_numpy() != cutoffs).any()
            or (given["unique_id"].to_numpy() != ids).any()
        ):
            raise DataError(
                f"The backtest of {model} has {n_rows} rows on other folds than the {len(ids)} that"
                f" the series and [backtest] of forecast.toml plan now. Scores on different folds"
                f" cannot be compared, so nothing was scored. Run the backtest again:"
                f" dagster asset materialize -m forecast_assets.definitions"
                f" --select backtest_predictions --partition {model}"
            )
