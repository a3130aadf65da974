"""What a model is shown at step 0: a fixed sample of training images, and more where one batch cannot tell."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initbench.datasets.batches import Split
from initbench.errors import UsageError
from initbench.signals.listening import tensors_of

IMAGES = 256
LEAST_IMAGES = 16
MOST_ENTRIES = 2_000_000  # of a batch: large images come in smaller ones
CHUNK = 2048
IMAGES_FOR_DEAD = 8192  # a unit that so many images do not open is called dead


@dataclass(frozen=True)
class Batch:
    """What a model is given: positional `inputs`, `labels` (n,) or None, and `more` images to ask about dead units."""

    inputs: tuple[Any, ...]
    labels: Tensor | None = None
    more: Iterable[Tensor] = ()

    @property
    def size(self) -> int:
        """How many images."""
        return next((len(tensor) for tensor in tensors_of(self.inputs) if tensor.ndim), 0)


def batch_of(split: Split) -> Batch:
    """Take a fixed sample of a split, the same for every scheme and seed, and keep the rest at hand."""
    order = split.sample(min(len(split), IMAGES_FOR_DEAD))
    size = batch_size(split.images.shape[1:])
    images, labels = split.take(order[:size])
    return Batch((images,), labels, _Rest(split, order[size:]))


def batch_size(shape: Sequence[int]) -> int:
    """Return how many inputs of a shape are looked at.

    Raises:
        UsageError: one of them is too large for a batch.
    """
    entries = math.prod(shape)
    if entries > MOST_ENTRIES:
        raise UsageError(f"An input of {'×'.join(map(str, shape))} is too large: {MOST_ENTRIES:,} numbers at most.")
    return max(LEAST_IMAGES, min(IMAGES, MOST_ENTRIES // entries))


@dataclass(frozen=True)
class _Rest:
    """Further images, in chunks taken only when they are asked for."""

    split: Split
    order: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self.split.take(chunk)[0] for chunk in torch.split(self.order, CHUNK))
