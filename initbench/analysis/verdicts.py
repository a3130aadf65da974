"""Verdicts: per scheme, a kind and a sentence on how it compares with the baseline, and how sure that is.

What is decided, and in which order, is in `decisions`; here are the words. Who learns (reaches the target) is tested
at any share: *learns where the baseline does not* where the interval of the scheme's share is above one half and that
of the baseline's below, *does not learn* the other way round, else *learns more often* or *less often*. Accuracies
(steps) decide *better* or *worse* (*faster* or *slower*). A comparison counts once in Holm's family of the schemes,
whichever of its two tests decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from initbench.analysis.comparing import AccuracyComparison, StepsComparison
from initbench.analysis.decisions import Decision, Outcome, decide, pairs_beside_mean, seeds_to_detect
from initbench.analysis.statistics.families import Adjusted, least_seeds
from initbench.analysis.statistics.intervals import ALPHA
from initbench.analysis.statistics.paired import Measure, Paired, Share, Shares
from initbench.analysis.statistics.survival import SpeedComparison
from initbench.core.words import rounded_up

Kind = Literal[
    "better",
    "worse",
    "faster",
    "slower",
    "learns",
    "learns more often",
    "learns less often",
    "does not learn",
    "too few learn",
    "reaches",
    "reaches more often",
    "reaches less often",
    "does not reach",
    "too few reach",
    "undecided",
    "no difference",
    "too few seeds",
    "too few images",
    "nothing to compare",
]


@dataclass(frozen=True)
class Verdict:
    """How one scheme compares with the baseline: `kind` for programs, `text` for people.

    `ahead` is 1 where the scheme is found better, -1 where it is worse, else 0. `p` is that of the test that the words
    follow, adjusted by Holm over the schemes compared, None where nothing was tested; `n` counts the pairs tested;
    `seeds_needed` would decide an open question, None where it is decided or cannot be planned. `beside` is what `text`
    says of pairs where the mean does not tell it: most of them point against it, or agree while it does not differ.
    """

    kind: Kind
    text: str
    p: float | None
    n: int
    seeds_needed: int | None
    ahead: int = 0
    beside: str = ""


@dataclass(frozen=True)
class _Unit:
    """How a difference is written: `scale` converts the values to the unit of this `name`, shown with `decimals`.

    `above` and `below` are the words for a larger and a smaller value.
    """

    name: str
    scale: int
    decimals: int
    above: str
    below: str

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


@dataclass(frozen=True)
class _Success:
    """The words of who succeeds, of the values that are compared, and the kinds of verdict."""

    does: str
    do: str
    values: str
    only: Kind
    never: Kind
    more: Kind
    less: Kind
    few: Kind


_POINTS = _Unit("point", scale=100, decimals=1, above="higher", below="lower")
_STEPS = _Unit("step", scale=1, decimals=0, above="slower", below="faster")
_LEARN = _Success(
    "learns",
    "learn",
    "accuracies",
    only="learns",
    never="does not learn",
    more="learns more often",
    less="learns less often",
    few="too few learn",
)
_REACH = _Success(
    "reaches the target",
    "reach the target",
    "steps",
    only="reaches",
    never="does not reach",
    more="reaches more often",
    less="reaches less often",
    few="too few reach",
)
_UNDECIDED: Mapping[Outcome, str] = {
    "survivors": "the side ahead lost more trials to divergence, so its lead is among survivors only",
    "opposed": "the mean and most pairs point in opposite directions",
}


def judge_accuracy(comparisons: Sequence[AccuracyComparison]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in points (hundredths of accuracy)."""
    return tuple(map(_accuracy, comparisons))


def judge_speed(comparisons: Sequence[StepsComparison]) -> tuple[Verdict, ...]:
    """Return one verdict per scheme, all against the same baseline, in steps to the target."""
    return tuple(map(_speed, comparisons))


def accuracy_decision(accuracy: AccuracyComparison) -> Decision:
    """Return what the tests of a comparison in accuracy decide."""
    learned = accuracy.learned
    return decide(accuracy.tests, learned, accuracy.pairs.lead, learned.scheme.n, accuracy.missing)


def without_learning(verdict: Verdict, accuracy: AccuracyComparison) -> Verdict:
    """Return a verdict where no score on the validation split is significant: that none learns is no finding there."""
    if verdict.kind in {"nothing to compare", "too few seeds", "better", "worse", "undecided", "no difference"}:
        said = "".join(f"; {counts}" for counts in _learned(accuracy.learned))
        return replace(verdict, text=verdict.text.replace(said, ""))
    text = f"too few validation images to tell who learns ({measured_points(accuracy)})"
    return Verdict("too few images", text, None, verdict.n, None)


def measured_points(accuracy: AccuracyComparison) -> str:
    """Return `measured +0.3 points, 95 % interval −0.6 to 1.2, n = 10`, or that there is none."""
    return _measured(accuracy.pairs, _POINTS)


def measured_steps(speed: SpeedComparison) -> str:
    """Return `measured −120 steps, 95 % interval −150 to −90, n = 10`, or that there is none."""
    return _measured(speed.restricted, _STEPS)


def _accuracy(accuracy: AccuracyComparison) -> Verdict:
    decision, learned = accuracy_decision(accuracy), accuracy.learned
    if decision.outcome == "values":
        return _better_or_worse(accuracy, decision.ahead)
    known = "; ".join([_measured(accuracy.pairs, _POINTS), *_beside(accuracy.pairs, _POINTS), *_learned(learned)])
    return _other(decision, accuracy.tests, learned, accuracy.pairs, known, _LEARN, _POINTS)


def _speed(steps: StepsComparison) -> Verdict:
    speed = steps.speed
    decision = decide(steps.tests, speed.reached, speed.restricted.lead, speed.reached.scheme.n)
    if decision.outcome == "values":
        return _faster_or_slower(speed, steps.tests, decision.ahead)
    known = "; ".join([_measured(speed.restricted, _STEPS), *_beside(speed.restricted, _STEPS), *_misses(speed)])
    return _other(decision, steps.tests, speed.reached, speed.restricted, known, _REACH, _STEPS)


def _other(
    decision: Decision, tests: Adjusted, shares: Shares, pairs: Paired, known: str, success: _Success, unit: _Unit
) -> Verdict:
    """Return the verdict of every outcome but that the values differ."""
    if decision.outcome == "nothing":
        return Verdict("nothing to compare", "nothing to compare: no seed is shared with the baseline", None, 0, None)
    if decision.outcome == "shares":
        return _by_shares(decision.ahead, tests, shares, success)
    if decision.outcome in {"none succeed", "too few succeed"}:
        return _too_rarely(shares, success)
    if decision.outcome == "too few seeds":
        return _too_few(tests, pairs, shares, known)
    beside = "".join(_beside(pairs, unit))
    if decision.outcome in _UNDECIDED:
        text = f"undecided: {_UNDECIDED[decision.outcome]} ({known})"
        return Verdict("undecided", text, tests.values_p, pairs.n, None, beside=beside)
    return replace(_no_difference(pairs, tests, shares.scheme.n, known, unit), beside=beside)


def _by_shares(ahead: int, tests: Adjusted, shares: Shares, success: _Success) -> Verdict:
    """Return the words of a test of who succeeds: does and does not only where the shares are beyond one half."""
    scheme, baseline = shares.scheme, shares.baseline
    more, fewer = (scheme, baseline) if ahead > 0 else (baseline, scheme)
    if more.above_half and fewer.below_half:
        kind = success.only if ahead > 0 else success.never
        where = f"{success.does} where the baseline does not ({_against(shares)})"
        not_there = f"does not {success.do} ({_ratio(scheme)}); the baseline does ({_ratio(baseline)})"
        return Verdict(kind, where if ahead > 0 else not_there, tests.shares_p, scheme.n, None, ahead)
    kind, how = (success.more, "more") if ahead > 0 else (success.less, "less")
    text = f"{success.does} {how} often than the baseline ({_against(shares)})"
    return Verdict(kind, text, tests.shares_p, scheme.n, None, ahead)


def _too_rarely(shares: Shares, success: _Success) -> Verdict:
    own, other = _ratio(shares.scheme), _ratio(shares.baseline)
    if shares.either:
        text = f"too few {success.do} to compare {success.values} ({own}; of the baseline {other})"
        return Verdict(success.few, text, None, shares.scheme.n, None)
    text = f"does not {success.do} ({own}); nor does the baseline ({other})"
    return Verdict(success.never, text, None, shares.scheme.n, None)


def _too_few(tests: Adjusted, pairs: Paired, shares: Shares, known: str) -> Verdict:
    least = least_seeds(tests.family)
    compared = pairs.n if shares.scheme.n >= least else shares.scheme.n
    text = f"too few seeds to tell: at least {least} needed, {compared} compared ({known})"
    return Verdict("too few seeds", text, tests.p, compared, least)


def _better_or_worse(accuracy: AccuracyComparison, ahead: int) -> Verdict:
    mean = accuracy.pairs.difference.value or 0.0
    kind: Kind = "better" if ahead > 0 else "worse"
    pairs, beside = accuracy.pairs, _beside(accuracy.pairs, _POINTS)
    rest = "; ".join([_interval(pairs, _POINTS, mirrored=ahead < 0), *beside, *_learned(accuracy.learned)])
    text = f"{kind} by {_POINTS.amount(abs(mean))} ({rest})"
    return Verdict(kind, text, accuracy.tests.values_p, pairs.n, None, ahead, "".join(beside))


def _faster_or_slower(speed: SpeedComparison, tests: Adjusted, more: int) -> Verdict:
    mean = speed.restricted.difference.value or 0.0
    kind: Kind = "faster" if more < 0 else "slower"
    interval = _interval(speed.restricted, _STEPS, mirrored=more < 0)
    beside = _beside(speed.restricted, _STEPS)
    rest = "; ".join([interval, *_times(speed.factor, kind == "faster"), *beside, *_misses(speed)])
    text = f"{kind} by {_STEPS.amount(abs(mean))} ({rest})"
    return Verdict(kind, text, tests.values_p, speed.restricted.n, None, -more, "".join(beside))


def _no_difference(pairs: Paired, tests: Adjusted, seeds: int, known: str, unit: _Unit) -> Verdict:
    needed = seeds_to_detect(pairs, tests)
    n = seeds if tests.values_p is None else pairs.n
    if needed is None:
        return Verdict("no difference", f"no detectable difference ({known})", tests.p, n, None)
    interesting = unit.threshold(pairs.smallest_interesting)
    if needed <= pairs.n:
        enough = f"{pairs.n} seeds would detect one of {interesting} at least 4 times in 5"
        return Verdict("no difference", f"no detectable difference ({enough}; {known})", tests.p, n, None)
    more = f"about {rounded_up(needed)} seeds would detect a difference of {interesting}"
    return Verdict("no difference", f"no detectable difference ({more}; {known})", tests.p, n, needed)


def _measured(pairs: Paired, unit: _Unit) -> str:
    mean = pairs.difference.value
    if mean is None:
        return "no pair has both values"
    return f"measured {unit.amount(mean, '+')}, {_interval(pairs, unit)}"


def _beside(pairs: Paired, unit: _Unit) -> list[str]:
    """Return `lower in 7 of 10 pairs`, where the mean does not tell that."""
    count = pairs_beside_mean(pairs)
    return [f"{unit.above if count > 0 else unit.below} in {abs(count)} of {pairs.n} pairs"] if count else []


def _interval(pairs: Paired, unit: _Unit, *, mirrored: bool = False) -> str:
    """Return the interval of the difference (of baseline minus scheme if `mirrored`), n and the pairs left out."""
    left_out = f", {pairs.dropped} of {pairs.n + pairs.dropped} pairs left out: one side did not finish"
    lost = left_out if pairs.dropped else ""
    if pairs.n == 1:
        return f"no interval from one pair{lost}"
    if pairs.identical:
        return f"the same in all {pairs.n} pairs{lost}"
    found = pairs.difference.interval
    ends = pairs.extremes if found is None or found.high is None else (found.low, found.high)
    low, high = (-ends[1], -ends[0]) if mirrored else ends
    span = "single pairs" if found is None else f"{confidence(pairs.alpha)} interval"
    return f"{span} {unit.number(low)} to {unit.number(high)}, n = {pairs.n}{lost}"


def points(share: float, unit: str = " points") -> str:
    """Return a difference of accuracies in points, hundredths: `3.1 points`."""
    return f"{_POINTS.number(share)}{unit}"


def confidence(alpha: float) -> str:
    """Return the level of an interval, rounded down where it would read as 100: `95 %`, `99.3 %`."""
    return f"{min(100 * (1 - alpha), 99.99):.3g} %" if alpha >= 0.001 else f"{min(100 * (1 - alpha), 99.999):.5g} %"


def p_value(p: float | None) -> str:
    """Return `p = 0.014` or `p < 0.001`, nothing where nothing was tested.

    Two digits, and more where fewer would read as .05, which a larger p is not.
    """
    if p is None:
        return ""
    if p < 0.001:
        return "p < 0.001"
    texts = (f"{p:.{digits}g}" for digits in range(2, 17))
    return f"p = {next(text for text in texts if p <= ALPHA or float(text) > ALPHA)}"


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
