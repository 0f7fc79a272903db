"""What a cold run costs beyond the models' own computing.

Runs the week on the demo with an empty fold cache, and the same backtests as a plain loop, in turn,
each in a process of its own; prints both and their difference. The run's time is what Dagster
records of it. Usage: python benchmarks/overhead.py [REPEATS]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

LOOP = """
import time, warnings
from forecast_assets import settings, sources, series, backtest
from forecast_assets.models import enabled
from datetime import UTC, datetime
in_force = settings.load()
weeks = series.to_weeks(sources.fetch(in_force), in_force, as_of=datetime.now(UTC)).frame
planned = backtest.plan(weeks, in_force.backtest)
started = time.perf_counter()
for model in enabled(in_force):
    for one in planned:
        for end in one.ends:
            model.make().fit(one.y[:end].copy(), season_length=52).predict(1)
print(time.perf_counter() - started)
"""

RUN = """
import tempfile
import dagster as dg
from forecast_assets.definitions import defs
job = defs.resolve_job_def("weekly_forecast")
instance = dg.DagsterInstance.local_temp(tempfile.mkdtemp())
result = job.execute_in_process(instance=instance, run_config={"loggers": {"teller": {}}})
stats = instance.get_run_stats(result.run_id)
print(stats.end_time - stats.start_time)
"""


def seconds_of(code: str) -> float:
    """Run the code in a process with a store and a fold cache of its own; what it prints last."""
    with tempfile.TemporaryDirectory() as var:
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "FORECAST_VAR": var},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(ran.stdout.split()[-1])


def main() -> None:
    """Print every pair and the median difference."""
    pairs = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        run, loop = seconds_of(RUN), seconds_of(LOOP)
        pairs.append(run - loop)
        print(f"run {run:6.2f} s   loop {loop:6.2f} s   beyond the models {run - loop:5.2f} s")
    print(json.dumps({"name": "overhead_seconds", "value": round(statistics.median(pairs), 2)}))


if __name__ == "__main__":
    main()
