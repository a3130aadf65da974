"""Carry a study out: tune where there is a grid, train what is not stored, store each record, return the comparison."""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from initbench.comparison import Comparison, comparison_of
from initbench.records import store
from initbench.records.manifest import write_manifest
from initbench.records.recipe import Trial
from initbench.records.record import Group, Record
from initbench.running.backend import Backend, Lost, Trained
from initbench.running.grids import extend_grids, score_tuned
from initbench.running.observer import Observer, Silent
from initbench.running.study import Study
from initbench.running.worker import failed


def carry_out(study: Study, backend: Backend, observer: Observer | None = None) -> Comparison:
    """Write the manifest, tune where there is a grid, train what is not stored, and return the comparison.

    Raises:
        ConfigurationError: the results folder cannot be written, or the backend cannot train.
        KeyboardInterrupt: after the workers have ended; what is stored is kept.
    """
    observer = observer or Silent()
    write_manifest(study.folder, study.manifest())
    tuned: list[Record] = []
    with backend:
        if study.tuning:
            study, tuned = _tune(study, backend, observer)
            write_manifest(study.folder, study.manifest())
        scored = train_missing(study, (*study.trials, *study.crossed), backend, observer)
    return comparison_of(study.manifest(), {record.trial.id: record for record in (*tuned, *scored)})


def _tune(study: Study, backend: Backend, observer: Observer) -> tuple[Study, list[Record]]:
    """Choose each scheme's learning rate on the tuning seeds, the grid extended once.

    Returns:
        The study with its scored trials, and the records of the tuning trials.
    """
    records = train_missing(study, study.tuning, backend, observer)
    extended = extend_grids(study, records)
    if extended.tuning != study.tuning:
        records = train_missing(extended, extended.tuning, backend, observer)
    return score_tuned(extended, records), records


def train_missing(study: Study, trials: Sequence[Trial], backend: Backend, observer: Observer) -> list[Record]:
    """Train the trials that are not stored yet and return the records of all `trials`, in their order.

    Each record is stored as soon as it exists.

    Raises:
        ConfigurationError: the results folder cannot be written, or the backend cannot train.
        KeyboardInterrupt: after the workers have ended; what is stored is kept.
    """
    store.sweep(study.out, *study.out.glob("trials/*"))
    records = _stored_records(study.out, trials, observer)
    todo = [trial for trial in trials if trial.id not in records]
    observer.started(todo, len(records))
    # All that is asked for is grouped, so that a trial is trained in the same company after an interruption.
    waiting = deque(g for g in _groups(trials, study) if any(trial.id not in records for trial in g))
    # Closed at once when this loop is left by an exception, so that workers stop training.
    with closing(_train(waiting, study, backend, observer)) as trained:
        for record, stored in trained:
            if record.trial.id in records:
                continue
            if not stored:
                store.write(study.out, record)
            records[record.trial.id] = record
            observer.finished(record)
    return [records[trial.id] for trial in trials]


def _groups(trials: Sequence[Trial], study: Study) -> list[Group]:
    """Return the groups to train: on the CPU each trial alone, which torch need not be loaded to know."""
    if study.device == "cpu":
        return [(trial,) for trial in trials]
    from initbench.training.choice import group_trials  # noqa: PLC0415 - loads torch

    return group_trials(trials, study.datasets)


def _stored_records(out: Path, trials: Sequence[Trial], observer: Observer) -> dict[str, Record]:
    """Return the usable records of trials by id; damaged files are set aside, failed trials are run again."""
    records, damaged = store.read_many(out, (trial.id for trial in trials))
    for trial_id, reason in damaged.items():
        aside = store.set_aside(out, trial_id)
        if aside is not None:
            observer.damaged(aside, reason)
    return {trial_id: record for trial_id, record in records.items() if record.outcome.status != "failed"}


def _train(
    waiting: deque[Group], study: Study, backend: Backend, observer: Observer
) -> Generator[tuple[Record, bool], None, None]:
    """Yield every record as it is made, and whether it is stored; a trial that is lost too often has a failed one."""
    retried = set[Group]()
    with closing(backend.train(waiting, study, observer)) as results:
        for group, result in results:
            if isinstance(result, Trained):
                yield from ((record, result.stored) for record in result.records)
            elif retries := _retries(group, result, retried):
                waiting.extend(retries)
            else:
                yield failed(group[0], study.datasets[group[0].fingerprint], result.reason), False


def _retries(group: Group, lost: Lost, retried: set[Group]) -> list[Group]:
    """Return what to train again of a lost group: its trials one by one, to find the one that is to blame.

    A trial is tried again once after the death of its worker, which it may not have caused, and never after a timeout.
    """
    alone: list[Group] = [(trial,) for trial in group]
    if len(group) == 1 and (lost.timed_out or group in retried):
        return []
    if not lost.timed_out:
        retried.update(alone)
    return alone
