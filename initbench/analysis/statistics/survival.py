"""Survival analysis of the steps to the target: a trial that never reached it is censored at the budget of steps.

All trials of a setting are observed over one budget, diverged ones too, which cannot reach the target later. So no
trial is censored before the budget, the Kaplan-Meier curve is one minus the empirical distribution of the steps, and
every trial has a value of min(steps, budget), the restricted steps. Their mean is the area under that curve up to the
budget; comparing them in pairs is exact and imputes nothing.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.statistics.flips import sign_flip_factors
from initbench.analysis.statistics.intervals import (
    ALPHA,
    CONFIDENCE,
    Bools,
    Estimate,
    Floats,
    censored_median,
    mean_interval,
)
from initbench.analysis.statistics.paired import (
    Interval,
    Measure,
    Paired,
    Share,
    Shares,
    compare_pairs,
    compare_shares,
    share,
    sign_test,
)


@dataclass(frozen=True)
class Survival:
    """When the trials of one scheme reached the target, in steps, within `budget`.

    `median` is Kaplan-Meier's; `restricted_mean` that of min(steps, budget); `reached` how many did, with the share
    and its interval; `expected_running_time` the steps per trial that reaches it if misses are restarted.
    """

    budget: float
    reached: Share
    median: Measure
    restricted_mean: Estimate
    expected_running_time: Measure


@dataclass(frozen=True)
class SpeedComparison:
    """Steps to target of a scheme against the baseline, in pairs of one seed.

    `restricted` holds scheme minus baseline of min(steps, budget), negative where the scheme is faster; its p is exact.
    Where no trial of either side reached the target it has neither difference nor intervals: budgets are not steps.
    `factor` is the mean of baseline steps over that of scheme steps, None unless both of every pair reached it after
    step 0. Its interval holds the factors that the sign-flip test of baseline - factor * scheme does not reject: at 1
    it is the test of `restricted`, so 1 is outside exactly where that rejects. The scheme was first in `first` pairs,
    the baseline in `second`, the others are ties; `first_p` is the exact sign test of that. `logrank_p` ignores the
    pairing and is asymptotic: read it with the exact tests, not instead.
    """

    budget: float
    reached: Shares
    restricted: Paired
    factor: Measure
    first: int
    second: int
    first_p: float | None
    logrank_p: float | None


@dataclass(frozen=True)
class SurvivalCurve:
    """The Kaplan-Meier curve: right after each of the `steps` (k,), the `share` of trials that have not reached it.

    `low` and `high` (k,) are pointwise 95 % ends.
    """

    steps: Floats
    share: Floats
    low: Floats
    high: Floats


def survival_curve(steps: Floats, reached: Bools, *, budget: float) -> SurvivalCurve:
    """Return the Kaplan-Meier curve of (n,) trials, n > 0, from step 0 to `budget`.

    No trial is censored before the budget, so at each step the share is binomial: Clopper and Pearson's ends.
    """
    arrivals = _arrivals(steps, reached, budget)
    at = np.unique([0.0, *arrivals[reached], budget])
    left = [share(int((arrivals > step).sum()), len(arrivals)).share for step in at]
    values = [(each.value, each.interval.low, each.interval.high) for each in left if each.interval]
    return SurvivalCurve(at, *np.array(values).T)


def estimate_survival(steps: Floats, reached: Bools, *, budget: float) -> Survival:
    """Return the survival statistics of (n,) trials observed over `budget` steps.

    `steps` (n,) is the step of reaching the target where `reached` (n,); elsewhere its entry is not read.
    """
    arrivals = _arrivals(steps, reached, budget)
    return Survival(
        budget=budget,
        reached=share(int(reached.sum()), len(steps)),
        median=_median(arrivals, budget),
        restricted_mean=_restricted_mean(arrivals, budget),
        expected_running_time=expected_running_time(np.minimum(arrivals, budget), reached),
    )


def compare_steps(
    steps: Floats,
    reached: Bools,
    baseline_steps: Floats,
    baseline_reached: Bools,
    *,
    budget: float,
    smallest_interesting: float,
    alpha: float = ALPHA,
    shares_alpha: float = ALPHA,
    dropped: int = 0,
) -> SpeedComparison:
    """Return how a scheme's steps to target differ from the baseline's, all (n,), entry i of both being of one seed.

    `smallest_interesting` is in steps; `alpha` and `shares_alpha` are the levels of the adjusted tests of steps and of
    who reached the target; `dropped` counts the pairs left out because a side failed.
    """
    scheme, baseline = _arrivals(steps, reached, budget), _arrivals(baseline_steps, baseline_reached, budget)
    # If the sides of a pair are exchangeable, who is first is a fair coin, whatever the censoring. Both censored or
    # both at one step are ties.
    first, second = int((scheme < baseline).sum()), int((baseline < scheme).sum())
    restricted = compare_pairs(
        np.minimum(scheme, budget),
        np.minimum(baseline, budget),
        smallest_interesting=smallest_interesting,
        alpha=alpha,
        dropped=dropped,
    )
    if not np.isfinite([scheme, baseline]).any():
        unknown = Measure(None, None, restricted.n)
        restricted = replace(restricted, difference=unknown, improvement=unknown)
    return SpeedComparison(
        budget=budget,
        reached=compare_shares(reached, baseline_reached, shares_alpha),
        restricted=restricted,
        factor=_factor(scheme, baseline, alpha),
        first=first,
        second=second,
        first_p=sign_test(first, second) if len(steps) else None,
        logrank_p=logrank(scheme, baseline, budget),
    )


def expected_running_time(spent: Floats, reached: Bools) -> Measure:
    """Return the steps spent by all (n,) trials over the number that reached the target, None (infinite) if none did.

    COCO's ERT (Hansen et al., arXiv 1603.08785). A ratio of two means over the trials: the interval is Fieller's
    (1954), Student's where all reached it, and None where too few did to bound the cost from above.
    """
    n, arrived = len(spent), int(reached.sum())
    if arrived == 0:
        return Measure(None, None, n)
    value = float(spent.sum() / arrived)
    return Measure(value, _fieller(spent, reached.astype(np.float64)), n)


def logrank(scheme: Floats, baseline: Floats, budget: float) -> float | None:
    """Return the log-rank p of two samples of steps (infinite = never), None where there is nothing to compare."""
    if not len(scheme) or not len(baseline) or not np.isfinite([*scheme, *baseline]).any():
        return None
    sides = [scipy.stats.CensoredData.right_censored(np.minimum(s, budget), np.isinf(s)) for s in (scheme, baseline)]
    # All at one step: the variance is 0, and 0 / 0.
    with np.errstate(invalid="ignore"):
        p = float(scipy.stats.logrank(*sides).pvalue)
    return p if math.isfinite(p) else None


def _arrivals(steps: Floats, reached: Bools, budget: float) -> Floats:
    """Return the step at which each trial reached the target, infinite for never."""
    assert steps.shape == reached.shape == (len(steps),)  # one step and one flag per trial
    assert (steps[reached] <= budget).all()  # no trial is observed after the budget; NaN fails too
    return np.where(reached, steps, np.inf)


def _median(arrivals: Floats, budget: float) -> Measure:
    """Return the Kaplan-Meier median with the interval of the exact sign test, between two order statistics.

    With all trials observed to the budget it covers at least 95 % at every n. Brookmeyer and Crowley's log-log interval
    is asymptotic: simulated .945 at n = 10. Fewer than 6 trials cannot cover 95 % (1 - 2 / 2^5 = .94): no interval.
    """
    n = len(arrivals)
    value = censored_median(np.minimum(arrivals, budget), np.isfinite(arrivals))
    outside = int(scipy.stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)) if n else 0  # P(B < outside) <= 2.5 %
    if outside == 0:
        return Measure(value, None, n)
    low, high = np.sort(arrivals)[[outside - 1, n - outside]]
    return Measure(value, Interval(float(min(low, budget)), float(high) if np.isfinite(high) else None), n)


def _restricted_mean(arrivals: Floats, budget: float) -> Estimate:
    """Return the area under the Kaplan-Meier curve up to the budget.

    With no trial censored before, it is the mean of the restricted steps, and its Greenwood variance times n / (n - 1)
    is that of the mean: the interval is Student's. Where no trial reached the target there is no spread and no
    interval.
    """
    estimate = mean_interval(np.minimum(arrivals, budget))
    return estimate if np.isfinite(arrivals).any() else Estimate(estimate.mean, None, estimate.n)


def _factor(scheme: Floats, baseline: Floats, alpha: float) -> Measure:
    n = len(scheme)
    both = np.concatenate((scheme, baseline))
    if n == 0 or not np.isfinite(both).all() or (both <= 0).any():
        return Measure(None, None, n)
    ends = sign_flip_factors(baseline, scheme, alpha)
    return Measure(float(baseline.sum() / scheme.sum()), None if ends is None else Interval(*ends), n)


def _fieller(top: Floats, bottom: Floats) -> Interval | None:
    """Return the ratios r for which the mean of top - r * bottom is within its Student interval of 0, if bounded."""
    n = len(top)
    if n < 2:
        return None
    (vtt, vtb), (_, vbb) = np.cov(top, bottom) / n
    t2 = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) ** 2
    # (mean_t - r mean_b)^2 = t^2 (vtt - 2 r vtb + r^2 vbb), a quadratic in r.
    a = bottom.mean() ** 2 - t2 * vbb
    b = top.mean() * bottom.mean() - t2 * vtb
    c = top.mean() ** 2 - t2 * vtt
    if a <= 0:
        return None
    half = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(max((b - half) / a, 0.0), (b + half) / a)
