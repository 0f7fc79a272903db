"""Score published forecasts once the actual is known, and check them against their promises.

How a forecast is made, and where published ones are stored, does not belong here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.forecasting.significance import coverage_pvalue, slow_pvalue
from forecast_assets.storage.columns import OVERRIDE_SCORES
from forecast_assets.storage.tables import interval_columns, table_contracts

# Returns the columns unique_id, ds, y of a version of `series`, None if it cannot be read.
ReadVersion = Callable[[int], pd.DataFrame | None]
KEY = ["unique_id", "ds", "h", "cutoff"]
LOOKBACK_WEEKS = 52
QUARTER_WEEKS = 13
# Non-overlapping weeks that a check needs.
MIN_WEEKS = 8
# The probability that a sound forecast fails a check.
SIGNIFICANCE = 0.01


def score_published(
    published: pd.DataFrame,
    series: pd.DataFrame,
    *,
    levels: Sequence[float],
    before: pd.DataFrame | None = None,
    read_version: ReadVersion = lambda _: None,
) -> pd.DataFrame:
    """Score every published forecast whose week is over and has a value: rows of the table.

    A week that was filled has none. `published` holds the rows of every version of
    `next_week_forecast`, the newest last. If a forecast was published several times for the same
    week and cutoff, the last one made before the week was over counts; if all were made later, in a
    replay, the first. Errors are forecast minus actual. `before` is the table of an earlier run,
    which knows each week's first value.

    Naive forecasts the value that the cutoff had in the version of `series` that the forecast was
    made from: its number is in the column `series_version` of `published`, if there is one. Where
    it cannot be read, naive forecasts today's value; a forecast whose cutoff has none is not
    scored.
    """
    real = series.loc[~series["is_filled"], ["unique_id", "ds", "y"]]
    once = _deduplicate(published)
    scored = once.merge(real, on=["unique_id", "ds"], validate="many_to_one")
    scored["y_at_cutoff"] = _values_at_cutoff(scored, before, read_version)
    today = real.rename(columns={"ds": "cutoff", "y": "y_today"})
    scored = scored.merge(today, on=["unique_id", "cutoff"], how="left", validate="many_to_one")
    scored["naive"] = scored["y_at_cutoff"].fillna(scored["y_today"])
    scored = scored[scored["naive"].notna()].reset_index(drop=True)
    scored["error"] = scored["y_hat"] - scored["y"]
    scored["abs_error"] = scored["error"].abs()
    scored["naive_abs_error"] = (scored["naive"] - scored["y"]).abs()
    scored["y_first"] = scored["y"]
    if before is not None and len(before):
        first = before.drop_duplicates(["unique_id", "ds"]).set_index(["unique_id", "ds"])
        known = first["y_first"].reindex(pd.MultiIndex.from_frame(scored[["unique_id", "ds"]]))
        scored["y_first"] = known.fillna(scored["y"].set_axis(known.index)).to_numpy()
    scored["error_first"] = scored["y_hat"] - scored["y_first"]
    for name in {"backtest_mae", *interval_columns(levels)} - {*scored}:  # of older versions
        scored[name] = float("nan")
    if "override" in scored and scored["override"].notna().any():
        scored["override_error"] = scored["override"] - scored["y"]
        scored["override_error_first"] = scored["override"] - scored["y_first"]
    for suffix in map(column_suffix, levels):
        low, high = scored[f"lo_{suffix}"], scored[f"hi_{suffix}"]
        is_inside: pd.Series[Any] = scored["y"].between(low, high).astype("object")
        is_inside[low.isna() | high.isna()] = None
        scored[f"in_{suffix}"] = is_inside
    names = table_contracts(levels)["forecast_accuracy"].names
    optional = {column.name for column in OVERRIDE_SCORES}
    return scored.loc[:, [name for name in names if name in scored or name not in optional]]


def _values_at_cutoff(
    scored: pd.DataFrame, before: pd.DataFrame | None, read_version: ReadVersion
) -> "pd.Series[float]":
    """Return the value at the cutoff when each forecast was made, null where it is not known.

    Each version of `series` is read once, and never again.
    """
    keys = [*KEY, "made_at"]
    values = pd.Series(np.nan, scored.index)
    if before is not None and "y_at_cutoff" in before:
        known = before.set_index(keys)["y_at_cutoff"]
        values[:] = known.reindex(pd.MultiIndex.from_frame(scored[keys])).to_numpy()
    if "series_version" not in scored:
        return values
    unknown = scored[values.isna()].dropna(subset="series_version")
    for version in np.unique(unknown["series_version"].to_numpy(dtype=np.int64)).tolist():
        series, rows = read_version(version), unknown[unknown["series_version"] == version]
        if series is not None:
            then = series.set_index(["unique_id", "ds"])["y"]
            cutoffs = pd.MultiIndex.from_frame(rows[["unique_id", "cutoff"]])
            values[rows.index] = then.reindex(cutoffs).to_numpy()
    return values


def _deduplicate(published: pd.DataFrame) -> pd.DataFrame:
    """Keep one forecast for each week and cutoff of a series."""
    week_end = published["ds"].dt.tz_localize("UTC") + pd.Timedelta(days=1)
    is_ahead = published["made_at"] < week_end
    ahead = published[is_ahead].drop_duplicates(KEY, keep="last")
    once: pd.DataFrame = pd.concat([ahead, published[~is_ahead]]).drop_duplicates(KEY)
    return once


def summary(
    scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float], by: str | None = None
) -> pd.DataFrame:
    """Summarize the accuracy of published forecasts: one row for each value of `by`, or one.

    `n` counts forecasts; `mase` is their error divided by the series' mean weekly change;
    `over_naive` their total error divided by naive's; `over_promise` divided by the backtest's
    (above 1: the backtest promised too much); `bias` the mean error divided by the mean weekly
    change; `coverage_L` the share of actuals inside the interval, where there was one.
    """
    rows = _scale(scored, series, levels)
    totals = _totals(rows, rows[by] if by else pd.Series("all", rows.index))
    return _to_summary(totals, levels).reset_index(names=by or "of")


def rolling_summary(
    scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]
) -> pd.DataFrame:
    """Summarize the 13 weeks up to each week: one row a week, the newest first."""
    rows = _scale(scored, series, levels)
    totals = _totals(rows, rows["ds"]).rolling(f"{7 * QUARTER_WEEKS}D").sum()
    return _to_summary(totals, levels).iloc[::-1].reset_index(names="ds")


@dataclass(frozen=True)
class LiveAccuracyCheck:
    """The result of checking published forecasts against naive and their nominal coverage.

    `worse_than_naive` and `off_coverage` describe significant problems with their figures. The
    check uses `n_weeks` weeks and needs `n_needed`.
    """

    n_weeks: int
    n_needed: int
    worse_than_naive: str | None
    off_coverage: Sequence[str]

    @property
    def problems(self) -> list[str]:
        """Return every significant problem."""
        return [*filter(None, [self.worse_than_naive]), *self.off_coverage]


def check_accuracy(
    scored: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]
) -> LiveAccuracyCheck:
    """Test the last year's forecasts against naive and against their intervals' levels.

    The unit of the test is the week, because errors of one week are correlated over series; with a
    longer horizon, as many weeks as overlap form one unit. Units may depend on those before them:
    volatility persists. A difference counts as a problem where it would occur by chance in less
    than one case of a hundred.
    """
    rows = _scale(scored, series, levels)
    overlap = int(scored["h"].max()) if len(scored) else 1
    n_needed = MIN_WEEKS * overlap
    span = pd.Timedelta(weeks=max(LOOKBACK_WEEKS, n_needed))
    recent = rows[rows["ds"] > rows["ds"].max() - span]
    weeks = recent.groupby("ds", sort=True).mean(numeric_only=True)
    losses = _non_overlapping_means(weeks[["scaled", "scaled_naive"]].dropna(), overlap)
    worse, off = None, []
    excess = (losses["scaled"] - losses["scaled_naive"]).to_numpy()
    pvalue = slow_pvalue(excess)
    if len(losses) >= MIN_WEEKS and pvalue < SIGNIFICANCE:
        ratio = losses["scaled"].mean() / losses["scaled_naive"].mean()
        chance = f"(by chance: {100 * pvalue:.1f} %)"
        worse = f"errors are {ratio:.2f} times naive's {chance}"
    for level in levels:
        covered = weeks[[f"covered_{column_suffix(level)}"]].dropna()
        shares = _non_overlapping_means(covered, overlap).to_numpy()[:, 0]
        is_off = coverage_pvalue(shares, level / 100) < SIGNIFICANCE / len(levels)
        if len(shares) >= MIN_WEEKS and is_off:
            percent = f"{100 * shares.mean():.0f} %"
            off.append(f"{percent} of values lay in the {level:g} % interval")
    return LiveAccuracyCheck(len(weeks), n_needed, worse, tuple(off))


def _non_overlapping_means(weeks: pd.DataFrame, overlap: int) -> pd.DataFrame:
    """Average groups of `overlap` weeks, counted back from the newest; drop an older rest."""
    n = len(weeks) // overlap
    newest = weeks.tail(n * overlap)
    return newest.groupby(np.repeat(np.arange(n), overlap)).mean()


def weekly_change(series: pd.DataFrame) -> "pd.Series[float]":
    """Return each series' mean change from one real week to the next; null if it never changed."""
    real_y, ids = series["y"].where(~series["is_filled"]), series["unique_id"]
    steps = real_y.groupby(ids).diff().abs().groupby(ids).mean()
    return steps.where(steps > 0)


def _scale(scored: pd.DataFrame, series: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Add errors divided by the series' mean weekly change, and whether intervals held."""
    scale = scored["unique_id"].map(weekly_change(series))
    rows = scored.assign(
        scaled=scored["abs_error"] / scale,
        scaled_naive=scored["naive_abs_error"] / scale,
        scaled_error=scored["error"] / scale,
        promised=scored["backtest_mae"] / scale,
        kept=(scored["abs_error"] / scale).where(scored["backtest_mae"].notna()),
    )
    for suffix in map(column_suffix, levels):
        # Versions of 0.1 have false where there was no interval.
        is_inside = scored[f"in_{suffix}"].astype(float)
        rows[f"covered_{suffix}"] = is_inside.where(scored[f"lo_{suffix}"].notna())
    return rows


def _totals(rows: pd.DataFrame, by: "pd.Series[Any]") -> pd.DataFrame:
    """Sum each column over a group and count its non-null rows (as `n_` and its name)."""
    groups = rows.drop(columns=["h"]).groupby(by.to_numpy(), sort=True)
    total = groups.sum(numeric_only=True)
    counts = groups[list(total.columns)].count().add_prefix("n_")
    return pd.concat([total.assign(n=groups.size()), counts], axis=1)


def _to_summary(totals: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Turn the totals of each group into the columns of `summary`."""
    ratios = {
        "mase": ("scaled", "n_scaled"),
        "over_naive": ("scaled", "scaled_naive"),
        "over_promise": ("kept", "promised"),
        "bias": ("scaled_error", "n_scaled_error"),
    }
    for suffix in map(column_suffix, levels):
        ratios[f"coverage_{suffix}"] = (f"covered_{suffix}", f"n_covered_{suffix}")
    known = totals.where(totals > 0)
    columns = {name: totals[above] / known[below] for name, (above, below) in ratios.items()}
    return pd.DataFrame({"n": totals["n"].astype(int), **columns})
