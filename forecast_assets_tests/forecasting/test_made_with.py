"""What a forecast was made with, as its commit records it."""

from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.forecasting.made_with import MadeWith, changed_code, changed_settings
from forecast_assets_tests.builders import make_settings

ROWS = pd.DataFrame(
    {
        "model": ["combination_median", "theta", "theirs"],
        "members": ["naive, drift", None, None],
    }
)


def record_of(tmp_path: Path, **tables: Any) -> MadeWith:
    return MadeWith.of(ROWS, make_settings(tmp_path, **tables))


def test_settings_models_and_libraries_are_recorded(tmp_path: Path):
    record = record_of(
        tmp_path,
        series={"season_length": 4, "units": {"a": "dollars"}},
        models={"theta": {"params": {"season_length": 2}}},
        source={"kind": "file", "path": "x.csv"},
        forecast={"levels": [50]},
    )
    assert [*record.settings] == ["series", "models"]
    assert record.settings["series"] == {"season_length": 4}
    assert [*record.models] == ["drift", "naive", "theta"]
    assert {"forecast-assets", "numpy", "statsforecast"} <= {*record.libraries}
    assert MadeWith.read(record.to_text()) == record
    assert MadeWith.read("") is None


def test_recorded_settings_are_put_on_those_in_force(tmp_path: Path):
    record = record_of(tmp_path, series={"season_length": 4}, forecast={"minimum": 3})
    present = make_settings(tmp_path, backtest={"horizon": 5}, schedule={"cron": "0 1 * * MON"})
    restored = record.settings_on(present)
    assert restored is not None
    assert (restored.series.season_length, restored.forecast.minimum) == (4, 3)
    assert (restored.backtest.horizon, restored.schedule.cron) == (1, "0 1 * * MON")
    assert MadeWith({"backtest": {"removed_key": 1}}).settings_on(present) is None


def test_changes_are_named_with_both_values(tmp_path: Path):
    before = record_of(tmp_path, series={"season_length": 4})
    after = record_of(tmp_path, selection={"metric": "mae"}, backtest={"n_windows": 3})
    assert changed_settings(before, after) == [
        "backtest.n_windows default → 3",
        'selection.metric default → "mae"',
        "series.season_length 4 → default",
    ]
    assert changed_settings(before, before) == []
    older = MadeWith(models=before.models, libraries={"numpy": "1.0"})
    now = before.libraries["numpy"]
    assert changed_code(older, before) == [f"numpy 1.0 → {now}"]
    other = MadeWith({}, {**before.models, "naive": "0"}, before.libraries)
    assert changed_code(other, before) == ["the model naive"]
    assert changed_code(before, before) == []
