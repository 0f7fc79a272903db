"""Read public series of several kinds from installed packages, to measure selection rules on.

All get weekly dates, whatever their own period: a rule sees only values and a season length.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pandas as pd

from forecast_assets.data.sources.fetch import demo_series


@dataclass(frozen=True)
class Group:
    """Series of one kind as a frame `unique_id, ds, y`, and their season length."""

    name: str
    kind: str
    season_length: int
    read: Callable[[], pd.DataFrame]


def dated(**series: "np.typing.ArrayLike") -> pd.DataFrame:
    """Return a long frame of the given series, all ending in the same week."""
    frames = []
    for unique_id, values in sorted(series.items()):
        y = np.asarray(values, dtype=float)
        ds = pd.date_range(end="2020-02-07", periods=len(y), freq="W-FRI")
        frames.append(pd.DataFrame({"unique_id": unique_id, "ds": ds, "y": y}))
    return pd.concat(frames, ignore_index=True)


def _statsmodels(name: str) -> pd.DataFrame:
    frame: pd.DataFrame = import_module(f"statsmodels.datasets.{name}").load_pandas().data
    return frame


def petroleum() -> pd.DataFrame:
    """Return the demo series."""
    demo = demo_series()
    return demo.assign(ds=pd.to_datetime(demo["ds"]))


def carbon_dioxide() -> pd.DataFrame:
    """Weekly carbon dioxide on Mauna Loa, 1991 to 2001, gaps interpolated."""
    return dated(carbon_dioxide=_statsmodels("co2")["co2"].interpolate().to_numpy()[-540:])


def spare_parts() -> pd.DataFrame:
    """Return synthetic weekly demand that is zero in four weeks of five; no package has any."""
    rng = np.random.default_rng(20)

    def demand(chance: float, size: float) -> "np.typing.NDArray[np.float64]":
        has_demand = rng.random(520) < chance * (1 + 0.5 * np.sin(np.arange(520) * 2 * np.pi / 52))
        return np.where(has_demand, 1.0 + rng.poisson(size, 520), 0.0)

    return dated(rare=demand(0.1, 1), usual=demand(0.2, 3), lumpy=demand(0.2, 20))


def sea_temperature() -> pd.DataFrame:
    """Monthly sea surface temperature of the eastern Pacific, 1980 to 2010."""
    months = _statsmodels("elnino").drop(columns="YEAR").to_numpy().ravel()
    return dated(sea_temperature=months[-372:])


def economy() -> pd.DataFrame:
    """Quarterly figures of the United States' economy, 1959 to 2009."""
    quarters = _statsmodels("macrodata")
    names = ["realgdp", "realcons", "realinv", "realgovt", "cpi", "m1", "tbilrate", "unemp"]
    return dated(**{name: quarters[name] for name in names})


def equipment() -> pd.DataFrame:
    """Monthly turnover of electrical equipment in the euro area, 1995 to 2015."""
    return dated(equipment=_statsmodels("elec_equip").iloc[:, 0])


def years() -> pd.DataFrame:
    """Yearly sunspots since 1700, and the flow of the Nile, 1871 to 1970."""
    return dated(
        sunspots=_statsmodels("sunspots")["SUNACTIVITY"], nile=_statsmodels("nile")["volume"]
    )


GROUPS: Mapping[str, Group] = {
    group.name: group
    for group in (
        Group("petroleum", "the demo: prices and stocks, drifting and seasonal", 52, petroleum),
        Group("carbon_dioxide", "trending and seasonal", 52, carbon_dioxide),
        Group("spare_parts", "intermittent; synthetic", 52, spare_parts),
        Group("sea_temperature", "seasonal", 12, sea_temperature),
        Group("economy", "trending", 4, economy),
        Group("equipment", "seasonal with breaks", 12, equipment),
        Group("years", "noisy and cyclic", 1, years),
    )
}
