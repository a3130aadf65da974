"""Trials that raise, exit, crash, hang or eat memory: recorded with the reason, and the others finish."""

import os
import sys
import time

import pytest
from fork_server import SCALE, all_gone, children_of
from stored import payloads

from initbench.running import runner
from initbench.running.observer import Silent
from initbench.running.plan import draft_of, plan_study
from initbench.running.pool import LocalPool

pytestmark = pytest.mark.process

BAD = '''
import ctypes, os, resource, signal, sys, time
import torch

def fine(tensor, layer, generator):
    tensor.normal_(0, 0.1, generator=generator)

def raises(tensor, layer, generator):
    raise RuntimeError("not today")

def leaves(tensor, layer, generator):
    sys.exit(3)

def nan(tensor, layer, generator):
    tensor.fill_(float("nan"))

def kills(tensor, layer, generator):
    os.kill(os.getpid(), signal.SIGKILL)

def quits(tensor, layer, generator):
    os._exit(0)

def crashes(tensor, layer, generator):
    ctypes.string_at(0)

def sleeps(tensor, layer, generator):
    while True:
        time.sleep(1)

def holds(tensor, layer, generator):
    """Never returns and lets no other thread of its process run."""
    ctypes.PyDLL(None).pause()

def at_most(more):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
    return before

def eats(tensor, layer, generator):
    before = at_most(2**28)
    try:
        blocks = []
        while True:
            blocks.append(bytearray(2**24))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def eats_tensors(tensor, layer, generator):
    before = at_most(2**28)
    try:
        blocks = []
        while True:
            blocks.append(torch.empty(2**24))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
'''
REASONS = {
    "raises": "RuntimeError: not today (",
    "leaves": "SystemExit: 3 (",
    "kills": "its worker process died twice (SIGKILL",
    "quits": "its worker process died twice (exit code 0)",
    "crashes": "its worker process died twice (SIGSEGV)",
    "sleeps": "it took longer than 6 s (--trial-timeout)",
    "holds": "it took longer than 6 s (--trial-timeout)",
    "eats": "MemoryError",
    "eats_tensors": "RuntimeError: ",
}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "bad.py").write_text(BAD)
    return tmp_path


def outcomes(out):
    """Each stored trial's outcome by the name of its scheme, and whether its worker's memory went with it."""
    import json

    documents = [json.loads(path.read_text())["payload"] for path in out.glob("trials/*/*.json")]
    return {(d["trial"]["scheme"].rpartition(":")[2], d["trial"]["seed"]): d["outcome"] for d in documents}


def command(names, *more):
    schemes = [part for name in names for part in ("-s", f"bad.py:{name}")]
    return ("compare", "-m", "linear", "-d", "digits", "--steps", "4", "--name", "m", *schemes, *more)


@pytest.mark.long
def test_every_way_to_misbehave_is_recorded_and_the_others_finish(fork_server, home):
    # Each lost worker costs seconds to replace; the others are lost in the long form, or in a test below.
    failing = [name for name in REASONS if SCALE > 1 or name not in {"quits", "holds"}]
    names = [*failing, "nan", "fine"]
    flags = ("--seeds", "1", "--trial-timeout", "6", "--out", "out", "--jobs", "2", "-s", "kaiming", "-q")
    run = fork_server.start(*command(names, *flags), home=home)
    seen = set()
    while not run.ends_within(0.1):
        seen.update(children_of(run.pid))
    assert run.wait() == 3, run.stderr
    assert run.stderr.startswith(f"error: {len(failing)} of {len(names) + 1} trials failed")
    assert "If memory is short, train fewer at a time: lower --jobs." in run.stderr
    assert "Traceback" not in run.stderr
    assert all_gone(seen) is not None
    found = outcomes(home / "out")
    for name in failing:
        assert found[name, 0]["status"] == "failed"
        assert found[name, 0]["reason"].startswith(REASONS[name]), found[name, 0]
    assert found["nan", 0] == {"status": "diverged", "step": 0, "reason": ""}
    assert found["fine", 0]["status"] == found["kaiming_uniform", 0]["status"] == "finished"
    alone = fork_server.run(*command(["fine"], "--seeds", "1", "--jobs", "1", "--out", "alone", "-q"), home=home)
    assert alone.returncode == 0
    assert payloads(home / "alone").items() <= payloads(home / "out").items()
    report = fork_server.run("report", "out/m", home=home)
    assert report.returncode == 0
    for name in names:
        assert name in report.stdout


@pytest.mark.long
def test_one_trial_that_kills_its_process_does_not_kill_the_run(fork_server, home):
    flags = ("-m", "linear", "--seeds", "1", "--jobs", "1", "--out", "out")
    run = fork_server.run("run", "-s", "bad.py:crashes", *flags, home=home)
    assert run.returncode == 3
    assert outcomes(home / "out")["crashes", 0]["reason"] == REASONS["crashes"]


@pytest.mark.long
def test_a_worker_that_lets_no_thread_run_ends_with_its_killed_parent(fork_server, home):
    run = fork_server.start(*command(["holds"], "--seeds", "1", "--out", "out", "--jobs", "1"), home=home)
    while not (workers := children_of(run.pid)):
        time.sleep(0.01)
    assert not run.ends_within(4)
    run.send(9)
    run.wait()
    took = all_gone(workers)
    assert took is not None
    print(f"gone after {took:.2f} s")


def test_of_a_group_that_loses_its_worker_the_guilty_trial_alone_fails(home, monkeypatch):
    """Groups of several, as engines that stack networks take: one quits, one raises."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    flags = {"model": "linear", "steps": 3, "seeds": 1}
    lost = ["bad.py:quits", "bad.py:raises"]
    draft = draft_of(None, flags | {"schemes": ["kaiming", *lost, "zeros"]}, "--")
    study, pool = plan_study(draft, home / "out"), LocalPool(jobs=1)
    alone = plan_study(draft_of(None, flags | {"schemes": ["kaiming", "zeros"]}, "--"), home / "alone")
    truth = runner.train_missing(alone, alone.trials, pool, Silent())
    monkeypatch.setattr(runner, "_groups", lambda trials, _: [tuple(trials)])
    records = runner.train_missing(study, study.trials, pool, Silent())
    assert [record.outcome.status for record in records] == ["finished", "failed", "failed", "finished"]
    assert records[1].outcome.reason == REASONS["quits"]
    assert records[2].outcome.reason.startswith(REASONS["raises"])
    assert payloads(home / "alone").items() <= payloads(home / "out").items()
    assert [r.model_dump(exclude={"timings"}) for r in truth] == [
        r.model_dump(exclude={"timings"}) for r in (records[0], records[3])
    ]


def test_a_limit_that_no_trial_meets_changes_no_byte(fork_server, home):
    flags = ("-m", "linear", "-s", "kaiming", "--steps", "4", "--seeds", "2", "-q", "--name", "l", "--jobs", "1")
    assert fork_server.run("compare", *flags, "--out", "without", home=home).returncode == 0
    assert fork_server.run("compare", *flags, "--out", "with", "--trial-timeout", "200", home=home).returncode == 0
    assert payloads(home / "without") == payloads(home / "with")
