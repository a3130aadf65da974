"""Aggregates over several settings (models, datasets), as in Agarwal et al. 2021 (arXiv 2108.13264).

Scores are (n, k): n seeds in k settings, larger is better, on one scale. Nothing is imputed: minus infinity stands for
a trial that diverged and only ranks below every score; NaN is an error of the caller. Intervals are percentile
bootstraps that resample seeds within each setting. They hold for these settings: other models and datasets are not
sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initbench.analysis.statistics.intervals import Floats
from initbench.analysis.statistics.paired import Interval, Measure

RESAMPLES = 2000
# A percentile bootstrap of two values ends at these two values: its interval would cover half the time.
LEAST_SEEDS = 3
_ENDS = (0.025, 0.975)  # (1 - CONFIDENCE) / 2 would be rounded to past the 50th of 2,000


@dataclass(frozen=True)
class Profile:
    """The share of all n x k runs with a score above each of `thresholds`, with its pointwise 95 % band, all (t,).

    `low` and `high` are None below 3 seeds.
    """

    thresholds: Floats
    share: Floats
    low: Floats | None
    high: Floats | None
    n: int


def interquartile_mean(scores: Floats, *, seed: int = 0) -> Measure:
    """Return the mean of the middle half of all n x k scores: 25 % trimmed from each end.

    None where diverged trials are in the middle half; an end of the interval is minus infinity where they reach it.
    """
    return _measure(scores, _middle_mean, seed)


def performance_profile(scores: Floats, thresholds: Floats, *, seed: int = 0) -> Profile:
    """Return the share of runs above each of `thresholds` (t,). Diverged trials are above none.

    A band of width zero at a share of 0 or 1 means only that no run was on the other side, which is likely with few
    runs: with 3 seeds in one setting the band covered a true share of .16 in .4 of all simulations.
    """

    def above(runs: Floats) -> Floats:
        return np.stack([(runs > threshold).mean(axis=(-2, -1)) for threshold in thresholds], axis=-1)

    _check(scores)
    n = len(scores)
    if n < LEAST_SEEDS:
        return Profile(thresholds, above(scores), None, None, n)
    low, high = np.quantile(above(_resample(scores, seed)), _ENDS, axis=0)
    return Profile(thresholds, above(scores), low, high, n)


def probability_of_improvement(scheme: Floats, baseline: Floats, *, seed: int = 0) -> Measure:
    """Return the chance that a run of `scheme` (n, k) beats one of `baseline` (m, k), averaged over the k settings.

    Mann-Whitney's U / (n m) with ties half, two diverged ones being a tie. As in rliable, the sides are
    resampled independently: where they share seeds and scores correlate, the interval is wider than necessary.
    """
    _check(scheme)
    _check(baseline)
    assert scheme.shape[1] == baseline.shape[1]  # the same settings
    n = min(len(scheme), len(baseline))
    value = float(_improvement(scheme, baseline))
    if n < LEAST_SEEDS:
        return Measure(value, None, n)
    return Measure(value, _percentile(_improvement(_resample(scheme, seed), _resample(baseline, seed + 1))), n)


def simulated_coverage(n: int) -> str | None:
    """Return the simulated coverage of the 95 % intervals with `n` seeds as a range, None below 3 seeds."""
    return next((coverage for least, coverage in _COVERAGE if n >= least), None)


# Interquartile mean and improvement in 1 to 8 settings, normal and lognormal: tests/benchmarks/test_honesty.py.
_COVERAGE = ((20, ".94-.95"), (10, ".92-.94"), (5, ".88-.94"), (3, ".66-.92"))


def _measure(scores: Floats, statistic: Callable[[Floats], Floats], seed: int) -> Measure:
    """Return `statistic`, a function from (..., n, k) to (...), with its bootstrap interval."""
    _check(scores)
    value = float(statistic(scores))
    if not np.isfinite(value):
        return Measure(None, None, len(scores))
    if len(scores) < LEAST_SEEDS:
        return Measure(value, None, len(scores))
    return Measure(value, _percentile(statistic(_resample(scores, seed))), len(scores))


def _check(scores: Floats) -> None:
    assert scores.ndim == 2  # (seeds, settings); swapped axes would give intervals of width zero
    assert scores.size > 0  # at least one run
    assert not np.isnan(scores).any()  # diverged is minus infinity
    assert (scores < np.inf).all()  # scores are bounded


def _resample(scores: Floats, seed: int) -> Floats:
    """Return (b, n, k) resamples: in each setting independently, seeds drawn with replacement."""
    index = np.random.default_rng(seed).integers(len(scores), size=(RESAMPLES, *scores.shape))
    return np.asarray(scores[index, np.arange(scores.shape[1])])


def _percentile(values: Floats) -> Interval:
    # An order statistic: interpolating between minus infinity and a number would give NaN.
    low, high = np.quantile(values, _ENDS, method="inverted_cdf")
    return Interval(float(low), float(high))


def _middle_mean(runs: Floats) -> Floats:
    """Return the 25 % trimmed mean of (..., n, k), as scipy.stats.trim_mean over the flattened runs."""
    flat = np.sort(runs.reshape(*runs.shape[:-2], -1), axis=-1)
    cut = int(0.25 * flat.shape[-1])
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def _improvement(scheme: Floats, baseline: Floats) -> Floats:
    """Return the mean over settings of U / (n m) for (..., n, k) against (..., m, k).

    One setting at a time: all pairs of all resamples in all settings would take gigabytes.
    """
    columns = range(scheme.shape[-1])
    chances = [_mann_whitney(scheme[..., column], baseline[..., column]) for column in columns]
    return np.asarray(np.stack(chances, axis=-1).mean(axis=-1))


def _mann_whitney(scheme: Floats, baseline: Floats) -> Floats:
    left, right = scheme[..., :, np.newaxis], baseline[..., np.newaxis, :]
    return np.asarray(((left > right).mean(axis=(-2, -1)) + (left >= right).mean(axis=(-2, -1))) / 2)
