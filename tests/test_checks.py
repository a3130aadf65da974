"""Each verdict of `diagnose`: on hand-made statistics with known answers, and on networks known to work or to fail."""

import math
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from initbench.analysis.step_zero.agreement import agreements, withhold
from initbench.analysis.step_zero.checks import CHECKS, Check, diagnose, diagnose_together, severity, worst_level
from initbench.analysis.step_zero.propagation import signal_slopes
from initbench.records.record import LayerStatistics, NetworkStatistics, StepZero
from initbench.running.inspection import plan_inspection, run_inspection

LN_10 = math.log(10)


def a_layer(name, forward=1.0, gradient=1e-4, **fields):
    shape = {"kind": "linear", "fan_in": 64, "fan_out": 64, "units": 64, "outputs": 64, "nonlinearity": "relu"}
    seen = {"weight_std": 0.1, "weight_norm": 6.0, "dead_fraction": 0.1, "cosine": 0.5, "effective_rank": 3.0}
    return LayerStatistics(layer=name, forward_moment=forward, gradient_moment=gradient, **(shape | seen | fields))


def a_step(hidden, head=None, **fields):
    parts = {"images": 64, "images_for_dead": 1200, "classes": 10, "loss": 2.4, "logit_std": 1.0}
    singular = {"jacobian_max": 2.0, "jacobian_mean": 1.0, "jacobian_min": 0.5}
    layers = (*hidden, head or a_layer("head", dead_fraction=None, units=10, outputs=10))
    return StepZero(layers=layers, network=NetworkStatistics(**(parts | singular | fields)))


def steps(forward, gradient=None, **columns):
    """Networks of one seed each from (seeds, layers) of moments; other columns are one value, or one a layer."""
    gradient = np.full_like(np.asarray(forward, dtype=object), 1e-4) if gradient is None else gradient
    made = []
    for row, back in zip(forward, gradient, strict=True):
        each = [{k: v[i] if isinstance(v, list) else v for k, v in columns.items()} for i in range(len(row))]
        layers = [a_layer(f"h{i}", z, g, **more) for i, (z, g, more) in enumerate(zip(row, back, each, strict=True))]
        made.append(a_step(layers))
    return made


def decays(bits, layers=7, seeds=3, first=1.0):
    """Moments (seeds, layers) that fall or grow evenly by so many bits from the first layer to the last."""
    return np.tile(first * 2.0 ** np.linspace(0, bits, layers), (seeds, 1))


def checked(made, name):
    return {check.name: check for check in diagnose(made)}[name]


@cache
def real(model, scheme, seeds=5):
    """The checks of one scheme on a built-in model, by name, and what they were made from."""
    inspection = run_inspection("test", plan_inspection(model, [scheme], seeds))
    (checks,) = inspection.checks.values()
    return {check.name: check for check in checks}, [of.step_zero for of in inspection.observed]


# --- signal and gradient ---------------------------------------------------------------------------------------------

LEVELS = [
    (0.0, "PASS"),
    (4.999, "PASS"),
    (5.001, "WARN"),
    (11.999, "WARN"),
    (12.001, "FAIL"),
    (200.0, "FAIL"),
]  # fmt: skip


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("bits", "level"), LEVELS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_drift_over_all_layers_decides(bits, level, sign, seeds):
    moments = decays(sign * bits, seeds=seeds)
    assert checked(steps(moments), "signal").level == level
    backward = steps(np.ones_like(moments), moments)
    assert checked(backward, "gradient").level == level
    assert checked(backward, "signal").level == "PASS"


def test_a_drift_is_told_as_a_factor_a_layer_with_the_layer_where_it_starts():
    check = checked(steps(decays(-12.6, layers=8)), "signal")  # 1.8 bits a layer: over 5 bits after three
    assert check.figure == f"E[z²] ×{2**-1.8:.3g} [{2**-1.8:.3g}, {2**-1.8:.3g}] per layer, 2^-12.6 from h0 to h7"
    assert check.layer == "h3"
    assert "kaiming_*" in check.remedy
    assert f"by {2**0.9:.3g}" in check.remedy
    assert "(one seed)" in checked(steps(decays(-13, seeds=1)), "signal").figure


def test_a_gradient_is_read_from_the_last_layer_to_the_first():
    made = steps(np.ones((3, 8)), decays(12.6, layers=8), fan_out=[64] * 7 + [32])
    check = checked(made, "gradient")
    assert check.figure.startswith(f"‖∂z‖² ×{2**-1.8:.3g} ")
    assert check.figure.endswith("2^-12.6 from h7 to h0")
    assert check.layer == "h4"
    assert "mode='fan_out'" in check.remedy, "the signal itself is kept"
    assert "shrinks" in check.remedy
    grows = checked(steps(np.ones((3, 8)), decays(-12.6, layers=8), nonlinearity="sin"), "gradient").remedy
    assert "grows" in grows
    assert "fan_out" not in grows, "of layers as wide as high it is the same"


def test_a_gradient_is_a_norm_so_that_a_change_of_width_is_no_drift():
    widths = [2**i for i in range(14)]
    means = np.tile([1 / width for width in widths], (2, 1))
    assert checked(steps(np.ones((2, 14)), means, outputs=widths), "gradient").level == "PASS"
    assert checked(steps(np.ones((2, 14)), means, outputs=64), "gradient").level == "FAIL"


@pytest.mark.parametrize(
    ("totals", "level"),
    [((-13.0, -13.02), "FAIL"), ((-12.9, -13.1), "WARN"), ((-10.0, -16.0), "PASS"), ((-13.0,), "FAIL")],
)
def test_the_end_of_the_interval_that_speaks_for_the_scheme_decides(totals, level):
    if len(totals) == 2:
        half = stats.t.ppf(0.975, 1) * abs(totals[0] - totals[1]) / 2
        best = 0 if half > 13 else -13 + half
        assert level == ("FAIL" if best < -12 else "WARN" if best < -5 else "PASS")
    made = steps(np.concatenate([decays(total, seeds=1) for total in totals]))
    assert checked(made, "signal").level == level


def test_moments_of_zero_or_that_are_not_finite_fail_from_where_they_start():
    zero = steps([[1.0, 1.0, 0.0, 0.0]] * 2)
    assert checked(zero, "signal") == Check(
        "signal", "FAIL", "E[z²] is exactly 0 from h2 on", "h2", "draw the weights at random: kaiming_uniform"
    )
    for value in (None, math.nan, math.inf):
        check = checked(steps([[1.0, value, 1.0]] * 2), "signal")
        assert (check.level, check.layer) == ("FAIL", "h1")
        assert "not finite" in check.figure
        assert "smaller" in check.remedy
        check = checked(steps([[1.0] * 3] * 2, [[value, 1e-4, 1e-4]] * 2), "gradient")
        assert (check.level, check.layer) == ("FAIL", "h0")


def test_a_draw_that_is_dead_leaves_the_slope_of_the_others():
    made = steps([[1.0, 0.5, 0.25], [1.0, 0.0, 0.0], [1.0, 0.5, 0.25]])
    check = checked(made, "signal")
    assert check.level == "PASS"
    assert "×0.5 [0.5, 0.5]" in check.figure
    assert signal_slopes(made)[0].n == 2


def test_a_head_of_zeros_is_a_warning_and_no_vanishing():
    check = checked(steps(np.ones((2, 3)), np.zeros((2, 3))), "gradient")
    assert (check.level, check.layer) == ("WARN", "head")
    assert "head=normal(std=0.01)" in check.remedy


def test_a_signal_that_biases_keep_up_is_known_by_its_floor():
    floor = [1.0, 0.3, 0.12, *[0.05] * 15]
    made = steps([floor] * 3, decays(36, layers=18), cosine=[*np.linspace(0.5, 0.999999, 18)])
    assert checked(made, "inputs apart").remedy.endswith("bias=zeros")
    assert checked(made, "gradient").level == "FAIL"
    assert "mode='fan_out'" not in checked(made, "gradient").remedy
    assert f"by {2 ** (36 / 17 / 2):.3g}" in checked(made, "gradient").remedy, "what counts is how the gradient goes"


@pytest.mark.parametrize(
    ("nonlinearity", "word"),
    [
        ("relu", "kaiming_"),
        ("tanh", "gain='tanh'"),
        ("selu", "lecun_normal"),
        ("sigmoid", "use tanh or ReLU"),
        ("leaky_relu", "a=<slope>"),
        ("linear", "orthogonal"),
        ("mish", "multiply the std of the hidden weights by 3.17"),
    ],
)
def test_the_remedy_suits_the_activation(nonlinearity, word):
    assert word in checked(steps(decays(-20), nonlinearity=nonlinearity), "signal").remedy


@pytest.mark.parametrize(("gain", "word"), [(0.25, "variance_scaling(4) keeps it"), (8.0, "variance_scaling(0.125)")])
def test_an_activation_that_no_rule_is_for_gets_its_measured_gain(gain, word):
    made = steps(decays(-20), activation_moment=[gain * 2.0**bits for bits in np.linspace(0, -20, 7)], nonlinearity="f")
    assert word in checked(made, "signal").remedy


def test_no_remedy_names_what_was_judged_bad_beside_it():
    fading = steps(decays(-20), nonlinearity="linear")
    assert "lecun_normal or orthogonal" in diagnose_together({"normal(std=0.01)": fading})["normal(std=0.01)"][0].remedy
    for scheme in ("lecun_normal", "orthogonal"):
        remedies = [check.remedy for check in diagnose_together({"zeros": fading, scheme: fading})["zeros"]]
        assert not any(name in remedy for remedy in remedies for name in ("lecun", "orthogonal"))
    biased = steps(np.tile(0.2 + decays(-20, seeds=1), (3, 1)), decays(-20))
    told = checked(biased, "balance").remedy
    assert "xavier" not in told
    assert "equal width" not in told, "the layers are of equal width"


def test_no_remedy_says_that_a_scheme_keeps_what_is_seen_to_fade_beside_it():
    strided = steps(decays(-4, layers=3))  # by a quarter at each of two layers, as convolutions that are transposed do
    assert diagnose({"kaiming_normal": strided}["kaiming_normal"])[0].level == "PASS"
    remedies = {scheme: diagnose_together({"zeros": steps(decays(-20)), scheme: strided})["zeros"][0].remedy
                for scheme in ("kaiming_normal", "orthogonal")}  # fmt: skip
    assert remedies["orthogonal"].startswith("kaiming_* keeps")
    assert "kaiming" not in remedies["kaiming_normal"]


def test_a_bounded_activation_is_not_taken_for_biases_nor_its_gain_for_that_of_the_gradient():
    made = steps([[0.4, *[0.2] * 7]] * 2, decays(-60, layers=8, seeds=2), nonlinearity="mul → sin", cosine=0.01,
                 activation_moment=0.3)  # fmt: skip
    for check in (checked(made, "gradient"), checked(made, "balance")):
        assert check.level != "PASS"
        assert "bias" not in check.remedy
        assert "variance_scaling" not in check.remedy
    assert f"multiply the std of the hidden weights by {2 ** (-60 / 7 / 2):.3g}" in checked(made, "gradient").remedy


def test_products_of_layers_have_no_scale_that_keeps_them():
    checks = diagnose(steps(decays(40), decays(60), nonlinearity="product"))
    remedies = {check.name: check.remedy for check in checks}
    assert "layers are multiplied with each other" in remedies["signal"]
    assert "layers are multiplied with each other" in remedies["gradient"]
    assert "a product of layers does not" in remedies["balance"]
    assert not any("lecun" in remedy or "multiply the std" in remedy for remedy in remedies.values())


def test_slopes_are_least_squares_over_all_layers():
    rng = np.random.default_rng(0)
    forward, gradient = np.exp(rng.normal(size=(2, 4, 9)))
    found = signal_slopes(steps(forward, gradient))
    expected = [np.polyfit(np.arange(9), np.log2(row), 1)[0] for row in forward]
    back = [np.polyfit(np.arange(9), np.log2(row[::-1] * 64), 1)[0] for row in gradient]
    for estimate, values in zip(found, (expected, back), strict=True):
        interval = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((np.mean(values), *interval))


def test_slopes_of_one_seed_have_no_interval_and_of_nothing_no_mean():
    (forward, backward) = signal_slopes(steps(decays(-6, seeds=1)))
    assert forward.mean == pytest.approx(-1)
    assert forward.low is None
    assert backward.mean == pytest.approx(0)
    for made in ([], steps(np.zeros((2, 3)), np.zeros((2, 3))), steps([[1.0]]), [a_step([])]):
        assert [of.mean for of in signal_slopes(made)] == [None, None]


# --- the other checks ------------------------------------------------------------------------------------------------


def test_a_layer_that_is_dead_in_some_seeds_only_fails_with_their_number():
    made = [
        a_step([a_layer("h0"), a_layer("h1", dead_fraction=dead)], silent_inputs=dead, silent_inputs_predicted=0.25)
        for dead in (0.2, 1.0, 0.2)
    ]
    check = checked(made, "dead units")
    assert (check.level, check.layer) == ("FAIL", "h1")
    assert "in 1 of 3 seeds; the chance for one image is 0.25" in check.figure
    assert "bias=constant(0.1)" in check.remedy


@pytest.mark.parametrize(("share", "level"), [(0.0, "PASS"), (0.5, "PASS"), (0.51, "WARN"), (0.999, "WARN")])
def test_the_worst_layer_counts_for_dead_units(share, level):
    check = checked(steps(np.ones((2, 3)), dead_fraction=[0.0, share, None]), "dead units")
    assert check.level == level
    assert f"at most {share:.0%} of a layer (h{int(share > 0)}) over 1200 images" in check.figure


@pytest.mark.parametrize(("silent", "level"), [(0.0, "PASS"), (0.01, "PASS"), (0.02, "WARN")])
def test_images_that_a_layer_swallows_are_warned_of(silent, level):
    made = [a_step([a_layer("h0"), a_layer("h1")], silent_inputs=silent) for _ in range(2)]
    assert checked(made, "dead units").level == level


def test_without_a_relu_nothing_is_dead():
    check = checked(steps(np.ones((2, 3)), dead_fraction=None), "dead units")
    assert (check.level, check.figure) == ("PASS", "no ReLU units")


@pytest.mark.parametrize(
    ("cosine", "level"), [(-0.1, "PASS"), (0.98, "PASS"), (0.981, "WARN"), (0.9995, "WARN"), (0.9996, "FAIL")]
)
def test_inputs_that_have_become_one_are_told_by_the_last_cosine(cosine, level):
    check = checked(steps(np.ones((3, 4)), cosine=[0.1, 0.99, 0.5, cosine]), "inputs apart")
    assert check.level == level
    assert check.layer == ("" if level == "PASS" else "h1")
    assert (f"mean cosine {cosine:.3f}" in check.figure) != ("mean cosine 1 − 0.000" in check.figure)


def test_cosines_that_scatter_speak_for_the_scheme_and_missing_ones_say_nothing():
    made = [a_step([a_layer("h0", cosine=cosine)]) for cosine in (0.999, 0.9999, 0.9, None)]
    assert checked(made, "inputs apart").level == "PASS"
    assert checked(made[:1], "inputs apart").level == "WARN", "one seed: the mean decides"
    assert checked(made[3:], "inputs apart").figure == "no cosine measured"


@pytest.mark.parametrize(
    ("excess", "level"),
    [(-2.3, "PASS"), (0.0, "PASS"), (0.99, "PASS"), (1.01, "WARN"), (4.99, "WARN"), (5.01, "FAIL"), (1e8, "FAIL")],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_loss_above_chance_is_weighed_and_one_below_is_no_fault(excess, level, seeds):
    check = checked([a_step([a_layer("h0")], loss=LN_10 + excess)] * seeds, "loss at step 0")
    assert check.level == level
    assert "ln 10 = 2.303" in check.figure
    assert check.layer == ("" if level == "PASS" else "head")


def test_the_interval_of_the_loss_decides():
    made = [a_step([a_layer("h0")], loss=LN_10 + excess) for excess in (0.2, 1.9, 1.5)]
    assert np.mean([0.2, 1.9, 1.5]) > 1
    assert checked(made, "loss at step 0").level == "PASS"


def test_losses_that_are_not_there():
    assert checked([a_step([a_layer("h0")], loss=math.nan)], "loss at step 0").level == "FAIL"
    none = checked([a_step([a_layer("h0")], loss=None, classes=None)], "loss at step 0")
    assert (none.level, none.figure) == ("PASS", "outputs are not logits")


@pytest.mark.parametrize(("twins", "level"), [(0, "PASS"), (2, "WARN"), (31, "WARN"), (32, "FAIL"), (64, "FAIL")])
def test_units_that_stay_equal_fail_from_half_a_layer_on(twins, level):
    check = checked(steps(np.ones((2, 3)), symmetric_units=[0, twins, 0]), "symmetric units")
    assert (check.level, check.layer) == (level, "h1" if twins else "")


@pytest.mark.parametrize("fault", ["zero_rows", "duplicate_rows", "antiparallel_rows"])
def test_faulty_rows_are_found_in_any_seed(fault):
    made = [a_step([a_layer("h0"), a_layer("h1", **{fault: count})]) for count in (0, 0, 3)]
    check = checked(made, "symmetric units")
    assert (check.level, check.layer) == ("WARN", "h1")
    assert "3 " in check.figure
    assert "of 64" in check.figure


def test_units_behind_a_layer_that_is_shut_are_not_symmetric_by_their_weights():
    shut = [a_layer("h0", dead_fraction=1.0), a_layer("h1", 0.0, 0.0, symmetric_units=64)]
    assert checked([a_step(shut)], "symmetric units").level == "PASS"
    zeros = [a_layer("h0", 0.0, 0.0, symmetric_units=64, weight_norm=0.0, zero_rows=64)]
    assert checked([a_step(zeros)], "symmetric units").level == "FAIL"


@pytest.mark.parametrize(("backward", "level"), [(0.0, "PASS"), (4.9, "PASS"), (5.1, "WARN"), (-5.1, "WARN")])
def test_one_way_kept_at_the_cost_of_the_other_is_warned_of(backward, level):
    made = steps(np.ones((3, 4)), decays(backward, layers=4))
    assert checked(made, "balance").level == level
    both = steps(decays(backward, layers=4), decays(-backward, layers=4))
    assert checked(both, "balance").level == "PASS"


def test_numbers_at_the_ends_of_the_range_are_judged_too():
    moments = np.exp2(np.tile(np.linspace(-700, 800, 7), (2, 1)))
    made = steps(moments, moments)
    assert checked(made, "signal").level == "FAIL"
    assert checked(made, "balance").figure == "signal 2^1500.0, gradient 2^-1500.0 over all layers"
    apart = steps(2.0 ** np.array([[0, -1], [0, -400]]))
    assert checked(apart, "signal").level == "PASS"
    assert "inf]" in checked(apart, "signal").figure, "two seeds that far apart know nothing"


@pytest.mark.parametrize(
    ("factor", "seeds", "level"), [(1.0, 1, "PASS"), (1.3, 1, "PASS"), (1.3, 64, "WARN"), (3.0, 1, "WARN")]
)
def test_what_sampling_does_not_explain_is_told(factor, seeds, level):
    moments = [[1.0 + seed / 1e6, factor + seed / 1e6] for seed in range(seeds)]
    made = steps(moments, forward_moment_predicted=1.0, spread=0.1)
    check = checked(made, "theory")
    assert check.level == level
    if level == "WARN":
        assert (check.layer, f"{factor:.2g} [" in check.figure) == ("h1", True)
        assert check.figure.endswith("times its prediction")


def lognormal(seeds, spread, factor=1.0, layers=6, generator=0):
    """Gradients of mean `factor` over draws that differ by `spread`, forward moments as predicted."""
    logs = np.random.default_rng(generator).normal(math.log(factor) - spread**2 / 2, spread, (seeds, layers))
    return steps(np.ones(logs.shape), np.exp(logs), gradient_moment_predicted=1.0, spread=1.0)


@pytest.mark.parametrize(
    ("seeds", "spread"),
    [(5, 0.1), *(pytest.param(*p, marks=pytest.mark.long) for p in ((2, 0.1), (5, 0.9), (12, 0.3), (64, 0.9)))],
)
def test_sampling_alone_is_a_deviation_in_one_of_a_hundred_schemes_at_most(seeds, spread):
    drawn = [agreements(lognormal(seeds, spread, generator=i)) for i in range(300)]
    assert sum(not all(one.inside for one in found) for found in drawn) <= 9  # 3 expected at ALPHA


def test_seeds_that_share_a_layer_are_one_draw_of_it():
    made = steps([[1.0, 1.3]] * 64, forward_moment_predicted=1.0, spread=0.1)
    assert checked(made, "theory").level == "PASS"


@pytest.mark.parametrize("seeds", [5, 12])
def test_a_gradient_low_by_a_third_is_a_deviation_within_a_few_seeds(seeds):
    """Max-pooling was, at this spread, and hidden in a slack of a factor of two."""
    made = lognormal(seeds, 0.07, factor=1.55)
    assert not any(one.inside for one in agreements(made))
    assert checked(made, "theory").level == "WARN"


def test_layers_without_a_law_are_counted_and_not_held_against_one():
    made = steps(np.full((2, 3), 50.0), forward_moment_predicted=[None, None, 50.0], spread=[None, None, 0.1])
    assert checked(made, "theory").figure == (
        "1 of 3 hidden layers predicted within sampling error: measured 1.00 to 1.00 times that (mean of 2)"
    )
    assert checked(steps(np.ones((2, 3))), "theory").figure == "no hidden layer with a closed form"


def test_a_law_that_only_some_seeds_have_is_none():
    """Where units flip in some seeds, sign_flip's weights keep their law in the others."""
    made = [*steps(np.ones((3, 2)), forward_moment_predicted=1.0, spread=0.1), *steps(np.full((1, 2), 9.0))]
    assert agreements(made) == ()
    frame = pd.DataFrame(
        [(each.layer, each.forward_moment_predicted, None) for step in made for each in step.layers],
        columns=["layer", "forward_moment_predicted", "gradient_moment_predicted"],
    )
    withhold(frame, frame["layer"] != "", made)
    assert frame["forward_moment_predicted"].isna().all()


@pytest.mark.parametrize("model", ["cnn(width=16)", pytest.param("lenet", marks=pytest.mark.long)])
def test_below_max_pooling_the_gradient_starts_where_it_is_measured(model):
    checks, seen = real(model, "kaiming_normal", 12)
    assert checks["theory"].level == "PASS"
    assert all(one.inside for one in agreements(seen))
    pooled = "conv2" if model == "lenet" else "conv4"
    gradients = {layer.layer: layer.gradient_moment_predicted for layer in seen[0].layers}
    assert gradients[pooled] is None, "half of what arrives there would be too low by a third"
    assert gradients["head"] is None, "it is measured there"
    assert gradients["linear2" if model == "lenet" else "conv3"] is not None


@pytest.mark.parametrize("hidden", [[], [a_layer("h0")]])
def test_a_network_of_a_head_and_at_most_one_layer_can_be_judged(hidden):
    for seeds in (1, 3):
        checks = diagnose([a_step(hidden)] * seeds)
        assert len(checks) == len(CHECKS)
        assert worst_level(checks) == "PASS"
        assert checks[0].figure == "fewer than two hidden layers"


def test_of_nothing_nothing_is_said():
    norm = StepZero(layers=(a_layer("n", kind="norm"),), network=a_step([]).network)
    assert diagnose([]) == diagnose([norm]) == ()
    assert (worst_level(()), severity(())) == (None, (0, 0))


def test_layers_that_are_no_weighted_sums_have_no_part_in_it():
    layers = [a_layer("h0"), a_layer("n", 1e9, 1e9, kind="norm"), a_layer("h1"), a_layer("e", 0.0, 0.0, kind="embed")]
    assert worst_level(diagnose([a_step(layers)] * 2)) == "PASS"


def test_the_verdict_is_the_worst_and_the_order_counts_fails_first():
    checks = [Check("a", level, "") for level in ("WARN", "PASS", "FAIL", "WARN")]
    assert worst_level(checks) == "FAIL"
    assert worst_level(checks[:2]) == "WARN"
    assert severity(checks) == (1, 2)


# --- networks that are known to work or to fail ----------------------------------------------------------------------


def test_xavier_halves_the_signal_at_every_relu():
    checks, seen = real("mlp(depth=30, width=128)", "xavier")
    check = checks["signal"]
    assert check.level == "FAIL"
    assert "kaiming_* keeps E[z²] constant under ReLU" in check.remedy
    for slope in signal_slopes(seen):
        assert slope.low < -1 < slope.high
    low, high = map(float, re.search(r"\[([\d.]+), ([\d.]+)\] per layer", check.figure).groups())
    assert low < 0.5 < high
    assert -32 < float(re.search(r"2\^(\S+) from linear1 to linear30", check.figure)[1]) < -28
    assert checks["balance"].level == "PASS", "it halves both ways alike"
    assert checks["theory"].level == "PASS"


def test_the_default_of_pytorch_makes_one_of_all_inputs_behind_a_steady_variance():
    checks, seen = real("mlp(depth=20)", "torch_default")
    assert checks["inputs apart"].level == "FAIL"
    assert "bias=zeros" in checks["inputs apart"].remedy
    moments = np.array([[layer.forward_moment for layer in of.layers[10:20]] for of in seen])
    assert np.ptp(np.log2(moments.mean(axis=0))) < 0.5, "the floor"
    assert all(of.layers[19].cosine > 0.9999 for of in seen)
    assert checks["gradient"].level == "FAIL"


def test_narrow_networks_are_born_dead_with_the_chance_that_theory_gives():
    checks, seen = real("mlp(depth=10, width=3)", "kaiming")
    check = checks["dead units"]
    assert check.level == "FAIL"
    predicted = 1 - (1 - 2.0**-3) ** 10
    assert f"the chance for one image is {predicted:.2g}" in check.figure
    shut = sum(any(layer.dead_fraction == 1 for layer in of.layers) for of in seen)
    assert f"in {shut} of 5 seeds" in check.figure
    assert checks["symmetric units"].level == "PASS", "random weights have no twins, whatever is shut before them"


def test_constant_weights_are_one_unit_many_times():
    checks, _ = real("mlp", "constant(0.05)")
    assert checks["symmetric units"].level == "FAIL"
    assert checks["symmetric units"].figure.startswith("100%")
    assert "at random" in checks["symmetric units"].remedy


def test_tanh_below_at_and_above_the_critical_line():
    below, at, above = (
        real("mlp(depth=20, width=128, activation='tanh')", f"variance_scaling({scale}, 'fan_in', 'normal')", 3)
        for scale in (0.5, 1.0, 4.0)
    )
    assert below[0]["signal"].level == below[0]["gradient"].level == "FAIL"
    assert "gain='tanh'" in below[0]["signal"].remedy
    assert "FAIL" not in {check.level for check in at[0].values()}
    assert above[0]["signal"].level == "PASS", "a tanh saturates and keeps its variance"
    assert above[0]["gradient"].level != "PASS"
    assert signal_slopes(above[1])[1].low > 0.2, "the gradient explodes"
    cosines = [[layer.cosine for layer in of.layers[:20]] for of in above[1]]
    assert all(row[-1] < row[0] / 2 for row in cosines), "chaos drives inputs apart"


def test_kaiming_passes_where_it_was_made_for():
    checks, _ = real("mlp(depth=8)", "kaiming")
    assert {check.level for check in checks.values()} == {"PASS"}


def test_zeros_fail_and_a_head_of_zeros_only_warns():
    zeros, _ = real("mlp(depth=4)", "zeros", 2)
    assert {name for name, check in zeros.items() if check.level == "FAIL"} >= {"signal", "dead units"}
    assert zeros["symmetric units"].level == "FAIL"
    head, _ = real("mlp(depth=4)", "kaiming; head=zeros", 2)
    assert {name for name, check in head.items() if check.level != "PASS"} == {"gradient"}
    assert head["gradient"].level == "WARN"
