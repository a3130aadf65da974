"""Variance scaling, Var = scale / fan, and its special cases by name.

A truncated normal is cut at two sigma and its sigma enlarged by 1/0.8796…, so that its variance is the requested one
(Keras and JAX do so; uncorrected ports lose 23 % of the variance). Source: keras
random_initializers.VarianceScaling, jax.nn.initializers.variance_scaling.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor, nn

from initbench.networks.layers import Layer
from initbench.schemes.rule import SCHEMES, Rule, Shape, fans
from initbench.schemes.torch_init import WEIGHTS, truncated_normal_law

Positive = Annotated[FiniteFloat, Field(gt=0)]
FanMode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["truncated_normal", "normal", "uniform"]

# Standard deviation of N(0, 1) cut to (-2, 2): 0.87962566103423978.
TRUNCATED_STD = math.sqrt(truncated_normal_law(-2, 2)[1])


@SCHEMES.register()
def variance_scaling(
    scale: Positive = 1.0, mode: FanMode = "fan_in", distribution: Distribution = "truncated_normal"
) -> Rule:
    """Fill with mean 0 and variance scale/fan, where `mode` chooses the fan.

    The initializer of Keras and JAX. For ReLU scale=2.0 with 'fan_in' (He et al. 2015), for tanh 1.0 with 'fan_avg'
    (Glorot & Bengio 2010), for SELU and linear layers 1.0 with 'fan_in' (LeCun et al. 1998).
    """

    def variance(shape: Shape) -> float:
        fan_in, fan_out = fans(shape)
        return scale / {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]

    def fill(tensor: Tensor, _layer: Layer, generator: torch.Generator) -> None:
        _draw(tensor, math.sqrt(variance(tensor.shape)), distribution, generator)

    return Rule(fill, dimensions=WEIGHTS, variance=variance)


@SCHEMES.register()
def lecun_normal() -> Rule:
    """Fill with a truncated normal of variance 1/fan_in: `variance_scaling(1.0, 'fan_in', 'truncated_normal')`.

    LeCun et al. 1998. For SELU, as its authors recommend (Klambauer et al. 2017), and for linear layers and tanh. After
    ReLU every layer halves the mean square.
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal")


@SCHEMES.register()
def lecun_uniform() -> Rule:
    """Fill with U(±√(3/fan_in)), of variance 1/fan_in: `variance_scaling(1.0, 'fan_in', 'uniform')`.

    LeCun et al. 1998. For SELU, as its authors recommend (Klambauer et al. 2017), and for linear layers and tanh. After
    ReLU every layer halves the mean square.
    """
    return variance_scaling(1.0, "fan_in", "uniform")


def _draw(tensor: Tensor, std: float, distribution: Distribution, generator: torch.Generator) -> None:
    match distribution:
        case "truncated_normal":
            sigma = std / TRUNCATED_STD
            nn.init.trunc_normal_(tensor, 0.0, sigma, -2 * sigma, 2 * sigma, generator=generator)
        case "normal":
            nn.init.normal_(tensor, 0.0, std, generator=generator)
        case "uniform":
            bound = math.sqrt(3) * std
            nn.init.uniform_(tensor, -bound, bound, generator=generator)
