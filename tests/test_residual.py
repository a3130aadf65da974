"""Residual networks: declared branches, the part `last`, Fixup, SkipInit, scaled schemes; and what they are for."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import initbench
from initbench import datasets, training
from initbench.errors import UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import build_model
from initbench.records.recipe import Trial
from initbench.schemes import parse_scheme

SHAPE, CLASSES = (1, 8, 8), 10
SMALL = "resnet(depth=8, width=4)"  # 3 branches of 2 layers


def filled(scheme, model=SMALL, seed=0):
    built = build_model(model, SHAPE, CLASSES) if isinstance(model, str) else model
    return initbench.initialize(built, scheme, seed=seed)


def images(count=32, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def blocks(model):
    return {name: module for name, module in model.named_children() if name.startswith("stage")}


class Block(nn.Module):
    """x + scale·f(x) with f of any number of layers, as a user would write it."""

    def __init__(self, layers, width=32, *, scaled=False):
        super().__init__()
        self.inner = nn.Sequential(*[m for _ in range(layers) for m in (nn.Linear(width, width), nn.Tanh())][:-1])
        self.scale = nn.Parameter(torch.full((width,), 0.5)) if scaled else None

    def forward(self, x):
        return x + (self.inner(x) if self.scale is None else self.scale * self.inner(x))

    def residual_branch(self):
        return [self.inner] if self.scale is None else [self.inner, self.scale]


def own_network(*layers, scaled=False):
    blocks = [Block(m, scaled=scaled) for m in layers]
    return nn.Sequential(nn.Linear(5, 32), *blocks, nn.Linear(32, 3))


# What a model declares.


def test_the_resnet_declares_its_branches_and_nothing_else():
    layers = {layer.name: layer.branch for layer in weighted_layers(build_model(SMALL, SHAPE, CLASSES))}
    inside = {name for name, branch in layers.items() if branch}
    assert inside == {f"stage{stage}_block1.conv{i}" for stage in (1, 2, 3) for i in (1, 2)}
    assert {name for name in inside if layers[name].last} == {f"stage{stage}_block1.conv2" for stage in (1, 2, 3)}
    assert {(layers[name].count, layers[name].layers, layers[name].scales) for name in inside} == {(3, 2, ())}
    assert layers["stage2_block1.conv2"].name == "stage2_block1"


def test_a_users_own_blocks_declare_theirs():
    layers = weighted_layers(own_network(3, 1, 2, scaled=True))
    places = [(layer.branch.name, layer.branch.place, layer.branch.layers) for layer in layers[1:-1]]
    assert places == [("1", 0, 3), ("1", 1, 3), ("1", 2, 3), ("2", 0, 1), ("3", 0, 2), ("3", 1, 2)]
    assert {layer.branch.count for layer in layers[1:-1]} == {3}
    assert [layer.branch.scales for layer in layers[1:-1]] == [("1.scale",)] * 3 + [("2.scale",)] + [("3.scale",)] * 2
    assert layers[0].branch is layers[-1].branch is None


def test_a_layer_of_nested_branches_is_the_innermost_ones():
    class Outer(Block):
        def __init__(self):
            super().__init__(1)
            self.inner = nn.Sequential(nn.Linear(32, 32), Block(1), nn.Linear(32, 32))

    names = [layer.branch.name for layer in weighted_layers(Outer())]
    assert names == ["", "inner.1", ""]


def test_a_frozen_scale_is_not_a_schemes_to_set():
    model = own_network(2, scaled=True)
    model[1].scale.requires_grad_(False)
    assert weighted_layers(model)[1].branch.scales == ()
    with pytest.raises(UsageError, match="the branch of '1' declares none"):
        filled("skipinit", model)


def test_a_module_that_is_only_called_residual_branch_declares_nothing():
    model = nn.Sequential(nn.Linear(3, 3))
    model.residual_branch = nn.Linear(3, 3)
    assert [layer.branch for layer in weighted_layers(model)] == [None, None]


@pytest.mark.parametrize("wrong", [None, "inner", torch.zeros(2), [nn.Linear(2, 2)], [None]])
def test_a_wrong_declaration_is_named(wrong):
    class Wrong(Block):
        def residual_branch(self):
            return wrong

    with pytest.raises(UsageError, match=r"Wrong\.residual_branch\(\) must return a list"):
        filled("kaiming_normal", nn.Sequential(Wrong(2)))


# The model.


def test_the_default_resnet_is_what_it_was():
    """Names, and the first logits of each, as before branches had scales."""
    model = build_model("resnet(depth=8, width=4)", (3, 8, 8), 10)
    stages = [f"stage{stage}_block1.{layer}" for stage in (1, 2, 3) for layer in ("conv1", "conv2", "shortcut")]
    layers = ["conv1", *(name for name in stages if name != "stage1_block1.shortcut"), "head"]
    assert list(model.state_dict()) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    x = torch.linspace(0, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
    for scheme, logits in {
        "kaiming_normal": [0.03353, -0.23958, 0.22222],
        "torch_default": [0.1768, 0.18923, -0.05649],
        "kaiming_uniform; bias=constant(0.1)": [1.2598, 0.58381, -0.68285],
    }.items():
        first = filled(scheme, model, seed=3)(x)[0, :3]
        torch.testing.assert_close(first, torch.tensor(logits), atol=2e-5, rtol=1e-4)


def test_branch_scales_are_one_and_change_nothing_until_they_are_set():
    plain, scaled = filled("kaiming_normal"), filled("kaiming_normal", "resnet(depth=8, width=4, branch_scale=True)")
    added = set(scaled.state_dict()) - set(plain.state_dict())
    assert added == {f"stage{stage}_block1.alpha" for stage in (1, 2, 3)}
    assert all(float(scaled.state_dict()[name]) == 1 for name in added)
    assert torch.equal(plain(images()), scaled(images()))
    for block in blocks(scaled).values():
        block.alpha.data.fill_(0.5)
        block.conv2.weight.data *= 2
    torch.testing.assert_close(plain(images()), scaled(images()))


# The part `last`.


def test_last_speaks_for_the_last_layer_of_each_branch():
    model = filled("ones; conv=constant(2.0); first=constant(3.0); last=constant(4.0); head=constant(5.0)")
    values = {name: float(value.unique()) for name, value in model.state_dict().items() if name.endswith("weight")}
    expected = {"conv1.weight": 3.0, "head.weight": 5.0}
    for stage in (1, 2, 3):
        expected |= {f"stage{stage}_block1.conv1.weight": 2.0, f"stage{stage}_block1.conv2.weight": 4.0}
    assert values == expected | {f"stage{stage}_block1.shortcut.weight": 2.0 for stage in (2, 3)}


def test_last_stands_between_first_and_head_and_below_names():
    one = filled("ones; first=constant(3.0); last=constant(4.0)", nn.Sequential(Block(1), nn.Linear(32, 3)))
    assert float(one[0].inner[0].weight.detach().unique()) == 4
    block = filled("ones; head=constant(5.0); last=constant(4.0)", Block(2))
    assert float(block.inner[2].weight.detach().unique()) == 5
    named = filled("ones; last=constant(4.0); name:1.inner.2.weight=constant(6.0)", own_network(2, 2))
    assert float(named[1].inner[2].weight.detach().unique()) == 6
    assert float(named[2].inner[2].weight.detach().unique()) == 4


def test_last_has_its_place_in_the_canonical_text():
    text = "kaiming_normal; first=ones; last=zeros; head=zeros; bias=zeros"
    assert str(parse_scheme("head=zeros; bias=zeros; last=zeros; first=ones; he_normal")) == text


def test_zero_last_layers_close_every_branch_under_any_scheme():
    model = filled("orthogonal; last=zeros")
    for name, x in inputs_of_blocks(model).items():
        block = blocks(model)[name]
        assert not block.conv2(block.relu1(block.conv1(x))).any()


# Fixup.


def test_fixup_adds_exactly_nothing_at_step_0_and_guesses_all_classes_alike():
    model = filled("fixup", "resnet(depth=20, width=8)")
    for name, x in inputs_of_blocks(model).items():
        block = blocks(model)[name]
        assert block.conv1(x).any()
        assert torch.equal(block(x), torch.relu(block.shortcut(x)))
    logits = model(images())
    assert not logits.any()
    labels = torch.arange(32) % CLASSES
    assert float(functional.cross_entropy(logits.detach(), labels)) == pytest.approx(math.log(CLASSES))


def test_fixups_logits_are_the_heads_bias():
    model = filled("fixup; name:head.bias=normal(std=0.3)")
    assert model.head.bias.unique().numel() == CLASSES
    assert torch.equal(model(images()), model.head.bias.expand(32, CLASSES))


@pytest.mark.parametrize(("depth", "branches"), [(8, 3), (20, 9), (50, 24)])
def test_fixup_scales_branches_by_their_number(depth, branches):
    model = f"resnet(depth={depth}, width=8)"
    weights, plain = filled("fixup", model).state_dict(), filled("kaiming_normal", model).state_dict()
    for name, weight in weights.items():
        if name.endswith("conv1.weight") and "block" in name:
            torch.testing.assert_close(weight, plain[name] * branches**-0.5)
        elif name.endswith("conv1.weight") or "shortcut.weight" in name:
            assert torch.equal(weight, plain[name])  # outside branches nothing is scaled
        else:
            assert not weight.any()


@pytest.mark.parametrize(("layers", "exponent"), [(2, -1 / 2), (3, -1 / 4), (5, -1 / 8)])
@pytest.mark.parametrize("branches", [1, 4, 16])
def test_the_law_of_fixups_scale(layers, exponent, branches):
    """Var = 2/fan_in · L^(-1/(m-1)), so that the m-1 layers that are not zero take L^(-1/2) off a branch together."""
    model = filled("fixup", own_network(*[layers] * branches))
    drawn = [module.weight for block in model[1:-1] for module in block.inner[:-1] if isinstance(module, nn.Linear)]
    assert len(drawn) == branches * (layers - 1)
    std = float(torch.stack(drawn).detach().square().mean().sqrt())
    assert std == pytest.approx(math.sqrt(2 / 32) * branches**exponent, rel=4 / math.sqrt(2 * 1024 * len(drawn)))
    assert not any(block.inner[-1].weight.any() for block in model[1:-1])


def test_fixup_as_its_authors_program_draws_it():
    """Branches N(0, 2/fan_out)·L^(-1/2), shortcuts N(0, 2/fan_out), the first layer as PyTorch has it."""
    model = "resnet(depth=8, width=8)"
    weights = filled("fixup(mode='fan_out', stem='torch_default')", model).state_dict()
    ours, default = filled("fixup", model).state_dict(), filled("torch_default", model).state_dict()
    assert torch.equal(weights["conv1.weight"], default["conv1.weight"])
    for name in ("stage2_block1.conv1.weight", "stage2_block1.shortcut.weight"):
        torch.testing.assert_close(weights[name], ours[name] / math.sqrt(2))  # 8 → 16 channels
    std = float(weights["stage3_block1.conv1.weight"].square().mean().sqrt())
    assert std == pytest.approx(math.sqrt(2 / (32 * 9)) * 3**-0.5, rel=0.05)


def test_fixup_of_a_branch_of_one_layer_is_zero():
    model = filled("fixup", own_network(1, 1))
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model[1](x), x)


# SkipInit.


@pytest.mark.parametrize("scheme", ["skipinit", "rezero", "skipinit; conv=orthogonal", "skipinit; name:*=ones"])
def test_skipinit_leaves_exactly_the_shortcut(scheme):
    model = filled(scheme, "resnet(depth=20, width=8, branch_scale=True)")
    for name, x in inputs_of_blocks(model).items():
        block = blocks(model)[name]
        assert block.conv2(block.relu1(block.conv1(x))).any()
        assert torch.equal(block(x), torch.relu(block.shortcut(x)))
        if isinstance(block.shortcut, nn.Identity):
            assert torch.equal(block(x), x)


def test_skipinit_draws_what_kaiming_draws():
    model = "resnet(depth=8, width=4, branch_scale=True)"
    weights, plain = filled("skipinit", model).state_dict(), filled("kaiming_normal", model).state_dict()
    assert {name for name in plain if not torch.equal(weights[name], plain[name])} == {
        f"stage{stage}_block1.alpha" for stage in (1, 2, 3)
    }


def test_skipinit_sets_a_users_own_scales():
    model = filled("skipinit", own_network(2, 3, scaled=True))
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model[2](model[1](x)), x)
    assert model[1].scale.requires_grad
    assert model[1].scale.grad is None


def test_inspecting_one_scheme_leaves_no_scale_behind_for_the_next():
    asked = {"model": build_model("resnet(depth=8, width=4, branch_scale=True)", SHAPE, CLASSES), "batch": images()}
    alone = initbench.inspect(**asked, schemes=["kaiming_normal"], seeds=1).layers
    both = initbench.inspect(**asked, schemes=["skipinit", "kaiming_normal"], seeds=1).layers
    after = both[both["scheme"] == "kaiming_normal"]
    assert after["forward_moment"].tolist() == alone["forward_moment"].tolist()


# Models that lack what a scheme is about.


@pytest.mark.parametrize(
    ("scheme", "model", "message"),
    [
        ("fixup", "mlp", "'fixup' needs residual branches, and this model declares none: use a resnet"),
        ("kaiming_normal; last=zeros", "cnn", "'last=zeros' needs residual branches"),
        ("zeros; conv=fixup", "cnn", "'conv=fixup' needs residual branches"),
        ("scaled('fixup', 0.5)", "mlp", "needs residual branches"),
        ("skipinit", "mlp", "sets the scales of residual branches, and this model declares none"),
        (
            "skipinit",
            "resnet(depth=8)",
            r"the branch of 'stage1_block1' declares none: use resnet\(branch_scale=True\)",
        ),
    ],
)
def test_a_scheme_says_what_a_model_lacks(scheme, model, message):
    built = build_model(model, SHAPE, CLASSES)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        initbench.initialize(built, scheme)
    assert all(torch.equal(before[name], value) for name, value in built.state_dict().items())


# Scaled schemes.


def test_a_scaled_head_is_the_same_draw_times_a_number():
    scaled, plain = filled("kaiming_normal; head=scaled('xavier_uniform', 0.1)"), filled("xavier_uniform")
    torch.testing.assert_close(scaled.head.weight, plain.head.weight * 0.1)
    assert torch.equal(scaled.conv1.weight, filled("kaiming_normal").conv1.weight)


def test_a_scaled_preset_scales_biases_as_well():
    scaled, plain = filled("scaled('torch_default', -2.0)"), filled("torch_default")
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(scaled.state_dict()[name], value * -2)


def test_a_scaled_rule_scales_its_law():
    layer = weighted_layers(nn.Linear(40, 30))[0]
    rule = parse_scheme("scaled('uniform(a=1.0, b=3.0)', 0.5)").fillers["weight"]
    assert (rule.mean, rule.variance(layer)) == (1.0, pytest.approx(0.25 / 3))
    assert not rule.degenerate
    assert parse_scheme("scaled('eye', 0.5)").fillers["weight"].variance is None
    nothing = parse_scheme("scaled('kaiming_normal', 0.0)").fillers["weight"]
    assert nothing.degenerate
    assert nothing.deterministic


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("head=scaled('he_uniform', factor=.1)", "head=scaled('kaiming_uniform', 0.1)"),
        ("scaled(\"he_normal(mode='fan_out')\", 2)", "scaled(\"kaiming_normal(mode='fan_out')\", 2.0)"),
        ("bias=scaled('constant(1)', 0.5); zeros", "zeros; bias=scaled('constant(1.0)', 0.5)"),
    ],
)
def test_a_scaled_scheme_has_one_text(spelling, canonical):
    assert str(parse_scheme(spelling)) == canonical
    assert str(parse_scheme(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scaled('kaimin', 0.1)", "did you mean 'kaiming'"),
        ("scaled('kaiming(mode=1)', 0.1)", "cannot take mode=1"),
        ("scaled('kaiming; bias=ones', 0.1)", "not of the form"),
        ("scaled('kaiming')", "needs a value for 'factor'"),
        ("scaled('kaiming', 'half')", "a number"),
        ("scaled(3, 0.1)", "a valid string"),
        ("scaled('skipinit', 0.1)", "fills a whole model"),
        ("bias=scaled('kaiming', 0.1)", "cannot fill a bias"),
        ("head=skipinit", "fills a whole model"),
    ],
)
def test_a_mistake_is_named_when_the_text_is_read(text, message):
    with pytest.raises(UsageError, match=message):
        parse_scheme(text)


# IDInit.


def test_idinit_almost_closes_its_branches():
    model = filled("idinit", own_network(2, 3))
    for block in model[1:-1]:
        *inner, last = [module.weight.detach() for module in block.inner if isinstance(module, nn.Linear)]
        assert all(torch.equal(weight, torch.eye(32)) for weight in inner)
        torch.testing.assert_close(last, 1e-6 * torch.eye(32), atol=0, rtol=1e-6)
    assert float(model[0].weight.detach().max()) == 1  # the main stem is an identity in full


# What it is all for.


def inputs_of_blocks(model):
    """Return what each residual block of a built-in resnet is given."""
    seen = {}
    x = model.relu1(model.conv1(images()))
    for name, block in blocks(model).items():
        seen[name] = x
        x = block(x)
    return seen


def moments(model):
    """E[x²] behind each block, by a pass written out by hand."""
    w = {name: value.detach() for name, value in model.state_dict().items()}
    x = functional.relu(functional.conv2d(images(), w["conv1.weight"], w["conv1.bias"], padding=1))
    found = [float(x.square().mean())]
    for name in blocks(model):
        stride = 2 if f"{name}.shortcut.weight" in w else 1
        f = functional.conv2d(x, w[f"{name}.conv1.weight"], w[f"{name}.conv1.bias"], stride=stride, padding=1)
        f = functional.conv2d(f.clamp(min=0), w[f"{name}.conv2.weight"], w[f"{name}.conv2.bias"], padding=1)
        if stride == 2:
            x = functional.conv2d(x, w[f"{name}.shortcut.weight"], w[f"{name}.shortcut.bias"], stride=2)
        x = functional.relu(x + w.get(f"{name}.alpha", 1.0) * f)
        found.append(float(x.square().mean()))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_deep_resnet_explodes_under_kaiming_and_not_with_closed_branches(seed):
    scaled = "resnet(depth=50, width=8, branch_scale=True)"
    growth = {
        scheme: (found := moments(filled(scheme, scaled, seed=seed)))[-1] / found[0]
        for scheme in ("kaiming_normal", "fixup", "skipinit", "kaiming_normal; last=zeros")
    }
    assert growth["kaiming_normal"] > 1.4**24  # nearly twice a block: what zero padding and the ReLU take is small
    for scheme in ("fixup", "skipinit", "kaiming_normal; last=zeros"):
        assert 0.1 < growth[scheme] < 10
    assert moments(filled("fixup", scaled, seed=seed)) == moments(filled("skipinit", scaled, seed=seed))


def test_kaimings_growth_is_exponential_in_the_number_of_blocks():
    found = moments(filled("kaiming_normal", "resnet(depth=50, width=8)"))
    first, second = found[8] / found[0], found[16] / found[8]
    assert min(first, second) > 10


@pytest.mark.long
@pytest.mark.parametrize(
    ("scheme", "model"),
    [
        pytest.param("fixup", "resnet(depth=20, width=8, branch_scale=False)", marks=pytest.mark.long),
        ("fixup", "resnet(depth=20, width=8, branch_scale=True)"),
        ("skipinit", "resnet(depth=20, width=8, branch_scale=True)"),
    ],
)
def test_what_kaiming_cannot_train_closed_branches_can(scheme, model):
    closed, plain = train(scheme, model), train("kaiming_normal", model)
    assert closed.outcome.status == "finished"
    assert closed.final.val_accuracy > 0.8
    assert closed.initialization_steps == 0
    if scheme == "fixup":
        assert closed.curve[0].val_loss == pytest.approx(math.log(CLASSES))
    assert plain.outcome.status == "diverged"


def train(scheme, model):
    digits = datasets.prepare("digits")
    trial = Trial(
        model=model,
        dataset=digits.name,
        fingerprint=digits.fingerprint,
        scheme=scheme,
        optimizer="sgd(momentum=0.9)",
        lr=0.02,
        batch_size=32,
        steps=120,
        seed=3,
    )
    return training.train([trial], digits, lambda _group, _step: None)[0]
