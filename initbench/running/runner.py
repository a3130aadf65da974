"""Trials not yet done -> groups -> executor -> store, with an observer told of every step on the way."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from initbench.records import store
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.cluster import Cluster
from initbench.running.plan import Plan
from initbench.running.pool import Lost, Workers, open_processes, open_thread, work
from initbench.running.worker import failed
from initbench.training import Group, group_trials
from initbench.training.environment import cores

Results = Generator[tuple[Group, list[Record] | Lost], None, None]


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

    def noticed(self, sentence: str) -> None:
        """Something is so that a user should know and that stops nothing."""


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

    def noticed(self, sentence: str) -> None:
        """Say nothing."""


def run(
    plan: Plan,
    trials: Sequence[Trial],
    out: Path,
    jobs: int | None = None,
    observer: Observer | None = None,
    trial_timeout: float | None = None,
    cluster: Cluster | None = None,
) -> list[Record]:
    """Train what is not stored yet and return the records of all `trials`, in their order.

    Args:
        plan: whose datasets and device are used.
        trials: what to run.
        out: the results folder; each record is stored there the moment it exists.
        jobs: worker processes; by default one a core on the CPU, and one on a GPU.
        observer: told of every event.
        trial_timeout: seconds after which a trial is stopped and recorded as failed; by default never.
        cluster: trains in place of processes here.

    Raises:
        ConfigurationError: the folder cannot be written, no worker process starts, or the cluster is not to be used.
        KeyboardInterrupt: after the workers are gone; what is stored stays.
    """
    observer = observer or Silent()
    store.sweep(out, *out.glob("trials/*"))
    records = stored_records(trials, out, observer)
    todo = [trial for trial in trials if trial.id not in records]
    observer.started(todo, len(records))
    # All that is asked for is grouped, so that a trial is trained in the same company after an interruption.
    waiting = deque(g for g in group_trials(trials, plan.datasets) if any(trial.id not in records for trial in g))
    if cluster is None:
        results = _here(waiting, plan, jobs, trial_timeout, observer)
    else:
        results = _on_cluster(waiting, cluster, plan, out, trial_timeout, observer)
    # Closed at once when this loop is left by an exception, so that no worker trains on for nobody.
    with closing(_records(waiting, results, plan, trial_timeout)) as trained:
        for record, by_worker in trained:
            if record.trial.id in records:
                continue
            if not (by_worker and cluster is not None and cluster.shared):  # whose workers write into the store
                store.write(out, record)
            records[record.trial.id] = record
            observer.finished(record)
    return [records[trial.id] for trial in trials]


def stored_records(trials: Sequence[Trial], out: Path, observer: Observer) -> dict[str, Record]:
    """Return the usable records of trials by id; damaged files are set aside, failed trials are run again."""
    records, damaged = store.read_many(out, (trial.id for trial in trials))
    for trial_id, reason in damaged.items():
        aside = store.set_aside(out, trial_id)
        if aside is not None:
            observer.damaged(aside, reason)
    return {trial_id: record for trial_id, record in records.items() if record.outcome.status != "failed"}


def _here(waiting: deque[Group], plan: Plan, jobs: int | None, limit: float | None, observer: Observer) -> Results:
    """Train on this machine."""
    width = min(jobs or (cores() if plan.device == "cpu" else 1), max(1, len(waiting)))
    opening = _opening(waiting, width, limit)
    return work(waiting, lambda group: plan.datasets[group[0].fingerprint], opening, width, limit, observer.progressed)


def _on_cluster(
    waiting: deque[Group], cluster: Cluster, plan: Plan, out: Path, limit: float | None, observer: Observer
) -> Results:
    """Train on a cluster, which is not connected where there is nothing to train."""
    if waiting:
        from initbench.running.cluster.dispatch import work as work_there  # noqa: PLC0415 - of an extra

        yield from work_there(waiting, cluster, plan, out, limit, observer.progressed, observer.noticed)


def _records(
    waiting: deque[Group], results: Results, plan: Plan, limit: float | None
) -> Generator[tuple[Record, bool], None, None]:
    """Yield every record as it is made, and whether a worker made it: none does where it was lost too often."""
    again = set[Group]()
    with closing(results):
        for group, result in results:
            if not isinstance(result, Lost):
                yield from ((record, True) for record in result)
            elif tries := _tries(group, result, again):
                waiting.extend(tries)
            else:
                yield failed(group[0], plan.datasets[group[0].fingerprint], _why(result, limit)), False


def _opening(groups: Iterable[Group], width: int, limit: float | None) -> Callable[[], Workers]:
    """Choose a thread of this process, which starts at once, where one is enough and nothing may have to be killed."""
    safe = limit is None and not any(trial.code for group in groups for trial in group)
    return open_thread if width == 1 and safe else open_processes


def _tries(group: Group, lost: Lost, again: set[Group]) -> list[Group]:
    """Return what to train once more of a group that was lost: its trials one by one, so that the guilty one is found.

    A trial has a second try after the death of its worker, which may not be its fault, and none after its time.
    """
    alone: list[Group] = [(trial,) for trial in group]
    if len(group) == 1 and (lost.overdue or group in again):
        return []
    if not lost.overdue:
        again.update(alone)
    return alone


def _why(lost: Lost, limit: float | None) -> str:
    if lost.overdue:
        return f"it took longer than {limit:g} s (--trial-timeout)"
    return f"its worker process died twice ({lost.cause})"
