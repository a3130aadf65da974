"""What a user should know of their images before anything is trained on them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initbench.core.words import counted, joined
from initbench.datasets import labels as labelling
from initbench.datasets.arrays import Array, Arrays, blocks

Mask = NDArray[np.bool_]

# Splits of one source differ by a few percent; 0..255 against 0..1 by a factor of 255, 0..1 against -1..1 by one of 2
# and a mean of two standard deviations.
UNLIKE_SPREAD = 3.0
UNLIKE_MEAN = 2.0
NARROW = 64  # of the 256 values of a byte
MOST_COMPARED = 2_000_000  # a few seconds and 300 MB: rows of a table can be many more
LEAST_DUPLICATES = 0.01  # of validation: large collections hold a few identical images


@dataclass(frozen=True)
class _Extent:
    """Over all values of a split: the smallest, the largest, mean and standard deviation; and which images are flat."""

    low: float
    high: float
    mean: float
    std: float
    flat: Mask


def findings(arrays: Arrays, label_values: Array, drawn: Mask) -> Iterator[str]:
    """Yield a sentence for everything unusual in checked images and labels.

    Args:
        arrays: as `arrays.check` returns them.
        label_values: the training labels' values in their order, as they were given.
        drawn: (n,) which of the training images are held out for validation.
    """
    extents = {"training": _extent(arrays.train_images)}
    extents |= {split: _extent(images) for split, images, _ in arrays.held_out}
    yield from _flat({split: extent.flat for split, extent in extents.items()})
    for split, _, _ in arrays.held_out:
        yield from _unlike(split, extents["training"], extents[split])
    yield from _known(arrays, drawn, extents)
    splits = [("validation", arrays.train_labels[drawn])] if drawn.any() else []
    splits += [(split, labels) for split, _, labels in arrays.held_out]
    yield from labelling.remarks(label_values, splits)


def narrow_bytes(images: Array) -> Iterator[str]:
    """Yield a sentence where images of bytes use a small part of a byte's range."""
    low, high = min(int(block.min()) for block in blocks(images)), max(int(block.max()) for block in blocks(images))
    if 0 < high - low < NARROW:
        yield (
            f"its training images hold the values {low} to {high} only, of the 256 of a byte: if they come from images "
            f"with more bits or from fractions, the levels in between are lost, and standardizing does not bring them "
            f"back."
        )


def _extent(images: Array) -> _Extent:
    """Measure a split block by block."""
    flat = np.empty(len(images), np.bool_)
    low, high, total, squares, at = np.inf, -np.inf, 0.0, 0.0, 0
    # Where an image is one row of features per channel, its channels are what can differ.
    axes = (2, 3) if images.shape[2] * images.shape[3] > 1 else (1, 2, 3)
    single = images[0].size == 1
    for block in blocks(images):
        least, most = block.min(axis=axes), block.max(axis=axes)
        same = (least == most).reshape(len(block), -1).all(axis=1)
        flat[at : at + len(block)] = False if single else same
        at += len(block)
        low, high = min(low, float(least.min())), max(high, float(most.max()))
        total += float(block.sum(dtype=np.float64))
        squares += float(np.square(block, dtype=np.float64).sum())
    count = images.size
    return _Extent(low, high, total / count, max(0.0, squares / count - (total / count) ** 2) ** 0.5, flat)


def _flat(flat: dict[str, Mask]) -> Iterator[str]:
    named = [
        f"{f'all {len(mask)}' if mask.all() else f'{mask.sum()} of {len(mask)}'} {split} images"
        for split, mask in flat.items()
        if mask.any()
    ]
    if named:
        yield f"{joined(named)} hold one value at every pixel: nothing can be learned from those."


def _unlike(split: str, train: _Extent, other: _Extent) -> Iterator[str]:
    spreads = sorted((train.std, other.std))
    shift = abs(train.mean - other.mean)
    if spreads[1] > UNLIKE_SPREAD * spreads[0] or shift > UNLIKE_MEAN * max(spreads[0], 1e-300):
        yield (
            f"its training images range from {train.low:.4g} to {train.high:.4g} (mean {train.mean:.3g}) and its "
            f"{split} images from {other.low:.4g} to {other.high:.4g} (mean {other.mean:.3g}): scale both alike."
        )


def _known(arrays: Arrays, drawn: Mask, extents: dict[str, _Extent]) -> Iterator[str]:
    """Yield a sentence for each split with images that are also trained on; flat images are told of by `_flat`."""
    if (most := max(len(arrays.train_images), *(len(images) for _, images, _ in arrays.held_out))) > MOST_COMPARED:
        yield f"its {most} images were not searched for identical ones, being more than {MOST_COMPARED}."
        return
    keys = np.array(_keys(arrays.train_images))
    shown = ~extents["training"].flat
    if drawn.any():
        trained = set(keys[~drawn & shown].tolist())
        repeated = [key for key in keys[drawn].tolist() if key in trained]
        if len(repeated) >= LEAST_DUPLICATES * drawn.sum():
            yield (
                f"{_share(len(repeated), int(drawn.sum()), 'validation')} also trained on, for the training data holds "
                f"identical images: accuracy on them is not that on new images."
            )
    seen = set(keys[shown].tolist())
    earlier = "training"
    for split, images, _ in arrays.held_out:
        own = _keys(images)
        repeated = [key for key in own if key in seen]
        if repeated:
            yield (
                f"{_share(len(repeated), len(images), split)} also among the {earlier} images: accuracy on them is not "
                f"that on new images."
            )
        earlier = f"training or {split}"
        seen.update(key for key, flat in zip(own, extents[split].flat, strict=True) if not flat)


def _share(count: int, size: int, split: str) -> str:
    if count == size:
        return f"all {counted(size, f'{split} image')} are"
    return f"{count} of {counted(size, f'{split} image')} {'is' if count == 1 else 'are'}"


def _keys(images: Array) -> list[str]:
    return [hashlib.blake2b(image.data, digest_size=16).hexdigest() for block in blocks(images) for image in block]
