"""What runs on a Dask worker: a task of some groups of trials.

A worker is given nothing but names: it has its datasets from its own cache (`members`), looks in the store before it
trains where the results folder is shared, and sends records back, as they are stored, where it is not.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import get_worker

from initbench.datasets import Dataset
from initbench.records import store
from initbench.records.recipe import Trial
from initbench.running.worker import Stopped, train_group
from initbench.training import Group

# Engines fix threads and cuDNN's manners for a whole process, so one task at a time trains in it.
_training = threading.Lock()
_datasets: dict[tuple[str, str], Dataset] = {}  # by a run's topic and fingerprint: it may train for runs that asked it


@dataclass(frozen=True)
class Errand:
    """What the tasks of a run have in common: `topic` is where they report, `out` the store where it is shared.

    `report_every` is the seconds between two reports; with `told_when_begun` there is one more at a group's beginning.
    """

    topic: str
    out: Path | None
    report_every: float
    told_when_begun: bool


@dataclass(frozen=True)
class TaskResult:
    """What came of a task: for each trial its record as it is stored, or None where it is stored already.

    None at all from a worker that has joined, or was started again, since the workers were last looked at.
    """

    records: tuple[tuple[str, bytes | None], ...]
    seconds: float


def prepared(topic: str, datasets: Mapping[str, Dataset]) -> None:
    """Note where this worker has the datasets of a run."""
    _datasets.update({(topic, fingerprint): dataset for fingerprint, dataset in datasets.items()})


def train(errand: Errand, groups: Sequence[Group]) -> TaskResult:
    """Train groups, one after the other, or none where their data are not known here."""
    if any((errand.topic, group[0].fingerprint) not in _datasets for group in groups):
        return TaskResult((), 0.0)
    with _training:
        began = time.monotonic()
        records = tuple(item for group in groups for item in _train(errand, group))
        return TaskResult(records, time.monotonic() - began)


def _train(errand: Errand, group: Group) -> Iterator[tuple[str, bytes | None]]:
    """Train a group, unless it is stored: a task is given again when its worker was lost, though it may have ended."""
    if errand.out is not None and _stored(errand.out, group):
        yield from ((trial.id, None) for trial in group)
        return
    for record in train_group(group, _datasets[errand.topic, group[0].fingerprint], _Reporter(errand, group)):
        if errand.out is None:
            yield record.trial.id, store.encode(record)
        else:
            store.write(errand.out, record)
            yield record.trial.id, None


def _stored(out: Path, group: Group) -> bool:
    records, _ = store.read_many(out, [trial.id for trial in group])
    return len(records) == len(group) and all(record.outcome.status != "failed" for record in records.values())


class _Reporter:
    """Tells the client how far a group is, and stops when nobody wants its task any more."""

    def __init__(self, errand: Errand, group: Group) -> None:
        self.errand, self.worker = errand, get_worker()
        self.key = self.worker.get_current_task()
        self.last = 0.0 if errand.told_when_begun else time.monotonic()
        if errand.told_when_begun:
            self(group, 0)

    def __call__(self, group: Sequence[Trial], step: int) -> None:
        now = time.monotonic()
        if now - self.last < self.errand.report_every:
            return
        self.last = now
        task = self.worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise Stopped
        message = {"key": self.key, "worker": self.worker.address, "steps": {trial.id: step for trial in group}}
        self.worker.log_event(self.errand.topic, message)
