"""The reference engine against plain PyTorch, and what must hold of any training: pairing, divergence, isolation."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from initbench import datasets
from initbench.datasets.batches import Split, resident
from initbench.networks.models import MODELS, build_model
from initbench.records.recipe import Trial
from initbench.records.record import Outcome
from initbench.running.worker import train_group
from initbench.schemes import initialize
from initbench.training import autograd, chains, evaluation, loop
from initbench.training.environment import reproducible
from initbench.training.evaluation import Course, Probe, evaluation_sample, evaluation_steps, look
from initbench.training.optimizers import OPTIMIZERS


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


def trial_of(dataset, **changes):
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": dataset.name,
        "fingerprint": dataset.fingerprint, "scheme": "kaiming_uniform", "optimizer": "sgd",
        "lr": 0.1, "batch_size": 32, "steps": 50, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def train(dataset, **changes):
    """Train with the reference engine, whatever engine would be chosen."""
    return loop.train([trial_of(dataset, **changes)], dataset, lambda _group, _step: None, autograd.ENGINE)[0]


def trainer_of(model, dataset):
    trial = trial_of(dataset, model="linear", scheme="zeros", lr=1.0, batch_size=1, steps=1)
    return autograd.ENGINE.open([model], [trial], resident(dataset, "train", "cpu"))


TORCH_OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01),
    "sgd(momentum=0.9, weight_decay=0.001)": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.001),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw(weight_decay=0.1)": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01),
}


@pytest.mark.parametrize("optimizer", TORCH_OPTIMIZERS)
def test_the_engine_is_the_loop_that_anyone_would_write(digits, optimizer):
    """Written again from scratch: DataLoader-free, on float images standardized beforehand."""
    record = train(digits, optimizer=optimizer, lr=0.01)
    split = resident(digits, "train", "cpu")
    images, labels = split.take(torch.arange(len(split)))
    val_images, val_labels = resident(digits, "val", "cpu").take(torch.arange(digits.val_size))
    with reproducible("cpu"):
        model = initialize(build_model(record.trial.model, digits.shape, 10), "kaiming_uniform", seed=3)
        stepper = TORCH_OPTIMIZERS[optimizer](model.parameters())
        step, losses = 0, {0: functional.cross_entropy(model(val_images), val_labels).item()}
        for epoch in range(2):
            order = split.order(3, epoch)
            for batch in order[: len(order) // 32 * 32].split(32):
                if step < 50:
                    stepper.zero_grad()
                    functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                    stepper.step()
                    step += 1
                    losses[step] = functional.cross_entropy(model(val_images), val_labels).item()
    assert record.outcome.status == "finished"
    for point in record.curve:
        assert point.val_loss == pytest.approx(losses[point.step], rel=1e-5)
    assert record.final.val_loss == pytest.approx(losses[50], rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(digits, name):
    record = train(digits, optimizer=name, lr=0.003)
    assert record.curve[-1].train_loss < record.curve[0].train_loss


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains(digits, name):
    model = {"deep_cnn": "deep_cnn(depth=5)", "resnet": "resnet(depth=8, width=4)", "cnn": "cnn(norm='batch')"}
    model["resmlp"] = "resmlp(depth=2, norm='layer')"
    record = train(digits, model=str(MODELS.resolve(model.get(name, name))), steps=6, batch_size=16)
    assert record.outcome.status == "finished"
    assert [point.step for point in record.curve] == [0, 1, 2, 3, 4, 5, 6]


def test_the_same_trial_gives_the_same_bits(digits):
    first, again = (train(digits).model_dump(exclude={"timings"}) for _ in range(2))
    assert first == again


def test_a_seed_governs_weights_and_order_and_another_seed_changes_both(digits):
    split = resident(digits, "train", "cpu")
    assert torch.equal(split.order(0, 1), split.order(0, 1))
    assert not torch.equal(split.order(0, 1), split.order(0, 2))
    assert not torch.equal(split.order(0, 1), split.order(1, 1))
    assert train(digits, seed=1).curve != train(digits, seed=2).curve


def test_all_schemes_of_a_seed_see_the_same_batches(digits, monkeypatch):
    seen = []
    fill = Split._fill

    def spy(self, into, index, *moves):
        if len(index) == 32:  # a batch, not a piece of an evaluation
            seen[-1].append(index.clone())
        return fill(self, into, index, *moves)

    monkeypatch.setattr(Split, "_fill", spy)
    for scheme in ("kaiming_uniform", "orthogonal", "constant(0.1)"):
        seen.append([])
        train(digits, scheme=scheme)
    assert len(seen[0]) == 50
    assert all(len(other) == len(seen[0]) for other in seen)
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


def test_an_epoch_is_a_permutation_in_whole_batches(digits):
    split = resident(digits, "train", "cpu")
    per_epoch = len(split) // 32
    order = split.order(0, 0)
    assert torch.equal(order.sort().values, torch.arange(len(split)))
    batches = [labels[0].clone() for _, labels in split.batches([0], 32, per_epoch + 1)]
    assert all(len(labels) == 32 for labels in batches)
    assert torch.equal(batches[1], split.labels[order[32:64]])
    assert torch.equal(batches[per_epoch], split.labels[split.order(0, 1)[:32]])


def test_batches_are_standardized_by_the_training_split(digits):
    images, _ = resident(digits, "train", "cpu").take(torch.arange(digits.train_size))
    assert images.dtype == torch.float32
    assert float(images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.std(correction=0)) == pytest.approx(1, abs=1e-5)


# Divergence.


def test_divergence_ends_the_curve_at_its_first_step(digits):
    record = train(digits, lr=1e12, model="mlp(depth=8, width=16, activation='relu')")
    assert record.outcome.status == "diverged"
    assert record.final is None
    assert 0 < record.outcome.step <= 50
    assert all(math.isfinite(point.train_loss) and math.isfinite(point.val_loss) for point in record.curve)
    assert all(point.step < record.outcome.step for point in record.curve)


def test_divergence_at_step_0_leaves_no_curve(digits):
    record = train(digits, scheme="constant(1e30)")
    assert record.outcome.status == "diverged"
    assert record.outcome.step == 0
    assert record.curve == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("engine", [autograd.ENGINE, chains.ENGINE])
def test_the_first_loss_that_is_not_finite_is_found_even_when_later_ones_are(digits, bad, engine):
    trial = trial_of(digits, model="linear", steps=5)
    for seen, found in ([1.0, 2.0, bad, 1.0, bad], 2), ([1.0] * 5, 5), ([1.0] * 4 + [bad], 4):
        trainer = engine.open([build_model("linear", digits.shape, 10)], [trial], resident(digits, "train", "cpu"))
        trainer.losses[0] = torch.tensor(seen)
        assert trainer.first_bad(5) == [found]
        assert trainer.first_bad(0) == [0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_evaluation_that_is_not_finite_ends_a_curve_and_leaves_the_others(bad):
    class Fixed:
        def scores(self, images, labels):
            return torch.stack([torch.tensor([[1.0] * 4, [bad] * 4]), torch.ones(2, 4)])

        def first_bad(self, steps):
            return [steps, steps]

    courses = [Course(), Course()]
    probe = Probe(torch.zeros(4, 1), torch.tensor([0, 1, 0, 1]))
    look(courses, Fixed(), probe, 3, 1.0)
    assert [course.outcome for course in courses] == [None, Outcome(status="diverged", step=3)]
    assert [len(course.curve) for course in courses] == [1, 0]


def test_an_exception_is_the_trials_outcome(digits):
    trial = trial_of(digits, scheme="name:nowhere*=zeros")
    record = train_group((trial,), digits)[0]
    assert record.outcome.status == "failed"
    assert "matches no parameter" in record.outcome.reason
    assert "compose.py" in record.outcome.reason


# Exact statements, whatever the data.


def test_constant_weights_keep_all_units_of_a_layer_identical_through_training(digits):
    model = initialize(build_model("mlp(depth=2, width=8)", digits.shape, 10), "constant(0.05)")
    split = resident(digits, "train", "cpu")
    stepper = torch.optim.SGD(model.parameters(), 0.05)
    with reproducible("cpu"):
        for images, labels in split.batches([0], 64, 20):
            stepper.zero_grad()
            functional.cross_entropy(model(images[0]), labels[0]).backward()
            stepper.step()
    for layer in (model.linear1, model.linear2):
        rows = layer.weight.detach()
        assert float((rows - rows[0]).abs().max()) < 1e-6


def test_an_all_zero_network_trains_its_last_bias_only(digits):
    record = train(digits, scheme="zeros", steps=40)
    assert record.curve[0].val_loss == pytest.approx(math.log(10), rel=1e-6)
    assert record.final.val_accuracy < 0.2
    assert record.curve[-1].train_loss == pytest.approx(math.log(10), abs=0.01)


def test_a_zero_head_starts_at_ln_10(digits):
    record = train(digits, scheme="kaiming_uniform; head=zeros", steps=5)
    assert record.curve[0].val_loss == pytest.approx(math.log(10), rel=1e-6)


def test_eye_leaves_activations_bit_identical_after_the_first_layer():
    model = initialize(build_model("mlp(depth=6, width=64)", (1, 8, 8), 10), "eye")
    x = torch.rand(5, 1, 8, 8)
    first = model[:3](x)
    assert torch.equal(model[:-1](x), first)


# The schedule.


@given(steps=st.integers(1, 200_000), evaluations=st.integers(2, 60))
def test_evaluations_begin_at_0_end_at_the_last_step_and_are_log_spaced(steps, evaluations):
    schedule = evaluation_steps(steps, evaluations)
    assert schedule[0] == 0
    assert schedule[-1] == steps
    assert schedule == sorted(set(schedule))
    assert len(schedule) <= evaluations
    gaps = [b - a for a, b in pairwise(schedule)]
    assert all(later >= earlier - 1 for earlier, later in pairwise(gaps[1:]))


@given(
    steps=st.integers(1, 10_000), batch=st.integers(1, 512), evaluations=st.integers(3, 40), images=st.integers(1, 9999)
)
def test_evaluation_on_the_way_costs_a_twentieth_beyond_its_least_sample(steps, batch, evaluations, images):
    size = evaluation_sample(steps, batch, evaluations, images)
    assert 1 <= size <= images
    if size > 160:
        assert 2 * size * evaluations <= 0.05 * 3 * steps * batch


def test_evaluate_is_the_mean_over_all_images_whatever_the_chunks(digits, monkeypatch):
    model = initialize(build_model("linear", digits.shape, 10), "kaiming")
    split = resident(digits, "test", "cpu")
    images, labels = split.take(torch.arange(len(split)))
    logits = model(images)
    expected = functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).double().mean().item()
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    loss, accuracy = evaluation.evaluate(trainer_of(model, digits), split, split.sample(len(split)))
    assert (float(loss), float(accuracy)) == pytest.approx(expected, rel=1e-5)


def test_batch_norm_and_mode_are_as_evaluation_needs_them(digits):
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    split = resident(digits, "val", "cpu")
    evaluation.evaluate(trainer_of(model, digits), split, split.sample(20))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
