"""The backend that trains on a Dask cluster; Dask is imported when the first group is to be trained."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from initbench.records.record import Group
from initbench.running.backend import Results
from initbench.running.cluster.connection import Cluster
from initbench.running.observer import Observer
from initbench.running.study import Study


@dataclass(frozen=True)
class DaskPool:
    """Trains on a cluster; a group is stopped after `trial_timeout` seconds per trial, None is no limit."""

    cluster: Cluster
    trial_timeout: float | None = None

    @property
    def remote(self) -> bool:
        """Whether other machines may train."""
        return not self.cluster.embedded

    def train(self, waiting: deque[Group], study: Study, observer: Observer) -> Results:
        """See `Backend.train`; the cluster is connected only if there is something to train.

        Raises:
            ConfigurationError: no scheduler answers, it goes away, or a worker lacks something before the first trial.
        """
        if waiting:
            from initbench.running.cluster.dispatch import dispatch  # noqa: PLC0415 - Dask is an extra

            yield from dispatch(waiting, study, self.cluster, self.trial_timeout, observer)

    def describe(self, device: str) -> Iterator[tuple[str, str]]:
        """Yield (label, text) of the device and the workers."""
        yield "device", device
        yield "workers", f"of the Dask cluster {self.cluster}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cluster.close(kill=kind is not None)
