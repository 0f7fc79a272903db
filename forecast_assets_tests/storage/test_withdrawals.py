"""Withdrawn weeks: every search passes over them, nothing is lost, and a new version counts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.data.quality.stored_versions import previous_series
from forecast_assets.errors import VersionNotFoundError, VersionWithdrawnError
from forecast_assets.storage.audit import verify
from forecast_assets.storage.command_tables import WITHDRAWALS
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import find_stale
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS, FORECAST, TABLES
from forecast_assets.storage.versions import (
    newest_of_each,
    previous_versions,
    resolve_inputs,
    select,
    valid_versions,
)
from forecast_assets.storage.withdrawals import (
    Withdrawal,
    describe_future,
    drop_withdrawn,
    forecasts_as_of,
    open_withdrawals,
    read_withdrawals,
    withdraw,
    withdrawal_of_week,
)
from forecast_assets_tests.builders import AS_OF, FIRST_WEEK, make_settings
from forecast_assets_tests.store_builders import (
    WEEK,
    make_commit,
    make_forecast,
    make_row,
    make_store,
    write_whole_week,
)

LATER = AS_OF + 9 * WEEK


def take_back(store: Store, time: datetime, *, at: datetime = LATER) -> Commit:
    """Withdraw the forecasts as of a time."""
    forecasts = forecasts_as_of(store, time)
    row = Withdrawal(forecasts[0].as_of, reason="The file was wrong", by="ann", at=at)
    return withdraw(store, forecasts, row)


def two_weeks(folder: Path) -> Store:
    """Write a whole week and the next, which is withdrawn: versions 0 and 1, 0-1 and 2-3."""
    store = make_store(folder)
    write_whole_week(store, 1, 2, run_id="first")
    write_whole_week(store, 1, 2, 3, as_of=AS_OF + WEEK, run_id="second")
    take_back(store, AS_OF + WEEK)
    return make_store(folder)


def numbers(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def test_every_search_for_the_newest_version_passes_over_a_withdrawn_week(tmp_path: Path):
    store = two_weeks(tmp_path)
    for asset in ASSETS:
        expected = [0, 1] if asset == "backtest_predictions" else [0]
        assert numbers(newest_of_each(store, asset)) == expected
        assert numbers(select(store, asset)) == expected
        assert numbers(select(store, asset, as_of=LATER)) == expected
        assert numbers(valid_versions(store, asset)) == expected
        models = ["drift", "naive"] if len(expected) > 1 else None
        read = resolve_inputs(store, asset, partitions=models, runs=["new"], as_of=LATER)
        assert numbers(read) == expected
    before = previous_series(store, make_settings(tmp_path), as_of=LATER)
    assert before is not None
    assert list(before.frame["y"]) == [1, 2]
    query = {"input_asset": "metrics", "data_version": "new", "limit": 9}
    assert numbers(previous_versions(store, "best_model", before=LATER, **query)) == [0]
    assert find_stale(store, models=["drift", "naive"], as_of=LATER) is None


def test_a_withdrawn_week_keeps_its_versions(tmp_path: Path):
    store = two_weeks(tmp_path)
    assert numbers(select(store, FORECAST, version=1)) == [1]
    assert numbers(select(store, "series", run_id="second")) == [1]
    assert len(store.read(select(store, "series", version=1))) == 3
    assert [audit.problem for audit in verify(store, TABLES)] == [None] * 19
    (withdrawal,) = store.history(WITHDRAWALS)
    assert withdrawal.made_from == (
        "backtest_predictions 2-3, best_model 1, forecast_accuracy 1, metrics 1,"
        " next_week_forecast 1, raw_data 1, series 1, weekly_report 1"
    )


def test_a_week_that_is_run_again_counts_and_can_be_withdrawn_again(tmp_path: Path):
    store = two_weeks(tmp_path)
    assert [row.as_of for row in open_withdrawals(store)] == [AS_OF + WEEK]
    write_whole_week(store, 1, 2, 3, as_of=AS_OF + WEEK, run_id="third")
    assert numbers(newest_of_each(store, FORECAST)) == [2]
    assert open_withdrawals(store) == []
    take_back(store, AS_OF + WEEK, at=LATER + WEEK)
    assert numbers(newest_of_each(store, FORECAST)) == [0]
    assert [(row.by, row.at) for row in read_withdrawals(store)] == [
        ("ann", LATER),
        ("ann", LATER + WEEK),
    ]
    assert [row.at for row in open_withdrawals(store)] == [LATER + WEEK]


def test_a_version_that_another_forecast_was_made_from_still_counts(tmp_path: Path):
    store = make_store(tmp_path)
    made = write_whole_week(store, 1, 2)
    rebuilt = make_commit(FORECAST, as_of=AS_OF + WEEK / 7, inputs=[made["series"], made["naive"]])
    store.write(make_forecast(y_hat=1.0), rebuilt)
    take_back(store, AS_OF)
    assert numbers(newest_of_each(store, "series")) == [0]
    assert [commit.partition for commit in newest_of_each(store, "backtest_predictions")] == [
        "naive"
    ]
    assert newest_of_each(store, "best_model") == []
    with pytest.raises(
        VersionNotFoundError, match=r"No version of best_model counts: .* of which 1 were withdrawn"
    ):
        select(store, "best_model")
    with pytest.raises(VersionNotFoundError, match=r"^No week was withdrawn, so there is nothing"):
        select(make_store(tmp_path / "another"), WITHDRAWALS)


def test_a_run_is_not_continued_on_a_forecast_that_was_withdrawn_meanwhile(tmp_path: Path):
    store = two_weeks(tmp_path)
    for asset, runs in ((FORECAST, ["second"]), ("series", ["re-execution", "second"])):
        with pytest.raises(
            VersionWithdrawnError,
            match=rf"Version 1 of {asset}, .* was withdrawn on .* Nothing was made from it\."
            r" .*`forecast-assets run --as-of 2026-01-12T00:00:00\+00:00`",
        ):
            resolve_inputs(store, asset, partitions=None, runs=runs, as_of=LATER)


MINUTE = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (MINUTE + timedelta(seconds=7, microseconds=9), 1),
        (MINUTE + timedelta(seconds=7), 1),
        (MINUTE, 1),
        (MINUTE.replace(hour=0, minute=0), 1),
        (AS_OF, 0),  # exactly, though a later one is of the same day
        (AS_OF + timedelta(hours=8), 2),
    ],
)
def test_a_forecast_is_found_by_its_time_in_full_or_by_its_day(
    tmp_path: Path, given: datetime, found: int
):
    store = make_store(tmp_path)
    at = MINUTE + timedelta(seconds=7, microseconds=9)
    for time in (AS_OF, at, AS_OF + timedelta(hours=8)):
        store.write(make_forecast(), make_commit(FORECAST, as_of=time))
    assert numbers(forecasts_as_of(store, given)) == [found]


def test_what_cannot_be_withdrawn_is_refused_with_what_can(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(VersionNotFoundError, match=r"nothing was withdrawn\. No forecast is publ"):
        take_back(store, AS_OF)
    for hours in (0, 30, 31):
        time = AS_OF + timedelta(hours=hours)
        store.write(make_forecast(), make_commit(FORECAST, as_of=time))
    with pytest.raises(
        VersionNotFoundError,
        match=r"There is no forecast as of 2026-01-08T00:00:00\+00:00, so nothing was withdrawn\."
        r" The newest are as of 2026-01-06T07:00:00\+00:00, 2026-01-06T06:.*`forecast-assets hist",
    ):
        take_back(store, AS_OF + timedelta(days=3))
    with pytest.raises(
        VersionNotFoundError, match=r"Forecasts of 2 times match 2026-01-06T00.*Give one of these"
    ):
        take_back(store, AS_OF + timedelta(days=1))
    take_back(store, AS_OF)
    with pytest.raises(
        VersionWithdrawnError,
        match=r"The forecast as of 2026-01-05 00:00 UTC \(by ann on 2026-03-09 00:00 UTC: The file"
        r" was wrong\) is withdrawn already\..*`forecast-assets run --as-of 2026-01-05T00:00:00\+0",
    ):
        take_back(store, AS_OF)


def test_scores_of_a_forecast_withdrawn_since_are_left_out(tmp_path: Path):
    store = two_weeks(tmp_path)
    scores = pd.concat(
        [make_row("forecast_accuracy", made_at=time) for time in (AS_OF, AS_OF + WEEK)]
    )
    assert list(drop_withdrawn(store, scores)["made_at"]) == [AS_OF]


def test_the_withdrawal_of_a_week_is_found_by_its_day(tmp_path: Path):
    store = two_weeks(tmp_path)
    week = pd.Timestamp(FIRST_WEEK).date()
    found = withdrawal_of_week(store, week)
    assert found is not None
    assert (found.as_of, found.reason, found.at) == (AS_OF + WEEK, "The file was wrong", LATER)
    assert withdrawal_of_week(store, week + WEEK) is None
    assert withdrawal_of_week(make_store(tmp_path / "another"), week) is None


def test_forecasts_from_the_future_are_described_with_the_way_to_withdraw_them(tmp_path: Path):
    store = make_store(tmp_path)
    assert describe_future([]) == ""
    commits = [store.write(make_forecast(), make_commit(FORECAST)) for _ in range(2)]
    assert describe_future(commits) == (
        "1 forecast as of a future time (2026-01-05T00:00:00+00:00) is not counted as published:"
        " correct the clock or, if it is right now, `forecast-assets withdraw --as-of"
        ' 2026-01-05T00:00:00+00:00 --reason "wrong clock"`'
    )
