"""How good the published numbers are: every rule of choice judged out of sample, week by week.

At each of the last hundred weeks of each series a rule sees the backtest that the week's run would
have seen, chooses, and forecasts the week after; its intervals are those that would have been
published. Prints the tables and writes benchmarks/results/accuracy.json and choosing.json.
Usage: python benchmarks/accuracy.py [--var FOLDER]; a quarter of an hour the first time, a few
minutes where FOLDER has the folds.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from public_series import GROUPS, Group

from forecast_assets.backtest import plan
from forecast_assets.combinations import COMBINATIONS
from forecast_assets.compute import Compute
from forecast_assets.crew import Crew
from forecast_assets.evidence import Evidence
from forecast_assets.fold_cache import FoldCache
from forecast_assets.selection import choose
from forecast_assets.settings import Settings
from forecast_assets.settings_file import parse

HERE = Path(__file__).resolve().parent
ORIGINS, WINDOWS = 100, 52
Values = NDArray[np.float64]
