"""The program that settles a GPU, rehearsed on the CPU; and the recorder that stands in for CUDA graphs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from initbench import datasets
from initbench.training.start import begin
from tests.gpu import answers, recorder
from tests.gpu.finding import Setting
from tests.gpu.networks import trial_of

ROOT = Path(__file__).resolve().parent.parent


class Step:
    """A stepper whose step is what a test gives."""

    def __init__(self, take):
        self.take = take

    def step(self, images, labels, *, gradients):
        return self.take(images)


def test_a_replay_computes_from_what_the_memory_holds_now():
    total, images = torch.zeros(2), torch.ones(2)
    replay = recorder.replayed(Step(lambda x: total.add_(x * 2) + 1))
    assert replay(images, images).tolist() == [3, 3]
    images.fill_(5)
    assert replay(images, images).tolist() == [13, 13]
    assert total.tolist() == [12, 12]


def test_a_replay_runs_no_python():
    """A rate that Python counts up is frozen; that is what a graph would do to an optimizer's step."""
    count = iter(range(1, 9))
    replay = recorder.replayed(Step(lambda x: x * next(count)))
    images = torch.ones(1)
    assert [replay(images, images).item() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("take", [lambda x: x * x.sum().item(), lambda x: x[x > 0], lambda x: x + torch.randn(2)])
def test_what_a_graph_cannot_capture_is_refused(take):
    images = torch.ones(2)
    with pytest.raises(AssertionError, match="cannot capture"):
        recorder.replayed(Step(take))(images, images)


def test_every_engine_of_a_gpu_gives_right_answers_on_the_cpu(tmp_path):
    findings = list(answers.run(Setting("cpu", tmp_path, tmp_path / "found", quick=True)))
    assert [f"{finding.what}: {finding.seen}" for finding in findings if finding.state == "WRONG"] == []
    assert len([finding for finding in findings if finding.state == "ok"]) > 9


def test_step_0_is_measured_on_the_cpu_for_every_device(monkeypatch):
    digits = datasets.prepare("digits")
    named = {"dataset": digits.name, "fingerprint": digits.fingerprint}
    expected = begin(trial_of(**named), digits).step_zero
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)  # there is no such device here
    assert begin(trial_of(**named, device="cuda"), digits).step_zero == expected


@pytest.mark.process
def test_trials_of_a_gpu_need_no_numba():
    """It may be missing on a machine whose GPU trains."""
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numba", "llvmlite"}: raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from tests.gpu.networks import trial_of
from initbench import datasets, training
import initbench.cli.compare, initbench.running.worker
from initbench.training.choice import choose
from initbench.training.environment import describe
digits = datasets.prepare("digits")
for model in ("mlp(depth=2, width=16)", "cnn(depth=2, width=8)"):
    choose(trial_of(model=model, device="cuda"), digits)
describe("cuda", "stacked")
from initbench.training import autograd, loop
named = {"dataset": digits.name, "fingerprint": digits.fingerprint, "steps": 2}
loop.train([trial_of(**named)], digits, lambda *_: None, autograd.ENGINE)  # what the GPU is compared with
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.long
@pytest.mark.process
def test_the_whole_program_is_rehearsed(tmp_path):
    command = [sys.executable, "-m", "tests.gpu", "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (page,) = tmp_path.glob("gpu-*.md")
    found = json.loads(page.with_suffix(".json").read_text())
    assert {finding["part"] for finding in found} == {"machine", "answers", "command", "speed", "habits", "profile"}
    assert all(finding["seen"] for finding in found if finding["state"] == "skipped")
    assert "give the right answer" in page.read_text()
