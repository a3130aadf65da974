"""Contender: initbench's engines as its workers call them, one process a core with one thread each.

The seconds of a loop are those that a record states: from the first evaluation to the last, like everybody's. The
statistics of step 0 and the drawing of weights, which no other contender's loop does, are in the seconds in all.
"""

import time
from collections import Counter
from collections.abc import Sequence

from contenders.common import WARM_UP_STEPS, Job, Share, Trained, main, on_every_core

from initbench import training
from initbench.datasets import Dataset
from initbench.records.recipe import Trial
from initbench.records.record import Group, Record
from initbench.running import bootstrap
from initbench.training.choice import group_trials
from initbench.training.evaluation import evaluation_sample


def trained(record: Record, steps: int) -> Trained:
    """Return a record as every contender's result is written; a trial that did not finish has no `final`."""
    trial, data, final = record.trial, record.data, record.final
    curve = [(point.step, point.train_loss, point.val_loss, point.val_accuracy) for point in record.curve]
    looks = [] if final is None else [
        (final.train_loss, final.train_accuracy),
        (final.val_loss, final.val_accuracy),
        (final.test_loss, final.test_accuracy),
    ]  # fmt: skip
    # By the published schedule; that these images were looked at is what equal losses show.
    a_point = 2 * evaluation_sample(trial.steps, trial.batch_size, trial.evaluations, data.val_size)
    at_the_end = 2 * data.val_size + data.test_size if looks else 0
    return Trained(
        trial=trial.id,
        steps=steps,
        samples=steps * trial.batch_size,
        evaluated=a_point * len(curve) + at_the_end,
        curve=curve,
        final=looks,
        seconds=record.timings.seconds_train,
    )


def divide(trials: Sequence[Trial], dataset: Dataset) -> list[Group]:
    """Divide trials of one dataset into the engines' units of work."""
    return group_trials(trials, {dataset.fingerprint: dataset})


def train_groups(groups: list[Group], dataset: Dataset) -> list[Trained]:
    """Train groups of trials; steps are counted from what the engine reports while it trains."""
    steps: Counter[str] = Counter()

    def observe(group: Sequence[Trial], step: int) -> None:
        for trial in group:
            steps[trial.id] = step

    records = [record for group in groups for record in training.train(group, dataset, observe)]
    return [trained(record, steps[record.trial.id]) for record in records]


def train_share(groups: list[Group], job: Job) -> Share:
    bootstrap.keep_memory()  # as every worker does
    dataset = job.open_dataset()
    if job.warm_up:
        first = [trial.model_copy(update={"steps": WARM_UP_STEPS}) for trial in groups[0]]
        train_groups(divide(first, dataset), dataset)
    started = time.perf_counter()
    return Share(train_groups(groups, dataset), time.perf_counter() - started)


def run(job: Job) -> list[Share]:
    groups = divide(job.trials, job.open_dataset())
    shares = [groups[i :: job.processes] for i in range(job.processes)]
    return on_every_core(train_share, [(share, job) for share in shares if share])


def layout(job: Job) -> str:
    sizes = sorted({len(group) for group in divide(job.trials, job.open_dataset())})
    return f"{job.processes} processes × 1 thread, groups of {', '.join(map(str, sizes))}"


if __name__ == "__main__":
    main(run, layout)
