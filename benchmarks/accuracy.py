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

import dagster as dg
import numpy as np
import pandas as pd
from bench import Row, at_most
from public_series import GROUPS, Group

from forecast_assets.backtest import SeriesFolds
from forecast_assets.combinations import COMBINATIONS
from forecast_assets.compute import Compute
from forecast_assets.defs.build import build_store
from forecast_assets.defs.workers import compute as compute_resource
from forecast_assets.evidence import FAILED, SCORED, Evidence
from forecast_assets.forecast import drawn_from
from forecast_assets.ladder import newest_weights
from forecast_assets.metrics import scores, with_combinations
from forecast_assets.models.base import Values
from forecast_assets.selection import choose
from forecast_assets.settings import Settings
from forecast_assets.settings_file import parse

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


@dataclass(frozen=True)
class Origin:
    """What a run at one week would have known, and what the week after was."""

    evidence: Evidence  # of the folds before, combinations not in it
    series: Sequence[SeriesFolds]  # up to the cutoff, no folds
    y_hat: Values  # [M, S]: what each model said of the week after
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


def backtested(group: Group, folder: Path) -> Evidence:
    """Every model of the default set over every fold that is needed."""
    settings = settings_of(group, folder)
    series = group.read().sort_values(["unique_id", "ds"], ignore_index=True)
    given = {"settings": settings, "store": build_store(settings), "compute": compute_resource}
    with dg.build_resources(given) as resources:
        answers: Compute = resources.compute
        runs = answers.run_all(answers.backtests(series, settings.models.enabled))
    predictions = pd.concat([run.predictions(settings) for run in runs], ignore_index=True)
    return Evidence.of(predictions, series, settings.backtest)


def origins(evidence: Evidence) -> Iterator[Origin]:
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
        yield Origin(
            Evidence(
                [
                    replace(one, ds=one.ds[:end], y=one.y[:end], ends=one.ends[which])
                    for one, end, which in zip(every, ends, seen, strict=True)
                ],
                evidence.models,
                evidence.last[folds],
                evidence.noise[folds],
                evidence.y[folds],
                y_hat,
                np.zeros(is_scored.shape),
                np.where(is_scored, SCORED, FAILED).astype(object),
                np.full(is_scored.shape, None, dtype=object),
            ),
            [
                replace(one, ds=one.ds[:end], y=one.y[:end], ends=one.ends[:0])
                for one, end in zip(every, ends, strict=True)
            ],
            evidence.y_hat[:, last, 0],
            evidence.y[last, 0],
        )


def judged(group: Group, evidence: Evidence, folder: Path) -> pd.DataFrame:
    """What each rule would have published: one row a rule, series and week."""
    rules = {name: settings_of(group, folder, **given) for name, given in RULES.items()}
    any_settings = next(iter(rules.values()))
    before: dict[str, list[pd.DataFrame]] = {name: [] for name in rules}
    rows = []
    for week, origin in enumerate(origins(evidence)):
        seen = with_combinations(origin.evidence, any_settings)
        metrics = scores(seen, any_settings)
        said = dict(zip(evidence.models, origin.y_hat, strict=True))
        for name, one in COMBINATIONS.items():
            weights = newest_weights(origin.evidence, name)
            said[name] = one.pool(origin.y_hat[:, :, None], weights)[:, 0]
        ids = [one.unique_id for one in origin.series]
        for rule, settings in rules.items():
            choice = choose(metrics, settings, previous=before[rule])
            before[rule] = [choice, *before[rule]][: settings.selection.patience]
            makers = list(choice.set_index("unique_id").loc[ids, "model"])
            rows.append(published(rule, week, origin, makers, said, settings))
        rows += [
            published(model, week, origin, [model] * len(ids), said, any_settings)
            for model in evidence.models
        ]
    return pd.concat(rows, ignore_index=True).assign(group=group.name)


def published(
    rule: str,
    week: int,
    origin: Origin,
    makers: Sequence[str],
    said: Mapping[str, Values],
    settings: Settings,
) -> pd.DataFrame:
    """A week's forecasts of every series, and how they turned out; naive's where one is missing."""
    ids = [one.unique_id for one in origin.series]
    y_hat = np.array([said[maker][s] for s, maker in enumerate(makers)])
    naive = np.array([one.y[-1] for one in origin.series])
    y_hat = np.where(np.isfinite(y_hat), y_hat, naive)
    radii, _ = drawn_from(origin.series, makers, origin.evidence, settings)
    error = np.abs(y_hat - origin.y)
    inside = {
        f"in_{level:g}": np.where(np.isnan(r[:, 0]), np.nan, error <= r[:, 0])
        for level, r in zip(settings.forecast.levels, radii, strict=True)
    }
    return pd.DataFrame(
        {
            "rule": rule,
            "week": week,
            "unique_id": ids,
            "model": makers,
            "error": error,
            "naive_error": np.abs(naive - origin.y),
            **inside,
            "width": radii[0, :, 0],
        }
    )


def table(rows: pd.DataFrame, scale: Mapping[str, float]) -> pd.DataFrame:
    """A line a rule: pooled MASE, its ratio to naive's, regret, switches a year, coverage."""
    rows = rows.assign(mase=rows["error"] / rows["unique_id"].map(scale))
    rows["switched"] = rows.groupby(["rule", "unique_id"])["model"].transform(
        lambda models: models.ne(models.shift()).mul(models.shift().notna())
    )
    lines = rows.groupby("rule").agg(
        mase=("mase", "mean"),
        switches_a_year=("switched", lambda one: 52 * one.mean()),
        coverage_80=("in_80", "mean"),
        coverage_95=("in_95", "mean"),
        n=("mase", "size"),
    )
    lines["of_naive"] = lines["mase"] / lines.loc["naive", "mase"]
    singles = [name for name in lines.index if name not in RULES]
    lines["regret"] = lines["mase"] - lines.loc[singles, "mase"].min()
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
            found[name] = table(rows, scale)
            print(f"\n{name}: {GROUPS[name].kind}\n{found[name].round(3).to_string()}", flush=True)
    together = pd.DataFrame({name: lines["of_naive"] for name, lines in found.items()})
    together["all"] = np.exp(np.log(together).mean(axis=1))
    print(f"\nMASE over naive's\n{together.sort_values('all').round(3).to_string()}")
    keep(found)


def keep(found: Mapping[str, pd.DataFrame]) -> None:
    """Write what was found; exit with 1 where a figure of the demo is missed."""
    choosing = [
        {"group": name, "rule": rule, **{k: round(float(v), 4) for k, v in line.items()}}
        for name, lines in found.items()
        for rule, line in lines.to_dict("index").items()
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
    default = Settings().selection
    rule = default.combination if default.policy == "combination" else default.policy
    singles = demo.drop(index=list(RULES))
    for level in (80, 95):
        off = abs(demo.loc[rule, f"coverage_{level}"] - level / 100)
        yield at_most(f"the {level} % interval's coverage, off by", off, 0.04)
    best = singles["mase"].min()
    yield at_most("MASE, of the best single model's in hindsight", demo.loc[rule, "mase"] / best, 1)
    yield at_most("MASE, of naive's", demo.loc[rule, "of_naive"], 1)


if __name__ == "__main__":
    main()
