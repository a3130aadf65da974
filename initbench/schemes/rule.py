"""What a scheme is made of: rules (one tensor), presets (a layer), procedures (a whole model); their registry."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from initbench.core.registry import Registry
from initbench.networks.layers import Layer

Fill = Callable[[Tensor, Layer, torch.Generator], object]
Shape = Sequence[int]


@dataclass(frozen=True)
class Rule:
    """How one tensor is filled.

    `fill(tensor, layer, generator)` works in place on a contiguous CPU tensor: a weight block (out, in, *kernel) or a
    bias (out,). `dimensions` are the least and most that it fits. `mean` and `variance(shape)` are the law of an entry;
    `variance` is None where entries are not draws of one law (a partial identity, say), and nan for the shapes where
    they are not (a kernel of which only the centre is drawn).

    A `deterministic` rule draws nothing: every seed gives the same values. A `degenerate` one may by design hold rows
    that are zero, equal or opposite, so units that say nothing of their own. A `joint` rule fills a bias together with
    its layer's weight: its generator starts where the weight's did, so it can draw again what the weight drew.
    """

    fill: Fill
    dimensions: tuple[int, int] = (1, 5)
    mean: float = 0.0
    variance: Callable[[Shape], float] | None = None
    deterministic: bool = False
    degenerate: bool = False
    joint: bool = False

    def fits(self, tensor_dimensions: int) -> bool:
        """Say whether a tensor of so many dimensions can be filled."""
        return self.dimensions[0] <= tensor_dimensions <= self.dimensions[1]


@dataclass(frozen=True)
class Preset:
    """What a framework does to a whole layer: its weight and its bias.

    One that is about `branches` is refused where a model declares no residual branch.
    """

    weight: Callable[[Layer], Rule]
    bias: Callable[[Layer], Rule]
    branches: bool = False


@dataclass(frozen=True)
class Sample:
    """Training data that an initialization may look at: `inputs` of the model, (n, …) each, and `labels` (n,)."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None


@dataclass(frozen=True)
class Passes:
    """What an initialization cost: how many images went forward, and how many of them backward too."""

    forward: int = 0
    backward: int = 0


NO_PASSES = Passes()
Adjust = Callable[[nn.Module, Sequence[Layer], Sample, torch.Generator], Passes]


@dataclass(frozen=True)
class Procedure:
    """A scheme of a whole model: a first fill, then an adjustment that may look at training data.

    `base` fills first. `adjust(model, layers, sample, generator)` then changes the model in place: a float32 copy on
    the CPU, on one thread, whose mode, buffers and hooks are nobody's; only the values of parameters are taken back.
    `layers` are those that the procedure may touch, in forward order: a layer with a part of its own in the scheme's
    text is not among them. `needs` says what of the sample it reads. Of one that sets the `scales` of residual branches
    those are taken back too, and a model that has none is refused; of a `whole` one, every trainable parameter is that
    has no part of its own.
    """

    base: Rule | Preset
    adjust: Adjust
    needs: Literal["nothing", "inputs", "labels"] = "inputs"
    scales: bool = False
    whole: bool = False


Maker = Rule | Preset | Procedure


SCHEMES: Registry[Maker] = Registry("scheme")


def fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a block (out, in, *kernel)."""
    receptive_field = math.prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def centre_tap(block: Tensor) -> Tensor:
    """Return the middle of a block's kernel as a view (out, in): place k//2 of each axis, for even k as in `dirac_`."""
    for size in block.shape[2:]:
        block = block.select(2, size // 2)
    return block


def where_it_fits(rule: Rule) -> str:
    """Name the layers whose weights a rule fits, for lists and messages."""
    linear, conv = rule.fits(2), rule.fits(4)
    return "Linear and Conv" if linear and conv else "Linear only" if linear else "Conv only" if conv else "no layer"
