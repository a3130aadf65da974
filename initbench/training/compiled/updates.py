"""Optimizers: one pass over the weights and biases of a layer, computed as in torch.optim.

An update takes the weights, their gradient (which it may overwrite), two state arrays that start as zeros, its settings
(the learning rate first), the step number from 1, and the number of weights. Plain SGD has no kernel here: its update
is part of the gradient's product (see `chain`).
"""

import numpy as np

from initbench.training.compiled.vectors import doubles_at, floats_at, multiply_add

F = np.float32


def sgd(weights: int, gradient: int, first: int, _second: int, settings: int, _step: int, count: int) -> None:
    """settings: rate, momentum, weight decay, 1 for Nesterov's."""
    w, g, velocity = floats_at(weights), floats_at(gradient), floats_at(first)
    given = doubles_at(settings)
    rate, momentum, decay, ahead = F(given[0]), F(given[1]), F(given[2]), given[3] > 0
    for i in range(count):
        change = multiply_add(decay, w[i], g[i])
        velocity[i] = multiply_add(momentum, velocity[i], change)
        change = multiply_add(momentum, velocity[i], change) if ahead else velocity[i]
        w[i] = multiply_add(-rate, change, w[i])


def adam(weights: int, gradient: int, first: int, second: int, settings: int, step: int, count: int) -> None:
    """settings: rate, β1, β2, ε, weight decay (of the gradient), decoupled weight decay (of the weights).

    m ← m + (1 - β1) (g - m), v ← β2 v + (1 - β2) g², w ← w - rate / (1 - β1ᵗ) · m / (√v / √(1 - β2ᵗ) + ε).
    """
    w, g, m, v = floats_at(weights), floats_at(gradient), floats_at(first), floats_at(second)
    given = doubles_at(settings)
    keep, eps, decay = F(given[2]), F(given[3]), F(given[4])
    shrink = F(1 - given[0] * given[5])
    fresh, fresh_square = F(1 - given[1]), F(1 - given[2])
    rate = F(given[0] / (1 - given[1] ** step))
    correction = F(1 / np.sqrt(1 - given[2] ** step))
    for i in range(count):
        weight = shrink * w[i]
        change = multiply_add(decay, weight, g[i])
        m[i] = multiply_add(fresh, change - m[i], m[i])
        v[i] = multiply_add(fresh_square * change, change, keep * v[i])
        size = multiply_add(np.sqrt(v[i]), correction, eps)
        w[i] = multiply_add(-rate, m[i] / size, weight)


def rmsprop(weights: int, gradient: int, first: int, second: int, settings: int, _step: int, count: int) -> None:
    """settings: rate, α, ε, weight decay, momentum. v ← α v + (1 - α) g²; the step is g / (√v + ε)."""
    w, g, velocity, v = floats_at(weights), floats_at(gradient), floats_at(first), floats_at(second)
    given = doubles_at(settings)
    rate, keep, fresh, eps = F(given[0]), F(given[1]), F(1 - given[1]), F(given[2])
    decay, momentum = F(given[3]), F(given[4])
    for i in range(count):
        change = multiply_add(decay, w[i], g[i])
        v[i] = multiply_add(fresh * change, change, keep * v[i])
        velocity[i] = multiply_add(momentum, velocity[i], change / (np.sqrt(v[i]) + eps))
        w[i] = multiply_add(-rate, velocity[i], w[i])
