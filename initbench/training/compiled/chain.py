"""The training loop of a chain of Linear and activation, from one evaluation to the next, without returning to Python.

For a layer with input h, weights W and bias b, kept as (inputs + 1, outputs) with the bias for its last row,

    z = h W + b    h' = φ(z)    ∂z = φ'(z) ∂h'    ∂h = ∂z Wᵀ    ∂W = hᵀ ∂z    ∂b = 1ᵀ ∂z

and the softmax's ∂z = (p - onehot) / batch. ∂h needs Wᵀ, of which a copy is kept. Plain SGD needs the
gradient only when its norm is recorded: W ← W - rate · hᵀ ∂z is one product that adds to its output.

Networks are trained one at a time and no sum runs over networks, so only the trial itself determines its bits. Rows are
padded with zeros to whole vectors; the padding stays zero, because its gradients are 0.
"""

import math
from typing import Any

import numpy as np

from initbench.training.compiled.activations import exponential
from initbench.training.compiled.layout import (
    ADD_PRODUCT,
    BACKWARD,
    BATCH,
    CHANNELS,
    CHOSEN,
    CLASSES,
    CLIP,
    COLUMNS,
    EARLY,
    FACTOR,
    FIRST,
    FORWARD,
    GATHER,
    GRADIENT,
    HERE,
    IMAGES,
    INPUTS,
    LABELS,
    LAYER,
    MEAN,
    MOVES,
    OUTPUTS,
    PAD,
    PLANE,
    PRODUCT,
    RATES,
    SECOND,
    SETTINGS,
    SLOPE,
    STD,
    SUMS,
    THERE,
    TRANSPOSE,
    TRANSPOSED,
    UPDATE,
    WEIGHTS,
    ZEROS,
    X,
    Y,
    Z,
)  # fmt: skip
from initbench.training.compiled.vectors import BYTES, call, doubles_at, floats_at, integers_at, multiply_add, part

F = np.float32
WORD = 8  # bytes of an integer


@part
def column_sums(gradient: Any, rows: int, columns: int, sums: Any) -> None:
    """Write the sum over the rows of a gradient: the gradient of the bias."""
    for j in range(columns):
        sums[j] = F(0)
    for i in range(rows):
        for j in range(columns):
            sums[j] += gradient[i * columns + j]


@part
def sum_of_squares(values: Any, count: int, sums: Any) -> float:
    """Return Σ v² in float64; `count` is a multiple of 16: 16 partial sums are kept, always in the same order."""
    for j in range(PAD):
        sums[j] = 0.0
    for i in range(0, count, PAD):
        for j in range(PAD):
            value = np.float64(values[i + j])
            sums[j] += value * value
    total = 0.0
    for j in range(PAD):
        total += sums[j]
    return total


@part
def cross_entropy(z: Any, at: int, label: int, classes: int, shares: Any) -> tuple[float, np.float32]:
    """Return -ln softmax(z) at the label; leave e^(z - max z) in `shares`, and return the inverse of their sum.

    The logits begin at z[at], the shares at shares[at].
    """
    top = z[at]
    for j in range(1, classes):
        top = max(top, z[at + j])
    for j in range(classes):
        shares[at + j] = exponential(z[at + j] - top)
    total = F(0)
    for j in range(classes):
        total += shares[at + j]
    return math.log(total) + np.float64(top - z[at + label]), F(1) / total


@part
def loss_and_gradient(z: Any, labels: Any, rows: int, columns: int, classes: int, gradient: Any) -> float:
    """Return the mean cross-entropy; leave (p - onehot) / rows in `gradient`, padded with zeros."""
    loss = 0.0
    each = F(1) / F(rows)
    for i in range(rows):
        at = i * columns
        own, inverse = cross_entropy(z, at, labels[i], classes, gradient)
        loss += own
        inverse *= each
        for j in range(classes):
            gradient[at + j] *= inverse
        for j in range(classes, columns):
            gradient[at + j] = F(0)
        gradient[at + labels[i]] -= each
    return loss / rows


@part
def forward(layers: int, depth: int, product: int, x: int, rows: int, pixels: int) -> None:
    """Fill the z of every layer from rows of `pixels` inputs at the address x."""
    h, h_row = x, pixels
    for i in range(depth):
        layer = integers_at(layers + i * LAYER * WORD)
        bias = layer[WEIGHTS] + layer[INPUTS] * layer[COLUMNS] * BYTES
        call(
            product,
            (
                layer[Z],
                layer[COLUMNS],
                h,
                h_row,
                1,
                layer[WEIGHTS],
                layer[COLUMNS],
                bias,
                0,
                rows,
                layer[COLUMNS],
                layer[INPUTS],
            ),
        )
        if layer[FORWARD]:
            call(layer[FORWARD], (layer[Z], layer[SLOPE], rows * layer[COLUMNS]))
        h, h_row = layer[Z], layer[COLUMNS]


@part
def weight_gradient(task: Any, layer: Any, h: int, h_row: int, gradient: int) -> None:
    """Write hᵀ ∂z and 1ᵀ ∂z for one layer."""
    call(
        task[PRODUCT],
        (
            layer[GRADIENT], layer[COLUMNS], h, 1, h_row, gradient, layer[COLUMNS], task[ZEROS], 0,
            layer[INPUTS], layer[COLUMNS], task[BATCH],
        ),
    )  # fmt: skip
    sums = layer[GRADIENT] + layer[INPUTS] * layer[COLUMNS] * BYTES
    column_sums(floats_at(gradient), task[BATCH], layer[COLUMNS], floats_at(sums))


@part
def descend(task: Any, layer: Any, h: int, h_row: int, gradient: int) -> None:
    """Update one layer by plain SGD, without storing the gradient of the weights."""
    call(
        task[ADD_PRODUCT],
        (
            layer[WEIGHTS], layer[COLUMNS], h, 1, h_row, gradient, layer[COLUMNS],
            layer[INPUTS], layer[COLUMNS], task[BATCH], task[FACTOR],
        ),
    )  # fmt: skip
    sums, bias = floats_at(layer[GRADIENT]), floats_at(layer[WEIGHTS] + layer[INPUTS] * layer[COLUMNS] * BYTES)
    column_sums(floats_at(gradient), task[BATCH], layer[COLUMNS], sums)
    factor = floats_at(task[FACTOR])[0]
    for j in range(layer[COLUMNS]):
        bias[j] = multiply_add(factor, sums[j], bias[j])


@part
def update(task: Any, layer: Any, step: int) -> None:
    """Update one layer with its stored gradient."""
    count = (layer[INPUTS] + 1) * layer[COLUMNS]
    if task[UPDATE]:
        call(
            task[UPDATE],
            (layer[WEIGHTS], layer[GRADIENT], layer[FIRST], layer[SECOND], task[SETTINGS], step + 1, count),
        )
        return
    weights, gradient, factor = floats_at(layer[WEIGHTS]), floats_at(layer[GRADIENT]), floats_at(task[FACTOR])[0]
    for i in range(count):
        weights[i] = multiply_add(factor, gradient[i], weights[i])


@part
def gather(task: Any, index: int, offset: int) -> None:
    """Fill X with the images at an index, augmented as chosen for them, `offset` bytes after the first."""
    given = task[IMAGES], index, task[X], task[MEAN], task[STD], task[BATCH], task[CHANNELS], task[PLANE]
    if task[MOVES]:
        call(task[GATHER], (*given, task[MOVES], task[CHOSEN] + offset))
    else:
        call(task[GATHER], given)


@part
def take_rate(task: Any, step: int) -> None:
    """Set the learning rate of a step, where it moves."""
    if task[RATES]:
        rate = doubles_at(task[RATES])[step]
        doubles_at(task[SETTINGS])[0] = rate
        floats_at(task[FACTOR])[0] = F(-rate)


@part
def turn(task: Any, layers: int, k: int) -> None:
    """Copy the weights of a layer, transposed; the first has no use for that."""
    if k:
        layer, before = integers_at(layers + k * LAYER * WORD), integers_at(layers + (k - 1) * LAYER * WORD)
        call(
            task[TRANSPOSE],
            (layer[WEIGHTS], layer[COLUMNS], layer[TRANSPOSED], before[COLUMNS], layer[INPUTS], layer[OUTPUTS]),
        )


@part
def update_clipped(task: Any, layers: int, depth: int, step: int, norm: float) -> None:
    """Update every layer with its stored gradient, scaled by min(1, clip / (norm + 10⁻⁶)) as in clip_grad_norm_."""
    scale = F(min(1.0, doubles_at(task[CLIP])[0] / (norm + 1e-6)))
    for k in range(depth):
        layer = integers_at(layers + k * LAYER * WORD)
        gradient = floats_at(layer[GRADIENT])
        for i in range((layer[INPUTS] + 1) * layer[COLUMNS]):
            gradient[i] *= scale
        update(task, layer, step)
        turn(task, layers, k)


@part
def backward(task: Any, layers: int, depth: int, step: int) -> float:
    """Go through the layers backwards and update each, or leave that to `update_clipped`.

    Returns Σ g² over all parameters where the gradient's norm is needed, else 0.
    """
    here, there = task[HERE], task[THERE]
    needs_norm = step < task[EARLY] or task[CLIP] != 0
    squares = 0.0
    for k in range(depth - 1, -1, -1):
        layer = integers_at(layers + k * LAYER * WORD)
        if layer[BACKWARD]:
            call(layer[BACKWARD], (here, layer[Z], layer[SLOPE], task[BATCH] * layer[COLUMNS]))
        if k:
            before = integers_at(layers + (k - 1) * LAYER * WORD)
            # ∂h is taken before the weights change.
            call(
                task[PRODUCT],
                (
                    there, before[COLUMNS], here, layer[COLUMNS], 1, layer[TRANSPOSED], before[COLUMNS],
                    task[ZEROS], 0, task[BATCH], before[COLUMNS], layer[OUTPUTS],
                ),
            )  # fmt: skip
            h, h_row = before[Z], before[COLUMNS]
        else:
            h, h_row = task[X], task[CHANNELS] * task[PLANE]
        if needs_norm or task[UPDATE]:
            weight_gradient(task, layer, h, h_row, here)
            if needs_norm:
                count = (layer[INPUTS] + 1) * layer[COLUMNS]
                squares += sum_of_squares(floats_at(layer[GRADIENT]), count, doubles_at(task[SUMS]))
            if not task[CLIP]:
                update(task, layer, step)
        else:
            descend(task, layer, h, h_row, here)
        if not task[CLIP]:
            turn(task, layers, k)
        here, there = there, here
    return squares


def train(layers: int, depth: int, job: int, order: int, start: int, stop: int, losses: int, norms: int) -> None:
    """Take the steps start … stop - 1; `order` (steps, batch) begins with the batch of `start`.

    Writes the loss of each batch before its update, and for early steps the norm of the whole gradient.
    """
    task = integers_at(job)
    rows, pixels = task[BATCH], task[CHANNELS] * task[PLANE]
    all_labels, labels = integers_at(task[LABELS]), integers_at(task[Y])
    last = integers_at(layers + (depth - 1) * LAYER * WORD)
    for step in range(start, stop):
        index = order + (step - start) * rows * WORD
        gather(task, index, (step - start) * rows * WORD)
        for i in range(rows):
            labels[i] = all_labels[integers_at(index)[i]]
        take_rate(task, step)
        forward(layers, depth, task[PRODUCT], task[X], rows, pixels)
        loss = loss_and_gradient(floats_at(last[Z]), labels, rows, last[COLUMNS], task[CLASSES], floats_at(task[HERE]))
        floats_at(losses)[step] = F(loss)
        norm = math.sqrt(backward(task, layers, depth, step))
        if step < task[EARLY]:
            floats_at(norms)[step] = F(norm)
        if task[CLIP]:
            update_clipped(task, layers, depth, step, norm)


def evaluate(
    layers: int, depth: int, job: int, rows: int, x: int, labels: int, count: int, losses: int, hits: int
) -> None:
    """Write the loss of each of `count` standardized images, and 1 if the prediction is right, else 0.

    The buffers of the layers hold `rows` images at a time.
    """
    task = integers_at(job)
    pixels, classes = task[CHANNELS] * task[PLANE], task[CLASSES]
    last = integers_at(layers + (depth - 1) * LAYER * WORD)
    z, right, shares = floats_at(last[Z]), integers_at(labels), floats_at(last[SLOPE])
    for first in range(0, count, rows):
        here = min(rows, count - first)
        forward(layers, depth, task[PRODUCT], x + first * pixels * BYTES, here, pixels)
        for i in range(here):
            at, label = i * last[COLUMNS], right[first + i]
            loss, _ = cross_entropy(z, at, label, classes, shares)
            best = 0
            for j in range(1, classes):
                if z[at + j] > z[at + best]:
                    best = j
            floats_at(losses)[first + i] = F(loss)
            floats_at(hits)[first + i] = F(1) if best == label else F(0)
