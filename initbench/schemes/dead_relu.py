"""Weights that keep ReLU units active."""

import math

import torch
from torch import Tensor

from initbench.networks.layers import Layer
from initbench.schemes.fans import WEIGHTS
from initbench.schemes.rule import SCHEMES, Fill, Preset, Rule

SPREAD = 0.6007  # σ·√fan_in of the symmetric entries; its square is 0.36
BETA_MEAN, BETA_MOMENT = 2 / 3, 1 / 2  # E[x] and E[x²] of Beta(2, 1)


@SCHEMES.register()
def randomized_asymmetric() -> Preset:
    """Draw one weight or bias per unit from Beta(2, 1), the rest from N(0, 0.36/fan_in), against dead ReLUs (Lu 2019).

    Its place is drawn uniformly from the fan_in + 1 places (fan_in without bias): a unit whose bias is drawn from Beta
    has no Beta weight. So weight and bias come from one draw, shared by the two rules (`Rule.joint`).

    For ReLU, mainly in deep and narrow networks. "Dying ReLU and Initialization".
    """
    return Preset(weight=_weight, bias=_bias)


def _weight(layer: Layer) -> Rule:
    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        tensor.copy_(_units(layer, tensor.dtype, generator)[:, : layer.fan_in].view_as(tensor))

    return _entry_of(layer, fill, WEIGHTS)


def _bias(layer: Layer) -> Rule:
    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        # Group by group, as the weight was drawn.
        tensor.copy_(torch.cat([_units(layer, tensor.dtype, generator)[:, -1] for _ in range(layer.groups)]))

    return _entry_of(layer, fill, (1, 1))


def _units(layer: Layer, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Draw the units of one group: each row has the weights of a unit, then its bias if the layer has one."""
    outputs, places = layer.block[0], _places(layer)
    # The square root of a uniform number is Beta(2, 1); taken from 1 - rand it is never 0.
    asymmetric = (1 - torch.rand(outputs, 1, dtype=dtype, generator=generator)).sqrt()
    chosen = torch.randint(max(places, 1), (outputs, 1), generator=generator)
    units = torch.empty(outputs, places, dtype=dtype)
    units.normal_(0.0, SPREAD / math.sqrt(max(layer.fan_in, 1)), generator=generator)
    return units.scatter_(1, chosen, asymmetric) if places else units


def _entry_of(layer: Layer, fill: Fill, dimensions: tuple[int, int]) -> Rule:
    """Return the rule with the distribution of one entry: Beta(2, 1) with probability 1/places, else normal."""
    share = 1 / max(_places(layer), 1)
    mean = share * BETA_MEAN
    moment = share * BETA_MOMENT + (1 - share) * SPREAD**2 / max(layer.fan_in, 1)

    def variance(_layer: Layer) -> float:
        return moment - mean**2

    return Rule(fill, dimensions, mean=mean, variance=variance, joint=True)


def _places(layer: Layer) -> int:
    return layer.fan_in + (layer.bias is not None)
