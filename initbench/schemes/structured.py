"""Structured weights: identities, Hadamard matrices, sine waves and mirrored blocks; most are deterministic."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.schemes.fans import WEIGHTS
from initbench.schemes.rule import SCHEMES, Fill, Preset, Rule, centre_tap
from initbench.schemes.torch_init import zeros


@SCHEMES.register()
def partial_identity() -> Rule:
    """Copy as many inputs as fit, on Linear layers as `eye` and on convolutions as `dirac`; fill the rest with 0.

    For linear layers and ReLU, which passes nonnegative values unchanged. Zhao et al. 2022 (ZerO) show its flaw: after
    a layer that widens, training changes weights in no more directions than there are inputs.
    """
    return _fixed(lambda tensor, _layer, _generator: _copy_inputs(tensor))


@SCHEMES.register()
def zero_hadamard() -> Rule:
    """Copy inputs where out <= in, else mix them by a Hadamard matrix of size 2^c, times 2^(-c/2) (ZerO, Zhao 2022).

    W = 2^(-c/2)·I·H·I for c = ⌈log₂ out⌉, so the first `in` columns of Sylvester's H cut to `out` rows; kernels are
    filled in the centre. The published code scales this way; the paper's algorithm, with m for c, has 2^(-(m-1)/2). The
    mean square of white inputs is multiplied by in/2^c. Where out exceeds the least power of two >= in, rows repeat.

    For ReLU, in residual and in plain networks.
    """

    def fill(tensor: Tensor, _layer: Layer, _generator: torch.Generator) -> None:
        outputs, inputs = tensor.shape[:2]
        if outputs <= inputs:
            _copy_inputs(tensor)
            return
        power = (outputs - 1).bit_length()
        tensor.zero_()
        centre_tap(tensor).copy_(_hadamard(outputs, inputs) * 2 ** (-power / 2))

    return _fixed(fill)


@SCHEMES.register()
def idinit() -> Rule:
    """Copy inputs repeatedly until every output has one: W[i, j] = 1 where i ≡ j mod fan_in (IDInit, Pan 2025).

    Kernels are flattened to (out, fan_in), so the outputs of a convolution copy the places of a patch, channel by
    channel. This is the main-stem rule with τ = 1; the last layer of a residual branch has ε = 10⁻⁶ for τ, so that the
    branch is almost 0. The paper's small noise on the identity is omitted.

    For ReLU, in residual and in plain networks.
    """

    def fill(tensor: Tensor, layer: Layer, _generator: torch.Generator) -> None:
        flat = tensor.flatten(1)
        outputs, inputs = flat.shape
        offsets = torch.arange(outputs)[:, None] - torch.arange(inputs)
        flat.copy_(offsets % max(inputs, 1) == 0)
        if _closes_branch(layer):
            flat.mul_(1e-6)

    return _fixed(fill)


@SCHEMES.register()
def sinusoidal() -> Rule:
    """Fill row i with A·sin(2πi·(j/fan_in + 1/out)), i from 1, j from 0, with A for Var = 2/fan_in (NeurIPS 2025).

    "Sinusoidal Initialization, Time for a New Start"; kernels are flattened to (out, fan_in). Rows i and fan_in - i of
    a square layer are opposite, and zero where i is fan_in or half of it: 256 → 256 has rank 127. In 256 → 512, 508
    rows equal another and the rank is 128. A layer of at most two inputs and two outputs is zero.

    For ReLU, by its variance (He et al. 2015); the paper (Fernández-Hernández et al. 2025, arXiv:2505.12909) also tests
    other activations.
    """

    def fill(tensor: Tensor, _layer: Layer, _generator: torch.Generator) -> None:
        flat = tensor.flatten(1)
        waves = _waves(*flat.shape)
        std = float(waves.std(correction=0)) if waves.numel() else 0.0
        flat.copy_(waves * (math.sqrt(2 / flat.shape[1]) / std) if std else waves)

    return _fixed(fill)


@SCHEMES.register()
def looks_linear() -> Preset:
    """Mirror orthogonal blocks, [[W, -W], [-W, W]], so that a ReLU network starts as a linear map (Balduzzi 2017).

    relu(z) - relu(-z) = z: the first layer, [W; -W], outputs each z with both signs; later layers take the difference
    and output it with both signs again; the head, [W, -W], only takes the difference. W is (semi-)orthogonal, kernels
    flattened as in `orthogonal`. A unit without a partner keeps its row, and the next layer gives it weight 0: still
    linear, and it can learn. The network is linear across convolutions and mean-pooling, but not across max-pooling,
    between layers with different numbers of groups, or where an odd number of channels is flattened.

    The paper has no residual networks. In a branch that a block declares the last layer is 0, since a ReLU after a sum
    is linear only where the branch adds nothing or both terms are mirrored; what is not declared is not seen.

    Only for ReLU and leaky ReLU, which are linear on either side of 0.
    """

    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        outputs, inputs, *kernel = tensor.shape
        if inputs == 1 and not layer.first:
            raise UsageError(
                f"looks_linear does not fit the layer '{layer.name}': its units have one input each, which cannot be "
                "mirrored."
            )
        offered, taken = (outputs if layer.head else -(-outputs // 2)), (inputs if layer.first else inputs // 2)
        block = tensor.new_empty(offered, taken, *kernel)
        nn.init.orthogonal_(block, generator=generator)
        if not layer.first:
            block = torch.cat([block, -block, block.new_zeros(offered, inputs % 2, *kernel)], dim=1)
        if not layer.head:
            pairs = outputs // 2
            block = torch.cat([block[:pairs], -block[:pairs], block[pairs:]])
        tensor.copy_(block)

    mirrored = Rule(fill, dimensions=WEIGHTS, degenerate=True)
    closed = replace(zeros(), revised=lambda _layer: 1)
    return Preset(weight=lambda layer: closed if _closes_branch(layer) else mirrored)


def _closes_branch(layer: Layer) -> bool:
    return layer.branch is not None and layer.branch.last


def _fixed(fill: Fill) -> Rule:
    return Rule(fill, dimensions=WEIGHTS, deterministic=True, degenerate=True)


def _copy_inputs(tensor: Tensor) -> None:
    if tensor.dim() == 2:
        nn.init.eye_(tensor)
    else:
        nn.init.dirac_(tensor)


def _hadamard(rows: int, columns: int) -> Tensor:
    """Return the upper left corner of Sylvester's matrix, H = [[H, H], [H, -H]]."""
    block = torch.ones(1, 1)
    while len(block) < rows:
        block = torch.cat([torch.cat([block, block], dim=1), torch.cat([block, -block], dim=1)])[:, :columns]
    return block[:rows, :columns]


def _waves(outputs: int, inputs: int) -> Tensor:
    """Return sin(2πi·(j/inputs + 1/outputs)), (outputs, inputs) in float64.

    The angle is an integer fraction of a turn, reduced to ±half a turn, so that zeros are exactly 0 and opposite
    rows exactly opposite.
    """
    turn = outputs * inputs
    rows = torch.arange(1, outputs + 1)[:, None]
    steps = rows * (torch.arange(inputs) * outputs + inputs) % max(turn, 1)
    steps = torch.where(2 * steps > turn, steps - turn, steps)
    return torch.where(2 * steps == turn, 0.0, (steps.double() * (2 * math.pi / max(turn, 1))).sin())
