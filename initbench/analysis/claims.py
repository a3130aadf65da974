"""The claims of a recipe put to the test: a verdict for each, by the rule that verdicts follow (`decisions`)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from initbench.analysis.claim_words import describe_claim
from initbench.analysis.decisions import Decision, decide
from initbench.analysis.metrics import METRICS, OF_LEARNERS, Measured
from initbench.analysis.panels import within
from initbench.analysis.statistics.families import Adjusted, adjust
from initbench.analysis.statistics.flips import ChoiceTest, choice_test
from initbench.analysis.statistics.intervals import ALPHA, Bools, Floats
from initbench.analysis.statistics.paired import (
    Interval,
    Paired,
    Shares,
    compare_pairs,
    compare_shares,
    exact_differences,
)
from initbench.analysis.summary import SETTING
from initbench.records.recipe import Claim, Metric

Status = Literal["supported", "refuted", "undecided"]


CLAIMS_RULE = (
    "A claim follows the rule of the verdicts: supported where the exact tests on pairs of one seed, adjusted by Holm, "
    f"give p ≤ {ALPHA:g} in its direction, refuted where in the opposite direction, else undecided. A claim that a "
    "table decides, of a scheme against the baseline in accuracy or steps, has the table's p; the others are adjusted "
    "over each other. Who learns (reaches the target) is tested together with accuracy (steps). Over several settings "
    "a seed counts once, with its mean. Diverged trials have no value, so their pairs are left out, and nothing is "
    "decided in favour of the side that lost more trials, nor of one that does not learn. A trial that never reached "
    "the target counts with its budget of steps. Generalization gaps and early instability are compared between trials "
    "that learned: at chance there is no gap, and nothing that shakes."
)


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim: over `n` pairs, `effect` in the units of the metric, positive = as claimed.

    `interval` has the level `confidence`, that of the adjusted test, and is None with too few pairs; `p` is two-sided
    and adjusted by Holm; `dropped` pairs lack a value on one side; `seeds_needed` would decide an undecided claim, None
    where that cannot be planned. `rates` names the learning rates that it was judged at.
    """

    claim: Claim
    status: Status
    effect: float | None
    interval: Interval | None
    confidence: float
    p: float | None
    n: int
    dropped: int
    seeds_needed: int | None
    rates: str
    text: str


@dataclass(frozen=True)
class _ClaimPairs:
    """The two sides of a claim by seed, (n, 2): values that are better the higher they are, and shares of success.

    A seed in which a trial failed or has no partner is left out. `trials` has one row per pair of trials, `budget` is
    the unit of the smallest difference of interest.
    """

    values: Floats
    shares: Floats
    trials: pd.DataFrame
    left_out: int
    budget: float

    @property
    def whole(self) -> Bools:
        """The seeds that have both values."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    def test(self, metric: Measured) -> ChoiceTest:
        """Return the tests of the claim, not adjusted."""
        differences = np.zeros(len(self.values))
        kept = self.values[self.whole]
        differences[self.whole] = exact_differences(kept[:, 0], kept[:, 1])
        succeeds = self.shares[:, 0] - self.shares[:, 1] if metric.tested else np.zeros(len(self.shares))
        return choice_test(succeeds, differences) if len(kept) or succeeds.any() else ChoiceTest(None, None)

    def pairs(self, metric: Measured, alpha: float) -> Paired:
        """Return the difference of the values, with intervals at the level `alpha`."""
        kept = self.values[self.whole]
        smallest = metric.interesting * self.budget
        dropped = self.left_out + len(self.values) - len(kept)
        return compare_pairs(kept[:, 0], kept[:, 1], smallest_interesting=smallest, alpha=alpha, dropped=dropped)

    def succeeded(self, alpha: float) -> Shares:
        """Return who succeeds, over pairs of trials."""
        better, than = (self.trials[f"success_{side}"].to_numpy(dtype=bool) for side in ("better", "than"))
        return compare_shares(better, than, alpha)

    @property
    def missing(self) -> tuple[int, int]:
        """The trials of each side that ran and have no value."""
        lost = [int(self.trials[f"value_{side}"].isna().sum()) for side in ("better", "than")]
        return lost[0], lost[1]


def judge_claims(
    claims: Sequence[Claim],
    trials: pd.DataFrame,
    pair_on: Sequence[str] = SETTING,
    decided: Callable[[Claim, pd.DataFrame], Adjusted | None] = lambda _claim, _trials: None,
    too_small: Collection[str] = (),
) -> tuple[ClaimVerdict, ...]:
    """Return one verdict per claim, by CLAIMS_RULE.

    `trials` has one row per scored trial (`frames.TRIAL_COLUMNS`, and `instability` and `learned` where known).
    Two trials are a pair if they share a seed and `pair_on`: with each scheme at its own lr, pass those rows and the
    setting without `lr`. `decided` returns the tests of a claim, given the trials of its setting, where a table decides
    it: each comparison is tested once. `too_small` names the datasets whose validation cannot show who learns.
    """
    settings = [_setting(claim, trials) for claim in claims]
    sides = [_claim_pairs(claim, here, pair_on) for claim, here in zip(claims, settings, strict=True)]
    known = [decided(claim, here) for claim, here in zip(claims, settings, strict=True)]
    raw = [
        ChoiceTest(None, None) if tests else each.test(METRICS[claim.metric])
        for claim, each, tests in zip(claims, sides, known, strict=True)
    ]
    return tuple(
        _judge(claim, each, tests or adjusted, "scheme" if tests else "claim", too_small)
        for claim, each, tests, adjusted in zip(claims, sides, known, adjust(raw), strict=True)
    )


def _setting(claim: Claim, trials: pd.DataFrame) -> pd.DataFrame:
    return within(trials, tuple(claim.where), tuple(claim.where.values())) if claim.where else trials


def _claim_pairs(claim: Claim, here: pd.DataFrame, pair_on: Sequence[str]) -> _ClaimPairs:
    metric = METRICS[claim.metric]
    columns = [*dict.fromkeys((*pair_on, "lr")), "scheme", "seed", "outcome", "value", "success"]
    values = here.assign(value=_values(claim.metric, here), success=_success(metric, here))[columns]
    sides = [values[values["scheme"] == scheme].drop(columns="scheme") for scheme in (claim.better, claim.than)]
    both = sides[0].merge(sides[1], on=[*pair_on, "seed"], suffixes=("_better", "_than"), validate="one_to_one")
    ran = both[(both["outcome_better"] != "failed") & (both["outcome_than"] != "failed")]
    names = ["value_better", "value_than"]
    # Trials of one seed share draws across settings, so settings are averaged and only seeds are counted. Each seed
    # needs all settings: else the means of two seeds would be over different settings.
    settings = len(both[list(pair_on)].drop_duplicates())
    complete = ran[ran.groupby("seed")["seed"].transform("size") == settings]
    by_seed = complete.groupby("seed")
    means = by_seed[names].mean().where((by_seed[names].count() == settings).all(axis=1))
    succeeds = by_seed[["success_better", "success_than"]].mean()
    sign = 1.0 if metric.more_is_better else -1.0
    return _ClaimPairs(
        values=sign * means.to_numpy(dtype=np.float64).reshape(-1, 2),
        shares=succeeds.to_numpy(dtype=np.float64).reshape(-1, 2),
        trials=ran,
        left_out=both["seed"].nunique() - len(means),
        budget=float(here["steps"].max()) if claim.metric == "steps_to_target" and len(here) else 1.0,
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
    return values.where(trials["learned"].astype(bool)) if metric in OF_LEARNERS and "learned" in trials else values


def _success(metric: Measured, trials: pd.DataFrame) -> pd.Series:
    """Return whether each trial succeeds; all do where that is not known or does not matter."""
    if metric.success == "reached" and "steps_to_target" in trials:
        return trials["steps_to_target"].notna()
    if metric.success == "learned" and "learned" in trials:
        return trials["learned"].astype(bool)
    return pd.Series(data=True, index=trials.index)


def _judge(claim: Claim, sides: _ClaimPairs, tests: Adjusted, family: str, too_small: Collection[str]) -> ClaimVerdict:
    metric = METRICS[claim.metric]
    pairs, shares = sides.pairs(metric, tests.values_level), sides.succeeded(tests.shares_level)
    rates = _rates(sides.trials)
    decision = _decision(sides, metric, tests, shares, pairs)
    of_learning = decision.outcome in {"shares", "none succeed", "too few succeed", "seldom"}
    if of_learning and metric.success == "learned" and sides.trials["dataset"].isin(list(too_small)).any():
        decision = Decision("too few images")
    p = _p(decision, tests)
    needed, text = describe_claim(decision, p, metric, tests, shares, pairs, family)
    status: Status = "undecided" if not decision.ahead else "supported" if decision.ahead > 0 else "refuted"
    # Nobody reached the target: budgets are not steps.
    nowhere = decision.outcome == "none succeed" and metric.success == "reached"
    return ClaimVerdict(
        claim=claim,
        status=status,
        effect=None if nowhere else pairs.difference.value,
        interval=None if nowhere else pairs.difference.interval,
        confidence=1 - tests.values_level,
        p=p,
        n=pairs.n,
        dropped=pairs.dropped,
        seeds_needed=needed,
        rates=rates,
        text=f"{status}: {text}{'; at ' * bool(rates)}{rates}",
    )


def _decision(sides: _ClaimPairs, metric: Measured, tests: Adjusted, shares: Shares, pairs: Paired) -> Decision:
    guard = shares if metric.success else None
    decision = decide(tests, guard, pairs.lead, len(sides.values) if tests.p is not None else 0, sides.missing)
    if decision.outcome == "values" and metric.success and not metric.tested:
        ahead = shares.scheme if decision.ahead > 0 else shares.baseline
        if ahead.below_half:
            return Decision("seldom")
    return decision


def _p(decision: Decision, tests: Adjusted) -> float | None:
    """Return the adjusted p of the test that the decision follows."""
    match decision.outcome:
        case "shares":
            return tests.shares_p
        case "values" | "survivors" | "opposed" | "seldom":
            return tests.values_p
        case "none succeed" | "too few succeed" | "too few images" | "nothing":
            return None
        case _:
            return tests.p


def _rates(trials: pd.DataFrame) -> str:
    """Return `lr 0.05`, or the rates of both sides where they differ: `lr 0.1 against 0.03`."""
    if trials.empty:
        return ""
    columns = ("lr", "lr") if "lr" in trials else ("lr_better", "lr_than")
    own, other = (", ".join(f"{rate:g}" for rate in sorted(set(trials[column]))) for column in columns)
    return f"lr {own}" if own == other else f"lr {own} against {other}"
