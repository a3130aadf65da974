"""Where groups are trained: `concurrent.futures` executors on this machine."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from initbench.datasets import Dataset
from initbench.errors import ConfigurationError
from initbench.records.record import Record
from initbench.running import bootstrap, worker
from initbench.running.worker import train_group
from initbench.training import Group

PATIENCE = 1.0  # seconds for a thread to reach its next step once it was asked to stop


@dataclass(frozen=True)
class Workers:
    """An executor, its processes (none where it is a thread), and the queue on which they report (trial id, step).

    `begun` is done when the first of them has started.
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
        for process in self.processes:  # who said before that the executor may end is not waited for by it
            process.join()
        self._close_reports()

    def kill(self, unfinished: Iterable[Future[Any]] = ()) -> None:
        """End workers at once, whatever they are at: processes are killed, a thread stops at its next step."""
        self.stop.set()
        for process in self.processes:
            process.kill()
        # A thread that makes no step is left behind; the program does not wait for it when it ends.
        stuck = not self.processes and wait([f for f in unfinished if f.running()], PATIENCE).not_done
        self.executor.shutdown(wait=not stuck, cancel_futures=True)
        self._close_reports()

    def cause_of_death(self) -> str:
        """Say how a process ended whose executor is broken."""
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


def open_thread() -> Workers:
    """Open one worker that is a thread of this process: it starts at once."""
    reports: queue.Queue[tuple[str, int]] = queue.Queue()
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, "initbench", worker.start_thread, (reports, stop))
    return Workers(executor, reports, executor.submit(os.getpid), stop=stop)


def open_processes(jobs: int = 1) -> Workers:
    """Open spawned worker processes; they start while this returns."""
    # Spawned, never forked: a forked child hangs once OpenMP has run in the parent (pytorch issues 2245, 17199).
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    executor = ProcessPoolExecutor(jobs, context, bootstrap.start_process, (reports, str(Path.cwd())))
    others = set(multiprocessing.active_children())
    with _single_threaded_children(), main_module_hidden(), no_interrupt_for_children():
        # A process starts with each submission that finds none idle, and none is before it has imported torch: so
        # all start here, and inherit what is set here.
        begun = [executor.submit(os.getpid) for _ in range(jobs)]
    return Workers(executor, reports, begun[0], tuple(set(multiprocessing.active_children()) - others))


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Open worker processes for a block; leaving it early (an exception, Ctrl-C) ends them at once."""
    workers = open_processes(jobs)
    try:
        yield workers
    except BaseException:
        workers.kill()
        raise
    else:
        workers.close()


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Have OpenMP start in the children with one thread, before torch is imported there."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def no_interrupt_for_children() -> Iterator[None]:
    """Have children begin with Ctrl-C blocked: it is the parent's to answer, even while they import torch."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would lift the block again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


POLL = 0.1  # seconds between two looks at the workers
FALSE_STARTS = 3  # workers of a lane in a row that may end before they begin, which is no trial's fault


@dataclass(frozen=True)
class Lost:
    """A group that gave no records: its worker died of a `cause`, or it ran longer than it may."""

    cause: str = ""

    @property
    def overdue(self) -> bool:
        """Whether it was stopped for taking too long."""
        return not self.cause


@dataclass
class Lane:
    """A worker and the groups it was given: it trains the first, and the next lies ready, so that it never waits.

    `since` is when the first began, None while the worker still starts; `false_starts` counts workers in a row that
    ended before they began.
    """

    open_worker: Callable[[], Workers]
    workers: Workers
    tasks: deque[tuple[Future[list[Record]], Group]] = field(default_factory=deque)
    since: float | None = None
    false_starts: int = 0

    @property
    def awaited(self) -> Future[Any] | None:
        """What ends next here: the start of the worker, or the training of its first group."""
        if self.since is None:
            return self.workers.begun
        return self.tasks[0][0] if self.tasks else None

    def give(self, group: Group, dataset: Dataset) -> bool:
        """Add a group; say whether it was taken, which a worker that is gone does not."""
        try:
            self.tasks.append((self.workers.executor.submit(train_group, group, dataset), group))
        except BrokenExecutor:
            return False
        return True

    def reopen(self, waiting: deque[Group]) -> None:
        """Put a new worker in the place of one that is gone or has to go; what was given to it waits again, first."""
        self.kill()
        waiting.extendleft(group for _, group in reversed(self.tasks))
        self.tasks.clear()
        self.since, self.workers = None, self.open_worker()

    def kill(self) -> None:
        """End the worker at once."""
        self.workers.kill(future for future, _ in self.tasks)


def work(
    waiting: deque[Group],
    data: Callable[[Group], Dataset],
    open_worker: Callable[[], Workers],
    width: int,
    limit: float | None,
    reported: Callable[[Mapping[str, int]], None],
) -> Generator[tuple[Group, list[Record] | Lost], None, None]:
    """Train groups in `width` lanes until none is waiting; the caller may put more into `waiting` on the way.

    Args:
        waiting: groups, taken from the left.
        data: gives a group's dataset.
        open_worker: opens one worker.
        width: how many work at a time.
        limit: seconds that a trial may take, None for any; a group may take as much for each of its trials.
        reported: told how far trials are.

    Yields:
        Each group with its records, or with how it was lost.

    Raises:
        ConfigurationError: workers end before they begin.
    """
    lanes: list[Lane] = []
    try:
        while len(lanes) < width:
            lanes.append(Lane(open_worker, open_worker()))
        while waiting or any(lane.tasks for lane in lanes):
            _hand_out(waiting, lanes, data)
            wait([lane.awaited for lane in lanes if lane.awaited], timeout=POLL, return_when=FIRST_COMPLETED)
            reported({trial_id: step for lane in lanes for trial_id, step in lane.workers.drain().items()})
            for lane in lanes:
                if _has_begun(lane, waiting):
                    yield from _ended(lane, waiting)
                    yield from _overdue(lane, waiting, limit)
    except BaseException:
        for lane in lanes:
            lane.kill()
        raise
    _close(lanes)


def _hand_out(waiting: deque[Group], lanes: list[Lane], data: Callable[[Group], Dataset]) -> None:
    """Give every lane a group, and another to lie ready while there are enough for all."""
    for depth in (1, 2):
        for lane in lanes:
            if len(lane.tasks) < depth and len(waiting) > (0 if depth == 1 else len(lanes)):
                group = waiting.popleft()
                if not lane.give(group, data(group)):
                    waiting.appendleft(group)
                    if not lane.tasks:  # else its first group tells of the death
                        lane.reopen(waiting)


def _has_begun(lane: Lane, waiting: deque[Group]) -> bool:
    """Say whether a worker has started; one that died over it is replaced, a few times."""
    if lane.since is None and lane.workers.begun.done():
        if lane.workers.begun.exception() is None:
            lane.since, lane.false_starts = time.monotonic(), 0
        elif lane.false_starts == FALSE_STARTS:
            cause = lane.workers.cause_of_death()
            raise ConfigurationError(f"Worker processes end before they begin ({cause}): free memory, or lower --jobs.")
        else:
            lane.false_starts += 1
            lane.reopen(waiting)
    return lane.since is not None


def _ended(lane: Lane, waiting: deque[Group]) -> Iterator[tuple[Group, list[Record] | Lost]]:
    """Yield the groups that a lane has trained; the one that its worker died of is the first of the others."""
    while lane.tasks and lane.tasks[0][0].done():
        future, group = lane.tasks.popleft()
        lane.since = time.monotonic()
        if isinstance(future.exception(), BrokenExecutor):
            cause = lane.workers.cause_of_death()
            lane.reopen(waiting)
            yield group, Lost(cause)
        else:
            yield group, future.result()


def _overdue(lane: Lane, waiting: deque[Group], limit: float | None) -> Iterator[tuple[Group, list[Record] | Lost]]:
    """End a worker whose group has had its time, and yield that group."""
    if limit is None or lane.since is None or not lane.tasks or lane.tasks[0][0].done():
        return
    group = lane.tasks[0][1]
    if time.monotonic() - lane.since > limit * len(group):
        lane.tasks.popleft()
        lane.reopen(waiting)
        yield group, Lost()


def _close(lanes: list[Lane]) -> None:
    """End workers that have nothing left to do, all at the same time."""
    for lane in lanes:
        if lane.since is None:
            lane.kill()
        lane.workers.executor.shutdown(wait=False)
    for lane in lanes:
        lane.workers.close()
