"""Paired comparison of a scheme with the baseline: differences, exact tests, and how many seeds would decide.

Two schemes with the same seed share split, batches and underlying draws, so they are compared in pairs. Arrays hold
finite numbers only: the caller drops the pairs of which one side has no value, and passes their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second
from numpy.typing import NDArray

from initbench.analysis.statistics.intervals import CONFIDENCE, Estimate, Floats, mean_interval

ALPHA = 0.05
POWER = 0.80
RESAMPLES = 4999
# Up to here all 2^n sign vectors are enumerated (2^19 sums by symmetry, 4 MB); beyond, FLIPS are drawn.
EXACT_PAIRS = 20
FLIPS = 99_999
DRAWN_AT_ONCE = 1_000
NUMBERS_AT_ONCE = 20_000  # which fit into a processor's cache
# Below, resamples of so few values are too often constant for studentized ends to mean anything.
BOOTSTRAP_PAIRS = 5

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; `high` is None where it is unbounded above."""

    low: float
    high: float | None


@dataclass(frozen=True)
class Measure:
    """A statistic of `n` values with its 95 % interval; each is None where the values do not determine it."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class Share:
    """`count` of `n` trials, as a share with its 95 % Clopper-Pearson interval."""

    count: int
    n: int
    share: Measure

    @property
    def minority(self) -> bool:
        """Whether fewer than half of the trials count, as where there are none."""
        return 2 * self.count < self.n or self.n == 0


@dataclass(frozen=True)
class Shares:
    """How many trials of each side succeed, in pairs: in `gained` only the scheme does, in `lost` only the baseline.

    `p` is that of the exact two-sided McNemar test, None without pairs.
    """

    scheme: Share
    baseline: Share
    gained: int
    lost: int
    p: float | None


@dataclass(frozen=True)
class Paired:
    """Scheme minus baseline over `n` pairs, in the units of the values; `dropped` pairs had one side without a value.

    `difference` carries the Student t interval; `bootstrap` is the bootstrap-t interval, for few and skewed
    values. `identical`: all differences are equal, so an interval of width zero means only that there is no spread.
    `p` is that of the exact sign-flip test of the mean, `p_least` the smallest possible with `n` pairs.
    `improvement` is the chance that a scheme's value is the larger of its pair, ties counted half; `correlation` is
    Pearson's, between the sides of a pair. `deviation` is the standard deviation of the differences (n - 1), and
    `seeds_needed` the pairs that detect a difference of `smallest_interesting` with 80 % power.
    """

    n: int
    dropped: int
    difference: Estimate
    bootstrap: Interval | None
    identical: bool
    p: float | None
    p_least: float | None
    improvement: Measure
    correlation: Measure
    deviation: float | None
    smallest_interesting: float
    seeds_needed: int | None


def compare_pairs(
    scheme: Floats, baseline: Floats, *, smallest_interesting: float, dropped: int = 0, seed: int = 0
) -> Paired:
    """Return how `scheme` (n,) differs from `baseline` (n,), entry i of both being of one seed.

    Values and `smallest_interesting` (positive) are in the same units. `seed` governs the bootstrap and, beyond 20
    pairs, the drawn sign vectors. NaN is an error of the caller: AssertionError.
    """
    assert scheme.shape == baseline.shape == (len(scheme),)
    assert np.isfinite([scheme, baseline]).all()
    assert smallest_interesting > 0
    differences = _differences(scheme, baseline)
    n = len(differences)
    deviation = _deviation(differences)
    return Paired(
        n=n,
        dropped=dropped,
        difference=mean_interval(differences),
        bootstrap=bootstrap_t(differences, np.random.default_rng((seed, n, 1))),
        identical=n > 0 and bool(np.ptp(differences) == 0),
        p=sign_flip(differences, seed),
        p_least=least_p(n),
        improvement=_improvement(int((differences > 0).sum()), int((differences < 0).sum()), n),
        correlation=_correlation(scheme, baseline),
        deviation=deviation,
        smallest_interesting=smallest_interesting,
        seeds_needed=seeds_needed(deviation, smallest_interesting),
    )


def compare_shares(scheme: Bools, baseline: Bools) -> Shares:
    """Return how many trials of `scheme` (n,) and `baseline` (n,) succeed, entry i of both being of one seed.

    McNemar's test, exact: if both sides are alike, a pair that differs does so either way with equal chance (McNemar,
    Psychometrika 12, 1947).
    """
    assert scheme.shape == baseline.shape == (len(scheme),)
    gained, lost = int((scheme & ~baseline).sum()), int((baseline & ~scheme).sum())
    return Shares(
        scheme=share(int(scheme.sum()), len(scheme)),
        baseline=share(int(baseline.sum()), len(baseline)),
        gained=gained,
        lost=lost,
        p=sign_test(gained, lost) if len(scheme) else None,
    )


def share(count: int, n: int) -> Share:
    """Return `count` of `n` with its Clopper-Pearson interval; neither share nor interval at n = 0."""
    return Share(count, n, Measure(count / n, clopper_pearson(count, n), n) if n else Measure(None, None, 0))


def clopper_pearson(count: int, n: int) -> Interval:
    """Return the exact 95 % interval of a share: it never covers less, while Wilson's drops to 84 % near 0 and 1."""
    tail = (1 - CONFIDENCE) / 2
    low = scipy.special.betaincinv(count, n - count + 1, tail) if count else 0.0
    high = scipy.special.betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
    return Interval(float(low), float(high))


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p of `wins` against `losses` of a fair coin, 1 without either."""
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def sign_flip(differences: Floats, seed: int = 0) -> float | None:
    """Return the two-sided p of the mean of paired `differences` (n,) under all 2^n sign vectors; None at n = 0.

    Exact if the two sides of a pair are exchangeable (Fisher, The Design of Experiments, 1935, section 21). Beyond 20
    pairs 99,999 sign vectors are drawn, keyed by n and `seed`, and the observed one is counted with them (Phipson and
    Smyth, 2010).
    """
    if len(differences) == 0:
        return None
    # Accuracies are counts over one size, so sums often tie; rounding must not break the ties.
    extreme = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if len(differences) <= EXACT_PAIRS:
        return float((np.abs(_signed_sums(differences)) >= extreme).mean())
    sums = np.abs(drawn_sums(differences, drawn_signs(len(differences), seed)))
    return float((1 + (sums >= extreme).sum()) / (1 + FLIPS))


def least_p(n: int) -> float | None:
    """Return the smallest p of the sign-flip test with `n` pairs, that of one sign vector and its mirror."""
    if n == 0:
        return None
    return 2.0 ** (1 - n) if n <= EXACT_PAIRS else 1 / (1 + FLIPS)


def bootstrap_t(values: Floats, generator: np.random.Generator) -> Interval | None:
    """Return the 95 % bootstrap-t interval of the mean of (n,) values from 4,999 resamples.

    Studentized (Efron and Tibshirani 1993, chapter 12): on skewed values it keeps more of its coverage than Student's
    t. None below 5 values, without spread, and where so many resamples are constant, with an infinite studentized
    mean, that they reach an end.
    """
    n = len(values)
    if n < BOOTSTRAP_PAIRS or np.ptp(values) == 0:
        return None
    # A few rows at a time: 4,999 resamples of 1,000 values are 40 MB.
    rows = max(1, NUMBERS_AT_ONCE // n)
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    mean = float(values.mean())
    t = np.concatenate([studentized(values.take(generator.integers(n, size=(k, n))), mean) for k in sizes])
    low, high = np.quantile(t, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
    if not np.isfinite([low, high]).all():
        return None
    error = values.std(ddof=1) / math.sqrt(n)
    return Interval(float(values.mean() - high * error), float(values.mean() - low * error))


def studentized(resamples: Floats, mean: float) -> Floats:
    """Return (mean of row - `mean`) / its standard error for rows of (b, n), infinite where a row has no spread."""
    excess = resamples.mean(axis=1) - mean
    spread = resamples.std(axis=1, ddof=1) / math.sqrt(resamples.shape[1])
    flat = np.ptp(resamples, axis=1) == 0
    # 0 * inf would be NaN: a constant row exactly at the mean counts for neither end.
    infinite = np.where(excess == 0, 0.0, np.copysign(np.inf, excess))
    return np.where(flat, infinite, excess / np.where(flat, 1.0, spread))


def holm(p: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return p-values adjusted by Holm's step-down method, in their order (Scand. J. Statist. 6, 1979).

    None, a comparison that was not tested, stays None and is not counted: it cannot be a false positive.
    """
    tested = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * value))
        adjusted[i] = largest
    return tuple(adjusted)


def least_seeds(comparisons: int, alpha: float = ALPHA) -> int:
    """Return the fewest pairs with which the exact test can reach `alpha` at Holm's first step of `comparisons`.

    2 / 2^n <= alpha / m, so n >= 1 + log2(m / alpha): 6 for one comparison, 8 for four, 9 for seven.
    """
    n = 1
    while comparisons * 2.0 ** (1 - n) > alpha:
        n += 1
    return n


def seeds_needed(deviation: float | None, difference: float, alpha: float = ALPHA) -> int | None:
    """Return the pairs with which a two-sided paired t test at `alpha` detects `difference` with 80 % power.

    `deviation` is the standard deviation of the paired differences; None without one (fewer than two pairs, or
    identical ones). Iterated on the noncentral t (Colas et al., arXiv 1806.08295).
    """
    if not deviation:
        return None
    effect = difference / deviation
    normal = float(scipy.stats.norm.ppf(1 - alpha / 2) + scipy.stats.norm.ppf(POWER)) / effect
    n = max(2, math.floor(normal**2))  # the normal approximation is a few too low
    while paired_t_power(n, effect, alpha) < POWER:
        n += 1
    return n


def paired_t_power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """Return the power of the two-sided paired t test with `n` pairs at a true mean of `effect` deviations."""
    critical, shift = scipy.special.stdtrit(n - 1, 1 - alpha / 2), effect * math.sqrt(n)
    # scipy.special gives the same numbers as scipy.stats.nct in a tenth of the time.
    return float(1 - scipy.special.nctdtr(n - 1, shift, critical) + scipy.special.nctdtr(n - 1, shift, -critical))


def _differences(scheme: Floats, baseline: Floats) -> Floats:
    """Return scheme - baseline without rounding errors, so that mathematically equal differences are equal.

    0.95 - 0.90 and 0.85 - 0.80 differ by 1e-16. Multiples of a power of two at 1e-14 of the largest value also add
    exactly.
    """
    differences = np.asarray(scheme, dtype=np.float64) - baseline
    largest = max(np.abs([scheme, baseline]).max(initial=0.0), np.finfo(np.float64).tiny)
    quantum = 2.0 ** (math.floor(math.log2(largest)) - 46)
    return np.round(differences / quantum) * quantum


def _signed_sums(differences: Floats) -> Floats:
    """Return the sums under all sign vectors with the first sign fixed: mirroring does not change their size."""
    sums = differences[:1]
    for difference in differences[1:]:
        sums = np.concatenate((sums + difference, sums - difference))
    return sums


@lru_cache(maxsize=2)  # all schemes of a panel have the same n, and drawing takes longer than the test
def drawn_signs(n: int, seed: int) -> NDArray[np.uint8]:
    """Return 99,999 sign vectors of n entries, packed into bytes: (ceil(n / 8), 99,999).

    The first of eight signs is in the highest bit; a set bit stands for +1.
    """
    generator = np.random.default_rng((seed, n, 2))
    sizes = [DRAWN_AT_ONCE] * (FLIPS // DRAWN_AT_ONCE) + [FLIPS % DRAWN_AT_ONCE]
    drawn = [np.packbits(generator.integers(2, size=(k, n)).astype(np.bool_), axis=1) for k in sizes]
    return np.ascontiguousarray(np.concatenate(drawn).T)


def drawn_sums(differences: Floats, signs: NDArray[np.uint8]) -> Floats:
    """Return the sums of `differences` (n,) under each of the sign vectors of `drawn_signs`, (99,999,).

    The 256 sums of every eight differences are computed once and looked up: an eighth of the additions, without
    unpacking the signs.
    """
    eights = np.pad(differences, (0, -len(differences) % 8)).reshape(-1, 8)
    patterns = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
    sums = np.zeros(signs.shape[1])
    for table, chosen in zip(eights @ patterns.T, signs, strict=True):
        sums += table[chosen]
    return sums


def _deviation(differences: Floats) -> float | None:
    if len(differences) < 2:
        return None
    return 0.0 if np.ptp(differences) == 0 else float(differences.std(ddof=1))


def _improvement(wins: int, losses: int, n: int) -> Measure:
    """Return the chance that the scheme is above the baseline, ties counted half, with a conservative interval.

    Clopper-Pearson with every tie counted against the lower end and for the upper: it covers at least 95 % however
    often pairs tie. The interval over untied pairs would be of another quantity, the chance given no tie.
    """
    if n == 0:
        return Measure(None, None, 0)
    interval = Interval(clopper_pearson(wins, n).low, clopper_pearson(n - losses, n).high)
    return Measure((wins + (n - wins - losses) / 2) / n, interval, n)


def _correlation(scheme: Floats, baseline: Floats) -> Measure:
    """Return Pearson's correlation with Fisher's z interval; two points are always on a line, so n >= 3."""
    n = len(scheme)
    if n < 3 or np.ptp(scheme) == 0 or np.ptp(baseline) == 0:
        return Measure(None, None, n)
    value = float(np.clip(np.corrcoef(scheme, baseline)[0, 1], -1, 1))
    return Measure(value, _fisher(value, n), n)


def _fisher(value: float, n: int) -> Interval | None:
    if n < 4 or abs(value) == 1:
        return None
    half = float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)) / math.sqrt(n - 3)
    return Interval(math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half))
