"""The week as its readers are told of it: its tables, and what ran them.

What is said of it: `findings` and `outlook`. How: `report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import pandas as pd

from forecast_assets.forecast import week_of
from forecast_assets.settings import fits
from forecast_assets.verdict.finding import Finding


@dataclass(frozen=True)
class Week:
    """What the report tells: the week's tables, and the run behind them.

    `units` are by patterns of series' names, the first that fits counts; `problems` what the week's
    asset checks complained of; `findings` what its data show; `made_from` the versions behind the
    forecast, for people.
    """

    forecast: pd.DataFrame
    series: pd.DataFrame
    best_model: pd.DataFrame
    metrics: pd.DataFrame
    accuracy: pd.DataFrame
    levels: Sequence[float]
    run_id: str
    units: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    made_from: str = ""

    def only(self, patterns: Sequence[str]) -> Self:
        """The same week of the series whose names fit a pattern; maybe of none.

        It has no `problems`, and no finding but those of these series alone, for a sentence about
        the whole week may name any series.
        """
        told = [name for name in self.series["unique_id"].unique() if fits(name, patterns)]
        tables = ("forecast", "series", "best_model", "metrics", "accuracy")
        frames = {name: getattr(self, name) for name in tables}
        return replace(
            self,
            **{name: frame[frame["unique_id"].isin(told)] for name, frame in frames.items()},
            problems=(),
            findings=[one for one in self.findings if one.series and set(one.series) <= set(told)],
        )

    @property
    def n_series(self) -> int:
        """How many series are forecast."""
        return int(self.forecast["unique_id"].nunique())

    @property
    def title(self) -> str:
        """The week or weeks, and how many series: one line."""
        if self.forecast.empty:
            return "Forecast of no series"
        first = week_of(self.forecast)
        last = self.forecast.loc[self.forecast["h"] == self.forecast["h"].max(), "ds"].max().date()
        when = f"week ending {first}" if first == last else f"weeks ending {first} to {last}"
        return f"Forecast for the {when}: {self.n_series:,} series"
