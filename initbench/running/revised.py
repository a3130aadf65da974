"""Trials whose weights changed when execution, not registration, came to decide what a model is: their ids differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from initbench.core import usercode
from initbench.core.randomness import derive, isolated
from initbench.datasets import Dataset
from initbench.networks.layers import Layer, weighted_layers
from initbench.networks.models import MODELS, layers_in_order
from initbench.networks.wrappers import parameters_of
from initbench.schemes import Assignment, assign, draw, parse_scheme


def revised_by_execution(model: str, scheme: str, dataset: Dataset) -> bool:
    """Return whether a scheme gave a model other weights while the layer registered first was `first`, the last `head`.

    A tensor's name then also held the prefix of a wrapper. Built-in models have neither difference.
    """
    if not usercode.code_hashes((model,), MODELS.group):
        return False
    with isolated(derive(0, "build")):
        built = MODELS.build(model, dataset.shape, dataset.classes)
    by_id = {id(parameter): name for name, parameter in built.named_parameters()}
    names = {name: by_id[id(parameter)] for name, parameter in parameters_of(built, aliases=True).items()}
    before, now = weighted_layers(built), layers_in_order(model, built, dataset.shape)
    if _places(before) == _places(now) and all(name == names[name] for name in _tensors(now)):
        return False
    parsed = parse_scheme(scheme)
    old, new = _drawn(assign(parsed, before), names), _drawn(assign(parsed, now), {})
    return not all(name in old and torch.equal(old[name], values) for name, values in new.items())


def _places(layers: Sequence[Layer]) -> set[tuple[str, bool, bool, str]]:
    return {(layer.weight, layer.first, layer.head, layer.nonlinearity) for layer in layers}


def _tensors(layers: Sequence[Layer]) -> list[str]:
    return [name for layer in layers for name in (layer.weight, layer.bias) if name]


def _drawn(assignments: Sequence[Assignment], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Draw every tensor under the names of `names`; return the values by today's name."""
    drawn = {}
    for item in assignments:
        layer = replace(item.layer, weight=names.get(item.layer.weight, item.layer.weight))
        layer = replace(layer, bias=names.get(layer.bias, layer.bias) if layer.bias else None)
        shape = layer.block[:1] if item.is_bias else layer.block
        named = replace(item, parameter=names.get(item.parameter, item.parameter), layer=layer)
        drawn[item.parameter] = draw(named, torch.empty(shape), 0)
    return drawn
