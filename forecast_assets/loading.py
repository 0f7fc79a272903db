"""Models' libraries, loaded beside whatever else a run begins with: it takes them seconds.

Which processes models run in: `chunks`.
"""

from datetime import datetime

from forecast_assets.chunks import warm_up
from forecast_assets.crew import n_workers_here
from forecast_assets.errors import ForecastAssetsError
from forecast_assets.fitting import Question
from forecast_assets.models import find
from forecast_assets.series import newest_week
from forecast_assets.settings import Settings
from forecast_assets.store import Store


def load_ahead(settings: Settings, store: Store, *, as_of: datetime) -> None:
    """Start the processes of this machine where the run is likely to need fits.

    That is, where no backtest has been published since its newest week was over. A guess wrong
    costs seconds of a core, and no more.
    """
    if not settings.compute.is_here:
        return
    try:
        commits = store.history("backtest_predictions")
        every = [find(name, settings) for name in settings.models.enabled]
    except ForecastAssetsError:  # what is wrong with the store or a model, their steps say
        return
    if commits and newest_week(commits[-1].as_of, settings) == newest_week(as_of, settings):
        return
    for model in every:
        if model.is_packaged and not model.is_closed_form:
            question = Question(model, settings.backtest.horizon, settings.series.season_length)
            warm_up(question, n_processes=n_workers_here(settings.compute))
            return
