"""What a network draws while it trains is the seed's: the same bits each time, the same stream for every scheme."""

# ruff: noqa: NPY002, S311 - the legacy generator is what is tested

import random

import numpy as np
import pytest
import torch
from torch import nn

from initbench import datasets, inspect, training
from initbench.core.randomness import isolated
from initbench.networks.models import MODELS
from initbench.records.recipe import Trial

NETWORKS = '''
import random
import numpy as np
import torch
from torch import nn

DRAWN = []
NUMPY, TORCH, PYTHON = np.random.default_rng(0), torch.Generator().manual_seed(0), random.Random(0)

class Noise(nn.Module):
    """Draws from every generator that a forward pass may use."""

    def forward(self, x):
        draws = float(torch.rand(())), float(np.random.rand()), random.random()
        DRAWN.append(draws)
        return x * (1 + 0.1 * sum(draws)) if self.training else x

class OwnNoise(nn.Module):
    """Draws from generators that the file, the module and an enclosing function keep."""

    def __init__(self, enclosed):
        super().__init__()
        self.legacy = np.random.RandomState(0)
        self.extra = lambda: enclosed.random()

    def forward(self, x):
        draws = NUMPY.random(), float(torch.rand((), generator=TORCH)), PYTHON.random()
        draws += self.legacy.rand(), self.extra()
        DRAWN.append(draws)
        return x * (1 + 0.1 * sum(draws)) if self.training else x

class Fresh(nn.Module):
    def forward(self, x):
        return x + float(np.random.default_rng().random())

def own(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), OwnNoise(np.random.default_rng()), nn.Linear(16, classes))

def fresh(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Fresh(), nn.Linear(16, classes))

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


@pytest.mark.parametrize("name", ["noisy", "dropout", "own"])
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


@pytest.mark.parametrize(("name", "kinds"), [("noisy", 3), ("own", 5)])
def test_all_schemes_of_a_seed_draw_the_same_and_other_seeds_do_not(digits, networks, name, kinds):
    from initbench.core import usercode

    def drawn(**changes):
        seen = usercode.load(networks("DRAWN"))
        seen.clear()
        trained(digits, networks(name), **changes)
        return list(seen)

    first = drawn()
    assert len(first) > 25
    assert all(len({draw[i] for draw in first}) > 20 for i in range(kinds))  # each generator is at work
    assert drawn(scheme="orthogonal") == drawn(scheme="torch_default") == first
    assert drawn(seed=4) != first
    order = {"order_seed": 9}
    assert drawn(**order) == drawn(**order, scheme="orthogonal") != first  # noise belongs to the order's seed


def test_generators_of_the_file_go_on_as_if_nothing_had_been_trained_and_a_trial_says_that_it_drew(digits, networks):
    from initbench.core import usercode
    from initbench.running.trying import try_step

    kept = usercode.load(networks("NUMPY")), usercode.load(networks("PYTHON"))
    before = kept[0].bit_generator.state, kept[1].getstate()
    tried = {name: try_step(networks(name), digits, 32) for name in ("own", "fresh", "noisy", "dropout")}
    build = usercode.load(networks("own"))
    once, again = (
        inspect(build(digits.shape, 10), torch.ones(16, 1, 8, 8), schemes="orthogonal", seeds=1).layers
        for _ in range(2)
    )
    assert once.equals(again)
    assert (kept[0].bit_generator.state, kept[1].getstate()) == before
    assert [name for name, step in tried.items() if step.draws_from_own] == ["own"]
    assert [name for name, step in tried.items() if step.notices] == ["fresh"]
    assert "cannot be seeded" in tried["fresh"].notices[0]


@pytest.mark.parametrize("name", MODELS)
def test_no_built_in_network_draws_while_it_trains(digits, name, monkeypatch):
    small = {"deep_cnn": "deep_cnn(depth=3)", "resnet": "resnet(depth=8, width=8)", "cnn": "cnn(width=4, norm='batch')"}
    small["resmlp"] = "resmlp(depth=2)"
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
