"""Spearman's rank correlation with an exact or sampled p and a bootstrap interval."""

from itertools import permutations

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.statistics.intervals import Floats

EXACT = 8  # items whose orders are counted one by one: 8! = 40,320
RESAMPLES = 9999


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Return Spearman's rank correlation over the last axis of (..., n), NaN where a side does not vary."""
    a, b = scipy.stats.rankdata(first, axis=-1), scipy.stats.rankdata(second, axis=-1)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.asarray((a * b).sum(axis=-1) / np.where(norm > 0, norm, np.nan))


def permutation_p(first: Floats, second: Floats, rho: float) -> float:
    """Return the two-sided p of `rho` among all orders, or among random ones where they are too many to count."""
    a = scipy.stats.rankdata(first)
    if len(a) <= EXACT:
        orders = np.array(list(permutations(scipy.stats.rankdata(second))))
    else:
        keyed = np.random.default_rng(len(a))
        orders = keyed.permuted(np.tile(scipy.stats.rankdata(second), (RESAMPLES, 1)), axis=1)
    a, orders = a - a.mean(), orders - orders.mean(axis=1, keepdims=True)
    rhos = orders @ a / np.sqrt((a @ a) * (orders[0] @ orders[0]))
    extreme = int((np.abs(rhos) >= abs(rho) - 1e-9).sum())
    return extreme / len(orders) if len(a) <= EXACT else (extreme + 1) / (len(orders) + 1)


def bootstrap_interval(first: Floats, second: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval over resampled schemes; resamples in which nothing varies say nothing."""
    picks = np.random.default_rng(len(first)).integers(len(first), size=(2000, len(first)))
    low, high = np.nanquantile(rank_correlation(first[picks], second[picks]), [0.025, 0.975])
    return float(low), float(high)
