"""The demo: six real weekly series that the package carries, with their provenance beside them."""

from importlib import resources

import pandas as pd

from forecast_assets.source_settings import DemoSource
from forecast_assets.sources.asked import Asked


def read_demo(_: DemoSource, __: Asked) -> pd.DataFrame:
    """Read the demo, whatever is asked."""
    return demo_series()


def demo_series() -> pd.DataFrame:
    """The six EIA series, 523 weeks each: `unique_id, ds, y`, all as text but y."""
    file = resources.files("forecast_assets.sources") / "demo_data" / "eia_weekly_petroleum.csv"
    with file.open("rb") as rows:
        return pd.read_csv(rows, dtype={"unique_id": str, "ds": str})
