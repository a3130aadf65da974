"""Verdicts: every sentence from the numbers that call for it, in the order of the decisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initbench.analysis.statistics.paired import compare_pairs, compare_shares, least_seeds
from initbench.analysis.statistics.survival import compare_steps
from initbench.analysis.verdicts import AccuracyComparison, judge_accuracy, judge_speed

SPREAD = np.array([0.010, -0.004, 0.003, -0.012, 0.006, 0.001, -0.008, 0.004, 0.009, -0.009])


def compared(scheme, baseline, learned=None, baseline_learned=None):
    """Accuracies by seed, None where a trial diverged; by default whoever finished has learned."""
    kept = [(s, b) for s, b in zip(scheme, baseline, strict=True) if s is not None and b is not None]
    values = np.array(kept, dtype=float).reshape(-1, 2)
    marks = [
        np.array([value is not None for value in side] if known is None else known, dtype=bool)
        for side, known in ((scheme, learned), (baseline, baseline_learned))
    ]
    pairs = compare_pairs(values[:, 0], values[:, 1], smallest_interesting=0.01, dropped=len(scheme) - len(kept))
    return AccuracyComparison(pairs, compare_shares(*marks))


def accuracy(*sides, **marks):
    return judge_accuracy([compared(*sides, **marks)])[0]


def race(scheme, baseline):
    steps, baseline_steps = (np.array([1000 if s is None else s for s in side], float) for side in (scheme, baseline))
    reached, baseline_reached = (np.array([s is not None for s in side], bool) for side in (scheme, baseline))
    return compare_steps(steps, reached, baseline_steps, baseline_reached, budget=1000.0, smallest_interesting=50.0)


def speed(scheme, baseline):
    return judge_speed([race(scheme, baseline)])[0]


def test_better_and_worse_are_told_in_points_with_interval_and_n():
    base = 0.9 + SPREAD
    assert accuracy(base + 0.05 + SPREAD[::-1] / 5, base).text == (
        "better by 5.0 points (95 % interval 4.9 to 5.1, n = 10)"
    )
    worse = accuracy(base - 0.05 + SPREAD[::-1] / 5, base)
    assert worse.text == "worse by 5.0 points (95 % interval 4.9 to 5.1, n = 10)"
    assert (worse.kind, worse.p, worse.n, worse.seeds_needed) == ("worse", 2 / 2**10, 10, None)


def test_the_interval_of_a_verdict_runs_the_way_it_is_told():
    low, high = compared(0.8 + 2 * SPREAD, 0.9 + SPREAD).pairs.difference.low, None
    high = compared(0.8 + 2 * SPREAD, 0.9 + SPREAD).pairs.difference.high
    assert f"95 % interval {-100 * high:.1f} to {-100 * low:.1f}" in accuracy(0.8 + 2 * SPREAD, 0.9 + SPREAD).text


def test_no_difference_names_the_seeds_that_would_settle_it():
    found = accuracy(0.9 + SPREAD, 0.9 - SPREAD)
    assert found.text == (
        "no detectable difference (about 22 seeds would detect a difference of 1 point; "
        "measured +0.0 points, 95 % interval −1.1 to 1.1, n = 10)"
    )
    assert (found.kind, found.seeds_needed) == ("no difference", 22)


def test_no_difference_with_seeds_enough_says_what_would_have_shown():
    found = accuracy(0.9 + SPREAD / 10, 0.9 - SPREAD / 10)
    assert "10 seeds would detect one of 1 point at least 4 times in 5" in found.text
    assert found.seeds_needed is None


def test_the_seeds_that_would_settle_it_pass_holm_too():
    alone = judge_accuracy([compared(0.9 + SPREAD, 0.9 - SPREAD)])[0]
    among_seven = judge_accuracy([compared(0.9 + SPREAD, 0.9 - SPREAD)] * 7)[0]
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


@given(st.integers(1, 20), st.integers(1, 20))
def test_seeds_are_too_few_exactly_where_the_test_could_not_reach_it(n, schemes):
    kinds = {v.kind for v in judge_accuracy([compared([0.9] * n, [0.1] * n)] * schemes)}
    assert kinds == ({"better"} if n >= least_seeds(schemes) else {"too few seeds"})


def test_a_scheme_that_does_not_learn_is_told_so_first():
    found = accuracy([0.1] * 4 + [0.9] * 3, [0.9] * 7, learned=[False] * 4 + [True] * 3)
    assert found.text == "does not learn (3 of 7); the baseline does (7 of 7)"
    assert accuracy([0.1], [0.1], learned=[False], baseline_learned=[False]).text == (
        "does not learn (0 of 1); nor does the baseline (0 of 1)"
    )
    assert accuracy([None] * 8, [None] * 8).kind == "does not learn"


def test_learning_where_the_baseline_does_not_is_tested_by_who_learned():
    chance = accuracy(0.9 + SPREAD, 0.1 + SPREAD[::-1], baseline_learned=[False] * 10)
    assert chance.text == "learns where the baseline does not (10 of 10 against 0 of 10)"
    diverged = accuracy(0.9 + SPREAD, [None] * 10)
    assert (diverged.kind, diverged.n, diverged.p) == ("learns", 10, 2 / 2**10)
    assert accuracy([0.9] * 3, [None] * 3).text == (
        "too few seeds to tell: at least 6 needed, 3 compared (no pair has both values; learned 3 of 3 against 0 of 3)"
    )


def test_a_baseline_just_short_of_half_does_not_make_learns_of_a_small_difference():
    # Five of ten against four: accuracies differ, who learned does not.
    marks = {"learned": [True] * 5 + [False] * 5, "baseline_learned": [True] * 4 + [False] * 6}
    found = accuracy(0.5 + SPREAD + 0.02, 0.5 + SPREAD, **marks)
    assert found.kind == "better"
    assert found.text.endswith("learned 5 of 10 against 4 of 10)")


def test_who_learned_may_favour_the_baseline():
    # Twenty seeds: the scheme learns in ten, the baseline in nine of those and in all the others.
    scheme, baseline = [0.9] * 10 + [None] * 10, [None] + [0.9] * 19
    found = accuracy(scheme, baseline)
    assert found.text == "worse: learns less often than the baseline (10 of 20 against 19 of 20)"
    assert found.kind == "worse"


def test_seeds_that_would_settle_accuracy_are_not_told_where_who_learned_was_tested():
    scheme = [0.9, 0.8, 0.9, 0.8, 0.9] + [0.9] * 6 + [None] * 5
    baseline = [0.8, 0.9, 0.9, 0.9, 0.8] + [None] * 6 + [0.9] * 5
    found = accuracy(scheme, baseline)
    assert (found.kind, found.n, found.seeds_needed) == ("no difference", 16, None)
    assert "would" not in found.text
    assert "learned 11 of 16 against 10 of 16" in found.text


def test_pairs_left_out_are_counted_in_the_sentence():
    scheme = [*(0.95 + SPREAD / 5), None, None]
    found = accuracy(scheme, [0.9] * 12)
    assert found.kind == "better"
    assert "n = 10, 2 of 12 pairs left out: one side did not finish; learned 10 of 12 against 12 of 12" in found.text


def test_without_a_shared_seed_there_is_nothing_to_compare():
    assert accuracy([], []).kind == speed([], []).kind == "nothing to compare"
    assert judge_accuracy([]) == judge_speed([]) == ()


def test_holm_takes_only_what_was_tested_into_the_family():
    tested, untested = compared([0.9] * 6, [0.1] * 6), compared([], [])
    assert [v.kind for v in judge_accuracy([tested, untested])] == ["better", "nothing to compare"]
    assert [v.kind for v in judge_accuracy([tested, tested])] == ["too few seeds"] * 2


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
