"""The inputs of step 0: a fixed batch of training images, and further images to find dead units."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initbench.core.nests import tensors_of
from initbench.datasets.batches import Split
from initbench.errors import UsageError

IMAGES = 256
LEAST_IMAGES = 16
MOST_ENTRIES = 2_000_000  # per batch; large images get smaller batches
CHUNK = 2048
IMAGES_FOR_DEAD = 8192  # a unit that none of these images activates is dead


@dataclass(frozen=True)
class Batch:
    """Positional `inputs`, `labels` (n,) or None, `more` images to test for dead units, `classes` if known."""

    inputs: tuple[Any, ...]
    labels: Tensor | None = None
    more: Iterable[Tensor] = ()
    classes: int | None = None

    @property
    def size(self) -> int:
        """The number of images."""
        return next((len(tensor) for tensor in tensors_of(self.inputs) if tensor.ndim), 0)


def batch_of(split: Split) -> Batch:
    """Return a fixed sample of a split, the same for every scheme and seed, with the rest as `more`."""
    order = split.sample(min(len(split), IMAGES_FOR_DEAD))
    size = batch_size(split.images.shape[1:])
    images, labels = split.take(order[:size])
    return Batch((images,), labels, _Rest(split, order[size:]))


def batch_size(shape: Sequence[int]) -> int:
    """Return the batch size for inputs of a shape.

    Raises:
        UsageError: a single input is too large.
    """
    entries = math.prod(shape)
    if entries > MOST_ENTRIES:
        raise UsageError(f"An input of {'×'.join(map(str, shape))} is too large: {MOST_ENTRIES:,} numbers at most.")
    return max(LEAST_IMAGES, min(IMAGES, MOST_ENTRIES // entries))


@dataclass(frozen=True)
class _Rest:
    """Further images, gathered chunk by chunk on demand."""

    split: Split
    order: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self.split.take(chunk)[0] for chunk in torch.split(self.order, CHUNK))
