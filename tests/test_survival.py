"""Steps to target against SciPy's survival functions, written definitions and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.statistics.flips import sign_flip
from initbench.analysis.statistics.paired import clopper_pearson
from initbench.analysis.statistics.survival import compare_steps, estimate_survival, expected_running_time, logrank

BUDGET = 100.0
# The step of arrival; None never arrived.
SOME = st.lists(st.one_of(st.none(), st.integers(1, 100)), min_size=1, max_size=12)


def arrays(arrivals):
    steps = np.array([BUDGET if step is None else step for step in arrivals], dtype=float)
    return steps, np.array([step is not None for step in arrivals], dtype=bool)


def watched(arrivals):
    return estimate_survival(*arrays(arrivals), budget=BUDGET)


def raced(scheme, baseline):
    return compare_steps(*arrays(scheme), *arrays(baseline), budget=BUDGET, smallest_interesting=5.0)


def censored(arrivals):
    steps, reached = arrays(arrivals)
    return stats.CensoredData.right_censored(steps, ~reached)


@given(SOME)
def test_the_restricted_mean_is_the_area_under_the_kaplan_meier_curve(arrivals):
    curve = stats.ecdf(censored(arrivals)).sf
    found, grid = watched(arrivals).restricted_mean, np.arange(0, BUDGET)
    assert found.mean == pytest.approx(curve.evaluate(grid + 0.5).sum())
    assert found.n == len(arrivals)


@given(SOME.filter(lambda arrivals: len(set(arrivals)) > 1))
def test_its_interval_is_that_of_greenwood_corrected_for_the_mean(arrivals):
    steps, reached = arrays(arrivals)
    n = len(steps)
    at_risk, deaths, area = [], [], []
    grid = np.arange(0, BUDGET) + 0.5
    survival = stats.ecdf(censored(arrivals)).sf.evaluate(grid)
    for time in np.unique(steps[reached]):
        at_risk.append((steps >= time).sum())
        deaths.append(((steps == time) & reached).sum())
        area.append(survival[grid > time].sum())
    variance = sum(a**2 * d / (r * (r - d)) for a, d, r in zip(area, deaths, at_risk, strict=True) if r > d)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(variance * n / (n - 1))
    found = watched(arrivals).restricted_mean
    assert found.half == pytest.approx(half) if found.half is not None else not reached.any()


@given(SOME)
def test_the_median_is_that_of_kaplan_and_meier(arrivals):
    curve = stats.ecdf(censored(arrivals)).sf
    below = curve.quantiles[curve.probabilities <= 0.5 + 1e-12]
    assert watched(arrivals).median.value == (below[0] if len(below) else None)


@pytest.mark.parametrize(("n", "outside"), [(5, None), (6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6)])
def test_the_median_lies_between_the_order_statistics_of_the_sign_test(n, outside):
    # Table of the sign test at two-sided .05: 6 values allow their ends, 9 the second ones, 20 the sixth ones.
    interval = watched(list(range(1, n + 1))).median.interval
    if outside is None:
        assert interval is None
    else:
        assert (interval.low, interval.high) == (outside, n + 1 - outside)
        assert 2 * stats.binom.cdf(outside - 1, n, 0.5) <= 0.05 < 2 * stats.binom.cdf(outside, n, 0.5)


def test_misses_move_the_upper_end_of_the_median_beyond_the_budget():
    median = watched([10, 20, 30, 40, 50, 60, 70, 80, None, None]).median
    assert (median.value, median.interval.low, median.interval.high) == (50, 20, None)


@given(SOME)
def test_running_time_is_that_of_coco(arrivals):
    found = watched(arrivals).expected_running_time
    spent, arrived = sum(BUDGET if s is None else s for s in arrivals), sum(s is not None for s in arrivals)
    assert found.value == (pytest.approx(spent / arrived) if arrived else None)
    if found.interval is not None:
        assert found.interval.low <= found.value * (1 + 1e-9)
        assert found.interval.high >= found.value * (1 - 1e-9)


def test_running_time_of_trials_that_all_arrive_has_the_interval_of_student():
    spent = np.array([10.0, 20, 40, 50, 55])
    found = expected_running_time(spent, np.ones(5, dtype=bool))
    ends = stats.t.interval(0.95, 4, loc=spent.mean(), scale=stats.sem(spent))
    assert (found.interval.low, found.interval.high) == pytest.approx(ends)


def test_the_ends_of_running_time_solve_the_equation_of_fieller():
    spent, reached = arrays([10, 20, 25, 30, 35, 45, 50, 60, 70, None])
    found = expected_running_time(spent, reached)
    for end in (found.interval.low, found.interval.high):
        residual = spent - end * reached
        assert abs(residual.mean()) / stats.sem(residual) == pytest.approx(stats.t.ppf(0.975, 9))


def test_too_few_arrivals_bound_no_running_time():
    found = watched([10, None, None, None, None]).expected_running_time
    assert (found.value, found.interval, found.n) == (410, None, 5)


def test_none_arriving_is_told_without_a_number():
    found = watched([None] * 8)
    assert (found.reached.count, found.reached.n, found.reached.share.value) == (0, 8, 0)
    assert found.reached.share.interval == clopper_pearson(0, 8)
    assert (found.median.value, found.median.interval.low, found.median.interval.high) == (None, BUDGET, None)
    assert (found.restricted_mean.mean, found.restricted_mean.half) == (BUDGET, None)
    assert (found.expected_running_time.value, found.expected_running_time.interval) == (None, None)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_trials_say_what_they_can(n):
    found = watched([30] * n)
    assert (found.reached.count, found.median.value, found.median.interval) == (n, 30 if n else None, None)
    assert (found.restricted_mean.mean, found.restricted_mean.half) == (30 if n else None, 0 if n == 2 else None)
    assert (found.expected_running_time.value, found.expected_running_time.n) == (30 if n else None, n)
    speed = raced([30] * n, [40] * n)
    assert (speed.restricted.n, speed.first, speed.second) == (n, n, 0)
    assert speed.first_p == (2 / 2**n if n else None)


@given(SOME, st.randoms(use_true_random=False))
def test_who_is_first_is_decided_by_arrivals_only(arrivals, random):
    other = random.sample(arrivals, len(arrivals))
    never = [float("inf") if s is None else s for s in arrivals], [float("inf") if s is None else s for s in other]
    found = raced(arrivals, other)
    assert found.first == sum(s < b for s, b in zip(*never, strict=True))
    assert found.second == sum(s > b for s, b in zip(*never, strict=True))


def test_arriving_with_the_last_step_is_before_never():
    found = raced([BUDGET] * 6, [None] * 6)
    assert (found.first, found.second, found.first_p) == (6, 0, 2 / 2**6)
    assert (found.restricted.p, found.reached.p, found.restricted.difference.value) == (1, 2 / 2**6, 0)


def test_the_factor_is_that_of_the_means_and_its_ends_are_those_of_the_test():
    scheme, baseline = np.array([10, 20, 40, 10, 31, 22, 18, 30]), np.array([20, 40, 80, 30, 28, 50, 44, 90])
    found = raced(scheme, baseline).factor
    assert found.value == baseline.mean() / scheme.mean()
    for end, outward in ((found.interval.low, 0.999), (found.interval.high, 1.001)):
        assert sign_flip(baseline - end * scheme) > 0.05 >= sign_flip(baseline - outward * end * scheme)
    assert raced([10, None], [20, 50]).factor.value is None
    assert raced([0, 10], [20, 30]).factor.value is None
    assert (raced([10], [20]).factor.value, raced([10], [20]).factor.interval) == (pytest.approx(2), None)


def test_two_sides_that_never_arrive_have_no_difference_in_steps():
    found = raced([None] * 8, [None] * 8).restricted
    assert (found.difference.value, found.difference.interval) == (None, None)
    assert (found.n, found.p) == (8, 1)


def test_logrank_is_that_of_scipy_and_none_where_nothing_varies():
    scheme, baseline = [10, 20, 30, None, 50, 60], [30, 50, None, None, 90, 100]
    expected = stats.logrank(censored(scheme), censored(baseline)).pvalue
    assert raced(scheme, baseline).logrank_p == pytest.approx(expected)
    assert raced([None] * 4, [None] * 4).logrank_p is None
    assert raced([20] * 4, [20] * 4).logrank_p is None
    assert logrank(np.array([]), np.array([1.0]), BUDGET) is None


def test_a_step_after_the_budget_is_the_callers_mistake():
    with pytest.raises(AssertionError):
        watched([101])
    with pytest.raises(AssertionError):
        estimate_survival(np.array([np.nan]), np.array([True]), budget=BUDGET)


def test_what_is_not_reached_is_not_read():
    steps, reached = np.array([10.0, np.nan]), np.array([True, False])
    assert estimate_survival(steps, reached, budget=BUDGET) == watched([10, None])
