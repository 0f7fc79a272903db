"""Checks of the command `check` on models: whether they can be made, and where they can compete."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from forecast_assets.cli.output import StatusLine
from forecast_assets.errors import ForecastAssetsError, format_list

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store

MAX_NAMES = 5


def models(settings: "Settings", _: "Store", __: datetime) -> Iterator[StatusLine]:
    """Create every enabled model."""
    from forecast_assets.models import find_model

    names, n_made = settings.models.enabled, 0
    for name in names:
        try:
            model = find_model(name, settings)
            model.check()
            model.make()
            n_made += 1
        except ForecastAssetsError as error:
            yield StatusLine("models", str(error), is_well=False)
    if n_made == len(names):
        yield StatusLine("models", list(names), is_well=True, text=f"{n_made} can be created")


def too_short(series: "pd.DataFrame", settings: "Settings") -> Iterator[StatusLine]:
    """Name the models that cannot compete on series of this length, and what they need."""
    from forecast_assets.backtesting.folds import plan
    from forecast_assets.forecasting.eligibility import folds_needed
    from forecast_assets.models import find_model, min_train_size

    planned = [folds for folds in plan(series, settings.backtest) if len(folds.ends)]
    groups: dict[tuple[int, int], list[str]] = {}
    for name in settings.models.enabled:
        try:
            model = find_model(name, settings).make()
        except ForecastAssetsError:  # reported by `models`
            continue
        size = min_train_size(model, season_length=settings.series.season_length)
        n_long = [(int((folds.ends >= size).sum()), len(folds.ends)) for folds in planned]
        n_short = sum(n < folds_needed(n_planned) for n, n_planned in n_long)
        if n_short:
            groups.setdefault((size, n_short), []).append(name)
    n_more = max((folds_needed(len(folds.ends)) for folds in planned), default=0)
    for (size, n_short), names in groups.items():
        text = (
            f"{format_list(names, limit=MAX_NAMES)}: cannot compete on {n_short} of {len(planned)}"
            f" series, which are too short: {size} weeks are needed to fit, and {n_more} more to"
            f" compare"
        )
        value = {"models": names, "n_weeks": size, "n_series": n_short}
        yield StatusLine("cannot_compete", value, is_well=None, text=text)
