"""Fans, counted in two ways, and rules that read them.

torch.nn.init counts both fans from a weight's own shape: fan_in is its second dimension times the kernel, fan_out its
first. What a signal meets is the `effective` fan: on average fan_in inputs reach an output, and fan_out outputs are
reached by an input. The two are equal unless a convolution has groups, is transposed or has a stride:

    fan_in    torch                 effective              fan_out   torch        effective
    Conv      in/groups·|k|         in/groups·|k|                    out·|k|      out/groups·|k|/strides
    ConvTr.   out/groups·|k|        in/groups·|k|/strides            in·|k|       out/groups·|k|

where |k| is the size of the kernel and `strides` the product over its axes: of the outputs that a kernel could reach, a
stride leaves one in `strides` (and a transposed convolution is the map back). Padding is not counted. So, for example,
Var = gain²/fan_in keeps the mean square of the entries of a signal, and gain²/fan_out that of its gradient, averaged
over inputs of which a large stride leaves some without any output.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from initbench.networks.layers import Layer
from initbench.schemes.rule import Rule

Fans = Literal["torch", "effective"]
Distribution = Literal["truncated_normal", "normal", "uniform"]
Count = Callable[[Layer], tuple[float, float]]
Std = Callable[[float, float], float]  # (fan_in, fan_out) -> standard deviation of an entry

WEIGHTS = (2, 5)  # dimensions of Linear and Conv weights: a bias has no fan
# Standard deviation of N(0, 1) cut to (-2, 2).
TRUNCATED_STD = 0.87962566103423978
LISTED = 3  # layers that a notice names


def torch_fans(layer: Layer) -> tuple[float, float]:
    """Return (fan_in, fan_out) of a layer's weight as `torch.nn.init._calculate_fan_in_and_fan_out` counts them."""
    field = math.prod(layer.shape[2:])
    return layer.shape[1] * field, layer.shape[0] * field


def group_fans(layer: Layer) -> tuple[float, float]:
    """Return (fan_in, fan_out) of one group, in the direction of the signal, whatever the stride."""
    return layer.fan_in, layer.fan_out


def effective_fans(layer: Layer) -> tuple[float, float]:
    """Return how many inputs reach an output, and how many outputs an input reaches, on average and without padding."""
    fan_in, fan_out = layer.fan_in, layer.fan_out
    return (fan_in / layer.stride, fan_out) if layer.transposed else (fan_in, fan_out / layer.stride)


def by_fans(
    std: Std, distribution: Distribution, fans: Fans | Count = "torch", call: Callable[..., object] | None = None
) -> Rule:
    """Return the rule that draws with standard deviation std(fan_in, fan_out).

    Args:
        std: in float64.
        distribution: a truncated normal is cut at two sigma, with the sigma that gives it this standard deviation.
        fans: how they are counted; with a function of its own, from the layer.
        call: of torch.nn.init, as call(tensor, generator=…); for tensors whose effective fans are torch's.
    """
    count = {"torch": torch_fans, "effective": effective_fans}[fans] if isinstance(fans, str) else fans

    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        if call is not None and count(layer) == torch_fans(layer):
            call(tensor, generator=generator)
        elif tensor.numel():
            draw(tensor, std(*count(layer)), distribution, generator)

    return Rule(
        fill,
        dimensions=WEIGHTS,
        variance=lambda layer: std(*count(layer)) ** 2,
        effective=None if fans == "effective" else lambda layer: std(*effective_fans(layer)) ** 2,
        whole=fans == "torch",
        revised=once_if_packed if fans == "torch" else lambda _layer: 0,
    )


def draw(tensor: Tensor, std: float, distribution: Distribution, generator: torch.Generator) -> None:
    """Fill a tensor with mean 0 and standard deviation `std`."""
    match distribution:
        case "truncated_normal":
            sigma = std / TRUNCATED_STD
            nn.init.trunc_normal_(tensor, 0.0, sigma, -2 * sigma, 2 * sigma, generator=generator)
        case "normal":
            nn.init.normal_(tensor, 0.0, std, generator=generator)
        case "uniform":
            bound = math.sqrt(3) * std
            nn.init.uniform_(tensor, -bound, bound, generator=generator)


def once_if_packed(layer: Layer) -> int:
    """Return 1 where a weight was once filled group by group, in the direction of the signal, and now as it is held."""
    return int(layer.packed)


def fans_notice(scheme: str, filled: Sequence[tuple[Layer, Rule]]) -> str:
    """Return which layers have other fans than a scheme counts, and by what factor; an empty text if none has."""
    factors = {
        layer.name: rule.variance(layer) / rule.effective(layer)
        for layer, rule in filled
        if rule.effective is not None and rule.variance is not None and rule.effective(layer)
    }
    off = [f"'{name}' by {factor:.3g}" for name, factor in factors.items() if not math.isclose(factor, 1, rel_tol=1e-6)]
    more = f" and {len(off) - LISTED} more" if len(off) > LISTED else ""
    if not off:
        return ""
    return (
        f"{scheme} counts other fans than the signal meets (groups, transposition, stride): compared with "
        f"fans='effective', E[z²] and E[(∂x)²] are multiplied in {', '.join(off[:LISTED])}{more}."
    )
