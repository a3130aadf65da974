"""Schemes for residual networks without normalization, whose branches start at 0; and any scheme times a factor.

A model declares its residual branches (`initbench.networks.layers.weighted_layers`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, FiniteFloat
from torch import Tensor, nn

from initbench.errors import UsageError
from initbench.networks.layers import Layer, branch_scales, weighted_layers
from initbench.networks.wrappers import parameters_of
from initbench.schemes.presets import torch_default
from initbench.schemes.rule import NO_PASSES, SCHEMES, Law, Passes, Preset, Procedure, Rule, Sample
from initbench.schemes.torch_init import Mode, kaiming_normal, zeros


@SCHEMES.register()
def fixup(mode: Mode = "fan_in", stem: Literal["kaiming_normal", "torch_default"] = "kaiming_normal") -> Preset:
    """Draw kaiming_normal, times L^(-1/(2m-2)) in the L residual branches; zero their last layers and the head (Fixup).

    Zhang et al. 2019; m is the number of layers in a branch. Layers outside branches, shortcuts included, are
    kaiming_normal; biases are zero. At step 0 a branch adds exactly 0 and the logits are 0. Fixup's multiplier of each
    branch is resnet(branch_scale=True); its scalar biases before every layer and activation are omitted: the biases of
    the layers, one per unit, are trained instead.

    The authors' program draws with fan_out, and leaves the first layer as PyTorch fills it:
    fixup(mode='fan_out', stem='torch_default').
    """
    he = kaiming_normal(mode=mode)

    def weight(layer: Layer) -> Rule:
        branch = layer.branch
        if layer.head or (branch is not None and branch.last):
            return zeros()
        if branch is not None:
            return _times(he, branch.count ** (-1 / (2 * branch.layers - 2)))
        return torch_default().weight(layer) if layer.first and stem == "torch_default" else he

    return Preset(weight, bias=lambda _layer: zeros(), branches=True)


@SCHEMES.register("rezero")
def skipinit() -> Procedure:
    """Draw kaiming_normal and multiply each residual branch by a learned scale that starts at 0 (SkipInit, ReZero).

    De & Smith 2020 and Bachlechner et al. 2020, who draw the other weights as usual. Another part of the text changes
    what is drawn: "skipinit; conv=orthogonal". Only models with such scales can be filled: resnet(branch_scale=True).
    """
    return Procedure(base=kaiming_normal(), adjust=_close_branches, needs="nothing", scales=True)


def _resolved(text: str) -> str:
    return str(SCHEMES.resolve(text))


@SCHEMES.register()
def scaled(base: Annotated[str, AfterValidator(_resolved)], factor: FiniteFloat) -> Rule | Preset:
    """Fill as the scheme `base` does and multiply by `factor`: head=scaled('kaiming_uniform', 0.1) damps the logits."""
    filler = SCHEMES.build(base)
    if isinstance(filler, Procedure):
        raise UsageError(
            f"'{base}' fills a whole model and cannot be scaled: scale a scheme that fills layer by layer."
        )
    if isinstance(filler, Rule):
        return _times(filler, factor)
    weight, bias = filler.weight, filler.bias
    return replace(
        filler,
        weight=lambda layer: _times(weight(layer), factor),
        bias=None if bias is None else lambda layer: _times(bias(layer), factor),
    )


def _close_branches(model: nn.Module, _layers: Sequence[Layer], _sample: Sample, _generator: torch.Generator) -> Passes:
    parameters = parameters_of(model, aliases=True)
    # All layers, also those with another part in the scheme's text: parts apply to weights, not to scales.
    for name in branch_scales(weighted_layers(model)):
        nn.init.zeros_(parameters[name])
    return NO_PASSES


def _times(rule: Rule, factor: float) -> Rule:
    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        rule.fill(tensor, layer, generator)
        tensor.mul_(factor)

    def times(law: Law | None) -> Law | None:
        return None if law is None else lambda layer: factor**2 * law(layer)

    return replace(
        rule,
        fill=fill,
        mean=factor * rule.mean,
        variance=times(rule.variance),
        effective=times(rule.effective),
        deterministic=rule.deterministic or factor == 0,
        degenerate=rule.degenerate or factor == 0,
    )
