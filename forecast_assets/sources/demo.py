"""The demo: six real weekly series that the package carries, with their provenance beside them."""

from importlib import resources

import pandas as pd

from forecast_assets.settings import DemoSource, Settings


def read_demo(source: DemoSource, settings: Settings) -> pd.DataFrame:  # noqa: ARG001 - a Reader
    """Read the six EIA series, 523 weeks each: `unique_id, ds, y`, all as text but y."""
    file = resources.files("forecast_assets.sources") / "demo_data" / "eia_weekly_petroleum.csv"
    with file.open("rb") as rows:
        return pd.read_csv(rows, dtype={"unique_id": str, "ds": str})
