"""Lanes: one worker each, so that whatever ends a worker is known to be what it was training, and harms no other."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from initbench.datasets import Dataset
from initbench.engines import Group
from initbench.errors import ConfigurationError
from initbench.executors import Workers
from initbench.record import Record
from initbench.worker import train_group

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
