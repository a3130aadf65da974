"""The training of a group, the same for every engine: initialize, measure step 0, train, evaluate, test."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from initbench import signals
from initbench.core.generators import held, own_generators
from initbench.core.randomness import derive, isolated, one_thread
from initbench.core.spec import parse
from initbench.datasets import Dataset
from initbench.datasets.batches import resident
from initbench.networks.copies import NotCopiedError
from initbench.networks.models import MODELS, build_model, layers_in_order
from initbench.records.recipe import Trial
from initbench.records.record import DataFacts, Early, Final, Outcome, Record, StepZero, Timings
from initbench.schemes import Assignment, Filled, Passes, Sample, Scheme, fill_scheme, notices_of, parse_scheme, planned
from initbench.training import Observe, cuda
from initbench.training.engine import Engine, Trainer
from initbench.training.environment import denormals, describe, reproducible
from initbench.training.evaluation import Course, Probe, evaluation_sample, evaluation_steps, final_evaluations, look

INITIALIZATION_IMAGES = 256  # for schemes that use data, drawn per seed


@dataclass(frozen=True)
class Start:
    """A trial's initialized network at step 0, with the cost of initializing it."""

    trial: Trial
    model: nn.Module
    assignments: Sequence[Assignment]
    passes: Passes
    step_zero: StepZero
    seconds: float


def train(group: Sequence[Trial], dataset: Dataset, observe: Observe, engine: Engine) -> list[Record]:
    """Train the trials of a group together; `observe(group, step)` is called after every step and may raise to stop.

    A member's seconds are its share of the group's.
    """
    first = group[0]
    device = first.device
    split = resident(dataset, "train", device)
    with reproducible(device, first.precision), cuda.side_stream(device):
        with denormals(flushed=False):
            starts = [_start(trial, dataset) for trial in group]
        started = time.perf_counter()
        seed = derive(first.data_seed, "training")
        # No built-in network draws, and the user's own are trained one at a time.
        own = {} if parse(first.model).name in MODELS else own_generators(starts[0].model)
        with denormals(flushed=device == "cpu"), isolated(seed, device), held(seed, own):
            trainer = engine.open([start.model for start in starts], group, split)
            courses, early = _fit(trainer, group, dataset, observe)
            finals = final_evaluations(trainer, courses, dataset, device)
        seconds = (time.perf_counter() - started) / len(group)
    name = trainer.name + (", denormals flushed" if device == "cpu" else "")
    members = zip(starts, courses, early, finals, strict=True)
    return [_record(*member, dataset, name, seconds) for member in members]


def _start(trial: Trial, dataset: Dataset) -> Start:
    """Initialize and measure on the CPU, with one thread, so that both are the same for every device."""
    with one_thread():
        started = time.perf_counter()
        model, assignments, filled = initialized(trial, dataset)
        seconds = time.perf_counter() - started
        batch = signals.batch_of(resident(dataset, "train", "cpu"))
        laws = signals.weight_moments(model, assignments, filled.factors)
        try:
            step_zero = signals.observe(model, batch, laws, seed=trial.seed)
        except NotCopiedError:  # build another
            step_zero = signals.observe(initialized(trial, dataset)[0], batch, laws, seed=trial.seed, own=True)
    return Start(trial, model.to(trial.device), assignments, filled.passes, step_zero, seconds)


def initialized(trial: Trial, dataset: Dataset) -> tuple[nn.Module, list[Assignment], Filled]:
    """Build and initialize the trial's model on the CPU."""
    model = build_model(trial.model, dataset.shape, dataset.classes, seed=trial.seed)
    scheme = parse_scheme(trial.scheme)
    assignments = planned(model, scheme, layers_in_order(trial.model, model, dataset.shape))
    filled = fill_scheme(model, scheme, assignments, trial.seed, sample_for(scheme, dataset, trial.seed))
    return model, assignments, filled


def sample_for(scheme: Scheme, dataset: Dataset, seed: int) -> Sample:
    """Return the training data for a scheme: a sample drawn for the seed, empty if it needs none."""
    if scheme.procedure is None or scheme.procedure.needs == "nothing":
        return Sample(())
    split = resident(dataset, "train", "cpu")
    images, labels = split.take(split.draw(INITIALIZATION_IMAGES, seed, "initialization"))
    return Sample((images,), labels)


def _fit(
    trainer: Trainer, group: Sequence[Trial], dataset: Dataset, observe: Observe
) -> tuple[list[Course], list[Early]]:
    """Train until the last step, or until every member has diverged."""
    trial = group[0]
    train_split, val_split = (resident(dataset, split, trial.device) for split in ("train", "val"))
    size = evaluation_sample(trial.steps, trial.batch_size, trial.evaluations, len(val_split))
    probe = Probe.of(train_split, val_split, size)
    per_epoch = len(train_split) // trial.batch_size
    courses = [Course() for _ in group]
    for start, stop in pairwise([0, *evaluation_steps(trial.steps, trial.evaluations)]):
        for done in trainer.train(start, stop):
            observe(group, done)
        look(courses, trainer, probe, stop, stop / per_epoch)
        if all(course.outcome for course in courses):
            break
    return courses, [_early(*member) for member in zip(courses, trainer.losses.cpu(), trainer.norms.cpu(), strict=True)]


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
        notices=tuple(notices_of(start.model, parse_scheme(start.trial.scheme), start.assignments)),
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
