"""Schemes of a whole model: each one's own law, its cost, what it leaves alone, and what it says when it cannot."""

import copy
import importlib.util
import math
import warnings

import pytest
import torch
from long_form import one_in
from torch import nn
from torch.func import functional_call
from torch.nn import functional

import initbench
from initbench import datasets
from initbench import training as engines
from initbench.core.randomness import generator, one_thread
from initbench.datasets.batches import resident
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import build_model
from initbench.records.recipe import Trial
from initbench.schemes import SCHEMES, Preset, Procedure, Sample, assign, fill_scheme, initialize, parse_scheme
from initbench.schemes.learned import gradient_quotient
from initbench.signals import weight_moments
from initbench.training.start import INITIALIZATION_IMAGES

SHAPE, CLASSES = (1, 8, 8), 10
FAST = {"metainit": "metainit(steps=3)", "gradinit": "gradinit(steps=3)"}
NAMES = ["lsuv", "data_dependent", "sign_flip", "autoinit", "metainit", "gradinit"]
PROCEDURES = [FAST.get(name, name) for name in NAMES]
NORMALIZED = ["cnn(norm='batch')", "cnn(norm='layer')"]  # the other models are in the matrix of test_schemes.py


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for two."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


@pytest.fixture(autouse=True)
def _seeded():
    """Models here draw what no scheme fills: one draw in 200 leaves a tied layer just outside of its tolerance."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def sample(digits):
    split = resident(digits, "train", "cpu")
    return Sample((split.take(torch.arange(128))[0],), split.take(torch.arange(128))[1])


def filled(model, scheme, sample, seed=0):
    """A model, built from its text where it is one, filled by a scheme; warnings are errors."""
    model = build_model(model, SHAPE, CLASSES) if isinstance(model, str) else model
    parsed = parse_scheme(scheme)
    fill_scheme(model, parsed, assign(parsed, weighted_layers(model)), seed, sample)
    return model


def quietly(*args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)
        return filled(*args)


def filled_own(scheme, sample, seed=0, *, model=None):
    """A model of one's own, filled through the library's face, which is told the order of execution."""
    model = Own() if model is None else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)
        return initialize(model, scheme, seed=seed, batch=sample.inputs[0], labels=sample.labels)


def cost(model, scheme, sample):
    model = build_model(model, SHAPE, CLASSES)
    parsed = parse_scheme(scheme)
    return fill_scheme(model, parsed, assign(parsed, weighted_layers(model)), 0, sample).passes


def outputs(model, inputs):
    """The output of every weighted layer on its first call, by name, in order of execution."""
    seen = {}
    names = {module: name for name, module in model.named_modules()}
    weighted = [module for module in names if isinstance(getattr(module, "weight", None), nn.Parameter)]

    def note(module, _given, output):  # returns nothing: what a hook returns takes the output's place
        seen.setdefault(names[module], output.detach().clone())

    handles = [it.register_forward_hook(note) for it in weighted if not isinstance(it, nn.BatchNorm2d | nn.GroupNorm)]
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return seen


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


class Own(nn.Module):
    """Functional activations, a layer used twice, a tied pair, a grouped and a transposed convolution, a frozen one."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.entry = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.last = nn.Linear(16, 16)
        self.again = nn.Linear(16, 16)
        self.last.weight = self.again.weight
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.head = nn.Linear(16, 10)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x):
        x = torch.tanh(self.up(functional.relu(self.grouped(self.entry(x)))))
        x = functional.max_pool2d(functional.gelu(self.frozen(x)), 4)
        x = torch.cat([x, -x], dim=1).mean((2, 3)).repeat(1, 2)
        x = functional.relu(self.again(x))
        return self.head(self.dropout(x + self.scale * functional.relu(self.again(self.last(x)))))


def test_they_are_all_registered_with_what_they_need():
    needs = {name: SCHEMES.build(name).needs for name in NAMES}
    assert needs == dict.fromkeys(NAMES, "inputs") | {"gradinit": "labels"}


@pytest.mark.parametrize("scheme", [*PROCEDURES, "data_dependent(balance=False)"])
def test_what_is_multiplied_as_a_whole_keeps_its_law_and_what_is_changed_by_unit_has_none(scheme, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)
        model = build_model("mlp(depth=3)", SHAPE, CLASSES)
        parsed = parse_scheme(scheme)
        assignments = assign(parsed, weighted_layers(model))
        factors = fill_scheme(model, parsed, assignments, 0, sample).factors
    laws = weight_moments(model, assignments, factors)
    for name in ("linear1.weight", "linear2.weight", "linear3.weight"):
        found = float(dict(model.named_parameters())[name].detach().square().mean())
        known = None if scheme.startswith(("data_dependent", "sign_flip")) else pytest.approx(found, rel=0.15)
        assert (None if math.isnan(laws[name].variance) else laws[name].variance) == known


# What holds of all of them


@pytest.mark.parametrize("model", NORMALIZED)
@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_any_procedure_on_a_model_with_normalization(scheme, model, sample):
    before = torch.get_rng_state()
    first, again, other = (weights(quietly(model, scheme, sample, seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state()), "the global random state changed"
    assert all(value.isfinite().all() for value in first.values())
    assert all(torch.equal(first[name], again[name]) for name in first), "same seed, other weights"
    assert any(not torch.equal(first[name], other[name]) for name in first), "other seed, same weights"


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_a_model_of_ones_own_with_all_that_is_unusual(scheme, sample):
    model = Own()
    frozen = model.frozen.weight.clone()
    filled_own(scheme, sample, model=model)
    assert all(value.isfinite().all() for value in weights(model).values())
    assert torch.equal(model.frozen.weight, frozen)
    assert model.last.weight is model.again.weight
    assert model.scale.item() == 0.5
    base = filled_own(base_of(scheme), sample)
    assert not torch.equal(model.again.weight, base.again.weight), "nothing was adjusted"
    assert not torch.equal(model.head.weight, base.head.weight) or scheme == "sign_flip"


def base_of(scheme):
    return SCHEMES[scheme.partition("(")[0]].parameters["base"].default


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_all_but_parameters_stays_as_it_is(scheme, sample):
    model = build_model("cnn(norm='batch')", SHAPE, CLASSES).eval()
    model.conv1.train()
    handle = model.conv2.register_forward_hook(lambda *_: None)
    next(model.parameters()).grad = torch.ones(32, 1, 3, 3)
    norm = weights(model)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = {name: len(module._forward_hooks) for name, module in model.named_modules()}
    quietly(model, scheme, sample)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert {name: len(module._forward_hooks) for name, module in model.named_modules()} == hooks
    assert [p.grad is not None for p in model.parameters()][:2] == [True, False]
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert all(torch.equal(value, norm[name]) for name, value in weights(model).items() if name.startswith("norm"))
    handle.remove()


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_the_mode_of_the_model_and_its_dropout_make_no_difference(scheme, sample):
    model = Own()
    models = [copy.deepcopy(model).train(mode) for mode in (True, False)]
    training, evaluating = (weights(filled_own(scheme, sample, model=each)) for each in models)
    assert all(torch.equal(training[name], evaluating[name]) for name in training)


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_a_layer_with_a_part_of_its_own_is_left_alone(scheme, sample):
    model = quietly("mlp(depth=3)", f"{scheme}; head=zeros; first=constant(0.01); bias=constant(0.1)", sample)
    assert not model.head.weight.any()
    assert (model.linear1.weight == 0.01).all()
    assert all((value == 0.1).all() for name, value in weights(model).items() if name.endswith("bias"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_models_of_other_precisions_get_the_same_weights_up_to_rounding(scheme, dtype, sample):
    single = weights(quietly("mlp(depth=2)", scheme, sample))
    other = weights(quietly(build_model("mlp(depth=2)", SHAPE, CLASSES).to(dtype), scheme, sample))
    assert all(value.dtype == dtype for value in other.values())
    assert all(value.isfinite().all() for value in other.values())
    # float64 has draws of its own, and a sign or a threshold may fall on either side of rounding.
    if dtype == torch.bfloat16 and scheme in ("lsuv", "data_dependent", "autoinit"):
        for name, value in other.items():
            torch.testing.assert_close(value.float(), single[name], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_lsuv_has_its_law_in_every_precision(dtype, sample):
    network = quietly(build_model("mlp(depth=4)", SHAPE, CLASSES).to(dtype), "lsuv", sample)
    for output in outputs(network, (sample.inputs[0].to(dtype),)).values():
        assert float(output.std()) == pytest.approx(1.0, abs=0.02 if dtype == torch.bfloat16 else 1e-3)


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_without_data_it_says_what_is_missing(scheme):
    with pytest.raises(UsageError, match="give a batch of inputs"):
        initialize(build_model("mlp(depth=2)", SHAPE, CLASSES), scheme)


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_the_library_face_takes_a_batch_and_labels(scheme, sample):
    model = build_model("mlp(depth=2)", SHAPE, CLASSES)
    assert initialize(model, scheme, seed=1, batch=sample.inputs[0], labels=sample.labels) is model
    expected = weights(filled("mlp(depth=2)", scheme, sample, 1))
    assert all(torch.equal(value, expected[name]) for name, value in weights(model).items())


@pytest.mark.parametrize("scheme", ["lsuv", "data_dependent"])
def test_inputs_that_are_not_finite_are_named(scheme):
    with pytest.raises(UsageError, match=f"{scheme} stopped.*'linear1'"):
        filled("mlp(depth=2)", scheme, Sample((torch.full((8, 1, 8, 8), math.nan),), torch.zeros(8, dtype=torch.long)))


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_no_input_makes_weights_that_are_not_finite(scheme, value):
    sample = Sample((torch.full((8, 1, 8, 8), value),), torch.zeros(8, dtype=torch.long))
    for model in ("mlp(depth=2)", "cnn(norm='batch')"):
        try:
            values = weights(quietly(model, scheme, sample))
        except UsageError:
            continue
        assert all(tensor.isfinite().all() for tensor in values.values())


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_one_image_is_enough(scheme, sample):
    one = Sample((sample.inputs[0][:1],), sample.labels[:1])
    normalized = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    for model in ("mlp(depth=2)", "cnn(norm='batch')", normalized):
        assert all(value.isfinite().all() for value in weights(quietly(model, scheme, one)).values())


# The base


def test_a_base_is_part_of_the_text_and_a_default_is_left_out():
    assert str(parse_scheme("lsuv(base='orthogonal', tol=0.001)")) == "lsuv"
    assert str(parse_scheme("lsuv(base='he_normal()')")) == "lsuv(base='kaiming_normal')"
    assert str(parse_scheme("lsuv(base='constant(val=1)')")) == "lsuv(base='constant(1.0)')"
    assert (
        str(parse_scheme(str(parse_scheme("sign_flip(base='normal(std=0.1)')")))) == "sign_flip(base='normal(std=0.1)')"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lsuv(base='ortogonal')", "did you mean 'orthogonal'"),
        ("lsuv(base='lsuv')", "adjusts a whole model and cannot be a base"),
        ("lsuv(base='normal(std=-1)')", "cannot take std=-1"),
        ("lsuv(base='conv=eye; linear=eye')", "is not of the form"),
        ("lsuv(base=1)", "cannot take base=1"),
        ("lsuv(tol=0)", "cannot take tol=0"),
        ("metainit(steps=0)", "cannot take steps=0"),
        ("gradinit(gamma=-1.0)", "cannot take gamma=-1.0"),
        ("kaiming_normal; head=lsuv", "fills a whole model and cannot be the part 'head'"),
    ],
)
def test_a_mistake_is_named_when_the_scheme_is_read(text, message):
    with pytest.raises(UsageError, match=message):
        parse_scheme(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_base_fills_first(name):
    procedure = SCHEMES.build(f"{name}(base='torch_default')")
    assert isinstance(procedure, Procedure)
    assert isinstance(procedure.base, Preset)


# LSUV


@pytest.mark.parametrize(
    "model", ["mlp(depth=8)", "mlp(depth=3, activation='tanh')", "cnn", "resnet(depth=8)", "lenet"]
)
def test_every_layer_has_unit_std_after_one_division_each(model, sample):
    network = filled(model, "lsuv", sample)
    stds = {name: float(output.std()) for name, output in outputs(network, sample.inputs).items()}
    assert len(stds) == len(weighted_layers(network))
    assert all(abs(std - 1) < 1e-3 for std in stds.values()), stds
    assert cost(model, "lsuv", sample).forward == 2 * 128  # once through, and each layer once more


def test_lsuv_keeps_orthogonal_directions(sample):
    weight = filled("mlp(depth=3)", "lsuv", sample).linear2.weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(64) * float(weight.square().sum() / 64), atol=1e-4, rtol=0)


def test_lsuv_repeats_where_there_are_biases(sample):
    scheme = "lsuv(base='torch_default')"
    network = filled("cnn", scheme, sample)
    assert all(abs(float(output.std()) - 1) < 1.1e-3 for output in outputs(network, sample.inputs).values())
    assert network.conv1.bias.any()
    assert cost("cnn", scheme, sample).forward > 2 * 128


def test_of_a_model_of_ones_own_the_first_use_of_each_layer_has_unit_std(sample):
    model = filled_own("lsuv", sample)
    model.dropout.p = 0.0
    stds = {name: float(output.std()) for name, output in outputs(model, sample.inputs).items()}
    held = {name: std for name, std in stds.items() if name not in ("frozen", "last")}  # `last` is tied to `again`
    assert set(held) == {"grouped", "up", "entry", "again", "head"}
    assert all(abs(std - 1) < 1e-3 for std in held.values()), held


def test_lsuv_says_which_layer_has_no_scale_and_leaves_it(sample):
    with pytest.warns(InitbenchWarning, match="lsuv found no scale for 'linear2', 'linear3', 'head', whose"):
        network = filled("mlp(depth=3)", "lsuv; name:linear1.weight=zeros", sample)
    base = filled("mlp(depth=3)", "orthogonal", sample)
    assert torch.equal(network.linear2.weight, base.linear2.weight)


def test_lsuv_leaves_a_layer_whose_bias_varies_too_much(sample):
    with pytest.warns(InitbenchWarning, match="lsuv found no scale for 'linear1'"):
        network = filled("mlp(depth=1)", "lsuv; name:linear1.bias=normal(std=3.0)", sample)
    assert torch.equal(network.linear1.weight, filled("mlp(depth=1)", "orthogonal", sample).linear1.weight)


needs_lsuv = pytest.mark.skipif(
    importlib.util.find_spec("lsuv") is None, reason="the package lsuv is not here: pip install 'lsuv>=0.3'"
)


@needs_lsuv
@pytest.mark.parametrize(
    ("model", "statistics"),
    [
        ("mlp(depth=6)", "batch"),
        ("cnn", "batch"),
        ("lenet", "batch"),
        ("resnet(depth=8)", "batch"),
        ("cnn(norm='batch')", "running"),
    ],
)
def test_lsuv_agrees_with_the_package_of_its_author(model, statistics, sample):
    import lsuv

    ours = filled(model, f"lsuv(tol=1e-5, statistics='{statistics}')", sample)
    theirs = filled(model, "orthogonal", sample)
    lsuv.lsuv_with_singlebatch(
        theirs, sample.inputs[0], std_tol=1e-5, max_attempts=20, do_orthonorm=False, verbose=False
    )
    # They divide by n - 1, so that the head of 1,280 outputs differs by 0.04 %.
    for name, value in weights(theirs).items():
        torch.testing.assert_close(value, dict(ours.named_parameters())[name].detach(), rtol=1e-3, atol=1e-6)


# Krähenbühl et al.


def units(output):
    return output.movedim(1, 0).flatten(1)


@pytest.mark.parametrize("model", ["mlp(depth=4)", "cnn", "resnet(depth=8)", "lenet"])
def test_every_unit_has_mean_zero_and_unit_variance(model, digits, sample):
    network = quietly(model, "data_dependent(balance=False)", sample)
    varying = 0
    for name, output in outputs(network, sample.inputs).items():
        std, mean = torch.std_mean(units(output), dim=1, correction=0)
        alive = std > 1e-3
        varying += int(alive.sum())
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0, msg=name)
        torch.testing.assert_close(std[alive], torch.ones(int(alive.sum())), atol=1e-4, rtol=0, msg=name)
    assert varying > 50


def test_units_of_grouped_and_transposed_convolutions_too(sample):
    seen = outputs(filled_own("data_dependent(balance=False)", sample), sample.inputs)
    for name in ("grouped", "up"):
        std, mean = torch.std_mean(units(seen[name]), dim=1, correction=0)
        torch.testing.assert_close(std, torch.ones_like(std), atol=1e-4, rtol=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    std = units(seen["entry"]).std(1, correction=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-4, rtol=0)


def ratios(network, sample):
    """‖gradient‖/‖W‖ of each weight for a random linear functional of the outputs, over many of them."""
    squares, generator = None, torch.Generator().manual_seed(99)
    weight = [value for value in network.parameters() if value.dim() > 1]
    for _ in range(10):
        output = network(*sample.inputs)
        eta = torch.randn(output.shape, generator=generator)
        found = torch.tensor([g.square().sum() for g in torch.autograd.grad((output * eta).sum(), weight)])
        squares = found if squares is None else squares + found
    return squares.sqrt() / torch.stack([value.detach().norm() for value in weight])


@pytest.mark.parametrize("model", ["mlp(depth=6)", "cnn", "lenet"])
def test_gradient_ratios_are_balanced_and_the_output_keeps_its_scale(model, sample):
    within, between = (quietly(model, f"data_dependent(balance={balance})", sample) for balance in (False, True))
    spreads = [float(ratios(network, sample).log().std()) for network in (within, between)]
    assert spreads[0] > 0.3
    assert spreads[1] < 0.15  # other η than those it saw: some percent
    seen, before = (outputs(network, sample.inputs) for network in (between, within))
    torch.testing.assert_close(seen["head"], before["head"], rtol=1e-2, atol=1e-2)
    for output in seen.values():
        std, mean = torch.std_mean(units(output), dim=1, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3 * float(std.max()), rtol=0)
        alive = std[std > 1e-3]
        torch.testing.assert_close(alive, alive.mean().expand_as(alive), rtol=1e-3, atol=0)


def test_balancing_never_ends_further_from_balance(sample):
    within, between = (
        quietly("resnet(depth=8)", f"data_dependent(balance={balance})", sample) for balance in (False, True)
    )
    assert float(ratios(between, sample).log().std()) <= float(ratios(within, sample).log().std()) + 0.05


def test_without_gradients_there_is_nothing_to_balance_and_it_says_so(sample):
    with pytest.warns(InitbenchWarning, match="did not balance gradients"):
        filled("mlp(depth=2)", "data_dependent; head=zeros", sample)


@pytest.mark.parametrize("balance", [False, True])
def test_a_bias_is_the_mean_of_units_in_their_deviations(balance, sample):
    """magic_init: b ← -μ/σ + 0.1."""
    network = filled("mlp(depth=4)", f"data_dependent(balance={balance}, bias=0.1)", sample)
    for output in outputs(network, sample.inputs).values():
        std, mean = torch.std_mean(units(output), dim=1, correction=0)
        torch.testing.assert_close(mean / std, torch.full_like(mean, 0.1), atol=1e-4, rtol=0)
        if not balance:
            torch.testing.assert_close(std, torch.ones_like(std), atol=1e-4, rtol=0)


def test_units_of_constant_output_keep_their_scale(sample):
    with pytest.warns(InitbenchWarning, match="units of constant output in 'head'"):
        network = filled("mlp(depth=1)", "data_dependent(balance=False); name:linear1.weight=zeros", sample)
    assert torch.equal(network.head.weight, filled("mlp(depth=1)", "normal", sample).head.weight)


# AutoInit


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid", "leaky_relu", "selu", "identity"])
def test_outputs_of_wide_layers_have_variance_one_whatever_the_activation(activation):
    noise = Sample((torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)),))
    network = filled(f"mlp(depth=4, width=1024, activation='{activation}')", "autoinit(base='normal')", noise)
    for name, output in outputs(network, noise.inputs).items():
        if name != "head":  # ten units do not average
            assert float((output**2).mean()) == pytest.approx(1.0, rel=0.1), name


def test_scales_are_the_closed_form():
    network = filled("mlp(depth=2, width=512)", "autoinit(base='normal')", Sample((torch.zeros(1, 1, 8, 8),)))
    assert network.linear1.weight.square().mean().item() * 64 == pytest.approx(1.0, rel=1e-4)
    assert network.linear2.weight.square().mean().item() * 512 == pytest.approx(2.0, rel=1e-4)  # He et al. 2015


def test_it_reads_shapes_and_no_values(sample):
    read, other = (quietly("cnn", "autoinit", Sample(inputs)) for inputs in (sample.inputs, (torch.zeros(3, 1, 8, 8),)))
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(read).items())


class Steps(nn.Module):
    """A convolution, what is asked about, and a convolution that shows it by its scale."""

    def __init__(self, between, outputs=256):
        super().__init__()
        self.entry, self.between = nn.Conv2d(64, 256, 1), between
        self.exit = nn.Conv2d(outputs, 256, 1)

    def forward(self, x):
        return self.exit(self.between(self.entry(x)))


@pytest.mark.parametrize(("pooling", "moment"), [("exact", 1.5460), ("normal", 1.1674)])
def test_pooling_after_relu_has_the_law_that_is_asked_for(pooling, moment):
    """E[x²] of the largest of four relu(z), and of four normal values of their mean and variance."""
    draws = torch.randn(4, 200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = (
        draws.relu() if pooling == "exact" else math.sqrt(1 / (2 * math.pi)) + draws * math.sqrt(0.5 - 0.5 / math.pi)
    )
    assert float(values.amax(0).square().mean()) == pytest.approx(moment, rel=0.01)
    network = filled(
        Steps(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))),
        f"autoinit(base='normal', pooling='{pooling}')",
        Sample((torch.zeros(1, 64, 8, 8),)),
    )
    assert network.exit.weight.square().mean().item() * 256 == pytest.approx(1 / moment, rel=3e-3)


class Residual(nn.Module):
    def forward(self, x):
        return functional.relu(x) + torch.tanh(x) * 0.5


BETWEEN = {
    "max-pooling": nn.MaxPool2d(2),
    "ReLU then max-pooling": nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
    "mean-pooling": nn.Sequential(nn.ReLU(), nn.AvgPool2d(4)),
    "global mean-pooling": nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    "batch normalization": nn.Sequential(nn.Hardtanh(0, 5), nn.BatchNorm2d(256)),
    "layer normalization": nn.Sequential(nn.ReLU(), nn.GroupNorm(1, 256)),
    "parametric": nn.PReLU(256, init=0.4),
    "in place": nn.ReLU(inplace=True),
    "softplus": nn.Softplus(),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_the_law_goes_through(between):
    noise = Sample((torch.randn(30, 64, 8, 8, generator=torch.Generator().manual_seed(0)),))
    network = filled(Steps(BETWEEN[between]), "autoinit(base='normal')", noise)
    with torch.no_grad():
        assert float((network(*noise.inputs) ** 2).mean()) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Conv2d(64, 256, 3, padding=1),
        lambda: nn.Conv2d(64, 256, 3, padding=2, dilation=2, stride=2, groups=8),
        lambda: nn.ConvTranspose2d(64, 256, 3, stride=2, groups=4),
    ],
)
def test_the_inputs_that_reach_an_output_are_counted(build):
    noise = Sample((torch.randn(50, 64, 8, 8, generator=torch.Generator().manual_seed(0)),))
    layer = filled(build(), "autoinit(base='normal')", noise)
    assert layer(*noise.inputs).square().mean().item() == pytest.approx(1.0, rel=0.1)


def test_autoinit_says_where_there_is_no_signal():
    with pytest.warns(InitbenchWarning, match="autoinit found no scale for 'linear2', 'head'"):
        filled("mlp(depth=2)", "autoinit; name:linear1.weight=zeros", Sample((torch.zeros(1, 1, 8, 8),)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_inputs_have_the_precision_of_the_model(scheme, dtype, sample):
    model = build_model("mlp(depth=2)", SHAPE, CLASSES).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)
        initialize(model, scheme, batch=sample.inputs[0].to(dtype), labels=sample.labels)
    assert all(value.isfinite().all() for value in model.parameters())


def test_tied_weights_of_another_order_are_adjusted_without_a_batch_too(sample):
    model = filled(Own().eval(), "lsuv", sample)
    assert float(outputs(model, sample.inputs)["again"].std()) == pytest.approx(1.0, abs=1e-3)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(50, 64), nn.Linear(64, 512)
        self.head = nn.Linear(512, 10)

    def forward(self, tokens):
        return self.head(functional.relu(self.hidden(self.embedding(tokens).mean(1))))


@pytest.mark.parametrize("scheme", one_in(2, PROCEDURES))
def test_inputs_may_be_indices(scheme):
    tokens = torch.randint(50, (40, 7), generator=torch.Generator().manual_seed(0))
    model = Tokens()
    embedding = model.embedding.weight.clone()
    quietly(model, scheme, Sample((tokens,), tokens[:, 0] % 10))
    assert torch.equal(model.embedding.weight, embedding)
    base = filled(Tokens(), base_of(scheme), Sample((tokens,)))
    changed = {
        name for name in ("hidden", "head") if not torch.equal(*(getattr(it, name).weight for it in (model, base)))
    }
    assert changed == ({"hidden"} if scheme == "sign_flip" else {"hidden", "head"})


# MetaInit


def quotient(network, rounds=5):
    generator, total = torch.Generator().manual_seed(7), 0.0
    for _ in range(rounds):
        images = torch.randn(32, 1, 8, 8, generator=generator)
        labels = torch.randint(10, (32,), generator=generator)
        loss = functional.cross_entropy(network(images), labels)
        total += gradient_quotient(loss, list(network.parameters())).item()
    return total / rounds


@pytest.mark.parametrize("model", ["mlp(depth=6)", "cnn", "resnet(depth=8)"])
def test_the_gradient_quotient_falls(model, sample):
    before, after = (quotient(filled(model, scheme, sample)) for scheme in ("xavier_normal", "metainit(steps=25)"))
    assert after < 0.8 * before


def test_the_gradient_quotient_is_the_formula():
    # g = cw + 2 and Hg = cg; the last entries are near their minimum, where ε counts.
    weight = torch.tensor([1.0, -2.0, 3.0, -4.00004, -3.99998], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([1.0, 0.5, 0.0, 0.5, 0.5], dtype=torch.float64)
    loss = (c * weight**2).sum() / 2 + 2 * weight.sum()
    g = c * weight.detach() + 2
    expected = ((g - c * g) / (g + 1e-5 * torch.tensor([1, 1, 1, -1, 1])) - 1).abs().mean()
    torch.testing.assert_close(gradient_quotient(loss, [weight]).detach(), expected)


def test_metainit_changes_norms_alone_and_looks_at_no_data(sample):
    network = filled("mlp(depth=2)", "metainit(steps=3)", sample)
    other = filled("mlp(depth=2)", "metainit(steps=3)", Sample((torch.zeros(128, 1, 8, 8),)))
    for name, base in weights(filled("mlp(depth=2)", "xavier_normal", sample)).items():
        assert torch.equal(weights(other)[name], weights(network)[name])
        if name.endswith("weight"):
            cosine = functional.cosine_similarity(weights(network)[name].flatten(), base.flatten(), dim=0)
            assert float(cosine) == pytest.approx(1.0, abs=1e-5)


def test_metainit_stops_where_the_quotient_is_not_finite(sample):
    with pytest.warns(InitbenchWarning, match="metainit stopped at step 1 of 5"):
        network = filled("mlp(depth=30)", "metainit(base='normal(std=30.0)', steps=5)", sample)
    assert all(value.isfinite().all() for value in weights(network).values())


# GradInit


def after_one_step(network, sample, eta=0.1):
    """The loss after one step of SGD, and the norm of the gradient before."""
    parameters = list(network.parameters())
    found = torch.autograd.grad(functional.cross_entropy(network(*sample.inputs), sample.labels), parameters)
    stepped = copy.deepcopy(network)
    with torch.no_grad():
        for value, gradient in zip(stepped.parameters(), found, strict=True):
            value.sub_(eta * gradient)
        loss = functional.cross_entropy(stepped(*sample.inputs), sample.labels)
    return float(loss), float(torch.stack([gradient.square().sum() for gradient in found]).sum().sqrt())


@pytest.mark.parametrize(
    ("model", "base"), [("mlp(depth=4)", "torch_default"), ("cnn", "kaiming_normal"), ("cnn", "torch_default")]
)
def test_the_loss_after_one_step_falls(model, base, sample):
    before, _ = after_one_step(filled(model, base, sample), sample)
    after, norm = after_one_step(filled(model, f"gradinit(base='{base}', steps=30)", sample), sample)
    assert after < before - 0.01
    assert norm < 1.5


def test_a_gradient_that_is_too_large_is_brought_down_to_gamma(sample):
    for gamma in (0.5, 2.0):
        scheme = f"gradinit(base='orthogonal(gain=2.0)', steps=60, gamma={gamma})"
        _, before = after_one_step(filled("mlp(depth=4)", "orthogonal(gain=2.0)", sample), sample)
        _, after = after_one_step(filled("mlp(depth=4)", scheme, sample), sample)
        assert before > 5
        assert after == pytest.approx(gamma, rel=0.5)


def scales_of_the_authors_program(network, sample, steps, lr=0.03, eta=0.1, gamma=1.0):
    """The scales that GradInit's program learns: parameters are rescaled in place, and Adam is written out."""
    keyed = generator(0, "adjust")
    torch.randint(2**62, (), generator=keyed)  # seeds the global generator
    images, labels = sample.inputs[0], sample.labels
    size = 2 * len(labels) // 3
    parameters = list(network.parameters())
    alpha, first, second = [1.0] * len(parameters), {True: [0.0] * 99, False: [0.0] * 99}, [0.0] * 99
    count = {True: 0, False: 0}
    for _ in range(steps):
        order = torch.randperm(len(labels), generator=keyed)
        one, other = order[:size], order[size // 2 :][:size]
        loss = functional.cross_entropy(network(images[one]), labels[one])
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        norm = torch.stack([g.square().sum() for g in found]).sum().sqrt()
        within = float(norm.detach()) <= gamma
        if within:
            names = [name for name, _ in network.named_parameters()]
            moved = {n: p - eta * (g / norm).detach() for n, p, g in zip(names, parameters, found, strict=True)}
            objective = functional.cross_entropy(functional_call(network, moved, images[other]), labels[other]) / eta
        else:
            objective = norm
        gradients = torch.autograd.grad(objective, parameters)
        count[within] += 1
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            slope = max(-1.0, min(1.0, float((g * p.detach()).sum()) / alpha[i]))
            first[within][i] = 0.9 * first[within][i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            root = math.sqrt(second[i] / (1 - 0.999 ** sum(count.values())))
            new = max(alpha[i] - lr * first[within][i] / (1 - 0.9 ** count[within]) / (root + 1e-8), 0.01)
            with torch.no_grad():
                p.mul_(new / alpha[i])
            alpha[i] = new
    return alpha, count


def test_gradinit_in_the_official_form_is_what_the_authors_program_computes(sample):
    base = "scaled('torch_default', 2.0)"
    network = filled("mlp(depth=2)", base, sample)
    before = weights(network)
    alpha, count = scales_of_the_authors_program(network, sample, steps=12)
    assert min(count.values()) > 2  # both objectives took part
    ours = weights(filled("mlp(depth=2)", f'gradinit(base="{base}", steps=12, official=True)', sample))
    for scale, (name, value) in zip(alpha, before.items(), strict=True):
        torch.testing.assert_close(ours[name], scale * value, rtol=1e-4, atol=1e-6)


def test_gradinit_gives_each_tensor_one_positive_scale(sample):
    network = weights(filled("mlp(depth=2)", "gradinit(base='torch_default', steps=5)", sample))
    for name, base in weights(filled("mlp(depth=2)", "torch_default", sample)).items():
        scales = network[name] / base
        assert float(scales.min()) > 0
        torch.testing.assert_close(scales, scales.mean().expand_as(scales))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((128,), 10), "labels from 0 to 9"),
        (torch.full((128,), -1), "labels from 0 to 9"),
        (torch.zeros(7, dtype=torch.long), "a label for each of the 128 inputs, and got 7"),
        (torch.zeros(128), "labels from 0 to 9"),
        (None, "give a batch of inputs, and labels"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, message, sample):
    with pytest.raises(UsageError, match=message):
        filled("mlp(depth=2)", "gradinit", Sample(sample.inputs, labels))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1)), x


@pytest.mark.parametrize("scheme", ["data_dependent", "metainit(steps=2)", "gradinit(steps=2)"])
def test_what_needs_gradients_needs_one_tensor(scheme, sample):
    with pytest.raises(UsageError, match="needs a model that returns one tensor, and Pair returns a tuple"):
        quietly(Pair(), scheme, sample)


@pytest.mark.parametrize("scheme", ["lsuv", "sign_flip", "autoinit", "data_dependent(balance=False)"])
def test_what_needs_none_takes_any_output(scheme, sample):
    assert quietly(Pair(), scheme, sample).layer.weight.isfinite().all()


# Rister & Rubin


def alive(network, sample):
    """The share of images that some unit of the last hidden layer is active for."""
    seen = {}
    handle = network.head.register_forward_pre_hook(lambda _module, given: seen.update(last=given[0]))
    with torch.no_grad():
        network(*sample.inputs)
    handle.remove()
    return float((seen["last"] > 0).any(1).double().mean())


@pytest.mark.parametrize(("width", "depth"), [(1, 4), (2, 6), (3, 10)])
def test_flipping_keeps_at_least_two_to_the_minus_depth_of_the_data_alive(width, depth, sample):
    model = f"mlp(depth={depth}, width={width})"
    before, after = (
        [alive(quietly(model, scheme, sample, seed), sample) for seed in range(20)]
        for scheme in ("kaiming_normal", "sign_flip")
    )
    assert min(after) >= 2**-depth
    assert min(before) == 0
    assert sum(after) > 1.2 * sum(before)


def test_signs_alone_change_and_whole_units_at_once(sample):
    network, base = (weights(filled_own(scheme, sample)) for scheme in ("sign_flip", "kaiming_normal"))
    filled_names = {layer.weight for layer in weighted_layers(Own(), sample.inputs)}
    assert all(torch.equal(network[name].abs(), base[name].abs()) for name in filled_names & network.keys())
    signs = network["up.weight"].sign() * base["up.weight"].sign()  # (in, out of a group, 2, 2), in two groups
    assert all((block == block[:1, :, :1, :1]).all() for block in signs.chunk(2))


def test_flipping_is_by_the_rule_unit_by_unit():
    layer = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    inputs = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])  # the last is not alive
    initialize(layer, "sign_flip(base='normal')", seed=3, batch=inputs)
    base = initialize(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), "normal", seed=3)
    with torch.no_grad():
        dead = (base[0](inputs) <= 0)[:3].sum(0) > 1.5
    assert dead.any()
    assert not dead.all()
    assert torch.equal((layer[0].weight[:, 0] != base[0].weight[:, 0]), dead)
    assert torch.equal(layer[2].weight, base[2].weight)  # no ReLU after it


def test_a_functional_relu_in_place_is_overheard_as_well(sample):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.head = nn.Linear(64, 2), nn.Linear(2, 10)

        def forward(self, x):
            x = self.one(x.flatten(1))
            torch.relu_(x)
            return self.head(x)

    networks = [quietly(InPlace(), "sign_flip", sample, seed) for seed in range(10)]
    assert min(alive(network, sample) for network in networks) >= 0.5


def test_sign_flip_says_when_it_found_no_relu(sample):
    with pytest.warns(InitbenchWarning, match="no layer whose output goes directly into a ReLU"):
        filled("mlp(depth=2, activation='tanh')", "sign_flip", sample)


# Training, and the cost


def trial(digits, scheme, **changes):
    values = {
        "model": "mlp(depth=20, width=64, activation='relu')", "dataset": digits.name, "scheme": scheme,
        "fingerprint": digits.fingerprint, "optimizer": "sgd", "lr": 0.02, "batch_size": 64, "steps": 150, "seed": 1,
    }  # fmt: skip
    return Trial(**(values | changes))


def test_lsuv_makes_a_deep_network_learn_and_its_cost_is_on_record(digits):
    learned, stuck = (
        engines.train([trial(digits, scheme)], digits, lambda _group, _step: None)[0]
        for scheme in ("lsuv", "torch_default")
    )
    assert learned.outcome.status == stuck.outcome.status == "finished"
    assert learned.final.test_accuracy > 0.5
    assert stuck.final.test_accuracy < 0.2
    assert stuck.initialization_steps == 0
    assert learned.initialization_steps == pytest.approx(2 * INITIALIZATION_IMAGES / (3 * 64))


def test_compare_runs_them_beside_the_others(tmp_path):
    comparison = initbench.compare(
        schemes=["lsuv", "autoinit", "kaiming_normal"], model="mlp(depth=3)", steps=20, seeds=2, out=tmp_path
    )
    assert set(comparison.trials["outcome"]) == {"finished"}


@pytest.mark.parametrize(
    ("scheme", "forward", "backward"),
    [
        ("lsuv", 256, 0),
        ("sign_flip", 128, 0),
        ("autoinit", 2, 0),
        ("data_dependent(balance=False)", 256, 0),
        ("metainit(steps=4)", 4 * 32, 4 * 32 * 13),
    ],
)
def test_costs_are_what_the_pages_say(scheme, forward, backward, sample):
    passes = cost("mlp(depth=3)", scheme, sample)
    assert (passes.forward, passes.backward) == (forward, backward)
