"""A dataset as tensors on the device: an epoch is a permutation, a batch an index_select; no DataLoader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from initbench.core.randomness import derive, generator
from initbench.datasets import Dataset, open_split
from initbench.datasets.augmentation import table

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class _Buffers:
    """Buffers of a batch: gathered in `stored` (the type of the stored images), standardized in `images`."""

    stored: Tensor
    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Split:
    """Images as stored, (n, channels, height, width) in uint8 or float32, and labels (n,), both on the device.

    `mean` and `std`, (channels, 1, 1), are those of the training split; batches are standardized when they are
    gathered, so images can stay bytes in memory. `moves`, (combinations, height · width) int32, are those of
    augmentation, which `batches` alone applies.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    moves: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the standardized float32 images and the labels at `index` (k,)."""
        images = self.images.index_select(0, index).float()
        return images.sub_(self.mean).div_(self.std), self.labels.index_select(0, index)

    def sample(self, size: int) -> Tensor:
        """Return `size` fixed indices: the same for every trial, so that curves compare."""
        return _shuffled(len(self))[:size].to(self.labels.device)

    def draw(self, size: int, seed: int, purpose: str) -> Tensor:
        """Return `size` indices drawn for (seed, purpose), independent of the data order."""
        shuffled = torch.randperm(len(self), generator=generator(seed, purpose))
        return shuffled[:size].to(self.labels.device)

    def batches(self, seeds: Sequence[int], batch_size: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `steps` batches, each in the data order of every seed, in buffers that the next one overwrites.

        Images are (seeds, batch, channels, height, width), labels (seeds, batch): epoch after epoch in an order keyed
        by (seed, epoch), whole batches only.
        """
        per_epoch = len(self) // batch_size
        batch = self._buffers(len(seeds) * batch_size)
        images, labels = batch.images.view(len(seeds), -1, *self.images.shape[1:]), batch.labels.view(len(seeds), -1)
        for step in range(steps):
            epoch, place = divmod(step, per_epoch)
            if place == 0:
                orders = torch.stack([self.order(seed, epoch) for seed in seeds])
                chosen = None if self.moves is None else torch.stack([self.chosen(seed, epoch) for seed in seeds])
            part = slice(place * batch_size, (place + 1) * batch_size)
            index = orders[:, part]
            self._fill(batch, index.reshape(-1), None if chosen is None else chosen.gather(1, index).reshape(-1))
            yield images, labels

    def pieces(self, index: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `take` returns, at most `size` images at a time, in buffers that the next piece overwrites."""
        batch = self._buffers(min(size, len(index)))
        for part in torch.split(index, size):
            piece = batch if len(part) == len(batch.labels) else self._buffers(len(part))
            self._fill(piece, part)
            yield piece.images, piece.labels

    def _buffers(self, size: int) -> "_Buffers":
        images = self.images.new_empty(size, *self.images.shape[1:])
        return _Buffers(images, images.new_empty(images.shape, dtype=torch.float32), self.labels.new_empty(size))

    def _fill(self, into: "_Buffers", index: Tensor, chosen: Tensor | None = None) -> None:
        """Do the same as `take` without allocations, which cost a tenth of a step in a small network.

        Each image is moved as its choice says.
        """
        torch.index_select(self.images, 0, index, out=into.stored)
        torch.index_select(self.labels, 0, index, out=into.labels)
        if chosen is not None and self.moves is not None:
            places = self.moves.index_select(0, chosen).long().unsqueeze(1).expand(into.stored.flatten(2).shape)
            moved = into.stored.flatten(2).gather(2, places.clamp_min(0)).masked_fill_(places < 0, 0)
            into.stored.copy_(moved.view_as(into.stored))
        into.images.copy_(into.stored).sub_(self.mean).div_(self.std)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the order of the images in an epoch, on their device."""
        keyed = torch.Generator().manual_seed(derive(seed, "order", str(epoch)))
        return torch.randperm(len(self), generator=keyed).to(self.labels.device)

    def chosen(self, seed: int, epoch: int) -> Tensor:
        """Return the combination of moves of each image in an epoch, on their device."""
        assert self.moves is not None
        keyed = torch.Generator().manual_seed(derive(seed, "augmentation", str(epoch)))
        return torch.randint(len(self.moves), (len(self),), generator=keyed).to(self.labels.device)


@lru_cache(maxsize=8)
def _shuffled(images: int) -> Tensor:
    return torch.randperm(images, generator=generator(images, "evaluation sample"))


@lru_cache(maxsize=8)  # the three splits of two datasets, two also on the CPU: a worker reuses them trial after trial
def resident(dataset: Dataset, split: SplitName, device: str) -> Split:
    """Return a split on a device; on the CPU its files are mapped and nothing is copied."""
    images, labels = open_split(dataset, split)
    channels = (-1, 1, 1)
    moved = split == "train" and dataset.augment
    return Split(
        images=torch.from_numpy(images).to(device),
        labels=torch.from_numpy(labels).to(device),
        mean=torch.tensor(dataset.mean, dtype=torch.float32, device=device).view(channels),
        std=torch.tensor(dataset.std, dtype=torch.float32, device=device).view(channels),
        moves=torch.from_numpy(table(dataset.augment, *dataset.shape[1:])).to(device) if moved else None,
    )
