"""The closed forms T1 to T14 against draws of the weights, and the integrals against another quadrature.

Where draws decide, generators are fixed and the mean must lie within 4 standard errors of the law.
"""

import itertools
import math

import numpy as np
import pytest
import theory_forms as forms
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn
from torch.nn import functional

import initbench
from initbench.core.randomness import one_thread
from initbench.networks.models import build_model
from initbench.signals import theory
from initbench.signals.theory import ACTIVATIONS

NAMES = list(ACTIVATIONS)
TORCH = {
    "relu": functional.relu, "leaky_relu": functional.leaky_relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "selu": functional.selu, "gelu": functional.gelu, "silu": functional.silu, "elu": functional.elu,
    "softsign": functional.softsign, "hardtanh": functional.hardtanh, "mish": functional.mish, "sin": torch.sin,
    "linear": lambda z: z * 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_mean(draws, expected, *, label=""):
    """Hold the mean of independent draws against a law, within 4 standard errors."""
    draws = np.asarray(draws, dtype=np.float64)
    error = draws.std(ddof=1) / math.sqrt(len(draws))
    assert abs(draws.mean() - expected) <= 4 * error, (label, draws.mean(), expected, error)


def assert_share(hits, probability):
    """Hold a share of hits against a probability, within 4 standard errors."""
    error = math.sqrt(probability * (1 - probability) / len(hits))
    assert abs(float(hits.double().mean()) - probability) <= 4 * error


def he_moments(widths, nets, seed=0):
    """Draw He-normal ReLU nets on one input: the second moment M of each after the last layer, times 2, over M₀."""
    draw = generator(seed)
    x = torch.randn(1, widths[0], dtype=torch.float64, generator=draw).expand(nets, -1)
    start = x.square().mean(1)
    for n in widths[1:]:
        weights = torch.randn(nets, n, x.shape[1], dtype=torch.float64, generator=draw) * math.sqrt(2 / x.shape[1])
        x = torch.einsum("koi,ki->ko", weights, x).relu()
    return (x.square().mean(1) / start).numpy()


def integral(function, mean, variance):
    """E[function(z)] by SciPy's adaptive quadrature, split at the kink."""
    std = math.sqrt(variance)
    low, high = mean - 12 * std, mean + 12 * std
    places = [p for p in (-5, -1, 0, 1, 5) if low < p < high]
    return quad(
        lambda z: float(function(np.float64(z))) * norm.pdf(z, mean, std),
        low, high, points=places or None, limit=400, epsabs=0, epsrel=1e-10,
    )[0]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_their_derivatives_are_those_of_torch(name):
    z = torch.cat([torch.linspace(-9, 9, 1000), torch.tensor([-1e30, -1e3, 1e3, 1e30])]).double().requires_grad_()
    value = TORCH[name](z)
    value.sum().backward()
    points = z.detach().numpy()
    np.testing.assert_allclose(ACTIVATIONS[name].value(points), value.detach(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(points), z.grad, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.7, -2.0])
@pytest.mark.parametrize("name", NAMES)
def test_moments_are_integrals_to_one_in_a_hundred_million(name, mean):
    act = ACTIVATIONS[name]
    for variance in (1e-3, 1.0, 30.0):
        moment, slope = (f(act, mean, variance) for f in (theory.moment, theory.derivative_moment))
        assert moment == pytest.approx(integral(lambda z: act.value(z) ** 2, mean, variance), rel=1e-8)
        assert slope == pytest.approx(integral(lambda z: act.derivative(z) ** 2, mean, variance), rel=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_at_variance_0_the_moment_is_that_of_the_mean(name):
    act = ACTIVATIONS[name]
    for mean in (0.0, 0.5, -0.5):
        expected = act.value(np.array([mean])) ** 2
        np.testing.assert_allclose(theory.moment(act, mean, np.zeros(1)), expected, rtol=1e-12)
        np.testing.assert_allclose(theory.product(act, mean, 0.0, 0.0, 0.0), expected[0], rtol=1e-9, atol=1e-30)
    np.testing.assert_array_equal(theory.moment(act, 0.5, -1e-18), theory.moment(act, 0.5, 0.0))


def test_relu_halves_exactly():
    variance = np.random.default_rng(0).uniform(0, 9, (4, 5))
    np.testing.assert_array_equal(theory.moment(ACTIVATIONS["relu"], 0.0, variance), variance / 2)
    np.testing.assert_array_equal(theory.derivative_moment(ACTIVATIONS["relu"], 0.0, variance), 0.5)


@pytest.mark.parametrize("name", ["selu", "gelu", "tanh"])
def test_many_variances_at_once_are_interpolated_to_one_in_ten_thousand(name):
    act = ACTIVATIONS[name]
    variance = np.geomspace(1e-4, 100, 50_000)
    some = slice(None, None, 997)
    for function in (theory.moment, theory.derivative_moment):
        np.testing.assert_allclose(function(act, 0.1, variance)[some], function(act, 0.1, variance[some]), rtol=1e-4)
    many = theory.product(act, 0.1, variance, variance[::-1], 0.09 * np.ones_like(variance))
    few = theory.product(act, 0.1, variance[some], variance[::-1][some], np.full(51, 0.09))
    np.testing.assert_allclose(many[some], few, rtol=1e-4)


def reference_product(act, mean, a, b, rho, per_panel=16):
    """E[φ(z_a)·φ(z_b)] by nested Gauss-Legendre: z_b given z_a inside, both split at the kink."""
    points, weights = np.polynomial.legendre.leggauss(per_panel)
    edges = np.concatenate([[0], np.geomspace(1e-4, 0.4, 7), np.linspace(1, 13, 17)])
    half = np.diff(edges)[:, None] / 2
    right, weight = (edges[:-1, None] + half * (points + 1)).ravel(), (half * weights).ravel()
    offset, weight = np.concatenate([-right, right]), np.concatenate([weight, weight])
    density = lambda x: np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    x = offset - np.clip(mean / math.sqrt(a), -5, 5)
    centre, spread = mean + math.sqrt(b) * rho * x, math.sqrt(b * (1 - rho**2)) + 1e-12
    y = offset - np.clip(centre / spread, -8, 8)[:, None]
    inner = (act.value(centre[:, None] + spread * y) * density(y)) @ weight
    return float((act.value(mean + math.sqrt(a) * x) * inner * density(x)) @ weight)


# (mean, variances, tolerance in units of √(E[φ²_a]·E[φ²_b])): the accuracies that the docstring of `product` states.
PAIRS = [
    (0.0, [(0.01, 0.01), (0.01, 4.0), (1.0, 1.0), (4.0, 4.0)], 1e-6),
    (0.5, [(1.0, 1.0), (0.3, 2.0)], 2e-4),
    (-1.0, [(1.0, 1.0), (0.3, 2.0)], 2e-3),
    (0.0, [(400.0, 400.0), (1e4, 1e4), (1e4, 1.0)], 2e-3),
]


@pytest.mark.parametrize(
    ("name", "mean", "variances", "tolerance"),
    [
        pytest.param(name, *pair, marks=() if (i - j) % len(PAIRS) == 0 else pytest.mark.long)
        for i, name in enumerate(NAMES)
        for j, pair in enumerate(PAIRS)
        if name != "hardtanh"  # its kinks are not at an edge of the reference's panels
    ],
)
def test_products_are_double_integrals(name, mean, variances, tolerance):
    act = ACTIVATIONS[name]
    for a, b in variances:
        if name == "sin" and max(a, b) > 1000:
            continue  # more waves than the reference has nodes
        scale = math.sqrt(theory.moment(act, mean, a) * theory.moment(act, mean, b))
        for rho in (-1.0, -0.95, -0.4, 0.0, 0.6, 0.99, 0.9999, 1.0):
            found = theory.product(act, mean, a, b, rho * math.sqrt(a * b))
            assert abs(found - reference_product(act, mean, a, b, rho)) <= tolerance * scale, (a, b, rho)


def clipped_mean(mean, std):
    """E[min(max(z, −1), 1)], z ~ N(mean, std²)."""
    low, high = (-1 - mean) / std, (1 - mean) / std
    inside = norm.cdf(high) - norm.cdf(low)
    return norm.sf(high) - norm.cdf(low) + mean * inside - std * (norm.pdf(high) - norm.pdf(low))


@pytest.mark.parametrize(
    ("mean", "a", "b", "tolerance"),
    [(0.0, 0.01, 4.0, 2e-6), (0.0, 1.0, 1.0, 2e-6), (0.5, 0.3, 2.0, 3e-4), (0.0, 1e4, 1.0, 3e-3)],
)
def test_the_product_of_hardtanh_is_a_double_integral(mean, a, b, tolerance):
    act, spread = ACTIVATIONS["hardtanh"], math.sqrt(a)
    scale = math.sqrt(theory.moment(act, mean, a) * theory.moment(act, mean, b))
    for rho in (-0.95, 0.6, 0.999):
        slope, rest = rho * math.sqrt(b), math.sqrt(b * (1 - rho**2))
        kinks = sorted({(side - mean) / width for side in (-1, 1) for width in (spread, slope)})
        edges = [-12, *(kink for kink in kinks if -12 < kink < 12), 12]
        expected = sum(
            quad(
                lambda x, m=slope, s=rest: (
                    np.clip(mean + spread * x, -1, 1) * clipped_mean(mean + m * x, s) * norm.pdf(x)
                ),
                *ends, epsabs=1e-10, limit=200,
            )[0]
            for ends in itertools.pairwise(edges)
        )  # fmt: skip
        found = theory.product(act, mean, a, b, rho * math.sqrt(a * b))
        assert abs(found - expected) <= tolerance * scale, rho


def test_of_a_steep_tanh_the_product_is_that_of_signs():
    """E[sign·sign] = 2·asin(ρ)/π, of which ever more at ρ near 1 lies beyond the terms computed."""
    rho = np.array([-1.0, -0.9999, -0.5, 0.0, 0.9, 0.999, 0.9997, 0.9999, 1.0])
    found = theory.product(ACTIVATIONS["tanh"], 0.0, 1e12, 1e12, rho * 1e12)
    np.testing.assert_allclose(found, 2 * np.arcsin(rho) / math.pi, atol=1e-4)


@examples(60)
@given(
    name=st.sampled_from(NAMES),
    mean=st.floats(-2, 2),
    a=st.floats(1e-6, 1e6),
    b=st.floats(1e-6, 1e6),
    rho=st.floats(-1.5, 1.5),
)
def test_products_obey_cauchy_and_schwarz_and_do_not_know_left_from_right(name, mean, a, b, rho):
    act = ACTIVATIONS[name]
    product = theory.product(act, mean, a, b, rho * math.sqrt(a * b))
    # 1e-30: φ = 0 for all but one input in 10²⁰⁰.
    bound = math.sqrt(theory.moment(act, mean, a) * theory.moment(act, mean, b)) * (1 + 1e-3) + 1e-30
    assert abs(product) <= bound
    assert product == pytest.approx(float(theory.product(act, mean, b, a, rho * math.sqrt(a * b))), rel=1e-9, abs=1e-30)
    if rho >= 1:
        assert theory.product(act, mean, a, a, a) == pytest.approx(
            float(theory.moment(act, mean, a)), rel=1e-4, abs=1e-20
        )


def test_shapes_broadcast_and_what_is_not_finite_stays_visible():
    act = ACTIVATIONS["gelu"]
    found = theory.product(act, 0.0, np.ones((3, 1)), np.array([1.0, np.nan]), 0.5)
    assert found.shape == (3, 2)
    assert np.isnan(found).tolist() == [[False, True]] * 3
    assert np.isnan(theory.moment(act, 0.0, np.array([1.0, np.inf]))).tolist() == [False, True]


@pytest.mark.parametrize("name", NAMES)
def test_kurtosis_is_that_of_draws(name):
    z = np.random.default_rng(0).standard_normal((100, 20_000)) * math.sqrt(1.5)
    squares = ACTIVATIONS[name].value(z) ** 2
    # A ratio of means is biased by one in the number of draws: 2·10⁻⁴ here.
    assert_mean((squares**2).mean(1) / squares.mean() ** 2 - 1, theory.kurtosis(ACTIVATIONS[name], 1.5), label=name)


def test_kurtosis_of_piecewise_linear_activations_is_known():
    assert theory.kurtosis(ACTIVATIONS["relu"], 3.0) == 5
    assert theory.kurtosis(ACTIVATIONS["linear"], 0.0) == 2
    half = theory.leaky_relu(0.5)
    fourth, second = (integral(lambda z, k=k: half.value(z) ** k, 0.0, 3.0) for k in (4, 2))
    assert theory.kurtosis(half, 3.0) == pytest.approx(fourth / second**2 - 1, rel=1e-8)
    assert theory.kurtosis(ACTIVATIONS["tanh"], 0.0) == pytest.approx(2)


@pytest.mark.long
@pytest.mark.parametrize(("n", "depth", "nets", "expected"), [(32, 3, 20_000, 1.5458), (64, 5, 4000, 1.4567)])
def test_t1_the_spread_of_he_nets_is_that_of_their_widths(n, depth, nets, expected):
    spread = forms.width_spread([n] * depth)
    assert spread == pytest.approx(expected, abs=1e-4)
    moments = np.concatenate([he_moments([n] * (depth + 1), 500, seed) for seed in range(nets // 500)])
    assert_mean(moments, 1.0)
    assert_mean(moments**2, spread)


def test_t2_cosines_of_a_wide_net_follow_the_map():
    assert [float(forms.relu_cosine_after(0.0, depth)) for depth in (1, 2, 5, 10, 20)] == pytest.approx(
        [1 / math.pi, 0.494, 0.736, 0.872, 0.948], abs=1e-3
    )
    np.testing.assert_allclose(forms.relu_cosine([1.0, -1.0, 2.0]), [1, 0, 1], atol=1e-15)
    assert 1 - forms.relu_cosine_after(0.0, 10_000) == pytest.approx(9 * math.pi**2 / (2 * 1e4**2), rel=0.01)
    act = ACTIVATIONS["relu"]
    assert theory.product(act, 0.0, 2.0, 8.0, 1.2) / 2 == pytest.approx(float(forms.relu_cosine(0.3)))


@pytest.mark.parametrize("law", ["normal", "uniform", "signs"])
def test_t2_holds_for_any_weights_of_mean_zero(law):
    draw, n = generator(), 1024
    cosines = []
    for _ in range(12):
        x = torch.ones(2, n)
        x[1, ::2] = -1  # orthogonal, and all entries ±1: sums of weights of any law are normal
        for _ in range(3):
            weights = torch.randn(n, n, generator=draw)
            if law == "uniform":
                weights = torch.rand(n, n, generator=draw) - 0.5
            elif law == "signs":
                weights = weights.sign()
            x = (x @ weights.T).relu()
        cosines.append(float(functional.cosine_similarity(x[0], x[1], dim=0)))
    # Finite width bends the map by about 1/n a layer.
    error = np.std(cosines, ddof=1) / math.sqrt(12)
    assert abs(np.mean(cosines) - forms.relu_cosine_after(0.0, 3)) <= 4 * error + 3 / n


@pytest.mark.parametrize(("n", "expected"), [(2, 0.9437), (3, 0.7369), (5, 0.2720)])
def test_t3_narrow_nets_are_dead_for_one_input_as_often_as_said(n, expected):
    probability = theory.dead_probability([n] * 10)
    assert probability == pytest.approx(expected, abs=1e-4)
    assert_share(torch.from_numpy(he_moments([n] * 11, 20_000)) == 0, probability)


def test_t3_of_nets_of_torch():
    nets = [initbench.initialize(build_model("mlp(depth=4, width=2)", (1, 1, 2), 2), "kaiming", s) for s in range(600)]
    x = torch.tensor([[[[0.3, -0.9]]]])
    dead = torch.tensor([bool((net(x) == 0).all()) for net in nets])
    assert_share(dead, theory.dead_probability([2] * 4))


@pytest.mark.parametrize(("n", "expected"), [(2, 0.909), (3, 0.631), (5, 0.153)])
def test_t4_nets_of_one_number_collapse_as_often_as_counted(n, expected):
    """With zero biases a net of x has one value for x > 0 and one for x < 0, up to |x|: it is dead if both are 0."""
    draw, nets = generator(), 20_000
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(nets, 1, 2)
    for _ in range(10):
        weights = torch.randn(nets, n, x.shape[1], dtype=torch.float64, generator=draw)
        x = (weights @ x).relu()
    dead = (x == 0).all(2).all(1)
    # The figures are counts of 20,000 nets too, so both errors add up.
    assert abs(float(dead.double().mean()) - expected) <= 4 * math.sqrt(2 * expected * (1 - expected) / nets) + 5e-4


@pytest.mark.parametrize(
    ("law", "variance", "expected"), [("normal", 1.0, 0.8488), ("uniform", 1 / 3, 0.4901), ("normal", 2.0, 1.2004)]
)
def test_t5_mean_singular_value_of_a_square_layer(law, variance, expected):
    n, draw = 400, generator()
    entries = torch.randn(n, n, generator=draw) if law == "normal" else (2 * torch.rand(n, n, generator=draw) - 1)
    std = math.sqrt(variance / n) if law == "normal" else 1 / math.sqrt(n)
    mean = float(torch.linalg.svdvals(entries.double() * std).mean())
    assert forms.gaussian_mean_singular_value(variance) == pytest.approx(expected, abs=1e-4)
    # Singular values repel each other: their mean is known to about 1/n, from one draw.
    assert mean == pytest.approx(expected, abs=2 / n)


def test_t6_critical_lines():
    tanh, relu = ACTIVATIONS["tanh"], ACTIVATIONS["relu"]
    assert forms.critical_weight_variance(tanh, 0.05) == pytest.approx(1.7610, abs=1e-4)
    assert forms.critical_weight_variance(tanh, 2.01e-5) == pytest.approx(1.0500, abs=1e-4)
    assert forms.critical_weight_variance(tanh, 0.0) == pytest.approx(1)
    assert forms.critical_weight_variance(relu, 0.0) == 2
    assert forms.critical_weight_variance(theory.leaky_relu(0.5), 0.0) == pytest.approx(2 / (1 + 0.5**2))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "elu", "selu"])
def test_t6_on_the_critical_line_chi_is_one(name):
    """The fixed point is found by another equation than the line, and the derivative by a difference."""
    act, bias_variance = ACTIVATIONS[name], 0.05
    critical = forms.critical_weight_variance(act, bias_variance)
    q = np.geomspace(1e-4, 1e4, 200_001)
    excess = critical * theory.moment(act, 0.0, q) + bias_variance - q
    fixed = q[np.flatnonzero(np.diff(np.sign(excess)))]
    slopes = [critical * float(theory.derivative_moment(act, 0.0, value)) for value in fixed]
    assert min(abs(slope - 1) for slope in slopes) < 1e-3


@pytest.mark.parametrize(("weight_variance", "layers"), [(1.0, 21.8), (1.3, 47.0), (1.5, 94.7), (1.7, 450)])
def test_t6_trainable_depths_of_tanh(weight_variance, layers):
    assert 6 * forms.correlation_depth(ACTIVATIONS["tanh"], weight_variance, 0.05) == pytest.approx(layers, rel=2e-3)


@pytest.mark.parametrize("weight_variance", [1.3, 3.0])
def test_t6_cosines_approach_their_fixed_point_at_that_pace(weight_variance):
    """Ordered and chaotic: iterate the map of cosines itself, with the reference integral."""
    act, bias_variance = ACTIVATIONS["tanh"], 0.05
    q = forms.fixed_point(act, weight_variance, bias_variance)
    assert weight_variance * theory.moment(act, 0.0, q) + bias_variance == pytest.approx(q, rel=1e-9)
    cosines = [0.2]
    for _ in range(60):
        product = reference_product(act, 0.0, q, q, cosines[-1], per_panel=6)
        cosines.append((weight_variance * product + bias_variance) / q)
    steps = np.diff(cosines)
    pace = -1 / math.log(steps[40] / steps[39])
    assert pace == pytest.approx(forms.correlation_depth(act, weight_variance, bias_variance), rel=0.02)


def test_t6_where_no_depth_can_be_named():
    relu, tanh = ACTIVATIONS["relu"], ACTIVATIONS["tanh"]
    assert forms.correlation_depth(relu, 2.0, 0.0) == math.inf
    assert forms.fixed_point(relu, 3.0, 0.0) == math.inf
    assert forms.fixed_point(relu, 1.0, 0.1) == pytest.approx(0.2)
    assert forms.fixed_point(tanh, 0.9, 0.0) == 0
    assert forms.correlation_depth(tanh, 0.9, 0.0) == pytest.approx(-1 / math.log(0.9), rel=1e-6)
    critical = forms.critical_weight_variance(tanh, 0.05)
    assert forms.correlation_depth(tanh, critical, 0.05) > 1e5


def test_t7_zero_padding_eats_the_border():
    firsts = [float(forms.padded_moments(side, side, 1)[0]) for side in (32, 28, 8, 4)]
    assert firsts == pytest.approx([0.9588, 0.9529, 0.8403, 0.6944], abs=1e-4)
    assert forms.padded_moments(8, 8, 20)[[0, 1, 2, 9, 19]] == pytest.approx(
        [0.840, 0.742, 0.664, 0.353, 0.155], abs=1e-3
    )
    assert forms.padded_moments(32, 32, 20)[-1] == pytest.approx(0.716, abs=1e-3)
    assert forms.padded_moments(1, 2, 2) == pytest.approx([2 / 9, 4 / 81])


def test_t7_is_what_convolutions_do():
    draw, channels = generator(), 16
    moments = []
    for _ in range(150):
        x = torch.ones(1, channels, 8, 5)
        x[:, ::2] = -1
        for _ in range(3):
            weight = torch.empty(channels, channels, 3, 3)
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=draw)
            z = functional.conv2d(x, weight, padding=1)
            x = z.relu()
            moments.append(float(z.square().mean()) / 2)  # E[z²] = 2·E[x²] after He
    for layer, expected in enumerate(forms.padded_moments(8, 5, 3)):
        assert_mean(moments[layer::3], expected, label=layer)


@pytest.mark.parametrize(("n_in", "n_out"), [(10, 40), (40, 10), (24, 24)])
def test_t8_orthogonal_layers_have_one_singular_value(n_in, n_out):
    layer = initbench.initialize(nn.Linear(n_in, n_out), "orthogonal(gain='relu')", seed=0)
    values = torch.linalg.svdvals(layer.weight.detach().double())
    assert values.tolist() == pytest.approx([math.sqrt(2)] * min(n_in, n_out), abs=1e-6)


def test_t8_orthogonal_linear_nets_preserve_every_norm():
    net = nn.Sequential(*[nn.Linear(16, 16) for _ in range(30)]).double()
    initbench.initialize(net, "orthogonal", seed=0)
    x = torch.randn(5, 16, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(net(x).norm(dim=1), x.norm(dim=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("scheme", "shape"), [("eye", (6, 12)), ("dirac", (6, 12, 5, 5))])
def test_t9_identities_carry_the_signal_bit_by_bit(scheme, shape):
    layers = [nn.Linear(12, 12) if scheme == "eye" else nn.Conv2d(12, 12, 3, padding=1) for _ in range(20)]
    net = nn.Sequential(*[nn.Sequential(layer, nn.ReLU()) for layer in layers])
    initbench.initialize(net, scheme, seed=0)
    x = torch.randn(shape, generator=generator())
    first = net[0](x)
    assert torch.equal(first, x.relu())
    assert torch.equal(net(x), first)


def data(n=90, classes=3):
    """Draw made-up inputs and labels of unequal shares: 1/2, 1/3, 1/6."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])[torch.arange(n) % 6] % classes
    return torch.randn(n, 1, 2, 4, generator=generator(5)), labels


def train(model, images, labels, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return float(functional.cross_entropy(model(images), labels).detach())


def test_t10_constant_weights_train_as_one_unit():
    images, labels = data()
    model = build_model("mlp(depth=3, width=7)", (1, 2, 4), 3)
    initbench.initialize(model, "constant(0.1); bias=constant(0.1)", seed=0)
    before = model.linear2.weight.detach().clone()
    train(model, images, labels, 25, 0.1)
    assert float((model.linear2.weight.detach() - before).abs().max()) > 1e-4, "it trains"
    for layer in (model.linear1, model.linear2, model.linear3):
        rows = torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
        assert float((rows - rows[0]).abs().max()) <= 1e-6


def test_t11_of_an_all_zero_net_only_the_last_bias_learns_and_it_learns_the_shares():
    images, labels = data()
    model = build_model("mlp(depth=3, width=6)", (1, 2, 4), 3)
    initbench.initialize(model, "zeros", seed=0)
    assert train(model, images, labels, 0, 1.0) == pytest.approx(math.log(3), rel=1e-6)
    loss = train(model, images, labels, 200, 1.0)
    entropy = forms.zero_logits_loss([1 / 2, 1 / 3, 1 / 6])
    assert loss == pytest.approx(entropy, abs=1e-5)
    assert {name for name, value in model.named_parameters() if bool(value.any())} == {"head.bias"}


def test_t11_the_floor_of_mnist():
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # labels of MNIST's training set
    assert forms.zero_logits_loss(counts) == pytest.approx(2.301159, abs=1e-6)
    assert forms.zero_logits_loss([1.0, 0.0]) == 0
    assert forms.zero_logits_loss([5] * 10) == pytest.approx(math.log(10))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("variance", [1 / 3, 1.0, 2.0, 100.0, 1e6])
def test_t12_expected_loss_of_normal_logits(classes, variance):
    logits = np.random.default_rng(1).standard_normal((2_000_000 // classes, classes)) * math.sqrt(variance)
    losses = np.logaddexp.reduce(logits, axis=1)
    assert_mean(losses, theory.expected_loss(classes, variance))


def test_t12_a_zero_head_costs_ln_k_and_the_law_is_smooth_where_its_integral_changes():
    assert [theory.expected_loss(k, 0.0) for k in (2, 10, 1000)] == pytest.approx(
        [math.log(k) for k in (2, 10, 1000)], abs=1e-9
    )
    assert theory.expected_loss(10, 1 - 1e-9) == pytest.approx(theory.expected_loss(10, 1 + 1e-9), abs=1e-8)
    # Two logits: E ln(e^a + e^b) = E[(a + b)/2] + E ln(2·cosh(d/2)), d ~ N(0, 2v).
    for variance in (0.3, 1.7, 100.0):
        exact = integral(lambda d: np.logaddexp(d / 2, -d / 2), 0.0, 2 * variance)
        assert theory.expected_loss(2, variance) == pytest.approx(exact, abs=1e-6)
    assert math.isfinite(theory.expected_loss(1000, 1e12))


def test_t13_with_zero_bias_one_rescale_sets_the_output_to_std_one():
    layer = initbench.initialize(nn.Linear(20, 30), "normal(std=0.37)", seed=0)
    x = torch.randn(64, 20, generator=generator()).relu()
    with torch.no_grad():
        layer.weight /= layer(x).std()
    assert float(layer(x).detach().std()) == pytest.approx(1, abs=1e-6)
    with torch.no_grad():  # the control: with a bias once is not enough
        layer.bias.uniform_(-3, 3, generator=generator())
        layer.weight /= layer(x).std()
    assert abs(float(layer(x).detach().std()) - 1) > 0.05


@pytest.mark.parametrize("scheme", ["kaiming_uniform", "xavier_normal", "orthogonal", "sparse(0.5)", "torch_default"])
def test_t14_weights_are_keyed_by_name(scheme):
    def filled(**layers):
        model = nn.ModuleDict(layers)
        state = torch.get_rng_state()
        initbench.initialize(model, scheme, seed=3)
        assert torch.equal(torch.get_rng_state(), state)
        return model

    pair = filled(first=nn.Linear(9, 9), last=nn.Linear(9, 4))
    more = filled(added=nn.Linear(9, 9), first=nn.Linear(9, 9), between=nn.Linear(5, 6), last=nn.Linear(9, 4))
    for name in ("first", "last"):
        assert torch.equal(pair[name].weight, more[name].weight)
    assert not torch.equal(more["added"].weight, more["first"].weight)
    again = filled(last=nn.Linear(9, 4).bfloat16(), first=nn.Linear(9, 9))
    assert torch.equal(again["first"].weight, pair["first"].weight)
    assert torch.equal(again["last"].weight, pair["last"].weight.bfloat16()), "half precision rounds the same draw"


def test_the_default_of_torch_sinks_to_the_floor_that_its_biases_set():
    """Section 3.1: M becomes M/6 + 1/(6n), exact at any width."""
    n, depth = 64, 6
    x = torch.randn(1, n, generator=generator())
    x /= x.square().mean().sqrt()
    moments = []
    for seed in range(200):
        model = build_model(f"mlp(depth={depth}, width={n})", (1, 8, 8), 2)
        initbench.initialize(model, "torch_default", seed=seed)
        signal = x
        for layer in range(1, depth + 1):
            signal = getattr(model, f"linear{layer}")(signal).relu()
            moments.append(float(signal.detach().square().mean()))
    for layer in range(depth):
        assert_mean(moments[layer::depth], forms.torch_default_moment(layer + 1, n), label=layer)
    assert forms.torch_default_moment(100, n) == pytest.approx(forms.torch_default_floor(n))
