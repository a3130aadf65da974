"""Gaps and early instability against closed forms and brute force."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.stability import (
    Instability,
    common_level,
    ends_in_spike,
    gap_at_end,
    gap_at_level,
    gradient_instability,
    instability,
    loss_instability,
    stability,
)
from initbench.records.record import EARLY_STEPS, Early, Point
from initbench.report.document import document_of
from initbench.report.sentences import describe_spikes
from tests.analysis_data import ENVIRONMENT, a_comparison, a_curve, a_trial, diverged, failed, finished


def curve(train, val, steps=None):
    steps = [2**i for i in range(len(train))] if steps is None else steps
    return tuple(
        Point(step=s, epoch=s / 20, train_loss=t, val_loss=v, val_accuracy=0.5)
        for s, t, v in zip(steps, train, val, strict=True)
    )


def early(losses, norms=None):
    return Early(losses=tuple(losses), gradient_norms=tuple(losses if norms is None else norms))


def test_instability_of_alternating_values_is_the_log_of_their_ratio():
    assert instability([1.0, 2.0] * 10).value == pytest.approx(math.log(2))
    assert instability([3.0, 3.0, 3.0]) == Instability(0.0, "measured")


def test_a_trend_adds_its_slope_only():
    assert instability([2.3 * 0.95**i for i in range(50)]).value == pytest.approx(-math.log(0.95))


def test_of_independent_noise_it_is_root_two_times_the_deviation():
    noise = np.random.default_rng(0).normal(scale=0.3, size=20_000)
    assert instability(list(np.exp(noise))).value == pytest.approx(0.3 * math.sqrt(2), rel=0.02)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=20), st.floats(1e-3, 1e3))
def test_instability_is_the_written_sum_and_does_not_depend_on_the_unit(values, factor):
    found = instability(values)
    squares = [math.log(b / a) ** 2 for a, b in itertools.pairwise(values)]
    assert found.value == pytest.approx(math.sqrt(sum(squares) / len(squares)), abs=1e-9)
    assert instability([factor * v for v in values]).value == pytest.approx(found.value, abs=1e-9)
    assert instability(values[::-1]).value == pytest.approx(found.value, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([2.3, None], "diverged"),
        ([None], "diverged"),
        ([2.3, math.inf], "diverged"),
        ([2.3, 0.0, 2.0], "zero"),
        ([0.0, None], "diverged"),
        ([2.3], "too short"),
        ([], "too short"),
    ],
)
def test_what_has_no_log_or_no_successor_has_no_instability_and_says_why(values, state):
    assert instability(values) == Instability(None, state)


def test_a_record_counts_as_diverged_early_also_where_its_batch_losses_are_finite():
    steady = early([2.3] * 8)
    assert loss_instability(finished(a_trial(), early=steady)).state == "measured"
    assert loss_instability(diverged(a_trial(), step=8, early=steady)).state == "diverged"
    assert gradient_instability(diverged(a_trial(), step=8, early=steady)).state == "diverged"
    late = early([2.3, 2.4] * 25)
    assert loss_instability(diverged(a_trial(), step=120, early=late)).state == "measured"
    assert loss_instability(finished(a_trial())).state == "too short"  # an older record has none


def test_only_the_first_steps_count():
    long = early([1.0] * EARLY_STEPS + [9.0, 1.0] * 20)
    assert loss_instability(finished(a_trial(), early=long)).value == 0


def test_loss_and_gradient_norm_are_told_apart():
    record = finished(a_trial(), early=early([1.0, 2.0, 1.0], [1.0, 4.0, 1.0]))
    assert loss_instability(record).value == pytest.approx(math.log(2))
    assert gradient_instability(record).value == pytest.approx(math.log(4))


def test_the_gap_at_a_level_is_read_between_two_points():
    points = curve([2.0, 1.0, 0.5], [2.1, 1.2, 1.1])
    assert gap_at_level(points, 1.5) == pytest.approx((2.1 + 1.2) / 2 - 1.5)
    assert gap_at_level(points, 1.0) == pytest.approx(0.2)
    assert gap_at_level(points, 0.75) == pytest.approx(1.15 - 0.75)
    assert gap_at_level(points, 2.0) == pytest.approx(0.1)
    assert gap_at_level(points, 0.5) == pytest.approx(0.6)


def test_a_curve_that_never_is_at_the_level_has_no_gap_there():
    points = curve([2.0, 1.0, 0.5], [2.1, 1.2, 1.1])
    assert gap_at_level(points, 0.4) is None
    assert gap_at_level(points, 2.5) is None
    assert gap_at_level((), 1.0) is None


def test_the_first_fall_counts_not_a_later_one():
    points = curve([2.0, 1.0, 3.0, 1.0], [2.0, 1.1, 3.0, 1.9])
    assert gap_at_level(points, 1.0) == pytest.approx(0.1)


losses = st.lists(st.floats(0.01, 5), min_size=2, max_size=10)


@given(losses, losses, st.floats(0.01, 5))
def test_reading_in_steps_or_in_log_steps_gives_the_same_gap(train, val, level):
    n = min(len(train), len(val))
    points = curve(train[:n], val[:n])
    found = gap_at_level(points, level)
    crossing = next((k for k in range(1, n) if train[k] <= level), None)
    if train[0] <= level or crossing is None:
        assert found is None or train[0] == level
        return
    for scale in (float, math.log):
        ends = [scale(points[k].step) for k in (crossing - 1, crossing)]
        # np.interp wants the training loss, its x, to rise: it falls, so both ends are swapped.
        when = np.interp(level, [train[crossing], train[crossing - 1]], ends[::-1])
        there = np.interp(when, ends, val[crossing - 1 : crossing + 1])
        assert found == pytest.approx(there - level, abs=1e-6)


def ended(scheme, seed, train, val=None, **fields):
    points = curve(train, train if val is None else val)
    return finished(a_trial(scheme, seed), curve=points, **fields)


def test_the_level_is_the_highest_final_training_loss_of_the_trials_that_learned():
    records = [
        ended("a", 0, [2.3, 1.0, 0.2]),
        ended("b", 0, [2.3, 2.0, 0.7]),
        ended("c", 0, [2.3, 2.3, 2.3], val=[2.3] * 3),
        diverged(a_trial("d"), curve=curve([2.3, 1.9], [2.3, 2.0])),
    ]
    learned = frozenset(record.trial.id for record in records[:2])
    assert common_level(records, learned) == 0.7
    assert common_level(records[::-1], learned) == 0.7
    assert common_level(records, frozenset()) is None
    assert all(gap_at_level(record.curve, 0.7) is not None for record in records[:2])


def test_gap_at_the_end_is_of_validation_and_only_where_there_is_an_end():
    assert gap_at_end(finished(a_trial(), val_loss=0.5)) == pytest.approx(0.3)  # training loss 0.2, test loss 0.25
    assert gap_at_end(finished(a_trial(), val_loss=math.inf)) is None
    assert gap_at_end(diverged(a_trial())) is None


def test_rows_hold_means_with_t_intervals_and_count_what_is_not_there():
    rng = np.random.default_rng(4)
    paths = [2.3 * np.exp(rng.normal(scale=0.1, size=50)) for _ in range(4)]
    values = [0.25, 0.3, 0.42, 0.5]
    records = [
        ended("a", seed, [2.3, 1.0, 0.1 * (seed + 1)], [2.3, 1.1, 0.8], val_loss=values[seed], early=early(paths[seed]))
        for seed in range(4)
    ]
    records += [diverged(a_trial("a", 4), step=3, early=early([2.3, 5.0, None])), failed(a_trial("a", 5))]
    records += [ended("b", 0, [2.3, 2.31, 2.3], val=[2.3] * 3), diverged(a_trial("b", 1), step=3, curve=())]
    records[-2] = records[-2].model_copy(update={"final": replace(records[-2].final, val_accuracy=0.1)})
    first, second = stability(records)
    assert (first.scheme, first.n, first.early_diverged, first.level) == ("a", 6, 1, pytest.approx(0.4))
    assert (second.scheme, second.n, second.early_diverged, second.level) == ("b", 2, 1, first.level)
    assert first.gap_at_end.n == first.gap_at_level.n == first.loss_instability.n == first.gradient_instability.n == 4
    gaps = np.array(values) - 0.2
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert (first.gap_at_end.mean, first.gap_at_end.low, first.gap_at_end.high) == pytest.approx(
        (gaps.mean(), low, high)
    )
    assert first.loss_instability.mean == pytest.approx(
        np.mean([np.sqrt((np.diff(np.log(p)) ** 2).mean()) for p in paths])
    )
    assert second.gap_at_level.n == 0  # never got there: no number
    assert second.gap_at_level.mean is None
    assert second.gap_at_end.n == 1
    assert second.gap_at_end.half is None


def test_levels_are_of_a_setting_not_of_all():
    low, high = ended("a", 0, [2.3, 0.5]), ended("a", 0, [2.3, 1.5])
    high = high.model_copy(update={"trial": a_trial("a", 0, lr=0.001)})
    assert [row.level for row in stability([low, high])] == [0.5, 1.5]


# How training ends, and where.


def test_a_trial_that_ends_in_a_loss_spike_is_counted_and_one_that_merely_wavers_is_not():
    rising = [0.1, 0.4, 0.7, 0.8, 0.9, 0.94, 0.95, 0.96, 0.97, 0.97]
    spiked = a_curve([*rising[:-1], 0.80])  # loss 0.16 -> 0.55, 17 points lost
    wavering = a_curve([*rising[:-1], 0.93])  # twice the lowest loss, but 4 points
    early = a_curve([*rising[:5], 0.3, *rising[6:]])  # a spike that it has left behind
    records = [
        finished(a_trial(scheme, seed), curve=curve)
        for scheme, seed, curve in (
            ("kaiming_uniform", 0, spiked),
            ("kaiming_uniform", 1, wavering),
            ("orthogonal", 0, early),
            ("orthogonal", 1, spiked),
            ("zeros", 0, a_curve([0.1] * 10)),
        )
    ]
    assert [ends_in_spike(record) for record in records] == [True, False, False, True, False]
    assert describe_spikes(records) == "2 of 5 trials end in a loss spike: kaiming_uniform 1, orthogonal 1."
    assert describe_spikes(records[1:2]) == ""
    assert not ends_in_spike(diverged(a_trial()))


def test_trials_of_unlike_machines_are_named_once_and_those_of_one_kind_are_not():
    elsewhere = replace(ENVIRONMENT, device="Xeon", instructions="AVX2, haswell")
    records = [finished(a_trial(seed=0)), finished(a_trial(seed=1), environment=elsewhere)]
    (note,) = (note for note in document_of(a_comparison(records)).notes if "kinds of machine" in note)
    assert "cpu (torch 2.13.0): 1 trial; Xeon (AVX2, haswell, torch 2.13.0): 1 trial" in note
    assert not any("kinds of machine" in note for note in document_of(a_comparison(records[:1])).notes)
