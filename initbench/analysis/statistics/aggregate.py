"""Several settings at once: what a scheme does over models and datasets, as in Agarwal et al. 2021 (arXiv 2108.13264).

One shape throughout: scores (n, k) of n seeds in k settings, larger is better, on one scale. Nothing is imputed: minus
infinity stands for a trial that diverged and says no more than that it ranks below every score; NaN is a caller's
mistake. Intervals are percentile bootstraps that resample seeds within each setting. They are for the settings at
hand: other models and datasets are not sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initbench.analysis.statistics.intervals import Floats
from initbench.analysis.statistics.paired import Interval, Measure

RESAMPLES = 2000
# A percentile bootstrap of two values has ends at those two: its interval would cover half the time.
LEAST_SEEDS = 3
_ENDS = (0.025, 0.975)  # not (1 - CONFIDENCE) / 2, which rounding puts past the 50th of 2,000


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

    None where diverged trials reach into the middle half; an end of the interval into which they reach is minus
    infinity.
    """
    return _measure(scores, _middle_mean, seed)


def performance_profile(scores: Floats, thresholds: Floats, *, seed: int = 0) -> Profile:
    """Return the share of runs above each of `thresholds` (t,). Diverged trials are above none.

    A band of width zero at a share of 0 or 1 says only that no run was on the other side, as each of few runs may be:
    with 3 seeds in one setting the band held a true share of .16 in .4 of all simulations.
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

    Mann-Whitney's U / (n m) with ties half, two diverged ones being a tie. Like rliable, each side is resampled on
    its own: where seeds are shared and their scores correlate, the interval is wider than it need be.
    """
    _check(scheme)
    _check(baseline)
    assert scheme.shape[1] == baseline.shape[1]  # both in the same settings
    n = min(len(scheme), len(baseline))
    value = float(_improvement(scheme, baseline))
    if n < LEAST_SEEDS:
        return Measure(value, None, n)
    return Measure(value, _percentile(_improvement(_resample(scheme, seed), _resample(baseline, seed + 1))), n)


def coverage_remark(n: int) -> str:
    """Return what the 95 % intervals of mean and improvement really hold with `n` seeds, as simulated."""
    if n < LEAST_SEEDS:
        return f"no interval below {LEAST_SEEDS} seeds"
    expected = next(text for least, text in _COVERAGE if n >= least)
    return f"{n} seeds: expect a 95 % bootstrap interval to hold about {expected}"


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
    assert scores.size > 0  # the caller has at least one run
    assert not np.isnan(scores).any()  # diverged is minus infinity, a hole is the caller's to explain
    assert (scores < np.inf).all()  # no score is unbounded


def _resample(scores: Floats, seed: int) -> Floats:
    """Return (b, n, k) resamples: in every setting seeds drawn with replacement, each setting on its own."""
    index = np.random.default_rng(seed).integers(len(scores), size=(RESAMPLES, *scores.shape))
    return np.asarray(scores[index, np.arange(scores.shape[1])])


def _percentile(values: Floats) -> Interval:
    # An order statistic, not an interpolation, which between minus infinity and a number would be NaN.
    low, high = np.quantile(values, _ENDS, method="inverted_cdf")
    return Interval(float(low), float(high))


def _middle_mean(runs: Floats) -> Floats:
    """Return the 25 % trimmed mean of (..., n, k), as scipy.stats.trim_mean over the flattened runs."""
    flat = np.sort(runs.reshape(*runs.shape[:-2], -1), axis=-1)
    cut = int(0.25 * flat.shape[-1])
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def _improvement(scheme: Floats, baseline: Floats) -> Floats:
    """Return the mean over settings of U / (n m) for (..., n, k) against (..., m, k).

    One setting at a time: all pairs of all resamples in all settings at once would take gigabytes.
    """
    columns = range(scheme.shape[-1])
    chances = [_mann_whitney(scheme[..., column], baseline[..., column]) for column in columns]
    return np.asarray(np.stack(chances, axis=-1).mean(axis=-1))


def _mann_whitney(scheme: Floats, baseline: Floats) -> Floats:
    left, right = scheme[..., :, np.newaxis], baseline[..., np.newaxis, :]
    return np.asarray(((left > right).mean(axis=(-2, -1)) + (left >= right).mean(axis=(-2, -1))) / 2)
