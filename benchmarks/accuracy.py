"""How good the published numbers are: every rule of choice judged out of sample, week by week.

At each of the last hundred weeks of each series a rule sees the backtest that the week's run would
have seen, chooses, and forecasts the week after; its intervals are those that would have been
published. Prints tables and writes benchmarks/results/choosing.json, and accuracy.json.
Usage: python benchmarks/accuracy.py [--keep FOLDER] [GROUP]..: a quarter of an hour, a few minutes
where FOLDER has the folds of an earlier time.
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
from forecast_assets.defs.build import build_store
from forecast_assets.defs.resources import compute as compute_resource
from forecast_assets.forecasting import intervals
from forecast_assets.forecasting.backtest_results import FAILED, SCORED, BacktestResults
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
ORIGINS, WINDOWS, LEAST = 100, 52, 26
# Weeks that are judged, folds that a rule sees, and the fewest with which it is asked.
RULES: Mapping[str, Mapping[str, object]] = {
    "best": {"policy": "best"},
    "best, one for all": {"policy": "best", "scope": "all"},
    "one_standard_error": {"policy": "one_standard_error"},
    "one_standard_error, one for all": {"policy": "one_standard_error", "scope": "all"},
    "incumbent": {"policy": "incumbent"},
    "incumbent, one for all": {"policy": "incumbent", "scope": "all"},
    **{name: {"policy": "combination", "combination": name} for name in COMBINATIONS},
}
DEFAULT = Settings().selection.combination
INTERVALS: Mapping[str, Mapping[str, float]] = {
    "as published": {"POOLED": intervals.MAX_POOL_WEIGHT},
    "no pool": {"POOLED": 0},
    "every error counts the same": {"RECENCY": 1.0},
    "half of the weight in 23 weeks": {"RECENCY": 0.97},
    "noise of late: half in 8 weeks": {"HALF_LIFE": 8},
    "noise of the whole past": {"HALF_LIFE": 100_000},
}


def few_best(k: int) -> Weigh:
    """The k models of the least error so far, all alike."""

    def weigh(errors: Values, is_able: "np.typing.NDArray[np.bool_]") -> Values:
        mae = np.where(is_able, np.abs(errors).mean(axis=(2, 3)), np.inf)
        rank = mae.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        weights = (is_able & (rank < k)).astype(float)
        return weights / np.maximum(weights.sum(axis=0), 1)

    return weigh


def these(*names: str) -> Weigh:
    """Those models, all alike."""
    which = np.isin(DEFAULT_MODELS, names)[:, None]

    def weigh(errors: Values, is_able: "np.typing.NDArray[np.bool_]") -> Values:
        del errors
        weights = (is_able & which).astype(float)
        return weights / np.maximum(weights.sum(axis=0), 1)

    return weigh


FOUR = these("auto_ets", "auto_ces", "auto_arima", "optimized_theta")
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
    """What a run at one week would have known, and what the week after was."""

    evidence: BacktestResults  # of the folds before, combinations in it
    series: Sequence[SeriesFolds]  # up to the cutoff, no folds
    said: Mapping[str, Values]  # [S] each: what each candidate said of the week after
    y: Values  # [S]


def settings_of(group: Group, folder: Path, **selection: object) -> Settings:
    """The default settings for a group, with a rule of choice and enough folds."""
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


def backtested(group: Group, folder: Path) -> BacktestResults:
    """Every model of the default set over every fold that is needed."""
    settings = settings_of(group, folder)
    series = group.read().sort_values(["unique_id", "ds"], ignore_index=True)
    given = {"settings": settings, "store": build_store(settings), "compute": compute_resource}
    with dg.build_resources(given) as resources:
        answers: BacktestExecutor = resources.compute
        runs = answers.run_all(answers.backtests(series, settings.models.enabled))
    predictions = pd.concat([run.predictions(settings) for run in runs], ignore_index=True)
    return BacktestResults.from_predictions(predictions, series, settings)


def origins(evidence: BacktestResults, settings: Settings) -> Iterator[Origin]:
    """The last weeks in order, each with what was known by then."""
    bounds = np.cumsum([0, *evidence.n_folds])
    for back in range(ORIGINS, 0, -1):
        at = [(s, int(n) - back) for s, n in enumerate(evidence.n_folds) if n - back >= LEAST]
        if not at:
            continue
        seen = [np.arange(max(k - WINDOWS, 0), k) for _, k in at]
        folds = np.concatenate([bounds[s] + one for (s, _), one in zip(at, seen, strict=True)])
        last = [bounds[s] + k for s, k in at]
        every = [evidence.planned[s] for s, _ in at]
        ends = [one.ends[k] for one, (_, k) in zip(every, at, strict=True)]
        known = np.cumsum([0, *map(len, seen)])
        y_hat = evidence.y_hat[:, folds]
        is_scored = np.array(
            [np.isfinite(y_hat[:, a:b]).all(axis=(1, 2)) for a, b in pairwise(known)]
        ).T
        models = BacktestResults(
            [
                replace(one, ds=one.ds[:end], y=one.y[:end], ends=one.ends[which])
                for one, end, which in zip(every, ends, seen, strict=True)
            ],
            evidence.models,
            evidence.weeks[folds],
            evidence.last[folds],
            evidence.noise[folds],
            evidence.y[folds],
            y_hat,
            np.zeros(is_scored.shape),
            np.where(is_scored, SCORED, FAILED).astype(object),
            np.full(is_scored.shape, None, dtype=object),
        )
        newest = evidence.y_hat[:, last, 0]
        said = dict(zip(evidence.models, newest, strict=True))
        for name, one in COMBINATIONS.items():
            said[name] = one.pool(newest[:, :, None], latest_weights(models, name))[:, 0]
        for name, one in MEMBERS.items():
            weights = np.hstack(
                [one.weigh(block.errors, block.is_scored) for block in models.blocks()]
            )[:, np.argsort(np.concatenate([block.series for block in models.blocks()]))]
            said[name] = one.pool(newest[:, :, None], weights)[:, 0]
        yield Origin(
            add_ensembles(models, COMBINATIONS, min_lag=settings.backtest.overlap),
            [
                replace(one, ds=one.ds[:end], y=one.y[:end], ends=one.ends[:0])
                for one, end in zip(every, ends, strict=True)
            ],
            said,
            evidence.y[last, 0],
        )


def judged(group: Group, evidence: BacktestResults, folder: Path) -> pd.DataFrame:
    """What each rule would have published: one row a rule, series and week."""
    rules = {name: settings_of(group, folder, **given) for name, given in RULES.items()}
    any_settings = rules[DEFAULT]
    before: dict[str, list[pd.DataFrame]] = {name: [] for name in rules}
    rows = []
    for week, origin in enumerate(origins(evidence, any_settings)):
        ids = [one.unique_id for one in origin.series]
        measured = compute(origin.evidence, any_settings)
        weekly = frame_of(origin.series)
        metrics = to_frame(origin.evidence, measured, weekly, any_settings)
        metrics = metrics[metrics["n_folds"] > 0]
        for rule, settings in rules.items():
            choice = choose(metrics, settings, previous=before[rule])
            before[rule] = [choice, *before[rule]][: settings.selection.patience]
            makers = list(choice.set_index("unique_id").loc[ids, "model"])
            rows.append(published(rule, week, origin, makers, settings))
        rows += [
            published(one, week, origin, [one] * len(ids), any_settings) for one in evidence.models
        ]
        rows += [outcome(one, week, origin, [one] * len(ids)) for one in MEMBERS]
        for name, constants in INTERVALS.items():
            with patch.multiple(intervals, **constants):
                noises = [
                    intervals.recent_volatility(one.y)[one.ends - 1]
                    for one in origin.evidence.planned
                ]
                other = replace(origin.evidence, noise=np.concatenate(noises))
                changed, makers = replace(origin, evidence=other), [DEFAULT] * len(ids)
                rows.append(published(f"intervals: {name}", week, changed, makers, any_settings))
    return pd.concat(rows, ignore_index=True).assign(group=group.name)


def frame_of(series: Sequence[SeriesFolds]) -> pd.DataFrame:
    """The weekly table of those series."""
    return pd.concat(
        [pd.DataFrame({"unique_id": one.unique_id, "ds": one.ds, "y": one.y}) for one in series],
        ignore_index=True,
    )


def outcome(rule: str, week: int, origin: Origin, makers: Sequence[str]) -> pd.DataFrame:
    """How a week's forecasts of every series turned out; naive's where one is missing."""
    y_hat = np.array([origin.said[maker][s] for s, maker in enumerate(makers)])
    naive = np.array([one.y[-1] for one in origin.series])
    y_hat = np.where(np.isfinite(y_hat), y_hat, naive)
    return pd.DataFrame(
        {
            "rule": rule,
            "week": week,
            "unique_id": [one.unique_id for one in origin.series],
            "model": makers,
            "error": np.abs(y_hat - origin.y),
        }
    )


def published(
    rule: str, week: int, origin: Origin, makers: Sequence[str], settings: Settings
) -> pd.DataFrame:
    """As `outcome`, with the intervals that would have been published."""
    found = outcome(rule, week, origin, makers)
    levels = settings.forecast.levels
    widths, _ = interval_half_widths(origin.series, makers, origin.evidence, settings)
    error = found["error"].to_numpy()
    for level, width in zip(levels, widths[:, :, 0], strict=True):
        found[f"in_{level:g}"] = np.where(np.isnan(width), np.nan, error <= width)
    found["wis"] = intervals.weighted_interval_score(error, 0 * error, widths[:, :, 0], levels)
    return found


def lines_of(rows: pd.DataFrame, scale: Mapping[str, float]) -> pd.DataFrame:
    """A line a rule: pooled MASE, its ratio to naive's, regret, switches a year, intervals."""
    each = rows["unique_id"].map(scale)
    rows = rows.assign(mase=rows["error"] / each, wis=rows["wis"] / each)
    by = rows.groupby(["rule", "unique_id"])["model"]
    rows["switched"] = rows["model"].ne(by.shift()) & by.shift().notna()
    lines = rows.groupby("rule").agg(
        n=("mase", "size"),
        mase=("mase", "mean"),
        switches_a_year=("switched", lambda one: 52 * one.mean()),
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
    """Judge every rule on every group, print the tables, keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="where folds are kept between times")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    given = parser.parse_args()
    found = {}
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in given.groups or GROUPS:
            evidence = backtested(GROUPS[name], folder)
            rows = judged(GROUPS[name], evidence, folder)
            scale = {
                one.unique_id: float(np.abs(np.diff(one.y[: -min(ORIGINS, len(one.ends))])).mean())
                for one in evidence.planned
            }
            found[name] = lines_of(rows, scale)
            ours = found[name].loc[[*RULES, *DEFAULT_MODELS]].sort_values("mase")
            print(f"\n{name}: {GROUPS[name].kind}\n{ours.round(3).to_string()}", flush=True)
    for title, column, names in (
        ("MASE over naive's", "of_naive", [*RULES, *DEFAULT_MODELS]),
        ("Members: MASE over naive's", "of_naive", MEMBERS),
        ("Intervals: WIS", "wis", [f"intervals: {name}" for name in INTERVALS]),
    ):
        together = pd.DataFrame({name: one.loc[list(names), column] for name, one in found.items()})
        together["all"] = np.exp(np.log(together).mean(axis=1))
        print(f"\n{title}\n{together.sort_values('all').round(3).to_string()}")
    keep(found)


def keep(found: Mapping[str, pd.DataFrame]) -> None:
    """Write what was found; exit with 1 where a figure of the demo is missed."""
    choosing = [
        {"group": name, "rule": rule, **{k: round(float(v), 4) for k, v in line.items()}}
        for name, lines in found.items()
        for rule, line in lines.dropna(axis="columns", how="all").to_dict("index").items()
    ]
    (RESULTS / "choosing.json").write_text(json.dumps(choosing, indent=1) + "\n")
    if "petroleum" not in found:
        return
    rows = list(figures(found["petroleum"]))
    (RESULTS / "accuracy.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    )
    for row in rows:
        print(f"{'  ' if row.met else 'NO'} {row.value:>10g}  {row.must:<9} {row.name}")
    sys.exit(not all(row.met for row in rows))


def figures(demo: pd.DataFrame) -> Iterator[Row]:
    """What the default rule must reach on the demo."""
    ours = demo.loc[DEFAULT]
    for level in (80, 95):
        off = abs(ours[f"coverage_{level}"] - level / 100)
        yield at_most(f"coverage of the {level} % interval on the demo, off by", off, 0.04)
    best = demo.loc[list(DEFAULT_MODELS), "mase"].min()
    name = "MASE of the default rule on the demo, of the best single model's in hindsight"
    yield at_most(name, ours["mase"] / best, 1.0)


if __name__ == "__main__":
    main()
