"""Assets that lead to the choice: data, scores, best model; each one pure call and what to see.

The backtest, a graph of a step for each model: `bake_off`; what is made of the choice:
`publication`. Contracts, owners and groups are filled in by `build`, the same way for all.
"""

from random import Random

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data import weekly
from forecast_assets.data.quality.baseline import rows_before, version_before
from forecast_assets.data.quality.evaluate import held, in_a_line, judge, refusal
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import Asked
from forecast_assets.defs import checks
from forecast_assets.defs.asset_decorator import Frame, Told, its_moment, week_asset
from forecast_assets.defs.backtest_assets import best_model, metrics
from forecast_assets.defs.metadata import first_rows, picture, published
from forecast_assets.defs.runs import ACCEPT_TAG, YES, mark_held
from forecast_assets.errors import DataError
from forecast_assets.reporting import plots
from forecast_assets.storage.store import Store


@week_asset
def raw_data(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Frame:
    """The source's rows as published: mapped to `unique_id, ds, y`, nothing else changed."""
    as_of = its_moment(context).as_of
    before = rows_before(store, settings, as_of=as_of)
    rng = Random(context.run.run_id)  # noqa: S311 - it spreads waits, of each run in its own way
    asked = Asked(settings, as_of, before=before, say=context.log.warning, rng=rng)
    rows = fetch.fetch(asked)
    aside = rows.loc[rows["problem"].notna(), ["problem", "given"]]
    return published(
        store.tables["raw_data"],
        rows,
        {
            "source": fetch.described(settings),
            "n_series": rows["unique_id"].nunique(),
            "first": str(rows["ds"].min().date()),
            "last": str(rows["ds"].max().date()),
            "n_rows_set_aside": len(aside),
            **({"rows_set_aside": first_rows(aside)} if len(aside) else {}),
        },
    )


@week_asset
def series(
    context: dg.AssetExecutionContext,
    raw_data: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Told:
    """One value for each series and finished week, without gaps; held back where it is odd."""
    moment = its_moment(context)
    weeks = weekly.to_weeks(raw_data, settings, as_of=moment.as_of)
    before = version_before(store, settings, as_of=moment.as_of, runs=moment.runs)
    findings = judge(raw_data, weeks.frame, before, settings, as_of=moment.as_of)
    is_accepted = context.run.tags.get(ACCEPT_TAG) == YES
    yield checks.series_can_be_backtested(weeks.frame, horizon=settings.backtest.horizon)
    yield from checks.results(findings, is_accepted=is_accepted)
    if held(findings) and not is_accepted:
        content = store.tables["raw_data"].data_version(raw_data)
        mark_held(context.run, context.instance, content=content)
        raise DataError(refusal(findings))
    yield published(
        store.tables["series"],
        weeks.frame,
        {
            "series_plot": picture(plots.draw_series(weeks.frame), alt="every series"),
            "rows": first_rows(weeks.frame.groupby("unique_id").tail(1)),
            "n_series": weeks.frame["unique_id"].nunique(),
            "last_week": str(weeks.frame["ds"].max().date()),
            "n_weeks_filled": weeks.n_filled,
            "n_weeks_left_out": weeks.n_part,
            "n_rows_of_unfinished_weeks": weeks.n_unfinished,
            "verdict": in_a_line(findings),
        },
    )


ASSETS = (raw_data, series, metrics, best_model)
