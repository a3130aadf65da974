"""What an engine offers to the loop of `training`: members of one group, stepped and evaluated together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from initbench.recipe import Trial


class Stepper(Protocol):
    """Initialized networks of one shape in training, one a trial: the members of a group.

    `name` is the engine's in records. `captures`: a step is the same launches every time, so a CUDA graph can hold it.
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


Open = Callable[[Sequence[nn.Module], Sequence[Trial], int], Stepper]  # (models, their trials, number of orders)


@dataclass(frozen=True)
class Engine:
    """A way to train: what opens its stepper, and how many members a group may have.

    Where `shares_batches`, members of one data order get each batch once, for all of them.
    """

    open: Open
    members: int = 1
    shares_batches: bool = False
