"""Where a trial starts: its network initialized and measured at step 0, the same for every engine and device.

What only depends on the names of network and scheme is worked out once in a process, and step 0 of a network once for
all its learning rates and optimizers. The user's code may do something else each time: it is asked each time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import nn

from initbench import signals
from initbench.core.randomness import one_thread
from initbench.datasets import Dataset
from initbench.datasets.batches import resident
from initbench.networks.blocks import draws
from initbench.networks.copies import NotCopiedError
from initbench.networks.models import build_model, is_built_in, layers_in_order
from initbench.networks.user_model import ImageShape
from initbench.records.recipe import Trial
from initbench.records.record import StepZero
from initbench.schemes import Assignment, Filled, Passes, Sample, Scheme, fill_scheme, notices_of, parse_scheme, planned
from initbench.signals.propagation import WeightMoments

INITIALIZATION_IMAGES = 256  # for schemes that use data, drawn per seed


@dataclass(frozen=True)
class Filling:
    """How a scheme fills a network, with sentences on what it could not fill."""

    scheme: Scheme
    assignments: list[Assignment]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """A trial's initialized network at step 0, with the cost of initializing it."""

    trial: Trial
    model: nn.Module
    filling: Filling
    passes: Passes
    step_zero: StepZero
    seconds: float


def begin(trial: Trial, dataset: Dataset) -> Start:
    """Initialize and measure on the CPU, with one thread, so that both are the same for every device."""
    with one_thread():
        started = time.perf_counter()
        model, filling, filled = initialized(trial, dataset)
        seconds = time.perf_counter() - started
        step_zero = _step_zero(trial, dataset, model, filling.assignments, filled)
    if trial.device != "cpu":
        model = model.to(trial.device)
    return Start(trial, model, filling, filled.passes, step_zero, seconds)


def initialized(trial: Trial, dataset: Dataset) -> tuple[nn.Module, Filling, Filled]:
    """Build and initialize the trial's model on the CPU."""
    model = build_model(trial.model, dataset.shape, dataset.classes, seed=trial.seed)
    if trial.code is None:
        filling = _usual_filling(trial.model, trial.scheme, dataset.shape, dataset.classes)
    else:
        filling = _filling(trial.model, trial.scheme, dataset.shape, model)
    sample = sample_for(filling.scheme, dataset, trial.seed)
    return model, filling, fill_scheme(model, filling.scheme, filling.assignments, trial.seed, sample)


@lru_cache(maxsize=256)
def _usual_filling(model: str, scheme: str, shape: ImageShape, classes: int) -> Filling:
    return _filling(model, scheme, shape, build_model(model, shape, classes, device="meta"))


def _filling(text: str, scheme_text: str, shape: ImageShape, model: nn.Module) -> Filling:
    scheme = parse_scheme(scheme_text)
    assignments = planned(model, scheme, layers_in_order(text, model, shape))
    return Filling(scheme, assignments, tuple(notices_of(model, scheme, assignments)))


def sample_for(scheme: Scheme, dataset: Dataset, seed: int) -> Sample:
    """Return the training data for a scheme: a sample drawn for the seed, empty if it needs none."""
    if scheme.procedure is None or scheme.procedure.needs == "nothing":
        return Sample(())
    split = resident(dataset, "train", "cpu")
    images, labels = split.take(split.draw(INITIALIZATION_IMAGES, seed, "initialization"))
    return Sample((images,), labels)


def _step_zero(
    trial: Trial, dataset: Dataset, model: nn.Module, assignments: Sequence[Assignment], filled: Filled
) -> StepZero:
    """Measure a network, unless it was for another learning rate or optimizer."""
    kept = [] if trial.code is not None else _kept(trial.model, trial.scheme, dataset, trial.seed, trial.device)
    if not kept:
        kept.append(_observed(trial, dataset, model, signals.weight_moments(model, assignments, filled.factors)))
    return kept[0]


@lru_cache(maxsize=256)
def _kept(*_network: object) -> list[StepZero]:
    """Return where the step 0 of a network is kept."""
    return []


def _observed(trial: Trial, dataset: Dataset, model: nn.Module, laws: Mapping[str, WeightMoments]) -> StepZero:
    """Measure a copy of the model, or a built-in model itself where it draws nothing: it is given back as it was."""
    batch = _batch(dataset)
    if is_built_in(trial.model) and not draws(model):
        buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        step_zero = _series(trial.model, dataset, tuple(laws.items())).observe(model)
        for buffer, values in buffers:
            buffer.copy_(values)
        model.zero_grad()
        model.train()
        return step_zero
    try:
        return signals.observe(model, batch, laws, seed=trial.seed)
    except NotCopiedError:  # build another
        return signals.observe(initialized(trial, dataset)[0], batch, laws, seed=trial.seed, own=True)


@lru_cache(maxsize=64)
def _series(_model: str, dataset: Dataset, laws: tuple[tuple[str, WeightMoments], ...]) -> signals.Series:
    return signals.Series(_batch(dataset), dict(laws))


@lru_cache(maxsize=2)
def _batch(dataset: Dataset) -> signals.Batch:
    return signals.batch_of(resident(dataset, "train", "cpu"))
