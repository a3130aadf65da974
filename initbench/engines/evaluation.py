"""Evaluation of a group, the same for every engine: on samples on the way, on whole splits at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from initbench.datasets import Dataset
from initbench.datasets.batches import Split, resident
from initbench.engines.stepper import EVALUATION_BATCH, Trainer
from initbench.record import Final, Outcome, Point


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
def look(courses: Sequence[Course], trainer: Trainer, probe: Probe, step: int, epoch: float) -> None:
    """Add a point to each curve that goes on, or end it where a loss is not finite. The device is read once."""
    scores = trainer.scores(probe.images, probe.labels)
    # Each (members, 2): of training and of validation.
    losses, hits = scores.view(2, len(courses), 2, -1).mean(dim=3).tolist()
    members = zip(courses, losses, hits, trainer.first_bad(step), strict=True)
    for course, (train_loss, val_loss), (_, val_accuracy), bad in members:
        if course.outcome is not None:
            continue
        course.steps = step
        if bad < step or not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            course.outcome = Outcome(status="diverged", step=bad)
            continue
        course.curve.append(
            Point(step=step, epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)
        )


def final_evaluations(trainer: Trainer, courses: Sequence[Course], dataset: Dataset, device: str) -> list[Final | None]:
    """Evaluate trained members, None for those that diverged; the only place where test data are read."""
    if all(course.outcome for course in courses):
        return [None] * len(courses)
    train, val, test = (resident(dataset, split, device) for split in ("train", "val", "test"))
    sizes = ((train, len(val)), (val, len(val)), (test, len(test)))
    numbers = torch.cat([evaluate(trainer, split, split.sample(size)) for split, size in sizes])
    return [
        None if course.outcome else Final(**dict(zip(Final.model_fields, row, strict=True)))
        for course, row in zip(courses, numbers.T.tolist(), strict=True)
    ]


@torch.no_grad()
def evaluate(trainer: Trainer, split: Split, index: Tensor) -> Tensor:
    """Return mean cross-entropy and accuracy over the images at `index`, (2, members)."""
    sums = [trainer.scores(*piece).sum(2) for piece in split.pieces(index, EVALUATION_BATCH)]
    return torch.stack(sums).sum(0) / len(index)
