"""Evaluation of a group, the same for every engine: on samples on the way, on whole splits at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from initbench.datasets import Dataset
from initbench.datasets.batches import Split, resident
from initbench.engines.stepper import Stepper
from initbench.record import Final, Outcome, Point

EVALUATION_BATCH = 512  # bounds the memory of an evaluation: a CNN keeps its activations for so many images at once


@dataclass(frozen=True)
class Probe:
    """What an evaluation on the way looks at: equal samples of training and validation, one after the other.

    Standardized once, and passed through the networks together: for a small one the calls cost more than the sums.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, train: Split, val: Split, size: int) -> "Probe":
        """Take `size` fixed images of each split."""
        taken = [split.take(split.sample(size)) for split in (train, val)]
        return cls(*(torch.cat(parts) for parts in zip(*taken, strict=True)))


@dataclass
class Course:
    """What a member's training has shown after `steps`; `outcome` is None as long as its losses are finite."""

    steps: int = 0
    curve: list[Point] = field(default_factory=list)
    outcome: Outcome | None = None


@torch.no_grad()
def look(courses: Sequence[Course], stepper: Stepper, probe: Probe, losses: Tensor, epoch: float) -> None:
    """Add a point to each curve that goes on, or end it where a loss is not finite.

    `losses`, (members, steps), are those of the batches so far. The device is read once.
    """
    step = losses.shape[1]
    numbers = torch.stack([*_losses_and_accuracy(stepper, probe), _first_bad(losses)]).T.tolist()
    for course, (train_loss, val_loss, val_accuracy, bad) in zip(courses, numbers, strict=True):
        if course.outcome is not None:
            continue
        course.steps = step
        if bad < step or not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            course.outcome = Outcome(status="diverged", step=int(bad))
            continue
        course.curve.append(
            Point(step=step, epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)
        )


def _losses_and_accuracy(stepper: Stepper, probe: Probe) -> tuple[Tensor, Tensor, Tensor]:
    """Return training loss, validation loss and validation accuracy, each (members,)."""
    logits = torch.cat([stepper.logits(images) for images in torch.split(probe.images, EVALUATION_BATCH)], dim=1)
    losses = _cross_entropy(logits, probe.labels)
    half = losses.shape[1] // 2
    hits = (logits[:, half:].argmax(dim=-1) == probe.labels[half:]).float()
    return losses[:, :half].mean(1), losses[:, half:].mean(1), hits.mean(1)


def _first_bad(losses: Tensor) -> Tensor:
    """Return the number of updates after which each member's loss was first not finite, else how many there were.

    `losses[:, i]` are a batch's losses after i updates; the last evaluation's own loss comes after all of them.
    """
    bad = functional.pad(~losses.isfinite(), (0, 1), value=True)
    return bad.int().argmax(1).to(losses)  # a step is below 2^24: exact


def final_evaluations(stepper: Stepper, courses: Sequence[Course], dataset: Dataset, device: str) -> list[Final | None]:
    """Evaluate trained members, None for those that diverged; the only place where test data are read."""
    if all(course.outcome for course in courses):
        return [None] * len(courses)
    train, val, test = (resident(dataset, split, device) for split in ("train", "val", "test"))
    sizes = ((train, len(val)), (val, len(val)), (test, len(test)))
    numbers = torch.cat([torch.stack(evaluate(stepper, split, split.sample(size))) for split, size in sizes])
    return [
        None if course.outcome else Final(**dict(zip(Final.model_fields, row, strict=True)))
        for course, row in zip(courses, numbers.T.tolist(), strict=True)
    ]


@torch.no_grad()
def evaluate(stepper: Stepper, split: Split, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean cross-entropy and accuracy over the images at `index`, each (members,)."""
    losses, hits = [], []
    for images, labels in split.pieces(index, EVALUATION_BATCH):
        logits = stepper.logits(images)
        losses.append(_cross_entropy(logits, labels).sum(1))
        hits.append((logits.argmax(dim=-1) == labels).sum(1))
    return torch.stack(losses).sum(0) / len(index), torch.stack(hits).sum(0) / len(index)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of every member on every image: (members, n)."""
    flat = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return flat.view(logits.shape[:2])
