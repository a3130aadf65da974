"""Schemes: the whole matrix of schemes × models, laws of variance, torch.nn.init as reference, the grammar."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples, one_in
from torch import nn

import initbench
from initbench.core.registry import Registry
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.schemes import SCHEMES, Preset, Procedure, assign, parse_scheme
from initbench.schemes.fill import draw

SHAPE, CLASSES = (1, 8, 8), 10
IMAGES, LABELS = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(5)), torch.arange(32) % CLASSES
VALUES = {
    "constant": "constant(0.3)", "sparse": "sparse(0.4)", "scaled": "scaled('kaiming_uniform', 0.5)",
    "metainit": "metainit(steps=2)", "gradinit": "gradinit(steps=2)",
}  # fmt: skip # for parameters without a default, and for those that cost
ALL_SCHEMES = [VALUES.get(name, name) for name in SCHEMES] + ["kaiming_uniform; bias=constant(0.1)"]
SMALLER = {"deep_cnn": "deep_cnn(depth=5)", "resnet": "resnet(depth=8)", "resmlp": "resmlp(depth=2)"}
ALL_MODELS = [SMALLER.get(name, name) for name in MODELS]
ALL_MODELS += [
    "resnet(depth=8, branch_scale=True)",
    "mlp(depth=3, width=[24, 16, 20], activation='mish', norm='batch', bias=False, dropout=0.2)",
    "resmlp(depth=2, width=16, activation='prelu', norm='rms', branch_scale=True)",
    "resnet(depth=8, width=8, norm='batch', dropout=0.1, preactivation=True)",
    "deep_cnn(depth=3, activation='hardtanh', norm='group', bias=False)",
]
LINEAR = ("linear", "mlp", "resmlp")  # beginnings of the names of those without convolutions
DETERMINISTIC = {
    "constant(0.3)", "ones", "zeros", "eye", "dirac", "partial_identity", "zero_hadamard", "idinit", "sinusoidal",
}  # fmt: skip
TORCH_FUNCTIONS = [
    "uniform", "normal", "trunc_normal", "constant", "ones", "zeros", "eye", "dirac", "xavier_uniform",
    "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "sparse",
]  # fmt: skip


def weights_of(model_text, scheme, seed=0):
    model = build_model(model_text, SHAPE, CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)
        initbench.initialize(model, scheme, seed=seed, batch=IMAGES, labels=LABELS)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def fits(scheme, model_text):
    try:
        assign(parse_scheme(scheme), weighted_layers(build_model(model_text, SHAPE, CLASSES, "meta")))
    except UsageError:
        return False
    return True


MATRIX = [(scheme, model) for scheme in ALL_SCHEMES for model in ALL_MODELS if fits(scheme, model)]


def test_the_matrix_leaves_out_only_what_cannot_be():
    """Convolutions to fill with dirac, branches to close, and scales to close them by."""
    left_out = {(s, m) for s in ALL_SCHEMES for m in ALL_MODELS} - set(MATRIX)
    without_branches = {("fixup", m) for m in ALL_MODELS if not m.startswith("res")}
    without_scales = {("skipinit", m) for m in ALL_MODELS if "branch_scale=True" not in m}
    without_convolutions = {("dirac", m) for m in ALL_MODELS if m.startswith(LINEAR)}
    assert left_out == without_convolutions | without_branches | without_scales


def test_every_function_of_torch_nn_init_is_there():
    assert all(name in SCHEMES for name in TORCH_FUNCTIONS)


@pytest.mark.parametrize(("scheme", "model"), one_in(3, MATRIX))
def test_any_scheme_on_any_model(scheme, model):
    before = torch.get_rng_state()
    first, again, other = weights_of(model, scheme, 0), weights_of(model, scheme, 0), weights_of(model, scheme, 1)
    assert torch.equal(before, torch.get_rng_state()), "the global random state changed"
    assert all(value.isfinite().all() for value in first.values())
    assert all(torch.equal(first[name], again[name]) for name in first), "same seed, other weights"
    differs = any(not torch.equal(first[name], other[name]) for name in first)
    # eye and dirac leave a layer that they do not fit to torch_default.
    pure = scheme in DETERMINISTIC - {"eye", "dirac"} or (scheme == "eye" and model.startswith(LINEAR))
    assert differs != pure


def rule_of(scheme, layer):
    """The rule that a scheme of one part has for the weight of a layer."""
    maker = SCHEMES.build(scheme)
    maker = maker.base if isinstance(maker, Procedure) else maker
    return maker.weight(layer) if isinstance(maker, Preset) else maker


def test_the_rules_that_draw_nothing_say_so():
    layer = replace(weighted_layers(nn.Linear(4, 3))[0], head=False)  # fixup's head is zero
    names = [VALUES.get(name, name) for name in SCHEMES]
    assert {name for name in names if rule_of(name, layer).deterministic} == DETERMINISTIC


MIDDLES = {"square": (64, 64), "narrowing": (64, 32), "widening": (32, 64)}  # (in, out)


@pytest.mark.parametrize("scheme", [VALUES.get(name, name) for name in SCHEMES])
def test_the_rules_that_may_hold_zero_equal_or_opposite_rows_say_so(scheme):
    found, declared = [], set()
    for inputs, outputs in MIDDLES.values():
        module = nn.Conv2d(inputs, outputs, 3) if scheme == "dirac" else nn.Linear(inputs, outputs)
        layer = replace(weighted_layers(module)[0], first=False, head=False)
        rule = rule_of(scheme, layer)
        block = torch.empty(layer.block)
        rule.fill(block, layer, torch.Generator().manual_seed(0))
        rows = nn.functional.normalize(block.double().flatten(1))
        found.append(
            bool(((rows @ rows.T).fill_diagonal_(0).abs() > 1 - 1e-6).any() or (block.flatten(1) == 0).all(1).any())
        )
        declared.add(rule.degenerate)
    assert declared == {any(found)}


@pytest.mark.parametrize("scheme", [s for s in ALL_SCHEMES if parse_scheme(s).procedure is None])
def test_weights_do_not_depend_on_other_layers(scheme):
    if not fits(scheme, "cnn(depth=2)"):
        pytest.skip("needs a layer that fits")
    shallow, deep = weights_of("cnn(depth=2)", scheme), weights_of("cnn(depth=4)", scheme)
    assert torch.equal(shallow["conv1.weight"], deep["conv1.weight"])
    assert torch.equal(shallow["conv2.weight"], deep["conv2.weight"])


def test_weights_do_not_depend_on_thread_count_or_global_seed():
    threads = torch.get_num_threads()
    reference = weights_of("mlp", "orthogonal", 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        torch.set_num_threads(1)
        other = weights_of("mlp", "orthogonal", 3)
    torch.set_num_threads(threads)
    assert all(torch.equal(reference[name], other[name]) for name in reference)


def test_schemes_of_one_seed_share_their_draws():
    xavier, kaiming = weights_of("mlp", "xavier_normal", 5), weights_of("mlp", "kaiming_normal", 5)
    # Equal widths: the two differ by the factor sqrt(2) of ReLU's gain alone.
    torch.testing.assert_close(kaiming["linear2.weight"], xavier["linear2.weight"] * math.sqrt(2))


@pytest.mark.parametrize(("model", "weight", "outputs"), [("mlp", "linear2.weight", 64), ("cnn", "conv2.weight", 32)])
def test_sparse_zeroes_a_share_of_each_column_and_its_mask_is_keyed(model, weight, outputs):
    first, again, other = (weights_of(model, "sparse(0.4, std=0.5)", seed)[weight] for seed in (0, 0, 1))
    assert ((first == 0).sum(dim=0) == math.ceil(0.4 * outputs)).all()
    assert torch.equal(first, again)
    assert not torch.equal(first == 0, other == 0)


LAWS = {
    "torch_default": lambda i, o: 1 / (3 * i),
    "xavier_uniform": lambda i, o: 2 / (i + o),
    "xavier_normal": lambda i, o: 2 / (i + o),
    "xavier_normal(gain='relu')": lambda i, o: 4 / (i + o),
    "kaiming_uniform": lambda i, o: 2 / i,
    "kaiming_normal": lambda i, o: 2 / i,
    "kaiming_normal(mode='fan_out')": lambda i, o: 2 / o,
    "kaiming_uniform(a=1.0)": lambda i, o: 1 / i,
    "lecun_normal": lambda i, o: 1 / i,
    "lecun_uniform": lambda i, o: 1 / i,
    "variance_scaling(2.0, 'fan_avg', 'truncated_normal')": lambda i, o: 4 / (i + o),
    "variance_scaling(3.0, 'fan_out', 'normal')": lambda i, o: 3 / o,
    "variance_scaling(2.0, 'fan_in', 'uniform')": lambda i, o: 2 / i,
    "variance_scaling(1.0, 'fan_geo_avg')": lambda i, o: 1 / math.sqrt(i * o),
    "he_normal_keras": lambda i, o: 2 / i,
    "glorot_normal_keras": lambda i, o: 2 / (i + o),
    "keras_default": lambda i, o: 2 / (i + o),
    "flax_default": lambda i, o: 1 / i,
    "orthogonal": lambda i, o: None,
    "normal(std=0.01)": lambda i, o: 1e-4,
    "uniform(-0.5, 0.5)": lambda i, o: 1 / 12,
    "trunc_normal": lambda i, o: 0.7737413,  # of N(0, 1) cut at two sigma
}
LAYERS = {
    "linear": lambda: nn.Linear(300, 200),
    "conv": lambda: nn.Conv2d(32, 48, 3),
    "grouped": lambda: nn.Conv2d(64, 96, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(32, 48, 3),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scheme", LAWS)
def test_variance_follows_the_law_of_the_name(scheme, layer):
    weight = initbench.initialize(LAYERS[layer](), scheme, seed=7).weight.detach().double()
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    if scheme == "flax_default" and layer == "transposed":
        fan_in, fan_out = fan_out, fan_in  # Flax holds that kernel in the direction of the signal
    expected = LAWS[scheme](fan_in, fan_out)
    if scheme == "orthogonal":
        expected = 1 / max(fan_in, len(weight))
    # Var of the sample variance of n draws is (kurtosis - 1)·σ⁴/n <= 2σ⁴/n here; five standard errors.
    assert float(weight.square().mean()) == pytest.approx(expected, rel=5 * math.sqrt(2 / weight.numel()))


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name not in VALUES] + list(VALUES.values()))
def test_the_variance_that_a_rule_declares_is_the_one_it_draws(scheme):
    layer = weighted_layers(nn.Conv2d(32, 40, 3) if scheme == "dirac" else nn.Linear(400, 300))[0]
    rule = rule_of(scheme, layer)
    if rule.variance is None:
        assert scheme in DETERMINISTIC | {"looks_linear"}
        return
    block = torch.empty(layer.block)
    rule.fill(block, layer, torch.Generator().manual_seed(0))
    variance = float((block.double() - rule.mean).square().mean())
    assert variance == pytest.approx(rule.variance(layer), rel=0.05, abs=1e-12)


def test_the_truncated_normal_keeps_within_two_sigma_and_has_no_less_variance():
    weight = initbench.initialize(nn.Linear(400, 400), "lecun_normal").weight.detach()
    sigma = math.sqrt(1 / 400) / 0.87962566103423978
    assert float(weight.abs().max()) <= 2 * sigma
    assert float(weight.abs().max()) > 1.95 * sigma


def test_orthogonal_rows_or_columns_are_orthonormal():
    wide = initbench.initialize(nn.Linear(40, 10), "orthogonal").weight.detach()
    tall = initbench.initialize(nn.Linear(10, 40), "orthogonal(2.0)").weight.detach()
    torch.testing.assert_close(wide @ wide.T, torch.eye(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(tall.T @ tall, 4 * torch.eye(10), atol=1e-5, rtol=0)


def test_torch_default_is_the_law_of_a_fresh_module():
    fresh = torch.cat([nn.Linear(50, 200).bias.detach() for _ in range(20)])
    ours = torch.cat([initbench.initialize(nn.Linear(50, 200), "torch_default", s).bias.detach() for s in range(20)])
    for sample in (fresh, ours):
        assert float(sample.abs().max()) <= 1 / math.sqrt(50)
        assert float(sample.var()) == pytest.approx(1 / 150, rel=0.08)


def test_torchvision_resnet_treats_conv_and_linear_differently():
    weights = weights_of("cnn(depth=4, width=32)", "torchvision_resnet")
    assert float(weights["conv2.weight"].var()) == pytest.approx(2 / (32 * 9), rel=0.05)
    assert float(weights["head.weight"].var()) == pytest.approx(1 / (3 * weights["head.weight"].shape[1]), rel=0.1)
    assert weights["head.bias"].any()


def test_timm_goog_counts_outputs_and_leaves_biases_at_zero():
    conv = initbench.initialize(nn.Conv2d(64, 96, 3, groups=2), "timm_goog")
    assert float(conv.weight.detach().square().mean()) == pytest.approx(2 / (9 * 96 / 2), rel=0.05)
    linear = initbench.initialize(nn.Linear(100, 400), "timm_goog")
    assert 0.99 / 20 < float(linear.weight.detach().abs().max()) <= 1 / 20
    assert not conv.bias.any()
    assert not linear.bias.any()


def test_vit_002_is_in_effect_an_uncut_normal():
    layer = initbench.initialize(nn.Linear(300, 300), "vit_002")
    weight = layer.weight.detach().double()
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float((weight.abs() > 0.04).double().mean()) == pytest.approx(0.0455, rel=0.1)  # beyond two sigma
    assert not layer.bias.any()


# The three snippets of the article on torch.nn.init.


def test_article_xavier_uniform_on_a_linear_layer():
    layer = initbench.initialize(nn.Linear(10, 5), "xavier_uniform")
    assert float(layer.weight.detach().abs().max()) <= math.sqrt(6 / 15)
    assert layer.weight.unique().numel() == 50


def test_article_constant_bias():
    layer = initbench.initialize(nn.Linear(10, 5), "xavier_uniform; bias=constant(0.1)")
    assert torch.equal(layer.bias.detach(), torch.full((5,), 0.1))


def test_article_kaiming_uniform_on_a_convolution():
    layer = initbench.initialize(nn.Conv2d(3, 64, 3, 1, 1), "kaiming_uniform(nonlinearity='relu')")
    bound = math.sqrt(6 / 27)
    assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert not layer.bias.any()


# The grammar.


def test_the_most_specific_part_wins():
    weights = weights_of(
        "cnn(depth=3)",
        "constant(1.0); conv=constant(2.0); first=constant(3.0); head=constant(4.0); bias=constant(5.0);"
        "name:conv3.*=constant(6.0); name:conv3.bias=constant(7.0)",
    )
    values = {name: float(value.unique()) for name, value in weights.items()}
    assert values == {
        "conv1.weight": 3, "conv1.bias": 5, "conv2.weight": 2, "conv2.bias": 5,
        "conv3.weight": 6, "conv3.bias": 7, "head.weight": 4, "head.bias": 5,
    }  # fmt: skip


def test_a_preset_fills_biases_and_an_explicit_bias_wins():
    assert weights_of("mlp", "torch_default")["linear2.bias"].any()
    assert not weights_of("mlp", "torch_default; bias=zeros")["linear2.bias"].any()
    assert not weights_of("mlp", "keras_default")["linear2.bias"].any()
    only_conv = weights_of("cnn", "xavier; conv=torch_default")
    assert only_conv["conv1.bias"].any()
    assert not only_conv["head.bias"].any()


def test_what_no_part_speaks_for_is_torch_defaults():
    assert torch.equal(
        weights_of("cnn", "conv=kaiming_uniform")["head.weight"], weights_of("cnn", "torch_default")["head.weight"]
    )


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("kaiming", "kaiming_uniform"),
        ("he_normal( mode = 'fan_in' )", "kaiming_normal"),
        ("glorot_uniform(1)", "xavier_uniform"),
        ("bias=constant(val=0.1);weight=xavier", "xavier_uniform; bias=constant(0.1)"),
        ("head=zeros; linear=glorot_normal", "linear=xavier_normal; head=zeros"),
        ("normal(0, .01)", "normal(std=0.01)"),
    ],
)
def test_one_meaning_has_one_text(spelling, canonical):
    assert str(parse_scheme(spelling)) == canonical
    assert str(parse_scheme(canonical)) == canonical


@given(
    parts=st.dictionaries(
        st.sampled_from(["weight", "conv", "linear", "first", "last", "head", "bias", "name:a.*", "name:*.b"]),
        st.sampled_from(["zeros", "constant(0.5)", "normal(std=0.25)", "uniform(a=-1.0)", "torch_default"]),
        min_size=1,
    ),
    order=st.randoms(use_true_random=False),
)
@examples(60)
def test_canonical_text_is_a_fixed_point_whatever_the_order_of_parts(parts, order):
    pieces = [f"{part}={spec}" for part, spec in parts.items() if not part.startswith("name:")]
    globs = [f"{part}={spec}" for part, spec in parts.items() if part.startswith("name:")]
    order.shuffle(pieces)
    scheme = parse_scheme(";".join(pieces + globs))
    assert parse_scheme(str(scheme)) == scheme


MISTAKES = {
    "kaimin": "did you mean 'kaiming'",
    "kaiming(fanmode='x')": "Unknown parameter 'fanmode'",
    "kaiming(mode='fan')": "'fan_in' or 'fan_out'",
    "kaiming(mode=fan_out)": "quoted word such as 'fan_out'",
    "normal(std=-1)": "greater than or equal to 0",
    "normal(std='a')": "a number",
    "constant": "needs a value for 'val'",
    "constant(1e999)": "a finite number",
    "constant(True)": "a number",
    "constant(1, 2)": "takes 1",
    "xavier(gain='rel')": "'relu'",
    "uniform(a=2)": "a < b",
    "trunc_normal(a=60.0, b=70.0)": "no mass",
    "bias=kaiming": "cannot fill a bias",
    "wieght=zeros": "did you mean 'weight'",
    "zeros;": "empty part",
    "zeros; ones": "'weight' twice",
    "conv=eye": "does not fit the conv layer 'conv1'",
    "name:cnov*=zeros": "matches no parameter",
    "name:*.bias=xavier": "cannot fill the bias",
    "__import__('os').system('true')": "not of the form",
    "kaiming(": "not of the form",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_remedy(text):
    with pytest.raises(UsageError) as caught:
        initbench.initialize(build_model("cnn(depth=2)", SHAPE, CLASSES), text)
    assert MISTAKES[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["eye", "dirac"])
def test_where_a_bare_scheme_does_not_fit_a_notice_says_so(scheme):
    model = build_model("cnn", SHAPE, CLASSES)
    with pytest.warns(InitbenchWarning, match="keep torch_default's weights"):
        initbench.initialize(model, scheme)
    other = "head.weight" if scheme == "dirac" else "conv1.weight"
    assert torch.equal(dict(model.named_parameters())[other], weights_of("cnn", "torch_default")[other])


@pytest.mark.parametrize("name", ["eye", "dirac"])
def test_the_list_says_what_happens_where_a_scheme_does_not_fit(name):
    assert "torch_default" in SCHEMES[name].summary


# What a scheme leaves alone.


def test_frozen_tied_and_other_parameters_are_left_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 4)
            self.frozen = nn.Linear(4, 4)
            self.frozen.requires_grad_(False)
            self.norm = nn.LayerNorm(4)
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

    model = Tied()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(InitbenchWarning, match="embedding embedding.weight, 47%"):
        initbench.initialize(model, "constant(0.5); bias=constant(0.1)")
    after = model.state_dict()
    same = ["embedding.weight", "frozen.weight", "frozen.bias", "norm.weight", "norm.bias"]
    assert all(torch.equal(before[name], after[name]) for name in same)
    assert model.a.weight is model.b.weight
    assert float(after["a.weight"].unique()) == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_floating_dtype_gets_the_same_weights_up_to_rounding(dtype):
    expected = initbench.initialize(nn.Linear(30, 20), "kaiming_normal").weight.detach()
    model = initbench.initialize(nn.Linear(30, 20).to(dtype), "kaiming_normal")
    assert model.weight.dtype == dtype
    if dtype != torch.float64:  # float64 draws use more bits of the stream
        assert torch.equal(model.weight.detach(), expected.to(dtype))


def test_grouped_blocks_are_orthogonal_each():
    weight = (
        initbench.initialize(nn.Conv2d(8, 8, 1, groups=2), "orthogonal(fans='effective')").weight.detach().flatten(1)
    )
    for block in weight.split(4):
        torch.testing.assert_close(block @ block.T, torch.eye(4), atol=1e-5, rtol=0)


def test_first_and_head_follow_execution_when_a_batch_is_given():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(6, 3)
            self.start = nn.Linear(5, 6)

        def forward(self, x):
            return self.last(self.start(x))

    registered = initbench.initialize(Backwards(), "zeros; head=ones")
    executed = initbench.initialize(Backwards(), "zeros; head=ones", batch=torch.zeros(2, 5))
    assert registered.start.weight.all()
    assert executed.last.weight.all()
    assert not executed.start.weight.any()
    assert executed.training


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.ReLU()), "no trainable Linear or Conv layer"),
        (nn.LazyLinear(3), "no shape yet"),
        (nn.Linear(2, 2, device="meta"), "meta device"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_models_that_cannot_be_filled_are_named(model, message):
    with pytest.raises(UsageError, match=message):
        initbench.initialize(model, "kaiming")


def test_initialize_does_not_track_gradients_or_change_identity():
    layer = nn.Linear(3, 3)
    weight = layer.weight
    assert initbench.initialize(layer, "kaiming") is layer
    assert layer.weight is weight
    assert weight.requires_grad
    assert weight.grad_fn is None


def test_draws_are_made_on_the_cpu_whatever_the_device():
    layer = weighted_layers(nn.Linear(4, 3))[0]
    item = assign(parse_scheme("kaiming"), [layer])[0]
    drawn = draw(item, torch.empty(3, 4, device="meta"), seed=0)
    assert torch.equal(drawn, initbench.initialize(nn.Linear(4, 3), "kaiming").weight.detach())


def test_a_registry_resolves_aliases_and_keeps_order():
    registry: Registry[int] = Registry("thing")

    @registry.register("uno")
    def one(base: int, /, add: int = 0) -> int:
        return base + add

    @registry.register()
    def two(base: int, /) -> int:
        return base

    assert list(registry) == ["one", "two"]
    assert registry.build("uno(add=2)", 5) == 7
    assert str(registry.resolve("uno(0)")) == "one"
