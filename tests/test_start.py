"""What is worked out once changes nothing: a later seed, rate or optimizer gets what it gets alone."""

import itertools

import pytest
import torch
from long_form import one_in

from initbench import datasets, signals
from initbench.core.randomness import one_thread
from initbench.datasets.batches import resident
from initbench.records.recipe import Trial
from initbench.signals import measures
from initbench.training import start
from initbench.training.start import begin, initialized

SCHEMES = (
    "kaiming_uniform", "constant(0.05)", "orthogonal", "kaiming_uniform; bias=constant(0.1)", "zeros", "lsuv",
    "sparse(0.5)",
)  # fmt: skip
MODELS = {
    "mlp(depth=4, width=24, activation='relu')": True,
    "mlp(depth=3, width=24, activation='gelu')": True,
    "linear": True,
    "mlp(depth=2, width=24, activation='relu', norm='layer', dropout=0.2)": False,  # it draws
    "cnn(depth=2, width=8, activation='relu', norm='batch')": False,  # predictions start from what normalization left
}


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


@pytest.fixture(autouse=True)
def _forget():
    """Begin as a new process does."""
    for kept in (start._kept, start._series, start._usual_filling):
        kept.cache_clear()


def trial_of(dataset, **changes):
    values = {
        "model": "mlp(depth=4, width=24, activation='relu')", "dataset": dataset.name, "scheme": "kaiming_uniform",
        "fingerprint": dataset.fingerprint, "optimizer": "sgd", "lr": 0.02, "batch_size": 16, "steps": 5, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def alone(trial, dataset):
    """Return step 0 of a trial's network as it is measured for any module, with one thread."""
    model, filling, filled = initialized(trial, dataset)
    batch = signals.batch_of(resident(dataset, "train", "cpu"))
    laws = signals.weight_moments(model, filling.assignments, filled.factors)
    with one_thread():
        return signals.observe(model, batch, laws, seed=trial.seed)


@pytest.fixture
def listened(monkeypatch):
    """The models that are listened to."""
    heard = []
    listener = signals.observing.Listener
    monkeypatch.setattr(
        signals.observing, "Listener", lambda model, *rest, **kw: heard.append(model) or listener(model, *rest, **kw)
    )
    return heard


@pytest.mark.parametrize(("model", "scheme"), one_in(5, itertools.product(MODELS, SCHEMES)))
def test_a_later_seed_is_measured_to_the_bit_as_if_it_were_the_first(digits, model, scheme):
    for seed in range(2):
        trial = trial_of(digits, model=model, scheme=scheme, seed=seed)
        assert begin(trial, digits).step_zero.model_dump_json() == alone(trial, digits).model_dump_json()


def test_a_first_seed_with_dead_layers_leaves_nothing_to_the_next(digits):
    """Behind a layer that is shut all units are alike; seed 3 of this network has none."""
    narrow = [trial_of(digits, model="mlp(depth=10, width=3, activation='relu')", seed=seed) for seed in (1, 3)]
    found = [begin(trial, digits).step_zero for trial in narrow]
    assert [sum(layer.symmetric_units for layer in step.layers) for step in found] == [3, 0]
    assert found[1].model_dump_json() == alone(narrow[1], digits).model_dump_json()


@pytest.mark.parametrize(("model", "once"), MODELS.items())
def test_a_scheme_is_listened_to_once_where_predictions_start_at_the_input(digits, listened, model, once):
    for seed in range(3):
        begin(trial_of(digits, model=model, seed=seed), digits)
    assert len(listened) == (1 if once else 3)
    begin(trial_of(digits, model=model, scheme="xavier_uniform"), digits)
    assert len(listened) == (2 if once else 4)


@pytest.mark.parametrize(("scheme", "once"), [("constant(0.05)", True), ("first=constant(0.05)", False)])
def test_a_scheme_is_listened_to_once_where_nothing_is_predicted(digits, listened, scheme, once):
    for seed in range(3):
        begin(trial_of(digits, scheme=scheme, seed=seed), digits)
    assert len(listened) == (1 if once else 3)


def test_a_network_is_given_back_as_it_was_initialized(digits):
    trial = trial_of(digits, model="cnn(depth=2, width=8, activation='relu', norm='batch')")
    fresh, begun = initialized(trial, digits)[0], begin(trial, digits).model
    assert begun.training
    assert all(module.training for module in begun.modules())
    assert all(parameter.grad is None for parameter in begun.parameters())
    assert fresh.state_dict().keys() == begun.state_dict().keys()
    assert all(torch.equal(value, begun.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_step_zero_is_measured_once_for_all_rates_and_optimizers_of_a_network(digits):
    first = begin(trial_of(digits), digits).step_zero
    assert begin(trial_of(digits, lr=0.1, optimizer="adam", batch_size=8), digits).step_zero is first
    others = ({"seed": 4}, {"scheme": "orthogonal"}, {"model": "linear"})
    assert all(begin(trial_of(digits, **other), digits).step_zero != first for other in others)


def test_the_users_code_is_asked_for_each_trial(digits, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from torch import nn\ndef build(*_): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))")
    trial = trial_of(digits, model=f"{path}:build", code=((f"{path}:build", "0"),))
    assert begin(trial, digits).step_zero is not begin(trial, digits).step_zero


def test_rows_looked_at_together_are_counted_as_each_alone():
    drawn = torch.Generator().manual_seed(0)
    matrices = [torch.randn(12, 9, generator=drawn) for _ in range(7)]
    matrices[1][3] = 0
    matrices[2][5] = 2 * matrices[2][0]
    matrices[3][5] = -3 * matrices[3][0]
    matrices[4][1:] = matrices[4][0]
    matrices[5][2, 2] = torch.nan
    matrices.append(torch.randn(3, 9, generator=drawn))
    assert measures.faults_of(matrices) == [measures.row_faults(matrix) for matrix in matrices]
    assert measures.faults_of(matrices[:5]) == [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 2), (0, 12, 0)]


def test_moments_taken_together_are_those_of_each():
    drawn = torch.Generator().manual_seed(0)
    tensors = [torch.randn(12, 9, generator=drawn) * 10.0**k for k in (-30, 0, 12)]
    tensors += [tensors[1] + 1e4, torch.full((12, 9), 0.1), torch.zeros(12, 9), torch.randn(3, 9, generator=drawn)]
    found = measures.moments_of(tensors)
    for tensor, (moment, std) in zip(tensors, found, strict=True):
        values = tensor.double()
        assert moment == pytest.approx(float(values.square().mean()), rel=1e-12)
        assert std == pytest.approx(float(values.std(correction=0)), rel=1e-9)
    assert [std for _, std in found[4:6]] == [0, 0], "equal entries have no spread at all"
    (moment, std), _ = measures.moments_of([torch.full((2, 2), torch.inf), torch.ones(2, 2)])
    assert moment == torch.inf
    assert std != std  # noqa: PLR0124 - not a number
