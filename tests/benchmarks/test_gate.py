"""The benchmark prints no ratio between unequal works: real contenders, small networks, no seconds."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from contenders import compiled_loop, eager, ours, tutorial
from contenders.common import Job, order
from gate import ACCURACY_BAND, closeness, disagreements
from roofline import Work, work_of
from rounds import contenders_of, left_out
from workloads import WORKLOADS, find_data, lay_out

from initbench import datasets
from initbench.datasets.batches import resident
from initbench.networks.models import build_model

pytestmark = pytest.mark.long  # of `make bench`, which no promise rests on

DIGITS = replace(WORKLOADS["A"], model="mlp(depth=2, width=32)", dataset="digits", batch_size=32, trials=2, steps=60)
SMALL_CNN = replace(DIGITS, model="cnn(depth=2, width=4)", batch_size=16, steps=20)


@pytest.fixture(scope="module")
def dataset():
    return datasets.prepare("digits")


def trials_of(workload):
    return lay_out(workload, "digits", Path())


def job_of(trials, **layout):
    return Job(list(trials), "digits", ".", processes=1, **layout)


@pytest.fixture(scope="module")
def reference(dataset):
    """What initbench makes of the trials that others are held against."""
    return ours.train_groups(ours.divide(trials_of(DIGITS), dataset), dataset)


def contend(train, trials, dataset):
    return [train(trial, dataset, job_of(trials)) for trial in trials]


@pytest.mark.parametrize("train", [tutorial.train, eager.train], ids=["tutorial", "eager"])
def test_contenders_that_do_the_same_work_are_let_through(train, reference, dataset):
    other = contend(train, trials_of(DIGITS), dataset)
    assert disagreements(reference, other) == []
    early, final = closeness(reference, {"other": other})
    assert early < 1e-5
    assert final <= 1 / dataset.val_size


def test_lightning_does_the_same_work(reference, dataset):
    pytest.importorskip("pytorch_lightning", reason="`make bench` installs it", exc_type=ImportError)
    from contenders import lightning_loop

    assert disagreements(reference, contend(lightning_loop.train, trials_of(DIGITS), dataset)) == []


@pytest.mark.long
@pytest.mark.parametrize("form", ["fori_loop", "scan"])
def test_jax_does_the_same_work(form, dataset):
    jax_loop = jax_contender()
    trials = trials_of(replace(DIGITS, evaluations=5))  # a scan is compiled for every stretch between two
    mine = ours.train_groups(ours.divide(trials, dataset), dataset)
    other = [jax_loop.train(trial, dataset, job_of(trials, form=form)) for trial in trials]
    assert disagreements(mine, other) == []
    assert closeness(mine, {"JAX": other})[0] < 1e-5


def test_jax_with_another_rate_is_refused(reference, dataset):
    jax_loop = jax_contender()
    trials = [trial.model_copy(update={"lr": DIGITS.lr * 1.02}) for trial in trials_of(DIGITS)]
    other = [jax_loop.train(trial, dataset, job_of(trials, form="fori_loop")) for trial in trials]
    assert any("losses differ" in fault for fault in disagreements(reference, pretending(other, reference)))


@pytest.mark.parametrize("model", ["cnn(depth=2, width=4)", "mlp(depth=2, width=8, activation='tanh')"])
def test_jax_refuses_what_it_is_not_written_for(model, dataset):
    with pytest.raises(SystemExit, match="only chains of Linear and ReLU"):
        jax_contender().parameters_of(build_model(model, dataset.shape, dataset.classes))


def jax_contender():
    pytest.importorskip("jax", reason="`make bench` installs it")
    from contenders import jax_loop

    return jax_loop


@pytest.mark.long
@pytest.mark.skipif(bool(compiled_loop.missing()), reason=compiled_loop.missing())
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own compiler calls it
def test_torch_compile_does_the_same_work(reference, dataset):
    other = contend(compiled_loop.train, trials_of(DIGITS), dataset)
    assert disagreements(reference, other) == []
    assert closeness(reference, {"torch.compile": other})[0] < 1e-5


def test_who_cannot_run_is_left_out(monkeypatch, dataset):
    job = job_of(trials_of(DIGITS))
    monkeypatch.setattr(compiled_loop, "CXX", "no-such-compiler")
    assert "no-such-compiler" in left_out()["torch.compile"]
    assert "torch.compile" not in contenders_of(DIGITS, job, {})
    assert "eager loop" in contenders_of(DIGITS, job, {})


def test_convolutions_and_channels_last_do_the_same_work(dataset):
    trials = trials_of(SMALL_CNN)
    mine = ours.train_groups(ours.divide(trials, dataset), dataset)
    for train, last in ((tutorial.train, False), (eager.train, False), (eager.train, True)):
        other = [train(trial, dataset, job_of(trials, channels_last=last)) for trial in trials]
        assert disagreements(mine, other) == []


def pretending(trained, reference):
    """Results under the names of the trials that they stand for."""
    return [replace(mine, trial=theirs.trial) for mine, theirs in zip(trained, reference, strict=True)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lr": DIGITS.lr * 1.02}, "losses differ"),
        ({"steps": DIGITS.steps - 1}, "steps: initbench 60, the other 59"),
        ({"batch_size": DIGITS.batch_size - 1}, "samples: initbench 1920, the other 1860"),
        ({"evaluations": 20}, "evaluated"),
        ({"scheme": "kaiming_normal"}, "losses differ"),
    ],
    ids=["lr", "step", "batch", "evaluations", "scheme"],
)
def test_other_work_is_refused(change, fault, reference, dataset):
    trials = [trial.model_copy(update=change) for trial in trials_of(DIGITS)]
    found = disagreements(reference, pretending(contend(eager.train, trials, dataset), reference))
    assert any(fault in sentence for sentence in found), found


def test_another_order_of_batches_is_refused(monkeypatch, reference, dataset):
    monkeypatch.setattr(eager, "order", lambda data, seed, epoch: order(data, seed + 1, epoch))
    found = disagreements(reference, contend(eager.train, trials_of(DIGITS), dataset))
    assert any("losses differ" in sentence for sentence in found), found


def test_a_worse_final_model_an_unknown_trial_and_a_loss_that_is_no_number_are_refused(reference):
    first, *rest = reference
    train, val, (loss, accuracy) = first.final
    worse = replace(first, final=[train, val, (loss, accuracy - 1.5 * ACCURACY_BAND)])
    assert "final accuracies differ" in disagreements(reference, [worse, *rest])[0]
    assert "did not finish" in disagreements(reference, [replace(first, final=[]), *rest])[0]
    assert "did not train" in disagreements(reference, [replace(first, trial="another")])[0]
    assert disagreements(reference, []) != []
    step, _, *others = first.curve[0]
    undefined = replace(first, curve=[(step, math.nan, *others), *first.curve[1:]])
    assert "losses differ" in disagreements(reference, [undefined])[0]


def test_the_order_is_that_of_the_package(dataset):
    split = resident(dataset, "train", "cpu")
    per_epoch = len(split) // 32
    theirs = torch.cat([labels[0].clone() for _, labels in split.batches([7], 32, per_epoch + 1)])
    mine = torch.cat([order(dataset, 7, 0)[: 32 * per_epoch], order(dataset, 7, 1)[:32]])
    assert torch.equal(split.labels[mine], theirs)


@pytest.mark.parametrize(
    ("key", "shape", "megaflop"),
    [
        # Forward, weight gradient and input gradient are 2 × batch × inputs × outputs each; the first layer needs no
        # input gradient. A convolution's are 2 × batch × places × 9 × channels in × channels out.
        ("A", (1, 28, 28), 256 * (2 * 784 * 256 + 3 * (256 * 256 + 256 * 10)) / 1e6),
        ("C", (1, 28, 28), 256 * (2 * 784 * 64 + 3 * (28 * 64 * 64 + 64 * 10)) / 1e6),
        ("B", (3, 32, 32), 256 * (2 * 1024 * 27 * 32 + 3 * (1024 * 288 * 32 + 256 * 864 * 64 + 40960)) / 1e6),
    ],
)  # fmt: skip
def test_the_floor_counts_what_the_maths_needs(key, shape, megaflop):
    work = work_of(WORKLOADS[key].model, shape, 10, 128)
    assert isinstance(work, Work)
    assert work.step / 1e6 == pytest.approx(megaflop, rel=1e-9)


def test_without_real_images_made_ones_of_their_shape_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))
    path, name = find_data("cifar10", tmp_path / "nowhere", tmp_path)
    made = datasets.prepare(path)
    assert "made images" in name
    assert (made.shape, made.classes, made.train_size) == ((3, 32, 32), 10, 9000)
