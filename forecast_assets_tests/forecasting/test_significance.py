"""Significance: every statistic against a second, simpler implementation."""

import math

import numpy as np
import pytest

from forecast_assets.forecasting.significance import (
    coverage_pvalue,
    diebold_mariano_pvalue,
    hac_mean_and_error,
    model_confidence_set,
)
from forecast_assets.models.base import Values


def plain_p(gains: list[float], horizon: int) -> float:
    """Harvey, Leybourne & Newbold (1997), eq. 9, with the sums written out."""
    from scipy import stats

    n, mean = len(gains), sum(gains) / len(gains)
    gamma = [
        sum((gains[t] - mean) * (gains[t - k] - mean) for t in range(k, n)) / n
        for k in range(horizon)
    ]
    statistic = mean / math.sqrt((gamma[0] + 2 * sum(gamma[1:])) / n)
    statistic *= math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    return float(stats.t(df=n - 1).sf(statistic))


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_test_against_naive_agrees_with_its_plain_definition(horizon: int):
    gains = np.random.default_rng(5).normal(0.3, 1, 40)
    pvalue = diebold_mariano_pvalue(gains, overlap=horizon)
    assert pvalue == pytest.approx(plain_p(list(gains), horizon))
    assert diebold_mariano_pvalue(gains + 1, overlap=horizon) < 0.001
    assert diebold_mariano_pvalue(gains - 2, overlap=horizon) > 0.999


@pytest.mark.parametrize("gains", [[0.0] * 30, [1.0], []])
def test_no_spread_in_the_gains_has_no_test(gains: list[float]):
    assert math.isnan(diebold_mariano_pvalue(np.array(gains), overlap=1))


def test_overlapping_forecasts_make_a_mean_less_certain():
    """Every error occurs twice, so half of them carry information."""
    once = np.random.default_rng(3).normal(size=500)
    _, alone = hac_mean_and_error(once, overlap=1)
    _, repeated = hac_mean_and_error(np.repeat(once, 2), overlap=2)
    assert repeated == pytest.approx(alone, rel=0.05)


def members(*losses: "list[float] | Values", overlap: int = 1) -> list[bool]:
    """Return which models are in the confidence set of one series."""
    return model_confidence_set(np.array(losses)[:, None], overlap=overlap)[:, 0].tolist()


def steady(mean: float, seed: int, n: int = 52) -> Values:
    """Return losses that vary from week to week around a constant mean."""
    return mean + np.abs(np.random.default_rng(seed).normal(size=n))


def test_the_confidence_set_agrees_with_another_implementation():
    """Over many weeks, where both know the spread; p-values close to 0.1 are left out."""
    from arch.bootstrap import MCS

    n_out = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        losses = np.abs(rng.normal(size=(7, 500))) + np.linspace(0, 0.26, 7)[:, None]
        theirs = MCS(
            losses.T, size=0.1, reps=1500, block_size=4, method="max", bootstrap="circular", seed=1
        )
        theirs.compute()
        pvalues = theirs.pvalues["Pvalue"].sort_index().to_numpy()
        is_clear = np.abs(pvalues - 0.1) > 0.08
        n_out += (pvalues < 0.02).sum()
        ours = np.array(members(*losses))
        np.testing.assert_array_equal(ours[is_clear], (pvalues > 0.1)[is_clear])
    assert n_out > 4


def test_the_best_and_its_equals_are_in_and_the_worse_are_out():
    losses = steady(1.0, 1)
    assert members(losses, steady(1.05, 2), steady(5.0, 3)) == [True, True, False]
    assert members(losses, losses, losses + 0.01) == [True, True, False]
    assert members(np.zeros(9), np.zeros(9)) == [True, True]
    assert members([1.0], [2.0], [math.nan]) == [True, True, False]  # one week tells nothing


def test_a_model_without_losses_is_out_and_changes_nothing():
    good, bad = steady(1.0, 1), steady(5.0, 2)
    assert members(good, np.full(52, math.nan), bad) == [True, False, False]
    assert members(good) == [True]
    assert members(np.full(52, math.nan)) == [False]


def test_series_are_judged_each_by_itself(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(7)
    losses = np.abs(rng.normal(size=(4, 30, 20))) + np.linspace(0, 1, 4)[:, None, None]
    together = model_confidence_set(losses, overlap=1)
    for s in range(30):
        np.testing.assert_array_equal(
            together[:, s], model_confidence_set(losses[:, [s]], overlap=1)[:, 0]
        )
    monkeypatch.setattr("forecast_assets.forecasting.significance.CHUNK_SIZE", 1)
    np.testing.assert_array_equal(model_confidence_set(losses, overlap=1), together)
    assert 0 < (~together).sum() < together.size


def test_a_share_that_is_off_is_unlikely_by_chance():
    rng = np.random.default_rng(1)
    shares = rng.binomial(20, 0.8, size=40) / 20
    assert coverage_pvalue(shares, 0.8) > 0.05
    assert coverage_pvalue(shares, 0.95) < 0.001
    assert math.isnan(coverage_pvalue(shares[:1], 0.8))
    # All of 20 are as rare as that or rarer but for 19 of them: 20 * 0.05 * 0.95 ** 19.
    assert coverage_pvalue(np.ones(20), 0.95) == pytest.approx(1 - 0.95**19)
    assert coverage_pvalue(np.zeros(20), 0.95) < 1e-20


def alike(n: int, *, persistence: float, seed: int) -> Values:
    """Return losses of two equal candidates on 5000 series, autocorrelated: [2, 5000, n]."""
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(2, 5000, n))
    for k in range(1, n):
        new = np.sqrt(1 - persistence**2) * losses[:, :, k]
        losses[:, :, k] = persistence * losses[:, :, k - 1] + new
    return losses


@pytest.mark.parametrize(
    ("n", "persistence"), [(2, 0.0), (5, 0.0), (13, 0.0), (52, 0.0), (52, 0.5)]
)
def test_one_of_two_equal_candidates_is_out_as_rarely_as_promised(n: int, persistence: float):
    """The promise is 10 %; at an autocorrelation of 0.5 it is 11 %, measured."""
    is_in = model_confidence_set(alike(n, persistence=persistence, seed=n), overlap=1)
    assert is_in.any(axis=0).all()
    assert (~is_in).any(axis=0).mean() < 0.125


def test_a_candidate_that_is_clearly_worse_is_out_of_most_sets():
    losses = alike(52, persistence=0.0, seed=1) + np.array([0.0, 0.8])[:, None, None]
    assert model_confidence_set(losses, overlap=1)[1].mean() < 0.1
