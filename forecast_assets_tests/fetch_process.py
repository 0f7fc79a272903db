"""Fetch in a process of its own, to measure the memory that it takes."""

import json
import subprocess
import sys
from collections.abc import Mapping

PROGRAM = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from forecast_assets.config.loader import parse
from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def read(source):
    settings = parse({"source": source}, root=Path("/"), var=Path("/"), origin="a test")
    try:
        return len(fetch(FetchRequest(settings, datetime.now(UTC))))
    except SourceError as error:
        return str(error)

first, *others = json.loads(sys.argv[1])
read(first)
before = peak()
print(json.dumps([[read(source), peak() - before] for source in others]))
"""


def measured_fetches(
    first: Mapping[str, object], *others: Mapping[str, object]
) -> list[tuple[int | str, int]]:
    """Fetch all sources; return rows or the error of each of the others, and its kilobytes."""
    run = [sys.executable, "-c", PROGRAM, json.dumps([first, *others])]
    process = subprocess.run(run, check=True, capture_output=True, text=True)
    return [(outcome, kilobytes) for outcome, kilobytes in json.loads(process.stdout)]
