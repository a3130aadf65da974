"""The reference engine: PyTorch's own autograd and optimizers, one trial at a time, for any nn.Module.

Other engines are held against this one.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench import signals
from initbench.datasets import Dataset
from initbench.datasets.batches import Split, resident
from initbench.engines.schedule import evaluation_sample, evaluation_steps
from initbench.environment import describe, reproducible
from initbench.layers import weighted_layers
from initbench.models import build_model
from initbench.optimizers import OPTIMIZERS
from initbench.recipe import Trial
from initbench.record import DataFacts, Early, Final, Outcome, Point, Record, Timings
from initbench.schemes import Assignment, Passes, Sample, Scheme, assign, fill_scheme, parse_scheme

NAME = "autograd"
EVALUATION_BATCH = 512  # bounds the memory of an evaluation: a CNN keeps its activations for so many images at once
INITIALIZATION_IMAGES = 256  # that a scheme may look at, drawn anew for every seed
EARLY_STEPS = 50  # of which every loss and gradient norm is kept: the stretch that early instability is about

Observe = Callable[[Trial, int], None]


@dataclass(frozen=True)
class Probe:
    """What an evaluation on the way looks at: equal samples of training and validation, one after the other.

    Standardized once, and passed through the model together: for a small network the calls cost more than the sums.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, train: Split, val: Split, size: int) -> "Probe":
        """Take `size` fixed images of each split."""
        taken = [split.take(split.sample(size)) for split in (train, val)]
        return cls(*(torch.cat(parts) for parts in zip(*taken, strict=True)))


def train(group: Sequence[Trial], dataset: Dataset, observe: Observe) -> list[Record]:
    """Train every trial of a group; `observe(trial, step)` is called after every step and may raise to stop."""
    return [_train_one(trial, dataset, observe) for trial in group]


def _train_one(trial: Trial, dataset: Dataset, observe: Observe) -> Record:
    with reproducible(trial.device):
        started = time.perf_counter()
        model, assignments, passes = initialized(trial, dataset)
        initialized_at = time.perf_counter()
        train_split = resident(dataset, "train", trial.device)
        step_zero = signals.observe(model, signals.batch_of(train_split), signals.weight_laws(model, assignments))
        training_from = time.perf_counter()
        curve, early, outcome = _fit(model, trial, dataset, observe)
        final = _final(model, trial, dataset) if outcome.status == "finished" else None
        finished_at = time.perf_counter()
    return Record(
        trial=trial,
        data=data_facts(dataset),
        layers=step_zero.layers,
        network=step_zero.network,
        curve=tuple(curve),
        final=final,
        outcome=outcome,
        early=early,
        initialization_steps=(passes.forward + 2 * passes.backward) / (3 * trial.batch_size),
        environment=describe(trial.device, NAME),
        notices=tuple(dict.fromkeys(item.notice for item in assignments if item.notice)),
        timings=Timings(seconds_init=initialized_at - started, seconds_train=finished_at - training_from),
    )


def initialized(trial: Trial, dataset: Dataset) -> tuple[nn.Module, list[Assignment], Passes]:
    """Build the trial's model and initialize it; the passes are what that cost beside drawing."""
    model = build_model(trial.model, dataset.shape, dataset.classes, seed=trial.seed)
    scheme = parse_scheme(trial.scheme)
    assignments = assign(scheme, weighted_layers(model))
    passes = fill_scheme(model, scheme, assignments, trial.seed, sample_for(scheme, dataset, trial.seed))
    return model.to(trial.device), assignments, passes


def sample_for(scheme: Scheme, dataset: Dataset, seed: int) -> Sample:
    """Return the training data that a scheme may look at: a sample of the seed's own, none where it needs none."""
    if scheme.procedure is None or scheme.procedure.needs == "nothing":
        return Sample(())
    split = resident(dataset, "train", "cpu")
    images, labels = split.take(split.draw(INITIALIZATION_IMAGES, seed, "initialization"))
    return Sample((images,), labels)


def data_facts(dataset: Dataset) -> DataFacts:
    """Return what a record keeps of its dataset."""
    return DataFacts(
        classes=dataset.classes,
        train_size=dataset.train_size,
        val_size=dataset.val_size,
        test_size=dataset.test_size,
        guess=dataset.guess,
    )


def _fit(model: nn.Module, trial: Trial, dataset: Dataset, observe: Observe) -> tuple[list[Point], Early, Outcome]:
    """Train, evaluating on schedule, until the last step or the first evaluation that shows a non-finite loss."""
    train_split, val_split = (resident(dataset, split, trial.device) for split in ("train", "val"))
    size = evaluation_sample(trial.steps, trial.batch_size, trial.evaluations, len(val_split))
    probe = Probe.of(train_split, val_split, size)
    optimizer = OPTIMIZERS.build(trial.optimizer)(list(model.parameters()), trial.lr)
    order_seed = trial.seed if trial.order_seed is None else trial.order_seed
    batches = train_split.batches(order_seed, trial.batch_size, trial.steps)
    steps_per_epoch = len(train_split) // trial.batch_size
    losses = torch.zeros(trial.steps, device=trial.device)  # read only at evaluations: a read waits for the device
    norms = torch.zeros(min(EARLY_STEPS, trial.steps), device=trial.device)
    curve: list[Point] = []
    for start, stop in pairwise([0, *evaluation_steps(trial.steps, trial.evaluations)]):
        model.train()
        for step in range(start, stop):
            losses[step] = _step(model, optimizer, *next(batches))
            if step < EARLY_STEPS:
                norms[step] = _gradient_norm(model)
            observe(trial, step + 1)
        point = _point(model, probe, stop, stop / steps_per_epoch)
        bad = _first_non_finite(losses[:stop], point)
        if bad is not None:
            return curve, _early(losses[:stop], norms), Outcome(status="diverged", step=bad)
        curve.append(point)
    return curve, _early(losses, norms), Outcome(status="finished")


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call] # Tensor.backward
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def _gradient_norm(model: nn.Module) -> Tensor:
    """Return the norm of the last step's gradient, all parameters taken as one vector."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients)


def _early(losses: Tensor, norms: Tensor) -> Early:
    seen = min(len(losses), len(norms))
    return Early(losses=tuple(losses[:seen].tolist()), gradient_norms=tuple(norms[:seen].tolist()))


@torch.no_grad()
def _point(model: nn.Module, probe: Probe, step: int, epoch: float) -> Point:
    model.eval()
    logits = torch.cat([model(images) for images in torch.split(probe.images, EVALUATION_BATCH)])
    losses = functional.cross_entropy(logits, probe.labels, reduction="none")
    half = len(losses) // 2
    hits = (logits[half:].argmax(dim=1) == probe.labels[half:]).float()
    train_loss, val_loss, val_accuracy = torch.stack([losses[:half].mean(), losses[half:].mean(), hits.mean()]).tolist()
    return Point(step=step, epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)


def _first_non_finite(losses: Tensor, point: Point) -> int | None:
    """Return the number of updates after which a loss was first not finite, or None.

    `losses[i]` is a batch's loss after i updates.
    """
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        return int(bad[0])
    return None if math.isfinite(point.train_loss) and math.isfinite(point.val_loss) else point.step


def _final(model: nn.Module, trial: Trial, dataset: Dataset) -> Final:
    """Evaluate the trained model; the only place where test data are read."""
    train_split, val_split, test_split = (resident(dataset, split, trial.device) for split in ("train", "val", "test"))
    train_loss, train_accuracy = evaluate(model, train_split, train_split.sample(len(val_split)))
    val_loss, val_accuracy = evaluate(model, val_split, val_split.sample(len(val_split)))
    test_loss, test_accuracy = evaluate(model, test_split, test_split.sample(len(test_split)))
    return Final(
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        test_loss=test_loss,
        test_accuracy=test_accuracy,
    )


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, index: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy over the images at `index`, in evaluation mode."""
    model.eval()
    loss = torch.zeros((), device=index.device)
    correct = torch.zeros((), device=index.device)
    for chunk in torch.split(index, EVALUATION_BATCH):
        images, labels = split.take(chunk)
        logits = model(images)
        loss += functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(dim=1) == labels).sum()
    return float(loss) / len(index), float(correct) / len(index)
