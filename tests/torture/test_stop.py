"""Ctrl-C and SIGTERM at random moments: exit 130, what is finished is kept and summarized, and nothing stays behind."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fork_server import ROOT, SCALE, all_gone, children_of, session_of
from long_form import rounds
from stored import payloads

pytestmark = pytest.mark.process

SWEEP = ("compare", "-m", "linear", "-d", "digits", "--steps", "25", "-s", "kaiming", "-s", "zeros", "--name", "s")
BOUND = 2.0  # seconds, held in the long form; elsewhere a machine may be too busy


def sweep(out, seeds, jobs):
    return (*SWEEP, "--seeds", seeds, "--jobs", jobs, "--out", out)


def hold_stopped(run, out, truth):
    """A run that was stopped says how many trials it kept, shows them, and how to go on; return that command."""
    assert run.returncode == 130, run.stderr
    assert "Traceback" not in run.stderr
    kept = payloads(out)
    assert kept.items() <= truth.items()
    told = re.search(r"Interrupted (?:with (\d+) of \d+ trials stored|before .*)\. To continue: (.+)", run.stderr)
    assert told, run.stderr
    assert int(told[1] or 0) == len(kept)
    assert bool(kept) == ("against baseline" in " ".join(run.stdout.split()))
    assert not kept or (out / "s" / "report.html").stat().st_size
    assert not list(out.rglob("*.part"))
    return shlex.split(told[2])[1:]


@pytest.mark.parametrize(
    ("how", "jobs", "times"),
    [
        ("group", 2, 2),
        *(
            pytest.param(how, jobs, times * SCALE, marks=pytest.mark.long)
            for how, jobs, times in (("parent", 1, 10), ("term", 1, 5), ("group", 2, 3))
        ),
    ],
)
def test_a_stopped_run_keeps_what_is_finished_and_says_how_to_go_on(fork_server, tmp_path, how, jobs, times):
    rng, seeds = random.Random(f"{how} {jobs}"), 8 if jobs == 1 else 30
    whole = fork_server.run(*sweep(tmp_path / "whole", seeds, 1), home=tmp_path / "logs")
    truth = payloads(tmp_path / "whole")
    took, kept, stopped = [], [], 0
    while stopped < times:
        out = tmp_path / f"round{len(kept)}"
        run = fork_server.start(*sweep(out, seeds, jobs), home=tmp_path / "logs")
        if jobs > 1:  # one time while the workers start, the others while they train
            while not (children_of(run.pid) if stopped == 0 else payloads(out)) and not run.ends_within(0.005):
                pass
        if run.ends_within(rng.uniform(0.05, whole.took if jobs == 1 else 0.4)):
            run.wait()
            kept.append(None)
            continue
        workers = children_of(run.pid)
        began = time.monotonic()
        run.send(signal.SIGTERM if how == "term" else signal.SIGINT, group=how == "group")
        run.wait()
        took.append(time.monotonic() - began)
        assert all_gone(workers) is not None
        if run.returncode == 0:  # it was all but over
            assert payloads(out) == truth
            kept.append(None)
            continue
        command = hold_stopped(run, out, truth)
        stopped += 1
        kept.append(len(payloads(out)))
    print(
        f"{stopped} × {how}, jobs {jobs}: exit 130 after {max(took):.2f} s at most, with {kept} of {len(truth)} stored"
    )
    assert SCALE == 1 or max(took) < BOUND
    again = fork_server.run(*command, home=tmp_path / "logs")
    assert again.returncode == 0, again.stderr
    assert payloads(out) == truth


def test_a_stop_after_the_table_is_answered_like_any_other(monkeypatch, tmp_path):
    """All is stored and shown, and the next commands are being worked out: 130, and a sentence."""
    from typer.testing import CliRunner

    from initbench.cli import app, grid

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "next_commands", stopped)
    result = CliRunner().invoke(app, [str(part) for part in sweep(tmp_path / "out", 2, 1)])
    assert result.exit_code == 130
    assert "cannot tell 2 schemes apart" in result.stdout
    assert "Interrupted with 4 of 4 trials stored. To continue: " in result.stderr


LOADED = """
import os, signal
os.kill(os.getpid(), signal.{signal})
for _ in range(1000):
    pass
whole = True
"""
# As a library whose C code makes an error of its own of whatever ends its initialization.
CHANGED = """
import os, signal
try:
    os.kill(os.getpid(), signal.{signal})
    for _ in range(1000):
        pass
except KeyboardInterrupt:
    raise ImportError("initialization failed") from None
"""


@pytest.mark.parametrize(("source", "patience"), [(LOADED, 3), (CHANGED, 0)])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_is_one_whatever_is_being_imported(monkeypatch, tmp_path, capsys, name, source, patience):
    from initbench.cli import console
    from initbench.core import interrupts

    @console.command
    def long_command():
        import half_loaded  # noqa: F401

        time.sleep(60)

    monkeypatch.setattr(interrupts, "PATIENCE", patience)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_loaded.py").write_text(source.format(signal=name))
    alarm = signal.getsignal(signal.SIGALRM)
    with pytest.raises(SystemExit) as ended:
        long_command()
    loaded = sys.modules.pop("half_loaded", None)
    assert ended.value.code == 130
    assert bool(loaded) == bool(patience)
    assert not loaded or loaded.whole
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGALRM) is alarm


@pytest.mark.long
def test_a_program_stopped_after_training_leaves_with_130(tmp_path, cache):
    """A process of its own imports matplotlib then, draws and writes."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "INITBENCH_CACHE": str(cache)}
    rounds = 12 * SCALE
    for number in range(rounds):
        out, log = tmp_path / f"{number}", tmp_path / f"{number}.log"
        command = [sys.executable, "-m", "initbench", *map(str, sweep(out, 2, 2))]
        with log.open("w") as file:
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
        while len(list(out.glob("trials/*/*.json"))) < 4 and process.poll() is None:
            time.sleep(0.002)
        time.sleep(1.2 * number / rounds)
        process.send_signal(signal.SIGTERM if number % 3 == 0 else signal.SIGINT)
        assert process.wait() in {130, 0}, log.read_text()
        assert "error" not in log.read_text()
        assert all_gone(session_of(process.pid)) is not None


@rounds(1, 3)
def test_twice_leaves_at_once_and_leaves_nobody(fork_server, tmp_path, rounds):
    rng, took, codes = random.Random(3), [], []
    for number in range(rounds):
        out = tmp_path / f"round{number}"
        run = fork_server.start(*sweep(out, 30, 2), home=tmp_path / "logs")
        while len(workers := children_of(run.pid)) < 2:
            time.sleep(0.005)
        run.ends_within(rng.uniform(0, 2.5))
        run.send(signal.SIGINT, group=True)
        run.ends_within(rng.uniform(0, 0.2))
        began = time.monotonic()
        run.send(signal.SIGINT, group=True)
        codes.append(run.wait())
        took.append(time.monotonic() - began)
        assert all_gone(workers) is not None
        assert "Traceback" not in run.stderr, run.stderr
    print(f"{len(took)} double stops: gone {max(took):.2f} s after the second")
    assert set(codes) <= {130, 0}
    assert SCALE == 1 or max(took) < BOUND


def test_a_trial_that_makes_no_step_does_not_hold_a_stopped_run(fork_server, tmp_path):
    """Initializing these weights takes minutes, in a thread of the parent that looks for a stop at every step."""
    slow = ("run", "-s", "orthogonal", "-m", "mlp(depth=30, width=3000)", "--seeds", "1", "--jobs", "1", "--name", "s")
    run = fork_server.start(*slow, "--out", tmp_path / "out", home=tmp_path / "logs")
    while not run.ends_within(0.02) and "1 trials to train" not in run.stderr:
        pass
    run.ends_within(0.5)
    began = time.monotonic()
    run.send(signal.SIGINT)
    assert run.wait() == 130
    print(f"gone after {time.monotonic() - began:.2f} s")
    assert "Interrupted with 0 of 1 trials stored. To continue: initbench run" in run.stderr
    assert not payloads(tmp_path / "out")


@rounds(2, 4)
def test_a_program_stopped_while_it_starts_leaves_in_silence_or_with_a_sentence(tmp_path, cache, rounds):
    """A process of its own, as from a shell: importing takes most of this time."""
    rng, said = random.Random(4), []
    env = os.environ | {"PYTHONPATH": str(ROOT), "INITBENCH_CACHE": str(cache)}
    command = [sys.executable, "-m", "initbench", *map(str, sweep(tmp_path / "out", 4, 2))]
    for number in range(rounds):
        log = tmp_path / f"{number}"
        with log.open("w") as file:
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
        # Until the handler is there Python itself answers, some 50 ms long: /proc says when it is.
        while not answers(process.pid):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGINT)
        assert process.wait() in {130, 0}
        assert "Traceback" not in log.read_text()
        assert all_gone(session_of(process.pid)) is not None
        said.append(log.read_text().strip().splitlines()[-1:])
    print(f"{len(said)} stops while starting: {said}")


def answers(pid):
    """Whether a process has handlers for both signals: Python alone has one, for SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return all(mask >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))
