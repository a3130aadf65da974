"""The program run in milliseconds: a process that has imported everything forks a child for each run.

A run here is `initbench.__main__.main` (or that of `dask`) in a process of its own, with real signals, files and
workers; only the imports are shared, which would take most of the time of a thousand runs. As a script this file is
that process: it reads orders, one JSON document a line, and answers each with a line.

INITBENCH_TORTURE=10 takes ten times the cases (`make torture`).
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

WARM_UP = (
    "compare", "-m", "linear", "-d", "digits", "--steps", "2", "-s", "kaiming", "--seeds", "2", "--jobs", "1",
    "-q", "--name", "warm", "--out", "out",
)  # fmt: skip
SCALE = int(os.environ.get("INITBENCH_TORTURE", "1"))
ROOT = Path(__file__).resolve().parent.parent


class ForkServer:
    """The process that forks runs, seen from a test."""

    def __init__(self, cache):
        env = os.environ | {"INITBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        env.pop("INITBENCH_OUT", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout.readline() == "ready\n"
        self.started = 0

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *arguments, home, draw=False, file_size=None, fault=None, program="initbench", environment=()):
        """Start a run; stdout and stderr go to files in `home`, which is also the folder it runs in."""
        home.mkdir(parents=True, exist_ok=True)
        self.started += 1
        number = self.started
        pid = self.ask(
            do="start", arguments=[str(a) for a in arguments], home=str(home), log=str(home / f"{number}"),
            draw=draw, file_size=file_size, fault=fault, program=program, environment=dict(environment),
        )  # fmt: skip
        return Run(self, pid, home / f"{number}.stdout", home / f"{number}.stderr")

    def run(self, *arguments, **options):
        """Run to the end."""
        run = self.start(*arguments, **options)
        run.wait()
        return run

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Run:
    """One run: `returncode` as `subprocess` has it, what it printed, and for how long it went on."""

    def __init__(self, fork_server, pid, stdout, stderr):
        self.server, self.pid, self.returncode = fork_server, pid, None
        self._stdout, self._stderr = stdout, stderr
        self.began = time.monotonic()

    @property
    def stdout(self):
        return self._stdout.read_text()

    @property
    def stderr(self):
        return self._stderr.read_text() if self._stderr.exists() else ""

    def ends_within(self, seconds):
        """Wait for the end, but not longer; say whether it came."""
        deadline = time.monotonic() + seconds
        while alive(self.pid):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        return True

    def send(self, signal, group=False):
        (os.killpg if group else os.kill)(self.pid, signal)

    def wait(self, patience=240):
        assert self.ends_within(patience), f"{self.pid} still runs: {self.stderr}"
        self.took = time.monotonic() - self.began
        self.returncode = os.waitstatus_to_exitcode(self.server.ask(do="reap", pid=self.pid))
        return self.returncode


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid):
    """The living workers of a process, by pid: spawned by it, or forked by its fork server."""
    found = []
    for child, command in _children(pid):
        if "spawn_main" in command:
            found.append(child)
        elif "forkserver" in command:
            found += [worker for worker, _ in _children(child)]
    return found


def fork_server_of(pid):
    """The living process that the workers of a process are forked from, None where it has none."""
    return next((child for child, command in _children(pid) if "forkserver" in command), None)


def _children(pid):
    try:
        pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return [(child, Path(f"/proc/{child}/cmdline").read_text()) for child in pids if alive(child)]
    except OSError:
        return []


def session_of(leader):
    """The living processes of a session, by pid."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = status.read_text().rpartition(")")[2].split()[:4]
            found += [int(status.parent.name)] * (session == str(leader) and state != "Z")
    return found


def all_gone(pids, patience=30):
    """Wait until none of some processes is alive; return the seconds that took, or None where one stays."""
    began = time.monotonic()
    while any(alive(pid) for pid in pids):
        if time.monotonic() - began > patience:
            return None
        time.sleep(0.01)
    return time.monotonic() - began


def _serve():
    # Nothing may be computed before a fork, so that there are no threads; so a first child runs, and tells what a run
    # imports on its way.
    sys.path.append(str(Path(__file__).parent / "torture"))
    ours = ("torch", "matplotlib.figure", "initbench.report.folder", "initbench.cli.grid", "faults")
    of_dask = (
        "initbench.running.cluster.dispatch",
        "dask.__main__",
        "distributed.cli.dask_scheduler",
        "distributed.cli.dask_worker",
    )
    for name in (*ours, *of_dask, "initbench.running.cluster.dispatch"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as home:
        order = {
            "arguments": WARM_UP,
            "home": home,
            "log": f"{home}/log",
            "draw": True,
            "file_size": None,
            "fault": None,
        }
        read, write = os.pipe()
        if os.fork() == 0:
            _run(order, lambda: os.write(write, "\n".join(sys.modules).encode()))
        os.close(write)
        with os.fdopen(read) as modules:
            for name in modules.read().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        os.wait()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "reap":
            answer = os.waitpid(order["pid"], 0)[1]
        elif (answer := os.fork()) == 0:
            _run(order)
        print(answer, flush=True)


def _run(order, last=lambda: None):
    # From here on as from a shell, but that the answer to Ctrl-C is there at once.
    program = order.get("program", "initbench")
    sys.argv = [program, *order["arguments"]]
    os.environ.update(order.get("environment", {}))
    importlib.import_module("dask").config.refresh()
    interrupts = sys.modules["initbench.core.interrupts"]
    for number in interrupts.STOPPING:
        signal.signal(number, interrupts.exit_interrupted)
    os.setsid()
    os.chdir(order["home"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(f"{order['log']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order.get("file_size") is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], order["file_size"]))
    if not order.get("draw", True):
        sys.modules["initbench.report.folder"].drawings = lambda *_: iter(())
    if order.get("fault"):
        sys.modules["faults"].arm(**order["fault"])
    code = 1
    try:
        importlib.import_module(f"{program}.__main__").main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter itself would at the end of a program
        traceback.print_exc()
    finally:
        last()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
