"""Verdicts: per scheme, a kind and a sentence on how it compares with the baseline, and how sure that is.

The kind is decided in this order:

1. *nothing to compare*: the scheme shares no seed with the baseline.
2. *does not learn* (*does not reach*): fewer than half of the scheme's trials did, a count, not a test.
3. *too few seeds*: the exact test cannot reach .05 after Holm, whatever the values.
4. Holm-adjusted p <= .05: *learns* (*reaches*) where fewer than half of the baseline's trials do and the exact test of
   the shares, adjusted by itself, says so too; else *better* or *worse*, *faster* or *slower*.
5. *no difference*: none was detected; given with the seeds that would detect the smallest interesting one.

Each comparison has one p, so Holm's family is the schemes. The test does not depend on which side is better: it is of
the accuracies of the pairs that finished or, where more pairs differ in who learned than finished, of who learned.
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
from initbench.analysis.statistics.survival import SpeedComparison

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
    "too few images",
    "nothing to compare",
]


@dataclass(frozen=True)
class AccuracyComparison:
    """A scheme's accuracies against the baseline's, as shares: `pairs` that finished on both sides, and who `learned`.

    `learned` is over all pairs of seeds; a diverged trial did not learn.
    """

    pairs: Paired
    learned: Shares


@dataclass(frozen=True)
class Verdict:
    """How one scheme compares with the baseline: `kind` for programs, `text` for people.

    `p` is adjusted by Holm over the schemes compared, None where nothing was tested; `n` counts the pairs tested;
    `seeds_needed` would decide an open question, None where it is decided or cannot be planned.
    """

    kind: Kind
    text: str
    p: float | None
    n: int
    seeds_needed: int | None


@dataclass(frozen=True)
class _Unit:
    """How a difference is written: `scale` converts the values to the unit of this `name`, shown with `decimals`."""

    name: str
    scale: int
    decimals: int

    def number(self, value: float, sign: str = "") -> str:
        """Return `3.1`, `240`, `0.04`: with enough digits to differ from 0, unless it is a rounding error."""
        scaled = self.scale * value
        small = 1e-9 < abs(scaled) < 10.0**-self.decimals
        return f"{scaled:{sign}{'.2g' if small else f'.{self.decimals}f'}}".replace("-", "−")

    def amount(self, value: float, sign: str = "") -> str:
        """Return `3.1 points`."""
        return f"{self.number(value, sign)} {self.name}s"

    def threshold(self, value: float) -> str:
        """Return a round number without trailing zeros: `1 point`, `50 steps`."""
        number = f"{self.scale * value:g}"
        return f"{number} {self.name}" + ("" if number == "1" else "s")


_POINTS = _Unit("point", scale=100, decimals=1)
_STEPS = _Unit("step", scale=1, decimals=0)


@dataclass(frozen=True)
class _Test:
    """The test of one comparison: its adjusted p, that of its shares, its pairs and the size of the family."""

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


def judge_accuracy(comparisons: Sequence[AccuracyComparison]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in points (hundredths of accuracy)."""
    raw = [each.learned.p if tests_learning(each) else each.pairs.p for each in comparisons]
    counts = [each.learned.scheme.n if tests_learning(each) else each.pairs.n for each in comparisons]
    tests = _family(raw, [each.learned for each in comparisons], counts)
    return tuple(map(_accuracy, comparisons, tests))


def judge_speed(comparisons: Sequence[SpeedComparison]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in steps to the target."""
    steps = [each.restricted for each in comparisons]
    tests = _family([pairs.p for pairs in steps], [each.reached for each in comparisons], [pairs.n for pairs in steps])
    return tuple(map(_speed, comparisons, tests))


def without_learning(verdict: Verdict, accuracy: AccuracyComparison) -> Verdict:
    """Return a verdict where no score on the validation split is significant: that none learns is no finding there."""
    if verdict.kind in {"nothing to compare", "too few seeds", "better", "worse", "no difference"}:
        return verdict
    text = f"too few validation images to tell who learns ({measured_points(accuracy)})"
    return Verdict("too few images", text, None, verdict.n, None)


def measured_points(accuracy: AccuracyComparison) -> str:
    """Return `measured +0.3 points, 95 % interval −0.6 to 1.2, n = 10`, or that there is none."""
    return _measured(accuracy.pairs, _POINTS)


def tests_learning(accuracy: AccuracyComparison) -> bool:
    """Return whether the verdict tests who learned rather than the accuracies of the pairs that finished."""
    return accuracy.learned.gained + accuracy.learned.lost > accuracy.pairs.n


def _family(raw: Sequence[float | None], shares: Sequence[Shares], counts: Sequence[int]) -> list[_Test]:
    family = sum(p is not None for p in raw)
    each = zip(holm(raw), holm([share.p for share in shares]), counts, strict=True)
    return [_Test(p, shares_p, n, family) for p, shares_p, n in each]


def _accuracy(accuracy: AccuracyComparison, test: _Test) -> Verdict:
    scheme, baseline = accuracy.learned.scheme, accuracy.learned.baseline
    if scheme.n == 0:
        return _nothing()
    if scheme.minority:
        return _verdict("does not learn", _too_rarely(accuracy.learned, "learn"), test)
    known = "; ".join([_measured(accuracy.pairs, _POINTS), *_learned(accuracy.learned)])
    if test.n < least_seeds(test.family):
        return _too_few(test, known)
    if test.shares_differ and baseline.minority:
        return _verdict("learns", f"learns where the baseline does not ({_against(accuracy.learned)})", test)
    if test.different:
        by_learning = tests_learning(accuracy)
        return _more_or_less_often(accuracy.learned, test) if by_learning else _better_or_worse(accuracy, test)
    return _no_difference(accuracy.pairs, test, known, _POINTS)


def _speed(speed: SpeedComparison, test: _Test) -> Verdict:
    scheme, baseline = speed.reached.scheme, speed.reached.baseline
    if scheme.n == 0:
        return _nothing()
    if scheme.minority:
        return _verdict("does not reach", _too_rarely(speed.reached, "reach the target"), test)
    known = "; ".join([_measured(speed.restricted, _STEPS), *_misses(speed)])
    if test.n < least_seeds(test.family):
        return _too_few(test, known)
    if test.shares_differ and baseline.minority:
        return _verdict("reaches", f"reaches the target where the baseline does not ({_against(speed.reached)})", test)
    if test.different:
        return _faster_or_slower(speed, test)
    return _no_difference(speed.restricted, test, known, _STEPS)


def _nothing() -> Verdict:
    return Verdict("nothing to compare", "nothing to compare: no seed is shared with the baseline", None, 0, None)


def _verdict(kind: Kind, text: str, test: _Test, needed: int | None = None) -> Verdict:
    return Verdict(kind, text, test.p, test.n, needed)


def _too_rarely(shares: Shares, did: str) -> str:
    other = "nor does the baseline" if shares.baseline.minority else "the baseline does"
    return f"does not {did} ({_ratio(shares.scheme)}); {other} ({_ratio(shares.baseline)})"


def _too_few(test: _Test, known: str) -> Verdict:
    least = least_seeds(test.family)
    text = f"too few seeds to tell: at least {least} needed, {test.n} compared ({known})"
    return _verdict("too few seeds", text, test, least)


def _more_or_less_often(learned: Shares, test: _Test) -> Verdict:
    kind: Kind = "better" if learned.gained > learned.lost else "worse"
    how = "more" if kind == "better" else "less"
    return _verdict(kind, f"{kind}: learns {how} often than the baseline ({_against(learned)})", test)


def _better_or_worse(accuracy: AccuracyComparison, test: _Test) -> Verdict:
    mean = accuracy.pairs.difference.mean or 0.0
    kind: Kind = "better" if mean > 0 else "worse"
    rest = "; ".join([_interval(accuracy.pairs, _POINTS, mirrored=mean < 0), *_learned(accuracy.learned)])
    return _verdict(kind, f"{kind} by {_POINTS.amount(abs(mean))} ({rest})", test)


def _faster_or_slower(speed: SpeedComparison, test: _Test) -> Verdict:
    mean = speed.restricted.difference.mean or 0.0
    kind: Kind = "faster" if mean < 0 else "slower"
    interval = _interval(speed.restricted, _STEPS, mirrored=mean < 0)
    rest = "; ".join([interval, *_times(speed.factor, kind == "faster"), *_misses(speed)])
    return _verdict(kind, f"{kind} by {_STEPS.amount(abs(mean))} ({rest})", test)


def _no_difference(pairs: Paired, test: _Test, known: str, unit: _Unit) -> Verdict:
    # Holm may require alpha / m of this comparison: plan for that.
    needed = seeds_needed(pairs.deviation, pairs.smallest_interesting, ALPHA / test.family)
    # No spread to plan with, or the test was of who learned.
    if needed is None or test.n != pairs.n:
        return _verdict("no difference", f"no detectable difference ({known})", test)
    interesting = unit.threshold(pairs.smallest_interesting)
    if needed <= pairs.n:
        enough = f"{pairs.n} seeds would detect one of {interesting} at least 4 times in 5"
        return _verdict("no difference", f"no detectable difference ({enough}; {known})", test)
    more = f"about {needed} seeds would detect a difference of {interesting}"
    return _verdict("no difference", f"no detectable difference ({more}; {known})", test, needed)


def _measured(pairs: Paired, unit: _Unit) -> str:
    """Return `measured +0.3 points, 95 % interval −0.6 to 1.2, n = 10`, or that there is none."""
    mean = pairs.difference.mean
    if mean is None:
        return "no pair has both values"
    return f"measured {unit.amount(mean, '+')}, {_interval(pairs, unit)}"


def _interval(pairs: Paired, unit: _Unit, *, mirrored: bool = False) -> str:
    """Return the interval of the difference (of baseline minus scheme if `mirrored`), n and the pairs left out."""
    low, high = pairs.difference.low, pairs.difference.high
    left_out = f", {pairs.dropped} of {pairs.n + pairs.dropped} pairs left out: one side did not finish"
    lost = left_out if pairs.dropped else ""
    if low is None or high is None:
        return f"no interval from one pair{lost}"
    if pairs.identical:
        return f"the same in all {pairs.n} pairs{lost}"
    ends = (-high, -low) if mirrored else (low, high)
    return f"95 % interval {unit.number(ends[0])} to {unit.number(ends[1])}, n = {pairs.n}{lost}"


def _times(factor: Measure, faster: bool) -> list[str]:
    """Return how many times as fast, or as many steps, where both of every pair reached the target."""
    if factor.value is None or factor.interval is None or factor.interval.high is None:
        return []
    ends = [factor.value, factor.interval.low, factor.interval.high]
    value, low, high = ends if faster else (1 / ends[0], 1 / ends[2], 1 / ends[1])
    return [f"{value:.2f} times as {'fast' if faster else 'many steps'}, {low:.2f} to {high:.2f}"]


def _misses(speed: SpeedComparison) -> list[str]:
    if speed.reached.scheme.count + speed.reached.baseline.count == 2 * speed.reached.scheme.n:
        return []
    return [f"reached {_against(speed.reached)}; a miss counts as the budget of {speed.budget:g} steps"]


def _learned(learned: Shares) -> list[str]:
    if learned.scheme.count + learned.baseline.count == 2 * learned.scheme.n:
        return []
    return [f"learned {_against(learned)}"]


def _against(shares: Shares) -> str:
    return f"{_ratio(shares.scheme)} against {_ratio(shares.baseline)}"


def _ratio(share: Share) -> str:
    return f"{share.count} of {share.n}"
