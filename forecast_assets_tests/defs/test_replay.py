"""Past weeks again: on what was known then, in a store of their own, without disturbing anyone."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.report_settings import ReportSettings
from forecast_assets.config.settings import BacktestSettings, Settings
from forecast_assets.defs import replay as replaying
from forecast_assets.defs import runs
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.launcher import replay_weeks
from forecast_assets.defs.replay import ReplayPlan, find_week
from forecast_assets.errors import DataError, SettingsError
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.columns import MOVED
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS, DATA_FINDINGS, TABLES
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.store_builders import make_commit, make_forecast

FIRST_MONDAY = datetime(2024, 1, 8, tzinfo=UTC)
N_WEEKS = 30
Y = {"a": walk(N_WEEKS, seed=1), "b": walk(N_WEEKS, seed=2)}
# What a replay of a week and its run write alike.
COMPARED = ("raw_data", "series", "backtest_predictions", "metrics", "next_week_forecast")
# When a run computed a row, and how long that took.
VOLATILE = {"made_at", "fit_seconds"}


def monday(week: int) -> datetime:
    """Return the tick after a week, counted from the first one."""
    return FIRST_MONDAY + timedelta(weeks=week)


def published_rows() -> pd.DataFrame:
    """Return weeks that are published on Sunday at 0.8 of their value, and whole a week later."""
    rows = make_series(**Y)[["unique_id", "ds", "y"]]
    first = rows.assign(y=0.8 * rows["y"], published=rows["ds"] + pd.Timedelta(days=2))
    whole = rows.assign(published=rows["ds"] + pd.Timedelta(days=9))
    return pd.concat([first, whole], ignore_index=True)


def make_settings(folder: Path, rows: pd.DataFrame, **tables: Mapping[str, Any]) -> Settings:
    """Return the settings of a source that says when its rows were published."""
    folder.mkdir(exist_ok=True)
    path = folder / "published.csv"
    rows.to_csv(path, index=False)
    source = {"kind": "file", "path": str(path), "published": "published"}
    small = {"models": {"enabled": ["naive", "window_average"]}, "backtest": {"n_windows": 6}}
    return week_settings(folder, make_series(**Y), **{"source": source, **small, **tables})


def write_dated(folder: Path, weeks: pd.DataFrame, week: int, *, until: int) -> None:
    """Write the file of the tick after a week, with the weeks before another tick."""
    known = weeks[weeks["ds"] < monday(until).replace(tzinfo=None)]
    days = known["ds"].dt.strftime("%Y-%m-%d")
    path = folder / f"{monday(week):%Y-%m-%d}.csv"
    known.assign(ds=days).to_csv(path, columns=["unique_id", "ds", "y"], index=False)


def replay(settings: Settings, first: int, last: int, **options: Any) -> Store:
    """Replay the ticks after two weeks and those between, without output."""
    plan = ReplayPlan(monday(first), monday(last), **options)
    return replay_weeks(settings, plan, write_line=options.get("write_line", lambda _: None))


def tables(store: Store, as_of: datetime, *others: str) -> dict[str, pd.DataFrame]:
    """Return the tables of a replayed week, with some others."""
    found = {}
    for asset in (*COMPARED, *others):
        commits = [commit for commit in store.history(asset) if commit.as_of == as_of]
        frame = store.read(commits)
        found[asset] = frame.drop(columns=[name for name in VOLATILE if name in frame])
    return found


@pytest.fixture(autouse=True)
def _own_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@dataclass(frozen=True)
class Replayed:
    """Two replayed weeks, the second after the first, and what the second replay printed.

    `slept` are the seconds that the second replay waited for weeks of the present.
    """

    settings: Settings
    store: Store
    lines: list[str]
    slept: list[float]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Replay two weeks, one and then both: only look at them."""
    settings = make_settings(tmp_path_factory.mktemp("replayed"), published_rows())
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        replay(settings, 24, 24)
    lines, slept = list[str](), list[float]()
    reasons = iter(["the week is due", "the run is in progress"])
    store = replaying.replay(
        settings,
        ReplayPlan(monday(24), monday(25)),
        build_job=lambda s, i: build_defs(s, i).resolve_job_def("weekly_forecast"),
        write_line=lines.append,
        find_week=lambda: next(reasons, None),
        sleep=slept.append,
    )
    return Replayed(settings, store, lines, slept)


def changed_after(rows: pd.DataFrame, tick: datetime) -> pd.DataFrame:
    """Change what was published after a tick: multiply, remove and add rows, and a new series."""
    is_later = rows["published"] > tick.replace(tzinfo=None)
    known, later = rows[~is_later], rows[is_later]
    kept = later.assign(y=-3.7 * later["y"]).iloc[1::2]  # the others are removed
    at = later["published"].min() + pd.Timedelta(hours=1)
    rewritten = known.drop_duplicates(["unique_id", "ds"]).assign(published=at)
    rewritten["y"] *= np.linspace(0.1, 10, len(rewritten))
    other = rewritten[rewritten["unique_id"] == "a"].assign(unique_id="z")
    wrong = later.iloc[:4:2].assign(y=["n/a", "1e300"])
    return pd.concat([other, rewritten, kept, wrong, known], ignore_index=True)


def everything_of(store: Store, as_of: datetime) -> dict[str, pd.DataFrame]:
    """Return every table of a replayed week, and the files of its report by their names."""
    found = {}
    for asset in TABLES:
        commits = [commit for commit in store.history(asset) if commit.as_of == as_of]
        if commits:
            frame = store.read(commits)
            found[asset] = frame.drop(columns=[name for name in VOLATILE if name in frame])
    files = found["weekly_report"]["file"]
    found["pages"] = pd.DataFrame({"text": [(store.var / file).read_text() for file in files]})
    return found


def made_forecasts() -> pd.DataFrame:
    """Return forecasts of each week that others made on the two Sundays before it."""
    rows = make_series(**Y)[["unique_id", "ds", "y"]].rename(columns={"y": "y_hat"})
    both = [rows.assign(made_on=rows["ds"] - pd.Timedelta(days=days)) for days in (12, 5)]
    both[0]["y_hat"] += 1.0
    return pd.concat(both, ignore_index=True)


def remade_after(forecasts: pd.DataFrame, tick: datetime) -> pd.DataFrame:
    """Change forecasts that were made after a tick, and add newer ones of every week ahead."""
    later = forecasts["made_on"] > tick.replace(tzinfo=None)
    changed = forecasts.assign(y_hat=forecasts["y_hat"].mask(later, -2.3 * forecasts["y_hat"]))
    at = pd.Timestamp(tick.replace(tzinfo=None)) + pd.Timedelta(seconds=1)
    ahead = forecasts[forecasts["ds"] > at].assign(made_on=at, y_hat=99.0)
    return pd.concat([ahead, changed]).drop_duplicates(["unique_id", "ds", "made_on"])


def test_what_was_published_after_a_tick_changes_no_number_of_it(tmp_path: Path):
    """The whole graph: every table with all partitions, and every file of the report.

    The same holds for forecasts that others made after the tick.
    """
    rows, small = published_rows(), {"horizon": 2, "n_windows": 6}
    models = {"enabled": ["naive", "drift", "pooled_growth"]}
    tables = {"backtest": small, "models": models, "compute": {"workers": 1}}
    theirs = tmp_path / "planner.csv"
    planner = {"planner": {"kind": "file", "path": str(theirs), "use": True}}
    made_forecasts().to_csv(theirs, index=False)
    settings = make_settings(tmp_path, rows, **tables, benchmark=planner)
    source = settings.source.model_copy(update={"on_bad_rows": "quarantine"})
    settings = settings.model_copy(update={"source": source})
    before = replay(settings, 15, 17)
    # The same source and settings give the runs the same ids, which pages and paths contain.
    make_settings(tmp_path, changed_after(rows, monday(16)), **tables)
    remade_after(made_forecasts(), monday(16)).to_csv(theirs, index=False)
    again = replay(settings.model_copy(update={"var": tmp_path / "again"}), 15, 17)
    for as_of in (monday(15), monday(16)):
        first, second = everything_of(before, as_of), everything_of(again, as_of)
        expected = {*ASSETS, DATA_FINDINGS, BENCHMARK_FORECASTS, "pages"}
        assert first.keys() == second.keys() == expected
        for name, frame in first.items():
            pd.testing.assert_frame_equal(frame, second[name], check_exact=True, obj=name)
    assert set(first["backtest_predictions"]["model"]) == {*models["enabled"], "planner"}
    assert first["forecast_accuracy"]["planner_error"].notna().all()
    pages = first["pages"]["text"]
    assert pages.str.contains("with forecasts of planner, our errors were").any()
    statuses = first["metrics"].query("model == 'planner'")["status"]
    assert set(statuses) == {"scored"}
    members = first["next_week_forecast"][["model", "members"]].astype(str).agg(" ".join, axis=1)
    assert members.str.contains("planner").any()
    first, second = everything_of(before, monday(17)), everything_of(again, monday(17))
    assert not [name for name, frame in first.items() if frame.equals(second[name])]


def test_a_tick_knows_its_vintage_and_corrects_it(replayed: Replayed):
    found = tables(replayed.store, monday(25))
    newest = found["series"].groupby("unique_id")["y"].last()
    assert newest.to_dict() == pytest.approx({name: 0.8 * y[25] for name, y in Y.items()})
    forecast = found["next_week_forecast"].set_index("unique_id")
    assert forecast["last_published"].to_dict() == newest.to_dict()
    assert forecast["last_corrected"].to_dict() == pytest.approx({n: y[25] for n, y in Y.items()})
    assert set(found["metrics"]["vintage_share"]) == {1.0}
    naive = found["backtest_predictions"].query("model == 'naive' and unique_id == 'a'")
    assert naive["y_hat"].tolist() == pytest.approx(Y["a"][19:25])


def test_without_vintages_a_tick_knows_its_own_data_alone(tmp_path: Path):
    settings = make_settings(tmp_path, published_rows())
    found = tables(replay(settings, 25, 25, has_vintages=False), monday(25))
    assert found["raw_data"]["published"].isna().all()
    assert not found["raw_data"].duplicated(["unique_id", "ds"]).any()
    assert found["metrics"]["vintage_share"].isna().all()
    forecast = found["next_week_forecast"]
    assert forecast["last_corrected"].isna().all()
    naive = found["backtest_predictions"].query("model == 'naive' and unique_id == 'a'")
    assert naive["y_hat"].tolist() == pytest.approx(Y["a"][19:25])


def test_a_replayed_week_equals_the_week_as_it_was_published(
    tmp_path: Path, instance: dg.DagsterInstance
):
    weeks = make_series(**Y)
    path = tmp_path / "source.csv"
    source = {"kind": "file", "path": str(path)}
    small = {"models": {"enabled": ["naive", "window_average"]}, "backtest": {"n_windows": 3}}
    theirs, made = tmp_path / "planner.csv", made_forecasts()
    small["benchmark"] = {"planner": {"kind": "file", "path": str(theirs)}}
    settings = week_settings(tmp_path, weeks, source=source, **small)
    for week in range(23, 26):
        is_of_week = made["made_on"].between(
            *(monday(w).replace(tzinfo=None) for w in (week - 1, week))
        )
        made[is_of_week].to_csv(theirs, index=False)  # it holds the newest ones only
        is_known = weeks["ds"] < monday(week).replace(tzinfo=None)
        is_newest = weeks["ds"] > monday(week - 1).replace(tzinfo=None)
        y = weeks["y"].where(~is_newest, 0.8 * weeks["y"])  # the next fetch revises it
        days = weeks["ds"].dt.strftime("%Y-%m-%d")
        known = weeks.assign(y=y, ds=days)[is_known]
        known.to_csv(path, columns=["unique_id", "ds", "y"], index=False)
        as_of = {runs.AS_OF_TAG: monday(week).isoformat(), runs.ACCEPT_TAG: runs.ACCEPTED}
        assert run_week(settings, instance, **as_of).success
    path.unlink()  # a replay does not fetch what it has
    made[is_of_week].assign(y_hat=-1.0).to_csv(theirs, index=False)  # the weeks saw another value
    store = replay(settings, 24, 25)
    for week in (24, 25):
        published, replayed = (
            tables(each, monday(week), BENCHMARK_FORECASTS)
            for each in (build_store(settings), store)
        )
        assert len(published[BENCHMARK_FORECASTS]) == 4 * (week - 22)
        for asset, frame in published.items():
            # The first week of a replay has no forecast before it that would have moved.
            moved = [c.name for c in MOVED if week == 24 and c.name in frame]
            pd.testing.assert_frame_equal(
                frame.drop(columns=moved), replayed[asset].drop(columns=moved), check_exact=True
            )
    assert replayed["metrics"]["vintage_share"].tolist() == [2 / 3] * len(replayed["metrics"])


def test_a_replay_goes_on_where_it_was(replayed: Replayed):
    settings, store, lines = replayed.settings, replayed.store, replayed.lines
    assert lines[0] == "1 of 2 weeks are replayed already."
    assert [line.split(";")[0] for line in lines[2:]] == [
        f"1 of 1: the week as of {monday(25):%Y-%m-%d %H:%M} UTC"
    ]
    assert [commit.as_of for commit in store.history("weekly_report")] == [monday(24), monday(25)]
    reports = [*(settings.var / "replay/reports").iterdir()]
    assert len(reports) == 2
    assert not (settings.var / "store").exists()
    with pytest.raises(SettingsError, match="holds 2 weeks after 2024-06-17: as of 2024-06-24"):
        replay(settings, 23, 25)


@pytest.mark.usefixtures("user_models")
def test_what_a_week_forecast_live_is_the_fold_of_the_weeks_after_it(tmp_path: Path):
    """Each week computes one fold of each series: its own forecast."""
    models = {"enabled": ["naive", "mine"], "mine": {"factory": "user_models:Anchored"}}
    rule = {"policy": "combination"}
    settings = make_settings(tmp_path, published_rows(), models=models, selection=rule)
    n_folds = []
    for week in (24, 25):
        replay(settings, week, week)
        (file,) = (settings.var / "fold_cache").glob("mine-*.sqlite")
        with closing(sqlite3.connect(file)) as connection:
            n_folds += connection.execute("SELECT count(*) FROM fold").fetchone()
    assert n_folds == [14, 16]


def test_a_replay_goes_on_where_another_url_of_the_reports_is_set(replayed: Replayed):
    report = ReportSettings(url="https://forecast.example.org")
    replay(replayed.settings.model_copy(update={"report": report}), 24, 25)


def test_a_replay_with_other_settings_is_refused(replayed: Replayed):
    settings = replayed.settings
    other = settings.model_copy(update={"backtest": BacktestSettings(n_windows=5)})
    with pytest.raises(SettingsError, match="holds 2 weeks that were replayed with other settings"):
        replay(other, 24, 25)
    with pytest.raises(SettingsError, match="Nothing was replayed, because their errors cannot"):
        replay(settings, 24, 25, has_vintages=False)


def test_the_store_of_the_published_weeks_is_refused(tmp_path: Path):
    settings = make_settings(tmp_path, published_rows())
    with pytest.raises(SettingsError, match="which holds the weeks as they were published"):
        replay(settings, 24, 25, store=settings.store_uri)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (monday(24) + timedelta(hours=1), monday(24) + timedelta(days=1), "has no tick from"),
        (monday(24), datetime(2100, 1, 1, tzinfo=UTC), "is in the future"),
    ],
)
def test_times_without_a_past_tick_are_refused(
    first: datetime, last: datetime, message: str, tmp_path: Path
):
    settings = make_settings(tmp_path, published_rows())
    with pytest.raises(SettingsError, match=message):
        replay_weeks(settings, ReplayPlan(first, last), write_line=lambda _: None)


def test_every_chooses_ticks_that_are_so_many_weeks_apart(tmp_path: Path):
    daily = {"cron": "0 6 * * *", "timezone": "Europe/Vienna"}
    settings = make_settings(tmp_path, published_rows(), schedule=daily)
    spring = ReplayPlan(datetime(2024, 3, 20, tzinfo=UTC), datetime(2024, 4, 20, tzinfo=UTC))
    assert [f"{tick:%m-%d %H}" for tick in spring.ticks(settings)] == [
        "03-20 05", "03-27 05", "04-03 04", "04-10 04", "04-17 04",
    ]  # fmt: skip
    assert replaying.parse_weeks("4w") == 4
    for text in ("4", "w", "0w", "4d"):
        with pytest.raises(SettingsError, match="which is not a number of weeks"):
            replaying.parse_weeks(text)


def test_weeks_without_a_vintage_are_named_or_use_the_nearest(tmp_path: Path):
    settings = week_settings(tmp_path, make_series(**Y), models={"enabled": ["naive"]})
    with pytest.raises(DataError, match=r"2 of 2 ticks have no vintage: .* as of 2024-06-24"):
        replay(settings, 24, 25)
    store = replay(settings, 24, 24, missing_vintage="nearest")
    found = tables(store, monday(24))
    assert found["series"]["ds"].max() < monday(24).replace(tzinfo=None)
    assert found["metrics"]["vintage_share"].isna().all()


def test_weeks_before_the_first_publication_are_named(tmp_path: Path):
    settings = make_settings(tmp_path, published_rows())
    text = r"2 of 4 ticks have no vintage: .* until 2023-12-25 00:00, 2024-01-01 00:00 UTC.*--from"
    with pytest.raises(DataError, match=text):
        replay(settings, -2, 1)


def test_a_vintage_that_knows_the_future_is_refused_with_its_rows(tmp_path: Path):
    weeks = make_series(**Y)
    write_dated(tmp_path, weeks, 24, until=24)
    write_dated(tmp_path, weeks, 25, until=26)
    source = {"kind": "file", "path": str(tmp_path / "{as_of}.csv")}
    settings = week_settings(tmp_path, weeks, source=source, models={"enabled": ["naive"]})
    with pytest.raises(DataError, match=r"2 of 54 rows of the dated file.*a / 2024-07-05, b"):
        replay(settings, 24, 25)
    store = build_store(settings.model_copy(update={"var": settings.var / "replay"}))
    assert [commit.as_of for commit in store.history("weekly_report")] == [monday(24)]
    with pytest.raises(SettingsError, match="other settings"):
        replay(settings, 23, 24, missing_vintage="nearest")


def test_a_week_without_a_dated_file_is_named_or_uses_an_earlier_one(tmp_path: Path):
    weeks = make_series(**Y)
    write_dated(tmp_path, weeks, 24, until=24)
    source = {"kind": "file", "path": str(tmp_path / "{as_of}.csv")}
    settings = week_settings(tmp_path, weeks, source=source, models={"enabled": ["naive"]})
    with pytest.raises(DataError, match="The week as of 2024-07-01 00:00 UTC has no vintage"):
        replay(settings, 25, 25, store=str(tmp_path / "fail"))
    store = replay(settings, 25, 25, missing_vintage="nearest")
    assert tables(store, monday(25))["series"]["ds"].max() < monday(24).replace(tzinfo=None)


def test_findings_that_would_hold_are_published_and_marked(tmp_path: Path):
    rows = published_rows()
    is_first = rows["published"] == rows["ds"] + pd.Timedelta(days=2)
    wild = rows.assign(y=rows["y"].mask(is_first & (rows["ds"] == "2024-06-28"), -5.0))
    settings = make_settings(tmp_path, wild)
    series = settings.series.model_copy(update={"ranges": {"*": (0.0, 1e6)}})
    settings = settings.model_copy(update={"series": series})
    store = replay(settings, 25, 25)
    findings = store.read(store.history("data_findings"))
    assert "hold" in set(findings["policy"])
    assert tables(store, monday(25))["series"]["y"].min() == -5.0


def test_a_replay_waits_while_a_week_is_due(replayed: Replayed):
    assert replayed.slept == [replaying.PAUSE_SECONDS] * 2
    assert replayed.lines[1] == "The replay waits: the week is due."
    assert replayed.lines[2].startswith("1 of 1: ")


def test_a_week_of_the_present_is_found_until_its_deadline(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    settings = make_settings(tmp_path, published_rows())
    store = build_store(settings)

    def at(time: datetime) -> str | None:
        monkeypatch.setattr(runs, "now", lambda: time)
        return find_week(settings, store, instance)

    assert at(monday(25)) is None  # nobody has used it yet
    store.write(make_forecast(), make_commit("next_week_forecast", as_of=monday(24)))
    assert at(monday(24)) is None
    assert at(monday(25) + timedelta(hours=1)) == "the week of 2024-07-01 00:00 UTC is due"
    assert at(monday(25) + timedelta(hours=7)) is None
    monkeypatch.undo()
    tags = {runs.WEEK_TAG: runs.WHOLE_WEEK}
    run = instance.create_run_for_job(
        build_defs(settings).resolve_job_def("weekly_forecast"), tags=tags,
        status=dg.DagsterRunStatus.STARTED,
    )  # fmt: skip
    assert find_week(settings, store, instance) == f"the run {run.run_id[:8]} is in progress"


def test_the_job_replays_and_keeps_out_of_the_way(tmp_path: Path, instance: dg.DagsterInstance):
    settings = make_settings(tmp_path, published_rows())
    job = build_defs(settings).resolve_job_def("replay")
    given = {"from": monday(24).isoformat(), "to": monday(24).isoformat()}
    config = {"ops": {"replay_weeks": {"config": given}}}
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert result.success
    logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert any("1 of 1: the week as of 2024-06-24 00:00 UTC" in line for line in logged)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_runtime"] == "0"
    assert not {runs.WEEK_TAG, runs.RANGE_START_TAG} & run.tags.keys()
    assert not runs.is_project_run(run)
    assert [*instance.get_run_ids()] == [result.run_id]
    assert len(replay(settings, 24, 24).history("weekly_report")) == 1  # the same replay
