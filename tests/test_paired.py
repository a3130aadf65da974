"""Paired comparison against SciPy, written definitions and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.statistics.families import adjust, least_seeds
from initbench.analysis.statistics.flips import (
    EXACT_PAIRS,
    ChoiceTest,
    choice_test,
    least_p,
    sign_flip,
    sign_flip_interval,
)
from initbench.analysis.statistics.paired import (
    clopper_pearson,
    compare_pairs,
    compare_shares,
    exact_differences,
    paired_t_power,
    seeds_needed,
    share,
    sign_test,
)


def pairs(scheme, baseline, **options):
    options = {"smallest_interesting": 0.01} | options
    return compare_pairs(np.array(scheme, dtype=float), np.array(baseline, dtype=float), **options)


def flips(differences, seed=0):
    return sign_flip(np.array(differences, dtype=float), seed)


@pytest.mark.parametrize("n", [2, 3, 6, 10, 13])
def test_the_difference_and_its_p_are_those_of_scipy(n):
    rng = np.random.default_rng(n)
    scheme, baseline = rng.normal(0.3, size=n), rng.normal(size=n)
    found = pairs(scheme, baseline)
    exact = stats.permutation_test((scheme - baseline,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.difference.value == pytest.approx((scheme - baseline).mean())
    assert found.p == pytest.approx(exact.pvalue, abs=1e-12)
    assert found.n == found.difference.n == n


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_sign_flip_counts_every_sign_vector_ties_too(differences):
    # Tenths do not add up exactly in binary, counts do: the p of both must be that of the whole numbers.
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    expected = sum(total >= abs(sum(differences)) for total in sums) / len(sums)
    assert flips(differences) == pytest.approx(expected)
    assert flips(np.array(differences) / 10) == pytest.approx(expected)


@pytest.mark.parametrize("n", range(1, 15))
def test_the_least_p_is_two_of_all_sign_vectors(n):
    assert flips(np.arange(1, n + 1)) == least_p(n) == 2 / 2**n


def test_beyond_twenty_pairs_drawn_signs_agree_with_the_t_test_and_never_give_zero():
    differences = np.random.default_rng(3).normal(0.3, size=EXACT_PAIRS + 10)
    assert flips(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.005)
    assert flips(differences) == flips(differences)
    assert flips(differences) != flips(differences, seed=1)
    assert flips(np.ones(60)) == least_p(60) == 1 / 100_000


def test_no_pair_and_one_pair_say_what_they_can():
    none, one = pairs([], []), pairs([0.9], [0.8], dropped=4)
    assert (none.n, none.difference.value, none.p, none.p_least, none.improvement.value) == (0, None, None, None, None)
    assert (one.difference.value, one.difference.interval) == (pytest.approx(0.1), None)
    assert (one.p, one.p_least, one.dropped, one.deviation) == (1, 1, 4, None)
    assert (one.correlation.value, one.improvement.value, one.wins, one.losses) == (None, 1, 1, 0)


def test_two_pairs_have_extremes_but_neither_interval_nor_correlation():
    two = pairs([1.0, 2.0], [0.0, 0.0])
    assert (two.difference.interval, two.extremes) == (None, (1, 2))
    assert (two.p, two.p_least, two.correlation.value, two.correlation.n) == (0.5, 0.5, None, 2)


def test_identical_differences_are_called_so_although_rounding_tells_them_apart():
    scheme, baseline = [0.95, 0.85, 0.75, 0.65, 0.55, 0.45], [0.90, 0.80, 0.70, 0.60, 0.50, 0.40]
    assert len(set(np.subtract(scheme, baseline))) > 1
    found = pairs(scheme, baseline)
    assert found.identical
    ends = found.difference.interval
    assert (found.difference.value, ends.high - ends.low) == (pytest.approx(0.05, abs=1e-12), 0)
    assert found.deviation == 0
    assert found.p == 2 / 2**6
    assert found.correlation.value == pytest.approx(1)


def test_identical_values_differ_by_nothing():
    found = pairs([0.5] * 10, [0.5] * 10)
    assert (found.difference.value, found.p, found.identical) == (0, 1, True)
    assert (found.difference.interval.low, found.difference.interval.high) == (0, 0)
    assert (found.improvement.value, found.improvement.interval.low, found.improvement.interval.high) == (0.5, 0, 1)
    assert found.correlation.value is None


def test_a_pair_without_a_value_is_the_callers_mistake():
    with pytest.raises(AssertionError):
        pairs([0.5, np.nan], [0.5, 0.5])
    with pytest.raises(AssertionError):
        pairs([0.5], [0.5, 0.5])


def test_correlation_is_that_of_pearson_with_its_interval():
    rng = np.random.default_rng(5)
    scheme = rng.normal(size=9)
    baseline = scheme + rng.normal(size=9)
    found, reference = pairs(scheme, baseline).correlation, stats.pearsonr(scheme, baseline)
    ends = reference.confidence_interval(0.95)
    assert found.value == pytest.approx(reference.statistic)
    assert (found.interval.low, found.interval.high) == pytest.approx((ends.low, ends.high))


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_has_the_interval_of_clopper_and_pearson(count_n):
    count, n = count_n
    ends, found = stats.binomtest(count, n).proportion_ci(method="exact"), clopper_pearson(count, n)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert share(count, n).share.value == count / n


@pytest.mark.parametrize("n", [5, 10, 20])
def test_clopper_and_pearson_never_cover_less_than_they_say_and_wilson_does(n):
    counts, shares = np.arange(n + 1), np.linspace(0.001, 0.999, 999)
    ends = [clopper_pearson(count, n) for count in counts]
    wilson = [stats.binomtest(count, n).proportion_ci(method="wilson") for count in counts]
    assert least_coverage(ends, n, shares) >= 0.95
    assert least_coverage(wilson, n, shares) < 0.86


def least_coverage(ends, n, shares):
    chances = stats.binom.pmf(np.arange(n + 1)[:, None], n, shares)
    return min((chances * [[end.low <= s <= end.high for s in shares] for end in ends]).sum(axis=0))


def test_ties_count_half_in_the_improvement_and_widen_its_interval_both_ways():
    found = pairs([2, 2, 1, 0], [1, 1, 1, 1]).improvement
    assert found.value == (2 + 0.5) / 4
    assert (found.interval.low, found.interval.high) == (clopper_pearson(2, 4).low, clopper_pearson(3, 4).high)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 4), (9, 1)])
def test_mcnemar_is_the_coin_toss_of_pairs_that_differ(wins, losses):
    scheme = np.array([True] * wins + [False] * losses + [True, False])
    baseline = np.array([False] * wins + [True] * losses + [True, False])
    found = compare_shares(scheme, baseline)
    expected = min(1, 2 * sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses))
    assert (found.gained, found.lost) == (wins, losses)
    assert found.p == sign_test(wins, losses) == pytest.approx(expected)
    assert found.scheme.count == wins + 1
    assert compare_shares(np.array([], dtype=bool), np.array([], dtype=bool)).p is None


def holm(p):
    """Adjust tests of values alone, which is Holm's method as published."""
    return tuple(each.values_p for each in adjust([ChoiceTest(None, value) for value in p]))


def test_holm_is_the_published_example_and_leaves_untested_ones_out():
    # Step by step: 4 x .005, 3 x .01, then 2 x .03 over 1 x .04.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.01, None, 0.04]) == (0.02, None, 0.04)
    assert holm([]) == ()
    assert holm([None]) == (None,)
    assert holm([0.6, 0.7]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_monotone_and_between_raw_and_bonferroni(p):
    adjusted = holm(p)
    # The level of a test is what its raw p is held against.
    for raw, each in zip(p, adjust([ChoiceTest(None, value) for value in p]), strict=True):
        assert (raw <= each.values_level) == each.values_differ
    assert all(raw <= new <= min(1, len(p) * raw) for raw, new in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p)] == sorted(adjusted)


@pytest.mark.parametrize(("comparisons", "least"), [(1, 6), (4, 8), (7, 9), (9, 9), (45, 11)])
def test_the_least_seeds_are_the_first_that_reach_alpha(comparisons, least):
    assert least_seeds(comparisons) == least == math.ceil(1 + math.log2(comparisons / 0.05))
    assert comparisons * least_p(least) <= 0.05 < comparisons * least_p(least - 1)


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_power_tables(effect, needed):
    # G*Power 3.1, paired t, two-sided .05, power .80: 199, 34, 15, 10.
    assert seeds_needed(1.0, effect) == needed
    assert paired_t_power(needed, effect) >= 0.8 > paired_t_power(needed - 1, effect)


def test_seeds_needed_grow_with_spread_and_strictness_and_end():
    assert seeds_needed(2.0, 1.0) > seeds_needed(1.0, 1.0)
    assert seeds_needed(1.0, 1.0, alpha=0.05 / 7) > seeds_needed(1.0, 1.0)
    assert seeds_needed(1.0, 100.0) in {2, 3}
    assert seeds_needed(1.0, 1e-4) == pytest.approx((1.95996 + 0.84162) ** 2 * 1e8, rel=1e-3)
    assert (seeds_needed(None, 1.0), seeds_needed(0.0, 1.0)) == (None, None)


def test_power_of_the_paired_t_test_is_the_simulated_one():
    rng = np.random.default_rng(0)
    found = (stats.ttest_1samp(rng.normal(0.8, size=(20_000, 10)), 0, axis=1).pvalue < 0.05).mean()
    assert paired_t_power(10, 0.8) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize(
    "differences",
    [
        [1.0] * 15 + [0] * 40 + [-1] * 15,  # scipy issue 10223: many ties made a balanced sample significant
        [0.0] * 5,  # scipy issue 6398: p = .043 of identical values
        # HypothesisTests.jl issue 362: zeros were in the interval and not in the test.
        [0, 0, 0, 0.5, 0.5, 1, -0.5, -1, 1.5, -1.5, 0.5, 0, 1, -0.5, 2, 0, 0.5, -1, 1, 0.5],
    ],
)
def test_ties_weigh_alike_in_the_test_and_in_its_interval(differences):
    found = pairs(differences, np.zeros(len(differences)))
    ends = found.difference.interval
    assert found.p > 0.05
    assert ends is None or ends.low <= 0 <= ends.high
    assert (ends is None) == (len(differences) < least_seeds(1))


WHOLE = st.lists(st.tuples(st.integers(-9, 9), st.integers(-1, 1)), min_size=6, max_size=10)


def by_hand(differences, shift):
    """The p of the sign-flip test of a shift, over every sign vector, in whole numbers."""
    moved = [d - shift for d in differences]
    sums = [abs(sum(s * d for s, d in zip(signs, moved, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(moved))]  # fmt: skip
    return sum(total >= abs(sum(moved)) - 1e-9 for total in sums) / len(sums)


@given(st.lists(st.integers(-9, 9), min_size=6, max_size=9), st.sampled_from([0.05, 0.025, 0.05 / 3]))
def test_an_interval_holds_the_shifts_that_the_test_does_not_reject(differences, alpha):
    ends = sign_flip_interval(np.array(differences, dtype=float), alpha)
    if ends is None:
        assert least_p(len(differences)) > alpha
        return
    for end, outwards in zip(ends, (-1, 1), strict=True):
        assert by_hand(differences, end + outwards * 1e-6) <= alpha < by_hand(differences, end)


@pytest.mark.parametrize("n", [8, 20, 21, 60])
def test_an_interval_excludes_zero_exactly_where_the_test_rejects(n):
    rng = np.random.default_rng(n)
    for effect in np.linspace(0, 4 / np.sqrt(n), 5):
        differences = exact_differences(rng.normal(effect, size=n), np.zeros(n))
        for alpha in (0.05, 0.01):
            low, high = sign_flip_interval(differences, alpha) or (-1, 1)
            assert (low > 0 or high < 0) == (sign_flip(differences) <= alpha)


@given(WHOLE)
def test_the_choice_between_two_tests_is_counted_over_every_swap(pairs_of_two):
    values, shares = np.array(pairs_of_two, dtype=float).T
    found = choice_test(shares, values)
    raw = (sign_flip(shares), sign_flip(values))
    if found.shares_p is None or found.values_p is None:
        able = [np.count_nonzero(each) >= 6 for each in (shares, values)]
        assert not all(able)
        assert (found.shares_p if able[0] else found.values_p) in raw
        return
    assert (found.shares_p, found.values_p) == pytest.approx(raw)
    swaps = [np.array(signs) for signs in itertools.product((-1, 1), repeat=len(values))]
    every = np.array([[sign_flip(shares * swap), sign_flip(values * swap)] for swap in swaps[::2][:128]]).min(axis=1)
    if len(swaps[::2]) <= 128:  # up to 8 pairs, half of the swaps are all there are but for mirroring
        for p in raw:
            assert found.chosen[p] == pytest.approx((every <= p + 1e-9).mean())
        critical = found.critical(0.05)
        assert (every <= critical + 1e-9).mean() <= 0.05
        assert [(p <= critical) for p in raw] == [found.chosen[p] <= 0.05 for p in raw]


def test_a_choice_costs_nothing_where_all_pairs_agree_and_something_where_they_do_not():
    agreed = choice_test(np.ones(6), np.arange(1.0, 7))
    assert (agreed.shares_p, agreed.values_p, agreed.chosen[2 / 2**6]) == (2 / 2**6,) * 3
    apart = choice_test(np.array([1.0] * 9 + [-1]), np.array([3.0, -2, 1, -3, 2, -1, 3, -2, 1, -1]))
    assert apart.shares_p < apart.chosen[apart.shares_p] <= 2 * apart.shares_p


def test_a_scheme_that_is_open_in_one_of_its_tests_stays_in_the_family():
    # Shares of the first settled at .01 over two, its values open: the second is held against .05 over two still.
    first = ChoiceTest(0.01, 0.9, {0.01: 0.01, 0.9: 0.95}, np.array([0.01]), 64)
    found = adjust([first, ChoiceTest(None, 0.03)])
    assert (found[0].shares_p, found[1].values_p, found[1].values_differ) == (0.02, 0.06, False)
    assert found[1].values_level == found[0].values_level == 0.025
