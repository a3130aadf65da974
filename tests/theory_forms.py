"""Closed forms that only tests use: what theory predicts of networks beyond what `initbench inspect` shows."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.special import entr

from initbench.signals.theory import Activation, Floats, derivative_moment, moment, product


def relu_cosine(cosine: ArrayLike) -> Floats:
    """Return the cosine of two inputs after a zero-bias ReLU layer, from that before it (T2; Cho & Saul 2009)."""
    c = np.clip(np.asarray(cosine, dtype=np.float64), -1.0, 1.0)
    return np.asarray((np.sqrt(1 - c**2) + c * (math.pi - np.arccos(c))) / math.pi)


def relu_cosine_after(cosine: ArrayLike, depth: int) -> Floats:
    """Return the cosine of two inputs after `depth` zero-bias ReLU layers; 1 − it falls as 9π²/(2·depth²) (T2)."""
    result = np.asarray(cosine, dtype=np.float64)
    for _ in range(depth):
        result = relu_cosine(result)
    return result


def fixed_point(act: Activation, weight_variance: float, bias_variance: float) -> float:
    """Return q*, the largest stable solution of q = σ_w²·E[φ²] + σ_b², z ~ N(0, q) (Poole et al. 2016).

    It is inf where the variance grows without end, 0 where it dies, and 1 where every q is a solution.
    """
    if act.slope is not None:
        gain = weight_variance * float(moment(act, 0.0, 1.0))
        if math.isclose(gain, 1, rel_tol=1e-12):
            return math.inf if bias_variance else 1.0
        return bias_variance / (1 - gain) if gain < 1 else math.inf

    def growth(log_q: ArrayLike) -> Floats:
        q = np.exp(log_q)
        return (weight_variance * moment(act, 0.0, q) + bias_variance) / q - (1 + 1e-12)  # rounding is no growth

    grid = np.linspace(-25.0, 25.0, 501)
    grows = growth(grid) > 0
    if grows[-1]:
        return math.inf
    ends = np.flatnonzero(grows[:-1] & ~grows[1:])
    return math.exp(_root(growth, grid[ends[-1]], grid[ends[-1] + 1])) if len(ends) else 0.0


def critical_weight_variance(act: Activation, bias_variance: float) -> float:
    """Return σ_w² where χ₁ = σ_w²·E[φ'(z)²] is 1 at q*, the least q* if several (T6; Schoenholz et al. 2017)."""
    if act.slope is not None or (bias_variance == 0 and act.value(np.zeros(1))[0] == 0):
        return 1 / float(derivative_moment(act, 0.0, 0.0))

    def excess(log_q: ArrayLike) -> Floats:  # with χ₁ = 1, σ_w² = 1/E[φ'²], and q is left as the one unknown
        q = np.exp(log_q)
        return q - moment(act, 0.0, q) / derivative_moment(act, 0.0, q) - bias_variance

    grid = np.linspace(-25.0, 12.0, 371)
    first = max(1, int(np.argmax(excess(grid) > 0)))
    return 1 / float(derivative_moment(act, 0.0, math.exp(_root(excess, grid[first - 1], grid[first]))))


def correlation_depth(act: Activation, weight_variance: float, bias_variance: float) -> float:
    """Return ξ_c = −1/ln χ in layers, χ = σ_w²·E[φ'(z_a)·φ'(z_b)] at the correlation fixed point c* (T6).

    Cosines approach c* as exp(−depth/ξ_c), and about 6·ξ_c layers can be trained (Schoenholz et al. 2017). It is inf at
    criticality, and where the variance grows without end.
    """
    q = fixed_point(act, weight_variance, bias_variance)
    if math.isinf(q):
        return math.inf
    chi = weight_variance * float(derivative_moment(act, 0.0, q))
    if chi > 1:  # chaos: c* < 1
        cosine = _correlation_fixed_point(act, weight_variance, bias_variance, q)
        slope = Activation(f"{act.name}'", act.derivative, act.derivative)
        chi = weight_variance * float(product(slope, 0.0, q, q, cosine * q))
    return -1 / math.log(chi) if 0 < chi < 1 - 1e-9 else math.inf if chi > 0 else 0.0


def _correlation_fixed_point(act: Activation, weight_variance: float, bias_variance: float, q: float) -> float:
    """Solve c = (σ_w²·E[φ(z_a)·φ(z_b)] + σ_b²)/q below 1; 1 where chaos is too slight to tell."""

    def excess(cosine: ArrayLike) -> Floats:
        c = np.asarray(cosine)
        return np.asarray((weight_variance * product(act, 0.0, q, q, c * q) + bias_variance) / q - c)

    if excess(0.0) <= 1e-12:
        return 0.0
    return _root(excess, 0.0, 1 - 1e-6) if excess(1 - 1e-6) < 0 else 1.0


def _root(function: Callable[[ArrayLike], Floats], low: float, high: float) -> float:
    return float(scipy.optimize.brentq(lambda x: float(function(x)), low, high, xtol=1e-13))


def width_spread(widths: Sequence[int]) -> float:
    """Return E[M²]/E[M]² of one input's second moment M after He-normal ReLU layers, ∏ (1 + 5/n) (T1; Hanin 2018)."""
    return math.prod(1 + 5 / n for n in widths)


def torch_default_moment(depth: int, width: int, moment: float = 1.0) -> float:
    """Return E[x²] after the ReLU of layer `depth` under PyTorch's default: M/6 + 1/(6n), repeated.

    Weights and biases are U(±1/√n): Var = 1/(3n) each, and ReLU halves the sum.
    """
    for _ in range(depth):
        moment = moment / 6 + 1 / (6 * width)
    return moment


def torch_default_floor(width: int) -> float:
    """Return 1/(5n), where `torch_default_moment` ends: there the biases speak and not the input."""
    return 1 / (5 * width)


def gaussian_mean_singular_value(variance: float = 1.0) -> float:
    """Return the mean singular value of a large n×n matrix with entries of variance v/n: 8/(3π)·√v (T5)."""
    return 8 / (3 * math.pi) * math.sqrt(variance)


def padded_moments(height: int, width: int, depth: int) -> Floats:
    """Return the mean E[x²] of a map, 1 at first, after each of `depth` zero-padded 3×3 He layers: (depth,) (T7).

    Each layer is a box filter of E[x²] with zeros around it, and that filter is separable.
    """
    rows, columns, means = np.ones(height), np.ones(width), []
    for _ in range(depth):
        rows, columns = (np.convolve(side, np.ones(3) / 3)[1:-1] for side in (rows, columns))
        means.append(rows.mean() * columns.mean())
    return np.array(means)


def zero_logits_loss(shares: Sequence[float]) -> float:
    """Return the entropy of class shares: the loss of a network of which only the last bias can learn (T11)."""
    return float(entr(np.asarray(shares) / np.sum(shares)).sum())
