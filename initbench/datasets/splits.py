"""Splits that depend only on the data: keyed by a hash of the purpose and the data, not by global random state."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from initbench.datasets.arrays import Array, Labels, blocks


def fingerprint(arrays: Iterable[Array]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 over type, shape and bytes of each array in turn."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for block in blocks(array):
            digest.update(block.data)
    return digest.hexdigest()[:16]


def stratified(labels: Labels, count: int, key: str) -> NDArray[np.bool_]:
    """Draw a mask of about `count` of the (n,) labels 0..K-1, stratified by class.

    Each class keeps at least one image outside the mask, so small classes may reduce the count.
    """
    quota = _quota(np.bincount(labels), count)
    # Raw 64-bit output: NumPy guarantees the stream of a bit generator, but not the result of permutation().
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    order = np.lexsort((np.random.PCG64(seed).random_raw(len(labels)), labels))
    first_of_class = np.searchsorted(labels[order], np.arange(len(quota)))
    rank = np.arange(len(labels)) - first_of_class[labels[order]]
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[order[rank < quota[labels[order]]]] = True
    return mask


def mislabelled(labels: Labels, rows: NDArray[np.intp], share: float, key: str) -> Labels:
    """Return labels 0..K-1 of which a share of those in `rows` is wrong, each other class being as likely."""
    classes, count = int(labels.max()) + 1, round(share * len(rows))
    if not count or classes == 1:
        return labels
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    drawn = np.random.PCG64(seed).random_raw(2 * len(rows)).reshape(2, -1)
    chosen = np.argsort(drawn[0], kind="stable")[:count]
    wrong = labels.copy()
    wrong[rows[chosen]] += 1 + (drawn[1][chosen] % (classes - 1)).astype(np.int64)
    return np.where(wrong >= classes, wrong - classes, wrong)


def _quota(sizes: Labels, count: int) -> Labels:
    """Share `count` out by largest remainder, the lower class first in a tie, one of each class kept back."""
    room = np.maximum(sizes - 1, 0)
    share, remainder = np.divmod(sizes * count, sizes.sum())
    quota = np.minimum(share, room)
    order = np.argsort(-remainder, kind="stable")
    while quota.sum() < min(count, room.sum()):
        open_classes = order[quota[order] < room[order]]
        quota[open_classes[: count - quota.sum()]] += 1
    return quota
