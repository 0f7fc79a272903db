"""Forecasts that were published, scored once their week's value is known.

How a forecast came about does not belong here, nor where the past ones are kept.
"""

from collections.abc import Sequence

import pandas as pd

from forecast_assets.tables import column_suffix, tables


def score_published(
    published: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]
) -> pd.DataFrame:
    """Score every published forecast whose week is over: rows of forecast_accuracy.

    `published` holds next_week_forecast's rows of every version, the newest last; of a forecast
    that was published again for the same week from the same cutoff, the last one counts. Errors
    are forecast less value. A forecast whose cutoff the series no longer has is not scored: there
    is no naive error to hold against it.
    """
    once = published.drop_duplicates(["unique_id", "ds", "h", "cutoff"], keep="last")
    scored = once.merge(series, on=["unique_id", "ds"], validate="many_to_one")
    at_cutoff = series.rename(columns={"ds": "cutoff", "y": "y_at_cutoff"})
    scored = scored.merge(at_cutoff, on=["unique_id", "cutoff"], validate="many_to_one")
    scored["error"] = scored["y_hat"] - scored["y"]
    scored["abs_error"] = scored["error"].abs()
    scored["naive_abs_error"] = (scored["y_at_cutoff"] - scored["y"]).abs()
    for suffix in map(column_suffix, levels):
        for side in (f"lo_{suffix}", f"hi_{suffix}"):
            if side not in scored:
                scored[side] = float("nan")  # published before this level was asked for
        inside = (scored[f"lo_{suffix}"] <= scored["y"]) & (scored["y"] <= scored[f"hi_{suffix}"])
        scored[f"in_{suffix}"] = inside
    return scored.loc[:, tables(levels)["forecast_accuracy"].names]
