"""Verdicts: every sentence from the numbers that call for it, in the order of the decisions."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from initbench.analysis.comparing import Sides, compare_accuracies, compare_speeds
from initbench.analysis.statistics.families import least_seeds
from initbench.analysis.verdicts import judge_accuracy, judge_speed

SPREAD = np.array([0.010, -0.004, 0.003, -0.012, 0.006, 0.001, -0.008, 0.004, 0.009, -0.009])


def sides_of(scheme, baseline, learned=None, baseline_learned=None):
    """Accuracies by seed, None where a trial diverged; by default whoever finished has learned."""
    values = [np.array([np.nan if v is None else v for v in side], dtype=float) for side in (scheme, baseline)]
    marks = [
        np.array(np.isfinite(side) if known is None else known, dtype=bool)
        for side, known in zip(values, (learned, baseline_learned), strict=True)
    ]
    return Sides(*values, *marks)


def family(*sides):
    return judge_accuracy(compare_accuracies(sides, 0.01))


def accuracy(*sides, **marks):
    return family(sides_of(*sides, **marks))[0]


def counts(scheme, baseline, n):
    """A scheme that learns in so many of n seeds against one that learns in so many, the same seeds first."""
    learned, others = (np.arange(n) < k for k in (scheme, baseline))
    noise = np.resize(SPREAD, n)
    return accuracy(
        np.where(learned, 0.9, 0.1) + noise,
        np.where(others, 0.9, 0.1) + noise[::-1],
        learned=learned,
        baseline_learned=others,
    )


def speed(scheme, baseline):
    steps, others = (np.array([1000 if s is None else s for s in side], float) for side in (scheme, baseline))
    reached, also = (np.array([s is not None for s in side], bool) for side in (scheme, baseline))
    return judge_speed(compare_speeds([Sides(steps, others, reached, also)], 1000.0, 50.0))[0]


def test_better_and_worse_are_told_in_points_with_interval_and_n():
    base = 0.9 + SPREAD
    assert accuracy(base + 0.05 + SPREAD[::-1] / 5, base).text == (
        "better by 5.0 points (95 % interval 4.9 to 5.1, n = 10)"
    )
    worse = accuracy(base - 0.05 + SPREAD[::-1] / 5, base)
    assert worse.text == "worse by 5.0 points (95 % interval 4.9 to 5.1, n = 10)"
    assert (worse.kind, worse.p, worse.n, worse.seeds_needed) == ("worse", 2 / 2**10, 10, None)


def test_the_interval_of_a_verdict_runs_the_way_it_is_told():
    (found,) = compare_accuracies([sides_of(0.8 + 2 * SPREAD, 0.9 + SPREAD)], 0.01)
    low, high = found.pairs.difference.interval.low, found.pairs.difference.interval.high
    assert f"95 % interval {-100 * high:.1f} to {-100 * low:.1f}" in accuracy(0.8 + 2 * SPREAD, 0.9 + SPREAD).text


def test_no_difference_names_the_seeds_that_would_settle_it():
    found = accuracy(0.9 + SPREAD, 0.9 - SPREAD)
    assert found.text == (
        "no detectable difference (about 22 seeds would detect a difference of 1 point; "
        "measured +0.0 points, 95 % interval −1.1 to 1.2, n = 10)"
    )
    assert (found.kind, found.seeds_needed) == ("no difference", 22)
    wide = accuracy(0.9 + 8 * SPREAD, 0.9 - 8 * SPREAD)
    assert wide.seeds_needed > 1000 > wide.seeds_needed % 100 > 0
    assert f"(about {math.ceil(wide.seeds_needed / 100) * 100:,} seeds would detect" in wide.text


def test_no_difference_with_seeds_enough_says_what_would_have_shown():
    found = accuracy(0.9 + SPREAD / 10, 0.9 - SPREAD / 10)
    assert "10 seeds would detect one of 1 point at least 4 times in 5" in found.text
    assert found.seeds_needed is None


def test_the_seeds_that_would_settle_it_pass_holm_too():
    alone = accuracy(0.9 + SPREAD, 0.9 - SPREAD)
    among_seven = family(*[sides_of(0.9 + SPREAD, 0.9 - SPREAD)] * 7)[0]
    assert among_seven.kind == "no difference"
    assert among_seven.seeds_needed > alone.seeds_needed


def test_identical_trials_are_called_identical():
    found = accuracy([0.9] * 10, [0.9] * 10)
    assert found.text == "no detectable difference (measured +0.0 points, the same in all 10 pairs)"
    assert (found.kind, found.p) == ("no difference", 1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_seeds_are_told_before_anything_is_claimed(n):
    found = accuracy([0.9] * n, [0.1] * n)
    assert (found.kind, found.seeds_needed) == ("too few seeds", 6)
    said = "no interval from one pair" if n == 1 else f"the same in all {n} pairs"
    assert found.text == f"too few seeds to tell: at least 6 needed, {n} compared (measured +80.0 points, {said})"


@given(st.integers(1, 14), st.integers(1, 20))
def test_seeds_are_too_few_exactly_where_the_test_could_not_reach_it(n, schemes):
    kinds = {v.kind for v in family(*[sides_of([0.9] * n, [0.1] * n)] * schemes)}
    assert kinds == ({"better"} if n >= least_seeds(schemes) else {"too few seeds"})


@pytest.mark.parametrize(
    ("scheme", "baseline", "n", "kind", "said"),
    [
        (209, 0, 500, "learns more often", "learns more often than the baseline (209 of 500 against 0 of 500)"),
        (0, 209, 500, "learns less often", "learns less often than the baseline (0 of 500 against 209 of 500)"),
        (30, 0, 60, "learns more often", "learns more often than the baseline (30 of 60 against 0 of 60)"),
        (60, 40, 60, "learns more often", "learns more often than the baseline (60 of 60 against 40 of 60)"),
        (7, 1, 7, "learns more often", "learns more often than the baseline (7 of 7 against 1 of 7)"),
        (6, 0, 6, "learns", "learns where the baseline does not (6 of 6 against 0 of 6)"),
        (0, 6, 6, "does not learn", "does not learn (0 of 6); the baseline does (6 of 6)"),
        (0, 0, 500, "does not learn", "does not learn (0 of 500); nor does the baseline (0 of 500)"),
        (5, 0, 500, "too few learn", "too few learn to compare accuracies (5 of 500; of the baseline 0 of 500)"),
        (2, 1, 8, "too few learn", "too few learn to compare accuracies (2 of 8; of the baseline 1 of 8)"),
        (0, 3, 3, "too few seeds", "learned 0 of 3 against 3 of 3)"),
        (0, 0, 5, "too few seeds", "learned 0 of 5 against 0 of 5)"),
    ],
)
def test_who_learns_is_tested_before_words_are_chosen(scheme, baseline, n, kind, said):
    found = counts(scheme, baseline, n)
    assert found.kind == kind
    assert found.text.endswith(said)
    assert found.ahead == (scheme > baseline) - (scheme < baseline) or found.p is None or kind == "too few seeds"


def test_a_share_that_may_be_chance_leaves_the_word_to_accuracy():
    # Four of seven seeds differ in who learned: no test of that reaches .05.
    found = accuracy([0.1] * 4 + [0.85] * 3, [0.9] * 7, learned=[False] * 4 + [True] * 3)
    assert found.kind == "worse"
    assert found.text.endswith("learned 3 of 7 against 7 of 7)")
    assert counts(203, 200, 500).kind == "no difference"


def test_guesses_are_not_compared():
    # Each scheme answers a class of its own: their accuracies differ by what is in the test split.
    found = accuracy([0.101] * 10, [0.099] * 10, learned=[False] * 10, baseline_learned=[False] * 10)
    assert (found.kind, found.p, found.ahead) == ("does not learn", None, 0)


def test_a_baseline_that_diverges_is_beaten_by_who_learned():
    found = accuracy(0.9 + SPREAD, [None] * 10)
    assert (found.kind, found.n, found.p) == ("learns", 10, 2 / 2**10)
    assert accuracy([0.9] * 3, [None] * 3).text == (
        "too few seeds to tell: at least 6 needed, 3 compared (no pair has both values; learned 3 of 3 against 0 of 3)"
    )


def test_a_lead_among_survivors_decides_nothing():
    scheme = [*(0.95 + SPREAD / 5), None, None]
    found = accuracy(scheme, [0.9] * 12)
    assert (found.kind, found.n) == ("undecided", 10)
    assert "survivors only" in found.text
    assert "n = 10, 2 of 12 pairs left out: one side did not finish; learned 10 of 12 against 12 of 12" in found.text
    assert accuracy([0.9] * 12, scheme).kind == "undecided"
    assert accuracy([*(0.85 + SPREAD / 5), None, None], [0.9] * 12).kind == "worse"


def test_a_mean_against_the_majority_of_pairs_decides_nothing():
    # Eleven pairs are a little lower, nine much higher.
    scheme = np.array([0.699] * 11 + [0.8] * 9)
    found = accuracy(scheme, np.full(20, 0.7))
    assert (found.kind, found.ahead) == ("undecided", 0)
    assert found.text.startswith(
        "undecided: the mean and most pairs point in opposite directions (measured +4.4 points"
    )


def test_intervals_in_a_family_are_at_the_level_of_its_tests():
    base = 0.9 + SPREAD
    step = np.array([1, 1.1, 1.2, 0.9, 1.3, 0.8, 1.4, 0.7, -0.5, -1]) / 100  # p = .033
    found = family(sides_of(base + 0.05 + SPREAD[::-1], base), sides_of(base + step, base))
    assert "97.5 % interval" in found[0].text  # .05 over two
    assert "95 % interval" in found[1].text  # the last of Holm's steps
    assert (found[0].kind, found[1].kind) == ("better", "better")


@example([[0] * 9, [0] * 9, [-1, -1, *[2] * 7]])  # a half whose sum is 0 but for rounding
@given(st.lists(st.lists(st.integers(-3, 9), min_size=9, max_size=9), min_size=1, max_size=4))
def test_an_interval_excludes_zero_exactly_where_the_verdict_says_so(schemes):
    base = 0.5 + np.resize(SPREAD, 9)
    for comparison in compare_accuracies([sides_of(base + np.array(each) / 100, base) for each in schemes], 0.01):
        ends = comparison.pairs.difference.interval
        excluded = ends is not None and (ends.low > 0 or ends.high < 0)
        assert excluded == comparison.tests.values_differ


def test_seeds_that_would_settle_accuracy_are_not_told_where_who_learned_was_tested():
    scheme = [0.9, 0.8, 0.9, 0.8, 0.9] + [0.9] * 6 + [None] * 5
    baseline = [0.8, 0.9, 0.9, 0.9, 0.8] + [None] * 6 + [0.9] * 5
    found = accuracy(scheme, baseline)
    assert (found.kind, found.n, found.seeds_needed) == ("no difference", 16, None)
    assert "would" not in found.text
    assert "learned 11 of 16 against 10 of 16" in found.text


def test_without_a_shared_seed_there_is_nothing_to_compare():
    assert accuracy([], []).kind == speed([], []).kind == "nothing to compare"
    assert judge_accuracy([]) == judge_speed([]) == ()


def test_holm_takes_only_what_was_tested_into_the_family():
    tested, untested = sides_of([0.9] * 6, [0.1] * 6), sides_of([], [])
    assert [v.kind for v in family(tested, untested)] == ["better", "nothing to compare"]
    assert [v.kind for v in family(tested, tested)] == ["too few seeds"] * 2


def test_faster_and_slower_are_told_in_steps_and_times():
    steps = [200, 220, 180, 240, 210, 190, 230, 205, 215, 195]
    half = [s // 2 for s in steps]
    assert speed(half, steps).text == (
        "faster by 104 steps (95 % interval 98 to 111, n = 10; 2.00 times as fast, 2.00 to 2.01)"
    )
    slower = speed(steps, half)
    assert slower.kind == "slower"
    assert "2.00 times as many steps, 2.00 to 2.01" in slower.text


def test_misses_are_counted_in_the_sentence_and_cancel_the_factor():
    steps = [200, 220, 180, 240, 210, 190, 230, 205, 215, 195]
    found = speed(steps, [600, 620, 640, 660, 680, 700, 720, 740, None, None])
    assert found.kind == "faster"
    assert found.text.endswith("reached 10 of 10 against 8 of 10; a miss counts as the budget of 1000 steps)")
    assert "times as" not in found.text


def test_reaching_the_target_or_not_is_told_before_steps():
    steps = [200, 220, 180, 240, 210, 190, 230, 205, 215, 195]
    assert speed([None] * 10, steps).text == "does not reach the target (0 of 10); the baseline does (10 of 10)"
    assert (
        speed([None] * 10, [None] * 10).text == "does not reach the target (0 of 10); nor does the baseline (0 of 10)"
    )
    assert speed(steps, [None] * 10).text == (
        "reaches the target where the baseline does not (10 of 10 against 0 of 10)"
    )


def test_speed_without_difference_names_the_seeds_in_steps():
    found = speed([100, 300, 200, 400, 250, 350], [300, 100, 400, 200, 350, 250])
    assert found.kind == "no difference"
    assert "seeds would detect a difference of 50 steps; measured +0 steps" in found.text
    assert speed([100], [300]).kind == "too few seeds"


def test_small_differences_are_not_rounded_to_zero():
    base = 0.9 + SPREAD
    assert accuracy(base + 0.0004 + SPREAD / 100, base).text.startswith("better by 0.04 points")
