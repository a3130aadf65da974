"""Augmentation of training images: mirrored or moved by whole pixels, keyed by (seed, epoch, image).

Every combination of moves is worked out once, as a map from the pixels of an augmented image to those of the stored
one, so that a batch is gathered through a table and its cost does not depend on what is combined. A seed gives every
scheme the same moves, on every device.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from initbench.core.registry import Registry
from initbench.core.spec import split_outside_brackets
from initbench.errors import UsageError

Pixels = NDArray[np.int64]  # (moves, height, width), the place of each pixel in the stored image; OUTSIDE is black
Move = Callable[[Pixels], Pixels]
Most = Annotated[int, Field(ge=1, le=32)]

OUTSIDE = -1
LARGEST = 1 << 25  # entries of a table: 128 MB of int32
AUGMENTATIONS: Registry[Move] = Registry("augmentation")


@AUGMENTATIONS.register()
def flip() -> Move:
    """Mirror left and right, half of the time."""
    return lambda pixels: np.concatenate([pixels, pixels[:, :, ::-1]])


@AUGMENTATIONS.register()
def crop(padding: Most) -> Move:
    """Crop from the image with `padding` black pixels around it, as torchvision's RandomCrop does."""
    return lambda pixels: _windows(pixels, padding, mode="constant", constant_values=OUTSIDE)


@AUGMENTATIONS.register()
def shift(most: Most) -> Move:
    """Move by up to `most` pixels in each direction; the border is continued."""
    return lambda pixels: _windows(pixels, most, mode="edge")


def canonical(text: str) -> str:
    """Return the canonical text of augmentations that are separated by commas.

    >>> canonical("flip,crop(padding=4)")
    'flip, crop(4)'

    Raises:
        UsageError: an unknown one, or a wrong value.
    """
    return ", ".join(str(AUGMENTATIONS.resolve(part)) for part in split_outside_brackets(text, ",") if part.strip())


@lru_cache(maxsize=4)
def table(text: str, height: int, width: int) -> NDArray[np.int32]:
    """Return the places of the pixels of every combination of moves, (combinations, height · width).

    Raises:
        UsageError: there are too many to keep.
    """
    pixels = np.arange(height * width).reshape(1, height, width)
    for part in split_outside_brackets(text, ","):
        pixels = AUGMENTATIONS.build(part)(pixels)
    return np.ascontiguousarray(pixels.reshape(len(pixels), -1), np.int32)


def _windows(pixels: Pixels, most: int, **padding: object) -> Pixels:
    """Return every window of the image's size in the image padded by `most` pixels."""
    height, width = pixels.shape[1:]
    if pixels.size * (2 * most + 1) ** 2 > LARGEST:
        raise UsageError(f"{most} pixels in each direction are too many for {height}×{width} images: move them less.")
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most)), **padding)  # type: ignore[call-overload] # one of two
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    return windows.reshape(-1, height, width)
