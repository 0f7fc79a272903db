"""Build the pages that are derived from the store: the index of all weeks, and the series' pages.

Which weeks and which tables they show: `stored_weeks`. Writing them belongs to
`storage.report_files`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.reporting import overview
from forecast_assets.reporting.render import all_rows_json, render_page, template_source
from forecast_assets.reporting.series_pages import SERIES_PER_FILE, series_files, to_script_json
from forecast_assets.reporting.summary import WeeklyReport


@dataclass(frozen=True)
class ReportedWeek:
    """A report that was written; `file` is its first page, below the folder of the reports.

    `note` says why it does not count, where it does not; `edited` lists the files that are not as
    they were written.
    """

    week: date
    as_of: datetime
    file: str
    note: str = ""
    edited: Sequence[str] = ()

    @property
    def is_valid(self) -> bool:
        """Tell whether the report counts."""
        return not self.note


def build_site(report: WeeklyReport | None, weeks: Sequence[ReportedWeek]) -> dict[str, str]:
    """Return the derived files by name; `report` is of the newest week that counts, if any does."""
    files: dict[str, str] = {}
    head: dict[str, Any] = {"seriesPerFile": SERIES_PER_FILE}
    values: dict[str, Any] = {"newest": None, "n_series": 0}
    rows, outcomes = "null", dict[date, str]()
    if report is not None:
        summary = overview.summarize(report)
        rows = all_rows_json(summary)
        outcomes = _outcomes(report, summary.levels[0])
        files |= series_files(report, summary.rows, summary.reasons, summary.levels)
        newest = next((week for week in _newest_first(weeks) if week.is_valid), None)
        head |= {
            "report": newest.file if newest else "",
            "as_of": f"{report.forecast['as_of'].iloc[0]:%Y-%m-%d %H:%M} UTC",
        }
        values = {
            "expected": summary.expected,
            "sure": summary.sure,
            "newest": newest,
            "n_series": len(summary.rows),
            "n_look": sum(map(bool, summary.reasons)),
        }
    data = f"{template_source('site_data.js')}forecastAssets.head = {to_script_json(head)};\n"
    files["series/index.js"] = f"{data}forecastAssets.rows = {rows};\n"
    scripts = ["numbers.js", "series_chart.js", "series.js"]
    files["series.html"] = render_page("series.html", scripts, is_site=True)
    scripts = ["numbers.js", "table.js", "index.js"]
    values["weeks"] = _rows(weeks, outcomes)
    files["index.html"] = render_page("index.html", scripts, is_site=True, **values)
    return files


def _newest_first(weeks: Sequence[ReportedWeek]) -> list[ReportedWeek]:
    return sorted(weeks, key=lambda week: (week.week, week.as_of), reverse=True)


def _rows(weeks: Sequence[ReportedWeek], outcomes: Mapping[date, str]) -> list[dict[str, Any]]:
    """Return the rows of the index; of a week's reports that count, only the newest one does."""
    rows, seen = [], set[date]()
    for week in _newest_first(weeks):
        is_current = week.is_valid and week.week not in seen
        replaced = "" if is_current or not week.is_valid else "replaced by a later report"
        edited = f"edited after it was written: {', '.join(week.edited)}" if week.edited else ""
        rows.append(
            {
                "week": week.week,
                "as_of": week.as_of,
                "file": week.file,
                "is_valid": week.is_valid,
                "notes": list(filter(None, [week.note, replaced, edited])),
                "outcome": outcomes.get(week.week, "") if is_current else "",
            }
        )
        seen |= {week.week} if is_current else set()
    return rows


def _outcomes(report: WeeklyReport, level: float) -> dict[date, str]:
    """Say, for each week that is over, how many values were in the likely range."""
    name = f"in_{column_suffix(level)}"
    rows = report.accuracy[(report.accuracy["h"] == 1) & report.accuracy[name].notna()]
    counts = rows[name].astype(bool).groupby(rows["ds"]).agg(["sum", "size"])
    return {ds.date(): f"{inside:,} of {n:,}" for ds, inside, n in counts.itertuples(name=None)}
