"""The examples of pretrained models, with stand-ins for libraries that are not in the lock file.

A stand-in accepts only the calls that the guide makes and returns arrays of the library's shapes:
fracast 0.1.0 and chronos-forecasting 2.3.2.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.models import enabled
from forecast_assets_tests.builders import make_global, walk
from forecast_assets_tests.markdown_blocks import blocks, settings_of

FRACAST = """
import numpy as np

class FracastModel:
    @classmethod
    def from_pretrained(cls):
        return cls()

    def forecast(self, context, *, horizon):
        return context[-1] + np.tile(np.arange(-4, 5), (horizon, 1))  # nine quantiles
"""
CHRONOS = """
import numpy as np

class Chronos2Pipeline:
    @classmethod
    def from_pretrained(cls, folder, *, device_map, local_files_only):
        assert (folder, device_map, local_files_only) == ("/srv/chronos-2-v1", "cpu", True)
        return cls()

    def predict_quantiles(self, inputs, *, prediction_length):
        medians = [np.full((1, prediction_length), y[-1]) for y in inputs]
        return [median[..., None] for median in medians], medians
"""


def test_the_pretrained_models_of_the_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("our_team")]:
        monkeypatch.delitem(sys.modules, name)  # of another test
    files = {block.file: block.text for block in blocks("python")}
    for file, text in {**files, "fracast.py": FRACAST, "chronos.py": CHRONOS}.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    (block,) = [block for block in blocks("toml") if "our_team.pretrained" in block.text]
    *_, local, pooled = enabled(settings_of(block, tmp_path))
    short, long = walk(20, seed=1), walk(80, seed=2)
    forecast = local.fit(np.array(long), season_length=52).predict(3)
    np.testing.assert_array_equal(forecast, [long[-1]] * 3)
    forecasts = pooled.make().fit(make_global(short, long), season_length=52).predict(3)
    np.testing.assert_array_equal(forecasts, [[short[-1]] * 3, [long[-1]] * 3])
    assert "torch" not in sys.modules
