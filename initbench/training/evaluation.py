"""Evaluation of a group, the same for every engine: on samples during training, on whole splits at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from initbench.datasets import Dataset
from initbench.datasets.batches import Split, resident
from initbench.records.recipe import LEAST_SAMPLE
from initbench.records.record import Final, Outcome, Point
from initbench.training.engine import EVALUATION_BATCH, Trainer


@dataclass(frozen=True)
class Probe:
    """The images of evaluations during training: equal samples of training and validation, concatenated.

    Standardized once, and evaluated in one pass: for a small network calls cost more than arithmetic.
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
    """A member's curve after `steps` steps; `outcome` is None as long as its losses are finite."""

    steps: int = 0
    curve: list[Point] = field(default_factory=list)
    outcome: Outcome | None = None


@torch.no_grad()
def look(courses: Sequence[Course], trainer: Trainer, probe: Probe, step: int, epoch: float) -> None:
    """Add a point to each member's curve, or end it if a loss is not finite, with one read from the device."""
    scores = trainer.scores(probe.images, probe.labels)
    # Each is (members, 2): training and validation.
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
    """Evaluate trained members, None for those that diverged; the only use of test data."""
    if all(course.outcome for course in courses):
        return [None] * len(courses)
    train, val, test = (resident(dataset, split, device) for split in ("train", "val", "test"))
    sizes = ((train, len(val)), (val, len(val)), (test, len(test)))
    numbers = torch.cat([evaluate(trainer, split, split.sample(size)) for split, size in sizes])
    names = [field.name for field in fields(Final)]
    return [
        None if course.outcome else Final(**dict(zip(names, row, strict=True)))
        for course, row in zip(courses, numbers.T.tolist(), strict=True)
    ]


@torch.no_grad()
def evaluate(trainer: Trainer, split: Split, index: Tensor) -> Tensor:
    """Return mean cross-entropy and accuracy over the images at `index`, (2, members)."""
    sums = [trainer.scores(*piece).sum(2) for piece in split.pieces(index, EVALUATION_BATCH)]
    return torch.stack(sums).sum(0) / len(index)


# The cost of evaluations during training, relative to training. LEAST_SAMPLE may exceed it, and the final evaluation on
# whole splits is extra: in total 11 % of a default trial, 20 % at 200 steps, 39 % at 100.
SHARE_OF_WORK = 0.05


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Return the steps to evaluate at: 0, then log-spaced and distinct, the last included.

    Log-spaced, because training changes most at its start (as in bsuite's logging).
    """
    if evaluations < 3:
        return [0, steps]
    ratio = steps ** (1 / (evaluations - 2))
    return sorted({0, *(round(ratio**i) for i in range(evaluations - 1)), steps})


def evaluation_sample(steps: int, batch_size: int, evaluations: int, available: int) -> int:
    """Return the number of images of each split in an evaluation.

    A training step costs about three forward passes per image, an evaluation one for each of two samples.
    """
    affordable = SHARE_OF_WORK * 3 * steps * batch_size / (2 * evaluations)
    return min(available, max(LEAST_SAMPLE, int(affordable)))
