"""Presets: the default initialization of frameworks, for weights and biases."""

import math

import torch
from torch import Tensor, nn

from initbench.networks.layers import Layer
from initbench.schemes.rule import SCHEMES, Preset, Rule
from initbench.schemes.scaling import lecun_normal
from initbench.schemes.torch_init import kaiming_normal, kaiming_uniform, trunc_normal, xavier_uniform, zeros


@SCHEMES.register()
def torch_default() -> Preset:
    """Fill as PyTorch does by default: weights and biases U(±1/√fan_in), of variance 1/(3·fan_in).

    Linear.reset_parameters and _ConvNd.reset_parameters: kaiming_uniform_(a=√5), and biases set directly.

    It suits no particular activation: after ReLU each layer divides the mean square by six, until only the biases
    contribute.
    """
    return Preset(weight=_torch_weight, bias=_torch_bias)


@SCHEMES.register()
def keras_default() -> Preset:
    """Fill as Keras does by default: xavier_uniform weights (Keras: glorot_uniform), zero biases.

    Dense and Conv2D of Keras 3; Glorot & Bengio 2010. For tanh: after ReLU every square layer halves the mean
    square.
    """
    return Preset(weight=lambda _layer: xavier_uniform(), bias=lambda _layer: zeros())


@SCHEMES.register()
def flax_default() -> Preset:
    """Fill as Flax does by default: lecun_normal weights, zero biases.

    Dense and Conv of flax.linen; LeCun et al. 1998. For SELU, tanh and linear layers: after ReLU every layer halves
    the mean square.
    """
    return Preset(weight=lambda _layer: lecun_normal(), bias=lambda _layer: zeros())


@SCHEMES.register()
def torchvision_resnet() -> Preset:
    """Fill as torchvision's ResNets do: Conv kaiming_normal(mode='fan_out'), everything else as torch_default.

    torchvision.models.resnet.ResNet.__init__; its convolutions have no bias; any other bias is filled as by
    torch_default.

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
    conv, linear = kaiming_normal(mode="fan_out"), kaiming_uniform(a=math.sqrt(5), mode="fan_out")
    return Preset(weight=lambda layer: conv if layer.kind == "conv" else linear, bias=lambda _layer: zeros())


@SCHEMES.register()
def vit_002() -> Preset:
    """Fill every layer as Vision Transformers fill Linear layers: trunc_normal(std=0.02) weights, zero biases.

    timm's init_weights_vit_timm. The cut at ±2 is at a hundred standard deviations: N(0, 0.02²) in effect.

    For GELU with layer normalization and residual branches, which restore the scale of signals.
    """
    return Preset(weight=lambda _layer: trunc_normal(std=0.02), bias=lambda _layer: zeros())


def _torch_weight(layer: Layer) -> Rule:
    # torch takes fan_in from dimension 1 of the weight, which for a transposed convolution holds outputs.
    return kaiming_uniform(a=math.sqrt(5), mode="fan_out" if layer.transposed else "fan_in")


def _torch_bias(layer: Layer) -> Rule:
    fan_in = layer.fan_out if layer.transposed else layer.fan_in
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0

    def fill(tensor: Tensor, _layer: Layer, generator: torch.Generator) -> None:
        nn.init.uniform_(tensor, -bound, bound, generator=generator)

    return Rule(fill, variance=lambda _shape: bound**2 / 3)
