"""Groups of trials out to a cluster, their records in, with tasks large enough to keep Dask's overhead low."""

import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future
from distributed.scheduler import KilledWorker

from initbench.errors import ConfigurationError
from initbench.records import store
from initbench.records.record import Record
from initbench.running.backend import Lost, Results, Trained, died, is_overdue, timed_out
from initbench.running.cluster.connection import Cluster
from initbench.running.cluster.task import Errand, TaskResult, train
from initbench.running.cluster.workers import Crew, demands_of
from initbench.running.observer import Observer
from initbench.running.study import Study
from initbench.running.worker import REPORT_EVERY
from initbench.running.workers import POLL
from initbench.training import Group

Result = tuple[Group, Trained | Lost]

TASK = 4.0  # seconds that a task is to take
OF_EACH = 0.02  # or so many for each worker: scheduler and client together spend 0.01 on a task, and must keep up
AHEAD = 2  # tasks a worker: one that it trains, one that lies ready
TAIL = 4  # tasks a worker that are left for the end, so that all workers end at much the same time
REPORTS = 100  # a second from all workers together: the scheduler hears every one of them
VISIBLE = 30.0  # seconds until a file that a worker wrote must be seen here; NFS looks again after 3 to 60
MEMORY = 500e6  # bytes of a worker that has torch loaded and trains a small network


@dataclass(frozen=True)
class Task:
    """What a worker was given, under the key that Dask has for it."""

    key: str
    groups: tuple[Group, ...]


@dataclass
class Run:
    """What the tasks of a run share."""

    crew: Crew
    errand: Errand
    events: "SimpleQueue[Mapping[str, Any]]"
    waiting: deque[Group]
    ended: "SimpleQueue[Future[TaskResult]]" = field(default_factory=SimpleQueue)
    running: dict["Future[TaskResult]", Task] = field(default_factory=dict)
    suspects: set[Group] = field(default_factory=set)  # of a task whose worker died: each is tried alone
    begun: dict[str, tuple[float, str]] = field(default_factory=dict)  # when and where a task's group began, by key
    given: int = 0
    groups_done: int = 0
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """How many groups the next task has: as many as take `TASK` seconds or more, by what was seen."""
        if not self.groups_done or self.errand.told_when_begun:  # whose time is limited goes alone
            return 1
        workers = max(1, len(self.crew.ready))
        wanted = max(TASK, OF_EACH * workers) * self.groups_done / max(self.seconds, 1e-6)
        return max(1, int(min(wanted, len(self.waiting) / (TAIL * workers))))


def dispatch(waiting: deque[Group], study: Study, cluster: Cluster, limit: float | None, observer: Observer) -> Results:
    """Train groups on a cluster until none is waiting; the caller may add groups to `waiting` meanwhile.

    Args:
        waiting: groups, taken from the left.
        study: whose datasets the workers need. Where its results folder is shared, they write into it.
        cluster: is connected here.
        limit: seconds that a trial may take, None for any; a group may take as much for each of its trials.
        observer: notified of progress and of notices.

    Yields:
        Each group with its records, or with how it was lost.

    Raises:
        ConfigurationError: no scheduler answers, it goes away, or a worker lacks something before the first trial.
    """
    with _scheduler_required(cluster), _opened(waiting, study, cluster, limit, observer) as run:
        while waiting or run.running:
            run.crew.look(now=False)
            _hand_out(run)
            done = _done(run)
            observer.progressed(_heard(run))
            for future in done:
                yield from _ended(run, future, study.out)
            yield from _overdue(run, limit)


@contextmanager
def _opened(
    waiting: deque[Group], study: Study, cluster: Cluster, limit: float | None, observer: Observer
) -> Iterator[Run]:
    """Connect, look at the workers, listen to their reports; at the end, nothing that was asked for is left behind."""
    client = cluster.connect()
    topic = f"initbench-{secrets.token_hex(8)}"
    with _probing(study.out, topic) as probe:
        trials = [trial for group in waiting for trial in group]
        datasets = [study.datasets[key] for key in dict.fromkeys(trial.fingerprint for trial in trials)]
        shared = probe if cluster.shared else None
        crew = Crew(client, demands_of(topic, trials, datasets, shared, embedded=cluster.embedded), observer.noticed)
        crew.gather()
        errand = Errand(
            topic=topic,
            out=study.out.resolve() if cluster.shared else None,
            report_every=max(REPORT_EVERY, len(crew.ready) / REPORTS),
            told_when_begun=limit is not None,
        )
        run = Run(crew, errand, SimpleQueue(), waiting)
        client.subscribe_topic(topic, lambda event: run.events.put(event[1]))
        try:
            yield run
        finally:
            if client.status == "running":
                with suppress(OSError, TimeoutError):  # the scheduler may have gone just now
                    client.cancel(list(run.running))
                    client.unsubscribe_topic(topic)


@contextmanager
def _scheduler_required(cluster: Cluster) -> Iterator[None]:
    """Turn what Dask raises when it loses its scheduler, futures that were cancelled or a closed line, into a sentence.

    Raises:
        ConfigurationError: the block raised such an error.
    """
    try:
        yield
    except (CancelledError, OSError) as error:
        where = "" if cluster.embedded else f" at {cluster.address}"
        raise ConfigurationError(
            f"The scheduler{where} is gone; what was trained is stored: start it again, and give the same command."
        ) from error


@contextmanager
def _probing(out: Path, topic: str) -> Iterator[Path]:
    """Have a file in the store for a while, to see who sees it; one that is left over is swept as others are."""
    probe = store.path_of(out.resolve(), "00").with_name(f".{topic}.part")
    with store.writing(probe):
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    try:
        yield probe
    finally:
        with suppress(OSError):
            probe.unlink()


def _done(run: Run) -> "list[Future[TaskResult]]":
    """Wait a moment; return what has ended.

    Not through `Client.get_executor`: a future of its whose result was lost and whose task then fails is never done
    (distributed 2026.8).
    """
    done = []
    with suppress(Empty):
        done.append(run.ended.get(timeout=POLL))
        while True:
            done.append(run.ended.get_nowait())
    return [future for future in done if future in run.running]


def _hand_out(run: Run) -> None:
    """Give tasks, as long as workers have fewer than they should."""
    while run.waiting and _may_give(run):
        groups = _next(run)
        task = Task(f"{run.errand.topic}-{run.given}", groups)
        run.given += 1
        # Those refused get tasks only where no other worker is left, and send them back.
        only = {"workers": sorted(run.crew.ready), "allow_other_workers": True} if run.crew.refused else {}
        future = run.crew.client.submit(
            train, run.errand, groups, key=task.key, resources=_resources(run.crew, groups), **only
        )
        run.running[future] = task
        future.add_done_callback(run.ended.put)


def _may_give(run: Run) -> bool:
    """Say whether a task may be given; a suspect goes while no other does, for tasks die with what lies before them."""
    if any(task.groups[0] in run.suspects for task in run.running.values()):
        return False
    if run.waiting[0] in run.suspects:
        return not run.running and bool(run.crew.ready)
    return len(run.running) < AHEAD * len(run.crew.ready)


def _next(run: Run) -> tuple[Group, ...]:
    """Take the groups of the next task; one whose worker died goes alone."""
    groups: list[Group] = []
    for _ in range(run.size):
        if groups and run.waiting[0] in run.suspects:
            break
        groups.append(run.waiting.popleft())
        if groups[0] in run.suspects or not run.waiting:
            break
    return tuple(groups)


def _resources(crew: Crew, groups: tuple[Group, ...]) -> dict[str, float]:
    """Return what a task takes of what workers declare: one GPU, and the memory of its data in float32."""
    declared = {name for found in crew.ready.values() for name in found.resources}
    needs: dict[str, float] = {}
    if "GPU" in declared and crew.demands.device == "cuda":
        needs["GPU"] = 1
    if "MEMORY" in declared:
        needs["MEMORY"] = _memory(crew, groups)
    return needs


def _memory(crew: Crew, groups: tuple[Group, ...]) -> float:
    """Estimate the bytes of a task.

    Raises:
        ConfigurationError: no worker has as many, so that it would wait for ever.
    """
    wanted = {group[0].fingerprint for group in groups}
    floats = [
        (of.train_size + of.val_size + of.test_size) * of.shape[0] * of.shape[1] * of.shape[2]
        for of in crew.demands.datasets
        if of.fingerprint in wanted
    ]
    needed = MEMORY + 4.0 * max(floats)
    most = max(found.resources.get("MEMORY", 0.0) for found in crew.ready.values())
    if needed > most:
        raise ConfigurationError(
            f"A trial takes about {needed / 1e9:.1f} GB, and no worker declares a MEMORY of more than "
            f"{most / 1e9:.1f} GB: start workers with more."
        )
    return needed


def _heard(run: Run) -> dict[str, int]:
    """Return the newest step of each trial that workers told of since the last call, and note what began where."""
    newest: dict[str, int] = {}
    with suppress(Empty):
        while True:
            event = run.events.get_nowait()
            newest |= event["steps"]
            # Begun again elsewhere, it has its time again.
            if run.begun.get(event["key"], ("", ""))[1] != event["worker"]:
                run.begun[event["key"]] = (time.monotonic(), event["worker"])
    return newest


def _ended(run: Run, future: "Future[TaskResult]", out: Path) -> Iterator[Result]:
    """Yield what came of a task; one whose worker was not ready, or died, is given again, its groups each alone."""
    task = run.running.pop(future)
    run.begun.pop(task.key, None)
    try:
        trained = future.result()
    except KilledWorker as error:
        if task.groups[0] in run.suspects:
            yield task.groups[0], died(f"last on {error.last_worker.address}")
            return
        run.suspects.update(task.groups)
        trained = TaskResult((), 0.0)
    if trained.records:
        yield from _taken_in(run, task, trained, out)
    else:
        run.waiting.extendleft(reversed(task.groups))
        run.crew.look()


def _taken_in(run: Run, task: Task, trained: TaskResult, out: Path) -> Iterator[Result]:
    """Yield the records of a task, read from the store where the workers write into it."""
    run.groups_done += len(task.groups)
    run.seconds += trained.seconds
    records = {
        trial_id: store.decode(data) if data is not None else _read(out, trial_id) for trial_id, data in trained.records
    }
    for group in task.groups:
        yield group, Trained([records[trial.id] for trial in group], stored=run.errand.out is not None)


def _read(out: Path, trial_id: str) -> Record:
    """Read a record that a worker wrote on another machine a moment ago.

    Raises:
        ConfigurationError: it is not here.
    """
    deadline = time.monotonic() + VISIBLE
    while True:
        with suppress(store.DamagedFile):
            record = store.read(out, trial_id)
            if record is not None:
                return record
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"A worker stored a trial that does not appear in {out} within {VISIBLE:g} s: give --no-shared-folder."
            )
        time.sleep(POLL)


def _overdue(run: Run, limit: float | None) -> Iterator[Result]:
    """End the worker of a group that has had its time, and yield that group."""
    now = time.monotonic()
    for future, task in list(run.running.items()):
        began, worker = run.begun.get(task.key, (now, ""))
        if is_overdue(task.groups[0], now - began, limit):
            del run.running[future]
            future.cancel()
            # One without a nanny cannot be started again: it trains on, for nobody.
            with suppress(ValueError, TimeoutError):
                run.crew.client.restart_workers([worker], timeout=POLL, raise_for_error=False)
            yield task.groups[0], timed_out(limit)
