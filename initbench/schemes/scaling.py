"""Variance scaling, Var = scale / fan, and its special cases by name.

A truncated normal is cut at two sigma and its sigma enlarged by 1/0.8796…, so that its variance is the requested one
(Keras and JAX do so; uncorrected ports lose 23 % of the variance). Source: keras
random_initializers.VarianceScaling, jax.nn.initializers.variance_scaling.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from initbench.schemes.fans import Distribution, Fans, by_fans
from initbench.schemes.rule import SCHEMES, Rule

Positive = Annotated[FiniteFloat, Field(gt=0)]
FanMode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]


@SCHEMES.register()
def variance_scaling(
    scale: Positive = 1.0,
    mode: FanMode = "fan_in",
    distribution: Distribution = "truncated_normal",
    fans: Fans = "torch",
) -> Rule:
    """Fill with mean 0 and variance scale/fan, where `mode` chooses the fan.

    The initializer of Keras and JAX; 'fan_geo_avg', the geometric mean √(fan_in·fan_out), is JAX's. For ReLU scale=2.0
    with 'fan_in' (He et al. 2015), for tanh 1.0 with 'fan_avg' (Glorot & Bengio 2010), for SELU and linear layers 1.0
    with 'fan_in' (LeCun et al. 1998). Fans are counted from the shape of the weight as in torch, or by
    fans='effective' as a signal meets them where a convolution has groups, is transposed or has a stride.
    """

    def std(fan_in: float, fan_out: float) -> float:
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[mode]
        return math.sqrt(scale / fan)

    return by_fans(std, distribution, fans)


@SCHEMES.register()
def lecun_normal(fans: Fans = "torch") -> Rule:
    """Fill with a truncated normal of variance 1/fan_in: `variance_scaling(1.0, 'fan_in', 'truncated_normal')`.

    LeCun et al. 1998. For SELU, as its authors recommend (Klambauer et al. 2017), and for linear layers and tanh. After
    ReLU every layer halves the mean square. `fans` as for variance_scaling.
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", fans)


@SCHEMES.register()
def lecun_uniform(fans: Fans = "torch") -> Rule:
    """Fill with U(±√(3/fan_in)), of variance 1/fan_in: `variance_scaling(1.0, 'fan_in', 'uniform')`.

    LeCun et al. 1998. For SELU, as its authors recommend (Klambauer et al. 2017), and for linear layers and tanh. After
    ReLU every layer halves the mean square. `fans` as for variance_scaling.
    """
    return variance_scaling(1.0, "fan_in", "uniform", fans)


@SCHEMES.register()
def he_normal_keras(fans: Fans = "torch") -> Rule:
    """Fill as he_normal of Keras and JAX: a normal of variance 2/fan_in truncated at two sigma (He et al. 2015).

    `variance_scaling(2.0, 'fan_in', 'truncated_normal')`. The name he_normal alone is torch's kaiming_normal_, which
    has the same variance and is not truncated. For ReLU. `fans` as for variance_scaling.
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", fans)


@SCHEMES.register()
def glorot_normal_keras(fans: Fans = "torch") -> Rule:
    """Fill as glorot_normal of Keras and JAX: a normal of variance 2/(fan_in+fan_out) truncated at two sigma.

    `variance_scaling(1.0, 'fan_avg', 'truncated_normal')` (Glorot & Bengio 2010). The name glorot_normal alone is
    torch's xavier_normal_, which has the same variance and is not truncated. For tanh and other activations that are
    nearly linear around 0. `fans` as for variance_scaling.
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", fans)
