"""SIGKILL at random moments of a run, to the parent and to its workers: the store ends as an undisturbed run's.

Delays come from a fixed seed and lie over the whole run; where in the program they strike is the machine's chance.
"""

import os
import random
import signal
import time

import pytest
from fork_server import SCALE, alive, all_gone, children_of
from long_form import rounds
from stored import payloads

from initbench.records import store

pytestmark = pytest.mark.process

SWEEP = (
    "compare",
    "-m",
    "linear",
    "-d",
    "digits",
    "--steps",
    "25",
    "-s",
    "kaiming",
    "-s",
    "zeros",
    "-q",
    "--name",
    "k",
)


def sweep(out, seeds, jobs):
    return (*SWEEP, "--seeds", seeds, "--jobs", jobs, "--out", out)


def files_are_whole(out, truth):
    """Hold what a kill left behind against the undisturbed run: each stored file is one of its files."""
    left = payloads(out)
    assert left.items() <= truth.items()
    return left


def strays(out):
    return list(out.rglob("*.part"))


def a_next_run_removes_old_strays(fork_server, out, command, home):
    for path in strays(out):
        os.utime(path, (time.time() - 2 * store.ABANDONED,) * 2)
    (out / "k" / ".derived.json").unlink(missing_ok=True)
    assert fork_server.run(*command, home=home).returncode == 0
    assert not strays(out)


@pytest.mark.parametrize(
    ("kills", "seeds", "draw"),
    [
        pytest.param(6, 24, False, id="trials"),
        pytest.param(40 * SCALE, 24, False, id="many trials", marks=pytest.mark.long),
        pytest.param(3 * SCALE, 2, True, id="report", marks=pytest.mark.long),
    ],
)
def test_a_parent_killed_at_any_moment_loses_nothing(fork_server, tmp_path, kills, seeds, draw):
    rng = random.Random(kills)
    undisturbed = fork_server.run(*sweep(tmp_path / "whole", seeds, 1), home=tmp_path / "logs", draw=draw)
    assert undisturbed.returncode == 0, undisturbed.stderr
    truth = payloads(tmp_path / "whole")
    assert len(truth) == 2 * seeds
    done = rounds = stray = in_between = 0
    while done < kills:
        rounds += 1
        out, home = tmp_path / f"round{rounds}", tmp_path / f"logs{rounds}"
        while True:
            run = fork_server.start(*sweep(out, seeds, 1), home=home, draw=draw)
            if run.ends_within(rng.uniform(0, undisturbed.took)):
                break
            run.send(signal.SIGKILL)
            run.wait()
            done += 1
            left = files_are_whole(out, truth)
            in_between += 0 < len(left) < len(truth)
        assert run.wait() == 0, run.stderr
        assert payloads(out) == truth
        assert not list(out.rglob("*.corrupt-*"))
        assert (out / "k" / "report.html").stat().st_size
        stray += len(strays(out))
        a_next_run_removes_old_strays(fork_server, out, sweep(out, seeds, 1), home)
    print(f"{done} kills of the parent, {in_between} with part of the trials stored, {stray} temporary files left")
    assert draw or in_between >= done // 4, "the delays lie over the whole run"


@pytest.mark.long
@rounds(2, 5)
def test_workers_killed_at_any_moment_lose_nothing(fork_server, tmp_path, rounds):
    rng, seeds, kills = random.Random(1), 30, rounds
    fork_server.run(*sweep(tmp_path / "whole", seeds, 1), home=tmp_path / "logs")
    truth = payloads(tmp_path / "whole")
    done = runs = 0
    codes = []
    while done < kills:
        runs += 1
        out = tmp_path / f"round{runs}"
        run = fork_server.start(*sweep(out, seeds, 2), home=tmp_path / "logs")
        while not run.ends_within(rng.uniform(0, 3)):
            workers = children_of(run.pid)
            if workers and done < kills:
                os.kill(rng.choice(workers), signal.SIGKILL)
                done += 1
        codes.append(run.wait())
        assert codes[-1] in {0, 3, 4}, run.stderr
        assert "Traceback" not in run.stderr
        if codes[-1]:  # a trial lost two workers, or no worker could start for a while: the same command again
            assert fork_server.run(*sweep(out, seeds, 1), home=tmp_path / "logs").returncode == 0
        assert payloads(out) == truth
    print(f"{done} kills of workers in {runs} runs, exit codes {codes}")


@pytest.mark.long
@rounds(1, 2)
def test_workers_end_with_a_killed_parent_and_the_run_goes_on(fork_server, tmp_path, rounds):
    rng, seeds = random.Random(2), 8
    fork_server.run(*sweep(tmp_path / "whole", seeds, 1), home=tmp_path / "logs")
    truth = payloads(tmp_path / "whole")
    took = []
    for number in range(rounds):
        out = tmp_path / f"round{number}"
        run = fork_server.start(*sweep(out, seeds, 2), home=tmp_path / "logs")
        while len(workers := children_of(run.pid)) < 2 and alive(run.pid):
            time.sleep(0.005)
        run.ends_within(rng.uniform(0, 3.0))
        run.send(signal.SIGKILL)
        run.wait()
        took.append(all_gone(workers))
        assert took[-1] is not None
        if SCALE > 1:
            assert took[-1] < 2
        files_are_whole(out, truth)
        assert fork_server.run(*sweep(out, seeds, 1), home=tmp_path / "logs").returncode == 0
        assert payloads(out) == truth
    print(f"{len(took)} kills of a parent with two workers: gone after {max(took):.2f} s at most")
