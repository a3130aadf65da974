"""Paired comparison of a scheme with the baseline: differences, exact tests, and how many seeds would decide.

Two schemes with the same seed share split, batches and underlying draws, so they are compared in pairs. Arrays hold
finite numbers only: the caller drops the pairs of which one side has no value, and passes their number.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.statistics.flips import ROUNDING, least_p, sign_flip, sign_flip_interval
from initbench.analysis.statistics.intervals import ALPHA, CONFIDENCE, Bools, Floats

POWER = 0.80


@dataclass(frozen=True)
class Interval:
    """An interval, of 95 % where nothing else is said; `high` is None where it is unbounded above."""

    low: float
    high: float | None


@dataclass(frozen=True)
class Measure:
    """A statistic of `n` values with its interval; each is None where the values do not determine it."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class Share:
    """`count` of `n` trials, as a share with its Clopper-Pearson interval."""

    count: int
    n: int
    share: Measure

    @property
    def below_half(self) -> bool:
        """Whether the interval is below one half: fewer than half count, by more than chance."""
        high = None if self.share.interval is None else self.share.interval.high
        return high is not None and high <= 0.5 + ROUNDING

    @property
    def above_half(self) -> bool:
        """Whether the interval is above one half: more than half count, by more than chance."""
        return self.share.interval is not None and self.share.interval.low >= 0.5 - ROUNDING


@dataclass(frozen=True)
class Shares:
    """How many trials of each side succeed, in pairs: in `gained` only the scheme does, in `lost` only the baseline.

    Both intervals have the level of the comparison's adjusted test. `p` is that of the exact two-sided McNemar test,
    None without pairs.
    """

    scheme: Share
    baseline: Share
    gained: int
    lost: int
    p: float | None

    @property
    def either(self) -> int:
        """The pairs in which at least one side succeeds."""
        return self.scheme.count + self.lost


@dataclass(frozen=True)
class Lead:
    """What decides who is ahead in `n` pairs: their mean difference, and the chance that the first side is larger.

    Both are None without pairs; ties count half.
    """

    n: int
    mean: float | None
    improvement: float | None


@dataclass(frozen=True)
class Paired:
    """Scheme minus baseline over `n` pairs, in the units of the values; `dropped` pairs had one side without a value.

    The intervals of a comparison have the level 1 - `alpha`. That of `difference` holds the shifts that the sign-flip
    test does not reject at `alpha`, None with too few pairs to reject any. `extremes` are the least and the largest
    difference. `identical`: all differences are equal, so an interval of width zero means only that there is no spread.
    `p` is that of the exact sign-flip test of the mean, `p_least` the smallest possible with `n` pairs.
    `improvement` is the chance that a scheme's value is the larger of its pair, ties counted half; `correlation` is
    Pearson's, between the sides of a pair; the scheme's value is larger in `wins` pairs and smaller in `losses`.
    `deviation` is the standard deviation of the differences (n - 1).
    """

    n: int
    dropped: int
    alpha: float
    difference: Measure
    extremes: tuple[float, float]
    identical: bool
    p: float | None
    p_least: float | None
    improvement: Measure
    correlation: Measure
    wins: int
    losses: int
    deviation: float | None
    smallest_interesting: float

    @property
    def lead(self) -> Lead:
        """Who is ahead."""
        return Lead(self.n, self.difference.value, self.improvement.value)


def lead_of(scheme: Floats, baseline: Floats) -> Lead:
    """Return how `scheme` (n,) leads `baseline` (n,), without the intervals of `compare_pairs`, which cost more."""
    differences = exact_differences(scheme, baseline)
    n = len(differences)
    if not n:
        return Lead(0, None, None)
    wins, ties = (differences > 0).sum(), (differences == 0).sum()
    return Lead(n, float(differences.mean()), float((wins + ties / 2) / n))


def compare_pairs(
    scheme: Floats,
    baseline: Floats,
    *,
    smallest_interesting: float,
    alpha: float = ALPHA,
    dropped: int = 0,
    seed: int = 0,
) -> Paired:
    """Return how `scheme` (n,) differs from `baseline` (n,), entry i of both being of one seed.

    Values and `smallest_interesting` (positive) are in the same units. `alpha` is the level at which the family's
    adjusted test rejects, 0 where none can; beyond 20 pairs, `seed` governs the drawn sign vectors. NaN is an error of
    the caller: AssertionError.
    """
    assert scheme.shape == baseline.shape == (len(scheme),)
    assert np.isfinite([scheme, baseline]).all()
    assert smallest_interesting > 0
    differences = exact_differences(scheme, baseline)
    n, wins, losses = len(differences), int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(
        n=n,
        dropped=dropped,
        alpha=alpha,
        difference=_difference(differences, alpha, seed),
        extremes=(float(differences.min(initial=np.inf)), float(differences.max(initial=-np.inf))),
        identical=n > 0 and bool(np.ptp(differences) == 0),
        p=sign_flip(differences, seed),
        p_least=least_p(n),
        improvement=_improvement(wins, losses, n, alpha),
        correlation=_correlation(scheme, baseline),
        wins=wins,
        losses=losses,
        deviation=_deviation(differences),
        smallest_interesting=smallest_interesting,
    )


def compare_shares(scheme: Bools, baseline: Bools, alpha: float = ALPHA) -> Shares:
    """Return how many trials of `scheme` (n,) and `baseline` (n,) succeed, entry i of both being of one seed.

    The shares have intervals of level 1 - `alpha`.

    McNemar's test, exact: if both sides are alike, a pair that differs does so either way with equal chance (McNemar,
    Psychometrika 12, 1947).
    """
    assert scheme.shape == baseline.shape == (len(scheme),)
    gained, lost = int((scheme & ~baseline).sum()), int((baseline & ~scheme).sum())
    return Shares(
        scheme=share(int(scheme.sum()), len(scheme), alpha),
        baseline=share(int(baseline.sum()), len(baseline), alpha),
        gained=gained,
        lost=lost,
        p=sign_test(gained, lost) if len(scheme) else None,
    )


def share(count: int, n: int, alpha: float = ALPHA) -> Share:
    """Return `count` of `n` with its Clopper-Pearson interval; neither share nor interval at n = 0."""
    return Share(count, n, Measure(count / n, clopper_pearson(count, n, alpha), n) if n else Measure(None, None, 0))


def clopper_pearson(count: int, n: int, alpha: float = ALPHA) -> Interval:
    """Return the exact interval of a share: it never covers less, while Wilson's of 95 % drops to 84 % near 0 and 1."""
    tail = alpha / 2
    low = scipy.special.betaincinv(count, n - count + 1, tail) if count else 0.0
    high = scipy.special.betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
    return Interval(float(low), float(high))


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p of `wins` against `losses` of a fair coin, 1 without either."""
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


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


def exact_differences(scheme: Floats, baseline: Floats) -> Floats:
    """Return scheme - baseline without rounding errors, so that mathematically equal differences are equal.

    0.95 - 0.90 and 0.85 - 0.80 differ by 1e-16. Multiples of a power of two at 1e-14 of the largest value also add
    exactly.
    """
    differences = np.asarray(scheme, dtype=np.float64) - baseline
    largest = max(np.abs([scheme, baseline]).max(initial=0.0), np.finfo(np.float64).tiny)
    quantum = 2.0 ** (math.floor(math.log2(largest)) - 46)
    return np.round(differences / quantum) * quantum


def _difference(differences: Floats, alpha: float, seed: int) -> Measure:
    ends = sign_flip_interval(differences, alpha, seed)
    mean = float(differences.mean()) if len(differences) else None
    return Measure(mean, None if ends is None else Interval(*ends), len(differences))


def _deviation(differences: Floats) -> float | None:
    if len(differences) < 2:
        return None
    return 0.0 if np.ptp(differences) == 0 else float(differences.std(ddof=1))


def _improvement(wins: int, losses: int, n: int, alpha: float) -> Measure:
    """Return the chance that the scheme is above the baseline, ties counted half, with a conservative interval.

    Clopper-Pearson with every tie counted against the lower end and for the upper: it keeps its level however often
    pairs tie. The interval over untied pairs would be of another quantity, the chance given no tie.
    """
    if n == 0:
        return Measure(None, None, 0)
    interval = Interval(clopper_pearson(wins, n, alpha).low, clopper_pearson(n - losses, n, alpha).high)
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
