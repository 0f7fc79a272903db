"""The lines of `status` on what people know: overrides, totals, regressors and benchmarks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from forecast_assets.cli.output import StatusLine, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings


def overrides(forecast: "pd.DataFrame", settings: "Settings") -> Iterator[StatusLine]:
    """List the weeks that a person expects another value for; yield nothing without any."""
    from forecast_assets.reporting.summary import override_texts

    if texts := override_texts(forecast, settings.series.units):
        yield StatusLine("overridden", texts, text=first_few(texts))


def totals(forecast: "pd.DataFrame", settings: "Settings") -> Iterator[StatusLine]:
    """Say by which method forecasts add up, and which totals do not; yield nothing without any."""
    if not settings.hierarchy.is_set:
        return
    rows = forecast.reindex(columns=["unique_id", "parent", "reconciliation"])
    is_total = rows["unique_id"].isin(rows["parent"].dropna())
    method = rows["reconciliation"].dropna()
    apart = sorted(set(rows.loc[is_total & rows["reconciliation"].isna(), "unique_id"]))
    n = rows.loc[is_total, "unique_id"].nunique()
    text = f"by {method.iloc[0]}" if len(method) else "none of the forecasts add up"
    if apart and len(method):
        text += f"; {len(apart)} of {n} totals are no sums of their parts: {first_few(apart)}"
    value = method.iloc[0] if len(method) else None
    yield StatusLine("totals", value, is_well=not apart, text=text)


def regressors(metrics: "pd.DataFrame", settings: "Settings") -> Iterator[StatusLine]:
    """Say by how much models are better with regressors; yield nothing without any."""
    from forecast_assets.forecasting.regressor_gains import probable_leak, regressor_gains
    from forecast_assets.forecasting.twins import twins_of

    twins = twins_of(metrics["model"].unique(), settings)
    gains = regressor_gains(metrics, twins, metric=settings.selection.metric)
    if gains.empty:
        return
    by_model = dict(zip(gains["model"], gains["gain"], strict=True))
    text = first_few(f"{model} {-gain:+.0%}" for model, gain in by_model.items())
    leak = probable_leak(metrics, settings)
    text = f"error against the twin without: {text}{f'. {leak}' if leak else ''}"
    yield StatusLine("regressors", by_model, is_well=False if leak else None, text=text)


def benchmarks(
    scored: "pd.DataFrame", series: "pd.DataFrame", settings: "Settings"
) -> Iterator[StatusLine]:
    """Compare the forecasts of each benchmark with ours; yield nothing without any."""
    from forecast_assets.forecasting.benchmark_scores import compare_benchmark
    from forecast_assets.reporting.comparisons import benchmark_sentence

    for name in settings.benchmark:
        comparison = compare_benchmark(scored, series, name)
        if comparison is None:
            yield StatusLine(f"benchmark_{name}", None, text="nothing to compare yet")
            continue
        gain = comparison.spans[-1].gain
        yield StatusLine(f"benchmark_{name}", gain.mean, text=benchmark_sentence(comparison))
