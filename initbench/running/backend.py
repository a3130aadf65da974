"""What trains groups of trials: the protocol of the pool of this machine and of a Dask cluster."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from initbench.records.record import Group, Record
from initbench.running.observer import Observer
from initbench.running.study import Study


@dataclass(frozen=True)
class Trained:
    """The records of a group, in its order; `stored` where the backend's workers have stored them already."""

    records: Sequence[Record]
    stored: bool = False


@dataclass(frozen=True)
class Lost:
    """A group without records: its worker died, or (`timed_out`) it was stopped for exceeding the time limit.

    `reason` is what the record of a trial says that is not tried again.
    """

    reason: str
    timed_out: bool = False


Results = Generator[tuple[Group, Trained | Lost], None, None]


class Backend(Protocol):
    """Trains groups of trials; as a context manager, it holds what it needs for several calls of `train`."""

    @property
    def remote(self) -> bool:
        """Whether other machines train, which may have devices that this one lacks."""

    def train(self, waiting: deque[Group], study: Study, observer: Observer) -> Results:
        """Train groups until none is waiting; the caller may add groups to `waiting` meanwhile.

        Args:
            waiting: groups, taken from the left.
            study: whose datasets, device and results folder are used.
            observer: notified of progress and of notices.

        Yields:
            Each group with its records, or with how it was lost.

        Raises:
            ConfigurationError: no worker can train.
        """

    def describe(self, device: str) -> Iterator[tuple[str, str]]:
        """Yield (label, text) of the device and the workers."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def died(cause: str) -> Lost:
    """Return how a group was lost whose worker died of a `cause`; it is recorded only the second time."""
    return Lost(f"its worker process died twice ({cause})")


def timed_out(limit: float | None) -> Lost:
    """Return how a group was lost that took longer than `limit` seconds per trial."""
    return Lost(f"it took longer than {limit:g} s (--trial-timeout)", timed_out=True)


def is_overdue(group: Group, seconds: float, limit: float | None) -> bool:
    """Say whether a group has run for longer than `limit` seconds per trial; None is no limit."""
    return limit is not None and seconds > limit * len(group)
