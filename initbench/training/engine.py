"""What an engine offers to the loop of `training`: the networks of one group, trained and evaluated together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from initbench.datasets.batches import Split
from initbench.records.recipe import Trial

EVALUATION_BATCH = 512  # bounds the memory of an evaluation: a CNN keeps its activations for so many images at once


class Trainer(Protocol):
    """Initialized networks of one shape in training, one a trial: the members of a group.

    `name` is the engine's in records. `losses` (members, steps) are those of each batch before its update, `norms`
    (members, early steps) those of each gradient, all of a network's parameters taken as one vector.
    """

    name: str
    losses: Tensor
    norms: Tensor

    def train(self, start: int, stop: int) -> Iterator[int]:
        """Take the steps start … stop - 1; yield, every fraction of a second at least, how many were taken in all."""

    def first_bad(self, steps: int) -> list[int]:
        """Return how many of so many steps each member took before a loss was not finite, all if none was."""

    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return each member's loss on each image (n, …) in evaluation mode, and 1 where it is right, else 0.

        Shape (2, members, n).
        """


Open = Callable[[Sequence[nn.Module], Sequence[Trial], Split], Trainer]  # (models, their trials, training data)


@dataclass(frozen=True)
class Engine:
    """A way to train: what opens its trainer, and how many members a group may have."""

    open: Open
    members: int = 1


class Stepper(Protocol):
    """Members of a group that are trained step by step, on batches that are given to them.

    `captures`: a step is the same launches every time, so a CUDA graph can hold it.
    """

    name: str
    captures: bool

    def step(self, images: Tensor, labels: Tensor, *, gradients: bool) -> Tensor:
        """Update every member once and return the losses (members,) from before.

        Args:
            images: (orders, batch, channels, height, width); members take the orders in equal consecutive shares.
            labels: (orders, batch).
            gradients: keep them for `gradient_norms`.
        """

    def gradient_norms(self) -> Tensor:
        """Return the norm of each member's last gradient, all of its parameters taken as one vector: (members,)."""

    def logits(self, images: Tensor) -> Tensor:
        """Return what every member makes of the same images (n, …) in evaluation mode: (members, n, classes)."""
