"""Measurements of one tensor: pure functions, in float64 where a square could overflow float32.

A *unit* is an entry of a Linear layer's output or a channel of a convolution's; `by_unit` brings both to one shape.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from initbench.core.randomness import generator
from initbench.records.record import REACH

UNKNOWN = math.nan  # it propagates through products and sums, and a record stores it as None
# Two units count as equal if two random projections of them agree to this share of the largest: an accident has a
# chance of about units²·TOLERANCE², one in a million for a thousand units, and float32 sums of equal terms agree.
TOLERANCE = 1e-6
RANKED_IMAGES = 128  # bounds the cost of the Gram matrix of a wide convolution, 128²·(outputs an image)
STACKED = 2**16  # entries of the largest matrices that are looked at together
NARROW = 1e-3  # a variance below this share of the second moment would lose digits in their difference
BINS = 48  # of a histogram


def moments(values: Tensor) -> tuple[float, float]:
    """Return the mean of squares and the standard deviation over all entries."""
    doubled = values.double().flatten()
    if not len(doubled):
        return 0.0, UNKNOWN
    moment, variance = _moment_and_variance(doubled)
    if variance < NARROW * moment:  # from the first entry, so that equal entries have a deviation of exactly 0
        _, variance = _moment_and_variance(doubled - doubled[0])
    return moment, math.sqrt(max(variance, 0.0))


def moments_of(tensors: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Return the `moments` of each tensor; small ones of one shape are summed together, where calls take the time."""
    alike: dict[torch.Size, list[int]] = {}
    for i, tensor in enumerate(tensors):
        alike.setdefault(tensor.shape, []).append(i)
    found: dict[int, tuple[float, float]] = {}
    for shape, places in alike.items():
        if len(places) > 1 and 0 < shape.numel() <= STACKED:
            rows = torch.stack([tensors[i] for i in places]).double().reshape(len(places), -1)
            squares = torch.linalg.vector_norm(rows, dim=1).square().div(shape.numel()).tolist()
            means = rows.mean(dim=1).tolist()
            for i, moment, mean in zip(places, squares, means, strict=True):
                if (variance := moment - mean**2) >= NARROW * moment:
                    found[i] = moment, math.sqrt(variance)
    return [found[i] if i in found else moments(tensor) for i, tensor in enumerate(tensors)]


def _moment_and_variance(values: Tensor) -> tuple[float, float]:
    """Return E[x²] and E[x²] - E[x]²: two sums take a third of the time of torch's standard deviation."""
    moment = float(values.dot(values)) / len(values)
    return moment, moment - (float(values.sum()) / len(values)) ** 2


def by_unit(values: Tensor, axis: int) -> Tensor:
    """Return (units, everything else) of a tensor with units along `axis`."""
    return values.movedim(axis, 0).flatten(1)


def largest(values: Tensor, axis: int) -> Tensor:
    """Return the largest entry of each unit (units,)."""
    others = [place for place in range(values.ndim) if place != axis]
    return values.amax(dim=others) if others else values


def is_positive(values: Tensor, axis: int) -> Tensor:
    """Return for each unit (units,) whether an entry of it is above 0."""
    top = largest(values, axis)
    return (by_unit(values, axis) > 0).any(dim=1) if bool(top.isnan().any()) else top > 0


def mean_cosine(output: Tensor) -> float:
    """Return the mean cosine between the outputs (n, …) for different images, without images of zero output.

    The mean over pairs without forming them: (‖Σu‖² − n) / (n(n−1)) for unit vectors u.
    """
    rows = output.double().flatten(1)
    norms = torch.linalg.vector_norm(rows, dim=1)
    total, n = _squared_sum(rows, norms), len(rows)
    if math.isnan(total):  # an image has zero output
        alive = norms > 0
        total, n = _squared_sum(rows[alive], norms[alive]), int(alive.sum())
    return (total - n) / (n * (n - 1)) if n > 1 else UNKNOWN


def _squared_sum(rows: Tensor, norms: Tensor) -> float:
    total = norms.reciprocal() @ rows
    return float(total.dot(total))


def effective_rank(output: Tensor) -> float:
    """Return the participation ratio (Σλ)²/Σλ² of the Gram matrix of outputs (n, …): 1 if all outputs are the same."""
    rows = output[:RANKED_IMAGES].flatten(1)
    largest = rows.abs().max()
    if not 0 < float(largest) < math.inf:
        return UNKNOWN
    rows = rows / largest
    gram = rows @ rows.T
    gram = gram.to(torch.promote_types(gram.dtype, torch.float32))  # torch 2.10 has no trace of a bfloat16
    entries = gram.double().flatten()
    trace, squares = float(gram.trace()), float(entries.dot(entries))
    return trace * trace / squares


def histogram(values: Tensor, moment: float) -> tuple[float, ...]:
    """Return the share of entries in each of `BINS` equal bins over ±`REACH` times the root of their second moment."""
    bound = REACH * math.sqrt(moment)
    if not math.isfinite(bound) or bound == 0:
        return ()
    counts = torch.histc(values.double().flatten() / bound, BINS, min=-1.0, max=1.0)
    return tuple((counts / values.numel()).tolist())


def signatures(units: Tensor, purpose: str) -> Tensor:
    """Return two random projections (…, units, 2) of units (…, units, m), which identify equal units in linear time.

    The projection is the same for every tensor of one width, whatever else runs.
    """
    # From the left: a product with two columns takes three times as long.
    return (_directions(units.shape[-1], purpose).T @ units.double().mT).mT


@lru_cache(maxsize=64)
def _directions(width: int, purpose: str) -> Tensor:
    return torch.randn(width, 2, generator=generator(width, purpose), dtype=torch.float64)


def groups_of_equals(marks: Tensor) -> Tensor:
    """Return for each unit (units,) the number of its group; units of one group have the same signature (units, k)."""
    order = marks[:, 0].argsort()
    steps = (marks / _scale(marks, 0) if len(marks) else marks)[order].diff(dim=0).abs()
    numbers = torch.cat([order.new_zeros(min(1, len(order))), (steps > TOLERANCE).any(dim=1).cumsum(0)])
    return torch.empty_like(order).scatter_(0, order, numbers)


def all_distinct(marks: Tensor) -> bool:
    """Return whether the first projections alone tell all units apart, as those of nearly every layer do."""
    return bool(_told_apart(marks[:, 0]))


def each_distinct(all_marks: Sequence[Tensor]) -> list[bool]:
    """Return whether all units are told apart, for each of several layers: those of one width together."""
    alike: dict[int, list[int]] = {}
    for i, marks in enumerate(all_marks):
        alike.setdefault(len(marks), []).append(i)
    found: dict[int, bool] = {}
    for places in alike.values():
        told = _told_apart(torch.stack([all_marks[i][:, 0] for i in places]))
        found.update(zip(places, told.tolist(), strict=True))
    return [found[i] for i in range(len(all_marks))]


def _told_apart(projections: Tensor) -> Tensor:
    """Return whether the projections (…, units) of all units differ: (…)."""
    ordered = (projections / _scale(projections, -1)).sort(dim=-1).values
    return (ordered.diff(dim=-1) > TOLERANCE).all(dim=-1)


def count_repeated(marks: Tensor) -> int:
    """Count the units that share their signature (units, k) with another."""
    if all_distinct(marks):
        return 0
    groups = groups_of_equals(marks)
    return int((groups.bincount()[groups] > 1).sum())


def _scale(marks: Tensor, axis: int) -> Tensor:
    return marks.abs().amax(dim=axis, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def rows_of(weight: Tensor, groups: int = 1, *, transposed: bool = False) -> list[Tensor]:
    """Return the incoming weights (units, fan_in) of each group of a weight tensor.

    A Linear or convolution holds (out, in/groups, *kernel), a transposed convolution (in, out/groups, *kernel).
    """
    blocks = weight.chunk(groups)
    return [(block.transpose(0, 1) if transposed else block).flatten(1) for block in blocks]


def faults_of(matrices: Sequence[Tensor]) -> list[tuple[int, int, int]]:
    """Return the `row_faults` of each matrix; of one shape, those whose rows all differ are found together."""
    alike: dict[torch.Size, list[int]] = {}
    for i, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(i)
    sound = set[int]()
    for shape, places in alike.items():
        if len(places) > 1 and shape.numel() <= STACKED:
            rows = torch.stack([matrices[i] for i in places]).double()
            norms = rows.norm(dim=2, keepdim=True)
            lines = signatures(rows / norms, "rows")[..., 0].abs()  # NaN, and so not told apart, where a row is zero
            sound.update(i for i, told in zip(places, _told_apart(lines).tolist(), strict=True) if told)
    return [(0, 0, 0) if i in sound else row_faults(matrix) for i, matrix in enumerate(matrices)]


def row_faults(rows: Tensor) -> tuple[int, int, int]:
    """Count zero rows, rows that are a positive, and rows that are a negative multiple of another's.

    A row that has twins of both kinds counts in both.
    """
    rows = rows.double()
    norms = rows.norm(dim=1)
    alive = norms > 0
    zero = int((~alive).sum())
    marks = signatures(rows[alive] / norms[alive, None] if zero else rows / norms[:, None], "rows")
    positive = marks[:, 0] > 0
    lines = torch.where(positive[:, None], marks, -marks)  # a row and its negative lie on one line
    if len(lines) and all_distinct(lines):
        return zero, 0, 0
    line = groups_of_equals(lines)
    with_it, against = (line[mask].bincount(minlength=len(line))[line] for mask in (positive, ~positive))
    same, opposite = torch.where(positive, with_it, against), torch.where(positive, against, with_it)
    return zero, int((same > 1).sum()), int((opposite > 0).sum())
