"""Score the forecasts of benchmarks on the rows of `forecast_accuracy`, and compare them with ours.

A benchmark's forecast counts for a published one if it is of the same series and week and was made
no later than the time that ours is as of; of several the last one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix, quantile_of
from forecast_assets.data.benchmarks import last_known
from forecast_assets.errors import format_list
from forecast_assets.forecasting.intervals import weighted_interval_score
from forecast_assets.forecasting.live_accuracy import KEY, weekly_change
from forecast_assets.forecasting.significance import cosine_mean_and_error, n_slow_cosines
from forecast_assets.models.base import Values
from forecast_assets.storage.benchmark_tables import Benchmarks

MEDIAN = 0.5
# Weeks of the comparisons: a quarter and a year.
SPANS = (13, 52)
# With fewer weeks a standard error says nothing.
MIN_WEEKS = 4
# A benchmark in another unit is further from the values than this factor, in most of its weeks.
MAX_FACTOR = 3.0
# So many weeks tell a unit.
MIN_ROWS = 8


def score_benchmarks(
    scored: pd.DataFrame,
    published: pd.DataFrame,
    forecasts: pd.DataFrame,
    benchmarks: Benchmarks,
    *,
    levels: Sequence[float],
    quantiles: Sequence[float] = (),
) -> pd.DataFrame:
    """Add the scores of benchmarks to rows of forecast_accuracy, and the WIS of ours.

    `published` has the rows of next_week_forecast that were scored, `forecasts` those of
    `benchmark_forecasts`. `levels` and `quantiles` are those of ours.
    """
    keys = [*KEY, "made_at"]
    once = published.drop_duplicates(keys, keep="last")
    columns = [f"q{column_suffix(quantile)}" for quantile in quantiles]
    rows = scored.merge(once.reindex(columns=[*keys, "as_of", *columns]), on=keys, how="left")
    ours = {quantile_of(level, -1): f"lo_{column_suffix(level)}" for level in levels}
    ours |= {quantile_of(level, 1): f"hi_{column_suffix(level)}" for level in levels}
    ours |= {quantile: f"q{column_suffix(quantile)}" for quantile in quantiles}
    result = scored.assign(wis=_score(rows, ours))
    for name, of_name in benchmarks.items():
        matched = last_known(rows, forecasts[forecasts["benchmark"] == name])
        y, y_hat = rows["y"], matched["y_hat"]
        by_quantile = {quantile: f"q{column_suffix(quantile)}" for quantile in of_name}
        result[f"{name}_y_hat"], result[f"{name}_made_on"] = y_hat, matched["made_on"]
        result[f"{name}_error"] = y_hat - y
        result[f"{name}_error_first"] = y_hat - rows["y_first"]
        result[f"{name}_wis"] = _score(matched.assign(y=y), by_quantile)
    return result


def _score(rows: pd.DataFrame, columns: Mapping[float, str]) -> Values:
    """Return the weighted interval score of rows by the column of each quantile: [N].

    The median is `y_hat` if there is no quantile 0.5; without an interval there is no score.
    """
    lower = sorted(q for q in columns if q < MEDIAN and round(1 - q, 6) in columns)
    if not lower:
        return np.full(len(rows), np.nan)
    lows, highs = (
        np.stack([rows[columns[q]].to_numpy(dtype=np.float64) for q in side])
        for side in (lower, [round(1 - q, 6) for q in lower])
    )
    median = rows[columns.get(MEDIAN, "y_hat")].to_numpy(dtype=np.float64)
    levels = [100 * (1 - 2 * q) for q in lower]
    y = rows["y"].to_numpy(dtype=np.float64)
    return weighted_interval_score(y, median, lows, highs, levels)


class Accuracy(NamedTuple):
    """A mean over weeks, and its standard error; NaN where there are too few weeks."""

    mean: float
    error: float

    @classmethod
    def of(cls, weeks: Values) -> "Accuracy":
        """Average weekly losses that may depend on those of the weeks around them: [W]."""
        n = len(weeks)
        if n < MIN_WEEKS:
            return cls(float(weeks.mean()) if n else np.nan, np.nan)
        mean, error = cosine_mean_and_error(weeks, n_terms=n_slow_cosines(n))
        return cls(float(mean), float(error))


@dataclass(frozen=True)
class Span:
    """A comparison over the last weeks in which both have forecasts.

    Errors are mean absolute errors divided by the mean weekly change of the series; `gain` is
    theirs minus ours (above 0: ours were better).
    """

    n_weeks: int
    n: int
    ours: Accuracy
    theirs: Accuracy
    naive: Accuracy
    gain: Accuracy


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a benchmark and ours would have been worth: by span, by series and by kind of week."""

    name: str
    spans: Sequence[Span]
    by_series: pd.DataFrame  # unique_id, n, ours, theirs
    by_kind: pd.DataFrame  # kind, n, ours, theirs


def compare_benchmark(scored: pd.DataFrame, series: pd.DataFrame, name: str) -> Comparison | None:
    """Compare ours with a benchmark on rows of forecast_accuracy; None if none can be compared."""
    if f"{name}_error" not in scored:
        return None
    both = scored[scored[f"{name}_error"].notna()]
    scale = both["unique_id"].map(weekly_change(series))
    losses = pd.DataFrame(
        {
            "unique_id": both["unique_id"],
            "ds": both["ds"],
            "ours": both["abs_error"] / scale,
            "theirs": both[f"{name}_error"].abs() / scale,
            "naive": both["naive_abs_error"] / scale,
            "kind": np.where(both["naive_abs_error"] > scale, "large change", "usual week"),
        }
    ).dropna()
    if losses.empty:
        return None
    last = losses["ds"].max()
    spans = [_span(losses[losses["ds"] > last - pd.Timedelta(weeks=n)]) for n in SPANS]
    year = losses[losses["ds"] > last - pd.Timedelta(weeks=max(SPANS))]
    by_series, by_kind = (
        year.groupby(by)[["ours", "theirs"]]
        .mean()
        .assign(n=year.groupby(by).size())
        .reset_index()[[by, "n", "ours", "theirs"]]
        for by in ("unique_id", "kind")
    )
    return Comparison(name, spans, by_series, by_kind)


def spans_table(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each span of a comparison."""
    rows = [
        {
            "benchmark": comparison.name,
            "last_weeks": weeks,
            "n_weeks": span.n_weeks,
            "n": span.n,
            **{
                f"{who}{suffix}": value
                for who in ("ours", "theirs", "naive", "gain")
                for suffix, value in zip(("", "_error"), getattr(span, who), strict=True)
            },
        }
        for weeks, span in zip(SPANS, comparison.spans, strict=True)
    ]
    return pd.DataFrame(rows)


def _span(losses: pd.DataFrame) -> Span:
    weeks = losses.groupby("ds", sort=True)[["ours", "theirs", "naive"]].mean()
    ours, theirs, naive = (weeks[who].to_numpy() for who in ("ours", "theirs", "naive"))
    means = [Accuracy.of(each) for each in (ours, theirs, naive, theirs - ours)]
    return Span(len(weeks), len(losses), *means)


def series_problems(forecasts: pd.DataFrame, series: pd.DataFrame, name: str) -> list[str]:
    """Say which forecasts of a benchmark are of other series, or seem to be in another unit."""
    own = forecasts[forecasts["benchmark"] == name]
    if own.empty:
        return [f"{name} has no forecast that was made by now"]
    names, known = own["unique_id"].unique(), {*series["unique_id"]}
    others = sorted({*names} - known)
    problems = []
    if others:
        problems.append(
            f"{len(others)} of {len(names)} series of {name} are not among ours, and are not"
            f" compared: {format_list(others)}"
        )
    both = own.merge(series[series["y"] != 0], on=["unique_id", "ds"])
    factors = (both["y_hat"] / both["y"]).abs().groupby(both["unique_id"]).agg(["median", "size"])
    usual = factors.loc[factors["size"] >= MIN_ROWS, "median"]
    odd = usual[(usual >= MAX_FACTOR) | (usual <= 1 / MAX_FACTOR)]
    if len(odd):
        texts = (f"{unique_id} ({factor:.3g} times)" for unique_id, factor in odd.items())
        problems.append(
            f"the forecasts of {name} are far from the values of {len(odd)} of {len(usual)} series,"
            f" as if they were in another unit: {format_list(texts)}"
        )
    return problems


def gap_problems(scored: pd.DataFrame, forecasts: pd.DataFrame, name: str) -> list[str]:
    """Say for which of our last forecasts a benchmark has none that was made in time."""
    own = forecasts[forecasts["benchmark"] == name]
    if own.empty or scored.empty:
        return []
    first = max(own["ds"].min(), scored["ds"].max() - pd.Timedelta(weeks=SPANS[0] - 1))
    is_of_series = scored["unique_id"].isin(own["unique_id"]) & (scored["ds"] >= first)
    gaps = scored[is_of_series & scored[f"{name}_y_hat"].isna()]
    if gaps.empty:
        return []
    texts = gaps["unique_id"] + gaps["ds"].dt.strftime(" / %Y-%m-%d")
    text = (
        f"{name} has no forecast made in time for {len(gaps)} of the last {is_of_series.sum()} of"
        f" ours, so these weeks are not compared: {format_list(texts.unique())}"
    )
    return [text]
