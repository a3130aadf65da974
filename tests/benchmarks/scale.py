# ruff: noqa: T201 - it prints what it measured
"""What a cluster costs beside its training: `python -m tests.benchmarks.scale`, from the repository.

Trials of no work go through Dask's scheduler and the store on an embedded cluster: workers answer at once with a record
that was trained once. What is left is all that stands between two trainings. Written to results/bench/scale.md and
scale.png.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt

from initbench import training
from initbench.records import store
from initbench.records.record import Group, Record
from initbench.running import runner
from initbench.running.cluster import Cluster, DaskPool
from initbench.running.cluster import dispatch as working
from initbench.running.observer import Silent
from initbench.running.plan import draft_of, plan_study
from initbench.running.study import Study
from initbench.running.worker import train_group

WORKERS = 2
SIZES = (1, 8, 64)  # groups a task
MOST_SEEDS = 10_000  # of a recipe
MODEL = "mlp(depth=2, width=16)"  # four trials of it are one group


@dataclass(frozen=True)
class Measured:
    """One run; `size` is the groups of a task, None where the runner chooses."""

    trials: int
    shared: bool
    size: int | None
    tasks: int
    seconds: float
    client: float  # seconds of processor: the thread that gives tasks, reads records and tells
    scheduler: float  # and the other threads of its process: Dask's client and scheduler
    bytes_a_record: int
    resident: float  # GB, of the process that holds client, scheduler and all records, at its largest so far

    @property
    def overhead(self) -> float:
        """Milliseconds of this machine a trial."""
        return 1000 * self.seconds / self.trials


def main() -> None:
    """Measure, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trials", type=lambda text: [int(n) for n in text.split(",")], default=[1_000, 10_000, 100_000]
    )
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    measured = []
    for one in _runs(options.trials):
        measured.append(one)
        print(_row(one), flush=True)
    text = "\n".join(_page(measured))
    (options.out / "scale.md").write_text(text, encoding="utf-8")
    _picture(measured, options.out / "scale.png")
    print(text)


def _runs(counts: Sequence[int]) -> Iterator[Measured]:
    """Yield small runs first, since resident memory is that of the largest so far."""
    with closing(Cluster(None, jobs=WORKERS)) as shared:
        client = shared.connect()
        record = _a_record()
        client.run(_idle, record)
        sent = Cluster(None, jobs=WORKERS, shared=False, client=client)
        for count in counts:
            yield _run(count, shared, None)
            if count == counts[len(counts) // 2]:
                yield from (_run(count, shared, size) for size in SIZES)
                yield _run(count, sent, None)


def _a_record() -> Record:
    """Train once what all trials will have."""
    study = _planned(1, Path())
    (trial,), (dataset,) = study.trials, study.datasets.values()
    (record,) = train_group((trial,), dataset)
    return record


def _planned(trials: int, out: Path) -> Study:
    schemes = [f"normal(std={number / 100})" for number in range(1, 2 + (trials - 1) // MOST_SEEDS)]
    given = {"schemes": schemes, "model": MODEL, "steps": 300, "seeds": trials // len(schemes)}
    return plan_study(draft_of(None, given, "argument"), out)


def _idle(record: Record) -> None:
    """Have a worker answer at once."""

    def train(group: Group, _dataset: object, _report: object) -> list[Record]:
        return [record.model_copy(update={"trial": trial}) for trial in group]

    training.train = train


def _run(count: int, cluster: Cluster, size: int | None) -> Measured:
    out = Path(tempfile.mkdtemp(prefix="initbench-scale-"))
    try:
        study = _planned(count, out)
        given: list[int] = []
        chosen = working._next

        def counted(run: Any) -> tuple[Group, ...]:
            groups = chosen(run)
            given.append(len(groups))
            return groups

        fixed = patch.object(working.Run, "size", size) if size else nullcontext()
        with fixed, patch.object(working, "_next", counted):
            began, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
            records = runner.train_missing(study, study.trials, DaskPool(cluster), Silent())
            seconds, client = time.perf_counter() - began, time.thread_time() - thread
            scheduler = time.process_time() - process - client
        length = store.path_of(out, records[0].trial.id).stat().st_size
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return Measured(count, cluster.shared, size, len(given), seconds, client, scheduler, length, resident)
    finally:
        shutil.rmtree(out)


def _row(one: Measured) -> str:
    where = "workers write it" if one.shared else "sent to the client"
    size = "chosen" if one.size is None else str(one.size)
    client, dask = 1000 * one.client / one.trials, 1000 * one.scheduler / one.tasks
    cells = (
        f"{one.trials:,}", where, size, f"{one.tasks:,}", f"{one.seconds:.1f}", f"{one.overhead:.2f}", f"{client:.2f}",
        f"{dask:.1f}", f"{one.bytes_a_record:,}", f"{one.resident:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _page(measured: Sequence[Measured]) -> Iterator[str]:
    yield "# Trials of no work through scheduler and store"
    yield ""
    yield f"Embedded cluster, {WORKERS} workers, client and scheduler on {os.cpu_count()} cores; four trials a group."
    yield "Each figure is one run's. Resident memory is the client's, at its largest so far, with every record held."
    yield ""
    yield (
        "| trials | record | groups a task | tasks | seconds | ms a trial | of which the client's processor "
        "| ms of Dask's threads a task | bytes a record | resident GB |"
    )
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    yield from map(_row, measured)
    yield ""


def _picture(measured: Sequence[Measured], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    chosen = [one for one in measured if one.size is None and one.shared]
    left.plot([one.trials for one in chosen], [one.overhead for one in chosen], "o-", color="#0072b2")
    left.set(xscale="log", xlabel="trials", ylabel="ms a trial", title="Tasks of chosen sizes")
    left.set_ylim(0, 1.1 * max(one.overhead for one in chosen))
    fixed = [one for one in measured if one.size is not None]
    right.plot([one.size for one in fixed], [one.overhead for one in fixed], "o-", color="#0072b2")
    right.set(xscale="log", xlabel="groups a task (of four trials)", ylabel="ms a trial")
    right.set_ylim(0, 1.1 * max((one.overhead for one in fixed), default=1.0))
    right.set_xticks([one.size for one in fixed], [str(one.size) for one in fixed])
    right.set_title(f"{fixed[0].trials:,} trials, tasks of one size" if fixed else "")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
