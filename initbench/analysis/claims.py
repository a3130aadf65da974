"""What somebody asserts, put to the test: claims of a recipe, and the conditions of `--fail-if`."""

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
class _Measured:
    """How a metric is read: whether more is better, and in which unit, by which scale, its differences are said.

    `interesting` is the smallest difference worth settling, by which seeds are planned; as shares of accuracy, nats, or
    logs; of steps, as a share of the budget.
    """

    more_is_better: bool
    name: str
    unit: str
    interesting: float
    scale: float = 1


METRICS: Mapping[Metric, _Measured] = {
    "test_accuracy": _Measured(True, "test accuracy", "points", 0.01, scale=100),
    "test_loss": _Measured(False, "test loss", "nats", 0.05),
    "steps_to_target": _Measured(False, "steps to target", "steps", 0.1),
    "generalization_gap": _Measured(False, "generalization gap", "nats", 0.05),
    "instability": _Measured(False, "early instability", "log units", 0.05),
    "initial_loss": _Measured(False, "loss at step 0", "nats", 0.05),
    "final_train_loss": _Measured(False, "final training loss", "nats", 0.05),
}

CLAIMS_RULE = (
    "A claim is supported where the exact sign-flip test on pairs of one seed, adjusted by Holm over all claims, has "
    f"p ≤ {ALPHA:g} in its direction, refuted in the other, else undecided. Over several settings a seed counts once, "
    "with its mean. Diverged trials have no value and are left out in pairs; then nothing is decided in favour of the "
    "side that diverged more often. A trial that never reached the target counts with its budget of steps. Where it is "
    "known who learned, generalization gaps are compared between trials that did: at chance there is no gap."
)


@dataclass(frozen=True)
class ClaimVerdict:
    """What the trials say of a claim: over `n` pairs, `effect` in the units of the metric, positive = as claimed.

    `interval` is Student's 95 % one, None below two pairs; `p` two-sided and adjusted by Holm over all claims;
    `dropped` pairs lack a value on one side; `seeds_needed` is what would settle an undecided claim, None where nothing
    tells.
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
class _Evidence:
    """The pairs of one claim, turned so that more is better, and the trials that each side lost to divergence."""

    pairs: Paired
    better_lost: int
    than_lost: int


def judge_claims(
    claims: Sequence[Claim], trials: pd.DataFrame, pair_on: Sequence[str] = SETTING
) -> tuple[ClaimVerdict, ...]:
    """Return one verdict per claim, by CLAIMS_RULE.

    `trials` has one row a scored trial (`frames.TRIAL_COLUMNS`, and `instability` and `learned` where they are known).
    Two trials are a pair if they share a seed and `pair_on`: with each scheme's own lr, pass the rows at these and the
    setting without `lr`.
    """
    evidence = [_evidence(claim, trials, pair_on) for claim in claims]
    raw = [of.pairs.p for of in evidence]
    family = sum(p is not None for p in raw)
    return tuple(_judge(*each, family) for each in zip(claims, evidence, holm(raw), strict=True))


def _evidence(claim: Claim, trials: pd.DataFrame, pair_on: Sequence[str]) -> _Evidence:
    measured = METRICS[claim.metric]
    here = within(trials, tuple(claim.where), tuple(claim.where.values())) if claim.where else trials
    values = here.assign(value=_values(claim.metric, here))[[*pair_on, "scheme", "seed", "outcome", "value"]]
    sides = [values[values["scheme"] == scheme].drop(columns="scheme") for scheme in (claim.better, claim.than)]
    both = sides[0].merge(sides[1], on=[*pair_on, "seed"], suffixes=("_better", "_than"), validate="one_to_one")
    names = ["value_better", "value_than"]
    # Trials of one seed share draws across settings, so settings are averaged and seeds alone are counted. Each must
    # have all the settings: else the means of two seeds would be of different things.
    by_seed, settings = both.groupby("seed")[names], len(both[list(pair_on)].drop_duplicates())
    complete = by_seed.mean().where((by_seed.count() == settings).all(axis=1))
    kept = complete.dropna().to_numpy(dtype=np.float64).reshape(-1, 2)
    sign = 1.0 if measured.more_is_better else -1.0
    scale = float(here["steps"].max()) if claim.metric == "steps_to_target" and len(here) else 1.0
    return _Evidence(
        compare_pairs(
            sign * kept[:, 0],
            sign * kept[:, 1],
            smallest_interesting=measured.interesting * scale,
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
        # min(steps, budget), as survival.compare_steps has it: diverged is not reached; failed says nothing.
        restricted = trials[metric].astype("float64").fillna(trials["steps"].astype("float64"))
        return restricted.where(trials["outcome"] != "failed")
    values = trials[metric].astype("float64")
    if metric == "generalization_gap" and "learned" in trials:
        return values.where(trials["learned"].astype(bool))
    return values


def _judge(claim: Claim, of: _Evidence, p: float | None, family: int) -> ClaimVerdict:
    pairs = of.pairs
    status, needed, text = _decide(claim, of, p, family)
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


def _decide(claim: Claim, of: _Evidence, p: float | None, family: int) -> tuple[Status, int | None, str]:
    pairs, measured = of.pairs, METRICS[claim.metric]
    mean = pairs.difference.mean
    if mean is None or p is None:
        return "undecided", None, f"no seed has {measured.name} with both schemes{_lost(pairs)}"
    known = f"{_said(pairs, measured)}, p = {p:.2g} after Holm over {counted(family, 'claim')}"
    if p > ALPHA:
        return _undecided(pairs, measured, known, family)
    ahead_lost, behind_lost = (of.better_lost, of.than_lost) if mean > 0 else (of.than_lost, of.better_lost)
    if ahead_lost > behind_lost:
        return (
            "undecided",
            None,
            f"the side ahead lost more trials to divergence, so only survivors speak for it: {known}",
        )
    return ("supported", None, known) if mean > 0 else ("refuted", None, known)


def _undecided(pairs: Paired, measured: _Measured, known: str, family: int) -> tuple[Status, int | None, str]:
    least = least_seeds(family)
    if pairs.n < least:
        return "undecided", least, f"too few seeds, at least {least} needed: {known}"
    needed = seeds_needed(pairs.deviation, pairs.smallest_interesting, ALPHA / family)
    if needed is None:
        return "undecided", None, known
    asked = _number(pairs.smallest_interesting, measured)
    if needed <= pairs.n:
        return "undecided", None, f"no detectable difference, and {asked} would show 4 times in 5: {known}"
    return "undecided", needed, f"about {needed} seeds would settle a difference of {asked}: {known}"


def _said(pairs: Paired, measured: _Measured) -> str:
    mean, low, high = pairs.difference.mean, pairs.difference.low, pairs.difference.high
    assert mean is not None
    way = "ahead" if mean >= 0 else "behind"
    effect = f"{way} by {_number(abs(mean), measured)} in {measured.name}"
    if low is None or high is None:
        return f"{effect} (no interval, n = {pairs.n}{_lost(pairs)})"
    nearest, farthest = (low, high) if mean >= 0 else (-high, -low)
    ends = f"95 % interval {_end(nearest, measured)} to {_end(farthest, measured)}"
    return f"{effect} ({ends}, n = {pairs.n}{_lost(pairs)})"


def _number(value: float, measured: _Measured) -> str:
    return f"{_end(value, measured)} {measured.unit}"


def _end(value: float, measured: _Measured) -> str:
    return true_minus(f"{measured.scale * value:.3g}")


def _lost(pairs: Paired) -> str:
    return f", {pairs.dropped} of {pairs.n + pairs.dropped} seeds left out: a value is missing" * bool(pairs.dropped)
