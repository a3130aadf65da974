"""Presets: the default initialization of frameworks, for weights and biases."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from initbench.networks.layers import Layer
from initbench.schemes.fans import by_fans, group_fans, once_if_packed, torch_fans
from initbench.schemes.rule import SCHEMES, Preset, Rule
from initbench.schemes.torch_init import (
    kaiming_normal,
    kaiming_std,
    kaiming_uniform,
    trunc_normal,
    xavier_uniform,
    zeros,
)


@SCHEMES.register("default")
def torch_default() -> Preset:
    """Fill as PyTorch does by default: weights and biases U(±1/√fan_in), of variance 1/(3·fan_in).

    Linear.reset_parameters and _ConvNd.reset_parameters: kaiming_uniform_(a=√5), and biases set directly. torch counts
    the fan_in of a transposed convolution from its outputs.

    It suits no particular activation: after ReLU each layer divides the mean square by six, until only the biases
    contribute.
    """
    return Preset(weight=_torch_weight, bias=_torch_bias)


@SCHEMES.register()
def keras_default() -> Preset:
    """Fill as Keras does by default: xavier_uniform weights (Keras: glorot_uniform), zero biases.

    Dense, Conv1D to Conv3D with groups, their transposes, and DepthwiseConv1D and 2D of Keras 3, which read the fans
    from the shape of their kernels: those of a depthwise one, (*kernel, in, out/in), are |kernel|·in and
    |kernel|·out/in. So a 1-D or 2-D convolution with one input per group is filled as depthwise. Glorot & Bengio 2010.
    For tanh: after ReLU every square layer halves the mean square.
    """
    return Preset(weight=_keras_weight, bias=lambda _layer: zeros())


@SCHEMES.register()
def flax_default() -> Preset:
    """Fill as Flax does by default: lecun_normal weights, zero biases.

    Dense, Conv and ConvTranspose of flax.linen, whose fan_in is that of one group in the direction of the signal;
    LeCun et al. 1998. For SELU, tanh and linear layers: after ReLU every layer halves the mean square.
    """
    weight = by_fans(lambda fan_in, _fan_out: math.sqrt(1 / fan_in), "truncated_normal", group_fans)
    return Preset(weight=lambda _layer: weight, bias=lambda _layer: zeros())


@SCHEMES.register()
def torchvision_resnet() -> Preset:
    """Fill as torchvision's ResNets do: Conv kaiming_normal(mode='fan_out'), everything else as torch_default.

    torchvision.models.resnet.ResNet.__init__, whose fan_out counts all groups of a ResNeXt's convolution; its
    convolutions have no bias; any other bias is filled as by torch_default.

    For ReLU with batch normalization: 'fan_out' preserves the mean square of gradients, and normalization that of
    signals (He et al. 2015).
    """
    conv = kaiming_normal(mode="fan_out", nonlinearity="relu")
    return Preset(weight=lambda layer: conv if layer.kind == "conv" else _torch_weight(layer), bias=_torch_bias)


@SCHEMES.register()
def timm_goog() -> Preset:
    """Fill as timm's EfficientNets do: Conv N(0, 2/fan_out), Linear U(±1/√fan_out), zero biases.

    timm.models._efficientnet_builder._init_weight_goog; a grouped convolution's fan_out is that of one group.

    For SiLU and ReLU with batch normalization, which restores the scale of signals.
    """
    conv = by_fans(kaiming_std(mode="fan_out"), "normal", group_fans)
    linear = by_fans(kaiming_std(math.sqrt(5), "fan_out"), "uniform", group_fans)
    return Preset(weight=lambda layer: conv if layer.kind == "conv" else linear, bias=lambda _layer: zeros())


@SCHEMES.register()
def vit_002() -> Preset:
    """Fill every layer as Vision Transformers fill Linear layers: trunc_normal(std=0.02) weights, zero biases.

    timm's init_weights_vit_timm and Hugging Face's ViTPreTrainedModel, which fills the patch embedding so as well; in
    timm that convolution keeps PyTorch's default ("vit_002; conv=torch_default", and in timm its bias too). The cut at
    ±2 is at a hundred standard deviations: N(0, 0.02²) in effect.

    For GELU with layer normalization and residual branches, which restore the scale of signals.
    """
    return Preset(weight=lambda _layer: trunc_normal(std=0.02), bias=lambda _layer: zeros())


def _torch_weight(_layer: Layer) -> Rule:
    return kaiming_uniform(a=math.sqrt(5))


def _keras_weight(layer: Layer) -> Rule:
    # Keras has no DepthwiseConv3D; in 3-D such a layer is a Conv3D with groups.
    if layer.groups == 1 or layer.block[1] != 1 or layer.transposed or len(layer.block) > 4:
        return xavier_uniform()
    depthwise = by_fans(
        lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
        "uniform",
        lambda layer: (layer.groups * layer.fan_in, layer.fan_out),
    )
    return replace(depthwise, revised=once_if_packed)


def _torch_bias(layer: Layer) -> Rule:
    fan_in, _ = torch_fans(layer)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0

    def fill(tensor: Tensor, _layer: Layer, generator: torch.Generator) -> None:
        nn.init.uniform_(tensor, -bound, bound, generator=generator)

    return Rule(fill, variance=lambda _layer: bound**2 / 3)
