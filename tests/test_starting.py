"""How a run's processes begin and end: workers forked from a server, or spawned early; figures drawn by copies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fork_server import ROOT, alive, all_gone, children_of, fork_server_of
from stored import payloads
from typer.testing import CliRunner

from initbench.cli import app
from initbench.core.children import LIMITS
from initbench.running import forkserver, workers

FEW = ("compare", "-m", "linear", "-s", "kaiming", "-s", "zeros", "--steps", "25", "--name", "s")


def few(out, seeds, jobs):
    return (*FEW, "--seeds", seeds, "--jobs", jobs, "--out", out)


@pytest.mark.process
def test_workers_are_forked_from_a_process_of_one_thread_which_ends_with_the_run(fork_server, tmp_path):
    many = dict.fromkeys(LIMITS, "4")  # what a user may have set for other programs
    run = fork_server.start(*few(tmp_path / "out", 10, 2), home=tmp_path / "logs", environment=many)
    while len(found := children_of(run.pid)) < 2 and not run.ends_within(0.005):
        pass
    server = fork_server_of(run.pid)
    threads = list(Path(f"/proc/{server}/task").iterdir())
    assert run.wait() == 0, run.stderr
    assert len(found) == 2
    assert len(threads) == 1
    assert all_gone([server, *found]) is not None


@pytest.mark.process
def test_a_killed_fork_server_loses_nothing(fork_server, tmp_path):
    fork_server.run(*few(tmp_path / "whole", 20, 1), home=tmp_path / "logs")
    run = fork_server.start(*few(tmp_path / "out", 20, 2), home=tmp_path / "logs")
    while not payloads(tmp_path / "out") and not run.ends_within(0.005):
        pass
    before = children_of(run.pid)
    os.kill(fork_server_of(run.pid), signal.SIGKILL)
    assert run.wait() == 0, run.stderr
    assert all_gone(before) is not None
    assert payloads(tmp_path / "out") == payloads(tmp_path / "whole")


@pytest.mark.process
def test_where_nothing_forks_workers_are_spawned_early_and_none_is_left(monkeypatch):
    monkeypatch.setattr(forkserver, "can_fork", lambda: False)
    with workers.opened_early(2):
        first = workers.open_processes()
        assert first.begun.result(60) == first.processes[0].pid
        (second,) = workers._opened_early
        (pid,) = [process.pid for process in second.processes]
        assert alive(pid)
        first.close()
    assert all_gone([pid]) is not None


def test_the_answer_is_shown_before_a_figure_is_drawn(monkeypatch, tmp_path):
    """A stop while figures are drawn shows it once, and leaves a page without them."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("initbench.report.folder.drawings", stopped)
    result = CliRunner().invoke(app, [str(part) for part in few(tmp_path, 2, 1)])
    assert result.exit_code == 130
    assert result.stdout.count("2 seeds cannot tell 2 schemes apart") == 1
    assert "Interrupted with 4 of 4 trials stored. To continue: " in result.stderr
    assert (tmp_path / "s" / "report.html").stat().st_size
    assert not list((tmp_path / "s").glob("plots/*"))


DRAWN = """
import multiprocessing, os, signal, sys, threading
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, {tests!r})
from analysis_data import a_comparison, a_trial, finished
from initbench.report.figures import drawing
from initbench.report.figures.comparison import drawings

drawing.cores = lambda: 2
comparison = a_comparison([finished(a_trial(scheme=s, seed=n)) for s in ("a", "torch_default") for n in range(3)])
wanted = [(draw, ("png", "svg")) for draw in drawings(comparison)]
here = [picture.files(("png", "svg")) for picture in drawing._drawn_here(wanted)]

def by_copies(wanted):
    with drawing.drawn_meanwhile(wanted) as drawn:
        copies = multiprocessing.active_children()
        pictures = drawn()
    assert not multiprocessing.active_children()
    assert [picture.files(("png", "svg")) for picture in pictures] == here
    return len(copies)

assert by_copies(wanted) == 2
us, (first, formats) = os.getpid(), wanted[0]

def killed():
    if os.getpid() != us:
        os.kill(os.getpid(), signal.SIGKILL)
    return first()

by_copies([(killed, formats), *wanted[1:]])
try:
    with drawing.drawn_meanwhile([(signal.pause, formats)] * 3):
        assert len(multiprocessing.active_children()) == 2
        raise KeyboardInterrupt
except KeyboardInterrupt:
    assert not multiprocessing.active_children()
threading.Thread(target=signal.pause, daemon=True).start()
assert by_copies(wanted) == 0
os._exit(0)
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux alone")
def test_figures_drawn_by_copies_are_those_of_one_process(tmp_path):
    """Also where a copy is killed; a stop ends them, and a process of several threads makes none."""
    command = [sys.executable, "-c", DRAWN.format(tests=str(ROOT / "tests"))]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
