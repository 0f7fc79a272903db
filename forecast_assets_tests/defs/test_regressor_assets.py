"""New versions of regressors and benchmarks: older weeks and other models do not know them."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.defs.inputs import build_store
from forecast_assets.defs.runs import AS_OF_TAG, PARTITION_TAG
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets_tests.dagster_runs import PANEL, materialize, run_week, small_week

KNOWN = (REGRESSORS, BENCHMARK_FORECASTS)
MODELS = ("naive", "drift_x", "window_average_x")
WEEKS = pd.date_range("2024-01-05", periods=len(PANEL["a"]) + 1, freq="W-FRI")
FIRST, SECOND = datetime(2024, 11, 11, tzinfo=UTC), datetime(2024, 11, 12, tzinfo=UTC)


def deliver(folder: Path, *, late: float) -> None:
    """Write prices, rates and forecasts of a planner; with a value `late` some have changed."""
    rate = [float(i % 3) for i in range(len(WEEKS))]
    price = [*rate[:20], rate[20] + late, *rate[21:]]
    pd.DataFrame({"ds": WEEKS, "price": price}).to_csv(folder / "price.csv", index=False)
    at = WEEKS - pd.Timedelta(days=9)
    rates = pd.DataFrame({"ds": WEEKS, "at": at, "rate": rate})
    corrected = rates.assign(at=pd.Timestamp("2024-11-11 06:00"), rate=rates["rate"] + late)
    rates = pd.concat([rates, corrected], ignore_index=True)
    rates.to_csv(folder / "rate.csv", index=False)
    planner = pd.DataFrame({"unique_id": "a", "ds": WEEKS, "y_hat": 100 + late, "made_on": at})
    planner = planner.assign(p10=90, p90=110)
    revised = planner.tail(1).assign(made_on=pd.Timestamp("2024-11-11 06:00"))
    planner = pd.concat([planner, revised] if late else [planner])
    planner.to_csv(folder / "planner.csv", index=False)


def settings_of(folder: Path, *, has_quantiles: bool = True) -> Settings:
    tables = {
        name: {"kind": "file", "path": str(folder / f"{name}.csv"), "columns": [name]}
        for name in ("price", "rate")
    }
    known = {"price": {"known": "ahead"}, "rate": {"known": "ahead", "available": "at"}}
    regressors = {name: {**table, **known[name]} for name, table in tables.items()}
    planner: dict[str, object] = {"kind": "file", "path": str(folder / "planner.csv")}
    planner["use"] = True
    planner["quantiles"] = {"0.1": "p10", "0.9": "p90"} if has_quantiles else {}
    benchmark = {"planner": planner}
    models = {"enabled": MODELS}
    return small_week(folder, models=models, regressors=regressors, benchmark=benchmark)


def tables_of(settings: Settings, as_of: datetime) -> dict[str, pd.DataFrame]:
    """Return the last versions as of a time of the tables that have what people know."""
    store = build_store(settings)
    return {
        name: store.read([[c for c in store.history(name) if c.as_of == as_of][-1]])
        for name in KNOWN
    }


def test_a_new_version_of_what_people_know_leaves_older_weeks_and_other_models_as_they_are(
    tmp_path: Path,
):
    deliver(tmp_path, late=0)
    settings = settings_of(tmp_path)
    tags = {AS_OF_TAG: SECOND.isoformat()}
    with dg.instance_for_test() as instance:
        assert run_week(settings, instance, **{AS_OF_TAG: FIRST.isoformat()}).success
        known = tables_of(settings, FIRST)
        deliver(tmp_path, late=5)
        plain = settings_of(tmp_path, has_quantiles=False)  # which leave the settings for a time
        assert materialize(plain, instance, *KNOWN, **tags).success
        for name, table in tables_of(settings, SECOND).items():
            assert not table.equals(known[name])

        # A model without regressors can be made again, and compared with the others.
        one = {**tags, PARTITION_TAG: "naive"}
        assert materialize(settings, instance, "backtest_predictions", **one).success
        assert materialize(settings, instance, "metrics", **tags).success

        # What reads the tables cannot be compared until each has the new version.
        one = {**tags, PARTITION_TAG: "drift_x"}
        assert materialize(settings, instance, "backtest_predictions", **one).success
        refused = materialize(settings, instance, "metrics", **tags)
        assert not refused.success
        (failure,) = [event for event in refused.all_events if event.is_step_failure]
        text = str(failure.step_failure_data.error)
        assert "backtest_predictions of window_average_x descend from an older regressors" in text
        assert "Rebuild what is stale: dagster asset materialize" in text
        assert "--select backtest_predictions --partition window_average_x" in text
        one = {**tags, PARTITION_TAG: "window_average_x"}
        assert materialize(settings, instance, "backtest_predictions", **one).success
        assert materialize(settings, instance, "metrics", **tags).success

        # The older week does not know what was published or seen later.
        assert run_week(settings, instance, **{AS_OF_TAG: FIRST.isoformat()}).success
    for name, table in tables_of(settings, FIRST).items():
        pd.testing.assert_frame_equal(table, known[name])
