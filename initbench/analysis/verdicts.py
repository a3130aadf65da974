"""Words for numbers: one sentence a scheme on how it does against the baseline, and how sure that is.

Decided in this order:

1. *nothing to compare*: no seed is shared with the baseline.
2. *does not learn* (*does not reach*): fewer than half of the scheme's trials did, a count and not a test.
3. *too few seeds*: the exact test cannot reach .05 after Holm, whatever the numbers.
4. Holm-adjusted p <= .05: *learns* (*reaches*) where fewer than half of the baseline's trials do and the exact test of
   the shares, adjusted by itself, says so too; else *better* or *worse*, *faster* or *slower*.
5. *no difference*: none was detected, with the seeds that would settle the smallest interesting one.

Each comparison has one p, so Holm's family is the schemes and no more. Which test it is does not depend on which side
is the better one: accuracies of the pairs that finished, or who learned, where more pairs differ in that than finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from initbench.analysis.statistics.paired import (
    ALPHA,
    Measure,
    Paired,
    Share,
    Shares,
    holm,
    least_seeds,
    seeds_needed,
)
from initbench.analysis.statistics.survival import Speed

Kind = Literal[
    "better",
    "worse",
    "faster",
    "slower",
    "learns",
    "does not learn",
    "reaches",
    "does not reach",
    "no difference",
    "too few seeds",
    "nothing to compare",
]


@dataclass(frozen=True)
class Accuracy:
    """A scheme's accuracies against the baseline's, as shares: `pairs` that finished on both sides; who `learned`.

    `learned` is over all pairs of seeds; a diverged trial did not learn.
    """

    pairs: Paired
    learned: Shares


@dataclass(frozen=True)
class Verdict:
    """What can be said of one scheme against the baseline: `kind` for programs, `text` for people.

    `p` is adjusted by Holm over the schemes compared, None where nothing was tested; `n` the pairs tested;
    `seeds_needed` what would settle an open question, None where it is closed or nothing tells.
    """

    kind: Kind
    text: str
    p: float | None
    n: int
    seeds_needed: int | None


@dataclass(frozen=True)
class _Unit:
    """How a difference is said: `scale` turns the values' unit into the one named, shown with `decimals`."""

    name: str
    scale: int
    decimals: int

    def number(self, value: float, sign: str = "") -> str:
        """Return `3.1`, `240`, `0.04`: digits enough to be told from 0, unless it is rounding's."""
        scaled = self.scale * value
        small = 1e-9 < abs(scaled) < 10.0**-self.decimals
        return f"{scaled:{sign}{'.2g' if small else f'.{self.decimals}f'}}".replace("-", "−")

    def amount(self, value: float, sign: str = "") -> str:
        """Return `3.1 points`."""
        return f"{self.number(value, sign)} {self.name}s"

    def asked(self, value: float) -> str:
        """Return a round number as it was asked for: `1 point`, `50 steps`."""
        number = f"{self.scale * value:g}"
        return f"{number} {self.name}" + ("" if number == "1" else "s")


_POINTS = _Unit("point", scale=100, decimals=1)
_STEPS = _Unit("step", scale=1, decimals=0)


@dataclass(frozen=True)
class _Test:
    """One comparison's place in the family: its adjusted p, that of its shares, and the family's size."""

    p: float | None
    shares_p: float | None
    n: int
    family: int

    @property
    def different(self) -> bool:
        return self.p is not None and self.p <= ALPHA

    @property
    def shares_differ(self) -> bool:
        return self.different and self.shares_p is not None and self.shares_p <= ALPHA


def judge_accuracy(evidence: Sequence[Accuracy]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in points: hundredths of accuracy."""
    raw = [of.learned.p if tests_learning(of) else of.pairs.p for of in evidence]
    counts = [of.learned.scheme.n if tests_learning(of) else of.pairs.n for of in evidence]
    tests = _family(raw, [of.learned for of in evidence], counts)
    return tuple(_accuracy(of, test) for of, test in zip(evidence, tests, strict=True))


def judge_speed(evidence: Sequence[Speed]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in steps to the target."""
    tests = _family(
        [of.restricted.p for of in evidence], [of.reached for of in evidence], [of.restricted.n for of in evidence]
    )
    return tuple(_speed(of, test) for of, test in zip(evidence, tests, strict=True))


def measured_points(of: Accuracy) -> str:
    """Return `measured +0.3 points, 95 % interval −0.6 to 1.2, n = 10`, or why there is no such thing."""
    return _measured(of.pairs, _POINTS)


def tests_learning(of: Accuracy) -> bool:
    """Say whether the verdict tests who learned rather than the accuracies of the pairs that finished."""
    return of.learned.gained + of.learned.lost > of.pairs.n


def _family(raw: Sequence[float | None], shares: Sequence[Shares], counts: Sequence[int]) -> list[_Test]:
    family = sum(p is not None for p in raw)
    each = zip(holm(raw), holm([share.p for share in shares]), counts, strict=True)
    return [_Test(p, shares_p, n, family) for p, shares_p, n in each]


def _accuracy(of: Accuracy, test: _Test) -> Verdict:
    scheme, baseline = of.learned.scheme, of.learned.baseline
    if scheme.n == 0:
        return _nothing()
    if scheme.minority:
        return _verdict("does not learn", _too_rarely(of.learned, "learn"), test)
    known = "; ".join([_measured(of.pairs, _POINTS), *_learned(of.learned)])
    if test.n < least_seeds(test.family):
        return _too_few(test, known)
    if test.shares_differ and baseline.minority:
        return _verdict("learns", f"learns where the baseline does not ({_against(of.learned)})", test)
    if test.different:
        return _more_or_less_often(of.learned, test) if tests_learning(of) else _better_or_worse(of, test)
    return _no_difference(of.pairs, test, known, _POINTS)


def _speed(of: Speed, test: _Test) -> Verdict:
    scheme, baseline = of.reached.scheme, of.reached.baseline
    if scheme.n == 0:
        return _nothing()
    if scheme.minority:
        return _verdict("does not reach", _too_rarely(of.reached, "reach the target"), test)
    known = "; ".join([_measured(of.restricted, _STEPS), *_misses(of)])
    if test.n < least_seeds(test.family):
        return _too_few(test, known)
    if test.shares_differ and baseline.minority:
        return _verdict("reaches", f"reaches the target where the baseline does not ({_against(of.reached)})", test)
    if test.different:
        return _faster_or_slower(of, test)
    return _no_difference(of.restricted, test, known, _STEPS)


def _nothing() -> Verdict:
    return Verdict("nothing to compare", "nothing to compare: no seed is shared with the baseline", None, 0, None)


def _verdict(kind: Kind, text: str, test: _Test, needed: int | None = None) -> Verdict:
    return Verdict(kind, text, test.p, test.n, needed)


def _too_rarely(shares: Shares, did: str) -> str:
    other = "nor does the baseline" if shares.baseline.minority else "the baseline does"
    return f"does not {did} ({_of(shares.scheme)}); {other} ({_of(shares.baseline)})"


def _too_few(test: _Test, known: str) -> Verdict:
    least = least_seeds(test.family)
    text = f"too few seeds to tell: at least {least} needed, {test.n} compared ({known})"
    return _verdict("too few seeds", text, test, least)


def _more_or_less_often(learned: Shares, test: _Test) -> Verdict:
    kind: Kind = "better" if learned.gained > learned.lost else "worse"
    how = "more" if kind == "better" else "less"
    return _verdict(kind, f"{kind}: learns {how} often than the baseline ({_against(learned)})", test)


def _better_or_worse(of: Accuracy, test: _Test) -> Verdict:
    mean = of.pairs.difference.mean or 0.0
    kind: Kind = "better" if mean > 0 else "worse"
    rest = "; ".join([_interval(of.pairs, _POINTS, mirrored=mean < 0), *_learned(of.learned)])
    return _verdict(kind, f"{kind} by {_POINTS.amount(abs(mean))} ({rest})", test)


def _faster_or_slower(of: Speed, test: _Test) -> Verdict:
    mean = of.restricted.difference.mean or 0.0
    kind: Kind = "faster" if mean < 0 else "slower"
    rest = "; ".join(
        [_interval(of.restricted, _STEPS, mirrored=mean < 0), *_times(of.factor, kind == "faster"), *_misses(of)]
    )
    return _verdict(kind, f"{kind} by {_STEPS.amount(abs(mean))} ({rest})", test)


def _no_difference(pairs: Paired, test: _Test, known: str, unit: _Unit) -> Verdict:
    # Holm may ask this comparison for alpha / m: what settles it must pass there.
    needed = seeds_needed(pairs.deviation, pairs.smallest_interesting, ALPHA / test.family)
    # No spread to plan with, or the test was of other pairs than these.
    if needed is None or test.n != pairs.n:
        return _verdict("no difference", f"no detectable difference ({known})", test)
    interesting = unit.asked(pairs.smallest_interesting)
    if needed <= pairs.n:
        enough = f"{pairs.n} seeds would show one of {interesting} at least 4 times in 5"
        return _verdict("no difference", f"no detectable difference ({enough}; {known})", test)
    open_still = f"about {needed} seeds would settle a difference of {interesting}"
    return _verdict("no difference", f"no detectable difference ({open_still}; {known})", test, needed)


def _measured(pairs: Paired, unit: _Unit) -> str:
    """Return `measured +0.3 points, 95 % interval −0.6 to 1.2, n = 10`, or why there is no such thing."""
    mean = pairs.difference.mean
    if mean is None:
        return "no pair has both values"
    return f"measured {unit.amount(mean, '+')}, {_interval(pairs, unit)}"


def _interval(pairs: Paired, unit: _Unit, *, mirrored: bool = False) -> str:
    """Return the interval of the difference, of baseline minus scheme if `mirrored`, and the pairs it comes from."""
    low, high = pairs.difference.low, pairs.difference.high
    lost = f", {pairs.dropped} of {pairs.n + pairs.dropped} pairs left out: a side did not finish" * bool(pairs.dropped)
    if low is None or high is None:
        return f"no interval from one pair{lost}"
    if pairs.identical:
        return f"the same in all {pairs.n} pairs{lost}"
    ends = (-high, -low) if mirrored else (low, high)
    return f"95 % interval {unit.number(ends[0])} to {unit.number(ends[1])}, n = {pairs.n}{lost}"


def _times(factor: Measure, faster: bool) -> list[str]:
    """Return how many times the fewer steps go into the more, where all arrived."""
    if factor.value is None or factor.interval is None or factor.interval.high is None:
        return []
    ends = [factor.value, factor.interval.low, factor.interval.high]
    value, low, high = ends if faster else (1 / ends[0], 1 / ends[2], 1 / ends[1])
    return [f"{value:.2f} times as {'fast' if faster else 'many steps'}, {low:.2f} to {high:.2f}"]


def _misses(of: Speed) -> list[str]:
    if of.reached.scheme.count + of.reached.baseline.count == 2 * of.reached.scheme.n:
        return []
    return [f"reached {_against(of.reached)}; a miss counts as the budget of {of.budget:g} steps"]


def _learned(learned: Shares) -> list[str]:
    if learned.scheme.count + learned.baseline.count == 2 * learned.scheme.n:
        return []
    return [f"learned {_against(learned)}"]


def _against(shares: Shares) -> str:
    return f"{_of(shares.scheme)} against {_of(shares.baseline)}"


def _of(share: Share) -> str:
    return f"{share.count} of {share.n}"
