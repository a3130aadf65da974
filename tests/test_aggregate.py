"""Several settings at once, against SciPy, brute force and rliable."""

import numpy as np
import pytest
from scipy import stats

from initbench.analysis.statistics.aggregate import (
    RESAMPLES,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    simulated_coverage,
)

# Six runs in three settings; the first row of both is equal, so that ties occur.
LEFT = np.array(
    [
        [0.8, 0.83, 0.773],
        [0.711, 0.755, 0.701],
        [0.806, 0.934, 0.751],
        [0.738, 0.849, 0.836],
        [0.811, 0.707, 0.797],
        [0.87, 0.666, 0.754],
    ]
)
RIGHT = np.array(
    [
        [0.8, 0.83, 0.773],
        [0.806, 0.623, 0.777],
        [0.766, 0.731, 0.498],
        [0.696, 0.745, 0.761],
        [0.597, 0.702, 0.652],
        [0.669, 0.856, 0.669],
    ]
)
SKEWED = np.random.default_rng(11).lognormal(size=(10, 5))


def test_points_are_those_of_rliable():
    # Computed with rliable 1.2.0 (numpy 2.4.6, scipy 1.17.1, pandas 2.3.3), metrics.aggregate_iqm,
    # probability_of_improvement and library.create_performance_profile.
    assert interquartile_mean(LEFT).value == pytest.approx(0.7815)
    assert interquartile_mean(RIGHT).value == pytest.approx(0.7289)
    assert probability_of_improvement(LEFT, RIGHT).value == pytest.approx(0.7037037037037037)
    assert probability_of_improvement(RIGHT, LEFT).value == pytest.approx(0.2962962962962963)
    profile = performance_profile(LEFT, np.array([0.6, 0.7, 0.8, 0.9, 0.8]))
    assert profile.share == pytest.approx([1, 0.9444444444444444, 0.3888888888888889, 0.0555555555555555, 7 / 18])


def test_the_interval_of_improvement_is_near_that_of_rliable():
    # rliable 1.2.0, get_interval_estimates with 2,000 resamples: .523 to .866.
    interval = probability_of_improvement(LEFT, RIGHT).interval
    assert (interval.low, interval.high) == pytest.approx((0.523, 0.866), abs=0.015)


def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy():
    for scores in (LEFT, SKEWED, SKEWED[:3, :1], SKEWED[:1, :1]):
        assert interquartile_mean(scores).value == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_its_interval_resamples_seeds_within_each_setting():
    index = np.random.default_rng(4).integers(10, size=(RESAMPLES, 10, 5))
    means = sorted(stats.trim_mean([[SKEWED[i, k] for k, i in enumerate(row)] for row in draw], 0.25, axis=None)
                   for draw in index)  # fmt: skip
    interval = interquartile_mean(SKEWED, seed=4).interval
    assert (interval.low, interval.high) == pytest.approx((means[49], means[1949]))


def test_a_setting_keeps_its_own_scores():
    # Settings a hundred apart: were seeds resampled across settings, intervals would spread over hundreds.
    far = np.arange(5.0) + np.zeros((8, 5)) + 100 * np.arange(5)
    found = interquartile_mean(far)
    assert found.interval.low == found.interval.high == found.value


def test_the_seed_is_used():
    first, again, other = (interquartile_mean(SKEWED, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.interval != other.interval
    improved = [probability_of_improvement(LEFT, RIGHT, seed=seed).interval for seed in (0, 0, 5)]
    assert improved[0] == improved[1] != improved[2]


@pytest.mark.parametrize("n", [1, 2])
def test_below_three_seeds_there_is_a_point_and_no_interval(n):
    found = interquartile_mean(SKEWED[:n])
    assert (found.interval, found.n) == (None, n)
    assert found.value is not None
    assert probability_of_improvement(LEFT[:n], RIGHT).interval is None
    profile = performance_profile(LEFT[:n], np.array([0.7]))
    assert (profile.low, profile.high, profile.n) == (None, None, n)
    assert simulated_coverage(n) is None


@pytest.mark.parametrize(("n", "coverage"), [(3, ".66-.92"), (9, ".88-.94"), (10, ".92-.94"), (25, ".94-.95")])
def test_the_coverage_of_few_seeds_is_as_simulated(n, coverage):
    assert simulated_coverage(n) == coverage


def test_improvement_is_that_of_mann_and_whitney_averaged_over_settings():
    chances = [stats.mannwhitneyu(LEFT[:, k], RIGHT[:4, k]).statistic / 24 for k in range(3)]
    assert probability_of_improvement(LEFT, RIGHT[:4]).value == pytest.approx(np.mean(chances))
    assert probability_of_improvement(LEFT, LEFT).value == pytest.approx(0.5)


def test_a_profile_falls_and_its_band_holds_it():
    thresholds = np.linspace(0, 4, 9)
    profile = performance_profile(SKEWED, thresholds)
    assert (np.diff(profile.share) <= 0).all()
    assert ((profile.low <= profile.share) & (profile.share <= profile.high)).all()
    assert profile.share == pytest.approx([(t < SKEWED).mean() for t in thresholds])


def test_diverged_trials_rank_last_and_no_number_stands_in_for_them():
    scores = LEFT.copy()
    scores[0, 0] = -np.inf
    found = interquartile_mean(scores)
    assert found.value == pytest.approx(np.sort(scores.ravel())[4:14].mean())
    assert performance_profile(scores, np.array([-1e9])).share == pytest.approx([17 / 18])
    assert probability_of_improvement(scores, RIGHT).value < probability_of_improvement(LEFT, RIGHT).value
    scores[:5] = -np.inf
    assert (interquartile_mean(scores).value, interquartile_mean(scores).interval) == (None, None)
    assert probability_of_improvement(scores, scores).value == pytest.approx(0.5)


def test_equal_scores_have_an_interval_of_width_zero():
    found = interquartile_mean(np.full((5, 3), 0.5))
    assert (found.value, found.interval.low, found.interval.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("scores", [np.array([0.5, 0.6]), np.empty((0, 3)), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_is_no_matrix_of_scores_is_the_callers_mistake(scores):
    with pytest.raises(AssertionError):
        interquartile_mean(scores)
