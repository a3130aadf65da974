"""Orthogonal convolutions: the map is orthogonal, whereas in `orthogonal` the kernel flattened to a matrix is.

A kernel that is zero except at its centre acts on each pixel alone. So the map is as orthogonal as the matrix in the
centre, also at the zero-padded border of an image, where any other convolution loses signal.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from initbench.networks.layers import Layer
from initbench.schemes.fans import WEIGHTS
from initbench.schemes.rule import SCHEMES, Rule, centre_tap
from initbench.schemes.torch_init import Gain, gain_of


@SCHEMES.register()
def delta_orthogonal(gain: Gain = 1.0) -> Rule:
    """Fill the centre of a kernel with gain times a (semi-)orthogonal matrix and the rest with 0 (Xiao et al. 2018).

    Where out >= in the columns are orthonormal, and the norm of every input is multiplied by gain. Where out < in,
    which the paper omits, no matrix preserves every norm: the rows are orthonormal, so inputs outside their span are
    lost, and the mean square per unit is preserved on average. On Linear layers it equals `orthogonal`.

    For tanh and linear convolutions without normalization, very deep ones too; gain='relu' is for ReLU.
    """
    factor = gain_of(gain)
    return _centred(lambda _outputs, _inputs: factor)


@SCHEMES.register()
def scaled_orthogonal(gain: Gain = 1.0) -> Rule:
    """Fill as delta_orthogonal, times max(√(out/in), 1), so that wider layers do not shrink the signal (Martens 2021).

    The scaled uniform orthogonal (SUO) weights of deep kernel shaping: the mean square per unit is multiplied by gain²
    for every input where out >= in, and on average where out < in.

    For activations that deep kernel shaping has transformed to preserve the mean square; otherwise choose the gain as
    for `orthogonal`: 'relu' for ReLU.
    """
    factor = gain_of(gain)
    return _centred(lambda outputs, inputs: factor * max(math.sqrt(outputs / inputs), 1.0) if inputs else factor)


def _centred(scale: Callable[[int, int], float]) -> Rule:
    """Put scale(out, in) times a (semi-)orthogonal matrix in a kernel's centre; a Linear weight is all centre."""

    def fill(tensor: Tensor, _layer: Layer, generator: torch.Generator) -> None:
        tensor.zero_()
        nn.init.orthogonal_(centre_tap(tensor), scale(*tensor.shape[:2]), generator=generator)

    def variance(layer: Layer) -> float:
        # min(out, in) unit rows or columns share out·in entries; with zeros around them entries are not alike.
        outputs, inputs, *kernel = layer.block
        return scale(outputs, inputs) ** 2 / max(outputs, inputs) if math.prod(kernel) == 1 else math.nan

    return Rule(fill, dimensions=WEIGHTS, variance=variance)
