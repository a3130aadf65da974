"""Matrix products, transposes and batches: float32, with the rows of every result padded to whole vectors.

Why not a BLAS: each element here is one sum in a fixed order, so its bits depend only on its operands, not on the shape
of the matrix, on alignment, on a library's threads or release, nor (with fused multiply-adds) on the vector width. And
for the matrices of such networks, tiling in place is faster than a library that packs them first: 106 to
115 GFLOP/s where MKL has 89 to 102 and OpenBLAS 79 to 114 (64³ to 128 × 784 × 256; one core of an AMD EPYC).
"""

from typing import Any

import numpy as np

from initbench.training.compiled.vectors import (
    BYTES,
    SQUARE,
    bytes_at,
    floats_at,
    int32_at,
    integers_at,
    part,
    product_of,
    transpose_square,
)

F = np.float32
DEEPEST = 1024  # the part of the depth computed at once, so that a tile's part of B stays in the second-level cache

_store, _add = product_of(adds=False), product_of(adds=True)


def product(
    c: int,
    c_row: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    s: int,
    s_row: int,
    rows: int,
    columns: int,
    depth: int,
) -> None:
    """C = S + A · B; s_row = 0 adds one row to all."""
    for k in range(0, depth, DEEPEST):
        left, right, deep = a + k * a_column * BYTES, b + k * b_row * BYTES, min(depth - k, DEEPEST)
        start, start_row = (c, c_row) if k else (s, s_row)
        _store(c, c_row, left, a_row, a_column, right, b_row, start, start_row, rows, columns, deep, 0)


def add_product(
    c: int,
    c_row: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    rows: int,
    columns: int,
    depth: int,
    factor: int,
) -> None:
    """C = C + factor · A · B."""
    _add(c, c_row, a, a_row, a_column, b, b_row, 0, 0, rows, columns, depth, factor)


def transpose(source: int, source_row: int, target: int, target_row: int, rows: int, columns: int) -> None:
    """Write the transpose of a matrix (rows, columns)."""
    whole_rows, whole_columns = rows // SQUARE * SQUARE, columns // SQUARE * SQUARE
    for i in range(0, whole_rows, SQUARE):
        for j in range(0, whole_columns, SQUARE):
            transpose_square(
                source + (i * source_row + j) * BYTES, source_row, target + (j * target_row + i) * BYTES, target_row
            )
    here, there = floats_at(source), floats_at(target)
    for i in range(rows):
        for j in range(whole_columns if i < whole_rows else 0, columns):
            there[j * target_row + i] = here[i * source_row + j]


@part
def gather(source: Any, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Gather images by index and standardize them as torch does: (x - mean) / std per channel."""
    target, places, means, stds = floats_at(x), integers_at(index), floats_at(mean), floats_at(std)
    for i in range(rows):
        for c in range(channels):
            here, there = (places[i] * channels + c) * plane, (i * channels + c) * plane
            m, s = means[c], stds[c]
            for j in range(plane):
                target[there + j] = (F(source[here + j]) - m) / s


@part
def gather_moved(
    source: Any,
    index: int,
    x: int,
    mean: int,
    std: int,
    rows: int,
    channels: int,
    plane: int,
    moves: int,
    chosen: int,
) -> None:
    """Gather images through the maps of augmentation: a pixel from outside is black before it is standardized."""
    target, places, means, stds = floats_at(x), integers_at(index), floats_at(mean), floats_at(std)
    maps, choices = int32_at(moves), integers_at(chosen)
    for i in range(rows):
        first = choices[i] * plane
        for c in range(channels):
            here, there = (places[i] * channels + c) * plane, (i * channels + c) * plane
            m, s = means[c], stds[c]
            for j in range(plane):
                place = maps[first + j]
                value = F(0) if place < 0 else F(source[here + place])
                target[there + j] = (value - m) / s


def gather_moved_bytes(
    images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int, moves: int, chosen: int
) -> None:
    """Gather a batch of augmented images stored as bytes."""
    gather_moved(bytes_at(images), index, x, mean, std, rows, channels, plane, moves, chosen)


def gather_moved_floats(
    images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int, moves: int, chosen: int
) -> None:
    """Gather a batch of augmented images stored as float32."""
    gather_moved(floats_at(images), index, x, mean, std, rows, channels, plane, moves, chosen)


def gather_bytes(images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Gather a batch of images stored as bytes."""
    gather(bytes_at(images), index, x, mean, std, rows, channels, plane)


def gather_floats(images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Gather a batch of images stored as float32."""
    gather(floats_at(images), index, x, mean, std, rows, channels, plane)
