"""Spearman's rank correlation, its permutation p and its bootstrap interval."""

from itertools import permutations

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.statistics.intervals import Floats

EXACT_ITEMS = 8  # up to which all orders are enumerated: 8! = 40,320
PERMUTATIONS = 9999  # drawn beyond
RESAMPLES = 2000


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Return Spearman's rank correlation over the last axis of (..., n), NaN where a side is constant."""
    a, b = scipy.stats.rankdata(first, axis=-1), scipy.stats.rankdata(second, axis=-1)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.asarray((a * b).sum(axis=-1) / np.where(norm > 0, norm, np.nan))


def permutation_p(first: Floats, second: Floats, rho: float) -> float:
    """Return the two-sided p of `rho` among all orders of (n,) items, or among 9,999 random ones for n > 8."""
    a = scipy.stats.rankdata(first)
    if len(a) <= EXACT_ITEMS:
        orders = np.array(list(permutations(scipy.stats.rankdata(second))))
    else:
        generator = np.random.default_rng(len(a))
        orders = generator.permuted(np.tile(scipy.stats.rankdata(second), (PERMUTATIONS, 1)), axis=1)
    a, orders = a - a.mean(), orders - orders.mean(axis=1, keepdims=True)
    rhos = orders @ a / np.sqrt((a @ a) * (orders[0] @ orders[0]))
    extreme = int((np.abs(rhos) >= abs(rho) - 1e-9).sum())
    return extreme / len(orders) if len(a) <= EXACT_ITEMS else (extreme + 1) / (len(orders) + 1)


def bootstrap_interval(first: Floats, second: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval over resampled items; resamples with a constant side are ignored."""
    picks = np.random.default_rng(len(first)).integers(len(first), size=(RESAMPLES, len(first)))
    low, high = np.nanquantile(rank_correlation(first[picks], second[picks]), [0.025, 0.975])
    return float(low), float(high)
