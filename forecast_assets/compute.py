"""Runs a model over its folds: what is known comes from the fold cache, the rest is computed.

Which folds there are, and how they are laid out as a table: `backtest`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast_assets.backtest import TOO_SHORT, Fold, SeriesFolds, as_predictions
from forecast_assets.fold_cache import FoldCache, fold_keys
from forecast_assets.models.base import Values, min_train_size
from forecast_assets.models.registry import Model
from forecast_assets.settings import Settings

KEPT_EVERY_SECONDS = 2.0
# A killed run loses no more than this much work; keeping folds takes about 15 ms each time.


@dataclass(frozen=True)
class ModelRun:
    """One model's folds, in the order of the plan, and what they cost this time."""

    model: str
    planned: Sequence[SeriesFolds]
    folds: Sequence[Fold]
    n_computed: int
    seconds: float

    @property
    def errors(self) -> list[str]:
        """What the folds said that failed; a model that was never asked did not fail."""
        said = [fold.error for fold in self.folds if fold.error is not None]
        return [error for error in said if not error.startswith(TOO_SHORT)]

    @property
    def data_version(self) -> str:
        """Identify what the folds said, their times left out (32 hex digits)."""
        digest = hashlib.blake2b(digest_size=16)
        for fold in self.folds:
            said = str(fold.error).encode() if fold.y_hat is None else fold.y_hat.tobytes()
            digest.update(len(said).to_bytes(4, "little") + said)
        return digest.hexdigest()

    def predictions(self, settings: Settings) -> pd.DataFrame:
        """The folds as rows of backtest_predictions."""
        horizon = settings.backtest.horizon
        return as_predictions(self.model, self.planned, self.folds, horizon=horizon)


def run_model(
    model: Model,
    planned: Sequence[SeriesFolds],
    *,
    settings: Settings,
    cache: FoldCache,
    clock: Callable[[], float] = time.perf_counter,
) -> ModelRun:
    """Run the model at every planned cutoff; a fold that fails becomes a record of its error."""
    horizon, season_length = settings.backtest.horizon, settings.series.season_length
    started = kept = clock()
    keys = fold_keys(planned, model, horizon=horizon, season_length=season_length)
    folds = cache.get(model, keys)
    unknown = {k: y for k, y in zip(keys, _training_values(planned), strict=True) if k not in folds}
    # A model is not even imported when all of its folds are known.
    needed = min_train_size(model.make(), season_length=season_length) if unknown else 0
    fresh: dict[bytes, Fold] = {}
    n_computed = 0
    for key, y in unknown.items():
        if len(y) < needed:
            folds[key] = Fold(None, 0.0, f"{TOO_SHORT}it needs {needed} values and has {len(y)}")
            continue
        fresh[key] = folds[key] = _computed(model, y, horizon, season_length, clock)
        n_computed += 1
        if clock() - kept > KEPT_EVERY_SECONDS:
            cache.put(model, fresh)
            fresh, kept = {}, clock()
    cache.put(model, fresh)
    in_order = [folds[key] for key in keys]
    return ModelRun(model.name, planned, in_order, n_computed, clock() - started)


def _training_values(planned: Sequence[SeriesFolds]) -> Iterator[Values]:
    for one in planned:
        for end in one.ends:
            yield one.y[:end]


def _computed(
    model: Model, y: Values, horizon: int, season_length: int, clock: Callable[[], float]
) -> Fold:
    started = clock()
    try:
        fitted = model.make().fit(y.copy(), season_length=season_length)  # the copy is theirs
        y_hat = np.asarray(fitted.predict(horizon), dtype=np.float64)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; it becomes a record
        return Fold(None, clock() - started, f"{type(error).__name__}: {error}")
    if y_hat.shape != (horizon,):
        wrong = f"forecast of shape {list(y_hat.shape)}, asked for [{horizon}]"
        return Fold(None, clock() - started, wrong)
    if not np.isfinite(y_hat).all():
        return Fold(None, clock() - started, f"forecast is not finite: {y_hat.tolist()}")
    return Fold(y_hat, clock() - started)
