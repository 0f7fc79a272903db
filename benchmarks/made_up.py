"""Made-up weekly series with fixed seeds: 1, 100, 1,000 or 10,000 of them, the same every time."""

import numpy as np
import pandas as pd

DEMAND = 0.3  # of the weeks of an intermittent series
LAST_WEEK = "2026-01-02"  # a Friday


def weekly(n_series: int, *, n_weeks: int, seed: int = 42) -> pd.DataFrame:
    """Series `unique_id, ds, y` of four kinds in turn: trend, season, random walk, intermittent."""
    rng = np.random.default_rng(seed)
    week = np.arange(n_weeks)
    level = rng.lognormal(4, 1, size=(n_series, 1))
    noise = rng.normal(size=(n_series, n_weeks))
    phase = rng.uniform(0, 52, size=(n_series, 1))
    slope = rng.normal(0, 0.003, size=(n_series, 1))
    season = 1 + 0.3 * np.sin(2 * np.pi * (week + phase) / 52)
    is_demand = rng.random((n_series, n_weeks)) < DEMAND
    kinds = [
        level * (1 + slope * week + 0.05 * noise),
        level * (season + 0.1 * noise),
        level * (1 + 0.02 * np.cumsum(noise, axis=1)),
        np.where(is_demand, rng.poisson(level, noise.shape), 0.0),
    ]
    y = np.choose(np.arange(n_series)[:, None] % len(kinds), kinds)
    ds = pd.date_range(end=LAST_WEEK, periods=n_weeks, freq="W-FRI")
    ids = np.array([f"s{i:05d}" for i in range(n_series)])
    return pd.DataFrame(
        {"unique_id": np.repeat(ids, n_weeks), "ds": np.tile(ds, n_series), "y": y.reshape(-1)}
    )
