"""Closed forms of signal propagation: what random weights do to a signal, on average, before any training.

A unit's pre-activation z is normal in the limit of width, so the laws are Gaussian integrals of an activation φ:
E[φ(z)²], E[φ'(z)²] and E[φ(z_a)·φ(z_b)] of two inputs. `dead_probability` is exact at any width.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, expit, ndtr

Floats = NDArray[np.float64]

# Klambauer et al. 2017, the constants of torch.nn.SELU.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

A_DECADE = 100  # variances to integrate at, where more are asked for: between them is interpolated
TERMS = 48  # of the Hermite expansion, one by one
BANDS = np.unique(np.geomspace(TERMS, 1536, 19).astype(int) // 2 * 2)  # where the bands of the terms after them begin


Law = Callable[[float, Floats], Floats]  # of z ~ N(mean, variance), as law(mean, variances)


@dataclass(frozen=True)
class Activation:
    """An activation φ and its derivative, elementwise.

    `slope` where φ is z above 0 and slope·z below: closed forms. `moments` are E[φ(z)²] and E[φ'(z)²], and `product` is
    E[φ(z_a)·φ(z_b)], where the quadrature, which is finest around 0, would miss a kink elsewhere or a wave.
    """

    name: str
    value: Callable[[Floats], Floats]
    derivative: Callable[[Floats], Floats]
    slope: float | None = None
    moments: tuple[Law, Law] | None = None
    product: Callable[[float, Floats, Floats, Floats], Floats] | None = None  # (mean, variances, covariance)


def leaky_relu(slope: float) -> Activation:
    """Return the activation that is z for z > 0 and slope·z below (Maas et al. 2013)."""
    return _piecewise("leaky_relu", slope)


def _piecewise(name: str, slope: float) -> Activation:
    return Activation(name, lambda z: np.where(z > 0, z, slope * z), lambda z: np.where(z > 0, 1.0, slope), slope)


def _elu(name: str, alpha: float, scale: float) -> Activation:
    return Activation(
        name,
        lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))),
        lambda z: scale * np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0))),
    )


def _mish_slope(z: Floats) -> Floats:
    through = np.tanh(np.logaddexp(0.0, z))
    return np.asarray(through + z * (1 - through) * (1 + through) * expit(z))


def _within(mean: float, variance: Floats) -> Floats:
    """Return P(|z| < 1): E[φ'²] of hardtanh; a kink counts half at variance 0."""
    std = np.maximum(np.sqrt(variance), 1e-170)
    return np.asarray(ndtr((1 - mean) / std) - ndtr((-1 - mean) / std))


def _clipped(mean: float, variance: Floats) -> Floats:
    """Return E[min(z², 1)] = P(|z| > 1) + E[z²; |z| < 1], by parts."""
    std = np.maximum(np.sqrt(variance), 1e-170)
    low, high = ((side - mean) / std for side in (-1, 1))
    inside = ndtr(high) - ndtr(low)
    edges = std * ((1 + mean) * _density(high) + (1 - mean) * _density(low))
    return np.asarray(1 - inside + (mean**2 + variance) * inside - edges)


def _wave(sign: int) -> Law:
    """Return E[sin²] (sign -1) or E[cos²] (sign 1): (1 ± e^(-2v)·cos 2m)/2, without what cancels."""

    def law(mean: float, variance: Floats) -> Floats:
        at_mean = math.cos(mean) ** 2 if sign > 0 else math.sin(mean) ** 2
        return np.asarray(at_mean - sign * math.cos(2 * mean) * -np.expm1(-2 * variance) / 2)

    return law


def _waves(mean: float, a: Floats, b: Floats, covariance: Floats) -> Floats:
    """Return E[sin z_a·sin z_b] = (E[cos(z_a − z_b)] − E[cos(z_a + z_b)])/2, without what cancels."""
    size = np.abs(covariance)
    centred = np.sign(covariance) * np.exp(size - (a + b) / 2) * -np.expm1(-2 * size) / 2
    return np.asarray(centred + math.sin(mean) ** 2 * np.exp(-(a + b) / 2 - covariance))


def _density(z: Floats) -> Floats:
    return np.exp(-np.square(np.clip(z, -40.0, 40.0)) / 2) / math.sqrt(2 * math.pi)


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": _piecewise("relu", 0.0),
    "leaky_relu": leaky_relu(0.01),
    "tanh": Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": Activation("sigmoid", expit, lambda z: expit(z) * expit(-z)),
    "selu": _elu("selu", SELU_ALPHA, SELU_SCALE),
    "gelu": Activation("gelu", lambda z: z * ndtr(z), lambda z: ndtr(z) + z * _density(z)),
    "silu": Activation("silu", lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "elu": _elu("elu", 1.0, 1.0),
    "softsign": Activation("softsign", lambda z: z / (1 + np.abs(z)), lambda z: 1 / np.square(1 + np.abs(z))),
    "hardtanh": Activation(
        "hardtanh",
        lambda z: np.clip(z, -1.0, 1.0),
        lambda z: np.where(np.abs(z) < 1, 1.0, 0.0),
        moments=(_clipped, _within),
    ),
    "mish": Activation("mish", lambda z: z * np.tanh(np.logaddexp(0.0, z)), _mish_slope),
    "sin": Activation("sin", np.sin, np.cos, moments=(_wave(-1), _wave(1)), product=_waves),
    "linear": _piecewise("linear", 1.0),
}


def moment(act: Activation, mean: float, variance: ArrayLike) -> Floats:
    """Return E[φ(z)²], z ~ N(mean, variance), in the shape of `variance` (He et al. 2015, eq. 8: variance/2 for ReLU).

    A closed form where there is one; elsewhere a quadrature, of relative error below 1e-8. It is interpolated
    between 100 variances a decade where more are asked for at once: below 1e-4.
    """
    values = _nonnegative(variance)
    if act.moments is not None:
        return act.moments[0](mean, values)
    if act.slope is None:
        return _interpolated(lambda knots: _quadrature(act.value, mean, knots, 2), values)
    std = np.sqrt(values)
    threshold = _in_deviations(mean, std)
    # E[z²; z > 0] = (m² + v)·Φ(m/s) + m·s·φ(m/s)
    above = (mean**2 + values) * ndtr(threshold) + mean * std * _density(threshold)
    return np.asarray((1 - act.slope**2) * above + act.slope**2 * (mean**2 + values))


def derivative_moment(act: Activation, mean: float, variance: ArrayLike) -> Floats:
    """Return E[φ'(z)²] in the shape of `variance`, as exact as `moment` (He et al. 2015, eq. 14: 1/2 for ReLU).

    At variance 0 a kink counts half from either side.
    """
    values = _nonnegative(variance)
    if act.moments is not None:
        return act.moments[1](mean, values)
    if act.slope is None:
        return _interpolated(lambda knots: _quadrature(act.derivative, mean, knots, 2), values)
    above = ndtr(_in_deviations(mean, np.sqrt(values)))
    return np.asarray((1 - act.slope**2) * above + act.slope**2)


def kurtosis(act: Activation, variance: float) -> float:
    """Return E[φ⁴]/E[φ²]² − 1 for z ~ N(0, variance): 5 for ReLU, 2 for linear, whatever the variance."""
    if act.slope is not None:
        return 6 * (1 + act.slope**4) / (1 + act.slope**2) ** 2 - 1
    knots = np.clip([variance], 1e-30, 1e30)  # the limits at 0 and ∞, where φ⁴ leaves floating point
    fourth, second = (float(_quadrature(act.value, 0.0, knots, power)[0]) for power in (4, 2))
    return fourth / second**2 - 1


def _nonnegative(variance: ArrayLike) -> Floats:
    """Lift rounding below 0, and make NaN of what is not finite."""
    values = np.asarray(variance, dtype=np.float64)
    return np.where(np.isfinite(values), np.maximum(values, 0.0), np.nan)


def _in_deviations(mean: float, std: Floats) -> Floats:
    """Return mean/std, to 40 deviations at most: Φ is 0 or 1 beyond. 0 where both are 0."""
    return np.clip(mean / np.maximum(std, 1e-170), -40.0, 40.0)


@cache
def _nodes() -> tuple[Floats, Floats]:
    """Return ascending offsets from a kink, symmetric about 0 and out to ±19, with the weights of a plain integral.

    Gauss-Legendre on panels that shrink towards 0 by factors of 4: a bend of φ around z = 0 has width 1/std in units of
    the standard deviation, which no Gauss-Hermite rule follows when std is large.
    """
    edges = np.concatenate([[0.0], 4.0 ** np.arange(-14, -1), np.arange(0.25, 12, 0.25), np.arange(12, 20)])
    points, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    right = (edges[:-1, None] + half * (points + 1)).ravel()
    weight = (half * weights).ravel()
    return np.concatenate([-right[::-1], right]), np.concatenate([weight[::-1], weight])


@np.errstate(over="ignore", invalid="ignore")
def _quadrature(function: Callable[[Floats], Floats], mean: float, variance: Floats, power: int) -> Floats:
    """Integrate function(z)^power over z ~ N(mean, variance): (g,) -> (g,), split at z = 0."""
    offsets, weights = _nodes()
    std = np.maximum(np.sqrt(variance), 1e-170)[:, None]  # at variance 0, z keeps its sign, and its square is 0
    x = offsets - np.clip(mean / std, -9.0, 9.0)
    return np.asarray((function(mean + std * x) ** power * _density(x)) @ weights)


def _interpolated(function: Callable[[Floats], Floats], variance: Floats) -> Floats:
    knots, _ = _knots(variance)
    return np.asarray(np.interp(variance, knots, function(knots)))


def _knots(variance: Floats) -> tuple[Floats, Floats]:
    """Return the ascending variances to compute at, and where among them each asked one lies (fractions interpolate).

    All distinct ones, unless they are many for their range: then geometric steps over 12 decades at most.
    """
    distinct = np.unique(variance[np.isfinite(variance)])
    if len(distinct) > A_DECADE:
        lowest = max(distinct[distinct > 0][0], distinct[-1] * 1e-12)
        steps = 2 + math.ceil(A_DECADE * math.log10(distinct[-1] / lowest))
        distinct = np.geomspace(lowest, distinct[-1], steps) if steps < len(distinct) else distinct
    knots = np.unique(np.concatenate([[0.0, 1.0], distinct]))  # two at least: with one, np.interp forgets NaN
    return knots, np.asarray(np.interp(variance, knots, np.arange(len(knots))))


def product(
    act: Activation, mean: float, variance_a: ArrayLike, variance_b: ArrayLike, covariance: ArrayLike
) -> Floats:
    """Return E[φ(z_a)·φ(z_b)] for jointly normal z of one mean, in the arrays' common shape.

    A closed form where φ is piecewise linear and the mean 0 (Cho & Saul 2009), and of sin; elsewhere the Hermite
    expansion Σ ρᵏ·a_k(v_a)·a_k(v_b) (Mehler 1866), at any correlation within 1e-6 of √(E[φ²_a]·E[φ²_b]) for mean 0 and
    variances from 0.01 to 4, and within 2e-3 always (hardtanh, whose kinks are not at 0: 2e-6 and 3e-3). Correlations
    are clipped to [−1, 1].
    """
    a, b, between = np.broadcast_arrays(_nonnegative(variance_a), _nonnegative(variance_b), covariance)
    scale = np.sqrt(a) * np.sqrt(b)
    # Of a constant and anything the correlation is 0.
    cosine = np.clip(between / np.where(scale > 0, scale, np.inf), -1.0, 1.0)
    if act.slope == 1:
        return np.asarray(mean**2 + cosine * scale)
    if act.product is not None:
        return act.product(mean, a, b, cosine * scale)
    if act.slope is None or mean != 0:
        return _expansion(act, mean, np.stack([a, b]), cosine)
    # φ(z) = ((1 + α)·z + (1 − α)·|z|)/2, and z_a·|z_b| is odd.
    absolute = (np.sqrt(1 - cosine**2) + cosine * np.arcsin(cosine)) * 2 / math.pi
    return np.asarray(scale * ((1 + act.slope) ** 2 * cosine + (1 - act.slope) ** 2 * absolute) / 4)


def _expansion(act: Activation, mean: float, variances: Floats, cosine: Floats) -> Floats:
    """Sum the Hermite expansion: (2, …), (…) -> (…)."""
    knots, position = _knots(variances)
    coefficients = _coefficients(act, mean, knots)
    below = np.nan_to_num(position).astype(np.intp)
    fraction = position - below

    def of_both(row: Floats) -> Floats:
        at_a, at_b = row[below] + fraction * np.diff(row, append=row[-1])[below]
        return np.asarray(at_a * at_b)

    total = np.zeros(cosine.shape)
    for row in coefficients[TERMS - 1 :: -1]:  # Horner's rule in ρ
        total = total * cosine + of_both(row)
    sign, size = np.sign(cosine), np.abs(cosine)
    decays = [size ** ((low + high - 1) / 2) for low, high in pairwise(BANDS)]
    norms = coefficients[TERMS:].reshape(-1, 2, len(knots))
    for (even, odd), decay in zip(norms, [*decays, _rest(size)], strict=True):
        total += (of_both(even) + sign * of_both(odd)) * decay
    return total


def _coefficients(act: Activation, mean: float, variance: Floats) -> Floats:
    """Return a_k = E[φ(mean + std·x)·h_k(x)], x ~ N(0, 1), then the norms of each band and of the rest: (…, g).

    In a band the a_k of two variances are taken as proportional. The rest is what all terms leave of E[φ²], of the even
    and of the odd part of φ apart (Parseval): so the sum is exact at ρ = ±1 when both variances are equal.
    """
    offsets, weights = _nodes()
    values = act.value(mean + np.maximum(np.sqrt(variance), 1e-170)[:, None] * offsets)
    coefficients = _hermite() @ values.T
    squares = np.square(coefficients).reshape(-1, 2, len(variance))
    bands = np.add.reduceat(squares, BANDS[:-1] // 2)
    measure = weights * _density(offsets)
    square, mirrored = values**2 @ measure, (values * values[:, ::-1]) @ measure
    rest = np.stack([square + mirrored, square - mirrored]) / 2 - squares.sum(axis=0)
    norms = np.sqrt(np.maximum(np.concatenate([bands, rest[None]]), 0.0))
    return np.concatenate([coefficients[:TERMS], norms.reshape(-1, len(variance))])


@cache
def _hermite() -> Floats:
    """Return h_k(x) times the weight of each node: (terms, nodes); h_k = He_k/√k! are orthonormal under N(0, 1)."""
    x, weights = _nodes()
    rows = [np.ones_like(x), x]
    for k in range(1, BANDS[-1] - 1):
        rows.append((x * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1))
    return np.stack(rows) * (weights * _density(x))


def _rest(cosine: Floats) -> Floats:
    """Return Σ ρᵏ·a_k² / Σ a_k² over the terms after the bands, for the decay a_k² ~ k^(−3/2) of a step.

    Only steep φ leave a rest worth the name. As an integral, with x = −k·ln ρ at the first: e⁻ˣ − √(πx)·erfc(√x).
    """
    x = np.minimum(-(BANDS[-1] - 1) * np.log(np.maximum(cosine, 1e-30)), 100.0)
    return np.asarray(np.exp(-x) * (1 - np.sqrt(math.pi * x) * erfcx(np.sqrt(x))))


def dead_probability(widths: Sequence[int]) -> float:
    """Return the chance that for one input some layer's ReLUs are all shut, 1 − ∏ (1 − 2⁻ⁿ) (T3; Lu et al. 2019).

    Exact for zero biases and rows of weights that are as likely as their negatives.
    """
    return -math.expm1(sum(math.log1p(-(2.0**-n)) for n in widths))


@lru_cache(maxsize=256)  # every seed of a scheme asks the same
def expected_loss(classes: int, variance: float) -> float:
    """Return the expected cross-entropy of independent logits N(0, variance) (T12): ln K at 0; to 1e-6.

    The label's logit has mean 0, which leaves E[ln Σ e^l]. By the Gumbel-max trick that is E[max (l + g)] − γ with
    independent standard Gumbel g, an integral of F^K where F is the distribution of l + g.
    """
    std = math.sqrt(variance)
    u = np.linspace(-5 - 10 * std, 45 + 10 * std, 2001)
    power = _gumbel_plus_normal(u, std) ** classes
    # E[max] = top − ∫ F^K, by the trapezoid rule.
    return float(u[-1] - (power.sum() - power[-1] / 2) * (u[1] - u[0]) - np.euler_gamma)


def _gumbel_plus_normal(u: Floats, std: float) -> Floats:
    """Return P(g + l < u), l ~ N(0, std²), integrating over the narrower of the two: (n,) -> (n,)."""
    if std < 1:
        x, weights = np.polynomial.hermite_e.hermegauss(60)
        return np.asarray(np.exp(-np.exp(std * x - u[:, None])) @ weights / math.sqrt(2 * math.pi))
    g = np.linspace(-4.5, 40.0, 500)
    density = np.exp(-g - np.exp(-g)) * (g[1] - g[0])
    return np.asarray(ndtr((u[:, None] - g) / std) @ density)
