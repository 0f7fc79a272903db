"""Turn a week into the values that the templates print: texts, charts and rows of tables.

What all files share is in `overview`. Markup does not belong here: see `templates`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.data.excluded import periods_of
from forecast_assets.data.quality.evaluate import with_policy
from forecast_assets.data.quality.finding import Finding
from forecast_assets.errors import format_list
from forecast_assets.forecasting.eligibility import TOO_FEW
from forecast_assets.forecasting.leaderboard import leaderboard
from forecast_assets.reporting import comparisons, narrative, plain_words, plots
from forecast_assets.reporting.explanation import moves_context
from forecast_assets.reporting.number_format import MISSING, format_score
from forecast_assets.reporting.overview import MAX_FULL, MAX_ROWS, Summary
from forecast_assets.reporting.series_pages import series_url
from forecast_assets.reporting.summary import (
    WeeklyReport,
    format_miss,
    given_number,
    interval_outcome,
    is_overridden,
    model_label,
    override_texts,
    total_label,
)
from forecast_assets.storage.tables import CHAMPION, interval_columns, target_week

# Weeks ahead in the table; the charts show all.
MAX_WEEKS_AHEAD = 8
MAX_FINDINGS = 8
# Reasons why models do not suit a series.
MAX_REASONS = 5

Context = dict[str, Any]


def build_context(report: WeeklyReport, summary: Summary) -> Context:
    """Return every value that `report.html`, `details.html` and `report.md` use."""
    is_long = len(summary.rows) > MAX_FULL
    rows = _row_texts(report, summary)
    return {
        "title": report.title,
        "as_of": report.forecast["as_of"].iloc[0],
        "run": report.run_id[:8],
        "made_from": report.made_from,
        "n_series": len(summary.rows),
        "is_long": is_long,
        "expected": summary.expected,
        "sure": [*summary.sure, plain_words.model_sentence(report)],
        "changed": plain_words.changes(report, summary.last_week),
        "attention": summary.attention,
        "data_whole": plain_words.data_sentence(report, summary.rows),
        "ranges": plain_words.range_labels(summary.levels),
        "has_published": bool(summary.shown["miss"].notna().any()),
        "overrides": override_texts(report.forecast, report.units)[:MAX_ROWS],
        **comparisons.build_context(report, summary.benchmarks),
        "levels": [column_suffix(level) for level in summary.levels],
        "drawn_levels": narrative.join_words([column_suffix(level) for level in report.levels]),
        "rows": rows,
        "charts": _charts(report, summary, rows),
        "weeks_ahead": _weeks_ahead(report, summary),
        **moves_context(report.forecast, dict(summary.rows[["unique_id", "format"]].to_numpy())),
        "horizon": int(report.forecast["h"].max()),
        "track_record": narrative.track_record(report, summary.levels),
        "n_published": len(report.accuracy),
        "first_published": None if report.accuracy.empty else report.accuracy["ds"].min().date(),
        **_models(report, is_long=is_long),
        **_data(report),
        **_revisions(report, summary),
    }


def build_brief_context(report: WeeklyReport, summary: Summary) -> Context:
    """Return every value that `report.brief.md` uses."""
    return {
        "lead": [summary.expected, *filter(None, [summary.last_week]), *summary.sure],
        "attention": summary.attention,
        "overrides": override_texts(report.forecast, report.units)[:MAX_ROWS],
        "rows": _row_texts(report, summary),
        "n_more": len(summary.rows) - len(summary.shown),
        "level": column_suffix(summary.levels[0]),
    }


def _row_texts(report: WeeklyReport, summary: Summary) -> list[Context]:
    """Return the texts of the shown rows; `week` is set where it is not the newest."""
    texts, newest = [], target_week(report.forecast)
    for i, row in zip(summary.shown.index, summary.shown.to_dict("records"), strict=True):
        number_format = row["format"]
        week, outcome = row["ds"].date(), interval_outcome(row, summary.levels)
        ends = [[row[name] for name in interval_columns([level])] for level in summary.levels]
        is_champion = row["rung"] == CHAMPION
        texts.append(
            {
                "name": row["unique_id"],
                "parts": total_label(report.n_children.get(row["unique_id"])),
                "unit": number_format.unit,
                "week": None if week == newest else week,
                "fallback": "" if is_champion else model_label(row["model"], row["rung"]),
                "next": number_format.text(row["y_hat"]),
                "override": _override_text(row),
                "change": number_format.signed(row["y_hat"] - row["last_y"]),
                "intervals": [number_format.range(low, high) for low, high in ends],
                "last": number_format.text(row["last_y"]),
                "published": number_format.text(row["was_y_hat"]),
                "miss": format_miss(row["miss"], number_format),
                "outcome": outcome,
                "plain_outcome": plain_words.outcome_words(row, summary.levels),
                "look": summary.reasons[i],
                "url": series_url(row["unique_id"]),
                "is_outside": outcome.startswith("outside"),
                "surprise": MISSING if np.isnan(row["surprise"]) else f"{row['surprise']:.1f}",
            }
        )
    return texts


def _override_text(row: Mapping[Any, Any]) -> str:
    """Return a person's number for the week, and whose it is; empty without any."""
    if not is_overridden(row):
        return ""
    return f"{given_number(row)} by {row['override_by']}"


def _charts(report: WeeklyReport, summary: Summary, rows: Sequence[Context]) -> list[Context]:
    """Return a fan chart for each shown row."""
    ids, is_next = summary.shown["unique_id"], report.accuracy["h"] == 1
    past, forecast, published = (
        plots.by_series(frame[frame["unique_id"].isin(ids)])
        for frame in (report.series, report.forecast.sort_values("h"), report.accuracy[is_next])
    )
    charts = []
    for row, number_format in zip(rows, summary.shown["format"], strict=True):
        name = row["name"]
        chart = plots.fan_chart(
            past[name],
            forecast[name],
            published.get(name, report.accuracy.head(0)),
            levels=report.levels,
            level=summary.levels[0],
            number_format=number_format,
            excluded=periods_of(name, report.excluded),
        )
        title = f"{name}: {row['last']} last week, {row['next']} forecast"
        shown = {"name": name, "parts": row["parts"], "unit": row["unit"]}
        charts.append({**shown, "svg": chart.svg(title=title)})
    return charts


def _weeks_ahead(report: WeeklyReport, summary: Summary) -> list[Context]:
    """Return the forecasts of each shown row by week, with the narrowest displayed interval."""
    rows = report.forecast[report.forecast["h"] <= MAX_WEEKS_AHEAD].sort_values("h")
    ids, columns = summary.shown["unique_id"], interval_columns(summary.levels[:1])
    rows_by_id = plots.by_series(rows[rows["unique_id"].isin(ids)])
    return [
        {
            "name": name,
            "weeks": [
                (ds.date(), number_format.text(y_hat), number_format.range(low, high))
                for ds, y_hat, low, high in rows_by_id[name][["ds", "y_hat", *columns]].to_numpy()
            ],
        }
        for name, number_format in zip(ids, summary.shown["format"], strict=True)
    ]


def _models(report: WeeklyReport, *, is_long: bool) -> Context:
    """Return the chosen models, the leaderboard and the failures."""
    first = report.forecast.drop_duplicates("unique_id")
    labels = [model_label(*pair) for pair in zip(first["model"], first["rung"], strict=True)]
    used = first.reindex(columns=["unique_id", "members", "reason"]).assign(used=labels)
    used = used.rename(columns={"reason": "why_used"})
    choices = report.best_model.merge(used, on="unique_id").replace({np.nan: None})
    switches = choices[choices["switched"].astype(bool)]
    failures = narrative.model_failures(report.metrics)
    left_out = narrative.models_left_out(report.metrics)
    ranked = leaderboard(report.metrics, metric=report.metric)
    n_chosen = report.best_model["model"].value_counts()
    is_too_few = report.metrics["status"] == TOO_FEW
    too_few = report.metrics.loc[is_too_few, "unique_id"].unique()
    return {
        "totals": narrative.totals_sentence(report.forecast, report.n_children),
        "choices": [] if is_long else choices.to_dict("records"),
        "switches": switches.head(MAX_ROWS).to_dict("records"),
        "n_switches": len(switches),
        "n_by_model": choices["used"].value_counts().to_dict(),
        "metric": report.metric.upper(),
        "leaderboard": [
            {
                **row,
                "score": format_score(row[report.metric], report.metric),
                "n_chosen": n_chosen.get(row["model"], 0),
            }
            for row in ranked.to_dict("records")
        ],
        "n_compared": int(ranked["n_compared"].max()) if len(ranked) else 0,
        "failures": failures[:MAX_ROWS],
        "n_failures": len(failures),
        "left_out": [
            {**group, "models": format_list(group["models"])} for group in left_out[:MAX_REASONS]
        ],
        "n_left_out": len(left_out),
        "regressors": narrative.regressors_sentence(report),
        "few_folds": narrative.few_folds(report.series, report.metrics, report.n_windows),
        "n_too_few": len(too_few),
        "too_few": format_list(map(narrative.bidi_isolate, too_few), limit=narrative.MAX_NAMES),
    }


def _revisions(report: WeeklyReport, summary: Summary) -> Context:
    """Return what is known of revisions, and the newest values that were corrected for them."""
    rows = summary.rows
    # An earlier release did not write the column.
    corrected = rows[rows["last_corrected"].notna()] if "last_corrected" in rows else rows.head(0)
    texts = [
        {
            "name": row["unique_id"],
            "published": row["format"].text(row["last_published"]),
            "corrected": row["format"].text(row["last_corrected"]),
        }
        for row in corrected.head(MAX_ROWS).to_dict("records")
    ]
    differing = [text for text in texts if text["published"] != text["corrected"]]
    return {
        "revisions": narrative.revisions_sentence(report.metrics),
        "corrected": differing,
        "n_corrected": len(differing) + len(corrected) - len(texts),
    }


def _data(report: WeeklyReport) -> Context:
    """Return the extent of the series, the late ones, and the findings about the data."""
    lengths = report.series.groupby("unique_id").size()
    late = narrative.late_series(report.series)
    findings = with_policy(report.findings, "hold", "warn")
    return {
        "first": report.series["ds"].min().date(),
        "newest": report.series["ds"].max().date(),
        "shortest": int(lengths.min()),
        "median": int(lengths.median()),
        "longest": int(lengths.max()),
        "excluded": [f"{period.text}: {period.reason}" for period in report.excluded],
        "late": late.head(MAX_ROWS).to_dict("records"),
        "n_late": len(late),
        "findings": [_finding_text(finding) for finding in findings[:MAX_FINDINGS]],
        "n_findings": len(findings),
    }


def _finding_text(finding: Finding) -> str:
    """Return what was found, and whether it was accepted: else the data would not be published."""
    accepted = " It held the data back, and was accepted." if finding.policy == "hold" else ""
    return f"{finding.message}{accepted}"
