"""The training of a group, the same for every engine: initialize, measure step 0, train, evaluate, test."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from torch import Tensor, nn

from initbench.core.generators import held, own_generators
from initbench.core.randomness import derive, isolated
from initbench.datasets import Dataset
from initbench.datasets.batches import resident
from initbench.networks.blocks import draws
from initbench.networks.models import is_built_in
from initbench.records.recipe import Trial
from initbench.records.record import DataFacts, Early, Final, Outcome, Record, Timings
from initbench.training import Observe, cuda
from initbench.training.engine import Engine, Trainer
from initbench.training.environment import denormals, describe, reproducible
from initbench.training.evaluation import Course, Probe, evaluation_sample, evaluation_steps, final_evaluations, look
from initbench.training.start import Start, begin


def train(group: Sequence[Trial], dataset: Dataset, observe: Observe, engine: Engine) -> list[Record]:
    """Train the trials of a group together; `observe(group, step)` is called after every step and may raise to stop.

    A member's seconds are its share of the group's.
    """
    first = group[0]
    device = first.device
    split = resident(dataset, "train", device)
    with reproducible(device, first.precision), cuda.side_stream(device):
        with denormals(flushed=False):
            starts = [begin(trial, dataset) for trial in group]
        started = time.perf_counter()
        seed = derive(first.data_seed, "training")
        with denormals(flushed=device == "cpu"), _drawing(seed, device, first, starts[0].model):
            trainer = engine.open([start.model for start in starts], group, split)
            courses, early = _fit(trainer, group, dataset, observe)
            finals = final_evaluations(trainer, courses, dataset, device)
        seconds = (time.perf_counter() - started) / len(group)
    name = trainer.name + (", denormals flushed" if device == "cpu" else "")
    members = zip(starts, courses, early, finals, strict=True)
    return [_record(*member, dataset, name, seconds) for member in members]


@contextmanager
def _drawing(seed: int, device: str, trial: Trial, model: nn.Module) -> Iterator[None]:
    """Seed what a network may draw from, if it does: such networks are trained one at a time."""
    if is_built_in(trial.model) and not draws(model):
        yield
        return
    with isolated(seed, device), held(seed, own_generators(model)):
        yield


def _fit(
    trainer: Trainer, group: Sequence[Trial], dataset: Dataset, observe: Observe
) -> tuple[list[Course], list[Early]]:
    """Train until the last step, or until every member has diverged."""
    trial = group[0]
    train_split = resident(dataset, "train", trial.device)
    size = evaluation_sample(trial.steps, trial.batch_size, trial.evaluations, dataset.val_size)
    probe = _probe(dataset, trial.device, size)
    per_epoch = len(train_split) // trial.batch_size
    courses = [Course() for _ in group]
    for start, stop in pairwise([0, *evaluation_steps(trial.steps, trial.evaluations)]):
        for done in trainer.train(start, stop):
            observe(group, done)
        look(courses, trainer, probe, stop, stop / per_epoch)
        if all(course.outcome for course in courses):
            break
    return courses, [_early(*member) for member in zip(courses, trainer.losses.cpu(), trainer.norms.cpu(), strict=True)]


@lru_cache(maxsize=2)
def _probe(dataset: Dataset, device: str, size: int) -> Probe:
    return Probe.of(resident(dataset, "train", device), resident(dataset, "val", device), size)


def _early(course: Course, losses: Tensor, norms: Tensor) -> Early:
    """Return a member's first steps, up to its end if it diverged while others continued."""
    seen = min(course.steps, len(norms))
    return Early(losses=tuple(losses[:seen].tolist()), gradient_norms=tuple(norms[:seen].tolist()))


def _record(
    start: Start, course: Course, early: Early, final: Final | None, dataset: Dataset, engine: str, seconds: float
) -> Record:
    return Record(
        trial=start.trial,
        data=data_facts(dataset),
        layers=start.step_zero.layers,
        network=start.step_zero.network,
        curve=tuple(course.curve),
        final=final,
        outcome=course.outcome or Outcome(status="finished"),
        early=early,
        initialization_steps=(start.passes.forward + 2 * start.passes.backward) / (3 * start.trial.batch_size),
        environment=describe(start.trial.device, engine),
        notices=start.filling.notices,
        timings=Timings(seconds_init=start.seconds, seconds_train=seconds),
    )


def data_facts(dataset: Dataset) -> DataFacts:
    """Return the facts about the dataset that a record stores."""
    return DataFacts(
        classes=dataset.classes,
        train_size=dataset.train_size,
        val_size=dataset.val_size,
        test_size=dataset.test_size,
        guess=dataset.guess,
    )
