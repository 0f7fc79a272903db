"""The entry point of Dagster: `dagster ... -m forecast_assets.definitions`."""

import dagster as dg

from forecast_assets.config.loader import load
from forecast_assets.defs.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions for the settings in force; raise SettingsError where they are wrong."""
    return build_defs(load())
