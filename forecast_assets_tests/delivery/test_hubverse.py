"""Model-output files of a forecast hub, against the rules of its tasks.json."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.delivery_settings import HUB_QUANTILES
from forecast_assets.delivery.batch import Written, make_batch
from forecast_assets.delivery.hubverse import check_hubverse, write_hubverse
from forecast_assets.errors import DeliveryError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, table_contracts
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.delivery.delivery_builders import MADE_AT, NOW, withdraw_week
from forecast_assets_tests.store_builders import WEEK, make_commit

NAMES = {"a": "01", "b": "US"}
TARGET = "wk inc visits"
COLUMNS = ["reference_date", "horizon", "target", "target_end_date", "location", "output_type",
           "output_type_id", "value"]  # fmt: skip


def tasks(**changed: Any) -> dict[str, Any]:
    """Return a hub's tasks.json, as FluSight's is, with other rules for some columns."""
    days = [str(pd.Timestamp("2024-01-05").date() + timedelta(weeks=n)) for n in range(8)]
    columns = {
        "reference_date": {"required": None, "optional": days},
        "target": {"required": None, "optional": [TARGET]},
        "horizon": {"required": None, "optional": [0, 1, 2]},
        "location": {"required": ["US"], "optional": ["01", "02"]},
        "target_end_date": {"required": None, "optional": days},
    }
    ids = {"required": list(HUB_QUANTILES)}
    value = {"type": "double", "minimum": 0}
    output = {"quantile": {"output_type_id": ids, "is_required": True, "value": value}}
    task = {"task_ids": {**columns, **changed}, "output_type": output}
    return {"schema_version": "v5.1.0", "rounds": [{"round_id": "reference_date",
            "model_tasks": [task]}]}  # fmt: skip


class Hub:
    """A hub's folder, and a store with versions to deliver to it."""

    def __init__(self, folder: Path, rules: dict[str, Any] | None = None, **given: Any) -> None:
        table = {"kind": "hubverse", "path": "hub", "model_id": "ours-ensemble", "target": TARGET,
                 "locations": NAMES, "tasks": "tasks.json", **given}  # fmt: skip
        (folder / "tasks.json").write_text(json.dumps(tasks() if rules is None else rules))
        self.settings = make_settings(
            folder, deliver={"erp": table}, forecast={"quantiles": list(HUB_QUANTILES)}
        )
        contracts = table_contracts((80, 95), HUB_QUANTILES)
        self.store = Store(str(folder / "store"), contracts, var=folder)
        self.folder = folder / "hub/model-output/ours-ensemble"

    def write(self, *, n_weeks: int = 0, h: int = 1, late: int = 0, low: float = 5.0) -> Commit:
        """Write a version of the series a and b; `low` is its lowest quantile."""
        as_of = AS_OF + n_weeks * WEEK
        quantiles = {f"q{q:g}": low + 10 * q for q in reversed(HUB_QUANTILES)}
        rows = []
        for name, n_late in (("a", late), ("b", 0)):
            cutoff = pd.Timestamp("2024-01-05") + (n_weeks - n_late) * WEEK
            rows += [
                {"unique_id": name, "h": week, "ds": cutoff + week * WEEK, "cutoff": cutoff,
                 **quantiles}
                for week in range(1, h + 1)
            ]  # fmt: skip
        ends = dict.fromkeys(("y_hat", "lo_80", "hi_80", "lo_95", "hi_95", "backtest_mae"), 9.0)
        made = {"model": "naive", "rung": "champion", "members": None, "reason": None}
        frame = pd.DataFrame(rows).assign(**ends, **made, made_at=MADE_AT, as_of=as_of)
        return self.store.write(frame, make_commit(FORECAST, as_of=as_of))

    def deliver(self, commit: Commit | None) -> Written:
        """Deliver a version, or take withdrawn ones back."""
        batch = make_batch("erp", self.settings, self.store, commit, now=NOW)
        return write_hubverse(self.settings.deliver["erp"], batch)  # type: ignore[arg-type]

    def check(self) -> str:
        """Try what a delivery needs."""
        batch = make_batch("erp", self.settings, self.store, None, now=NOW)
        return check_hubverse(self.settings.deliver["erp"], batch)  # type: ignore[arg-type]

    @property
    def files(self) -> list[str]:
        """Return the names of the files."""
        return sorted(file.name for file in self.folder.glob("*"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_has_the_quantiles_of_every_location_and_week(tmp_path: Path, kind: str):
    hub = Hub(tmp_path, format=kind)
    assert "receives 23 quantiles, checked against tasks.json" in hub.check()
    commit = hub.write(h=2)
    assert hub.deliver(commit).n_changed == 2 * 2 * 23
    assert hub.deliver(commit).n_changed == 0
    assert hub.files == [f"2024-01-05-ours-ensemble.{kind}"]
    file = hub.folder / hub.files[0]
    frame = (
        pd.read_parquet(file) if kind == "parquet" else pd.read_csv(file, dtype={"location": str})
    )
    assert list(frame.columns) == COLUMNS
    assert set(frame["location"]) == {"01", "US"}
    assert set(frame["output_type"]) == {"quantile"}
    days = frame[["reference_date", "horizon", "target_end_date"]].drop_duplicates()
    assert [[str(v)[:10] for v in row] for row in days.to_numpy()] == [
        ["2024-01-05", "1", "2024-01-12"], ["2024-01-05", "2", "2024-01-19"]
    ]  # fmt: skip
    one = frame[(frame["location"] == "US") & (frame["horizon"] == 2)]
    assert np.allclose(one["output_type_id"], HUB_QUANTILES)
    assert np.allclose(one["value"], 5 + 10 * np.array(HUB_QUANTILES))


def test_the_hub_may_call_the_first_week_0_and_a_late_series_has_no_past_week(tmp_path: Path):
    hub = Hub(tmp_path, first_horizon=0, locations={})
    hub.settings = make_settings(
        tmp_path,
        deliver={"erp": {**hub.settings.deliver["erp"].model_dump(), "tasks": None}},
        forecast={"quantiles": list(HUB_QUANTILES)},
    )
    assert "not checked: `tasks` is not set" in hub.check()
    hub.deliver(hub.write(h=2, late=1))
    frame = pd.read_csv(hub.folder / "2024-01-12-ours-ensemble.csv")
    weeks = frame[["location", "horizon", "target_end_date"]].drop_duplicates().to_numpy().tolist()
    assert weeks == [["a", 0, "2024-01-12"], ["b", 0, "2024-01-12"], ["b", 1, "2024-01-19"]]


def test_quantiles_ascend_within_the_limits_of_the_hub(tmp_path: Path):
    hub = Hub(tmp_path)
    hub.deliver(hub.write(low=-2.0))
    values = pd.read_csv(hub.folder / hub.files[0])["value"].to_numpy().reshape(2, 23)
    assert (np.diff(values) >= 0).all()
    assert (values[:, 0] == 0).all()
    assert (values[:, -1] > 7).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            tasks(location={"required": ["US", "02"], "optional": None}),
            r"`location` has 1 values that the hub refuses: 01; `location` lacks 1 values .*: 02\.",
        ),
        (tasks(age_group={"required": None, "optional": ["all"]}), "the file lacks age_group, and"),
        (
            tasks(reference_date={"required": None, "optional": ["2023-01-07"]}),
            r"`reference_date` has 1 values that the hub refuses: 2024-01-05\. Nothing was written",
        ),
        (
            tasks(target={"required": None, "optional": ["x"]}),
            "no target 'wk inc visits'; it has x",
        ),
        (
            {"rounds": 3},
            r"cannot be checked against \S+/tasks\.json: it is no tasks\.json of a hub",
        ),
    ],
)
def test_a_broken_rule_is_named_and_nothing_is_written(
    tmp_path: Path, rules: dict[str, Any], message: str
):
    hub = Hub(tmp_path, rules)
    with pytest.raises(DeliveryError, match=message):
        hub.deliver(hub.write())
    assert hub.files == []


def test_a_target_without_quantiles_is_refused(tmp_path: Path):
    rules = tasks()
    rules["rounds"][0]["model_tasks"][0]["output_type"] = {"mean": {}}
    hub = Hub(tmp_path, rules)
    with pytest.raises(DeliveryError, match="its target 'wk inc visits' takes no quantiles"):
        hub.deliver(hub.write())


def test_a_series_without_a_forecast_or_without_quantiles_is_named(tmp_path: Path):
    hub = Hub(tmp_path, locations={**NAMES, "zz": "02"})
    with pytest.raises(DeliveryError, match=r"lacks a forecast of the week for 1 series of .*: zz"):
        hub.deliver(hub.write())
    hub = Hub(tmp_path)
    with pytest.raises(DeliveryError, match="needs 23 quantiles, and 2 series lack some: a, b"):
        hub.deliver(hub.write(low=float("nan")))


def test_a_withdrawn_round_is_deleted_unless_a_newer_version_is_of_its_week(tmp_path: Path):
    hub = Hub(tmp_path)
    hub.deliver(hub.write())
    hub.deliver(hub.write(n_weeks=1))
    withdraw_week(hub.store, 1)
    assert hub.deliver(None).n_taken_back == 1
    assert hub.files == ["2024-01-05-ours-ensemble.csv"]
    hub.deliver(hub.write(n_weeks=1))
    assert hub.deliver(None).n_taken_back == 0
    assert len(hub.files) == 2
