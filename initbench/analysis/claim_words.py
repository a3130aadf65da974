"""Claims in words: the sentence after a claim's status, from what was decided and measured."""

from initbench.analysis.decisions import Decision, Outcome, pairs_beside_mean, seeds_to_detect
from initbench.analysis.metrics import Measured
from initbench.analysis.statistics.families import Adjusted, least_seeds
from initbench.analysis.statistics.paired import Paired, Shares
from initbench.analysis.verdicts import confidence, p_value
from initbench.core.words import counted, rounded_up, true_minus

_DOES = {"learned": "learns", "reached": "reaches the target", "": ""}
_DO = {"learned": "learn", "reached": "reach the target", "": ""}
_SAID: dict[Outcome, str] = {
    "nothing": "no seed has {name} for both schemes{left_out}",
    "values": "{known}",
    "none succeed": "neither scheme {does} ({counts})",
    "too few succeed": "too few {do} to compare {name} ({counts})",
    "too few seeds": "too few seeds, at least {least} needed: {known}",
    "too few images": "too few validation images to tell who learns: {known}",
    "seldom": "the side ahead {does} in fewer than half of its trials: {known}",
    "survivors": "the side ahead lost more trials, so its lead is among survivors only: {known}",
    "opposed": "the mean and most pairs point in opposite directions: {known}",
}


def describe_claim(
    decision: Decision, p: float | None, metric: Measured, tests: Adjusted, shares: Shares, pairs: Paired, family: str
) -> tuple[int | None, str]:
    """Return the seeds that would decide a claim, and the sentence after its status.

    `p` is that of the test that the decision follows; `family` names what is counted in it.
    """
    counts = f"{shares.scheme.count} of {shares.scheme.n} against {shares.baseline.count} of {shares.baseline.n}"
    after_holm = [] if p is None else [f"{p_value(p)} after Holm over {counted(tests.family, family)}"]
    some_miss = metric.success and shares.scheme.count + shares.baseline.count < 2 * shares.scheme.n
    missed = [f"{metric.success} {counts}"] if some_miss and decision.outcome != "too few images" else []
    known = [_effect(pairs, metric), *_beside(pairs), *missed, *after_holm]
    if decision.outcome == "shares":
        return None, f"{_who_succeeds(decision.ahead, metric, shares)} ({counts}), {after_holm[0]}; {known[0]}"
    if decision.outcome == "no difference":
        return _no_difference(pairs, metric, ", ".join(known), tests)
    least = least_seeds(tests.family)
    text = _SAID[decision.outcome].format(
        name=metric.name,
        does=_DOES[metric.success],
        do=_DO[metric.success],
        counts=counts,
        least=least,
        known=", ".join(known),
        left_out="".join(f" ({each})" for each in missed) + _left_out(pairs),
    )
    return least if decision.outcome == "too few seeds" else None, text


def _who_succeeds(ahead: int, metric: Measured, shares: Shares) -> str:
    """Return the words of the verdicts: does and does not only where the shares are beyond one half."""
    does, do = _DOES[metric.success], _DO[metric.success]
    more, fewer = (shares.scheme, shares.baseline) if ahead > 0 else (shares.baseline, shares.scheme)
    if more.above_half and fewer.below_half:
        return f"{does} where the other does not" if ahead > 0 else f"does not {do} where the other does"
    return f"{does} {'more' if ahead > 0 else 'less'} often than the other"


def _no_difference(pairs: Paired, metric: Measured, known: str, tests: Adjusted) -> tuple[int | None, str]:
    needed = seeds_to_detect(pairs, tests)
    if needed is None:
        return None, f"no detectable difference: {known}"
    smallest = _number(pairs.smallest_interesting, metric)
    if needed <= pairs.n:
        enough = f"{pairs.n} seeds would detect one of {smallest} at least 4 times in 5"
        return None, f"no detectable difference ({enough}): {known}"
    more = f"about {rounded_up(needed)} seeds would detect a difference of {smallest}"
    return needed, f"no detectable difference ({more}): {known}"


def _beside(pairs: Paired) -> list[str]:
    """Return `behind in 7 of 10 pairs`, where the mean does not tell that."""
    count = pairs_beside_mean(pairs)
    return [f"{'ahead' if count > 0 else 'behind'} in {abs(count)} of {pairs.n} pairs"] if count else []


def _effect(pairs: Paired, metric: Measured) -> str:
    mean, found = pairs.difference.value, pairs.difference.interval
    if mean is None:
        return f"no seed has {metric.name} for both schemes{_left_out(pairs)}"
    side = "ahead" if mean > 0 else "behind"
    effect = f"{side} by {_number(abs(mean), metric)} in {metric.name}" if mean else f"equal means of {metric.name}"
    if pairs.identical and pairs.n > 1:
        return f"{effect} (the same in all {pairs.n} pairs{_left_out(pairs)})"
    if found is None or found.high is None:
        return f"{effect} (no interval, n = {pairs.n}{_left_out(pairs)})"
    nearest, farthest = (found.low, found.high) if mean >= 0 else (-found.high, -found.low)
    ends = f"{confidence(pairs.alpha)} interval {_end(nearest, metric)} to {_end(farthest, metric)}"
    return f"{effect} ({ends}, n = {pairs.n}{_left_out(pairs)})"


def _number(value: float, metric: Measured) -> str:
    number = _end(value, metric)
    return f"{number} {metric.unit.removesuffix('s') if number == '1' else metric.unit}"


def _end(value: float, metric: Measured) -> str:
    return true_minus(f"{metric.scale * value:.3g}")


def _left_out(pairs: Paired) -> str:
    return f", {pairs.dropped} of {pairs.n + pairs.dropped} seeds left out: a value is missing" * bool(pairs.dropped)
