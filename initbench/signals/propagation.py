"""The expected moments of a signal over draws of the weights, propagated through the operations of a forward pass.

For independent weights of mean 0 the second moment passes through a layer as the signal would pass through one whose
weights are the variances: E[z²] = Var·Σ E[x²] + E[b²] (He et al. 2015, eq. 5-10), zero padding, stride and groups
included; so does E[z·z'] of two images. A ReLU halves E[z²] of any symmetric z; other activations and shifted biases
are integrals over a normal z (`theory`). Gradients go backwards through the same graph, E[(∂x)²] = Var·Σ E[(∂z)²] and
E[(∂z)²] = E[φ'(z)²]·E[(∂x)²] (eq. 13-14), so autograd on the moments predicts them.

After an operation with unknown propagation, prediction restarts from the measured signal; on the way back, from the
gradient measured before that operation and the activations that it may select by, as max-pooling does.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from initbench.core.randomness import generator
from initbench.signals import theory
from initbench.signals.theory import Activation, Floats

Arguments = Mapping[str, Any]
REMEMBERED = (
    50_000  # bytes of the largest kernel whose integrals are cached: a stack of Linear layers on 256 images has 6,000
)
INPUT = "input"
PROBES, FEW = 32, 8  # random vectors; a matrix with fewer rows or columns tells too little of its entries


@dataclass(frozen=True)
class WeightMoments:
    """Mean and variance of the entries of a parameter; `variance` is NaN if they do not share one distribution."""

    mean: float
    variance: float

    @property
    def moment(self) -> float:
        """The second moment of an entry."""
        return self.mean**2 + self.variance

    def scaled(self, factor: float) -> "WeightMoments":
        """Return the moments of the entries times a number."""
        return WeightMoments(factor * self.mean, factor**2 * self.variance)


@dataclass(frozen=True)
class ExpectedMoments:
    """The expected moments of a tensor x (n, …) over draws of the weights.

    `kernel` (3, …), float64, holds E[x²] of each image, of its partner, and E[x·x'] of the two; each broadcasts to
    `shape`, because the units of a layer share their moments. `fresh` says that x comes from weights of mean 0 with no
    activation since: then it is symmetric about `mean`, and normal in the limit of width; `drawn` is the number of the
    first of those layers, in order of execution. `log_variance` is that of ln of the mean of x² over draws, from finite
    width; `units` is the width of the last layer. `origin` names where the measured signal entered.
    """

    kernel: Tensor
    shape: torch.Size
    origin: str
    units: int = 1
    fresh: bool = False
    mean: float = 0.0
    log_variance: float = 0.0
    drawn: int = 0

    def uncorrelated(self, layers: int) -> bool:
        """Return whether E[x·y] is 0 for all y that depends on the weights of the first `layers` alone."""
        return self.fresh and self.mean == 0 and layers < self.drawn

    def full(self) -> Tensor:
        """The kernel at the full shape of x, (3, n, …)."""
        return self.kernel.expand(3, *self.shape)

    @cached_property
    def moment(self) -> float:
        """The expected second moment of x."""
        return float(self.kernel[0].detach().expand(self.shape).mean())

    @cached_property
    def cosine(self) -> float:
        """The expected cosine between partners, the mean over the batch."""
        moment, partner, product = (part.detach().expand(self.shape).flatten(1).sum(1) for part in self.kernel)
        return float((product / (moment * partner).sqrt()).nanmean())


def as_drawn(values: Tensor) -> WeightMoments:
    """Estimate the moments of values from one distribution; a mean within four standard errors of 0 counts as 0.

    Unknown for a matrix or kernel whose entries are not independent, such as one of low rank.
    """
    if not values.numel():
        return WeightMoments(0.0, 0.0)
    mean, variance = float(values.mean()), float(values.var(correction=0))
    if values.ndim > 1 and not _independent(values.flatten(1), mean**2 + variance):
        return WeightMoments(0.0, math.nan)
    centred = abs(mean) <= 4 * math.sqrt(variance / values.numel())
    return WeightMoments(0.0, variance + mean**2) if centred else WeightMoments(mean, variance)


def _independent(rows: Tensor, moment: float) -> bool:
    """Return whether a matrix looks like one of independent entries of one distribution, or like orthogonal rows.

    ‖WWᵀ‖², by random projection, is moment²·mn·(m + n) for independent entries, less for orthogonal rows, and
    mn/(r·(m + n)) times that for a matrix of rank r. Beyond chance, the sums of rows differ where weights are
    standardized, and the squares of rows or of columns where they are masked or scaled unit by unit.
    """
    m, n = rows.shape
    if min(m, n) < FEW or moment == 0:
        return True
    probes = torch.randn(m, PROBES, generator=generator(m, "probes"), dtype=torch.float64)
    found = float((rows @ (rows.T @ probes)).square().sum()) / PROBES
    if found > moment**2 * m * n * (m + n) * 1.75:
        return False
    squares = rows.square() / moment
    chance = float(squares.var(correction=0))
    uneven = any(float(squares.mean(1 - side).var()) > 4 * (chance + 0.1) / rows.shape[1 - side] for side in (0, 1))
    sums = float(rows.sum(1).square().mean()) / (n * moment)
    return not uneven and abs(math.log(max(sums, 1e-30))) <= 6 * math.sqrt(2 / m)


def measured(x: Tensor, origin: str) -> ExpectedMoments:
    """Return the measured moments of a signal; the partner of an image is the next one in the batch."""
    values = x.detach().double()
    partner = values.roll(1, 0)
    kernel = torch.stack([values.square(), partner.square(), values * partner]).requires_grad_()
    return ExpectedMoments(kernel, x.shape, origin)


def through_weights(
    x: ExpectedMoments,
    function: str,
    given: Arguments,
    weight: WeightMoments,
    bias: WeightMoments,
    out: Tensor,
    number: int,
) -> ExpectedMoments:
    """Propagate through a Linear layer or a convolution; `given` are the arguments of the call by name."""
    if function == "linear":
        kernel = x.kernel.mean(-1, keepdim=True) * (x.shape[-1] * weight.variance)
    else:
        kernel = _convolved(x, function, given, weight.variance)
    units = out.shape[-1] if function == "linear" else out.shape[1]
    return ExpectedMoments(
        kernel + bias.moment,
        out.shape,
        x.origin,
        units,
        fresh=True,
        mean=bias.mean,
        # The mean of z² over units has relative variance 2/units given x; `through_activation` replaces this term.
        log_variance=x.log_variance + math.log1p(2 / units),
        drawn=number,
    )


def through_activation(x: ExpectedMoments, activation: Activation, out: Tensor) -> ExpectedMoments | None:
    """Propagate through φ; None if x is not the fresh output of a layer."""
    if not x.fresh:
        return None
    kernel = x.kernel.detach().numpy()
    integrals = _remembered if kernel.nbytes <= REMEMBERED else _integrals
    value, gain = map(torch.from_numpy, integrals(activation, x.mean, kernel.shape, kernel.tobytes()))
    # Its value is E[φ(z)²], its derivative E[φ'(z)²]: what the way back needs.
    through = torch.cat([((x.kernel[0] - x.kernel[0].detach()) * gain)[None], torch.zeros_like(value[1:])])
    own = math.log1p(theory.kurtosis(activation, float(kernel[0].mean())) / x.units) - math.log1p(2 / x.units)
    return ExpectedMoments(value + through, out.shape, x.origin, x.units, log_variance=x.log_variance + max(0.0, own))


def reshaped(x: ExpectedMoments, function: Callable[[Tensor], Tensor], out: Tensor, *, fresh: bool) -> ExpectedMoments:
    """Propagate through an operation that only moves entries (flatten, permute, padding …), and so moves E[x²]."""
    return replace(x, kernel=torch.stack([function(part) for part in x.full()]), shape=out.shape, fresh=fresh)


def scaled(x: ExpectedMoments, factor: float, out: Tensor) -> ExpectedMoments:
    """Propagate through multiplication by a number."""
    return replace(x, kernel=x.kernel * factor**2, mean=x.mean * factor, shape=out.shape)


def thinned(x: ExpectedMoments, keep: float, out: Tensor) -> ExpectedMoments:
    """Propagate through dropout, which keeps a share and divides by it: E[x²]/keep; partners have separate masks."""
    factors = torch.tensor([1 / keep, 1 / keep, 1.0], dtype=torch.float64)
    kernel = x.kernel * factors.view(3, *[1] * (x.kernel.ndim - 1))
    return replace(x, kernel=kernel, shape=out.shape, fresh=x.fresh and keep == 1)


def added(x: ExpectedMoments, y: ExpectedMoments, out: Tensor) -> ExpectedMoments | None:
    """Propagate through x + y, which are uncorrelated; None if they do not have one shape."""
    if x.shape != y.shape:
        return None
    return ExpectedMoments(
        x.full() + y.full(),
        out.shape,
        x.origin if y.origin == INPUT else y.origin,
        min(x.units, y.units),
        fresh=x.fresh and y.fresh,
        mean=x.mean + y.mean,
        log_variance=max(x.log_variance, y.log_variance),
        drawn=min(x.drawn, y.drawn),
    )


def _integrals(activation: Activation, mean: float, shape: tuple[int, ...], kernel: bytes) -> tuple[Floats, Floats]:
    """Return E[φ²] of both images with E[φ·φ'], and E[φ'²], of a kernel given by its bytes."""
    moment, partner, product = np.frombuffer(kernel).reshape(shape) - mean**2
    squares = [theory.moment(activation, mean, variance) for variance in (moment, partner)]
    value = np.stack([*squares, theory.product(activation, mean, moment, partner, product)])
    return value, theory.derivative_moment(activation, mean, moment)


# Cached, because the moments of a stack of layers are the same for every seed of a scheme.
_remembered = lru_cache(maxsize=512)(_integrals)


def _convolved(x: ExpectedMoments, function: str, given: Arguments, variance: float) -> Tensor:
    """Convolve E[x²] with kernels of variances, all channels of a group at once if they share their moments."""
    convolve = getattr(torch, function)
    weight, groups = given["weight"], int(given.get("groups", 1))
    transposed = "transpose" in function
    inputs = (weight.shape[0] if transposed else weight.shape[1] * groups) // groups
    rest = {key: value for key, value in given.items() if key not in {"input", "weight", "bias", "groups"}}
    flat = x.kernel.flatten(0, 1)
    if groups == 1 or x.kernel.shape[2] == 1:
        taps = torch.full((1, 1, *weight.shape[2:]), inputs * variance, dtype=torch.float64)
        result = convolve(flat.mean(1, keepdim=True), taps, **rest)
    else:
        taps = torch.full(weight.shape, variance, dtype=torch.float64)
        result = convolve(x.full().flatten(0, 1), taps, groups=groups, **rest)
    return result.unflatten(0, (3, -1))  # type: ignore[no-any-return] # torch's functions by name are untyped
