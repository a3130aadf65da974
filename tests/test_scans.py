"""Scans along depth and width, and whether the verdict at step 0 foretells the result of training."""

import math
import re
from itertools import permutations

import numpy as np
import pytest
from analysis_data import a_comparison, a_trial, diverged, failed, finished
from scipy import stats
from test_checks import a_layer, a_step

from initbench.analysis.prediction import step_zero_prediction
from initbench.analysis.step_zero.checks import Check
from initbench.analysis.step_zero.inspection import Inspection, Observed
from initbench.analysis.step_zero.scans import coordinates, reach, scanned_values
from initbench.errors import UsageError
from initbench.report.prediction import describe_prediction
from initbench.running.inspection import plan_inspection, run_inspection


def asked(model, schemes=("kaiming",), seeds=2):
    return plan_inspection(model, schemes, seeds)


def an_inspection(axis, by_place):
    """One scheme; `by_place` has a list of networks, one a seed, for each place."""
    texts = {f"mlp({axis}={place})": place for place in by_place}
    observed = [
        Observed(text, "mine", seed, step)
        for text, place in texts.items()
        for seed, step in enumerate(by_place[place])
    ]  # fmt: skip
    return Inspection("scan", "64 images", ("mine",), tuple(texts), tuple(observed), axis, texts)


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("mlp(depth=2..60)", [2, 3, 5, 9, 14, 23, 37, 60]),
        ("mlp(depth=2..3)", [2, 3]),
        ("mlp(depth = 1..4, width=8)", [1, 2, 3, 4]),
        ("mlp(width=16..1024)", [16, 29, 53, 95, 172, 312, 565, 1024]),
    ],
)
def test_a_range_is_walked_in_even_factors_with_both_ends(text, places):
    of = asked(text)
    assert list(of.places.values()) == places
    assert of.axis == ("width" if "width=16" in text else "depth")
    assert list(of.places) == list(of.models)
    assert all(re.search(rf"\b{of.axis}={place}\b", model) for model, place in of.places.items())


def test_a_model_without_a_range_is_no_scan():
    of = asked("mlp(depth=3)")
    assert (of.axis, of.places, of.models) == ("", None, ("mlp(depth=3, width=64, activation='relu')",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mlp(depth=9..3)", "not a range"),
        ("mlp(depth=3..3)", "not a range"),
        ("mlp(depth=0..3)", "not a range"),
        ("mlp(depth=2..4, width=8..16)", "scans 2 parameters"),
        ("mlp(depth=-2..4)", "not of the form"),
        ("mlp(depth=2..)", "not of the form"),
        ("mlp(depth=2...9)", "not of the form"),
        ("mlp(depth=2..9.5)", "depth"),
        ("mlp(depth=2..2000)", "depth"),
        ("mlp(dpth=2..9)", "dpth"),
        ("mpl(depth=2..9)", "mpl"),
        ("linear(depth=2..9)", "depth"),
    ],
)
def test_wrong_ranges_are_refused_before_anything_is_looked_at(text, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        asked(text)


# --- reach -----------------------------------------------------------------------------------------------------------


def a_chain(bits):
    """A network whose signal falls by so many bits on the way."""
    return a_step([a_layer("a"), a_layer("b"), a_layer("c", 2.0**-bits)])


@pytest.mark.parametrize(
    ("bits", "levels", "holds_to", "fails_at"),
    [
        ((0, 1, 2), "PASS PASS PASS", 8, None),
        ((0, 6, 13), "PASS WARN FAIL", 4, 8),
        ((0, 13, 0), "PASS FAIL PASS", 2, 4),
        ((13, 13, 13), "FAIL FAIL FAIL", None, 2),
        ((6, 6, 6), "WARN WARN WARN", 8, None),
    ],
)
def test_a_scheme_holds_up_to_the_last_place_before_it_fails(bits, levels, holds_to, fails_at):
    inspection = an_inspection("depth", {2**i: [a_chain(b)] * 2 for i, b in enumerate(bits, 1)})
    of = reach(inspection, "mine")
    assert (" ".join(of.levels), of.holds_to, of.fails_at) == (levels, holds_to, fails_at)


def test_only_what_depth_decides_ends_the_reach():
    step = a_step([a_layer("a", symmetric_units=64), a_layer("b")], loss=100.0)
    assert reach(an_inspection("depth", {2: [step], 4: [step]}), "mine").levels == ("PASS", "PASS")
    dead = a_step([a_layer("a", dead_fraction=1.0), a_layer("b")])
    assert reach(an_inspection("depth", {2: [step], 4: [dead]}), "mine").fails_at == 4


@pytest.mark.long
def test_schemes_reach_as_far_as_is_known_of_them():
    inspection = run_inspection("scan", asked("mlp(depth=2..60)", ("xavier", "kaiming", "zeros"), 3))
    assert scanned_values(inspection) == [2, 3, 5, 9, 14, 23, 37, 60]
    xavier, kaiming, zeros = (reach(inspection, scheme) for scheme in inspection.schemes)
    assert xavier.holds_to in {9, 14}, "12 halvings"
    assert kaiming.fails_at is None
    assert (zeros.holds_to, zeros.fails_at) == (None, 2)


# --- coordinates -----------------------------------------------------------------------------------------------------


def of_width(width, scales, exponents=(0.5, -1.0, 0.0)):
    """A network whose first, last hidden and last z have sizes scale·width^exponent."""
    sizes = [(scale * width**exponent) ** 2 for scale, exponent in zip(scales, exponents, strict=True)]
    return a_step([a_layer("first", sizes[0]), a_layer("m", 7.0), a_layer("hidden", sizes[1])], a_layer("h", sizes[2]))


def test_a_power_of_width_is_found_as_its_exponent():
    inspection = an_inspection("width", {w: [of_width(w, (s, 2, 9)) for s in (1, 3)] for w in (16, 64, 256)})
    of = coordinates(inspection, "mine")
    for estimate, exponent in zip((of.first, of.last_hidden, of.output), (0.5, -1.0, 0.0), strict=True):
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx([exponent] * 3, abs=1e-12)


def test_exponents_have_the_interval_of_their_seeds():
    rng = np.random.default_rng(0)
    widths = [16, 32, 100, 400]
    noise = np.exp(rng.normal(size=(4, 5, 3)))
    inspection = an_inspection("width", {w: [of_width(w, row) for row in noise[i]] for i, w in enumerate(widths)})
    of = coordinates(inspection, "mine")
    logs = np.log2(noise[:, :, 0]) + 0.5 * np.log2(widths)[:, None]
    each = [np.polyfit(np.log2(widths), logs[:, seed], 1)[0] for seed in range(5)]
    expected = (np.mean(each), *stats.t.interval(0.95, 4, np.mean(each), stats.sem(each)))
    assert (of.first.mean, of.first.low, of.first.high) == pytest.approx(expected)


def test_a_layer_that_is_zero_or_unknown_has_no_exponent():
    hidden = {w: [a_step([a_layer("a", value)]) for value in (0.0, None)] for w in (16, 32, 64)}
    of = coordinates(an_inspection("width", hidden), "mine")
    assert (of.first.mean, of.last_hidden.mean) == (None, None)
    assert of.output.mean == 0
    zeros = run_inspection("scan", asked("mlp(depth=2, width=16..64)", ("zeros",)))
    assert coordinates(zeros, "zeros").output.mean is None


@pytest.mark.long
def test_coordinates_of_real_schemes_are_as_their_variances_say():
    text = "mlp(depth=2, width=64..1024)"
    inspection = run_inspection("scan", asked(text, ("kaiming_normal", "normal(std=0.05)"), 4))
    kaiming, fixed = (coordinates(inspection, scheme) for scheme in inspection.schemes)
    assert kaiming.first.low < 0 < kaiming.first.high
    assert abs(kaiming.last_hidden.mean) < 0.1
    assert fixed.last_hidden.mean == pytest.approx(0.5, abs=0.1), "a sum of n terms whose variance is fixed"
    assert fixed.output.mean == pytest.approx(1.0, abs=0.15)


# --- prediction ------------------------------------------------------------------------------------------------------


def checks_of(badness):
    fails, warns = divmod(badness, 100)
    return tuple(Check(f"{i}", level, "") for i, level in enumerate(["PASS"] + ["FAIL"] * fails + ["WARN"] * warns))


def compared(badness, accuracies):
    """A comparison of schemes with known verdicts and accuracies; a list of accuracies is one a seed."""
    names = [f"scheme{i}" for i in range(len(badness))]
    records = [
        finished(a_trial(name, seed=seed), val=value) if value is not None else diverged(a_trial(name, seed=seed))
        for name, values in zip(names, accuracies, strict=True)
        for seed, value in enumerate(values if isinstance(values, list) else [values])
    ]
    comparison = a_comparison(records)
    trial = records[0].trial
    comparison.__dict__["step_zero_checks"] = {
        (trial.dataset, trial.model, name): checks_of(bad)
        for name, bad in zip(names, badness, strict=True)
    }  # fmt: skip
    return comparison


def told(comparison):
    (panel,) = comparison.panels
    prediction = step_zero_prediction(comparison, panel)
    return "" if prediction is None else describe_prediction(panel, prediction)


def numbers(text):
    found = re.search(r"accuracy (\S+) \[(\S+), (\S+)\], p = (\S+), n = (\d+) schemes", text)
    return [float(number) for number in found.groups()]


@pytest.mark.parametrize(
    ("badness", "accuracies"),
    [
        ([0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6]),
        ([0, 1, 100, 101, 203], [0.95, 0.9, 0.91, 0.2, 0.1]),
        ([0, 0, 100, 101, 203, 2], [0.95, 0.9, 0.95, 0.2, 0.1, 0.1]),
        ([3, 2, 1, 0, 100, 7, 200], [0.9, 0.1, 0.5, 0.3, 0.4, 0.6, 0.2]),
        ([0, 1, 2, 3], [0.6, 0.7, 0.8, 0.9]),
    ],
)
def test_rho_is_spearmans_and_p_counts_every_order(badness, accuracies):
    rho, low, high, p, n = numbers(told(compared(badness, accuracies)))
    goodness = [-bad for bad in badness]
    expected = stats.spearmanr(goodness, accuracies).statistic
    assert rho == pytest.approx(expected, abs=0.005)
    assert n == len(badness)
    orders = [stats.spearmanr(goodness, order).statistic for order in permutations(accuracies)]
    count = sum(abs(other) >= abs(expected) - 1e-9 for other in orders)
    assert p == pytest.approx(count / math.factorial(len(badness)), rel=0.06)
    assert -1 <= low <= rho + 0.005
    assert rho - 0.005 <= high <= 1


def test_many_schemes_have_a_p_from_random_orders():
    rng = np.random.default_rng(1)
    badness = list(range(12))
    accuracies = [0.9 - 0.02 * i for i in rng.permutation(12)]
    rho, *_, p, _ = numbers(told(compared(badness, accuracies)))
    expected = stats.spearmanr([-bad for bad in badness], accuracies)
    assert rho == pytest.approx(expected.statistic, abs=0.005)
    assert p == pytest.approx(expected.pvalue, abs=0.03)
    best = numbers(told(compared(badness, [0.9 - 0.02 * i for i in range(12)])))
    assert best[3] <= 1e-4, "never 0: the order seen counts as one of them"
    assert best[3] > 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_schemes_have_no_order_to_speak_of(count):
    assert told(compared(list(range(count)), [0.9, 0.8, 0.7][:count])) == ""


def test_where_nothing_varies_that_is_said():
    assert "same verdict" in told(compared([1, 1, 1, 1], [0.9, 0.8, 0.7, 0.6]))
    assert "same accuracy" in told(compared([0, 1, 2, 3], [0.9] * 4))


def test_a_scheme_that_diverges_in_any_seed_ranks_last():
    diverging = told(compared([0, 1, 2, 300], [[0.5, 0.5], [0.4, 0.4], [0.3, 0.3], [0.99, None]]))
    assert numbers(diverging)[0] == 1
    several = told(compared([0, 1, 300, 300], [[0.5], [0.4], [None], [None]]))
    assert numbers(several)[0] == 1, "two that diverge are equal"


def test_the_mean_over_seeds_counts_and_failed_trials_do_not():
    comparison = compared([0, 1, 2, 3], [[0.9, 0.1], [0.6, 0.6], [0.55, 0.55], [0.52, 0.5]])
    assert numbers(told(comparison))[0] == pytest.approx(-0.2)  # by means: 0.5, 0.6, 0.55, 0.51
    more = a_comparison([*comparison.records, *(failed(a_trial(f"scheme{i}", seed=7)) for i in range(4))])
    more.__dict__["step_zero_checks"] = comparison.step_zero_checks
    assert numbers(told(more))[0] == pytest.approx(-0.2)


def test_schemes_that_were_not_looked_at_are_left_out():
    comparison = compared([0, 1, 2, 3, 4], [0.9, 0.8, 0.7, 0.6, 0.5])
    comparison.step_zero_checks.popitem()
    assert numbers(told(comparison))[4] == 4
    comparison.step_zero_checks.popitem()
    assert told(comparison) == ""


def test_the_checks_of_a_comparison_are_those_of_its_records():
    records = []
    for i, name in enumerate(["a", "b", "c", "d"]):
        step = a_step([a_layer("h0"), a_layer("h1", 2.0 ** -(6.0 * i))], loss=8.0 if i == 3 else 2.4)
        fields = {"layers": step.layers, "network": step.network}
        records += [finished(a_trial(name, seed=seed), val=0.9 - i / 10, **fields) for seed in range(2)]
    comparison = a_comparison(records)
    levels = {key[2]: [check.level for check in checks] for key, checks in comparison.step_zero_checks.items()}
    assert [row[0] for row in levels.values()] == ["PASS", "WARN", "WARN", "FAIL"]
    assert numbers(told(comparison))[0] > 0.9
