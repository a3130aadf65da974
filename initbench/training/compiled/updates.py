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


def nadam(weights: int, gradient: int, first: int, second: int, settings: int, step: int, count: int) -> None:
    """settings: rate, β1, β2, ε, weight decay (of the gradient), ψ; the last step seen, and Π μ until then.

    μₜ = β1 (1 - 0.96^(t ψ) / 2); m and v as in Adam without their corrections, d = √(v / (1 - β2ᵗ)) + ε;
    w ← w - rate (1 - μₜ) / (1 - Π μ) · g / d - rate μₜ₊₁ / (1 - Π μ · μₜ₊₁) · m / d.
    """
    w, g, m, v = floats_at(weights), floats_at(gradient), floats_at(first), floats_at(second)
    given = doubles_at(settings)
    keep, eps, decay = F(given[2]), F(given[3]), F(given[4])
    fresh, fresh_square = F(1 - given[1]), F(1 - given[2])
    now = given[1] * (1 - 0.5 * 0.96 ** (step * given[5]))
    later = given[1] * (1 - 0.5 * 0.96 ** ((step + 1) * given[5]))
    if given[6] != step:  # once a step, not once a layer
        given[6] = step
        given[7] *= now
    correction = F(1 / np.sqrt(1 - given[2] ** step))
    of_gradient = F(given[0] * (1 - now) / (1 - given[7]))
    of_momentum = F(given[0] * later / (1 - given[7] * later))
    for i in range(count):
        change = multiply_add(decay, w[i], g[i])
        m[i] = multiply_add(fresh, change - m[i], m[i])
        v[i] = multiply_add(fresh_square * change, change, keep * v[i])
        size = multiply_add(np.sqrt(v[i]), correction, eps)
        w[i] = multiply_add(-of_momentum, m[i] / size, multiply_add(-of_gradient, change / size, w[i]))


def adagrad(weights: int, gradient: int, first: int, _second: int, settings: int, step: int, count: int) -> None:
    """settings: rate, its decay, ε, weight decay. s ← s + g²; the step is rate / (1 + (t - 1) decay) · g / (√s + ε)."""
    w, g, sums = floats_at(weights), floats_at(gradient), floats_at(first)
    given = doubles_at(settings)
    rate, eps, decay = F(given[0] / (1 + (step - 1) * given[1])), F(given[2]), F(given[3])
    for i in range(count):
        change = multiply_add(decay, w[i], g[i])
        sums[i] = multiply_add(change, change, sums[i])
        w[i] = multiply_add(-rate, change / (np.sqrt(sums[i]) + eps), w[i])


def lion(weights: int, gradient: int, first: int, _second: int, settings: int, _step: int, count: int) -> None:
    """settings: rate, β1, β2, decoupled weight decay. The step is the sign of m + (1 - β1) (g - m); m keeps β2."""
    w, g, m = floats_at(weights), floats_at(gradient), floats_at(first)
    given = doubles_at(settings)
    rate, fresh, fresh_later = F(given[0]), F(1 - given[1]), F(1 - given[2])
    shrink = F(1 - given[0] * given[3])
    for i in range(count):
        direction = np.sign(multiply_add(fresh, g[i] - m[i], m[i]))
        w[i] = multiply_add(-rate, direction, shrink * w[i])
        m[i] = multiply_add(fresh_later, g[i] - m[i], m[i])
