"""What a network draws while it trains is the seed's: the same bits each time, the same stream for every scheme."""

# ruff: noqa: NPY002, S311 - the legacy generator is what is tested

import random

import numpy as np
import pytest
import torch
from torch import nn

from initbench import datasets, training
from initbench.core.randomness import isolated
from initbench.networks.models import MODELS
from initbench.records.recipe import Trial

NETWORKS = '''
import random
import numpy as np
import torch
from torch import nn

DRAWN = []

class Noise(nn.Module):
    """Draws from every generator that a forward pass may use."""

    def forward(self, x):
        draws = float(torch.rand(())), float(np.random.rand()), random.random()
        DRAWN.append(draws)
        return x * (1 + 0.1 * sum(draws)) if self.training else x

def noisy(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Noise(), nn.ReLU(), nn.Linear(16, classes))

def dropout(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, classes))
'''


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


@pytest.fixture
def networks(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    return lambda name: f"{tmp_path / 'networks.py'}:{name}"


def trained(dataset, model, **changes):
    values = {
        "model": model, "dataset": dataset.name, "fingerprint": dataset.fingerprint, "scheme": "kaiming_uniform",
        "optimizer": "sgd", "lr": 0.05, "batch_size": 32, "steps": 25, "seed": 3,
    }  # fmt: skip
    (record,) = training.train([Trial(**(values | changes))], dataset, lambda *_: None)
    assert record.outcome.status == "finished", record.outcome.reason
    return record.model_dump(exclude={"timings"})


@pytest.mark.parametrize("name", ["noisy", "dropout"])
def test_a_network_that_draws_has_the_same_bits_each_time_and_leaves_the_generators_alone(digits, networks, name):
    records = []
    for disturbance in (1, 2):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(disturbance)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        records.append(trained(digits, networks(name)))
        assert torch.equal(before[0], torch.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()
        assert before[2] == random.getstate()
    assert records[0] == records[1]
    assert trained(digits, networks(name), seed=4)["early"] != records[0]["early"]


def test_all_schemes_of_a_seed_draw_the_same_and_other_seeds_do_not(digits, networks):
    from initbench.core import usercode

    def drawn(**changes):
        seen = usercode.load(networks("DRAWN"))
        seen.clear()
        trained(digits, networks("noisy"), **changes)
        return list(seen)

    first = drawn()
    assert len(first) > 25
    assert all(len({draw[i] for draw in first}) > 20 for i in range(3))  # each generator is at work
    assert drawn(scheme="orthogonal") == drawn(scheme="torch_default") == first
    assert drawn(seed=4) != first
    order = {"order_seed": 9}
    assert drawn(**order) == drawn(**order, scheme="orthogonal") != first  # noise belongs to the order's seed


@pytest.mark.parametrize("name", MODELS)
def test_no_built_in_network_draws_while_it_trains(digits, name, monkeypatch):
    small = {"deep_cnn": "deep_cnn(depth=3)", "resnet": "resnet(depth=8, width=8)", "cnn": "cnn(width=4, norm='batch')"}
    model = str(MODELS.resolve(small.get(name, name)))
    once = trained(digits, model, steps=4)
    monkeypatch.setattr("initbench.training.loop.derive", lambda *_: 12345)
    assert trained(digits, model, steps=4) == once


def test_isolated_draws_are_keyed_and_nested():
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()

    with isolated(5):
        first = draws()
        with isolated(6):
            other = draws()
        second = draws()
    with isolated(5):
        assert draws() == first
        assert draws() == second
    assert other != first
    nn.Dropout(0.5)(torch.ones(3))
