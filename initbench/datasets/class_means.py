"""How well validation images are classified without training: by the nearest mean of a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from initbench.datasets.arrays import Array, Labels, blocks

Floats = NDArray[np.float64]
MEANS_BYTES = 64 << 20  # of the class means that are held at once


def nearest_mean_accuracy(
    train: tuple[Array, Labels], val: tuple[Array, Labels], mean: Sequence[float], std: Sequence[float]
) -> float:
    """Return the share of validation images whose nearest class mean is that of their own class.

    Args:
        train: images (n, C, H, W) and labels (n,) 0..K-1 that the means are of.
        val: the images and labels that are classified.
        mean: of each channel, as `std`: distances are Euclidean between standardized images, as networks are fed.
        std: never 0.
    """
    (images, labels), (val_images, val_labels) = train, val
    classes = np.unique(labels)
    at_once = max(1, MEANS_BYTES // (8 * int(np.prod(images.shape[1:]))))
    nearest, distance = np.full(len(val_labels), -1), np.full(len(val_labels), np.inf)
    for part in np.split(classes, range(at_once, len(classes), at_once)):
        centres = np.stack([_standardized(_mean(images, np.flatnonzero(labels == c)), mean, std) for c in part])
        start = 0
        for block in blocks(val_images):
            here = slice(start, start := start + len(block))
            distances = _distances(_standardized(block, mean, std), centres)
            nearer = (least := distances.min(axis=1)) < distance[here]
            nearest[here][nearer] = part[distances.argmin(axis=1)[nearer]]
            distance[here][nearer] = least[nearer]
    return float(np.mean(nearest == val_labels))


def _mean(images: Array, rows: Labels) -> Floats:
    # Sums of bytes are exact in integers, so that results do not depend on a machine's order of summation.
    exact = np.uint64 if images.dtype == np.uint8 else np.float64
    total = sum(block.sum(axis=0, dtype=exact) for block in blocks(images, rows))
    return np.asarray(total, np.float64) / len(rows)


def _standardized(images: Array | Floats, mean: Sequence[float], std: Sequence[float]) -> Floats:
    channels = (-1, 1, 1)
    centred = images.astype(np.float64) - np.reshape(mean, channels)
    scaled: Floats = centred / np.reshape(std, channels)
    return scaled.reshape(*scaled.shape[:-3], -1)


def _distances(images: Floats, centres: Floats) -> Floats:
    """Return the squared distances (n, K), less the squared norm of each image, which decides nothing."""
    distances: Floats = np.square(centres).sum(axis=1) - 2 * images @ centres.T
    return distances
