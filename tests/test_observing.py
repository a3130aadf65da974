"""Any nn.Module: what is measured against brute force, what is predicted against draws, what is left as it was."""

import math

import numpy as np
import pytest
import torch
from long_form import one_in
from torch import nn
from torch.nn import functional

import initbench
from initbench import inspect
from initbench.analysis.step_zero.agreement import agreements
from initbench.core.randomness import isolated
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.schemes import assign, fill_model, parse_scheme
from initbench.signals import Batch, observe, weight_moments

SHAPE = (1, 8, 8)
IMAGES = torch.randn(48, *SHAPE, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(48) % 10


def filled(model, scheme, seed=0):
    assignments = assign(parse_scheme(scheme), weighted_layers(model))
    fill_model(model, assignments, seed)
    return model, weight_moments(model, assignments)


def seen(model, scheme, seed=0, inputs=IMAGES, labels=LABELS):
    model, laws = filled(model, scheme, seed)
    return observe(model, Batch((inputs,) if isinstance(inputs, torch.Tensor) else inputs, labels), laws)


class Functional(nn.Module):
    """No activation is a module, one Linear is used twice, one never."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, stride=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.linear = nn.Linear(256, 32)
        self.again = nn.Linear(32, 32)
        self.head = nn.Linear(32, 10)
        self.never = nn.Linear(3, 3)

    def forward(self, x):
        x = functional.relu(self.conv(x))
        x = functional.relu(self.up(x), inplace=True)
        x = self.linear(x.flatten(1)).relu()
        x = torch.relu(self.again(x))
        x = self.again(x).relu_()
        return self.head(x)


class Tokens(nn.Module):
    """Embedding, attention, normalization, a parameter that is added: only the Linears have closed forms."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.place = nn.Parameter(torch.zeros(6, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens):
        return self.head(self.block(self.embedding(tokens) + self.place).mean(1))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(5, 16), nn.Linear(7, 16), nn.Linear(16, 3)

    def forward(self, left, right):
        return self.head(functional.relu(self.left(left) + self.right(right)))


class Volume(nn.Module):
    """Conv1d and Conv3d, dilation, groups, asymmetric padding, dropout, a normalized weight."""

    def __init__(self):
        super().__init__()
        self.conv3 = nn.Conv3d(2, 4, 3, padding=1, groups=2)
        self.conv1 = nn.Conv1d(4, 6, 3, dilation=2)
        self.drop = nn.Dropout(0.25)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(6 * 60, 10))

    def forward(self, x):
        x = functional.relu(self.conv3(x)).flatten(2)
        x = functional.pad(x, (0, 0))
        return self.head(self.drop(functional.leaky_relu(self.conv1(x), 0.2)).flatten(1))


def test_every_call_that_uses_weights_is_a_row_in_order_of_execution():
    step_zero = seen(Functional(), "kaiming_normal")
    assert [layer.layer for layer in step_zero.layers] == ["conv", "up", "linear", "again", "again#2", "head"]
    assert [layer.kind for layer in step_zero.layers] == ["conv", "conv", "linear", "linear", "linear", "linear"]
    assert [layer.nonlinearity for layer in step_zero.layers] == ["relu"] * 5 + ["linear"]
    assert step_zero.unused == ("never.weight", "never.bias")


def test_functional_activations_and_a_layer_used_twice_are_measured_as_by_hand():
    model, _ = filled(Functional(), "kaiming_normal; bias=normal(std=0.1)")
    step_zero = observe(model, Batch((IMAGES,), LABELS), {})
    z1 = model.conv(IMAGES)
    z2 = model.up(z1.relu())
    z3 = model.linear(z2.relu().flatten(1))
    z4 = model.again(z3.relu())
    z5 = model.again(z4.relu())
    logits = model.head(z5.relu())
    loss = functional.cross_entropy(logits, LABELS)
    outputs = [z1, z2, z3, z4, z5, logits]
    gradients = torch.autograd.grad(loss, [*outputs, model.again.weight])
    for layer, z, gradient in zip(step_zero.layers, outputs, gradients[:-1], strict=True):
        assert layer.forward_moment == pytest.approx(float(z.detach().square().mean()), rel=1e-4)
        assert layer.forward_std == pytest.approx(float(z.detach().std(correction=0)), rel=1e-4)
        assert layer.gradient_moment == pytest.approx(float(gradient.square().mean()), rel=1e-4)
    assert step_zero.layers[3].activation_moment == pytest.approx(float(z4.detach().relu().square().mean()), rel=1e-4)
    shared = float(gradients[-1].square().mean())
    assert [step_zero.layers[i].weight_gradient_moment for i in (3, 4)] == pytest.approx([shared, shared], rel=1e-4)
    assert step_zero.network.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert step_zero.network.logit_std == pytest.approx(float(logits.detach().std(correction=0)), rel=1e-4)


def test_the_jacobian_is_that_of_torch_func():
    model, laws = filled(build_model("mlp(depth=3, width=16)", SHAPE, 10), "kaiming_normal")
    network = observe(model, Batch((IMAGES,), LABELS), laws).network
    jacobians = torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(IMAGES[:8]).detach().flatten(2)
    singular = torch.linalg.svdvals(jacobians)
    assert network.jacobian_max == pytest.approx(float(singular.amax(dim=1).mean()), rel=1e-4)
    assert network.jacobian_mean == pytest.approx(float(singular.mean()), rel=1e-4)
    assert network.jacobian_min == pytest.approx(float(singular.amin(dim=1).mean()), rel=1e-3, abs=1e-5)


def test_a_second_use_of_weights_is_measured_and_not_predicted():
    rows = {layer.layer: layer for layer in seen(Functional(), "kaiming_normal").layers}
    assert rows["again"].forward_moment_predicted is not None
    assert rows["again#2"].forward_moment_predicted is None
    assert rows["head"].predicted_from == "the weights of again#2", (
        "after it the prediction starts from the measured signal"
    )


def test_tokens_attention_and_normalization_are_measured_and_said_to_be_so():
    tokens = torch.randint(50, (32, 6), generator=torch.Generator().manual_seed(0))
    model = Tokens()
    step_zero = observe(model, Batch((tokens,), torch.arange(32) % 4), weight_moments(model, []))
    kinds = {layer.layer: layer.kind for layer in step_zero.layers}
    assert kinds["embedding"] == "embedding"
    assert kinds["block.self_attn"] == "attention"
    assert kinds["block.norm1"] == "norm"
    assert kinds["block.linear1"] == "linear"
    predicted = {layer.layer for layer in step_zero.layers if layer.forward_moment_predicted is not None}
    assert predicted == {"block.linear1", "block.linear2", "head"}
    assert step_zero.network.jacobian_max is None, "tokens have no derivative"


def test_several_inputs_and_a_sum_of_branches_are_predicted():
    left, right = (torch.randn(64, n, generator=torch.Generator().manual_seed(n)) for n in (5, 7))
    runs = [seen(TwoInputs(), "kaiming_normal", s, (left, right), torch.arange(64) % 3).layers for s in range(60)]
    assert [layer.predicted_from for layer in runs[0]] == ["input"] * 3
    head = np.array([run[2].forward_moment for run in runs])
    # E of a sum of two independent branches: 2·(M_left + M_right)/2 behind the ReLU.
    expected = float(2 * left.square().mean() + 2 * right.square().mean())
    assert runs[0][2].forward_moment_predicted == pytest.approx(expected, rel=1e-5)
    assert abs(head.mean() - expected) < 4 * head.std(ddof=1) / math.sqrt(len(head))


def test_an_output_that_is_no_logits_has_a_gradient_and_no_loss():
    step_zero = seen(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh()), "xavier_normal", labels=None)
    assert step_zero.network.loss is None
    assert step_zero.network.classes is None
    assert step_zero.layers[0].gradient_moment > 0


class HandMadeSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.sigmoid() + x * x.sigmoid() * (1 - x.sigmoid()))


class Mapped(nn.Module):
    """Two Linears with a map between them."""

    def __init__(self, act):
        super().__init__()
        self.inner, self.outer, self.act = nn.Linear(64, 64), nn.Linear(64, 10), act

    def forward(self, x):
        return self.outer(self.act(self.inner(x.flatten(1))))


MAPS = {
    "silu": [lambda z: z * torch.sigmoid(z), HandMadeSilu.apply, nn.SiLU()],
    "gelu": [lambda z: 0.5 * z * (1 + torch.tanh(0.7978845608 * (z + 0.044715 * z**3))), nn.GELU("tanh")],
    "relu": [lambda z: z * (z > 0), lambda z: torch.maximum(z, torch.zeros(())), lambda z: (z + z.abs()) / 2],
    "relu → pow": [lambda z: functional.relu(z) ** 2],
    "relu6": [nn.ReLU6()],
    "prelu": [nn.PReLU()],
    "mish": [nn.Mish()],
    "relu → mul": [lambda z: torch.relu(z) * 1.7],
    "linear": [nn.Identity(), nn.Dropout(0.0)],
}


@pytest.mark.parametrize(("name", "act"), [(name, act) for name, acts in MAPS.items() for act in acts])
def test_the_map_after_a_layer_is_known_by_what_it_does(name, act):
    model, laws = filled(Mapped(act), "normal(std=0.2)")
    layer = observe(model, Batch((IMAGES,), LABELS), laws).layers[0]
    assert layer.nonlinearity == name
    z = model.inner(IMAGES.flatten(1))
    x = act(z).detach()
    if name != "linear":
        assert layer.activation_moment == pytest.approx(float(x.square().mean()), rel=1e-5)
    if "relu" in name and "pr" not in name:
        assert layer.dead_fraction == pytest.approx(float((x == 0).all(dim=0).float().mean()))


def test_an_error_inside_a_model_quotes_the_models_own_line():
    with pytest.raises(UsageError, match=r"mat1 and mat2 .*test_observing\.py, line \d+: return self\.outer"):
        seen(Mapped(lambda z: z[:, :3]), "kaiming_normal")


class Computed(nn.Linear):
    """A layer whose product takes what `how` makes of its weight."""

    def __init__(self, inputs, outputs, how):
        super().__init__(inputs, outputs)
        self.how, self.down = how, nn.Parameter(torch.randn(2, inputs))

    def forward(self, x):
        return functional.linear(x, self.how(self.weight, self.down), self.bias)


@pytest.mark.parametrize(
    ("how", "known"),
    [
        (lambda weight, _: weight * 30, True),
        (lambda weight, _: weight / weight.norm(), True),
        (lambda weight, down: weight + torch.ones(len(weight), 2) @ down, False),  # of low rank: no independent entries
        (lambda weight, _: (weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True), False),
        (lambda weight, _: weight.tril(), False),
        (lambda weight, _: weight * torch.linspace(0.5, 2, len(weight))[:, None], False),
        (lambda weight, _: weight.sign() / 8, True),
        (lambda weight, _: (weight.data.mul_(3), weight)[1], False),  # the declared law is no longer its own
        (lambda weight, _: (weight.data.mul_(torch.randn(64, 1).sign()), weight)[1], False),
    ],
)
def test_a_prediction_is_of_the_tensor_in_the_product_or_there_is_none(how, known):
    with isolated(0):
        body = [layer for _ in range(3) for layer in (Computed(64, 64, how), nn.ReLU())]
        model = nn.Sequential(nn.Flatten(), *body, nn.Linear(64, 10))
    runs = [seen(model, "normal(std=0.1)", seed) for seed in range(12)]
    found = [one for one in agreements(runs) if one.moment == "forward_moment" and one.layer != "7"]
    assert len(found) == (3 if known else 0)
    assert all(one.inside for one in found)


class Map(nn.Module):
    """A map between layers, whatever it is made of."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (torch.relu, True),
        (lambda z: z + z, False),
        (lambda z: z + torch.tanh(z), False),
        (lambda z: 0.1 * z + 0.9 * torch.relu(z), False),
        (lambda z: torch.relu(z) ** 2, False),
    ],
)
def test_the_slope_of_a_map_has_a_law_or_the_gradient_is_not_predicted_through_it(function, known):
    body = [layer for _ in range(4) for layer in (nn.Linear(64, 64), Map(function))]
    runs = [seen(nn.Sequential(nn.Flatten(), *body, nn.Linear(64, 10)), "kaiming_normal", seed) for seed in range(8)]
    found = agreements(runs)
    assert all(one.inside for one in found)
    assert sum(one.moment == "forward_moment" for one in found) == 5
    assert sum(one.moment == "gradient_moment" for one in found) == (4 if known else 0)


class Summed(nn.Module):
    """A skip, a projected skip, and a sum with what is made of the same layer's output."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.shortcut, self.deep, self.inner = (nn.Linear(64, 64) for _ in range(5))
        self.same, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x.flatten(1)))
        x = x + self.branch(x)
        x = self.shortcut(x) + self.deep(torch.relu(self.inner(x)))
        z = self.same(torch.relu(x))
        return self.head(z + torch.relu(z))


def test_a_sum_has_a_law_where_its_terms_do_not_depend_on_the_same_weights():
    runs = [seen(Summed(), "kaiming_normal", seed) for seed in range(8)]
    found = agreements(runs)
    assert all(one.inside for one in found)
    assert {one.layer for one in found if one.moment == "gradient_moment"} == {
        "stem", "branch", "shortcut", "deep", "inner",
    }  # fmt: skip
    assert {layer.layer: layer.predicted_from for layer in runs[0].layers}["head"] == "add"


CONVOLUTIONS = {
    "zero padding": (lambda: nn.Conv2d(1, 16, 3, padding=1), SHAPE),
    "stride": (lambda: nn.Conv2d(1, 16, 3, stride=2, padding=1), SHAPE),
    "dilation": (lambda: nn.Conv2d(1, 16, 3, dilation=2, padding=2), SHAPE),
    "reflection": (lambda: nn.Conv2d(1, 16, 3, padding=1, padding_mode="reflect"), SHAPE),
    "same": (lambda: nn.Conv2d(1, 16, 3, padding="same"), SHAPE),
    "groups": (lambda: nn.Conv2d(4, 16, 3, padding=1, groups=4), (4, 8, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 16, 3, stride=2, padding=1, output_padding=1), (4, 8, 8)),
    "transposed groups": (lambda: nn.ConvTranspose2d(4, 16, 3, groups=2), (4, 8, 8)),
    "1-D": (lambda: nn.Conv1d(3, 16, 5, padding=2), (3, 20)),
    "3-D": (lambda: nn.Conv3d(2, 16, 3, padding=1), (2, 4, 4, 4)),
}


@pytest.mark.parametrize("case", one_in(3, CONVOLUTIONS))
def test_the_law_of_every_convolution_holds_forward_and_backward(case):
    """Two of them with a ReLU, then a Linear: means over 40 draws within four standard errors of the prediction."""
    build, shape = CONVOLUTIONS[case]
    images = torch.randn(32, *shape, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 2, shape[-1])
    with torch.no_grad():
        size = build()(images).flatten(1).shape[1]
    model = nn.Sequential(build(), nn.ReLU(), nn.Flatten(), nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 10))
    runs = [seen(model, "kaiming_normal; bias=normal(std=0.2)", s, images, torch.arange(32) % 10) for s in range(40)]
    for i in range(3):
        for column, slack in (("forward_moment", 0.01), ("gradient_moment", 0.08))[: 1 if i == 2 else 2]:
            ratio = [getattr(r.layers[i], column) / getattr(r.layers[i], f"{column}_predicted") for r in runs]
            error = np.std(ratio, ddof=1) / math.sqrt(len(ratio))
            assert abs(np.mean(ratio) - 1) < 4 * error + slack, (i, column, np.mean(ratio), error)


ACTIVATIONS = ["relu", "leaky_relu", "tanh", "sigmoid", "selu", "gelu", "silu", "elu", "identity"]


@pytest.mark.parametrize("activation", one_in(4, ACTIVATIONS))
def test_the_law_of_every_activation_holds_forward_backward_and_between_images(activation):
    """Wide layers, for the integrals are limits of width."""
    model = build_model(f"mlp(depth=3, width=256, activation='{activation}')", SHAPE, 10)
    runs = [seen(model, "kaiming_normal; bias=constant(0.1)", seed) for seed in range(24)]
    for i in range(4):
        for column in ("forward_moment", "gradient_moment")[: 1 if i == 3 else 2]:  # the head's gradient is the start
            ratio = [getattr(r.layers[i], column) / getattr(r.layers[i], f"{column}_predicted") for r in runs]
            error = np.std(ratio, ddof=1) / math.sqrt(len(ratio))
            assert abs(np.mean(ratio) - 1) < 4 * error + 0.05, (i, column, np.mean(ratio))
        cosines = np.array([r.layers[i].cosine for r in runs])
        assert abs(cosines.mean() - runs[0].layers[i].cosine_predicted) < 0.05 + 4 * cosines.std(ddof=1) / 5


def test_dropout_padding_groups_and_a_normalized_weight():
    volume = torch.randn(40, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with isolated(0):
        model = Volume()
    seen_once = observe(model, Batch((volume,), torch.arange(40) % 10), weight_moments(model, []))
    by_name = {layer.layer: layer for layer in seen_once.layers}
    assert {"conv3", "conv1"} <= set(by_name)
    assert by_name["conv1"].forward_moment == pytest.approx(by_name["conv1"].forward_moment_predicted, rel=0.6)
    head = next(layer for name, layer in by_name.items() if name.startswith("head"))
    assert head.kind == "linear", "a weight made of parameters is still the layer's"


@pytest.mark.parametrize("model_text", list(MODELS))
@pytest.mark.parametrize("scheme", ["kaiming_normal", "torch_default", "orthogonal", "zeros", "constant(0.1)"])
def test_every_model_can_be_seen_with_any_scheme(model_text, scheme):
    step_zero = seen(build_model(model_text, SHAPE, 10), scheme)
    model = build_model(model_text, SHAPE, 10)
    assert {layer.name for layer in weighted_layers(model)} <= {layer.layer for layer in step_zero.layers}
    assert step_zero.network.loss is not None
    assert not step_zero.unused


def test_zero_duplicate_antiparallel_rows_and_symmetric_units_are_counted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7, bias=False), nn.ReLU(), nn.Linear(7, 10, bias=False))
    with torch.no_grad():
        weight = model[1].weight
        weight[1] = 3 * weight[0]
        weight[2] = -0.5 * weight[0]
        weight[3] = 0
        weight[5] = weight[4]
        model[3].weight[:, 5] = model[3].weight[:, 4]
    layer = observe(model, Batch((IMAGES,), LABELS), {}).layers[0]
    assert (layer.zero_rows, layer.duplicate_rows, layer.antiparallel_rows) == (1, 4, 3)
    assert layer.symmetric_units == 2, "the twins 4 and 5: alike in output and gradient"


def test_large_random_layers_have_no_twins_by_accident():
    weight = torch.randn(3000, 64, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3000, bias=False), nn.ReLU(), nn.Linear(3000, 10))
    with torch.no_grad():
        model[1].weight.copy_(weight)
    layer = observe(model, Batch((IMAGES,), LABELS), {}).layers[0]
    assert (layer.zero_rows, layer.duplicate_rows, layer.antiparallel_rows, layer.symmetric_units) == (0, 0, 0, 0)


def test_dead_units_are_asked_about_more_images_than_the_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.ReLU(), nn.Linear(2, 10))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 0] = 1
        model[1].bias.copy_(torch.tensor([-5.0, -5.0]))
    more = [torch.zeros(16, *SHAPE), torch.full((16, *SHAPE), 9.0)]
    assert observe(model, Batch((IMAGES,), LABELS), {}).layers[0].dead_fraction == 1
    step_zero = observe(model, Batch((IMAGES,), LABELS, more), {})
    assert step_zero.layers[0].dead_fraction == 0.5
    assert step_zero.network.images_for_dead == len(IMAGES) + 32


class Noisy(nn.Module):
    """State of every kind that looking could disturb."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(144, 10))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.head(self.drop(self.norm(self.conv(x)).relu()).flatten(1))


def test_the_model_comes_back_unchanged():
    model = Noisy()
    model.conv.eval()
    model.conv.bias.requires_grad_(False)
    heard = []
    handle = model.norm.register_forward_hook(lambda *_: heard.append(1))
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rng, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is the point
    with pytest.warns(InitbenchWarning, match="parametrized head"):
        inspect(model, IMAGES, LABELS, schemes=["kaiming", "torch_default"], seeds=2)
    inspect(model, IMAGES)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.conv.weight.grad, torch.ones_like(model.conv.weight))
    assert not model.conv.bias.requires_grad
    assert model.calls == 0
    assert len(model.norm._forward_hooks) == 1
    assert handle.id in model.norm._forward_hooks
    assert torch.equal(rng, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002 - likewise


def test_the_same_numbers_every_time():
    model, laws = filled(Noisy(), "kaiming")
    first, second = (observe(model, Batch((IMAGES,), LABELS), laws) for _ in range(2))
    assert first == second


def test_half_precision_is_seen_too():
    model, laws = filled(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), "kaiming_normal")
    single = observe(model, Batch((IMAGES,), LABELS), laws).layers
    halved = observe(model.bfloat16(), Batch((IMAGES.bfloat16(),), LABELS), laws).layers
    assert halved[1].forward_moment == pytest.approx(single[1].forward_moment, rel=0.05)


def test_the_library_face_gives_a_row_a_layer_scheme_and_seed():
    model = build_model("cnn(depth=2, width=4)", SHAPE, 10)
    layers = inspect(model, IMAGES, LABELS, schemes=["kaiming", "xavier"], seeds=3).layers
    assert len(layers) == 3 * 2 * 3
    assert list(layers["scheme"].unique()) == ["kaiming_uniform", "xavier_uniform"]
    own = inspect(model, IMAGES).layers
    assert list(own["scheme"]) == ["as_built"] * 3
    expected = float(model.conv1(IMAGES).detach().square().mean())
    assert own["forward_moment"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.ReLU()), "no trainable"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False), "no trainable"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, device="meta")), "meta device"),
        (nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), "cannot take a batch of shape 48×1×8×8"),
        (nn.Sequential(nn.Linear(8, 4), nn.LazyConv3d(3, 9)), "has lazy modules and cannot take a batch of shape"),
    ],
)
def test_what_cannot_be_inspected_is_said_in_a_sentence(model, said):
    for schemes in (None, ["kaiming"]):
        with pytest.raises(UsageError, match=said):
            inspect(model, IMAGES, schemes=schemes)


def test_a_dictionary_that_a_network_does_not_take_is_said_with_its_shapes():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    batch = {"image": torch.randn(8, 1, 8, 8), "label": torch.zeros(8, dtype=torch.int64)}
    with pytest.raises(UsageError) as error:
        initbench.inspect(network, batch, schemes=["kaiming"])
    said = str(error.value)
    assert "batch of shape {'image': 8×1×8×8, 'label': 8}: it takes tensors and not a dictionary" in said
    assert said.endswith("for example batch['image'].")
