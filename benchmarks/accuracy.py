"""Measure the accuracy of every selection rule out of sample, week by week.

At each of the last hundred weeks of each series, a rule sees the backtest that the run of that week
would have seen, chooses, and forecasts the next week, with the intervals that would have been
published. Prints tables and writes benchmarks/results/choosing.json and accuracy.json.
Usage: python benchmarks/accuracy.py [--keep FOLDER] [GROUP]..: about 15 minutes, a few minutes if
FOLDER holds the folds of an earlier run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import numpy as np
import pandas as pd
from bench import Row, at_most
from public_series import GROUPS, Group

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.config.loader import parse
from forecast_assets.config.settings import DEFAULT_MODELS, Settings
from forecast_assets.defs.inputs import RunInputs, build_store
from forecast_assets.defs.resources import backtest_executor
from forecast_assets.forecasting import intervals, panel_errors, volatility
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.eligibility import FAILED, SCORED
from forecast_assets.forecasting.ensembles import (
    COMBINATIONS,
    Ensemble,
    Weigh,
    add_ensembles,
    mean,
    median,
)
from forecast_assets.forecasting.fallback import latest_weights
from forecast_assets.forecasting.forecast import interval_half_widths
from forecast_assets.forecasting.metrics import compute, to_frame
from forecast_assets.forecasting.selection import choose
from forecast_assets.models.base import Values

RESULTS = Path(__file__).resolve().parent / "results"
# Weeks that are scores, folds that a rule sees, and the fewest folds that it needs.
ORIGINS, WINDOWS, MIN_FOLDS = 100, 52, 26
RULES: Mapping[str, Mapping[str, object]] = {
    "best": {"policy": "best"},
    "best, one for all": {"policy": "best", "scope": "all"},
    "one_standard_error": {"policy": "one_standard_error"},
    "one_standard_error, one for all": {"policy": "one_standard_error", "scope": "all"},
    "incumbent": {"policy": "incumbent"},
    "incumbent, one for all": {"policy": "incumbent", "scope": "all"},
    **{name: {"policy": "combination", "combination": name} for name in COMBINATIONS},
    "evidence": {"policy": "evidence"},
}
DEFAULT = Settings().selection.policy
# The ensemble whose intervals are compared.
ENSEMBLE = Settings().selection.combination
INTERVALS: Mapping[str, Mapping[str, float]] = {
    "as published": {"MAX_POOL_WEIGHT": intervals.MAX_POOL_WEIGHT},
    "no pool": {"MAX_POOL_WEIGHT": 0},
    "every error counts the same": {"WEEKLY_DECAY": 1.0},
    "half of the weight in 23 weeks": {"WEEKLY_DECAY": 0.97},
    "noise of late: half in 8 weeks": {"VOLATILITY_HALF_LIFE": 8},
    "noise of the whole past": {"VOLATILITY_HALF_LIFE": 100_000},
    "outliers count in full": {"OUTLIER": 1e9},
    "scores of all series alike": {"PANEL_MEAN_WEIGHT": 1e9},
}


def few_best(k: int) -> Weigh:
    """Weight the k models with the lowest error so far equally."""

    def weigh(errors: Values, is_able: "np.typing.NDArray[np.bool_]", *_: object) -> Values:
        mae = np.where(is_able, np.abs(errors).mean(axis=(2, 3)), np.inf)
        rank = mae.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        weights = (is_able & (rank < k)).astype(float)
        return weights / np.maximum(weights.sum(axis=0), 1)

    return weigh


def equal_weights_of(*names: str) -> Weigh:
    """Weight the named models equally."""
    is_named = np.isin(DEFAULT_MODELS, names)[:, None]

    def weigh(errors: Values, is_able: "np.typing.NDArray[np.bool_]", *_: object) -> Values:
        del errors
        weights = (is_able & is_named).astype(float)
        return weights / np.maximum(weights.sum(axis=0), 1)

    return weigh


FOUR = equal_weights_of("auto_ets", "auto_ces", "auto_arima", "theta")
MEMBERS: Mapping[str, Ensemble] = {
    **{
        f"{pool.__name__} of the {k} best": Ensemble(few_best(k), pool)
        for k in (3, 5, 7, 10)
        for pool in (mean, median)
    },
    "mean of all": Ensemble(few_best(len(DEFAULT_MODELS)), mean),
    "median of all": Ensemble(few_best(len(DEFAULT_MODELS)), median),
    "median of ets, ces, arima, theta": Ensemble(FOUR, median),
}


@dataclass(frozen=True)
class Origin:
    """What a run at one week would have known, and the actuals of the next week."""

    results: BacktestResults  # of the folds before, with ensembles
    series: Sequence[SeriesFolds]  # up to the cutoff, no folds
    y_hat: Mapping[str, Values]  # [S] by candidate; forecasts of the next week
    y: Values  # [S]


def settings_of(group: Group, folder: Path, **selection: object) -> Settings:
    """Return the default settings for a group, with a selection rule and enough folds."""
    return parse(
        {
            "backtest": {"n_windows": WINDOWS + ORIGINS},
            "series": {"season_length": group.season_length},
            "selection": selection,
        },
        root=folder,
        var=folder,
        origin="the benchmark",
    )


def backtest(group: Group, folder: Path) -> BacktestResults:
    """Backtest every default model on every fold that is needed."""
    settings = settings_of(group, folder)
    series = group.read().sort_values(["unique_id", "ds"], ignore_index=True)
    series = series.assign(is_filled=False)
    values = {
        "settings": settings,
        "store": build_store(settings),
        "inputs": RunInputs(),
        "compute": backtest_executor,
    }
    with dg.build_resources(values) as resources:
        executor: BacktestExecutor = resources.compute
        runs = executor.run_all(executor.requests(series, settings.models.enabled))
    predictions = pd.concat([run.predictions(settings) for run in runs], ignore_index=True)
    return BacktestResults.from_predictions(predictions, series, settings)


def until(folds: SeriesFolds, end: int, ends: "np.typing.NDArray[np.int64]") -> SeriesFolds:
    """Return the first weeks of a series with some of its folds."""
    cut = {name: getattr(folds, name)[:end] for name in ("ds", "y", "is_filled")}
    return replace(folds, **cut, ends=ends)


def origins(results: BacktestResults) -> Iterator[Origin]:
    """Yield the last weeks in order, each with what was known then."""
    bounds = np.cumsum([0, *results.n_folds])
    for back in range(ORIGINS, 0, -1):
        positions = [
            (s, int(n) - back) for s, n in enumerate(results.n_folds) if n - back >= MIN_FOLDS
        ]
        if not positions:
            continue
        seen = [np.arange(max(k - WINDOWS, 0), k) for _, k in positions]
        folds = np.concatenate([bounds[s] + k for (s, _), k in zip(positions, seen, strict=True)])
        last = [bounds[s] + k for s, k in positions]
        planned = [results.planned[s] for s, _ in positions]
        ends = [folds.ends[k] for folds, (_, k) in zip(planned, positions, strict=True)]
        known = np.cumsum([0, *map(len, seen)])
        y_hat = results.y_hat[:, folds]
        is_scored = np.array(
            [np.isfinite(y_hat[:, a:b]).all(axis=(1, 2)) for a, b in pairwise(known)]
        ).T
        models = BacktestResults(
            [
                until(folds, end, folds.ends[window])
                for folds, end, window in zip(planned, ends, seen, strict=True)
            ],
            results.models,
            results.weeks[folds],
            results.last[folds],
            results.recent_volatility[folds],
            results.y[folds],
            y_hat,
            np.zeros(is_scored.shape),
            np.where(is_scored, SCORED, FAILED).astype(object),
            np.full(is_scored.shape, None, dtype=object),
        )
        newest = results.y_hat[:, last, 0]
        forecasts = dict(zip(results.models, newest, strict=True))
        for name, ensemble in COMBINATIONS.items():
            forecasts[name] = ensemble.pool(newest[:, :, None], latest_weights(models, name))[:, 0]
        for name, ensemble in MEMBERS.items():
            weights = np.hstack([ensemble.weights(b) for b in models.blocks()])[
                :, np.argsort(np.concatenate([block.series for block in models.blocks()]))
            ]
            forecasts[name] = ensemble.pool(newest[:, :, None], weights)[:, 0]
        yield Origin(
            add_ensembles(models, COMBINATIONS),
            [until(folds, end, np.array([end])) for folds, end in zip(planned, ends, strict=True)],
            forecasts,
            results.y[last, 0],
        )


def apply_rules(group: Group, results: BacktestResults, folder: Path) -> pd.DataFrame:
    """Return what each rule would have published: one row a rule, series and week."""
    rules = {name: settings_of(group, folder, **rule) for name, rule in RULES.items()}
    any_settings = rules[DEFAULT]
    before: dict[str, list[pd.DataFrame]] = {name: [] for name in rules}
    rows = []
    for week, origin in enumerate(origins(results)):
        ids = [folds.unique_id for folds in origin.series]
        scores = compute(origin.results, any_settings)
        metrics = to_frame(origin.results, scores)
        for rule, settings in rules.items():
            choice = choose(metrics, settings, previous=before[rule])
            before[rule] = [choice, *before[rule]][: settings.selection.patience]
            models_chosen = list(choice.set_index("unique_id").loc[ids, "model"])
            rows.append(published(rule, week, origin, models_chosen, settings))
        rows += [
            published(model, week, origin, [model] * len(ids), any_settings)
            for model in results.models
        ]
        rows += [outcome(name, week, origin, [name] * len(ids)) for name in MEMBERS]
        for name, constants in INTERVALS.items():
            modules = (intervals, panel_errors, volatility)
            module = next(m for m in modules if hasattr(m, next(iter(constants))))
            with patch.multiple(module, **constants):
                planned, scale = origin.results.planned, origin.results.scale
                at_cutoffs = volatility.volatility_at_cutoffs(planned, scale, horizon=1)
                other = replace(origin.results, recent_volatility=at_cutoffs)
                changed, models_chosen = replace(origin, results=other), [ENSEMBLE] * len(ids)
                rows.append(
                    published(f"intervals: {name}", week, changed, models_chosen, any_settings)
                )
    return pd.concat(rows, ignore_index=True).assign(group=group.name)


def outcome(rule: str, week: int, origin: Origin, models_chosen: Sequence[str]) -> pd.DataFrame:
    """Return the errors of a week's forecasts; naive replaces a missing forecast."""
    y_hat = np.array([origin.y_hat[model][s] for s, model in enumerate(models_chosen)])
    naive = np.array([folds.y[-1] for folds in origin.series])
    y_hat = np.where(np.isfinite(y_hat), y_hat, naive)
    return pd.DataFrame(
        {
            "rule": rule,
            "week": week,
            "unique_id": [folds.unique_id for folds in origin.series],
            "model": models_chosen,
            "y_hat": y_hat,
            "error": np.abs(y_hat - origin.y),
        }
    )


def published(
    rule: str, week: int, origin: Origin, models_chosen: Sequence[str], settings: Settings
) -> pd.DataFrame:
    """Return `outcome` with the intervals that would have been published."""
    table = outcome(rule, week, origin, models_chosen)
    levels, scale = settings.forecast.levels, origin.results.scale
    widths, _ = interval_half_widths(origin.series, models_chosen, origin.results, levels)
    y_hat, y = table["y_hat"].to_numpy(), origin.y
    is_on = np.array([volatility.is_non_negative(folds) for folds in origin.series])
    ends = scale.bounds(
        y_hat[:, None], widths[:, :, :1], is_on[:, None], minimum=settings.forecast.minimum
    )
    bounds = [end[:, :, 0] for end in ends]
    for level, low, high in zip(levels, *bounds, strict=True):
        table[f"in_{level:g}"] = np.where(np.isnan(low), np.nan, (low <= y) & (y <= high))
    table["wis"] = intervals.weighted_interval_score(y, y_hat, *bounds, levels)
    return table


def summarize(rows: pd.DataFrame, scale: Mapping[str, float]) -> pd.DataFrame:
    """Summarize each rule: MASE, its ratio to naive's, regret, switches a year, coverage."""
    each = rows["unique_id"].map(scale)
    rows = rows.assign(mase=rows["error"] / each, wis=rows["wis"] / each)
    by = rows.groupby(["rule", "unique_id"])["model"]
    rows["switched"] = rows["model"].ne(by.shift()) & by.shift().notna()
    lines = rows.groupby("rule").agg(
        n=("mase", "size"),
        mase=("mase", "mean"),
        switches_a_year=("switched", lambda switched: 52 * switched.mean()),
        coverage_80=("in_80", "mean"),
        coverage_95=("in_95", "mean"),
        wis=("wis", "mean"),
    )
    for level in (80, 95):
        weekly = rows.groupby(["rule", "week"])[f"in_{level}"].mean().groupby("rule")
        lines[f"coverage_{level}_error"] = weekly.std() / np.sqrt(weekly.size())
    lines["of_naive"] = lines["mase"] / lines.loc["naive", "mase"]
    lines["regret"] = lines["mase"] - lines.loc[list(DEFAULT_MODELS), "mase"].min()
    return lines.sort_values("mase")


def main() -> None:
    """Measure every rule on every group, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder that keeps folds between runs")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    given = parser.parse_args()
    summaries = {}
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in given.groups or GROUPS:
            results = backtest(GROUPS[name], folder)
            rows = apply_rules(GROUPS[name], results, folder)
            scale = {
                folds.unique_id: float(
                    np.abs(np.diff(folds.y[: -min(ORIGINS, len(folds.ends))])).mean()
                )
                for folds in results.planned
            }
            summaries[name] = summarize(rows, scale)
            ours = summaries[name].loc[[*RULES, *DEFAULT_MODELS]].sort_values("mase")
            print(f"\n{name}: {GROUPS[name].kind}\n{ours.round(3).to_string()}", flush=True)
    for title, column, names in (
        ("MASE over naive's", "of_naive", [*RULES, *DEFAULT_MODELS]),
        ("Members: MASE over naive's", "of_naive", MEMBERS),
        ("Intervals: WIS", "wis", [f"intervals: {name}" for name in INTERVALS]),
    ):
        together = pd.DataFrame(
            {name: table.loc[list(names), column] for name, table in summaries.items()}
        )
        together["all"] = np.exp(np.log(together).mean(axis=1))
        print(f"\n{title}\n{together.sort_values('all').round(3).to_string()}")
    write_results(summaries)


def write_results(summaries: Mapping[str, pd.DataFrame]) -> None:
    """Write the results; exit with 1 if a figure of the demo is missed."""
    choosing = [
        {"group": name, "rule": rule, **{k: round(float(v), 4) for k, v in line.items()}}
        for name, lines in summaries.items()
        for rule, line in lines.dropna(axis="columns", how="all").to_dict("index").items()
    ]
    (RESULTS / "choosing.json").write_text(json.dumps(choosing, indent=1) + "\n")
    if "petroleum" not in summaries:
        return
    rows = list(figures(summaries["petroleum"]))
    (RESULTS / "accuracy.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    )
    for row in rows:
        print(f"{'  ' if row.met else 'NO'} {row.value:>10g}  {row.must:<9} {row.name}")
    sys.exit(not all(row.met for row in rows))


def figures(demo: pd.DataFrame) -> Iterator[Row]:
    """Yield the figures that the default rule must reach on the demo."""
    ours = demo.loc[DEFAULT]
    for level in (80, 95):
        off = abs(ours[f"coverage_{level}"] - level / 100)
        yield at_most(f"coverage of the {level} % interval on the demo, off by", off, 0.04)
    best = demo.loc[list(DEFAULT_MODELS), "mase"].min()
    name = "MASE of the default rule on the demo, of the best single model's in hindsight"
    yield at_most(name, ours["mase"] / best, 1.0)


if __name__ == "__main__":
    main()
