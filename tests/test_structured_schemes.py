"""Structured schemes, each against the law of its paper and not against its own code."""

import math

import pytest
import torch
from scipy.linalg import hadamard
from torch import nn
from torch.nn import functional

import initbench
from initbench.errors import UsageError
from initbench.networks.models import build_model

SHAPES = {"square": (24, 24), "narrowing": (40, 10), "widening": (10, 40)}  # (in, out)
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def linear(inputs, outputs, scheme, seed=0):
    return initbench.initialize(nn.Linear(inputs, outputs).double(), scheme, seed).weight.detach()


def conv(inputs, outputs, scheme, kernel=3, seed=0, **options):
    return initbench.initialize(nn.Conv2d(inputs, outputs, kernel, **options).double(), scheme, seed).weight.detach()


def images(channels, side=8, count=5):
    return torch.randn(count, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def norms(values):
    return values.flatten(1).norm(dim=1)


# Orthogonal as a convolution.


@pytest.mark.parametrize("gain", ["1.0", "0.5", "'relu'"])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kernel", [1, 3])
def test_delta_orthogonal_has_min_of_out_and_in_singular_values_equal_to_gain(inputs, outputs, kernel, gain):
    weight = conv(inputs, outputs, f"delta_orthogonal(gain={gain})", kernel)
    value = {"'relu'": math.sqrt(2)}.get(gain) or float(gain)
    singular = torch.linalg.svdvals(weight.sum(dim=(2, 3)))
    torch.testing.assert_close(singular, torch.full_like(singular, value))
    assert int(weight.flatten(2).any(dim=0).any(dim=0).sum()) == 1  # one tap in all


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_delta_orthogonal_keeps_every_norm_at_the_border_too_and_orthogonal_does_not(padding):
    x = images(8)
    kept, lost = (
        initbench.initialize(nn.Conv2d(8, 12, 3, padding=1, padding_mode=padding).double(), scheme)(x).detach()
        for scheme in ("delta_orthogonal", "orthogonal")
    )
    torch.testing.assert_close(norms(kept), norms(x))
    assert ((norms(lost) / norms(x) - 1).abs() > 0.01).all()


def test_delta_orthogonal_is_an_orthogonal_operator_on_the_torus():
    # The Fourier transform of the kernel at each frequency is a block of the operator (Sedghi et al. 2019).
    blocks = torch.fft.fft2(conv(6, 6, "delta_orthogonal"), s=(5, 5)).permute(2, 3, 0, 1)
    singular = torch.linalg.svdvals(blocks)
    torch.testing.assert_close(singular, torch.ones_like(singular))


@pytest.mark.parametrize("scheme", ["delta_orthogonal", "scaled_orthogonal"])
def test_a_linear_layer_is_all_centre(scheme):
    assert torch.equal(linear(20, 20, scheme), linear(20, 20, "orthogonal"))


@pytest.mark.parametrize("scheme", ["delta_orthogonal", "scaled_orthogonal", "partial_identity", "zero_hadamard"])
@pytest.mark.parametrize(("kernel", "centre"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
@pytest.mark.parametrize("axes", CONVOLUTIONS)
def test_the_centre_of_a_kernel_is_where_dirac_has_it(scheme, kernel, centre, axes):
    weight = initbench.initialize(CONVOLUTIONS[axes](3, 3, kernel), scheme).weight.detach()
    places = weight.abs().sum(dim=(0, 1)).nonzero().tolist()
    assert places == [[centre] * axes]


@pytest.mark.parametrize("scheme", ["delta_orthogonal", "partial_identity"])
def test_a_transposed_convolution_keeps_norms_as_well(scheme):
    x = images(4)
    model = initbench.initialize(nn.ConvTranspose2d(4, 6, 3, padding=1).double(), scheme)
    torch.testing.assert_close(norms(model(x).detach()), norms(x))


@pytest.mark.parametrize("build", [linear, conv])
@pytest.mark.parametrize(
    ("scheme", "inputs", "outputs", "expected"),
    [
        ("scaled_orthogonal", 10, 40, 1.0),
        ("scaled_orthogonal", 40, 10, 1.0),
        ("scaled_orthogonal(gain='relu')", 10, 40, 2.0),
        ("delta_orthogonal", 10, 40, 0.25),
        ("delta_orthogonal", 40, 10, 1.0),
    ],
)
def test_the_mean_square_per_unit_is_multiplied_by(build, scheme, inputs, outputs, expected):
    weight = build(inputs, outputs, scheme)
    matrix = weight if weight.dim() == 2 else weight.sum(dim=(2, 3))
    # For white inputs q_out/q_in is tr(WᵀW)/out, exactly.
    assert float(matrix.square().sum()) / outputs == pytest.approx(expected)
    x = torch.randn(4000, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ratios = (x @ matrix.T).square().mean(dim=1) / x.square().mean(dim=1)
    assert float(ratios.mean()) == pytest.approx(expected, rel=0.03)
    if outputs > inputs:  # and not on average alone
        torch.testing.assert_close(ratios, torch.full_like(ratios, expected))


# Identities.


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES.values(), ids=SHAPES)
def test_partial_identity_copies_the_inputs_that_fit(inputs, outputs):
    x = images(inputs)
    both = min(inputs, outputs)
    y = functional.conv2d(x, conv(inputs, outputs, "partial_identity"), padding=1)
    assert torch.equal(y[:, :both], x[:, :both])
    assert not y[:, both:].any()
    flat = x[:, :, 0, 0]
    assert torch.equal((flat @ linear(inputs, outputs, "partial_identity").T)[:, :both], flat[:, :both])


def test_an_identity_carries_activations_unchanged_through_any_depth():
    shallow = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
    deep = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())))
    initbench.initialize(shallow, "kaiming_normal")
    initbench.initialize(deep, "partial_identity")
    after_first = shallow(images(1).float())
    assert torch.equal(deep(after_first), after_first)


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 24), (40, 10)])
def test_zero_hadamard_is_the_partial_identity_where_nothing_widens(inputs, outputs):
    assert torch.equal(linear(inputs, outputs, "zero_hadamard"), linear(inputs, outputs, "partial_identity"))
    assert torch.equal(conv(inputs, outputs, "zero_hadamard"), conv(inputs, outputs, "partial_identity"))


@pytest.mark.parametrize(("inputs", "outputs"), [(10, 40), (5, 6), (16, 32), (1, 3), (63, 64)])
def test_zero_hadamard_widens_by_a_cut_of_the_normalized_hadamard_matrix(inputs, outputs):
    size = 2 ** math.ceil(math.log2(outputs))
    expected = torch.from_numpy(hadamard(size)[:outputs, :inputs]).double() / math.sqrt(size)
    torch.testing.assert_close(linear(inputs, outputs, "zero_hadamard"), expected)
    kernel = conv(inputs, outputs, "zero_hadamard")
    torch.testing.assert_close(kernel[:, :, 1, 1], expected)
    assert torch.linalg.matrix_rank(expected) == inputs


def test_zero_hadamard_shrinks_mnist_pixels_into_1024_units_by_784_over_1024():
    x = torch.randn(50, 784, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    z = x @ linear(784, 1024, "zero_hadamard").T
    assert float(z.square().mean() / x.square().mean()) == pytest.approx(784 / 1024)


def test_idinit_copies_inputs_until_every_output_has_one():
    x = torch.arange(1.0, 11.0).double()
    assert torch.equal(linear(10, 25, "idinit") @ x, torch.cat([x, x, x[:5]]))
    assert torch.equal(linear(10, 10, "idinit") @ x, x)
    assert torch.equal(linear(10, 4, "idinit") @ x, x[:4])


def test_idinit_makes_a_convolution_copy_patches():
    x = images(2)
    patches = functional.unfold(x, 3).unflatten(2, (6, 6))
    assert torch.equal(functional.conv2d(x, conv(2, 18, "idinit")), patches)
    assert torch.equal(functional.conv2d(x, conv(2, 5, "idinit")), patches[:, :5])
    assert torch.equal(functional.conv2d(x, conv(2, 20, "idinit")), torch.cat([patches, patches[:, :2]], dim=1))


# Sine waves.


def test_sinusoidal_is_the_formula_entry_by_entry():
    weight = linear(7, 5, "sinusoidal")
    waves = torch.tensor(
        [[math.sin((i + 1) * (2 * math.pi * j / 7 + 2 * math.pi / 5)) for j in range(7)] for i in range(5)]
    ).double()
    torch.testing.assert_close(weight / weight[0, 0], waves / waves[0, 0], atol=1e-6, rtol=1e-6)
    assert weight[0, 0] / waves[0, 0] > 0


@pytest.mark.parametrize(("inputs", "outputs"), [(256, 256), (256, 512), (784, 256), (40, 10), (10, 40)])
def test_sinusoidal_has_variance_two_over_fan_in(inputs, outputs):
    weight = linear(inputs, outputs, "sinusoidal")
    assert float(weight.var(correction=0)) == pytest.approx(2 / inputs)
    kernel = conv(16, outputs, "sinusoidal")
    assert float(kernel.var(correction=0)) == pytest.approx(2 / 144)


@pytest.mark.parametrize(
    ("inputs", "outputs", "rank", "opposite", "equal", "zero"),
    [(256, 256, 127, 254, 0, 2), (256, 512, 128, 510, 508, 2), (784, 256, 256, 0, 0, 0), (576, 64, 64, 0, 0, 0)],
)
def test_the_defects_of_sinusoidal_are_those_documented(inputs, outputs, rank, opposite, equal, zero):
    weight = linear(inputs, outputs, "sinusoidal").double()
    assert torch.linalg.matrix_rank(weight, rtol=1e-6) == rank
    rows = functional.normalize(weight)
    cosines = (rows @ rows.T).fill_diagonal_(0)
    assert int((cosines < -1 + 1e-9).any(dim=1).sum()) == opposite
    assert int((cosines > 1 - 1e-9).any(dim=1).sum()) == equal
    assert int((weight == 0).all(dim=1).sum()) == zero


def test_opposite_rows_of_sinusoidal_are_opposite_to_the_bit():
    weight = linear(256, 256, "sinusoidal")
    assert torch.equal(weight[:127], -weight[128:255].flip(0))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_the_smallest_sinusoidal_layers_are_zero_and_not_noise(inputs, outputs):
    assert not linear(inputs, outputs, "sinusoidal").any()


# Looks-linear.


NETWORKS = {
    "mlp": lambda: nn.Sequential(
        nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3)
    ),
    "odd widths": lambda: nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 3)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_looks_linear_makes_a_relu_network_linear(network):
    model = initbench.initialize(NETWORKS[network]().double(), "looks_linear")
    x, y = torch.randn(2, 20, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(x + y), model(x) + model(y))
    torch.testing.assert_close(model(-3 * x), -3 * model(x))
    assert float(model(x).detach().abs().max()) > 0.1


def test_a_kaiming_network_is_not_linear_in_that_sense():
    model = initbench.initialize(NETWORKS["mlp"]().double(), "kaiming_normal")
    x = torch.randn(20, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert not torch.allclose(model(-x), -model(x))


def test_looks_linear_is_an_isometry_of_equal_even_widths():
    model = nn.Sequential(nn.Linear(8, 16))
    for _ in range(10):
        model.extend([nn.ReLU(), nn.Linear(16, 16)])
    model.extend([nn.ReLU(), nn.Linear(16, 8)])
    initbench.initialize(model.double(), "looks_linear")
    x = torch.randn(20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(model(x).norm(dim=1), x.norm(dim=1), atol=1e-5, rtol=1e-5)


def test_the_unit_without_a_partner_can_learn():
    model = initbench.initialize(NETWORKS["odd widths"](), "looks_linear")
    model(torch.randn(20, 12, generator=torch.Generator().manual_seed(6))).square().sum().backward()
    assert model[0].weight[6].any()
    assert not model[2].weight[:, 6].any()
    assert model[2].weight.grad[:, 6].any()


def test_a_depthwise_convolution_has_nothing_to_mirror():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    with pytest.raises(UsageError, match="does not fit the layer '1'"):
        initbench.initialize(model, "looks_linear")


def test_the_built_in_mlp_looks_linear():
    model = initbench.initialize(build_model("mlp(depth=8, width=64)", (1, 8, 8), 10), "looks_linear")
    x, y = torch.randn(2, 20, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(model(x + y), model(x) + model(y), atol=1e-5, rtol=1e-4)


def test_the_built_in_resnet_looks_linear():
    model = initbench.initialize(build_model("resnet(depth=8, width=8)", (3, 8, 8), 10).double(), "looks_linear")
    x, y = torch.randn(2, 20, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(model(x + y), model(x) + model(y))
    torch.testing.assert_close(model(-3 * x), -3 * model(x))
    assert model(x).any()


# Randomized asymmetric.


def asymmetric(inputs=30, outputs=20000, *, bias=True, seed=0):
    layer = initbench.initialize(nn.Linear(inputs, outputs, bias=bias).double(), "randomized_asymmetric", seed)
    weight = layer.weight.detach()
    return torch.cat([weight, layer.bias.detach()[:, None]], dim=1) if bias else weight


def test_one_place_of_each_unit_is_beta_and_the_bias_takes_its_turn():
    # With 10 000 inputs the normal entries (σ = 0.006) and those of Beta(2, 1) are told apart by their size.
    units = asymmetric(10000, 400)
    large = units.abs() > 0.04
    assert (units[large] > 0).all()
    counts = large.sum(dim=1)
    assert int(counts.max()) == 1
    assert int((counts == 0).sum()) <= 4  # Beta(2, 1) is below 0.04 once in 625

    few = asymmetric(3, 20000)
    place = few.argmax(dim=1)[few.max(dim=1).values > 0.8]
    shares = torch.bincount(place, minlength=4) / len(place)
    assert ((shares - 0.25).abs() < 0.02).all()


def test_the_bias_knows_what_the_weight_drew():
    # One weight and one bias a unit: each is the Beta one in half of the units.
    layer = initbench.initialize(nn.Linear(1, 4000).double(), "randomized_asymmetric")
    weight, bias = layer.weight.detach()[:, 0], layer.bias.detach()
    # A negative entry is never the Beta one: no unit has two of them, and half of the units have one.
    assert not ((weight < 0) & (bias < 0)).any()
    assert float(((weight < 0) | (bias < 0)).double().mean()) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("build", [
    lambda: nn.Conv2d(2, 3000, 1, groups=2), lambda: nn.ConvTranspose2d(2, 3000, 1, groups=2),
])  # fmt: skip
def test_weight_and_bias_agree_group_by_group(build):
    layer = initbench.initialize(build(), "randomized_asymmetric")
    weight, bias = layer.weight.detach().flatten(), layer.bias.detach()
    assert not ((weight < 0) & (bias < 0)).any()
    assert (weight < 0).any()
    assert (bias < 0).any()


def test_moments_of_randomized_asymmetric_entries():
    units = asymmetric(30, 20000)
    # Beta(2, 1) has mean 2/3 and second moment 1/2, and stands in one of 31 places; the rest is N(0, 0.36/30).
    for sample in (units, units[:, :30], units[:, 30:]):
        se = 5 / math.sqrt(sample.numel() / 31)
        assert float(sample.mean()) == pytest.approx(2 / 3 / 31, rel=se * 1.2)
        assert float(sample.square().mean()) == pytest.approx((0.5 + 30 * 0.36 / 30) / 31, rel=se)
    assert float(asymmetric(30, bias=False).mean()) == pytest.approx(2 / 3 / 30, rel=0.02)


def test_randomized_asymmetric_keeps_deep_narrow_networks_alive():
    def dead(scheme):
        x = torch.linspace(-1, 1, 50)[:, None]
        count = 0
        for seed in range(200):
            layers = [nn.Linear(1, 2)] + [layer for _ in range(9) for layer in (nn.ReLU(), nn.Linear(2, 2))]
            model = initbench.initialize(nn.Sequential(*layers, nn.ReLU()), scheme, seed)
            count += not (model(x).detach() > 0).any()
        return count / 200

    assert dead("kaiming_normal") > 0.85  # 0.91 in theory
    assert dead("randomized_asymmetric") < 0.6
