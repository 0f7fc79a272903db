"""The year as a few waves: regressors for the models that carry it so."""

import numpy as np

from forecast_assets.models.base import Values

FEWEST = 12  # values for the parameters that such a model has besides, where a season is short


def two_seasons(season_length: int) -> int:
    """The fewest values that tell a season from a trend: `min_train_size` of the models here."""
    return max(2 * season_length, FEWEST)


def fourier(start: int, stop: int, *, season_length: int, n_pairs: int) -> Values:
    """Sine and cosine of the first harmonics at weeks start to stop - 1: shape [weeks, columns].

    `n_pairs` pairs, fewer where the season is too short to tell them apart: no harmonic at or above
    half the season, where the sine is zero or the pair repeats another.
    """
    week = np.arange(start, stop)[:, None]
    harmonic = np.arange(1, min(n_pairs, (season_length - 1) // 2) + 1)
    angle = 2 * np.pi * harmonic * week / season_length
    waves: Values = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return waves
