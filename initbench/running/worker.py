"""What a worker runs, whether it is a process, a thread of this process or a Dask worker."""

import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from queue import Queue
from typing import Any

from initbench import training
from initbench.core import usercode
from initbench.datasets import Dataset
from initbench.records.recipe import Trial
from initbench.records.record import Group, Outcome, Record, Timings
from initbench.training import Observe

REPORT_EVERY = 0.2  # seconds between two reports of one worker: smooth on screen, negligible for the training


class Stopped(BaseException):
    """The run was stopped; not an Exception, so that it is never recorded as a trial's failure."""


class _Reporter:
    """Sends (trial id, step) to the parent every `REPORT_EVERY` seconds, and stops the training on request."""

    def __init__(self) -> None:
        self.queue: Queue[tuple[str, int]] | None = None
        self.stop = threading.Event()
        self.last = 0.0

    def __call__(self, group: Sequence[Trial], step: int) -> None:
        if self.stop.is_set():
            raise Stopped
        now = time.monotonic()
        if self.queue is not None and now - self.last >= REPORT_EVERY:
            self.last = now
            for trial in group:
                self.queue.put((trial.id, step))


_report = _Reporter()


def start_thread(queue: "Queue[tuple[str, int]]", stop: threading.Event) -> None:
    """Prepare the thread that trains inside the parent process."""
    _report.queue, _report.stop = queue, stop


def report_to(queue: Any) -> None:  # noqa: ANN401 - multiprocessing.Queue names no element type at run time
    """Prepare a worker process (`bootstrap.start_process`)."""
    _report.queue = queue


def train_group(group: Group, dataset: Dataset, report: Observe = _report) -> list[Record]:
    """Train a group; what a trial raises becomes its outcome, so that its failure does not affect others."""
    from initbench.core.process_state import process_kept  # noqa: PLC0415 - loads torch

    try:
        with process_kept() if group[0].code else nullcontext():  # for the trials that this process trains next
            return training.train(group, dataset, report)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the reason is recorded, and the run exits with code 3
        if len(group) == 1:
            return [failed(group[0], dataset, _reason(error, group[0]))]
    # Outside of `except`, in which the error would keep the group's tensors in memory.
    return [record for trial in group for record in train_group((trial,), dataset, report)]


def failed(trial: Trial, dataset: Dataset, reason: str) -> Record:
    """Return the record of a trial that failed for a `reason`."""
    from initbench.training.environment import describe  # noqa: PLC0415 - loads torch
    from initbench.training.loop import data_facts  # noqa: PLC0415 - likewise

    return Record(
        trial=trial,
        data=data_facts(dataset),
        layers=(),
        curve=(),
        final=None,
        outcome=Outcome(status="failed", reason=reason),
        environment=describe(trial.device, "none"),
        timings=Timings(seconds_init=0.0, seconds_train=0.0),
    )


def _reason(error: BaseException, trial: Trial) -> str:
    """Return the error and its line: one in the user's own code if the trial has such code."""
    if trial.code:
        return usercode.describe_error(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
