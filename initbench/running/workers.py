"""Workers of this machine: how processes, or a thread, are started and ended (`concurrent.futures` executors)."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from initbench.core.children import no_interrupt_for_children, single_threaded_children
from initbench.running import bootstrap, forkserver, worker

POLL = 0.1  # seconds between two checks of the workers
PATIENCE = 1.0  # seconds for a thread to reach its next step once it was asked to stop


@dataclass(frozen=True)
class Workers:
    """An executor, its processes (none if it is a thread), and the queue of their (trial id, step) reports.

    `begun` is done once the first worker has started.
    """

    executor: Executor
    reports: Any
    begun: Future[int]
    processes: tuple[BaseProcess, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)

    def drain(self) -> dict[str, int]:
        """Return the newest step of each trial reported since the last call."""
        newest: dict[str, int] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                trial_id, step = self.reports.get_nowait()
                newest[trial_id] = step
        return newest

    def close(self) -> None:
        """End workers that have nothing left to do."""
        self.executor.shutdown()
        for process in self.processes:  # `shutdown` waits for none after one with wait=False
            process.join()
        self._close_reports()

    def kill(self, unfinished: Iterable[Future[Any]] = ()) -> None:
        """End workers at once: processes are killed, a thread stops at its next step."""
        self.stop.set()
        for process in self.processes:
            process.kill()
        # A thread that makes no step is abandoned; the program does not wait for it at its end.
        stuck = not self.processes and wait([f for f in unfinished if f.running()], PATIENCE).not_done
        self.executor.shutdown(wait=not stuck, cancel_futures=True)
        self._close_reports()

    def cause_of_death(self) -> str:
        """Return how a process of a broken executor ended."""
        self.executor.shutdown()  # until then the process may not have been waited for
        codes = [process.exitcode for process in self.processes if process.exitcode is not None]
        self._close_reports()
        if codes and codes[0] < 0:
            name = signal.Signals(-codes[0]).name
            return f"{name}, as when memory runs out" if name == "SIGKILL" else name
        return f"exit code {codes[0]}" if codes else "no exit code"

    def _close_reports(self) -> None:
        if self.processes:
            self.reports.close()
            self.reports.cancel_join_thread()


_opened_early: deque[Workers] = deque()


def open_thread() -> Workers:
    """Open one worker that is a thread of this process: it starts at once."""
    reports: queue.Queue[tuple[str, int]] = queue.Queue()
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, "initbench", worker.start_thread, (reports, stop))
    return Workers(executor, reports, executor.submit(os.getpid), stop=stop)


def open_processes(jobs: int = 1) -> Workers:
    """Open worker processes; they start while this returns, once the fork server is ready, where there is one."""
    if jobs == 1 and _opened_early:
        return _opened_early.popleft()
    if not forkserver.has_started():
        return _spawned(jobs)
    try:
        return _opened("forkserver", jobs)
    except BaseException as error:
        # A process that is asked for and not known yet would start without those that it was to work for.
        forkserver.end()
        if isinstance(error, EOFError | ConnectionError):  # somebody killed the server, or importing torch did
            return _spawned(jobs)
        raise


@contextmanager
def opened_early(jobs: int) -> Iterator[None]:
    """Let the workers that `open_processes` will return in this block begin to import torch at once."""
    if forkserver.can_fork():
        forkserver.start()
        yield
        return
    try:
        _opened_early.extend(_spawned(1) for _ in range(jobs))
        yield
    finally:
        while _opened_early:
            _opened_early.pop().kill()


def _spawned(jobs: int) -> Workers:
    with no_interrupt_for_children():
        return _opened("spawn", jobs)


def _opened(start_method: str, jobs: int) -> Workers:
    # Never forked from this process: a child hangs once OpenMP has run in its parent (pytorch issues 2245, 17199).
    context = multiprocessing.get_context(start_method)
    reports = context.Queue()
    executor = ProcessPoolExecutor(jobs, context, bootstrap.start_process, (reports, str(Path.cwd())))
    others = set(multiprocessing.active_children())
    with single_threaded_children(), main_module_hidden():
        # A submission that finds no idle process starts one, and none is idle before it has imported torch: so all
        # start here, and inherit what is set here.
        begun = [executor.submit(os.getpid) for _ in range(jobs)]
    return Workers(executor, reports, begun[0], tuple(set(multiprocessing.active_children()) - others))


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Open worker processes for a `with` block; an exception or Ctrl-C ends them at once."""
    workers = open_processes(jobs)
    try:
        yield workers
    except BaseException:
        workers.kill()
        raise
    else:
        workers.close()


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep spawned children from running the user's script again.

    They would import `__main__` to find functions pickled from it; ours live in modules. So `initbench.compare(...)`
    works in a script without an `if __name__ == "__main__"` guard.
    """
    main = sys.modules["__main__"]
    names: list[str] = ["__file__", "__spec__"]
    hidden = {name: main.__dict__.pop(name) for name in names if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)
