"""Read a published week from the store as a report, and list all reports that were written.

Rendering them does not belong here: see `render` and `site`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.hierarchy import count_children
from forecast_assets.data.quality.stored_versions import findings_of
from forecast_assets.data.weekly import with_is_filled
from forecast_assets.errors import StoreError, format_list
from forecast_assets.forecasting.live_accuracy import check_accuracy
from forecast_assets.forecasting.twins import twins_of
from forecast_assets.reporting.render import render
from forecast_assets.reporting.site import ReportedWeek, build_site
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.report_files import REPORTS, edited_files, write_derived
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, target_week
from forecast_assets.storage.versions import newest, valid_versions, withdrawn_versions
from forecast_assets.storage.withdrawals import drop_withdrawn, read_withdrawals, withdrawal_of_week

REPORT = "weekly_report"
PAGE = "report.html"
TABLES = (FORECAST, "series", "best_model", "metrics", "forecast_accuracy")


def compose(
    store: Store,
    settings: Settings,
    tables: Mapping[str, pd.DataFrame],
    sources: Mapping[str, Commit],
) -> WeeklyReport:
    """Return the report of a week: the rows of its tables by name, and their versions.

    The levels are those of the forecast, as the settings may have changed since.
    """
    forecast, series = tables[FORECAST], tables["series"]
    levels = [float(name[3:]) for name in map(str, forecast) if name.startswith("lo_")]
    accuracy = drop_withdrawn(store, tables["forecast_accuracy"])
    withdrawal = withdrawal_of_week(store, series["ds"].max().date())
    source = sources[FORECAST]
    return WeeklyReport(
        forecast=forecast,
        series=series,
        best_model=tables["best_model"],
        metrics=tables["metrics"],
        accuracy=accuracy,
        accuracy_check=check_accuracy(accuracy, series, levels=levels),
        levels=levels,
        metric=settings.selection.metric,
        n_windows=settings.backtest.n_windows,
        run_id=source.run_id,
        units=settings.series.units,
        findings=findings_of(store, sources["series"], settings),
        made_from=f"{FORECAST} {source.version}, made from {source.made_from}",
        withdrawn=withdrawal.text if withdrawal else "",
        excluded=settings.series.excluded,
        n_children=count_children(series),
        twins=twins_of(tables["metrics"]["model"].unique(), settings),
        benchmarks=tuple(settings.benchmark),
    )


@dataclass(frozen=True)
class WrittenPages:
    """The pages of a week: their texts by name, their rows of weekly_report, and what went wrong.

    There are no rows where the pages could not be written.
    """

    texts: Mapping[str, str]
    files: pd.DataFrame
    problems: Sequence[str]


def write_pages(
    store: Store,
    settings: Settings,
    week: WeeklyReport,
    *,
    folder: str,
    as_of: datetime,
    now: datetime,
    has_site: bool = True,
) -> WrittenPages:
    """Write the pages of a run's week to a folder below `var`, and then those of the site.

    What cannot be written is a problem and no error, as the forecast is published by then.
    """
    texts = render(week, site="../" if has_site else "")
    try:
        files = store.write_report_files(folder, texts)
    except StoreError as error:
        return WrittenPages(texts, store.tables[REPORT].empty(), [str(error)])
    problems = []
    if has_site:
        page = f"{Path(folder).name}/{PAGE}"
        own = ReportedWeek(target_week(week.forecast), as_of, page)
        try:
            weeks = rebuild_site(store, settings, now=now, own=(own, week))
            edited = [file for reported in weeks for file in reported.edited]
            problems = [_edited_text(edited)] if edited else []
        except StoreError as error:
            problems = [f"{error} `forecast-assets site` then writes the index of all weeks."]
    return WrittenPages(texts, files, problems)


def read_week(store: Store, settings: Settings, report: Commit) -> WeeklyReport:
    """Return what a version of `weekly_report` was made from, as a report. Raises StoreError."""
    sources = {source.asset: store.commit(source) for source in report.inputs}
    if missing := [name for name in TABLES if name not in sources]:
        raise StoreError(
            f"Version {report.version} of {REPORT} does not record which {format_list(missing)} it"
            f" was made from, so the pages of the series cannot be built. Run the week again."
        )
    tables = {name: store.read([sources[name]]) for name in TABLES}
    tables["series"] = with_is_filled(tables["series"], settings)
    return compose(store, settings, tables, sources)


def rebuild_site(
    store: Store,
    settings: Settings,
    *,
    now: datetime,
    own: tuple[ReportedWeek, WeeklyReport] | None = None,
) -> list[ReportedWeek]:
    """Write the index and the pages of the series, of the newest week that counts.

    `own` is the report of a run that has not recorded it yet. Returns the weeks of the index.
    Raises StoreError.
    """
    weeks = reported_weeks(store, now=now)
    last = newest(valid_versions(store, REPORT, as_of=now))
    if own and (last is None or own[0].as_of >= last.as_of):
        week: WeeklyReport | None = own[1]
    else:
        week = None if last is None else read_week(store, settings, last)
    if own:
        weeks = [*(reported for reported in weeks if reported.file != own[0].file), own[0]]
    write_derived(store, build_site(week, weeks))
    return weeks


def reported_weeks(store: Store, *, now: datetime) -> list[ReportedWeek]:
    """Return every recorded report, with what a reader must know about it.

    A report is found by its folder, whose name holds the week and the first digits of the run.
    """
    withdrawn, reasons = withdrawn_versions(store), {r.at: r for r in read_withdrawals(store)}
    folders = {
        path.name.rpartition("_")[2]: path.name
        for path in sorted((store.var / REPORTS).glob("????-??-??_*"))
    }
    weeks = []
    for commit in {commit.run_id: commit for commit in store.history(REPORT)}.values():
        folder = folders.get(commit.run_id[:8])
        if folder is None:
            continue
        note = ""
        if commit.as_input in withdrawn:
            row = reasons[withdrawn[commit.as_input].as_of]
            note = f"withdrawn by {row.by} on {row.at.date()}: {row.reason}"
        elif commit.as_of > now:
            note = "does not count: it is as of a future time"
        week, edited = date.fromisoformat(folder[:10]), edited_files(store, commit, folder)
        weeks.append(ReportedWeek(week, commit.as_of, f"{folder}/{PAGE}", note, edited))
    return weeks


def _edited_text(files: Sequence[str]) -> str:
    n, verb = len(files), "was" if len(files) == 1 else "were"
    return (
        f"{n} page{'s' * (n > 1)} {verb} edited after the report was written: {format_list(files)}."
        " The index marks the week. Restore the file from a back-up, or delete its folder."
    )
