"""What each fold sees: the vintage of its tick, and its newest values corrected."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.chunk import ChunkResult
from forecast_assets.backtesting.executor import run_closed_form
from forecast_assets.backtesting.fitting import run_unit
from forecast_assets.backtesting.folds import SeriesFolds, latest_folds, plan
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest, ModelJob
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.vintage_folds import (
    History,
    KnownValues,
    LatestValue,
    with_correction,
    with_vintages,
)
from forecast_assets.config.settings import Settings
from forecast_assets.data.vintages import Vintage, digest_values
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.misbehaving_models import user_model
from forecast_assets_tests.worker_builders import cache_folder

pytestmark = pytest.mark.usefixtures("user_models")

N_WEEKS, N_WINDOWS = 40, 8
Y = {"a": walk(N_WEEKS, seed=1), "b": walk(N_WEEKS, seed=2)}
FIRST_TICK = datetime(2024, 1, 8, tzinfo=UTC)  # a Monday, after FIRST_WEEK
MODELS_OF_EACH_KIND = {
    "closed form": MODELS["naive"],
    "refitted": MODELS["ses"],
    "updated": replace(MODELS["theta"], refit_every=5),
    "global": user_model("Pooled", refit_every=4),
}


def tick(week: int) -> datetime:
    """Return the tick of a week, counted from the first one."""
    return FIRST_TICK + timedelta(weeks=week)


def known(n: int, factors: Sequence[float] = (0.5, 0.9), **ys: Sequence[float]) -> pd.DataFrame:
    """Return n weeks, the newest ones times these factors: they are incomplete at first."""
    values = {name: np.array(y[:n], dtype=float) for name, y in (ys or Y).items()}
    for y in values.values():
        newest = len(factors[:n])
        y[n - newest :] *= factors[:n][::-1]
    return make_series(**values)


def weekly_vintages(upto: int = N_WEEKS - 1, first: int = 0) -> dict[datetime, pd.DataFrame]:
    """Return the vintages of the ticks before that of a week."""
    return {tick(week): known(week + 1) for week in range(first, upto)}


def history(vintages: Mapping[datetime, pd.DataFrame], *, is_correcting: bool = False) -> History:
    """Return a history of these vintages, with a tick each Monday."""

    def ticks(weeks: Sequence[date]) -> list[datetime]:
        days = [datetime(week.year, week.month, week.day, tzinfo=UTC) for week in weeks]
        return [day + timedelta(days=3) for day in days]

    def find(_: Sequence[datetime]) -> list[Vintage]:
        return [Vintage(at, lambda frame=frame: frame) for at, frame in sorted(vintages.items())]

    return History(tick(N_WEEKS - 1), ticks, find, is_correcting)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": N_WINDOWS}, series={"season_length": 4})


def plan_with(settings: Settings, today: pd.DataFrame, past: History) -> list[SeriesFolds]:
    folds = plan(today, settings.backtest)
    return with_vintages(folds, KnownValues.of(folds, past))


def run(model: ModelSpec, planned: Sequence[SeriesFolds], settings: Settings) -> ModelBacktest:
    """Run the backtest of a model in this process."""
    request = BacktestRequest(model, planned, Panel.of(planned))
    if model.is_closed_form:
        return run_closed_form(request, settings)
    job = ModelJob(request, settings, FoldCache(cache_folder(settings)), run_id="run")
    while not job.is_done:
        chunk = job.next_chunk(n_workers=1)
        units = [run_unit(chunk.config, unit, request.panel, lambda: None) for unit in chunk.units]
        results = ChunkResult(units, {}, began=0.0, seconds=0.0)
        job.add_result(chunk, "here", results, "")
    job.save(run_id="run")
    return job.result()


def test_a_fold_sees_its_vintage_and_is_scored_on_today(settings: Settings):
    today = known(N_WEEKS)
    for item in plan_with(settings, today, history(weekly_vintages())):
        y = today.loc[today["unique_id"] == item.unique_id, "y"].to_numpy()
        assert item.vintage_ends.tolist() == item.ends.tolist()
        for end in item.ends.tolist():
            seen = known(end).query("unique_id == @item.unique_id")["y"].to_numpy()
            assert item.training(end).tolist() == seen.tolist()
        assert item.last.tolist() == [item.training(end)[-1] for end in item.ends.tolist()]
        assert item.targets(1)[:, 0].tolist() == y[item.ends].tolist()


@pytest.mark.parametrize("kind", MODELS_OF_EACH_KIND)
def test_a_fold_forecasts_what_was_forecast_from_its_vintage(kind: str, settings: Settings):
    model = MODELS_OF_EACH_KIND[kind]
    planned = plan_with(settings, known(N_WEEKS), history(weekly_vintages()))
    made = run(model, planned, settings).folds
    expected = {
        end: run(model, latest_folds(known(end)), settings).folds.y_hat[:, 0]
        for end in planned[0].ends.tolist()
    }
    assert made.is_forecast.all()
    by_series = np.array(list(expected.values())).T.reshape(-1)
    assert made.y_hat[:, 0].tolist() == by_series.tolist()
    today = run(model, plan(known(N_WEEKS), settings.backtest), settings).folds
    assert (made.y_hat != today.y_hat).any()


@pytest.mark.parametrize("kind", ["refitted", "updated", "global"])
def test_a_revision_of_history_computes_no_fold_of_a_vintage_again(kind: str, settings: Settings):
    model, past = MODELS_OF_EACH_KIND[kind], history(weekly_vintages())
    assert run(model, plan_with(settings, known(N_WEEKS), past), settings).n_fits > 0
    revised = known(N_WEEKS).assign(y=lambda rows: rows["y"] * 1.25)
    again = run(model, plan_with(settings, revised, past), settings)
    assert again.n_fits == 0
    assert again.folds.is_forecast.all()
    assert run(model, plan(revised, settings.backtest), settings).n_fits > 0


def test_without_revisions_nothing_is_patched(settings: Settings):
    weeks = {tick(week): known(week + 1, ()) for week in range(N_WEEKS - 1)}
    past = history(weeks, is_correcting=True)
    folds = plan(known(N_WEEKS, ()), settings.backtest)
    values = KnownValues.of(folds, past)
    for before, item in zip(folds, with_vintages(folds, values), strict=True):
        assert item.patches == {}
        assert item.vintage_ends.tolist() == item.ends.tolist()
        assert item.prefix_digests == before.prefix_digests
    latest = latest_folds(known(N_WEEKS, ()))
    assert with_correction(folds, latest, values) == (folds, latest)


def test_a_vintage_with_the_digest_of_today_is_not_read(settings: Settings):
    today, folds = known(N_WEEKS, ()), plan(known(N_WEEKS, ()), settings.backtest)
    past = history({tick(week): known(week + 1, ()) for week in range(N_WEEKS - 1)})

    def find(ticks: Sequence[datetime]) -> list[Vintage]:
        return [
            replace(vintage, read=refuse, digest=[*digest_values(vintage.read())][-1])
            for vintage in past.find_vintages(ticks)
        ]

    read = with_vintages(folds, KnownValues.of(folds, past))
    unread = plan_with(settings, today, replace(past, find_vintages=find))
    assert [item.vintage_ends.tolist() for item in unread] == [
        item.vintage_ends.tolist() for item in read
    ]
    assert all(not item.patches for item in unread)


def refuse() -> pd.DataFrame:
    """Fail where nothing needs to be read."""
    raise AssertionError("a vintage was read")


def test_a_fold_before_the_first_vintage_sees_today_and_is_not_marked(settings: Settings):
    first = N_WEEKS - 4
    for item in plan_with(settings, known(N_WEEKS), history(weekly_vintages(first=first))):
        assert item.vintage_ends.tolist() == [first + 1, first + 2, first + 3]
        assert set(item.patches) == {*item.vintage_ends.tolist()}


def test_the_newest_vintage_up_to_the_tick_counts(settings: Settings):
    vintages = weekly_vintages()
    week = N_WEEKS - 3
    vintages[tick(week) - timedelta(days=1)] = known(week + 1, (0.1,))
    vintages[tick(week) + timedelta(days=1)] = known(week + 1, (0.2,))
    (item, _) = plan_with(settings, known(N_WEEKS), history(vintages))
    assert item.training(week + 1)[-1] == 0.5 * Y["a"][week]


def test_a_week_that_came_late_is_seen_as_it_first_came(settings: Settings):
    vintages, week = weekly_vintages(), N_WEEKS - 3
    for at in (tick(week), tick(week + 1)):
        vintages[at] = known(week + 1, (0.4,)) if at > tick(week) else known(week, (0.5,))
    (item, _) = plan_with(settings, known(N_WEEKS), history(vintages))
    assert item.training(week + 1)[-1] == 0.4 * Y["a"][week]
    assert week + 2 not in item.vintage_ends  # it was never the newest week
    assert item.training(week + 2).tolist() == item.y[: week + 2].tolist()


def test_vintages_of_other_series_and_of_shorter_histories_fit_in(settings: Settings):
    vintages = {
        at: pd.concat([frame[frame["unique_id"] == "b"].iloc[5:], make_series(z=[1, 2])])
        for at, frame in weekly_vintages().items()
    }
    a, b = plan_with(settings, known(N_WEEKS), history(vintages))
    assert a.vintage_ends.tolist() == []
    assert b.vintage_ends.tolist() == b.ends.tolist()
    assert b.training(N_WEEKS - 1)[-1] == 0.5 * Y["b"][N_WEEKS - 2]


def test_the_newest_values_are_corrected_by_what_was_known_then(settings: Settings):
    past = history(weekly_vintages(), is_correcting=True)
    planned = plan_with(settings, known(N_WEEKS), past)
    for item in planned:
        y = np.array(Y[item.unique_id])
        for end in item.ends.tolist():
            assert item.training(end)[-2:] == pytest.approx(y[end - 2 : end])
            assert item.training(end)[:-2].tolist() == y[: end - 2].tolist()
        # Later revisions change nothing.
        revised = known(N_WEEKS).assign(y=lambda rows: rows["y"] + 7)
        again = plan_with(settings, revised, past)
        for before, after in zip(planned, again, strict=True):
            assert after.prefix_digests == before.prefix_digests


def test_the_newest_fold_is_corrected_and_says_so(settings: Settings):
    folds = plan(known(N_WEEKS), settings.backtest)
    values = KnownValues.of(folds, history(weekly_vintages(), is_correcting=True))
    planned, latest = with_correction(folds, latest_folds(known(N_WEEKS)), values)
    for past, item in zip(planned, latest, strict=True):
        y = np.array(Y[item.unique_id])
        assert past.targets(1)[-1, 0] == pytest.approx(y[-1])
        assert item.training(N_WEEKS)[-2:] == pytest.approx(y[-2:])
        assert LatestValue.of(item) == pytest.approx((0.5 * y[-1], y[-1]))
        assert np.isnan(LatestValue.of(replace(item, patches={}))).all()
    off = KnownValues.of(folds, history(weekly_vintages()))
    planned, latest = with_correction(folds, latest_folds(known(N_WEEKS)), off)
    assert all(not item.patches for item in latest)
    assert planned[0].targets(1)[-1, 0] == pytest.approx(0.5 * Y[planned[0].unique_id][-1])
