"""Statistics against SciPy, closed forms and brute force."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.statistics.intervals import (
    beats_guessing,
    censored_median,
    geometric_band,
    mean_band,
    mean_interval,
)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda v: np.ptp(v) > 1e-6))
def test_an_interval_is_that_of_student(values):
    estimate = mean_interval(np.array(values))
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert estimate.n == len(values)


def test_two_values_give_the_interval_of_the_table():
    # t(0.975, 1) = 12.706; the standard error of 0 and 1 is 1/2.
    assert mean_interval(np.array([0.0, 1.0])).half == pytest.approx(12.7062 / 2, rel=1e-5)


def test_one_value_has_no_interval_and_none_has_no_mean():
    one, none = mean_interval(np.array([0.5])), mean_interval(np.array([]))
    assert (one.mean, one.low, one.high, one.n) == (0.5, None, None, 1)
    assert (none.mean, none.low, none.high, none.n) == (None, None, None, 0)


@given(st.floats(-1e6, 1e6), st.integers(2, 30))
def test_equal_values_have_an_interval_of_width_zero_exactly(value, n):
    estimate = mean_interval(np.full(n, value))
    assert (estimate.mean, estimate.half) == (value, 0.0)


def test_a_band_is_an_interval_in_every_column():
    values = np.random.default_rng(0).normal(size=(7, 4))
    mean, half = mean_band(values)
    assert [mean_interval(column).half for column in values.T] == pytest.approx(half)
    assert mean == pytest.approx(values.mean(axis=0))


def test_a_geometric_band_is_that_of_the_logarithms():
    values = np.exp(np.random.default_rng(0).normal(size=(7, 2)))
    mean, low, high = geometric_band(values)
    assert mean == pytest.approx(stats.gmean(values))
    assert low * high == pytest.approx(mean**2)
    assert geometric_band(values[:1])[1:] == (None, None)


def product_limit_median(steps, reached):
    """Kaplan and Meier's product in whole fractions: the first time at which survival is one half or less."""
    survival = Fraction(1)
    for time in sorted(set(steps)):
        at_risk = sum(step >= time for step in steps)
        deaths = sum(step == time and is_death for step, is_death in zip(steps, reached, strict=True))
        survival *= 1 - Fraction(deaths, at_risk)
        if survival <= Fraction(1, 2):
            return time
    return None


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=14))
def test_the_censored_median_is_the_product_limit_in_fractions(trials):
    steps, reached = [t[0] for t in trials], [t[1] for t in trials]
    assert censored_median(np.array(steps, float), np.array(reached)) == product_limit_median(steps, reached)


@pytest.mark.parametrize(
    ("steps", "reached", "median"),
    [
        ([], [], None),
        ([5], [True], 5),
        ([5], [False], None),
        ([1, 2, 3, 9], [True, True, False, False], 2),
        ([1, 2, 9, 9, 9], [True, True, False, False, False], None),
        (list(range(1, 11)), [True] * 10, 5),
    ],
)
def test_censored_medians_worked_by_hand(steps, reached, median):
    assert censored_median(np.array(steps, float), np.array(reached, bool)) == median


@given(st.integers(1, 400), st.floats(0.01, 0.99), st.data())
def test_learning_is_an_exact_binomial_test(size, guess, data):
    correct = data.draw(st.integers(0, size))
    expected = stats.binomtest(correct, size, guess, alternative="greater").pvalue
    if not np.isclose(expected, 0.001, rtol=1e-9):
        assert beats_guessing(correct, size, guess) == (expected < 0.001)


def test_nobody_beats_a_guess_that_is_always_right():
    assert not beats_guessing(50, 50, 1.0)
