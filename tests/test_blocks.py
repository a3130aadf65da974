"""The built-in networks' normalization, dropout, residual blocks and lists of widths; their texts and so their ids."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import initbench
from initbench import datasets, training
from initbench.core.spelling import settled
from initbench.errors import UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.records.recipe import Trial
from initbench.training import autograd, loop
from initbench.training.choice import choose

SHAPE, CLASSES = (1, 8, 8), 10
# The texts that ids of trials hold since the first release.
TEXTS = {
    "linear": "linear",
    "mlp": "mlp(depth=8, width=64, activation='relu')",
    "lenet": "lenet(activation='relu')",
    "cnn": "cnn(depth=4, width=32, activation='relu', norm='none')",
    "deep_cnn": "deep_cnn(depth=20, width=16, activation='relu')",
    "resnet": "resnet(depth=20, width=16, branch_scale=False)",
}
SITES = ("mlp(depth=2, width=12", "cnn(depth=2, width=12", "deep_cnn(depth=2, width=12")


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


def images(count=32):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def trial_of(digits, **changes):
    values = {
        "model": str(MODELS.resolve("mlp(depth=2, width=16, activation='tanh', dropout=0.5)")), "dataset": "digits",
        "fingerprint": digits.fingerprint, "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.05,
        "batch_size": 16, "steps": 6, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_what_sets_nothing_new_keeps_its_text(name, text):
    written_out = MODELS[name].signature
    for given in (name, text, written_out):
        assert str(MODELS.resolve(given)) == text
    assert settled("model", name) == settled("model", written_out) == text


def test_what_sets_something_new_says_it_behind_the_rest_and_only_by_name():
    assert str(MODELS.resolve("mlp(dropout=0, norm='rms', depth=2)")).endswith("activation='relu', norm='rms')")
    with pytest.raises(UsageError, match="takes 3 without a name"):
        MODELS.resolve("mlp(8, 64, 'relu', 'batch')")


@pytest.mark.parametrize(("site", "norm"), [*itertools.product(SITES, ("batch", "layer", "group", "rms"))])
def test_layer_normalization_activation_and_dropout_follow_in_this_order(site, norm):
    model = build_model(f"{site}, norm='{norm}', dropout=0.5, activation='tanh')", SHAPE, CLASSES)
    names = [type(module).__name__ for module in model if not isinstance(module, nn.Flatten)]
    assert names[0] in {"Linear", "Conv2d"}
    assert "Norm" in names[1]
    assert names[2:4] == ["Tanh", "Dropout"]
    modules = [module for module in model.eval() if not isinstance(module, nn.Flatten)]
    h = modules[0](images().flatten(1) if names[0] == "Linear" else images())
    modules[1].train()
    out = modules[1](h)
    if norm == "batch":
        over = [place for place in range(h.ndim) if place != 1]
        expected = (h - h.mean(over, keepdim=True)) / (h.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
    elif norm == "rms":
        expected = h / h.square().flatten(1).mean(1).sqrt().view(-1, *[1] * (h.ndim - 1))
    else:  # 12 units are one group, as 32 shares no more than 4 with 12
        flat = h.flatten(1)
        normalized = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        expected = normalized.view_as(h)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "groups"), [(64, 8), (32, 8), (16, 4), (8, 2), (4, 1), (7, 1), (60, 1)])
def test_no_group_has_so_few_units_that_it_forgets_the_signal(width, groups):
    for model in (f"mlp(depth=1, width={width}, norm='group')", f"cnn(depth=1, width={width}, norm='group')"):
        (norm,) = (m for m in build_model(model, SHAPE, CLASSES).modules() if isinstance(m, nn.GroupNorm))
        assert (norm.num_groups, norm.num_channels) == (groups, width)


@pytest.mark.parametrize("name", [name for name in MODELS if "bias" in MODELS[name].parameters])
def test_without_biases_no_layer_has_one(name):
    small = {"depth": 8} if name == "resnet" else {"depth": 2}
    text = f"{name}(depth={small['depth']}, bias=False)"
    assert all(layer.bias is None for layer in weighted_layers(build_model(text, SHAPE, CLASSES)))


def test_a_list_has_one_width_per_hidden_layer():
    model = build_model("mlp(depth=3, width=[20, 5, 7])", SHAPE, CLASSES)
    assert [layer.block for layer in weighted_layers(model)] == [(20, 64), (5, 20), (7, 5), (10, 7)]
    with pytest.raises(UsageError, match=r"has 2 widths for 8 hidden layers: write mlp\(depth=2, width=\[20, 5\]\)"):
        build_model("mlp(width=[20, 5])", SHAPE, CLASSES)


def test_preactivation_is_that_of_the_paper():
    """He et al. 2016: the activation behind conv1 is before the first fork, and one more stands before the pooling."""
    model = build_model("resnet(depth=14, width=4, norm='batch', preactivation=True)", SHAPE, CLASSES)
    x = model.conv1(images())
    for stage in (1, 2, 3):
        for block in (1, 2):
            part = getattr(model, f"stage{stage}_block{block}")
            activated = functional.relu(part.norm1(x))
            branch = part.conv2(functional.relu(part.norm2(part.conv1(activated))))
            kept = x if block > 1 else activated if stage == 1 else part.shortcut(activated)
            x = kept + branch
    expected = model.head(functional.relu(model.norm(x)).mean((2, 3)))
    torch.testing.assert_close(model(images()), expected)


def test_a_normalized_resnet_normalizes_each_convolution():
    model = build_model("resnet(depth=8, width=4, norm='layer')", SHAPE, CLASSES)
    x = functional.relu(model.norm1(model.conv1(images())))
    for stage in (1, 2, 3):
        part = getattr(model, f"stage{stage}_block1")
        branch = part.norm2(part.conv2(functional.relu(part.norm1(part.conv1(x)))))
        x = functional.relu(branch + (x if stage == 1 else part.shortcut_norm(part.shortcut(x))))
    torch.testing.assert_close(model(images()), model.head(x.mean((2, 3))))


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("resmlp(depth=3, width=12, norm='rms')", "fixup"),
        ("resmlp(depth=3, width=12, branch_scale=True)", "skipinit"),
        ("resmlp(depth=3, width=12)", "kaiming_normal; last=zeros"),
        ("resnet(depth=8, width=4, norm='batch', preactivation=True, branch_scale=True)", "skipinit"),
    ],
)
def test_closed_branches_add_nothing(model, scheme):
    filled = initbench.initialize(build_model(model, SHAPE, CLASSES), scheme, seed=1)
    given = {}
    for name, block in filled.named_children():
        if hasattr(block, "residual_branch"):
            block.register_forward_hook(lambda part, inputs, out, name=name: given.update({name: (part, *inputs, out)}))
    filled(images())
    assert len(given) == 3
    for part, x, out in given.values():
        if getattr(part, "shares", False):
            x = part.shortcut(part.relu1(part.norm1(x)))  # noqa: PLW2901 - what the shortcut is given
        torch.testing.assert_close(out, x)


def test_a_residual_mlp_is_what_it_says():
    model = build_model("resmlp(depth=2, width=12, activation='tanh', norm='layer', branch_scale=True)", SHAPE, CLASSES)
    x = model.stem(images().flatten(1))
    for block in (model.block1, model.block2):
        with torch.no_grad():
            block.alpha.fill_(0.5)
        x = x + 0.5 * block.linear2(torch.tanh(block.linear1(functional.layer_norm(x, (12,)))))
    torch.testing.assert_close(model(images()), model.head(functional.layer_norm(x, (12,))))


# Dropout.


def masks_of(digits, **changes):
    """Return the masks of a trial's training: where the output of dropout is 0, and its input is not."""
    found = []

    def note(module, inputs, output):
        if isinstance(module, nn.Dropout) and module.training:
            found.append((output == 0) & (inputs[0] != 0))

    with nn.modules.module.register_module_forward_hook(note):
        training.train([trial_of(digits, **changes)], digits, lambda *_: None)
    return found[-12:]  # before them, those of step 0


def test_masks_are_those_of_the_seed_whatever_the_scheme(digits):
    masks, others, next_seed = masks_of(digits), masks_of(digits, scheme="normal(std=0.3)"), masks_of(digits, seed=4)
    assert len(masks) == 12
    assert all(map(torch.equal, masks, others))
    assert not any(map(torch.equal, masks, next_seed))
    assert 0.4 < float(torch.stack(masks).float().mean()) < 0.6


def test_a_network_with_dropout_has_the_same_bits_in_any_company(digits):
    trial, other = trial_of(digits), trial_of(digits, scheme="orthogonal", seed=9)
    alone = loop.train([trial], digits, lambda *_: None, choose(trial, digits))[0]
    torch.manual_seed(1)
    loop.train([other], digits, lambda *_: None, choose(other, digits))
    before = torch.get_rng_state()
    again = loop.train([trial], digits, lambda *_: None, choose(trial, digits))[0]
    assert torch.equal(before, torch.get_rng_state())
    assert again.model_dump(exclude={"timings"}) == alone.model_dump(exclude={"timings"})


def test_dropout_is_off_where_losses_are_evaluated(digits):
    """Before the first step both networks are the same one."""
    plain = str(MODELS.resolve("mlp(depth=2, width=16, activation='tanh')"))
    first, without = (
        loop.train([trial_of(digits, **given)], digits, lambda *_: None, autograd.ENGINE)[0]
        for given in ({}, {"model": plain})
    )
    assert first.curve[0] == without.curve[0]
    assert first.curve[-1] != without.curve[-1]
