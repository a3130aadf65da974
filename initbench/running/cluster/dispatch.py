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
from initbench.records.record import Group, Record
from initbench.running.backend import Lost, Results, Trained, died, is_overdue, timed_out
from initbench.running.clock import RunningTime
from initbench.running.cluster.connection import Cluster
from initbench.running.cluster.task import TaskOptions, TaskResult, train
from initbench.running.cluster.workers import ClusterWorkers, requirements_of
from initbench.running.observer import Observer
from initbench.running.study import Study
from initbench.running.worker import REPORT_EVERY
from initbench.running.workers import POLL

Result = tuple[Group, Trained | Lost]

TASK = 4.0  # seconds that a task should take
PER_WORKER = 0.02  # or this many per worker: scheduler and client together spend 0.01 on a task, and must keep up
AHEAD = 2  # tasks per worker: one that it trains, and the next
TAIL = 4  # tasks per worker that are kept for the end, so that all workers end at about the same time
REPORTS = 100  # per second from all workers together: each passes through the scheduler
VISIBLE = 30.0  # seconds until a file that a worker wrote must be seen here; NFS checks again after 3 to 60
MEMORY = 500e6  # bytes that a worker takes with torch loaded and a small network in training


@dataclass(frozen=True)
class Task:
    """The groups of one Dask task, its key, and the only workers that may train it; none named: all may."""

    key: str
    groups: tuple[Group, ...]
    workers: frozenset[str] = frozenset()


@dataclass
class Run:
    """The state of a run on a cluster."""

    workers: ClusterWorkers
    options: TaskOptions
    events: "SimpleQueue[Mapping[str, Any]]"
    waiting: deque[Group]
    ended: "SimpleQueue[Future[TaskResult]]" = field(default_factory=SimpleQueue)
    running: dict["Future[TaskResult]", Task] = field(default_factory=dict)
    suspects: set[Group] = field(default_factory=set)  # of tasks whose worker died: each is tried alone
    begun: dict[str, tuple[float, str]] = field(default_factory=dict)  # by task key: when, and on which worker
    submitted: int = 0
    groups_done: int = 0
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """The number of groups in the next task, from the time that groups took so far."""
        if not self.groups_done or self.options.report_begin:  # a group with a time limit is a task of its own
            return 1
        workers = max(1, len(self.workers.ready))
        wanted = max(TASK, PER_WORKER * workers) * self.groups_done / max(self.seconds, 1e-6)
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
    with _sentence_if_scheduler_ends(cluster), _opened(waiting, study, cluster, limit, observer) as run:
        clock = RunningTime()
        while waiting or run.running:
            run.workers.update(now=False)
            _submit(run)
            done = _done(run)
            now = clock.now()
            observer.progressed(_reported(run, now))
            for future in done:
                yield from _ended(run, future, study.out)
            yield from _overdue(run, now, limit)
            _take_back(run)


@contextmanager
def _opened(
    waiting: deque[Group], study: Study, cluster: Cluster, limit: float | None, observer: Observer
) -> Iterator[Run]:
    """Connect, check the workers and subscribe to their reports; at the end, cancel the tasks that are left."""
    client = cluster.connect()
    topic = f"initbench-{secrets.token_hex(8)}"
    with _probing(study.out, topic) as probe:
        trials = [trial for group in waiting for trial in group]
        datasets = [study.datasets[key] for key in dict.fromkeys(trial.fingerprint for trial in trials)]
        shared = probe if cluster.shared else None
        workers = ClusterWorkers(
            client, requirements_of(topic, trials, datasets, shared, embedded=cluster.embedded), observer.noticed
        )
        workers.wait_for_workers()
        options = TaskOptions(
            topic=topic,
            out=study.out.resolve() if cluster.shared else None,
            report_every=max(REPORT_EVERY, len(workers.ready) / REPORTS),
            report_begin=limit is not None,
        )
        run = Run(workers, options, SimpleQueue(), waiting)
        client.subscribe_topic(topic, lambda event: run.events.put(event[1]))
        try:
            yield run
        finally:
            if client.status == "running":
                with suppress(OSError, TimeoutError):  # the scheduler may just have ended
                    client.cancel(list(run.running))
                    client.unsubscribe_topic(topic)


@contextmanager
def _sentence_if_scheduler_ends(cluster: Cluster) -> Iterator[None]:
    """Turn what Dask raises when it loses its scheduler, a cancelled future or a closed connection, into a sentence.

    Raises:
        ConfigurationError: the block raised such an error.
    """
    try:
        yield
    except (CancelledError, OSError) as error:
        where = "" if cluster.embedded else f" at {cluster.address}"
        raise ConfigurationError(
            f"The scheduler{where} has ended. Finished trials are stored: restart it and run the same command again."
        ) from error


@contextmanager
def _probing(out: Path, topic: str) -> Iterator[Path]:
    """Create a temporary file in the store, to check which workers see it; a leftover is swept like others."""
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
    """Return the futures that are done, after waiting up to `POLL` seconds for the first.

    Not through `Client.get_executor`: its futures are never done if their result was lost and the task then fails
    (distributed 2026.8).
    """
    done = []
    with suppress(Empty):
        done.append(run.ended.get(timeout=POLL))
        while True:
            done.append(run.ended.get_nowait())
    return [future for future in done if future in run.running]


def _submit(run: Run) -> None:
    """Submit tasks while workers have fewer than they should."""
    while run.waiting and _may_submit(run):
        groups = _next(run)
        # A refused worker would send the task back. On one that is just ending, a suspect would be taken for the cause.
        chosen = run.workers.refused or groups[0] in run.suspects
        workers = frozenset(run.workers.ready) if chosen else frozenset[str]()
        task = Task(f"{run.options.topic}-{run.submitted}", groups, workers)
        run.submitted += 1
        future = run.workers.client.submit(
            train,
            run.options,
            groups,
            key=task.key,
            resources=_resources(run.workers, groups),
            workers=sorted(workers) or None,
        )
        run.running[future] = task
        future.add_done_callback(run.ended.put)


def _may_submit(run: Run) -> bool:
    """Return whether a task may be submitted; a suspect runs alone, since a dying worker takes other tasks along."""
    if any(task.groups[0] in run.suspects for task in run.running.values()):
        return False
    if run.waiting[0] in run.suspects:
        return not run.running and bool(run.workers.ready)
    return len(run.running) < AHEAD * len(run.workers.ready)


def _next(run: Run) -> tuple[Group, ...]:
    """Take the groups of the next task; a group whose worker died is a task of its own."""
    groups: list[Group] = []
    for _ in range(run.size):
        if groups and run.waiting[0] in run.suspects:
            break
        groups.append(run.waiting.popleft())
        if groups[0] in run.suspects or not run.waiting:
            break
    return tuple(groups)


def _resources(workers: ClusterWorkers, groups: tuple[Group, ...]) -> dict[str, float]:
    """Return what a task needs of the resources that workers declare: one GPU, and memory for its data in float32."""
    declared = {name for found in workers.ready.values() for name in found.resources}
    needs: dict[str, float] = {}
    if "GPU" in declared and workers.requirements.device == "cuda":
        needs["GPU"] = 1
    if "MEMORY" in declared:
        needs["MEMORY"] = _memory(workers, groups)
    return needs


def _memory(workers: ClusterWorkers, groups: tuple[Group, ...]) -> float:
    """Estimate the bytes of a task.

    Raises:
        ConfigurationError: no worker has that much, so that the task would wait for ever.
    """
    wanted = {group[0].fingerprint for group in groups}
    floats = [
        (data.train_size + data.val_size + data.test_size) * data.shape[0] * data.shape[1] * data.shape[2]
        for data in workers.requirements.datasets
        if data.fingerprint in wanted
    ]
    needed = MEMORY + 4.0 * max(floats)
    most = max(found.resources.get("MEMORY", 0.0) for found in workers.ready.values())
    if needed > most:
        raise ConfigurationError(
            f"A trial takes about {needed / 1e9:.1f} GB, and no worker declares a MEMORY of more than "
            f"{most / 1e9:.1f} GB: start workers with more."
        )
    return needed


def _reported(run: Run, now: float) -> dict[str, int]:
    """Return the newest step of each trial reported since the last call, and note which tasks began where."""
    newest: dict[str, int] = {}
    with suppress(Empty):
        while True:
            event = run.events.get_nowait()
            newest |= event["steps"]
            # Begun again on another worker, its time starts anew.
            if run.begun.get(event["key"], ("", ""))[1] != event["worker"]:
                run.begun[event["key"]] = (now, event["worker"])
    return newest


def _ended(run: Run, future: "Future[TaskResult]", out: Path) -> Iterator[Result]:
    """Yield the results of a task; its groups wait again if its worker was not ready, and each alone if it died."""
    task = run.running.pop(future)
    run.begun.pop(task.key, None)
    try:
        trained = future.result()
    except KilledWorker as error:
        if task.groups[0] in run.suspects:
            yield task.groups[0], died(f"last on {error.last_worker.address}, as when memory runs out")
            return
        run.suspects.update(task.groups)
        trained = TaskResult((), 0.0)
    if trained.records:
        yield from _taken_in(run, task, trained, out)
    else:
        run.waiting.extendleft(reversed(task.groups))
        run.workers.update()


def _taken_in(run: Run, task: Task, trained: TaskResult, out: Path) -> Iterator[Result]:
    """Yield the records of a task, read from the store if the workers write into it."""
    run.groups_done += len(task.groups)
    run.seconds += trained.seconds
    records = {
        trial_id: store.decode(data) if data is not None else _read(out, trial_id) for trial_id, data in trained.records
    }
    for group in task.groups:
        yield group, Trained([records[trial.id] for trial in group], stored=run.options.out is not None)


def _read(out: Path, trial_id: str) -> Record:
    """Read a record that a worker on another machine has just written.

    Raises:
        ConfigurationError: it does not appear.
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


def _overdue(run: Run, now: float, limit: float | None) -> Iterator[Result]:
    """End the worker of a group that has exceeded the time limit, and yield that group."""
    for future, task in list(run.running.items()):
        began, worker = run.begun.get(task.key, (now, ""))
        if is_overdue(task.groups[0], now - began, limit):
            del run.running[future]
            future.cancel()
            run.workers.end(worker, stuck=any(trial.code for trial in task.groups[0]))
            yield task.groups[0], timed_out(limit)


def _take_back(run: Run) -> None:
    """Let the groups of a task wait again if no worker is left that may train it: Dask would keep it for ever."""
    for future, task in list(run.running.items()):
        if task.workers and not task.workers & run.workers.present:
            del run.running[future]
            future.cancel()
            run.waiting.extendleft(reversed(task.groups))
