"""Nonlinearities and their derivatives, each to a few units in the last place of float32 down to 2^-121.

A forward kernel replaces z by h = φ(z) in place, and stores φ'(z) if the backward pass cannot compute it from h: 1 -
tanh² would lose all digits where tanh is near 1. A backward kernel replaces ∂h by ∂z in place. NaN propagates through
all of them, as in torch: a diverged trial must not look like one that does not learn.

Formulas have no branches and no library calls, so that the compiler vectorizes loops over them (an exponential then
costs 0.3 ns; NumPy's tanh 12).
"""

import numpy as np

from initbench.training.compiled.vectors import floats_at, multiply_add, part, power_of_two

F = np.float32

# ln 2 in two parts, the first with zeros enough at its end that k · LN2_HIGH is exact.
LOG2_E, LN2_HIGH, LN2_LOW = F(1.4426950408889634), F(0.693359375), F(-2.12194440e-4)
LOWEST = F(-87.33654)  # below it e^x is less than 2^-126, the smallest normal number
LEAKY_SLOPE = F(0.01)  # nn.LeakyReLU's
# Klambauer et al. 2017, eq. 2, to the digits that torch.selu has.
SELU_ALPHA, SELU_SCALE = F(1.6732632423543772848170429916717), F(1.0507009873554804934193349852946)
NORMAL_DENSITY = F(0.3989422804014327)  # 1 / √2π


@part
def reduced(x: np.float32) -> tuple[np.float32, np.float32]:
    """Return 2^k and q = e^r - 1 with x = k ln 2 + r, |r| ≤ ln 2 / 2: e^x = 2^k (q + 1). For x ≤ 0."""
    x = LOWEST if x < LOWEST else x
    x = F(0) if x > F(0) else x
    k = np.floor(multiply_add(x, LOG2_E, F(0.5)))
    k = k if k == k else F(0)  # a NaN has no exponent; it stays in r  # noqa: PLR0124
    r = multiply_add(k, -LN2_LOW, multiply_add(k, -LN2_HIGH, x))
    p = multiply_add(r, F(1 / 5040), F(1 / 720))  # Taylor; the next term is 1e-8 of q
    p = multiply_add(p, r, F(1 / 120))
    p = multiply_add(p, r, F(1 / 24))
    p = multiply_add(p, r, F(1 / 6))
    p = multiply_add(p, r, F(1 / 2))
    return power_of_two(np.int32(k)), multiply_add(p * r, r, r)


@part
def exponential(x: np.float32) -> np.float32:
    """Return e^x for x ≤ 0, 0 where that is below the smallest normal number."""
    scale, q = reduced(x)
    return F(0) if x < LOWEST else multiply_add(scale, q, scale)


@part
def tanh_at(z: np.float32) -> tuple[np.float32, np.float32]:
    """With E = e^-|z|: tanh = (1 - E²) / (1 + E²), tanh' = (2 E / (1 + E²))²; 1 - E² by way of E - 1."""
    power, q = reduced(-abs(z))
    e = F(0) if abs(z) > -LOWEST else multiply_add(power, q, power)
    m = multiply_add(power, q, power - F(1))
    r = F(1) / multiply_add(e, e, F(1))
    h = -m * (m + F(2)) * r
    root = F(2) * e * r
    return (-h if z < F(0) else h), root * root


@part
def sigmoid_at(z: np.float32) -> tuple[np.float32, np.float32]:
    """With e = e^-|z|: 1 / (1 + e) is the larger of σ(z) and σ(-z), e / (1 + e) the smaller."""
    e = exponential(-abs(z))
    larger = F(1) / (F(1) + e)
    smaller = e * larger
    return (larger if z >= F(0) else smaller), larger * smaller


@part
def silu_at(z: np.float32) -> tuple[np.float32, np.float32]:
    """Return z σ(z) and σ(z) + z σ(z) σ(-z), by E = e^(-|z|/2): z E² may be a number where E² is below the smallest."""
    e = exponential(F(-0.5) * abs(z))
    larger = F(1) / multiply_add(e, e, F(1))
    share = larger if z >= F(0) else e * e * larger
    product = z * e
    below = product * (e * larger)
    return (z * larger if z >= F(0) else below), multiply_add(product, e * larger * larger, share)


@part
def gelu_at(z: np.float32) -> tuple[np.float32, np.float32]:
    """Return z Φ(z) and its derivative Φ(z) + z φ(z), Φ(-|z|) with all its digits however small.

    Φ(-x) = e^(-x²/2) P(t), t = 1 / (1 + 0.3 x): P by least squares of the relative error, 3e-9 for x to 14. The square
    is taken with what its rounding leaves, which the exponential would multiply by itself.
    """
    x = abs(z)
    x = F(14) if x > F(14) else x
    square = x * x
    rest = multiply_add(x, x, -square)
    e = exponential(F(-0.5) * square)
    e = multiply_add(F(-0.5) * rest, e, e)
    t = F(1) / multiply_add(F(0.3), x, F(1))
    p = multiply_add(t, F(-0.01984184919), F(0.1078354682))
    p = multiply_add(p, t, F(-0.216343012))
    p = multiply_add(p, t, F(0.1741327806))
    p = multiply_add(p, t, F(-0.0627070582))
    p = multiply_add(p, t, F(0.08564419833))
    p = multiply_add(p, t, F(0.08282676935))
    p = multiply_add(p, t, F(0.1089966489))
    p = multiply_add(p, t, F(0.1197903888))
    p = multiply_add(p, t, F(0.1196647075))
    p = multiply_add(p, t, F(9.562224361e-07))
    tail = e * p
    share = tail if z < F(0) else F(1) - tail
    # Beyond 14 the density is 0 here, and 0 · ∞ is not.
    density = NORMAL_DENSITY * e
    signed = -x if z < F(0) else x
    below = F(0) * z if z < F(-14) else z * p * e  # in this order e · p is not lost below the smallest number
    return (below if z < F(0) else z * share), multiply_add(signed, density, share)


@part
def exponential_linear_at(z: np.float32, scale: np.float32, alpha: np.float32) -> tuple[np.float32, np.float32]:
    """Return scale · (z, or α (e^z - 1) below 0) and its derivative."""
    power, q = reduced(z)
    e = F(0) if z < LOWEST else multiply_add(power, q, power)
    below = multiply_add(power, q, power - F(1))
    h, slope = (z if z > F(0) else alpha * below), (F(1) if z > F(0) else alpha * e)
    return scale * h, scale * slope


def relu(z: int, _slope: int, count: int) -> None:
    h = floats_at(z)
    for i in range(count):
        h[i] = F(0) if h[i] <= F(0) else h[i]  # with > 0 a NaN would become 0


def relu_back(gradient: int, output: int, _slope: int, count: int) -> None:
    g, h = floats_at(gradient), floats_at(output)
    for i in range(count):
        g[i] = F(0) if h[i] <= F(0) else g[i]


def leaky_relu(z: int, _slope: int, count: int) -> None:
    h = floats_at(z)
    for i in range(count):
        h[i] = h[i] if h[i] > F(0) else LEAKY_SLOPE * h[i]


def leaky_relu_back(gradient: int, output: int, _slope: int, count: int) -> None:
    g, h = floats_at(gradient), floats_at(output)
    for i in range(count):
        g[i] = g[i] if h[i] > F(0) else LEAKY_SLOPE * g[i]


def tanh(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = tanh_at(h[i])


def sigmoid(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = sigmoid_at(h[i])


def silu(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = silu_at(h[i])


def gelu(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = gelu_at(h[i])


def elu(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = exponential_linear_at(h[i], F(1), F(1))


def selu(z: int, slope: int, count: int) -> None:
    h, slopes = floats_at(z), floats_at(slope)
    for i in range(count):
        h[i], slopes[i] = exponential_linear_at(h[i], SELU_SCALE, SELU_ALPHA)


def by_slope(gradient: int, _h: int, slope: int, count: int) -> None:
    g, slopes = floats_at(gradient), floats_at(slope)
    for i in range(count):
        g[i] *= slopes[i]
