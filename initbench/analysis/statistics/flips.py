"""Sign-flip tests on paired differences: of one, of a choice between two, and the interval of shifts they leave.

If the two sides of a pair are exchangeable, each sign vector of the differences is as likely as any other (Fisher, The
Design of Experiments, 1935, section 21). Up to 20 pairs all are enumerated; beyond, 99,999 are drawn, keyed by n and
`seed`, and the observed one is counted with them (Phipson and Smyth, 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from initbench.analysis.statistics.intervals import ALPHA, Bools, Floats

# Up to here all 2^n sign vectors are enumerated (2^19 sums by symmetry, 4 MB); beyond, FLIPS are drawn.
EXACT_PAIRS = 20
FLIPS = 99_999
DRAWN_AT_ONCE = 1_000
# Accuracies are counts over one size, so sums often tie; rounding must not break the ties.
ROUNDING = 1e-9


@dataclass(frozen=True)
class ChoiceTest:
    """Sign-flip tests of two differences of each pair, and of the choice between them.

    `shares_p` and `values_p` are those of each alone, None for one that takes no part: it has no pairs, or could not
    reach .05 whatever the signs while the other can. `chosen` maps each p to the probability that the smaller of both
    is at most that. Where both take part, `tail` holds the smaller p under every sign vector, in order, up to .05, and
    `vectors` is their number.
    """

    shares_p: float | None
    values_p: float | None
    chosen: Mapping[float, float] = field(default_factory=dict)
    tail: Floats | None = None
    vectors: int = 0

    def critical(self, alpha: float) -> float:
        """Return the level at which each alone rejects where the choice between both rejects at `alpha`."""
        if self.tail is None or len(self.tail) <= (within := _within(alpha, self.vectors)):
            return alpha
        refused = self.tail[within]
        if refused > alpha:
            return alpha
        # Between two p: below what is refused, above any that is not, also one that is never the smaller of both.
        return float(refused) - 0.5 / self.vectors if self.tail[0] < refused - ROUNDING else 0.0


def sign_flip(differences: Floats, seed: int = 0) -> float | None:
    """Return the two-sided p of the mean of paired `differences` (n,) under the sign vectors; None at n = 0."""
    if len(differences) == 0:
        return None
    extreme = abs(differences.sum()) - ROUNDING * np.abs(differences).sum()
    return float((np.abs(signed_sums(differences, seed)) >= extreme).mean())


def least_p(n: int) -> float | None:
    """Return the smallest p of the sign-flip test with `n` pairs, that of one sign vector and its mirror."""
    if n == 0:
        return None
    return 2.0 ** (1 - n) if n <= EXACT_PAIRS else 1 / (1 + FLIPS)


def sign_flip_interval(differences: Floats, alpha: float, seed: int = 0) -> tuple[float, float] | None:
    """Return the shifts of `differences` (n,) whose sign-flip p is above `alpha`; None where that is every shift.

    So 0 is outside exactly where the test rejects.
    """
    found = sign_flip_factors(differences, np.ones(len(differences)), alpha, seed)
    if found is None:
        return None
    # Halves that sum to 0 in exact arithmetic: their end is 0, or it would exclude a 0 that the test does not.
    rounding = ROUNDING * float(np.abs(differences).sum())
    low, high = (0.0 if abs(end) <= rounding else end for end in found)
    return low, high


def sign_flip_factors(larger: Floats, smaller: Floats, alpha: float, seed: int = 0) -> tuple[float, float] | None:
    """Return the factors f whose sign-flip p of `larger` - f `smaller`, both (n,), is above `alpha`; None if all are.

    `smaller` is positive; with ones, the factors are shifts. A flipped sum is as large as the observed one where f is
    between the ratios of sums of the flipped pairs and of the others, so the ends are order statistics of the ratios
    of subsets (of means: Hartigan, JASA 64, 1969).
    """
    if len(larger) == 0:
        return None
    sums, weights = signed_sums(larger, seed), signed_sums(smaller, seed)
    total, weight = sums[0], weights[0]
    # Each sign vector splits the pairs in two: the ratios of both halves. An empty half is as large at any factor.
    totals, sizes = np.concatenate((total + sums, total - sums)), np.concatenate((weight + weights, weight - weights))
    full = sizes > 0
    outside = _within(alpha, len(sums)) - int(len(full) - full.sum())
    if outside < 0:
        return None
    ratios = totals[full] / sizes[full]
    ends = outside, len(ratios) - 1 - outside
    low, high = np.partition(ratios, ends)[list(ends)]
    return float(low), float(high)


def choice_test(shares: Floats, values: Floats, seed: int = 0) -> ChoiceTest:
    """Return the tests of two differences of each pair, both (n,): of who succeeds and of how much; 0 where none.

    To take the smaller p is to let the data choose. What that costs is counted under the same sign vectors, as a swap
    of the sides of a pair changes both signs (Westfall and Young 1993): nothing where all pairs agree.
    """
    sizes = [int(np.count_nonzero(each)) for each in (shares, values)]
    able = [size > 0 and (least_p(size) or 0) <= ALPHA for size in sizes]
    if not all(able):
        # Which can reach .05 follows from how many pairs differ, not from which side is ahead.
        by_shares = able[0] or (sizes[1] == 0 < sizes[0])
        alone = sign_flip(shares if by_shares else values, seed)
        return ChoiceTest(alone, None) if by_shares else ChoiceTest(None, alone)
    sums = [np.abs(signed_sums(each, seed)) for each in (shares, values)]
    roundings = [ROUNDING * float(np.abs(each).sum()) for each in (shares, values)]
    p = [float((each >= each[0] - rounding).mean()) for each, rounding in zip(sums, roundings, strict=True)]
    chosen = {each: float(np.any(_reaching(sums, roundings, each), axis=0).mean()) for each in p}
    tails = _reaching(sums, roundings, ALPHA)
    either = np.any(tails, axis=0)
    of_tail = zip(sums, tails, roundings, strict=True)
    smaller = np.minimum(*(_tail_p(each, tail, either, rounding) for each, tail, rounding in of_tail))
    return ChoiceTest(p[0], p[1], chosen, np.sort(smaller), len(sums[0]))


def signed_sums(differences: Floats, seed: int = 0) -> Floats:
    """Return the sums of `differences` (n,) under the sign vectors, the observed one first; the array is read-only.

    Enumerated with the first sign fixed: mirroring does not change their size.
    """
    return _signed_sums(np.asarray(differences, dtype=np.float64).tobytes(), seed)


@lru_cache(maxsize=16)  # a family's differences: each is tested alone, in the choice, and for its interval
def _signed_sums(differences_as_bytes: bytes, seed: int) -> Floats:
    sums = _summed(np.frombuffer(differences_as_bytes), seed)
    sums.flags.writeable = False
    return sums


def _summed(differences: Floats, seed: int) -> Floats:
    if len(differences) > EXACT_PAIRS:
        return np.concatenate(([differences.sum()], drawn_sums(differences, drawn_signs(len(differences), seed))))
    sums = differences[:1].copy()
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


def _reaching(sums: Sequence[Floats], roundings: Sequence[float], p: float) -> list[Bools]:
    """Return, for each of the tests, under which sign vectors its p would be at most `p`."""
    return [each > _refused(each, p) + rounding for each, rounding in zip(sums, roundings, strict=True)]


def _refused(sizes: Floats, p: float) -> float:
    """Return the largest size that is reached too often for a p of at most `p`, below all where none is."""
    within = _within(p, len(sizes))
    return -1.0 if within >= len(sizes) else float(np.partition(sizes, -1 - within)[-1 - within])


def _tail_p(sizes: Floats, tail: Bools, either: Bools, rounding: float) -> Floats:
    """Return the p of a test under the sign vectors where `either` test is in its tail, 1 outside its own."""
    own, inside = np.sort(sizes[tail]), tail[either]
    p = np.ones(len(inside))
    p[inside] = (len(own) - np.searchsorted(own, sizes[tail] - rounding, side="left")) / len(sizes)
    return p


def _within(alpha: float, vectors: int) -> int:
    """Return how many of the sign vectors may be as extreme as the observed one for a p of at most `alpha`."""
    return int(np.floor(alpha * vectors + ROUNDING))
