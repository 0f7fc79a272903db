"""Sources that people have: the weeks that are made of them, and the findings."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import evaluate
from forecast_assets.data.quality.finding import Finding
from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import to_weeks
from forecast_assets_tests.builders import make_settings

CASES = Path(__file__).parents[1] / "cases"
LATER = datetime(2026, 11, 27, 12, tzinfo=UTC)
NEWEST = "2026-11-22"  # the Sunday before


def settings_of(case: str, tmp_path: Path) -> Settings:
    """Return the settings of a case."""
    tables = tomllib.loads((CASES / case / "forecast.toml").read_text())
    tables["source"]["path"] = str(next((CASES / case).glob("data.*")))
    return make_settings(tmp_path, **tables)


def weeks_of(
    case: str, tmp_path: Path, as_of: datetime = LATER
) -> tuple[pd.DataFrame, dict[str, Finding]]:
    """Return `series` of a case, and the findings of its first fetch by kind."""
    settings = settings_of(case, tmp_path)
    raw = fetch(FetchRequest(settings, as_of))
    series = to_weeks(raw, settings, as_of=as_of).frame
    findings = evaluate(raw, series, None, settings, as_of=as_of)
    return series, {one.kind: one for one in findings}


def tail(series: pd.DataFrame, unique_id: str, n: int) -> tuple[str, list[float]]:
    """Return the newest week of a series and its last n values."""
    rows = series[series["unique_id"] == unique_id].tail(n)
    return str(rows["ds"].max().date()), rows["y"].tolist()


@pytest.mark.parametrize(
    ("day", "last"), [(2, [8, 0]), (9, [8, 0, 0]), (16, [8, 0, 0, 0]), (23, [8, 0, 0, 0, 0])]
)
def test_an_item_that_is_not_sold_any_more_has_zeros(day: int, last: list[float], tmp_path: Path):
    as_of = datetime(2026, 11, day, tzinfo=UTC)
    series, findings = weeks_of("slow2", tmp_path, as_of)
    assert tail(series, "winch", len(last)) == (f"2026-11-{day - 1:02}", last)
    assert len({*series.groupby("unique_id")["ds"].max()}) == 1
    assert not {"late", "gaps", "partial"} & set(findings)


def test_items_end_where_the_source_ends(tmp_path: Path):
    series, findings = weeks_of("trailzero", tmp_path)
    assert tail(series, "ended_c", 15) == (NEWEST, [6.0] + [0.0] * 14)
    assert tail(series, "quiet2w", 3) == (NEWEST, [3, 0, 0])
    assert tail(series, "fast", 2) == (NEWEST, [12, 8])
    assert tail(series, "slow", 2) == (NEWEST, [1, 3])
    assert "No series has a row after 2026-11-19. The 3 days" in (
        findings["unknown_completeness"].message
    )


def test_later_rows_show_that_a_sparse_week_is_complete(tmp_path: Path):
    series, findings = weeks_of("sparse_reaching", tmp_path)
    assert tail(series, "bolt", 2) == (NEWEST, [17, 5])
    assert tail(series, "nut", 2) == (NEWEST, [3, 2])
    assert not {"partial", "unknown_completeness"} & set(findings)


def test_decades_after_a_placeholder_date_are_not_made_up(tmp_path: Path):
    series, findings = weeks_of("ph2000", tmp_path)
    assert (str(series["ds"].min().date()), len(series)) == ("2024-01-07", 151)
    assert "depot / 2000-01-02 (1 row, then 1,252 weeks" in findings["long_gap"].message
    assert findings["placeholder_dates"].series == ("depot",)


def test_dates_at_midnight_in_utc_stay_on_their_day(tmp_path: Path):
    series, findings = weeks_of("midnightutc_daily", tmp_path)
    assert tail(series, "web", 1) == (NEWEST, [273])
    assert findings["midnight_dates"].n == 266


@pytest.mark.parametrize("case", ["d_isow", "d_doy"])
def test_iso_weeks_and_days_are_read(case: str, tmp_path: Path):
    series, _ = weeks_of(case, tmp_path)
    assert (str(series["ds"].min().date()), series["y"].iloc[0]) == ("2025-01-05", 100.69)
    assert tail(series, "a", 1) == (NEWEST, [84.61])
    assert len(series) == 99


def test_dates_with_blanks_around_are_read(tmp_path: Path):
    series, _ = weeks_of("spaces", tmp_path)
    newest = series[series["ds"] == NEWEST]
    assert newest["y"].tolist() == [687]
