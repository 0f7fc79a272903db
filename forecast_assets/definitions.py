"""What Dagster loads: `dagster ... -m forecast_assets.definitions`."""

from forecast_assets.defs.build import build_defs
from forecast_assets.settings_file import load

defs = build_defs(load())
