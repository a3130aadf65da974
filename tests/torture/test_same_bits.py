"""One trial, the same bytes: for any --jobs, order and other schemes, on one core, after a resume; golden draws."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fork_server import ROOT
from stored import payloads

from initbench.training.environment import device_name

sys.path.insert(0, str(ROOT))
from tests.golden.draws import FILE, current

pytestmark = pytest.mark.process

SCHEMES = ["kaiming", "orthogonal", "torch_default", "lsuv", "sparse(0.3)"]
FLAGS = ("-m", "linear", "-m", "cnn(depth=2, width=4)", "-o", "adam", "--steps", "6", "--batch-size", "16", "-q")


def command(schemes, seeds, jobs, out, name="b"):
    chosen = [part for scheme in schemes for part in ("-s", scheme)]
    return ("compare", *FLAGS, *chosen, "--seeds", seeds, "--jobs", jobs, "--out", out, "--name", name)


@pytest.fixture(scope="module")
def truth(fork_server, tmp_path_factory):
    """All trials by one job, in one run."""
    home = tmp_path_factory.mktemp("bits")
    run = fork_server.run(*command(SCHEMES, "0,1", 1, home / "out"), home=home)
    assert run.returncode == 0, run.stderr
    found = payloads(home / "out")
    assert len(found) == 20
    return found


@pytest.mark.parametrize("jobs", [2, pytest.param(3, marks=pytest.mark.long)])
def test_jobs_change_no_byte(fork_server, tmp_path, truth, jobs):
    assert fork_server.run(*command(SCHEMES, "0,1", jobs, tmp_path / "out"), home=tmp_path).returncode == 0
    assert payloads(tmp_path / "out") == truth


def test_order_changes_no_byte(fork_server, tmp_path, truth):
    assert fork_server.run(*command(SCHEMES[::-1], "1,0", 1, tmp_path / "out"), home=tmp_path).returncode == 0
    assert payloads(tmp_path / "out") == truth


@pytest.mark.long
def test_other_schemes_and_seeds_change_no_byte(fork_server, tmp_path, truth):
    fewer, more = tmp_path / "fewer", tmp_path / "more"
    assert fork_server.run(*command(SCHEMES[1:2], "1", 1, fewer), home=tmp_path).returncode == 0
    assert payloads(fewer).items() <= truth.items()
    assert len(payloads(fewer)) == 2
    assert fork_server.run(*command([*SCHEMES, "ones", "zeros"], "5,1,0", 1, more), home=tmp_path).returncode == 0
    assert truth.items() <= payloads(more).items()


@pytest.mark.long
def test_a_resume_changes_no_byte(fork_server, tmp_path, truth):
    out = tmp_path / "out"
    assert fork_server.run(*command(SCHEMES[:2], "1", 1, out), home=tmp_path).returncode == 0
    assert fork_server.run(*command(SCHEMES[1:4], "1,0", 1, out), home=tmp_path).returncode == 0
    assert fork_server.run(*command(SCHEMES, "0,1", 1, out), home=tmp_path).returncode == 0
    assert payloads(out) == truth


@pytest.mark.long
@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset here")
def test_one_core_changes_no_byte(tmp_path, cache, truth):
    """A process of its own on one core, with the number of threads left to torch."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": str(ROOT), "INITBENCH_CACHE": str(cache)}
    pinned = [shutil.which("taskset"), "-c", "0", sys.executable, "-m", "initbench"]
    asked = map(str, command(SCHEMES, "0,1", 1, tmp_path / "o"))
    run = subprocess.run([*pinned, *asked], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert payloads(tmp_path / "o") == truth


# What torch draws, against a file in the repository.


@pytest.fixture(scope="module")
def drawn():
    return json.loads(FILE.read_text()), current()


REMEDY = (
    "If only the release of torch changed ({} made the file, this is {}), stored trials of the two releases are not "
    "comparable: raise the format in recipe.Trial's id so that none is mixed up, run `python -m tests.golden`, and say "
    "so in the release notes. If torch is the same, the package draws otherwise than it did: that is a defect."
)


def test_weights_are_drawn_as_ever(drawn):
    golden, now = drawn
    remedy = REMEDY.format(golden["torch"], now["torch"])
    assert golden["weights"].keys() == now["weights"].keys(), "a scheme came or went: run `python -m tests.golden`"
    same_machine = golden["processor"] == now["processor"] and golden["torch"] == now["torch"]
    for name, weights in golden["weights"].items():
        found = now["weights"][name]
        assert found["first"] == pytest.approx(weights["first"], rel=2e-4, abs=1e-6), f"{name}. {remedy}"
        assert found["norm"] == pytest.approx(weights["norm"], rel=1e-5), f"{name}. {remedy}"
        if same_machine:  # other processors may round the last bit of a logarithm or of a QR decomposition otherwise
            assert found["sha256"] == weights["sha256"], f"{name}. {remedy}"


def test_data_come_in_the_order_as_ever(drawn):
    """Whole numbers: the same on every processor."""
    golden, now = drawn
    assert golden["orders"] == now["orders"], REMEDY.format(golden["torch"], now["torch"])


def test_draws_do_not_depend_on_threads_or_the_global_seed(drawn):
    _, now = drawn
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(99)
        assert current() == now
    finally:
        torch.set_num_threads(threads)


# Forced instruction sets: whatever kernels the libraries choose, company must not be what they choose by.

FORCED = {
    "sse": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
COMPANY = """
from initbench import datasets, training
from initbench.training.choice import group_trials
from initbench.networks.models import MODELS
from initbench.records.recipe import Trial

digits = datasets.prepare("digits")

def trial(model, scheme, batch, seed=1):
    return Trial(model=str(MODELS.resolve(model)), dataset="digits", fingerprint=digits.fingerprint, scheme=scheme,
        optimizer="sgd(momentum=0.9)", lr=0.01, batch_size=batch, steps=6, seed=seed, evaluations=4)

asked = [trial(*of) for of in (
    ("mlp(depth=2, width=31)", "lsuv", 17), ("mlp(depth=2, width=31)", "orthogonal", 17),
    ("mlp(depth=2, width=64)", "kaiming_uniform", 64), ("mlp(depth=1, width=512)", "xavier_normal", 512),
    ("cnn(depth=2, width=4)", "lsuv", 1), ("cnn(depth=2, width=4)", "zeros", 1),
    ("cnn(depth=2, width=8, norm='batch')", "kaiming_normal", 33), ("lenet", "kaiming_uniform", 16),
    ("resnet(depth=8, width=4)", "orthogonal", 16), ("resnet(depth=8, width=8)", "normal(std=1e20)", 16),
)]

def train(trials):
    groups = group_trials(trials, {digits.fingerprint: digits})
    records = [record for group in groups for record in training.train(group, digits, lambda *_: None)]
    return {record.trial.id: record.model_dump_json(exclude={"timings"}) for record in records}

together = train(asked)
print(train(asked[::-1]) == together, [train([one])[one.id] == together[one.id] for one in asked[::3]])
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["sse", *(pytest.param(name, marks=pytest.mark.long) for name in ("avx2", "avx512"))])
def test_company_changes_no_bit_whatever_kernels_the_libraries_choose(cache, name):
    if name not in ("sse", torch.backends.cpu.get_cpu_capability().lower()) and not has(name):
        pytest.skip(f"{device_name('cpu')} has no {name}")
    env = os.environ | {"PYTHONPATH": str(ROOT), "INITBENCH_CACHE": str(cache), **FORCED[name]}
    run = subprocess.run([sys.executable, "-c", COMPANY], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "True [True, True, True, True]\n", f"on {device_name('cpu')}, {name}"


def has(name):
    return name in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
