"""Forecasts that were published, scored once their week's value is known, and what that says.

How a forecast came about does not belong here, nor where the past ones are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.forecasting.significance import coverage_pvalue, diebold_mariano_pvalue
from forecast_assets.storage.tables import interval_columns, table_contracts

KEY = ["unique_id", "ds", "h", "cutoff"]
WEEKS = 52  # that a verdict looks back on
QUARTER = 13  # weeks
LEAST = 8  # weeks that a verdict needs, none of which overlap
RARE = 0.01  # chance that a sound forecast is called unsound


def score_published(
    published: pd.DataFrame,
    series: pd.DataFrame,
    *,
    levels: Sequence[float],
    before: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Score every published forecast whose week is over: rows of forecast_accuracy.

    `published` holds next_week_forecast's rows of every version, the newest last. Of a forecast
    that was published again for the same week from the same cutoff, the last one counts that was
    made before the week was over; where all were made later, in a replay, the first one. Errors are
    forecast less value. A forecast whose cutoff the series no longer has is not scored: there
    is no naive error to hold against it. `before` is the table of an earlier run: it knows what a
    week's value was when it was first known.
    """
    once = _deduplicate(published)
    scored = once.merge(series, on=["unique_id", "ds"], validate="many_to_one")
    at_cutoff = series.rename(columns={"ds": "cutoff", "y": "y_at_cutoff"})
    scored = scored.merge(at_cutoff, on=["unique_id", "cutoff"], validate="many_to_one")
    scored["error"] = scored["y_hat"] - scored["y"]
    scored["abs_error"] = scored["error"].abs()
    scored["naive_abs_error"] = (scored["y_at_cutoff"] - scored["y"]).abs()
    scored["y_first"] = scored["y"]
    if before is not None and len(before):
        first = before.drop_duplicates(["unique_id", "ds"]).set_index(["unique_id", "ds"])
        known = first["y_first"].reindex(pd.MultiIndex.from_frame(scored[["unique_id", "ds"]]))
        scored["y_first"] = known.fillna(scored["y"].set_axis(known.index)).to_numpy()
    scored["error_first"] = scored["y_hat"] - scored["y_first"]
    for name in ("backtest_mae", *interval_columns(levels)):
        if name not in scored:
            scored[name] = float("nan")  # published before this was asked for
    for suffix in map(column_suffix, levels):
        inside = (scored[f"lo_{suffix}"] <= scored["y"]) & (scored["y"] <= scored[f"hi_{suffix}"])
        scored[f"in_{suffix}"] = inside
    return scored.loc[:, table_contracts(levels)["forecast_accuracy"].names]


def _deduplicate(published: pd.DataFrame) -> pd.DataFrame:
    """One forecast for each week and cutoff of a series."""
    over = published["ds"].dt.tz_localize("UTC") + pd.Timedelta(days=1)
    is_ahead = published["made_at"] < over
    ahead = published[is_ahead].drop_duplicates(KEY, keep="last")
    once: pd.DataFrame = pd.concat([ahead, published[~is_ahead]]).drop_duplicates(KEY)
    return once


def summary(
    scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float], by: str | None = None
) -> pd.DataFrame:
    """How published forecasts turned out, by a column or over all: one row each.

    `n` forecasts; `mase`, their error over the series' mean weekly step; `over_naive`, the sum of
    that over naive's; `over_promise`, the sum over what the backtest led to expect (above 1: it
    promised too much); `bias`, the mean error over the mean step; `coverage_L`, the share of values
    in the interval of those that had one.
    """
    rows = _measured(scored, series, levels)
    totals = _totals(rows, rows[by] if by else pd.Series("all", rows.index))
    return _to_summary(totals, levels).reset_index(names=by or "of")


def rolling(scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]) -> pd.DataFrame:
    """As `summary`, over the quarter up to each week: one row a week, the newest first."""
    rows = _measured(scored, series, levels)
    totals = _totals(rows, rows["ds"])
    together = totals.rolling(f"{7 * QUARTER}D").sum()
    return _to_summary(together, levels).iloc[::-1].reset_index(names="ds")


@dataclass(frozen=True)
class LiveAccuracyCheck:
    """Whether live forecasts keep what was promised, as far as chance lets one tell.

    `worse_than_naive` and `off_coverage` name what was found, each with its figures; `n_weeks` is
    how many weeks it rests on, of `n_needed`.
    """

    n_weeks: int
    n_needed: int
    worse_than_naive: str | None
    off_coverage: Sequence[str]


def check_accuracy(
    scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]
) -> LiveAccuracyCheck:
    """Hold the last year's forecasts against naive and against the levels of their intervals.

    The unit is the week, for what is wrong in a week is wrong for many series at once; where
    forecasts reach further, as many weeks as overlap are one. A test asks whether their means lie
    off by more than chance makes them in one case of a hundred.
    """
    rows = _measured(scored, series, levels)
    overlap = int(scored["h"].max()) if len(scored) else 1
    n_needed = LEAST * overlap
    span = pd.Timedelta(weeks=max(WEEKS, n_needed))
    recent = rows[rows["ds"] > rows["ds"].max() - span]
    weeks = recent.groupby("ds", sort=True).mean(numeric_only=True)
    losses = _non_overlapping_means(weeks[["scaled", "scaled_naive"]].dropna(), overlap)
    worse, off = None, []
    if len(losses) >= LEAST:
        chance = float(
            diebold_mariano_pvalue(
                (losses["scaled"] - losses["scaled_naive"]).to_numpy(), overlap=1
            )
        )
        if chance < RARE:
            worse = (
                f"errors are {losses['scaled'].mean() / losses['scaled_naive'].mean():.2f} times"
                f" naive's (by chance: {chance:.1%})"
            )
    for level in levels:
        shares = _non_overlapping_means(
            weeks[[f"covered_{column_suffix(level)}"]].dropna(), overlap
        ).to_numpy()
        is_off = coverage_pvalue(shares[:, 0], level / 100) < RARE / len(levels)
        if len(shares) >= LEAST and is_off:
            off.append(f"{shares.mean():.0%} of values lay in the {level:g} % interval")
    return LiveAccuracyCheck(len(weeks), n_needed, worse, tuple(off))


def _non_overlapping_means(weeks: pd.DataFrame, overlap: int) -> pd.DataFrame:
    """The means of as many weeks as overlap, up to the newest; a rest of older ones drops out."""
    n = len(weeks) // overlap
    newest = weeks.tail(n * overlap)
    means: pd.DataFrame = newest.groupby(np.repeat(np.arange(n), overlap)).mean()
    return means


def _measured(scored: pd.DataFrame, series: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """The forecasts with their errors over their series' mean weekly step, and what was covered."""
    steps = series.groupby("unique_id")["y"].diff().abs().groupby(series["unique_id"]).mean()
    scale = scored["unique_id"].map(steps.where(steps > 0))
    rows = scored.assign(
        scaled=scored["abs_error"] / scale,
        scaled_naive=scored["naive_abs_error"] / scale,
        scaled_error=scored["error"] / scale,
        promised=scored["backtest_mae"] / scale,
        kept=(scored["abs_error"] / scale).where(scored["backtest_mae"].notna()),
    )
    for suffix in map(column_suffix, levels):
        rows[f"covered_{suffix}"] = (
            scored[f"in_{suffix}"].astype(float).where(scored[f"lo_{suffix}"].notna())
        )
    return rows


def _totals(rows: pd.DataFrame, by: "pd.Series[Any]") -> pd.DataFrame:
    """The sum of each column over a group, and how many rows had it (`n_` and its name)."""
    groups = rows.drop(columns=["h"]).groupby(by.to_numpy(), sort=True)
    total = groups.sum(numeric_only=True)
    counts = groups[list(total.columns)].count().add_prefix("n_")
    return pd.concat([total.assign(n=groups.size()), counts], axis=1)


def _to_summary(totals: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """What `summary` tells, from the totals of each group."""
    found = pd.DataFrame({"n": totals["n"].astype(int)})
    found["mase"] = _ratio(totals["scaled"], totals["n_scaled"])
    found["over_naive"] = _ratio(totals["scaled"], totals["scaled_naive"])
    found["over_promise"] = _ratio(totals["kept"], totals["promised"])
    found["bias"] = _ratio(totals["scaled_error"], totals["n_scaled_error"])
    for suffix in map(column_suffix, levels):
        covered = f"covered_{suffix}"
        found[f"coverage_{suffix}"] = _ratio(totals[covered], totals[f"n_{covered}"])
    return found


def _ratio(above: "pd.Series[float]", below: "pd.Series[float]") -> "pd.Series[float]":
    return above / below.where(below > 0)
