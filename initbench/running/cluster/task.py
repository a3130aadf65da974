"""What runs on a Dask worker: a task of some groups of trials.

A task carries names only: a worker takes its datasets from its own cache (`workers`), checks the store before it
trains if the results folder is shared, and sends records back, encoded as for the store, if it is not.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import get_worker

import initbench.training  # noqa: F401 - here, and not within the time of a worker's first trial
from initbench.datasets import Dataset
from initbench.records import store
from initbench.records.recipe import Trial
from initbench.records.record import Group
from initbench.running.worker import Stopped, train_group

# Engines set threads and cuDNN's behaviour for a whole process, so one task at a time trains in it.
_training = threading.Lock()
_datasets: dict[tuple[str, str], Dataset] = {}  # by a run's topic and fingerprint: only runs that checked this worker


@dataclass(frozen=True)
class TaskOptions:
    """What the tasks of a run have in common: `topic` is where they report, `out` the store if it is shared.

    `report_every` is the seconds between two reports; with `report_begin` there is one more when a group begins.
    """

    topic: str
    out: Path | None
    report_every: float
    report_begin: bool


@dataclass(frozen=True)
class TaskResult:
    """The result of a task: for each trial its encoded record, or None where it is stored already.

    Without records if the worker has joined, or was started again, since the workers were last checked.
    """

    records: tuple[tuple[str, bytes | None], ...]
    seconds: float


def register_datasets(topic: str, datasets: Mapping[str, Dataset]) -> None:
    """Register the datasets of a run, by fingerprint, that this worker has."""
    _datasets.update({(topic, fingerprint): dataset for fingerprint, dataset in datasets.items()})


def train(options: TaskOptions, groups: Sequence[Group]) -> TaskResult:
    """Train groups one after the other; none if their data are not registered here."""
    if any((options.topic, group[0].fingerprint) not in _datasets for group in groups):
        return TaskResult((), 0.0)
    with _training:
        began = time.monotonic()
        records = tuple(item for group in groups for item in _train(options, group))
        return TaskResult(records, time.monotonic() - began)


def _train(options: TaskOptions, group: Group) -> Iterator[tuple[str, bytes | None]]:
    """Train a group unless it is stored: a task whose worker was lost is submitted again, though it may have ended."""
    if options.out is not None and _stored(options.out, group):
        yield from ((trial.id, None) for trial in group)
        return
    for record in train_group(group, _datasets[options.topic, group[0].fingerprint], _Reporter(options, group)):
        if options.out is None:
            yield record.trial.id, store.encode(record)
        else:
            store.write(options.out, record)
            yield record.trial.id, None


def _stored(out: Path, group: Group) -> bool:
    records, _ = store.read_many(out, [trial.id for trial in group])
    return len(records) == len(group) and all(record.outcome.status != "failed" for record in records.values())


class _Reporter:
    """Reports a group's progress to the client, and stops the training once its task is cancelled."""

    def __init__(self, options: TaskOptions, group: Group) -> None:
        self.options, self.worker = options, get_worker()
        self.key = self.worker.get_current_task()
        self.last = 0.0 if options.report_begin else time.monotonic()
        if options.report_begin:
            self(group, 0)

    def __call__(self, group: Sequence[Trial], step: int) -> None:
        now = time.monotonic()
        if now - self.last < self.options.report_every:
            return
        self.last = now
        task = self.worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise Stopped
        message = {"key": self.key, "worker": self.worker.address, "steps": {trial.id: step for trial in group}}
        self.worker.log_event(self.options.topic, message)
