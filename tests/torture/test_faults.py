"""A disk that fails: the Nth operation for N = 1, 2, 3 … until a run passes clean, once and for good; a full one."""

import errno
import itertools
import json
import os
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from fork_server import ROOT, SCALE
from long_form import one_in
from stored import payloads

from initbench.errors import ConfigurationError
from initbench.records import store

pytestmark = pytest.mark.process

RUN = (
    "compare", "-m", "linear", "-d", "digits", "--steps", "2", "-s", "kaiming", "--seeds", "2", "--jobs", "1",
    "--name", "f", "-q",
)  # fmt: skip
# Operations of a whole run between two that fail.
STRIDES = [29, pytest.param(1 if SCALE > 1 else 13, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def truth(fork_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    assert fork_server.run(*RUN, "--out", folder / "out", home=folder / "logs").returncode == 0
    return payloads(folder / "out")


def hold(run, out, truth):
    """A run that met a failure got over it, or left with the place and the reason; and nothing half-written counts."""
    assert run.returncode in {0, 4}, run.stderr
    assert "Traceback" not in run.stderr
    if run.returncode == 4:
        assert run.stderr.startswith("error: Cannot ")
        assert str(out) in run.stderr
        assert any(os.strerror(number) in run.stderr for number in (5, 27, 28)), run.stderr
    assert payloads(out).items() <= truth.items()


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("once", one_in(2, [True, False]), ids=["once", "for good"])
def test_every_nth_operation_of_a_run_may_fail(fork_server, tmp_path, truth, once, stride):
    codes, met = [], set()
    log = tmp_path / "fault"
    for number in itertools.count(1, stride):
        out = tmp_path / str(number)
        fault = {"folder": str(out), "number": number, "once": once, "log": str(log)}
        log.write_text("")
        run = fork_server.run(*RUN, "--out", out, home=tmp_path / "logs", fault=fault)
        hold(run, out, truth)
        if not log.read_text():
            break
        met.add(log.read_text().split()[1])
        codes.append(run.returncode)
        again = fork_server.run(*RUN, "--out", out, home=tmp_path / "logs")
        assert again.returncode == 0, again.stderr
        assert payloads(out) == truth
        assert not list(out.rglob("*.part")) or not once
    print(f"{len(codes)} failing operations of {number}: {codes.count(0)} got over, {codes.count(4)} told; met {met}")
    assert run.returncode == 0
    assert payloads(out) == truth
    assert stride > 1 or {"open", "write", "fsync", "os.rename", "os.mkdir"} <= met


# Each single operation of one overwriting write fails in turn, in a process of its own.
ONE_WRITE = """import json, sys
from pathlib import Path
import faults
from initbench.records import store
from initbench.errors import ConfigurationError
path = Path(sys.argv[1]) / "a" / "trial.json"
log = Path(sys.argv[2])
old, new = b"old" * 3000, b"new" * 3000
storage = faults.arm(str(path.parent), 10**9, True, log)
seen = []
for once in (True, False):
    number = 0
    while True:
        number += 1
        storage.armed = False
        store.write_atomically(path, old)
        storage.number, storage.once, storage.count, storage.armed = number, once, 0, True
        log.write_text("")
        told = ""
        try:
            store.write_atomically(path, new)
        except ConfigurationError as error:
            told = str(error)
        storage.armed = False
        content, failed = path.read_bytes(), log.read_text()
        assert content in (old, new), (number, once)
        assert not failed or told or content == new
        assert not told or str(path) in told
        left = [p.name for p in path.parent.iterdir() if p != path]
        assert not left or not once or "os.remove" in failed, left
        for name in left:
            (path.parent / name).unlink()
        if not failed:
            break
        seen.append((failed.split()[1], content == new))
print(json.dumps(seen))
"""


def test_a_file_is_the_old_or_the_new_one_whatever_fails_while_it_is_written(tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
    command = [sys.executable, "-c", ONE_WRITE, str(tmp_path), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    print(f"operations of one write that failed: {seen}")
    assert {"open", "write", "fsync", "os.rename"} <= {what for what, _ in seen}
    assert {renamed for _, renamed in seen} == {True, False}


@pytest.mark.parametrize("size", [300, 3_000, 9_000])
def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room(fork_server, tmp_path, truth, size):
    out = tmp_path / "out"
    run = fork_server.run(*RUN, "--out", out, home=tmp_path / "logs", file_size=size)
    hold(run, out, truth)
    assert run.returncode == 4
    assert "File too large" in run.stderr
    assert not list(out.rglob("*.part"))
    assert fork_server.run(*RUN, "--out", out, home=tmp_path / "logs").returncode == 0
    assert payloads(out) == truth


def test_old_temporary_files_are_swept_and_young_ones_left_to_their_writer(tmp_path):
    trials = tmp_path / "trials" / "ab"
    trials.mkdir(parents=True)
    young, old, other = trials / ".x.json.k2j3h4.part", trials / ".y.json.aaaa.part", trials / "y.json"
    for path in (young, old, other):
        path.write_text("half")
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    store.sweep(tmp_path, trials, tmp_path / "absent")
    assert sorted(path.name for path in trials.iterdir()) == sorted([young.name, other.name])


def test_a_writer_whose_file_another_run_takes_for_abandoned_writes_again(tmp_path, monkeypatch):
    """The clock jumps by hours between the two."""
    path, fsync, later = tmp_path / "trial.json", os.fsync, time.time() + 5 * 3600

    def swept_while_synced(handle):
        fsync(handle)
        monkeypatch.undo()
        with monkeypatch.context() as jump:
            jump.setattr(store.time, "time", lambda: later)
            store.sweep(tmp_path, tmp_path)
        assert not list(tmp_path.iterdir())

    monkeypatch.setattr(os, "fsync", swept_while_synced)
    store.write_atomically(path, b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["trial.json"]
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize(("code", "kept"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_sync_a_folder_is_written_to(tmp_path, monkeypatch, code, kept):
    fsync = os.fsync

    def of_files_alone(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    with nullcontext() if kept else pytest.raises(ConfigurationError, match="Input/output error"):
        store.write_atomically(tmp_path / "a" / "trial.json", b"whole")
    assert (tmp_path / "a" / "trial.json").read_bytes() == b"whole"


def test_a_sweep_does_not_follow_a_link_out(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    root.mkdir()
    old = elsewhere / ".y.json.aaaa.part"
    old.write_text("somebody's")
    os.utime(old, (0, 0))
    (root / "plots").symlink_to(elsewhere)
    store.sweep(root, root / "plots")
    assert old.exists()
    store.sweep(tmp_path, root / "plots")
    assert not old.exists()
