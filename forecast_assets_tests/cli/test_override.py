"""The command `override` and the job of the same name: a person's number next to the model's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config import loader
from forecast_assets.defs.build import build_defs
from forecast_assets.storage import overrides as stored
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import walk, write_source
from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.store_builders import make_store

TODAY = datetime.now(UTC).date()
# The week that is not over, by its Friday.
WEEK = TODAY + timedelta(days=(4 - TODAY.weekday()) % 7)
ANN = {"override": 120.5, "override_low": 110.0, "override_high": 130.0, "override_by": "ann"}


def write_weeks(folder: Path, until: date, *, last: float = 100.0) -> None:
    """Write two series of 40 weeks, the last of which is that of a Friday."""
    ds = pd.date_range(end=until, periods=40, freq="W-FRI")
    frames = [
        pd.DataFrame({"unique_id": name, "ds": ds, "y": [*walk(39, seed=seed), last]})
        for seed, name in enumerate("ab")
    ]
    write_source(folder, pd.concat(frames))


@dataclass(frozen=True)
class Week:
    """The folder of a run, and what the run printed."""

    folder: Path
    printed: str


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """Run a week whose forecast is overridden; the tests follow each other."""
    folder = tmp_path_factory.mktemp("week")
    with pytest.MonkeyPatch.context() as monkeypatch:
        pinned = '[selection.pinned]\n"b*" = "drift"\n'
        configure(folder, monkeypatch, SMALL + pinned)
        write_weeks(folder, WEEK - timedelta(weeks=1))
        yield Week(folder, output_of("run"))


def override(*args: str, series: str = "a", day: date = WEEK) -> str:
    reason = ["--reason", " a new\nbranch ", "--by", "ann"]
    return output_of("override", series, "--week", str(day), *reason, *args)


def shown(series: str = "a") -> dict[str, Any]:
    (row,) = (r for r in records("show", "next_week_forecast") if r["unique_id"] == series)
    return row


def test_the_forecast_carries_both_numbers_from_then_on(week: Week):
    model = shown()
    assert model["override"] is None
    text = override(
        "--value", "120.5", "--lower", "110", "--upper", "130", day=WEEK - timedelta(days=2)
    )
    assert f"Recorded: a / {WEEK}: 120.5 (by ann on" in text
    assert "next_week_forecast 1 shows it" in text

    def check_both_numbers() -> None:
        row = shown()
        assert {name: row[name] for name in ANN} == ANN
        assert row["override_reason"] == "a new branch"
        assert {
            n: v for n, v in row.items() if "override" not in n and n[-2:] not in ("at", "of")
        } == {n: v for n, v in model.items() if "override" not in n and n[-2:] not in ("at", "of")}
        assert shown("b")["override"] is None

    check_both_numbers()
    assert "120.5" in output_of("run")
    check_both_numbers()
    reports = week.folder.glob("reports/*/report.html")
    (page,) = sorted(reports, key=lambda p: p.stat().st_mtime)[-1:]
    assert "override: 120.5" in page.read_text()
    assert "a new branch" in page.with_suffix(".md").read_text()
    line = {row["name"]: row for row in records("status")}["overridden"]
    assert line["value"][0].startswith(f"a, week ending {WEEK}: 120.5")


def test_a_pinned_model_is_named_as_such_wherever_the_forecast_is_shown(week: Week):
    assert (shown("b")["model"], shown("b")["rung"]) == ("drift", "pinned")
    (choice,) = (row for row in records("show", "best_model") if row["unique_id"] == "b")
    assert "drift is pinned by the settings; the rule would use combination" in choice["reason"]
    lines = {row["name"]: row for row in records("status")}
    assert (lines["pinned"]["value"], lines["not_by_champion"]["is_well"]) == (["b"], True)
    assert "drift (pinned)" in week.printed


@pytest.mark.usefixtures("week")
def test_a_withdrawn_override_no_longer_counts_but_is_kept():
    before = len(records("show", "overrides"))
    assert "withdrawn (by ann" in override("--withdraw")
    assert shown()["override"] is None
    assert len(records("show", "overrides")) == before + 1
    result = invoke("override", "a", "--week", str(WEEK), "--withdraw", "--reason", "again")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing overrides it" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "--value", "1", "--reason", "x"], "Missing option '--week'"),
        (["a", "--week", str(WEEK), "--value", "1"], "Missing option '--reason'"),
        (["a", "--week", str(WEEK), "--value", "1", "--reason", " "], "it has no reason"),
        (["a", "--week", str(WEEK), "--reason", "x"], "give one of --value and --withdraw"),
        (["a", "--week", "Friday", "--value", "1", "--reason", "x"], "is not a day like"),
        (["a", "--week", "2020-01-01", "--value", "1", "--reason", "x"], "the week is over"),
        (["aa", "--week", str(WEEK), "--value", "1", "--reason", "x"], "the nearest are a."),
        (["a", "--week", str(WEEK), "--value", "nan", "--reason", "x"], "nan is not a number"),
        (
            ["a", "--week", str(WEEK), "--value", "1", "--lower", "2", "--reason", "x"],
            "1 is not a number between 2 and inf",
        ),
    ],
)
@pytest.mark.usefixtures("week")
def test_what_cannot_be_overridden_is_refused(args: list[str], message: str):
    before = len(records("history", "overrides")), len(records("history", "next_week_forecast"))
    result = invoke("override", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    after = len(records("history", "overrides")), len(records("history", "next_week_forecast"))
    assert before == after


@pytest.mark.usefixtures("week")
def test_the_launchpad_does_the_same():
    job = build_defs(loader.load()).resolve_job_def("override")
    given = {"series": "b", "week": str(WEEK), "value": 90.0, "reason": "rain", "by": "bob"}
    for change, is_right in (({}, True), ({"series": "x"}, False), ({"value": None}, False)):
        config = {"ops": {"override_week": {"config": given | change}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                run_config=config, instance=instance, raise_on_error=False
            )
        assert result.success == is_right
    assert (shown("b")["override"], shown("b")["override_by"]) == (90.0, "bob")


def test_people_and_models_are_scored_once_the_week_is_over(week: Week):
    """The week becomes the last one; both overrides were given before it was over."""
    override("--value", "100.5")
    models = {name: shown(name)["y_hat"] for name in "ab"}
    write_weeks(week.folder, WEEK)
    store = make_store(week.folder)
    settings = loader.load()
    from forecast_assets.forecasting import live_accuracy, overrides

    forecasts = [store.read([commit]) for commit in store.history("next_week_forecast")]
    series = store.read(store.history("series")[-1:])
    last = series.groupby("unique_id").tail(1)
    series = pd.concat([series, last.assign(ds=pd.Timestamp(WEEK), y=100.0)], ignore_index=True)
    scores = live_accuracy.score_published(
        pd.concat(forecasts, ignore_index=True), series, levels=settings.forecast.levels
    )
    rows = scores[scores["ds"] == pd.Timestamp(WEEK)].set_index("unique_id")
    assert rows["override_error"].to_dict() == {"a": 0.5, "b": -10.0}
    assert rows["error"].to_dict() == {n: pytest.approx(models[n] - 100) for n in "ab"}
    people = overrides.override_summary(scores, live_accuracy.weekly_change(series))
    assert people[["by", "reason", "n"]].to_numpy().tolist() == [
        ["ann", "a new branch", 1],
        ["bob", "rain", 1],
    ]
    ratio = people["person_over_model"].to_list()
    assert ratio[0] == pytest.approx(0.5 / abs(models["a"] - 100))


def test_of_two_overrides_at_the_same_time_none_is_lost(tmp_path: Path):
    """Another process writes between the reading and the writing of the first."""
    store, at = make_store(tmp_path), datetime(2026, 1, 5, tzinfo=UTC)

    def row(name: str) -> stored.Override:
        return stored.Override(name, WEEK, 1.0, None, None, "why", "ann", at)

    class Late(Store):
        def history(self, asset: str, **options: Any) -> Any:
            commits = super().history(asset, **options)
            if not commits:
                stored.append_override(store, row("b"))
            return commits

    late = Late(store.uri, store.tables, var=tmp_path)
    stored.append_override(late, row("a"))
    stored.append_override(store, row("c"))
    names = [each.unique_id for each in stored.to_overrides(stored.read_overrides(store))]
    assert names == ["a", "b", "c"]
