"""What a cold run costs beyond the models' own computing.

Runs the week on the demo with an empty fold cache, then the same backtests as a plain loop in the
same process, the models' library imported before both. Prints the run's duration as Dagster records
it, the fits within it as the run itself timed them, the loop, and two differences: run less loop,
which the machine's changes of speed between the two disturb, and run less its own fits, which they
do not. Usage: python benchmarks/overhead.py [REPEATS]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

WEEK = """
import json, time
from datetime import UTC, datetime
import dagster as dg
import statsforecast.models
from forecast_assets import backtest, series, sources
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.run import dagster_home
from forecast_assets.models import enabled
from forecast_assets.settings import load
from forecast_assets.versions import select

settings = load()
job = build_defs(settings).resolve_job_def("weekly_forecast")
instance = dg.DagsterInstance.from_config(dagster_home(settings))
result = job.execute_in_process(instance=instance, run_config={"loggers": {"teller": {}}})
stats = instance.get_run_stats(result.run_id)
store = build_store(settings)
fits = store.read(select(store, "backtest_predictions"))["fit_seconds"].sum()

weeks = series.to_weeks(sources.fetch(settings), settings, as_of=datetime.now(UTC)).frame
planned = backtest.plan(weeks, settings.backtest)
started = time.perf_counter()
for model in enabled(settings):
    for one in planned:
        for end in one.ends:
            model.make().fit(one.y[:end].copy(), season_length=52).predict(1)
loop = time.perf_counter() - started
print(json.dumps({"run": stats.end_time - stats.start_time, "fits": fits, "loop": loop}))
"""


def timed_week() -> dict[str, float]:
    """One cold week in a process with a store and a fold cache of its own, in seconds."""
    environ = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with tempfile.TemporaryDirectory() as var:
        ran = subprocess.run(
            [sys.executable, "-c", WEEK],
            env={**environ, "FORECAST_VAR": var},
            capture_output=True,
            text=True,
            check=True,
        )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def main() -> None:
    """Print every week, and the medians of both differences."""
    weeks = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        week = timed_week()
        week |= {
            "run less loop": week["run"] - week["loop"],
            "run less fits": week["run"] - week["fits"],
        }
        weeks.append(week)
        print("   ".join(f"{name} {seconds:6.2f} s" for name, seconds in week.items()), flush=True)
    for name in ("run less loop", "run less fits"):
        print(f"median {name}: {statistics.median(week[name] for week in weeks):.2f} s")


if __name__ == "__main__":
    main()
