"""What Dagster loads: `dagster ... -m forecast_assets.definitions`."""

from forecast_assets.config.loader import load
from forecast_assets.defs.build import build_defs

defs = build_defs(load())
