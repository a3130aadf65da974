"""Fans: torch.nn.init to the bit on every layer, the fans that a signal meets, and what frameworks draw by default."""

import itertools
import math

import pytest
import torch
from torch import nn

import initbench
from initbench.core.randomness import generator
from initbench.datasets.torchvision_sets import import_torchvision
from initbench.errors import InitbenchWarning
from initbench.networks.layers import weighted_layers
from initbench.records.recipe import Trial
from initbench.running.plan import draft_of, plan_study
from initbench.schemes import revision_of
from initbench.schemes.fans import TRUNCATED_STD, effective_fans, torch_fans

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def convolutions():
    """Plain, grouped, depthwise, widening depthwise, strided; each also transposed; in one to three dimensions."""
    widths = [(6, 8, 1), (6, 8, 2), (6, 6, 6), (4, 12, 4)]
    for axes, stride, (inputs, outputs, groups) in itertools.product(CONV, (1, 2), widths):
        for kind in (CONV, TRANSPOSED):
            yield kind[axes](inputs, outputs, 3, stride=stride, groups=groups)


def layer_of(module):
    return weighted_layers(module)[0]


TORCH = {
    "uniform(-0.2, 0.3)": lambda t, g: nn.init.uniform_(t, -0.2, 0.3, generator=g),
    "normal(0.1, 0.2)": lambda t, g: nn.init.normal_(t, 0.1, 0.2, generator=g),
    "trunc_normal(0.0, 0.5, -0.6, 0.7)": lambda t, g: nn.init.trunc_normal_(t, 0.0, 0.5, -0.6, 0.7, generator=g),
    "constant(0.4)": lambda t, _: nn.init.constant_(t, 0.4),
    "ones": lambda t, _: nn.init.ones_(t),
    "zeros": lambda t, _: nn.init.zeros_(t),
    "eye": lambda t, _: nn.init.eye_(t),
    "dirac": lambda t, _: nn.init.dirac_(t),
    "dirac(groups=2)": lambda t, _: nn.init.dirac_(t, 2),
    "xavier_uniform(gain='tanh')": lambda t, g: nn.init.xavier_uniform_(t, 5 / 3, generator=g),
    "xavier_normal": lambda t, g: nn.init.xavier_normal_(t, generator=g),
    "kaiming_uniform(a=0.2)": lambda t, g: nn.init.kaiming_uniform_(t, 0.2, generator=g),
    "kaiming_uniform(mode='fan_out')": lambda t, g: nn.init.kaiming_uniform_(t, mode="fan_out", generator=g),
    "kaiming_normal(nonlinearity='tanh')": lambda t, g: nn.init.kaiming_normal_(t, nonlinearity="tanh", generator=g),
    "kaiming_normal(mode='fan_out')": lambda t, g: nn.init.kaiming_normal_(t, mode="fan_out", generator=g),
    "orthogonal(gain='relu')": lambda t, g: nn.init.orthogonal_(t, math.sqrt(2), generator=g),
    "torch_default": lambda t, g: nn.init.kaiming_uniform_(t, math.sqrt(5), generator=g),
    "torchvision_resnet": lambda t, g: nn.init.kaiming_normal_(
        t, mode="fan_out", nonlinearity="relu", generator=g
    ),
}  # fmt: skip


CONVOLUTIONS_ALONE = ("dirac", "dirac(groups=2)", "torchvision_resnet")


@pytest.mark.parametrize("scheme", TORCH)
def test_torch_names_are_torch_nn_init_to_the_bit_on_every_layer(scheme):
    linear = [] if scheme in CONVOLUTIONS_ALONE else [nn.Linear(20, 30)]
    for module in linear + [*convolutions()] * (scheme != "eye"):
        expected = TORCH[scheme](torch.empty_like(module.weight.detach()), generator(4, "weights", "weight"))
        assert torch.equal(initbench.initialize(module, scheme, seed=4).weight.detach(), expected), module
        assert torch_fans(layer_of(module)) == nn.init._calculate_fan_in_and_fan_out(module.weight)


def test_effective_fans_count_what_reaches_what():
    for module in convolutions():
        axes, inputs = module.weight.dim() - 2, module.in_channels
        module.weight.data.fill_(1.0)
        module.bias.data.zero_()
        x = torch.ones(1, inputs, *[13] * axes, requires_grad=True)
        z = module(x)
        z.sum().backward()
        inner = (slice(None), slice(None), *[slice(4, 8)] * axes)  # two periods of the stride, away from the border
        fan_in, fan_out = effective_fans(layer_of(module))
        assert float(z.detach()[inner].mean()) == pytest.approx(fan_in)
        assert float(x.grad[inner].mean()) == pytest.approx(fan_out)


@pytest.mark.parametrize("scheme", [
    "xavier_uniform(0.5, {})", "xavier_normal({})", "kaiming_uniform({})", "kaiming_normal(mode='fan_out', {})",
    "orthogonal({})", "variance_scaling(2.0, 'fan_geo_avg', {})", "lecun_normal({})", "lecun_uniform({})",
    "he_normal_keras({})", "glorot_normal_keras({})",
])  # fmt: skip
def test_where_fans_agree_so_do_the_bits_and_elsewhere_the_variance_is_that_of_its_fans(scheme):
    plain, effective = scheme.format("fans='torch'"), scheme.format("fans='effective'")
    for build in (lambda: nn.Linear(12, 10), lambda: nn.Conv2d(5, 8, 3)):
        assert torch.equal(initbench.initialize(build(), plain).weight, initbench.initialize(build(), effective).weight)
    for build in (lambda: nn.Conv2d(64, 128, 3, groups=4, stride=2), lambda: nn.ConvTranspose2d(64, 48, 4, stride=2)):
        layer = layer_of(build())
        for text in (plain, effective):
            rule = initbench.schemes.parse_scheme(text).fillers["weight"]
            weight = initbench.initialize(build(), text).weight.detach().double()
            assert float(weight.square().mean()) == pytest.approx(rule.variance(layer), rel=0.05)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_effective_fans_keep_signal_and_gradient_where_torchs_do_not(mode):
    """Var = 1/fan_in keeps E[x²], Var = 1/fan_out keeps E[(∂z)²], on average and away from the border."""
    drawn = torch.Generator().manual_seed(1)
    kinds = (
        nn.Conv2d(32, 64, 3, groups=4, stride=2),
        nn.Conv2d(32, 32, 3, groups=16),
        nn.ConvTranspose2d(32, 48, 4, 2),
    )
    for module in kinds:
        model = initbench.initialize(module, f"kaiming_normal(mode='{mode}', nonlinearity='linear', fans='effective')")
        x = torch.randn(4, 32, 16, 16, generator=drawn).requires_grad_()
        z = model(x)
        (dx,) = torch.autograd.grad(z, x, torch.randn(z.shape, generator=drawn))
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4)) if mode == "fan_out" or z.shape[-1] > 12 else ...
        seen = z.detach()[inner] if mode == "fan_in" else dx[inner]
        assert float(seen.square().mean()) == pytest.approx(1.0, rel=0.08)


def test_inspect_names_the_layers_where_torchs_fans_differ_and_the_cost():
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1, groups=8), nn.ReLU(),
        nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.Flatten(), nn.Linear(32 * 64, 10),
    )  # fmt: skip
    x = torch.randn(8, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    with pytest.warns(InitbenchWarning, match=r"multiplied in '2' by 0\.125\.") as caught:
        initbench.inspect(model, x, schemes=["kaiming_normal(mode='fan_out')"], seeds=1)
    assert len(caught) == 1
    with pytest.warns(InitbenchWarning, match=r"multiplied in '4' by 0\.25\."):  # field.md's decoder
        layers = initbench.inspect(model, x, schemes=["kaiming_normal"], seeds=3).layers
    assert layers["layer"].nunique() == 4
    found = initbench.inspect(model, x, schemes=["kaiming_normal(fans='effective')", "uniform"], seeds=1)  # no warning
    assert len(found.layers) == 8


# Ids: trials whose weights this changed have others, and only those.

NETWORKS = """
from torch import nn

def plain(shape, classes):
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, classes))

def grouped(shape, classes):
    first, second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=4)
    return nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(128, classes))
"""
SCHEMES = (
    "torch_default", "kaiming_normal", "keras_default", "conv=orthogonal",
    "flax_default", "timm_goog", "constant(0.1)", "delta_orthogonal", "kaiming_normal(fans='effective')",
    "looks_linear",
)  # fmt: skip


# Of two built-in models, by the release before fans had a word.
IDS = {
    ("cnn", "torch_default"): "4e9156f8229728be6609",
    ("cnn", "kaiming_normal(mode='fan_out')"): "b17f0e326a9b9069ad24",
    ("cnn", "orthogonal"): "318fd669d5bc5640a3dd",
    ("cnn", "looks_linear"): "f1e4092ad40904a1f586",
    ("cnn", "lsuv"): "c5d3f5b9c0a4d7d14ea0",
    ("cnn", "autoinit"): "e93252933b9a05ad9259",
    ("cnn", "gradinit"): "5dc6a874dd0d0201e88d",
    ("cnn", "data_dependent"): "773f5e88f0c5e23925e7",
    ("resnet", "torch_default"): "d11957379b1b3f28b5cd",
    ("resnet", "kaiming_normal(mode='fan_out')"): "f749a039d4a4964d4e72",
    ("resnet", "autoinit"): "cc31091648b06fc7f00a",
    ("resnet", "data_dependent"): "e0a8b88cad470632ed17",
    ("resnet", "fixup"): "df9a766e5de9e780f24a",
}


def test_the_ids_of_all_other_trials_are_what_they_were(tmp_path):
    fixup = {"model": ("resnet(depth=8)",), "schemes": ("fixup",), "baseline": "fixup"}
    others = {
        "model": ("cnn(depth=2, width=8)", "resnet(depth=8)"),
        "schemes": tuple(dict.fromkeys(s for _, s in IDS))[:-1],
    }
    found = {}
    for given in (fixup, others):
        study = plan_study(draft_of(None, given | {"seeds": (0,), "steps": 1}, "--"), tmp_path)
        found |= {(trial.model.partition("(")[0], trial.scheme): trial.id for trial in study.trials}
    assert {key: found[key] for key in IDS} == IDS


def test_only_trials_whose_weights_changed_have_another_id(tmp_path):
    (tmp_path / "n.py").write_text(NETWORKS)
    texts = [f"{tmp_path / 'n.py'}:{name}" for name in ("plain", "grouped")]
    given = {"model": (*texts, "resnet(depth=8)"), "schemes": SCHEMES, "seeds": (0,), "steps": 1}
    trials = plan_study(draft_of(None, given, "--"), tmp_path).trials
    revised = [(trial.model.rpartition(":")[2], trial.scheme) for trial in trials if trial.revision]
    assert revised == [("grouped", scheme) for scheme in SCHEMES[:4]] + [
        ("resnet(depth=8, width=16, branch_scale=False)", "looks_linear")
    ]
    for trial in trials:
        earlier = trial.model_dump(exclude_none=True) | {"revision": None}
        assert (Trial.model_validate(earlier).id == trial.id) == (trial.revision is None)


def test_what_is_drawn_group_by_group_is_what_it_was():
    # The weights of the first release, whose schemes all filled group by group.
    module = nn.Conv2d(8, 8, 3, groups=4)
    sigma, keyed = math.sqrt(1 / 18) / TRUNCATED_STD, generator(3, "weights", "weight")
    cut = (nn.init.trunc_normal_(torch.empty(2, 2, 3, 3), 0, sigma, -2 * sigma, 2 * sigma, keyed) for _ in range(4))
    for scheme, value in (
        ("flax_default", float(torch.cat(list(cut)).double().sum())),  # torch 2.13 draws otherwise than 2.10
        ("timm_goog", -2.524449154501781),
        ("kaiming_normal(fans='effective')", -2.524449154501781),
    ):
        assert revision_of(scheme, weighted_layers(module)) == 0
        assert float(initbench.initialize(module, scheme, seed=3).weight.detach().double().sum()) == pytest.approx(
            value
        )


# What frameworks draw. The figures are those of torchvision 0.28, Keras 3.15, Flax 0.12 and timm 1.0.

FRAMEWORKS = {
    # Keras: the bound of glorot_uniform, √6/√(fan_in + fan_out) of the kernel's own shape.
    "keras_default": (math.sqrt(1 / 3), {
        "Dense": (lambda: nn.Linear(300, 200), 0.109545),
        "Conv2D": (lambda: nn.Conv2d(32, 48, 3), 0.0912871),
        "Conv2D(groups=4)": (lambda: nn.Conv2d(16, 40, 3, groups=4), 0.123091),
        "Conv3D(groups=4)": (lambda: nn.Conv3d(16, 32, 3, groups=4), 0.0785674),
        "DepthwiseConv2D(depth_multiplier=2)": (lambda: nn.Conv2d(16, 32, 3, groups=16), 0.19245),
        "DepthwiseConv2D": (lambda: nn.Conv2d(512, 512, 3, groups=512), 0.0360491),
        "DepthwiseConv1D": (lambda: nn.Conv1d(128, 256, 5, groups=128), 0.0960769),
        "Conv2DTranspose": (lambda: nn.ConvTranspose2d(32, 48, 4, stride=2), 0.0684653),
    }),
    # Flax: the standard deviation of lecun_normal.
    "flax_default": (1, {
        "Dense": (lambda: nn.Linear(300, 200), 0.057735),
        "Conv(feature_group_count=4)": (lambda: nn.Conv2d(64, 96, 3, groups=4), 0.0833333),
        "Conv(feature_group_count=256)": (lambda: nn.Conv2d(256, 512, 3, groups=256), 0.333333),
        "ConvTranspose": (lambda: nn.ConvTranspose2d(32, 48, 4, stride=2), 0.0441942),
    }),
    "torchvision_resnet": (1, {
        "resnext50_32x4d.layer1.0.conv2": (lambda: nn.Conv2d(128, 128, 3, padding=1, groups=32), 0.0416667),
        "resnext50_32x4d.layer3.0.downsample.0": (lambda: nn.Conv2d(512, 1024, 1, stride=2), 0.0441942),
        "resnext50_32x4d.fc": (lambda: nn.Linear(2048, 1000), 0.0127578),
    }),
    "timm_goog": (1, {
        "Conv2d(groups=4)": (lambda: nn.Conv2d(64, 96, 3, groups=4), 0.0962250),
        "Conv2d(groups=512)": (lambda: nn.Conv2d(512, 512, 3, groups=512), 0.471405),
        "Linear": (lambda: nn.Linear(300, 200), 0.0408248),
    }),
    "vit_002": (1, {"blocks.0.attn.qkv": (lambda: nn.Linear(192, 576), 0.02)}),
}  # fmt: skip


@pytest.mark.parametrize("preset", FRAMEWORKS)
def test_a_preset_draws_what_its_framework_draws(preset):
    factor, layers = FRAMEWORKS[preset]
    for name, (build, value) in layers.items():
        module = build()
        rule = initbench.schemes.parse_scheme(preset).fillers["weight"].weight(layer_of(module))
        assert math.sqrt(rule.variance(layer_of(module))) == pytest.approx(factor * value, rel=1e-5), name
        weight = initbench.initialize(module, preset).weight.detach().double()
        # Var of the sample variance of n draws is at most 2σ⁴/n here; five standard errors.
        assert float(weight.square().mean()) == pytest.approx(
            (factor * value) ** 2, rel=5 * math.sqrt(2 / weight.numel())
        )
        if preset == "keras_default":
            assert float(weight.abs().max()) <= value * (1 + 1e-5)


@pytest.mark.ecosystem
@pytest.mark.filterwarnings("ignore")  # those of other packages
def test_keras_and_flax_draw_from_the_distributions_that_we_draw_from(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    jax, keras, flax = (pytest.importorskip(name) for name in ("jax", "keras", "flax.linen"))
    from scipy.stats import ks_2samp

    keras.utils.set_random_seed(1)
    kernels = {
        ("keras_default", "Conv2D(groups=4)"): (keras.layers.Conv2D(40, 3, groups=4), 16),
        ("keras_default", "DepthwiseConv2D(depth_multiplier=2)"): (
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
            16,
        ),
        ("keras_default", "Conv2DTranspose"): (keras.layers.Conv2DTranspose(48, 4, strides=2), 32),
        ("flax_default", "Conv(feature_group_count=4)"): (flax.Conv(96, (3, 3), feature_group_count=4), 64),
        ("flax_default", "ConvTranspose"): (flax.ConvTranspose(48, (4, 4), strides=(2, 2)), 32),
    }
    for number, ((preset, name), (theirs, channels)) in enumerate(kernels.items()):
        if preset == "keras_default":
            theirs.build((None, 9, 9, channels))
            drawn = theirs.weights[0].value
        else:
            drawn = theirs.init(jax.random.key(number), jax.numpy.zeros((1, 9, 9, channels)))["params"]["kernel"]
        ours = initbench.initialize(FRAMEWORKS[preset][1][name][0](), preset).weight.detach()
        assert ks_2samp(torch.tensor(drawn.tolist()).flatten(), ours.flatten()).pvalue > 1e-4, name


@pytest.mark.ecosystem
@pytest.mark.filterwarnings("ignore")  # those of other packages
def test_timm_and_torchvision_draw_from_the_distributions_that_we_draw_from():
    import_torchvision()  # also where its compiled operators do not match torch
    builder = pytest.importorskip("timm.models._efficientnet_builder")
    from scipy.stats import ks_2samp
    from torchvision.models import resnext50_32x4d

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = {("torchvision_resnet", "resnext50_32x4d.layer1.0.conv2"): resnext50_32x4d().layer1[0].conv2}
        for name, (build, _) in FRAMEWORKS["timm_goog"][1].items():
            theirs["timm_goog", name] = build()
            builder._init_weight_goog(theirs["timm_goog", name])
    for (preset, name), module in theirs.items():
        ours = initbench.initialize(FRAMEWORKS[preset][1][name][0](), preset).weight.detach()
        assert ks_2samp(module.weight.detach().flatten(), ours.flatten()).pvalue > 1e-4, name
