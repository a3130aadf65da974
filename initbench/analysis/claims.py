"""The claims of a recipe put to the test: a verdict for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from initbench.analysis.panels import within
from initbench.analysis.statistics.paired import ALPHA, Interval, Paired, compare_pairs, holm, least_seeds, seeds_needed
from initbench.analysis.summary import SETTING
from initbench.core.words import counted, true_minus
from initbench.records.recipe import Claim, Metric

Status = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class _Metric:
    """A metric: whether more is better, and the unit and scale in which its differences are written.

    `interesting` is the smallest difference of interest, for which seeds are planned: a share of accuracy, nats or
    logs; for steps, a share of the budget.
    """

    more_is_better: bool
    name: str
    unit: str
    interesting: float
    scale: float = 1


METRICS: Mapping[Metric, _Metric] = {
    "test_accuracy": _Metric(True, "test accuracy", "points", 0.01, scale=100),
    "test_loss": _Metric(False, "test loss", "nats", 0.05),
    "steps_to_target": _Metric(False, "steps to target", "steps", 0.1),
    "generalization_gap": _Metric(False, "generalization gap", "nats", 0.05),
    "instability": _Metric(False, "early instability", "log units", 0.05),
    "initial_loss": _Metric(False, "loss at step 0", "nats", 0.05),
    "final_train_loss": _Metric(False, "final training loss", "nats", 0.05),
}

CLAIMS_RULE = (
    "A claim is supported if the exact sign-flip test on pairs of one seed, adjusted by Holm over all claims, gives "
    f"p ≤ {ALPHA:g} in its direction, refuted if in the opposite direction, else undecided. Over several settings a "
    "seed counts once, with its mean. Diverged trials have no value, so their pairs are left out, and nothing is "
    "decided in favour of the side that diverged more often. A trial that never reached the target counts with its "
    "budget of steps. Generalization gaps are compared between trials that learned: at chance there is no gap."
)


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim: over `n` pairs, `effect` in the units of the metric, positive = as claimed.

    `interval` is Student's 95 % one, None below two pairs; `p` is two-sided and adjusted by Holm over all claims;
    `dropped` pairs lack a value on one side; `seeds_needed` would decide an undecided claim, None where that cannot be
    planned.
    """

    claim: Claim
    status: Status
    effect: float | None
    interval: Interval | None
    p: float | None
    n: int
    dropped: int
    seeds_needed: int | None
    text: str


@dataclass(frozen=True)
class _ClaimPairs:
    """The pairs of one claim, signed so that more is better, and how many trials of each side diverged."""

    pairs: Paired
    better_lost: int
    than_lost: int


def judge_claims(
    claims: Sequence[Claim], trials: pd.DataFrame, pair_on: Sequence[str] = SETTING
) -> tuple[ClaimVerdict, ...]:
    """Return one verdict per claim, by CLAIMS_RULE.

    `trials` has one row per scored trial (`frames.TRIAL_COLUMNS`, and `instability` and `learned` where known).
    Two trials are a pair if they share a seed and `pair_on`: with each scheme at its own lr, pass those rows and the
    setting without `lr`.
    """
    paired = [_claim_pairs(claim, trials, pair_on) for claim in claims]
    raw = [each.pairs.p for each in paired]
    family = sum(p is not None for p in raw)
    return tuple(_judge(*each, family) for each in zip(claims, paired, holm(raw), strict=True))


def _claim_pairs(claim: Claim, trials: pd.DataFrame, pair_on: Sequence[str]) -> _ClaimPairs:
    metric = METRICS[claim.metric]
    here = within(trials, tuple(claim.where), tuple(claim.where.values())) if claim.where else trials
    values = here.assign(value=_values(claim.metric, here))[[*pair_on, "scheme", "seed", "outcome", "value"]]
    sides = [values[values["scheme"] == scheme].drop(columns="scheme") for scheme in (claim.better, claim.than)]
    both = sides[0].merge(sides[1], on=[*pair_on, "seed"], suffixes=("_better", "_than"), validate="one_to_one")
    names = ["value_better", "value_than"]
    # Trials of one seed share draws across settings, so settings are averaged and only seeds are counted. Each seed
    # needs all settings: else the means of two seeds would be over different settings.
    by_seed, settings = both.groupby("seed")[names], len(both[list(pair_on)].drop_duplicates())
    complete = by_seed.mean().where((by_seed.count() == settings).all(axis=1))
    kept = complete.dropna().to_numpy(dtype=np.float64).reshape(-1, 2)
    sign = 1.0 if metric.more_is_better else -1.0
    scale = float(here["steps"].max()) if claim.metric == "steps_to_target" and len(here) else 1.0
    return _ClaimPairs(
        compare_pairs(
            sign * kept[:, 0],
            sign * kept[:, 1],
            smallest_interesting=metric.interesting * scale,
            dropped=len(complete) - len(kept),
        ),
        *(
            int(((both[f"outcome_{side}"] == "diverged") & both[f"value_{side}"].isna()).sum())
            for side in ("better", "than")
        ),
    )


def _values(metric: Metric, trials: pd.DataFrame) -> pd.Series:
    """Return a metric of each trial, NaN where it has none."""
    if metric not in trials:
        return pd.Series(np.nan, index=trials.index)
    if metric == "steps_to_target":
        # min(steps, budget), as in survival.compare_steps: a diverged trial has not reached it, a failed one has no
        # value.
        restricted = trials[metric].astype("float64").fillna(trials["steps"].astype("float64"))
        return restricted.where(trials["outcome"] != "failed")
    values = trials[metric].astype("float64")
    if metric == "generalization_gap" and "learned" in trials:
        return values.where(trials["learned"].astype(bool))
    return values


def _judge(claim: Claim, paired: _ClaimPairs, p: float | None, family: int) -> ClaimVerdict:
    pairs = paired.pairs
    status, needed, text = _decide(claim, paired, p, family)
    low, high = pairs.difference.low, pairs.difference.high
    return ClaimVerdict(
        claim=claim,
        status=status,
        effect=pairs.difference.mean,
        interval=None if low is None else Interval(low, high),
        p=p,
        n=pairs.n,
        dropped=pairs.dropped,
        seeds_needed=needed,
        text=f"{status}: {text}",
    )


def _decide(claim: Claim, paired: _ClaimPairs, p: float | None, family: int) -> tuple[Status, int | None, str]:
    pairs, metric = paired.pairs, METRICS[claim.metric]
    mean = pairs.difference.mean
    if mean is None or p is None:
        return "undecided", None, f"no seed has {metric.name} for both schemes{_left_out(pairs)}"
    known = f"{_effect(pairs, metric)}, p = {p:.2g} after Holm over {counted(family, 'claim')}"
    if p > ALPHA:
        return _undecided(pairs, metric, known, family)
    lost = (paired.better_lost, paired.than_lost)
    ahead_lost, behind_lost = lost if mean > 0 else lost[::-1]
    if ahead_lost > behind_lost:
        reason = "the side ahead lost more trials to divergence, so its lead is among survivors only"
        return "undecided", None, f"{reason}: {known}"
    return ("supported", None, known) if mean > 0 else ("refuted", None, known)


def _undecided(pairs: Paired, metric: _Metric, known: str, family: int) -> tuple[Status, int | None, str]:
    least = least_seeds(family)
    if pairs.n < least:
        return "undecided", least, f"too few seeds, at least {least} needed: {known}"
    needed = seeds_needed(pairs.deviation, pairs.smallest_interesting, ALPHA / family)
    if needed is None:
        return "undecided", None, known
    smallest = _number(pairs.smallest_interesting, metric)
    if needed <= pairs.n:
        return "undecided", None, f"no detectable difference; one of {smallest} would be detected 4 times in 5: {known}"
    return "undecided", needed, f"about {needed} seeds would detect a difference of {smallest}: {known}"


def _effect(pairs: Paired, metric: _Metric) -> str:
    mean, low, high = pairs.difference.mean, pairs.difference.low, pairs.difference.high
    assert mean is not None
    side = "ahead" if mean >= 0 else "behind"
    effect = f"{side} by {_number(abs(mean), metric)} in {metric.name}"
    if low is None or high is None:
        return f"{effect} (no interval, n = {pairs.n}{_left_out(pairs)})"
    nearest, farthest = (low, high) if mean >= 0 else (-high, -low)
    ends = f"95 % interval {_end(nearest, metric)} to {_end(farthest, metric)}"
    return f"{effect} ({ends}, n = {pairs.n}{_left_out(pairs)})"


def _number(value: float, metric: _Metric) -> str:
    number = _end(value, metric)
    return f"{number} {metric.unit.removesuffix('s') if number == '1' else metric.unit}"


def _end(value: float, metric: _Metric) -> str:
    return true_minus(f"{metric.scale * value:.3g}")


def _left_out(pairs: Paired) -> str:
    return f", {pairs.dropped} of {pairs.n + pairs.dropped} seeds left out: a value is missing" * bool(pairs.dropped)
