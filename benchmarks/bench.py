"""Every figure of the week's speed, as a ratio in one run where it is about time.

Prints a table and writes benchmarks/results/latest.json. Usage: python benchmarks/bench.py [NAME]..
with NAMEs of the functions below; without, all of them: about half an hour on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from made_up import weekly

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
RUN = [sys.executable, "-c", "from forecast_assets.cli import main; main()", "run"]
LAST_WEEK_BUT_ONE, LAST_WEEK = "2020-02-01", "2020-02-08"  # of the demo, over on these days
WINDOWS = 52
PAIRS = 3  # of runs, the fastest of each counts: what else a machine does only ever adds


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, what it must be, and whether it is."""

    name: str
    value: float
    must: str
    met: bool


@dataclass(frozen=True)
class Ran:
    """A finished process: its wall seconds, the steps it told of, its peak memory."""

    seconds: float
    steps: Mapping[str, float]
    peak_mb: float

    @property
    def backtesting(self) -> float:
        """The seconds of the steps that run models over folds."""
        return sum(seconds for step, seconds in self.steps.items() if ".backtest[" in step)

    @property
    def computing(self) -> float:
        """The seconds of all steps that run models."""
        return self.backtesting + self.steps["next_week_forecast"]


class Place:
    """A folder with settings and everything that runs write, for as long as the block lasts."""

    def __init__(self, **tables: Mapping[str, object]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name)
        self.configure(**tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def configure(self, **tables: Mapping[str, object]) -> None:
        """Write forecast.toml anew."""
        text = "\n".join(
            f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(v)}" for key, v in table.items())
            for name, table in tables.items()
        )
        (self.path / "forecast.toml").write_text(text)

    def run(self, command: list[str]) -> Ran:
        """Run a command with these settings. Raises where it fails."""
        environ = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
        environ |= {
            "FORECAST_CONFIG": str(self.path / "forecast.toml"),
            "FORECAST_VAR": str(self.path / "var"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, env=environ, stdout=said, stderr=said, cwd=HERE)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            said.seek(0)
            text = said.read()
        if status:
            raise RuntimeError(f"{command} ended with {status}:\n{text[-3000:]}")
        lines = [line.split() for line in text.splitlines() if line.endswith(" s")]
        steps = {line[0]: float(line[1]) for line in lines if len(line) == len(("step", 1, "s"))}
        return Ran(seconds, steps, usage.ru_maxrss / 1000)

    def week(self, as_of: str) -> Ran:
        """Run one week."""
        return self.run([*RUN, "--as-of", as_of])

    def told(self, name: str) -> dict[str, float]:
        """What the newest materialization of each model's backtest said under a name."""
        import dagster as dg  # noqa: PLC0415 - only some rows need it

        with dg.DagsterInstance.from_config(str(self.path / "var" / "dagster")) as instance:
            key = dg.AssetKey("backtest_predictions")
            found: dict[str, float] = {}
            for record in instance.fetch_materializations(key, limit=100).records:
                said = record.asset_materialization
                if said and said.partition not in found and name in said.metadata:
                    found[str(said.partition)] = float(said.metadata[name].value)
            return found

    def mae(self) -> pd.Series:
        """Each model's mean absolute error over naive's, over all series."""
        from forecast_assets.config.loader import parse  # noqa: PLC0415 - only one row needs it
        from forecast_assets.defs.build import build_store  # noqa: PLC0415 - as above
        from forecast_assets.storage.versions import select  # noqa: PLC0415 - as above

        settings = parse({}, root=self.path, var=self.path / "var", origin="the benchmark")
        store = build_store(settings)
        scores = store.read(select(store, "metrics"))
        return 1 - scores.groupby("model")["skill_vs_naive"].mean()


def loop(place: Place, as_of: str) -> float:
    """The plain loop over the same models and folds: whole process, in seconds."""
    return place.run([sys.executable, str(HERE / "plain_loop.py"), as_of]).seconds


def cold_weeks() -> Iterator[Row]:
    """Cold weeks against the plain loop; the weeks after; what a cheaper cadence costs."""
    every_week = {"backtest": {"n_windows": WINDOWS, "refit_every": 1}}
    with Place(**every_week) as place:
        cold = place.week(LAST_WEEK_BUT_ONE)
        fit_seconds = sum(place.told("compute_seconds").values())
        yield at_least("CPU-seconds of fits in the large cold week", fit_seconds, 300)
        plain = loop(place, LAST_WEEK_BUT_ONE)
        yield at_most("large cold week, whole process, of a plain loop", cold.seconds / plain, 0.58)
        yield at_most("memory of a worker's process, MB", max(place.told("peak_mb").values()), 600)
        following = place.week(LAST_WEEK)
        share = following.computing / cold.computing
        yield at_most("next week's computing, of the large cold week's", share, 0.04)
        again = place.week(LAST_WEEK)
        yield at_most("the same week again, whole process, seconds", again.seconds, 25)
        yield at_most("fits in the same week again", sum(place.told("n_fits").values()), 0)
        from forecast_assets.config.settings import DEFAULT_MODELS  # noqa: PLC0415 - see Place.told

        one_more = {"models": {"enabled": [*DEFAULT_MODELS, "theta_log"]}}
        place.configure(**every_week, **one_more)
        place.week(LAST_WEEK)
        fits = place.told("n_fits")
        others = sum(n for model, n in fits.items() if model != "theta_log")
        yield at_most("fits of other models when one is added", others, 0)
        yield at_least("fits of the model that is added", fits["theta_log"], 6 * WINDOWS)
        weekly_mae = place.mae()
    with Place(backtest={"n_windows": WINDOWS}) as place:
        place.week(LAST_WEEK)
        quarterly_mae = place.mae()
    from forecast_assets.models import MODELS  # noqa: PLC0415 - see Place.told

    for model in (name for name, one in MODELS.items() if one.refit_every > 1):
        ratio = quarterly_mae[model] / weekly_mae[model]
        yield at_most(f"error fitted once a quarter, of fitted weekly: {model}", ratio, 1.05)


def small_cold_week() -> Iterator[Row]:
    """A cold week of about 100 CPU-seconds against the plain loop."""
    ours, plain = [], []
    for _ in range(PAIRS):
        with Place(backtest={"n_windows": 60}) as place:
            ours.append(place.week(LAST_WEEK).seconds)
            fit_seconds = sum(place.told("compute_seconds").values())
            plain.append(loop(place, LAST_WEEK))
            print(f"  {fit_seconds:.0f} s of fits: {ours[-1]:.1f}, {plain[-1]:.1f} s", flush=True)
    yield at_least("CPU-seconds of fits in the small cold week", fit_seconds, 80)
    share = min(ours) / min(plain)
    yield at_most("small cold week, whole process, of a plain loop", share, 0.62)


def make_run() -> Iterator[Row]:
    """The first command on the demo, nothing known but the installed packages."""
    with Place() as place:
        ran = place.run(["make", "-C", str(HERE.parent), "run"])
        yield at_most("make run on the demo, cold cache, seconds", ran.seconds, 180)


def against_statsforecast() -> Iterator[Row]:
    """The same models and folds by statsforecast's own cross-validation on two processes.

    It gives each process half of the series, so that one waits where they are not alike. Where they
    are (48 series of one length) it has nothing to lose, and this is 4 % slower.
    """
    from forecast_assets.data.sources.fetch import demo_series  # noqa: PLC0415 - see Place.told

    demo = demo_series().assign(ds=lambda rows: pd.to_datetime(rows["ds"]))
    n_windows, ours, theirs = 150, [], []
    for _ in range(PAIRS):
        with Place() as place:
            file = str(place.path / "series.parquet")
            demo.to_parquet(file)
            place.configure(
                source={"kind": "file", "path": file},
                models={"enabled": ["auto_ets", "theta", "optimized_theta"]},
                backtest={"n_windows": n_windows},
            )
            ours.append(place.week("2026-01-03").backtesting)
            script = [sys.executable, str(HERE / "cross_validation.py"), file, str(n_windows)]
            theirs.append(place.run(script).seconds)
            print(f"  {ours[-1]:.1f}, {theirs[-1]:.1f} s", flush=True)
    share = min(ours) / min(theirs)
    yield at_most("backtest of the demo, of statsforecast's with n_jobs=2", share, 1.0)


def closed_forms() -> Iterator[Row]:
    """The families that need no loop, and the keys of many folds."""
    from forecast_assets.backtesting.cache import FoldCache, fold_keys  # noqa: PLC0415 - as above
    from forecast_assets.backtesting.dask_pool import DaskPool  # noqa: PLC0415 - as above
    from forecast_assets.backtesting.executor import BacktestExecutor  # noqa: PLC0415 - as above
    from forecast_assets.backtesting.folds import plan  # noqa: PLC0415 - see Place.told
    from forecast_assets.config.loader import parse  # noqa: PLC0415 - as above
    from forecast_assets.models import find_model  # noqa: PLC0415 - as above

    def refused() -> None:
        raise AssertionError("a closed form asked for workers")

    settings = parse({}, root=HERE, var=HERE, origin="the benchmark")
    compute = BacktestExecutor(settings, FoldCache(HERE / "none"), DaskPool(refused))
    series = weekly(10_000, n_weeks=520)
    names = ["naive", "seasonal_naive", "drift", "window_average"]
    asked = compute.backtests(series, names)
    for name, one in zip(names, asked, strict=True):
        seconds = min(timed(lambda one=one: compute.run(one)) for _ in range(3))
        yield at_least(f"{name}, million folds a second", 0.52 / seconds, 2)
    planned = plan(series, settings.backtest)
    panel = asked[0].panel
    seconds = timed(
        lambda: fold_keys(planned, find_model("ses"), panel, horizon=1, season_length=52)
    )
    yield at_most("keys of 10,000 series x 52 cutoffs, seconds", seconds, 3)


def many_series() -> Iterator[Row]:
    """Ten thousand series next to five thousand, four cheap models, the whole week."""
    ran = {}
    for n_series in (5_000, 10_000):
        with Place() as place:
            weekly(n_series, n_weeks=260).to_parquet(place.path / "series.parquet")
            place.configure(
                source={"kind": "file", "path": str(place.path / "series.parquet")},
                models={"enabled": ["naive", "seasonal_naive", "window_average", "ses"]},
                backtest={"n_windows": WINDOWS},
            )
            ran[n_series] = place.week("2026-01-03")
            print(f"  {n_series} series: {ran[n_series]}", flush=True)
    small, large = ran[5_000], ran[10_000]
    share = large.backtesting / small.backtesting
    yield at_most("backtest of 10,000 series, of 5,000", share, 2.1)
    yield at_most("the week of 10,000 series, of 5,000", large.seconds / small.seconds, 2.1)
    yield at_most("peak of the driving process with 10,000 series, MB", large.peak_mb, 3000)


def scores_and_choices() -> Iterator[Row]:
    """Two million predictions scored, of few series and of many, and what all rules choose."""
    with Place() as place:
        for shape in ((2_000, 20, 50), (10_000, 20, 10)):
            script = [sys.executable, str(HERE / "scoring.py"), *map(str, shape)]
            ran = place.run(script)
            name = "scoring 2 million predictions of {} series x {} models x {} folds".format(
                *shape
            )
            yield at_most(f"{name}, seconds", ran.steps["scoring"], 10)
            yield at_most(f"{name}, whole process, MB", ran.peak_mb, 2000)
        seconds = ran.steps["choosing"]
        yield at_most("choosing by every rule, 10,000 series x 20 models, seconds", seconds, 60)


def sensors() -> Iterator[Row]:
    """A tick of each sensor, where 500 weeks lie behind."""
    with Place() as place:
        ran = place.run([sys.executable, str(HERE / "sensors.py")])
        for name, seconds in ran.steps.items():
            when, sensor = name.split(":")
            yield at_most(f"{when} tick of {sensor} after 500 weeks, seconds", seconds, 1)


def reports() -> Iterator[Row]:
    """The report of few series and of many: how long it takes, how large it is."""
    for n_series, seconds, megabytes in ((6, 3, 1), (10_000, 30, 5)):
        with Place() as place:
            script = [sys.executable, str(HERE / "reporting.py"), str(n_series), str(place.path)]
            ran = place.run(script)
            size = (place.path / "report.html").stat().st_size / 1e6
            name = f"report of {n_series:,} series"
            yield at_most(f"{name}, seconds", ran.steps["rendering"], seconds)
            yield at_most(f"{name}, MB", size, megabytes)
            yield at_most(f"{name}, whole process with its data, MB", ran.peak_mb, 1000)


def fetches() -> Iterator[Row]:
    """Five million rows of days to weeks; as many of weeks over http; both checked and stored."""
    script = [sys.executable, str(HERE / "fetching.py")]
    with Place() as place:
        for kind in ("daily", "csv", "parquet", "json"):
            place.run([*script, "write", kind, str(place.path)])
            ran = place.run([*script, "measure", kind, str(place.path)])
            if kind == "daily":
                seconds = ran.steps["fetching"] + ran.steps["weeks"]
                yield at_most("5 million daily rows to weeks, seconds", seconds, 15)
                yield at_most("5 million daily rows to weeks and stored, MB", ran.peak_mb, 2000)
            else:
                name = f"10,000 series x 520 weeks over http as {kind}"
                yield at_most(f"{name}, checked and stored, seconds", ran.seconds, 30)


def tick_to_mail() -> Iterator[Row]:
    """The scheduled week of the demo, from its tick to the report in a mailbox."""
    for state in ("a week as every week", "the first week, all folds to compute"):
        with Place() as place:
            if state.startswith("a week"):
                place.week(LAST_WEEK_BUT_ONE)  # the tick finds one more
            ran = place.run([sys.executable, str(HERE / "tick.py"), str(place.path)])
            name = f"from a tick to its report by mail, seconds: {state}"
            yield at_most(name, ran.steps["tick"], 60 if state.startswith("a week") else 180)


def timed(function: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def at_most(name: str, value: float, bound: float) -> Row:
    """A figure with a ceiling."""
    return Row(
        name, round(float(value), 4), f"<= {bound:g}", bool(np.isfinite(value) and value <= bound)
    )


def at_least(name: str, value: float, bound: float) -> Row:
    """A figure with a floor."""
    return Row(
        name, round(float(value), 4), f">= {bound:g}", bool(np.isfinite(value) and value >= bound)
    )


BENCHES = (
    closed_forms,
    cold_weeks,
    small_cold_week,
    make_run,
    against_statsforecast,
    many_series,
    scores_and_choices,
    sensors,
    reports,
    fetches,
    tick_to_mail,
)


def main() -> None:
    """Run the benchmarks, print each row as it comes, keep them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    by_name = {bench.__name__: bench for bench in BENCHES}
    parser.add_argument("names", nargs="*", choices=[[], *by_name], metavar="NAME")
    chosen = parser.parse_args().names or list(by_name)
    is_whole = chosen == list(by_name)
    known = [] if is_whole or not LATEST.exists() else json.loads(LATEST.read_text())
    rows = {row["name"]: row for row in known}
    for name in chosen:
        for row in by_name[name]():
            print(
                f"{'  ' if row.met else 'NO'} {row.value:>10g}  {row.must:<9} {row.name}",
                flush=True,
            )
            rows[row.name] = asdict(row)
            LATEST.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    missed = [row["name"] for row in rows.values() if not row["met"]]
    print(
        f"{len(rows) - len(missed)} of {len(rows)} met." + "".join(f"\nMissed: {m}" for m in missed)
    )
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
