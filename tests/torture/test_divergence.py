"""Numbers that are not finite, wherever they arise: the curve ends there, and nothing is imputed or called best."""

import json
import math

import pytest
from stored import payloads

from initbench import datasets
from initbench.core.usercode import source_hash
from initbench.records import store
from initbench.records.recipe import Trial
from initbench.running.worker import train_group

pytestmark = pytest.mark.process

OWN = '''
import torch
from torch import nn

def filled(value, names):
    def fill(tensor, layer, generator):
        tensor.normal_(0, 0.3, generator=generator)
        if layer.name in names:
            tensor.view(-1)[0] = value
    def scheme(tensor, layer, generator):
        fill(tensor, layer, generator)
    return scheme

nan_first = filled(float("nan"), ["linear1"])
inf_first = filled(float("inf"), ["linear1"])
minus_first = filled(float("-inf"), ["linear1"])
nan_head = filled(float("nan"), ["head"])
inf_head = filled(float("inf"), ["head"])
minus_head = filled(float("-inf"), ["head"])
huge = filled(3e38, ["linear1", "linear2", "head"])

class Odd(nn.Module):
    """An MLP in which something goes wrong in the third training batch, or at every evaluation, or in a gradient."""

    def __init__(self, inputs, classes, what):
        super().__init__()
        self.linear1, self.head = nn.Linear(inputs, 16), nn.Linear(16, classes)
        self.what, self.calls = what, 0

    def forward(self, images):
        x = self.linear1(images.flatten(1))
        self.calls += self.training
        third = self.training and self.calls == 3
        if self.what == "gradient" and third:
            x = x + (x * 0).abs().sqrt()  # 0, and its derivative is 0 times infinity
        x = torch.relu(x)
        if self.what == "activation" and third:
            x = x / 0
        if self.what == "evaluation" and not self.training:
            x = x * float("inf")
        if self.what == "once" and third:  # a loss that is not finite, and finite ones before and after it
            return Poison.apply(self.head(x))
        return self.head(x)

class Poison(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.full_like(x, float("nan"))

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)

def gradient(shape, classes):
    return Odd(shape[0] * shape[1] * shape[2], classes, "gradient")

def activation(shape, classes):
    return Odd(shape[0] * shape[1] * shape[2], classes, "activation")

def evaluation(shape, classes):
    return Odd(shape[0] * shape[1] * shape[2], classes, "evaluation")

def once(shape, classes):
    return Odd(shape[0] * shape[1] * shape[2], classes, "once")
'''
FILLS = ["nan_first", "inf_first", "minus_first", "nan_head", "inf_head", "minus_head", "huge"]


@pytest.fixture
def digits(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    (tmp_path / "own.py").write_text(OWN)
    return datasets.prepare("digits")


def trial(digits, **changes):
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": digits.name,
        "fingerprint": digits.fingerprint, "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.05,
        "batch_size": 32, "steps": 8, "seed": 0,
    } | changes  # fmt: skip
    code = tuple((name, source_hash(name)) for name in (values["model"], values["scheme"]) if ".py:" in name)
    return Trial(**values, code=code or None)


def trained(digits, **changes):
    return train_group((trial(digits, **changes),), digits)[0]


def hold_strict(record, out):
    """A record comes back from the store as it was, and no number in it is other than finite or absent."""
    path = store.write(out, record)

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    assert store.read(out, record.trial.id) == record
    for point in record.curve:
        assert all(math.isfinite(value) for value in (point.train_loss, point.val_loss, point.val_accuracy))
    if record.outcome.status == "diverged":
        assert record.final is None
        assert all(point.step <= record.outcome.step for point in record.curve)


@pytest.mark.parametrize("scheme", FILLS)
def test_weights_that_are_not_finite_diverge_at_step_0(digits, tmp_path, scheme):
    record = trained(digits, scheme=f"own.py:{scheme}")
    hold_strict(record, tmp_path)
    if scheme in {"inf_first", "minus_first"}:
        # Where a ReLU shuts that unit for every image, all else is finite and counts; where it does not, nothing is.
        assert record.outcome.status in {"diverged", "finished"}
    else:
        assert record.outcome.status == "diverged", record.outcome
        assert record.outcome.step == 0
        assert record.curve == ()


CASES = [("gradient", 3, 3), ("activation", 2, 3), ("evaluation", 0, 0), ("once", 2, 3)]


@pytest.mark.parametrize(("model", "step", "points"), CASES)
def test_divergence_is_told_at_its_first_step(digits, tmp_path, model, step, points):
    """Loss i is that after i updates: a bad third batch is loss 2, and a bad third gradient shows in loss 3.

    The curve ends at the last evaluation before the bad number, which a bad batch may follow at the same step.
    """
    record = trained(digits, model=f"own.py:{model}")
    hold_strict(record, tmp_path)
    assert record.outcome.status == "diverged", record.outcome
    assert record.outcome.step == step
    assert [point.step for point in record.curve] == list(range(points))
    assert record.early is not None
    if model == "gradient":
        assert record.early.losses[2] is not None
        assert record.early.gradient_norms[2] is None
    if model == "once":
        assert record.early.losses[2] is None
        assert all(loss is not None for i, loss in enumerate(record.early.losses) if i != 2)


@pytest.mark.parametrize("bad", ["own.py:nan_first", "own.py:inf_head", "own.py:huge"])
def test_one_diverging_trial_of_a_group_changes_no_other(digits, tmp_path, bad):
    group = tuple(
        trial(digits, scheme=scheme, seed=seed, lr=lr)
        for scheme, seed, lr in [("kaiming_uniform", 0, 0.05), (bad, 0, 0.05), ("kaiming_uniform", 1, 0.05),
                                 ("kaiming_uniform", 2, 1e5), ("xavier_normal", 1, 0.05)]
    )  # fmt: skip
    together = train_group(group, digits)
    alone = [train_group((one,), digits)[0] for one in group]
    assert [r.outcome.status for r in together] == ["finished", "diverged", "finished", "diverged", "finished"]
    for a, b in zip(together, alone, strict=True):
        assert a.model_dump(exclude={"timings"}) == b.model_dump(exclude={"timings"})


def test_what_diverged_is_ranked_nowhere(fork_server, tmp_path):
    """Through the command line: the documents are strict, the tables say diverged, and no place calls it best."""
    (tmp_path / "own.py").write_text(OWN)
    bad = ["own.py:nan_first", "own.py:inf_head"]
    flags = (
        "-m",
        "mlp(depth=2, width=16)",
        "--steps",
        "40",
        "--lr",
        "0.05",
        "--seeds",
        "3",
        "--jobs",
        "1",
        "--name",
        "x",
    )
    schemes = [part for name in (bad[0], "kaiming", bad[1]) for part in ("-s", name)]
    run = fork_server.run("compare", *flags, *schemes, "--baseline", "kaiming", "--json", "--out", "out", home=tmp_path)
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    rows = {row["scheme"]: row for row in document["summary"]}
    for name in bad:
        assert (rows[name]["finished"], rows[name]["diverged"], rows[name]["learned"]) == (0, 3, 0)
        assert rows[name]["test_accuracy"] is None
        assert rows[name]["final_val_loss"] is None
    assert rows["kaiming_uniform"]["learned"] == 3
    for row in document["verdicts"]:
        assert "better" not in json.dumps({k: v for k, v in row.items() if k != "scheme"}) or row["scheme"] not in bad
    assert not any(
        f"{name} is highest" in note or f"best: {name}" in note for name in bad for note in document["notes"]
    )
    lines = [line for line in (tmp_path / "out/x/trials.csv").read_text().splitlines() if "own.py" in line]
    assert len(lines) == 6
    assert all(
        "diverged" in line and "nan" not in line.replace("nan_first", "") and "inf," not in line for line in lines
    )


def test_a_rate_at_which_all_diverges_is_never_chosen(fork_server, tmp_path):
    flags = ("-m", "linear", "-s", "kaiming", "--steps", "20", "--seeds", "2", "--jobs", "1", "--name", "x", "-q")
    run = fork_server.run("compare", *flags, "--lr", "1e20,0.05,1e30", "--json", "--out", "out", home=tmp_path)
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert document["summary"]
    assert all(row["lr"] < 1 for row in document["summary"])
    assert payloads(tmp_path / "out")
