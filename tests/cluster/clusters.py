"""Starting a scheduler, workers and commands, and seeing what they do."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from fork_server import ROOT, alive

QUIET = "--no-dashboard"


class Started:
    """What was started: a process and all that it starts are a group, and end together."""

    def __init__(self, fork_server):
        self.server, self.runs = fork_server, []

    def start(self, *arguments, **options):
        run = self.server.start(*arguments, **options)
        self.runs.append(run)
        return run

    def end(self):
        for run in self.runs:
            with suppress(ProcessLookupError):
                run.send(signal.SIGKILL, group=True)
            if run.returncode is None:
                run.wait()


def begin_scheduler(started, home, port=0, *more, **environment):
    """Start `dask scheduler`; `.address` and `.file` say where it is."""
    file = home / f"scheduler-{len(started.runs)}.json"
    arguments = ("scheduler", "--host", "127.0.0.1", "--port", port, QUIET, "--scheduler-file", file, *more)
    run = started.start(*arguments, home=home, program="dask", environment=environment)
    run.file, run.address = file, until(lambda: address_in(file))
    return run


def address_in(file):
    with suppress(OSError, ValueError):
        return json.loads(file.read_text())["address"]


def begin_worker(started, scheduler, home, *more, **environment):
    """Start `dask worker` for one thread a process."""
    arguments = ("worker", scheduler.address, "--nthreads", 1, QUIET, *more)
    return started.start(*arguments, home=home, program="dask", environment=environment)


def other_process(*command, home, path=ROOT):
    """Start a Python process from its first line on, with the package that lies in `path`."""
    env = os.environ | {"PYTHONPATH": str(path)}
    with (home / "other.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=home, env=env, stdout=log, stderr=log, start_new_session=True
        )


def until(found, patience=60, run=None):
    """Wait until something is so, and return what was found; a run that ends meanwhile ends the wait."""
    deadline = time.monotonic() + patience
    while not (answer := found()):
        assert run is None or alive(run.pid), run.stderr
        assert time.monotonic() < deadline, f"waited {patience} s in vain"
        time.sleep(0.02)
    return answer


def said(run):
    """What a run said on stderr, on one line."""
    return " ".join(run.stderr.split())


def group_of(leader):
    """The living processes of a group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == leader and alive(stat.parent.name):
                yield int(stat.parent.name)


def trainers(leader):
    """The processes of a group in which trials are trained: a nanny spawns them."""
    return [pid for pid in group_of(leader) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
