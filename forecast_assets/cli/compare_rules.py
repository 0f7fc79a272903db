"""The command `compare-rules`: what each rule would have published over the past weeks."""

from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import command, open_store
from forecast_assets.cli.output import print_records, records_of

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store


@command("compare-rules", "compare-rules --json")
@click.option("--store", "uri", metavar="URI", help="Another store, such as var/replay/store.")
def compare_rules(uri: str | None, *, is_json: bool) -> None:
    """Print what each rule would have published.

    One row each for naive, the ensembles, and the policy `evidence`, which is one of the ensembles
    each week: error, interval score and coverage, and how often it changed. The weeks are those of
    the newest backtest and, as far as they have the same models, of the backtests before it: all
    replayed weeks, if the store is that of a replay. At each cutoff a rule knows only the weeks
    that were over by then, with the values and the calendar that were known. `to_naive_low` and
    `to_naive_high` are the bounds of a 90 % interval of the ratio to naive's error.
    """
    from forecast_assets.defs.inputs import as_scored
    from forecast_assets.errors import DataError
    from forecast_assets.forecasting import metrics
    from forecast_assets.forecasting.rule_comparison import compare_rules as compare
    from forecast_assets.forecasting.rule_comparison import folds_of
    from forecast_assets.storage.versions import valid_versions

    settings, store = open_store(uri)
    scored = sorted(valid_versions(store, "metrics"), key=lambda c: (c.as_of, c.version))
    if not scored:
        raise DataError(
            f"The store {store.uri} has no version of metrics, so there is nothing to compare. Run"
            f" a week first: forecast-assets run"
        )
    series, predictions = _read_backtests(store, scored, settings)
    stores = [store] if uri is None else [store, open_store()[1]]
    planned = as_scored(folds_of(predictions, series), series, settings, stores, scored[-1])
    results = metrics.collect(predictions, series, settings, planned=planned)
    print_records(records_of(compare(results, settings)), is_json=is_json)


def _read_backtests(
    store: "Store", scored: "list[Commit]", settings: "Settings"
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return the newest series, and the forecasts of its backtest and of those of earlier folds.

    A backtest counts if it has all models that the newest one has.
    """
    import pandas as pd

    from forecast_assets.data.weekly import with_is_filled

    inputs = [store.commit(source) for source in scored[-1].inputs]
    series = with_is_filled(store.read([c for c in inputs if c.asset == "series"]), settings)
    backtests: list[dict[str | None, Commit]] = []
    for commit in reversed(scored):
        tables = [store.commit(source) for source in commit.inputs]
        by_model = {c.partition: c for c in tables if c.asset == "backtest_predictions"}
        if backtests and not set(backtests[0]) <= set(by_model):
            break
        backtests.append(by_model)
    enabled = [name for name in settings.models.enabled if name in backtests[0]]
    parts, first = [], pd.Timestamp.max
    for by_model in backtests:
        cutoffs = store.read([by_model[enabled[0]]])["cutoff"]
        if cutoffs.max() < first or by_model is backtests[-1]:
            rows = pd.concat([store.read([by_model[name]]) for name in enabled])
            parts.append(rows[rows["cutoff"] < first])
            first = min(first, cutoffs.min())
    joined = pd.concat(parts).assign(model=lambda rows: pd.Categorical(rows["model"], enabled))
    joined = joined[joined["unique_id"].isin(series["unique_id"])]
    return series, joined.sort_values(["model", "unique_id", "cutoff", "h"], ignore_index=True)
