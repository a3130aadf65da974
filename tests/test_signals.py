"""Step-0 statistics against brute force, and predictions against Monte Carlo within sampling error."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from initbench.networks.layers import weighted_layers
from initbench.networks.models import build_model
from initbench.schemes import assign, fill_model, parse_scheme
from initbench.signals import Batch, observe, weight_moments
from initbench.signals.measures import mean_cosine

IMAGES = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 10


def statistics_of(model_text, scheme, seed=0):
    model = build_model(model_text, (1, 8, 8), 10)
    assignments = assign(parse_scheme(scheme), weighted_layers(model))
    fill_model(model, assignments, seed)
    return model, measured(model, assignments).layers


def measured(model, assignments):
    return observe(model, Batch((IMAGES,), LABELS), weight_moments(model, assignments))


def test_statistics_are_those_of_a_hand_written_pass():
    model, layers = statistics_of("mlp(depth=2, width=12)", "kaiming_normal; bias=constant(0.05)")
    x = IMAGES.flatten(1)
    z1 = model.linear1(x)
    z2 = model.linear2(z1.relu())
    logits = model.head(z2.relu())
    gradients = torch.autograd.grad(functional.cross_entropy(logits, LABELS), [z1, z2, logits])
    for layer, z, gradient in zip(layers, (z1, z2, logits), gradients, strict=True):
        assert layer.forward_moment == pytest.approx(float(z.detach().square().mean()), rel=1e-5)
        assert layer.gradient_moment == pytest.approx(float(gradient.square().mean()), rel=1e-5)
    assert layers[0].dead_fraction == pytest.approx(float((z1 <= 0).all(dim=0).float().mean()))
    assert layers[2].dead_fraction is None, "no ReLU follows the head"
    assert layers[0].weight_std == pytest.approx(float(model.linear1.weight.detach().std(correction=0)), rel=1e-5)
    assert [layer.layer for layer in layers] == ["linear1", "linear2", "head"]


def test_mean_cosine_is_the_mean_over_all_pairs():
    z = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    pairs = [float(functional.cosine_similarity(z[i], z[j], dim=0)) for i in range(9) for j in range(9) if i != j]
    assert mean_cosine(z) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mean_cosine(torch.ones(4, 3)) == pytest.approx(1.0)
    assert math.isnan(mean_cosine(torch.zeros(4, 3)))


def test_a_channel_is_dead_only_where_it_is_dead_everywhere():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0, -1.0, 1.0, -1.0]))
        model[0].weight[1] = 1e-3  # opens where a pixel is above 1,000: nowhere but in one
    images = IMAGES.clone()
    images[3, 0, 2, 2] = 2000.0
    layers = observe(model, Batch((images,), LABELS), {}).layers
    assert layers[0].dead_fraction == 0.5


def test_measuring_leaves_the_model_as_it_was():
    model = build_model("cnn(norm='batch')", (1, 8, 8), 10).eval()
    assignments = assign(parse_scheme("kaiming"), weighted_layers(model))
    fill_model(model, assignments, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    measured(model, assignments)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(rng, torch.get_rng_state())


def test_an_activation_in_place_does_not_change_what_is_measured():
    def stack(inplace):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 10))

    seen = []
    for inplace in (False, True):
        model = stack(inplace)
        assignments = assign(parse_scheme("kaiming"), weighted_layers(model))
        fill_model(model, assignments, 0)
        seen.append(measured(model, assignments).layers)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "scheme",
    [
        "kaiming_normal",
        "torch_default",
        "orthogonal",
        "sparse(0.5, std=0.2)",
        *(
            pytest.param(scheme, marks=pytest.mark.long)
            for scheme in ("xavier_uniform", "lecun_normal", "normal(std=0.05)", "kaiming_uniform(mode='fan_out')")
        ),
    ],
)
def test_predicted_moments_hold_on_average_over_seeds(scheme):
    """E over weights is exact at any width; the mean of 60 seeds must lie within 4 standard errors."""
    runs = [statistics_of("mlp(depth=3, width=48)", scheme, seed)[1] for seed in range(60)]
    for i in range(4):
        predicted = runs[0][i].forward_moment_predicted
        seen = np.array([run[i].forward_moment for run in runs])
        error = seen.std(ddof=1) / math.sqrt(len(seen))
        # ReLU of an orthogonal or sparse layer is not exactly independent: two per cent more.
        assert abs(seen.mean() - predicted) <= 4 * error + 0.02 * predicted, (i, seen.mean(), predicted)


def test_predicted_gradients_hold_on_average_over_seeds():
    runs = [statistics_of("mlp(depth=3, width=64)", "kaiming_normal; head=normal(std=0.01)", s)[1] for s in range(60)]
    for i in range(3):
        ratio = np.array([run[i].gradient_moment / run[i].gradient_moment_predicted for run in runs])
        assert abs(ratio.mean() - 1) <= 4 * ratio.std(ddof=1) / math.sqrt(len(ratio)) + 0.05


@pytest.mark.parametrize("scheme", ["eye", "constant(0.1)", "uniform", "ones"])
def test_where_no_closed_form_is_known_nothing_is_predicted(scheme):
    _, layers = statistics_of("mlp", scheme)
    assert layers[-1].forward_moment_predicted is None
    assert layers[-1].gradient_moment_predicted is None


def test_torch_default_loses_the_signal_and_the_inputs_become_one():
    """The moment falls to the floor that the bias sets, and the cosine goes to 1."""
    _, layers = statistics_of("mlp(depth=20, width=256)", "torch_default")
    assert layers[19].cosine > 0.999
    assert layers[19].forward_moment < 0.01 * layers[0].forward_moment
    assert layers[19].forward_moment_predicted == pytest.approx(2 / (5 * 256), rel=0.02)  # twice the floor 1/(5n) of x
