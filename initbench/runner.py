"""Trials not yet done -> groups -> executor -> store, with an observer told of every step on the way."""

import itertools
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from initbench import executors, store
from initbench.engines import Group, group_trials
from initbench.environment import cores
from initbench.executors import Workers
from initbench.plan import Plan
from initbench.recipe import Trial
from initbench.record import Record
from initbench.worker import failed, train_group

POLL = 0.1  # seconds between two looks at the workers


class Observer(Protocol):
    """Who is told what happens; the command line's is a progress bar, the library's is silent."""

    def damaged(self, path: Path, reason: str) -> None:
        """A stored trial was damaged; it now lies at `path` and is computed again."""

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """`todo` trials are about to be trained; `stored` others were found in the store."""

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Trials, by id, have reached these steps."""

    def finished(self, record: Record) -> None:
        """A trial ended and is stored."""


@dataclass(frozen=True)
class Silent:
    """The observer that says nothing."""

    def damaged(self, path: Path, reason: str) -> None:
        """Say nothing."""

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Say nothing."""

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Say nothing."""

    def finished(self, record: Record) -> None:
        """Say nothing."""


def run(
    plan: Plan, trials: Sequence[Trial], out: Path, jobs: int | None = None, observer: Observer | None = None
) -> list[Record]:
    """Train what is not stored yet and return the records of all `trials`, in their order.

    Args:
        plan: whose datasets and device are used.
        trials: what to run.
        out: the results folder; each record is stored there the moment it exists.
        jobs: worker processes; by default one a core on the CPU, and one on a GPU.
        observer: told of every event.

    Raises:
        ConfigurationError: the folder cannot be written.
        KeyboardInterrupt: after the workers are gone; what is stored stays.
    """
    observer = observer or Silent()
    records = stored_records(trials, out, observer)
    todo = [trial for trial in trials if trial.id not in records]
    observer.started(todo, len(records))
    # All that is asked for is grouped, so that a trial is trained in the same company after an interruption.
    groups = [g for g in group_trials(trials, plan.datasets) if any(trial.id not in records for trial in g)]
    # Closed at once when this loop is left by an exception, so that no worker trains on for nobody.
    with closing(_train(groups, plan, jobs, observer)) as trained:
        for record in trained:
            if record.trial.id in records:
                continue
            store.write(out, record)
            records[record.trial.id] = record
            observer.finished(record)
    return [records[trial.id] for trial in trials]


def stored_records(trials: Sequence[Trial], out: Path, observer: Observer) -> dict[str, Record]:
    """Return the usable records of trials by id; damaged files are set aside, failed trials are run again."""
    records, damaged = store.read_many(out, (trial.id for trial in trials))
    for trial_id, reason in damaged.items():
        observer.damaged(store.set_aside(out, trial_id), reason)
    return {trial_id: record for trial_id, record in records.items() if record.outcome.status != "failed"}


def _train(groups: list[Group], plan: Plan, jobs: int | None, observer: Observer) -> Generator[Record, None, None]:
    """Yield every record as it is made. A group whose worker died is tried again alone, then recorded as failed."""
    width = min(jobs or (cores() if plan.device == "cpu" else 1), max(1, len(groups)))
    suspects: list[Group] = []
    while groups:
        groups, suspected = yield from _one_pool(groups, plan, executors.local(width), observer)
        suspects += suspected
    for group in suspects:
        _, dead = yield from _one_pool([group], plan, executors.processes(1), observer)
        for trial in itertools.chain.from_iterable(dead):
            yield failed(trial, plan.datasets[trial.fingerprint], "its worker process died twice")


def _one_pool(
    groups: list[Group], plan: Plan, opened: AbstractContextManager[Workers], observer: Observer
) -> Generator[Record, None, tuple[list[Group], list[Group]]]:
    """Train groups in one set of workers, and return what is left where a worker's death broke it.

    What is left comes in two lists: the groups still waiting, and those that may have killed the worker.
    """
    with opened as workers:
        try:
            futures = {workers.executor.submit(train_group, g, plan.datasets[g[0].fingerprint]): g for g in groups}
        except BrokenProcessPool:  # a worker died before everything was handed over: any group may be to blame
            return [], groups
        pending, running = set(futures), set[Future[list[Record]]]()
        while pending:
            done, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            observer.progressed(workers.drain())
            broken = {future for future in done if isinstance(future.exception(), BrokenProcessPool)}
            for future in done - broken:
                yield from future.result()
            if broken:
                broken |= pending
                suspected = broken & running or broken
                return [futures[f] for f in broken - suspected], [futures[f] for f in suspected]
            running = {future for future in pending if future.running()}
    return [], []
