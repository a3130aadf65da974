"""What is heard of a forward pass: every use of a weight and every gradient, in networks of any kind."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from initbench.analysis.step_zero.checks import diagnose
from initbench.analysis.step_zero.inspection import Inspection, Observed
from initbench.signals import Batch, observe, weight_moments

IMAGES = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(32) % 10


def seen(model, seed=0):
    return observe(model, Batch((IMAGES,), LABELS), weight_moments(model, []), seed=seed)


class Queries(nn.Module):
    """Layers that never see the batch: of learned queries and of a hypernetwork."""

    def __init__(self):
        super().__init__()
        self.query, self.code = nn.Parameter(torch.randn(5, 64)), nn.Parameter(torch.randn(16))
        self.of_query, self.make, self.head = nn.Linear(64, 64), nn.Linear(16, 64 * 32), nn.Linear(37, 10)

    def forward(self, x):
        x = x.flatten(1)
        made = functional.linear(x, self.make(self.code).view(32, 64))
        return self.head(torch.cat([x @ self.of_query(self.query).T, torch.relu(made)], dim=1))


class Experts(nn.Module):
    """Each expert sees another number of rows; blocks are skipped at random in training."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(64, 4), nn.ModuleList(nn.Linear(64, 16) for _ in range(4))
        self.blocks, self.head = nn.ModuleList(nn.Linear(16, 16) for _ in range(4)), nn.Linear(16, 10)

    def forward(self, x):
        x, y = x.flatten(1), x.new_zeros(len(x), 16)
        chosen = self.gate(x).argmax(1)
        for i, expert in enumerate(self.experts):
            y[chosen == i] = torch.relu(expert(x[chosen == i]))  # of an expert without inputs, of no rows
        for block in self.blocks:
            if not self.training or random.random() < 0.5:  # noqa: S311 - a network's own draw
                y = y + torch.relu(block(y))
        return self.head(y)


class Checkpointed(nn.Module):
    def __init__(self, *, saved, reentrant=False):
        super().__init__()
        self.reentrant = reentrant
        self.layers, self.head, self.saved = (
            nn.ModuleList(nn.Linear(64, 64) for _ in range(3)),
            nn.Linear(64, 10),
            saved,
        )

    def forward(self, x):
        x = x.flatten(1)
        x = self.layers[0](x)
        for layer in self.layers:
            block = lambda t, layer=layer: torch.relu(layer(t))  # noqa: E731
            x = block(x) if self.saved else checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


def test_layers_fed_by_parameters_are_measured_like_all_others():
    model = Queries()
    step_zero = seen(model)
    rows = {layer.layer: layer for layer in step_zero.layers}
    assert rows.keys() == {"of_query", "make", "make#2", "head"}
    assert rows["make"].forward_moment == pytest.approx(float(model.make(model.code).detach().square().mean()))
    assert rows["of_query"].gradient_moment > 0
    assert rows["make"].cosine is None, "its one row is no image"
    assert step_zero.unused == step_zero.detached == ()


def test_whatever_has_a_gradient_is_used_and_a_layer_is_the_weight_that_multiplies():
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 10)))
    step_zero = seen(model)
    assert step_zero.unused == ()
    (layer,) = step_zero.layers
    assert (layer.layer, layer.fan_in) == ("1", 64)
    assert layer.weight_norm == pytest.approx(float(model[1].weight.detach().norm()))


class Vectorized(nn.Module):
    """A layer and an ensemble, each inside `torch.func.vmap`."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.members = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))

    def forward(self, x):
        x = torch.func.vmap(self.inner)(torch.relu(self.stem(x.flatten(1))))
        weights, biases = (torch.stack([getattr(one, name) for one in self.members]) for name in ("weight", "bias"))
        each = torch.func.vmap(functional.linear, in_dims=(None, 0, 0))(torch.relu(x), weights, biases)
        return self.head(torch.relu(each.mean(0)))


def test_layers_inside_vmap_are_named_as_without_a_row():
    step_zero = seen(Vectorized())
    assert [layer.layer for layer in step_zero.layers] == ["stem", "head"]
    hidden = ("inner", "members.0", "members.1")
    assert step_zero.unseen == tuple(f"{layer}.{part}" for layer in hidden for part in ("weight", "bias"))
    assert step_zero.unused == step_zero.absent == step_zero.detached == ()
    assert step_zero.layers[1].predicted_from == "calls that cannot be observed"
    assert step_zero.layers[0].gradient_moment_predicted is None
    shown = Inspection("x", "x", ("as_built",), ("x",), (Observed("x", "as_built", 0, step_zero),))
    (sentence,) = shown.not_measured
    assert sentence.startswith("With a gradient but without a row")
    assert "inner.weight, inner.bias, members.0" in sentence


class Frozen(nn.Module):
    """A frozen stem, and a frozen copy beside the network whose output no gradient passes."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.target = nn.Linear(64, 10).requires_grad_(requires_grad=False)
        self.stem.requires_grad_(requires_grad=False)

    def forward(self, x):
        x = torch.relu(self.stem(x.flatten(1)))
        return self.head(torch.relu(self.first(x))) + 0 * self.target(x).detach()


def test_where_no_gradient_is_measured_none_is_judged():
    step_zero = seen(Frozen())
    assert step_zero.detached == ("stem.weight", "target.weight")
    levels = {check.name: check.level for check in diagnose([step_zero, seen(Frozen(), 1)])}
    assert levels["gradient"] == "PASS"
    frozen = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64) for _ in range(3))).requires_grad_(requires_grad=False)
    checks = {check.name: check for check in diagnose([seen(nn.Sequential(frozen, nn.Linear(64, 10)))])}
    assert checks["gradient"].figure == "no hidden layer has a gradient: all are frozen or off the way to the loss"


def test_experts_with_other_rows_and_skipped_layers_are_compared_over_seeds():
    steps = [seen(Experts(), seed) for seed in range(6)]
    names = [{layer.layer for layer in step.layers} for step in steps]
    assert any(row != names[0] for row in names)
    assert all(step.unused == () and step.detached == ("gate.weight", "gate.bias") for step in steps)
    assert any(step.absent for step in steps)
    assert all("not finite" not in check.figure for check in diagnose(steps))


def test_a_gate_is_found_again_in_a_pass_with_other_layers():
    model = Experts()
    more = [torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(5))]
    with torch.no_grad():
        model.blocks[3].bias.fill_(-1e6)  # dead for every image
    for seed in range(6):
        step_zero = observe(model, Batch((IMAGES,), LABELS, more), {}, seed=seed)
        dead = {layer.layer: layer.dead_fraction for layer in step_zero.layers if layer.layer.startswith("blocks")}
        assert {name for name, share in dead.items() if share == 1} == {"blocks.3"} & dead.keys()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(reentrant):
    model = Checkpointed(saved=True, reentrant=reentrant)
    kept = seen(model)
    model.saved = False
    assert seen(model) == kept


class Gated(nn.Module):
    """A layer with a gate: of another layer, of a layer used twice, or of the other half of its own output."""

    def __init__(self, forward):
        super().__init__()
        self.gate, self.value, self.out = nn.Linear(64, 32), nn.Linear(64, 32), nn.Linear(32, 10)
        self.beta, self.scale = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(32))
        self.between = forward

    def forward(self, x):
        return self.out(self.between(self, x.flatten(1)))


@pytest.mark.parametrize(
    ("between", "names"),
    [
        (lambda net, x: functional.silu(net.gate(x)) * net.value(x), ["product", "product"]),
        (lambda net, x: net.gate(x) * torch.sigmoid(net.beta * net.gate(x)) * net.value(x), ["product"] * 3),
        (lambda net, x: torch.mul(*net.gate(x).sigmoid().chunk(2, 1)).repeat(1, 2), ["product"]),
        (lambda net, x: (z := net.gate(x)) * torch.sigmoid(z), ["silu"]),
        (lambda net, x: (z := net.gate(x)) * z.relu() * 0.5, ["relu → mul → mul"]),
        (lambda net, x: net.gate(x).relu() * net.scale + net.value(x).relu(), ["relu", "relu"]),
    ],
)
def test_what_multiplies_layers_is_a_product_and_what_multiplies_one_with_itself_an_activation(between, names):
    layers = [layer for layer in seen(Gated(between)).layers if layer.kind == "linear"]
    assert [layer.nonlinearity for layer in layers[:-1]] == names
