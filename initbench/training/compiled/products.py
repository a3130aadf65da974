"""Matrix products and what goes with them: float32, the rows of every result padded to whole vectors.

Why not a BLAS: each element here is one sum in order, so its bits depend on nothing but its numbers, not on the shape
of the whole, on alignment, on a library's threads or its release, nor (where there are fused multiply-adds) on how wide
vectors are. And for matrices of such networks tiles in place are faster than a library that packs them first: 106 to
115 GFLOP/s where MKL has 89 to 102 and OpenBLAS 79 to 114 (64³ to 128 × 784 × 256; one core of an AMD EPYC).
"""

from typing import Any

import numpy as np

from initbench.training.compiled.vectors import (
    BYTES,
    SQUARE,
    bytes_at,
    floats_at,
    part,
    product_of,
    turn_square,
    wholes_at,
)

F = np.float32
DEEPEST = 1024  # of a product in one go: what a tile needs of B then stays in the second-level cache

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
    """C = S + A · B; a row for all rows of S has s_row = 0."""
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


def turn(source: int, source_row: int, target: int, target_row: int, rows: int, columns: int) -> None:
    """Write rows × columns of a matrix with rows for columns."""
    whole_rows, whole_columns = rows // SQUARE * SQUARE, columns // SQUARE * SQUARE
    for i in range(0, whole_rows, SQUARE):
        for j in range(0, whole_columns, SQUARE):
            turn_square(
                source + (i * source_row + j) * BYTES, source_row, target + (j * target_row + i) * BYTES, target_row
            )
    here, there = floats_at(source), floats_at(target)
    for i in range(rows):
        for j in range(whole_columns if i < whole_rows else 0, columns):
            there[j * target_row + i] = here[i * source_row + j]


@part
def gather(source: Any, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Take images by their index and standardize them, as torch does: (x - mean) / std by channel."""
    target, places, means, stds = floats_at(x), wholes_at(index), floats_at(mean), floats_at(std)
    for i in range(rows):
        for c in range(channels):
            here, there = (places[i] * channels + c) * plane, (i * channels + c) * plane
            m, s = means[c], stds[c]
            for j in range(plane):
                target[there + j] = (F(source[here + j]) - m) / s


def gather_bytes(images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Take a batch of images that are stored as bytes."""
    gather(bytes_at(images), index, x, mean, std, rows, channels, plane)


def gather_floats(images: int, index: int, x: int, mean: int, std: int, rows: int, channels: int, plane: int) -> None:
    """Take a batch of images that are stored as float32."""
    gather(floats_at(images), index, x, mean, std, rows, channels, plane)
