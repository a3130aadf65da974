"""The interface between engines and `loop`: trainers of the networks of one group, and steppers for `stepwise`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from initbench.datasets.batches import Split
from initbench.records.recipe import Trial

EVALUATION_BATCH = 512  # bounds the memory of an evaluation: a CNN holds the activations of this many images


class Trainer(Protocol):
    """Trains the members of a group: initialized networks of one shape, one per trial.

    `name` is the engine's name in records. `losses` (members, steps) has the loss of each batch before its update,
    `norms` (members, early steps) the norm of each gradient over all parameters of a network.
    """

    name: str
    losses: Tensor
    norms: Tensor

    def train(self, start: int, stop: int) -> Iterator[int]:
        """Take the steps start … stop - 1; yield the total number of steps taken, several times per second."""

    def first_bad(self, steps: int) -> list[int]:
        """Return for each member the first of `steps` steps with a loss that is not finite; `steps` if none."""

    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return each member's loss on each image (n, …) in evaluation mode, and 1 if its prediction is right, else 0.

        Shape (2, members, n).
        """


Open = Callable[[Sequence[nn.Module], Sequence[Trial], Split], Trainer]  # (models, their trials, training data)


@dataclass(frozen=True)
class Engine:
    """A way to train: `open` returns a trainer; a group has at most `members` members."""

    open: Open
    members: int = 1


class Stepper(Protocol):
    """Trains the members of a group step by step on given batches.

    `captures`: every step launches the same kernels, so it can be captured in a CUDA graph.
    """

    name: str
    captures: bool

    def step(self, images: Tensor, labels: Tensor, *, gradients: bool) -> Tensor:
        """Update every member once and return the losses (members,) before the update.

        Args:
            images: (orders, batch, channels, height, width); members take the orders in equal consecutive shares.
            labels: (orders, batch).
            gradients: keep them for `gradient_norms`.
        """

    def gradient_norms(self) -> Tensor:
        """Return the norm of each member's last gradient over all its parameters: (members,)."""

    def logits(self, images: Tensor) -> Tensor:
        """Return every member's logits for the same images (n, …) in evaluation mode: (members, n, classes)."""
