"""The pool of this machine: one worker per slot, so a crash is attributed to the group being trained alone."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from initbench.core.machine import cores
from initbench.datasets import Dataset
from initbench.errors import ConfigurationError
from initbench.records.record import Group, Record
from initbench.running.backend import Lost, Results, Trained, died, is_overdue, timed_out
from initbench.running.clock import RunningTime
from initbench.running.observer import Observer
from initbench.running.study import Study
from initbench.running.worker import train_group
from initbench.running.workers import POLL, Workers, open_processes, open_thread

FALSE_STARTS = 3  # workers of a slot in a row that may end before they begin, which is no trial's fault


@dataclass(frozen=True)
class LocalPool:
    """Trains with `jobs` workers of this machine: by default one per core on the CPU, and one on a GPU.

    A group is stopped after `trial_timeout` seconds per trial; None is no limit.
    """

    jobs: int | None = None
    trial_timeout: float | None = None
    remote = False

    def train(self, waiting: deque[Group], study: Study, observer: Observer) -> Results:
        """See `Backend.train`; ConfigurationError where worker processes end before they begin."""
        width = min(self._jobs(study.device), max(1, len(waiting)))
        open_worker = self._opener(waiting, width)
        slots: list[Slot] = []
        clock = RunningTime()
        try:
            while len(slots) < width:
                slots.append(Slot(open_worker, open_worker()))
            while waiting or any(slot.tasks for slot in slots):
                _assign(waiting, slots, study.datasets)
                wait([slot.awaited for slot in slots if slot.awaited], timeout=POLL, return_when=FIRST_COMPLETED)
                observer.progressed({id_: step for slot in slots for id_, step in slot.workers.drain().items()})
                now = clock.now()
                for slot in slots:
                    if _has_begun(slot, waiting, now):
                        yield from _ended(slot, waiting, now)
                        yield from _overdue(slot, waiting, now, self.trial_timeout)
        except BaseException:
            for slot in slots:
                slot.kill()
            raise
        _close(slots)

    def describe(self, device: str) -> Iterator[tuple[str, str]]:
        """Yield (label, text) of the device and the workers."""
        from initbench.training.environment import device_in_words  # noqa: PLC0415 - loads torch

        yield "device", f"{device}: {device_in_words(device)}"
        yield "workers", f"up to {self._jobs(device)}" + (", of one thread each" if device == "cpu" else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: workers end with the call of `train` that opened them."""

    def _jobs(self, device: str) -> int:
        return self.jobs or (cores() if device == "cpu" else 1)

    def _opener(self, waiting: deque[Group], width: int) -> Callable[[], Workers]:
        """Choose a thread, which starts at once, where one worker is enough and none may have to be killed."""
        safe = self.trial_timeout is None and not any(trial.code for group in waiting for trial in group)
        return open_thread if width == 1 and safe else open_processes


@dataclass
class Slot:
    """A worker and the groups assigned to it: it trains the first, and the next is ready, so that it never waits.

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

    def assign(self, group: Group, dataset: Dataset) -> bool:
        """Assign a group; return False where the worker is gone."""
        try:
            self.tasks.append((self.workers.executor.submit(train_group, group, dataset), group))
        except BrokenExecutor:
            return False
        return True

    def replace_worker(self, waiting: deque[Group]) -> None:
        """Open a new worker in place of one that is gone or has to go; its groups go back to the head of the queue."""
        self.kill()
        waiting.extendleft(group for _, group in reversed(self.tasks))
        self.tasks.clear()
        self.since, self.workers = None, self.open_worker()

    def kill(self) -> None:
        """End the worker at once."""
        self.workers.kill(future for future, _ in self.tasks)


def _assign(waiting: deque[Group], slots: list[Slot], datasets: Mapping[str, Dataset]) -> None:
    """Assign a group to every slot, and another that is ready next while there are enough for all."""
    for depth in (1, 2):
        for slot in slots:
            if len(slot.tasks) < depth and len(waiting) > (0 if depth == 1 else len(slots)):
                group = waiting.popleft()
                if not slot.assign(group, datasets[group[0].fingerprint]):
                    waiting.appendleft(group)
                    if not slot.tasks:  # else the death shows in the future of its first group
                        slot.replace_worker(waiting)


def _has_begun(slot: Slot, waiting: deque[Group], now: float) -> bool:
    """Return whether a worker has started; one that died while starting is replaced, a few times."""
    if slot.since is None and slot.workers.begun.done():
        if slot.workers.begun.exception() is None:
            slot.since, slot.false_starts = now, 0
        elif slot.false_starts == FALSE_STARTS:
            cause = slot.workers.cause_of_death()
            raise ConfigurationError(f"Worker processes end before they begin ({cause}): free memory, or lower --jobs.")
        else:
            slot.false_starts += 1
            slot.replace_worker(waiting)
    return slot.since is not None


def _ended(slot: Slot, waiting: deque[Group], now: float) -> Iterator[tuple[Group, Trained | Lost]]:
    """Yield the groups that a slot has trained; the one that its worker died of is the first of the others."""
    while slot.tasks and slot.tasks[0][0].done():
        future, group = slot.tasks.popleft()
        slot.since = now
        if isinstance(future.exception(), BrokenExecutor):
            cause = slot.workers.cause_of_death()
            slot.replace_worker(waiting)
            yield group, died(cause)
        else:
            yield group, Trained(future.result())


def _overdue(slot: Slot, waiting: deque[Group], now: float, limit: float | None) -> Iterator[tuple[Group, Lost]]:
    """End a worker whose group has exceeded the time limit, and yield that group."""
    if slot.since is None or not slot.tasks or slot.tasks[0][0].done():
        return
    group = slot.tasks[0][1]
    if is_overdue(group, now - slot.since, limit):
        slot.tasks.popleft()
        slot.replace_worker(waiting)
        yield group, timed_out(limit)


def _close(slots: list[Slot]) -> None:
    """End workers that have nothing left to do, all at the same time."""
    for slot in slots:
        if slot.since is None:
            slot.kill()
        slot.workers.executor.shutdown(wait=False)
    for slot in slots:
        slot.workers.close()
