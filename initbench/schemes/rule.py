"""The kinds of schemes: rules (fill a tensor), presets (a layer), procedures (a whole model); and their registry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from initbench.core.registry import Registry
from initbench.networks.layers import Layer

Fill = Callable[[Tensor, Layer, torch.Generator], object]
Law = Callable[[Layer], float]


@dataclass(frozen=True)
class Rule:
    """How one tensor is filled.

    `fill(tensor, layer, generator)` works in place on a contiguous CPU tensor: a weight block (out, in, *kernel) of one
    group or a bias (out,). A `whole` rule gets the weight as the module holds it (`Layer.shape`), as torch.nn.init
    does. `dimensions` are the fewest and most that it fits. `mean` and `variance(layer)` describe one entry; `variance`
    is None if entries do not share one distribution (a partial identity), and nan for layers where they do not (a
    kernel of which only the centre is drawn). `effective` is the variance that the rule would have with the fans that
    the signal meets, None if it reads no fans or has it already.

    A `deterministic` rule draws nothing: every seed gives the same values. A `degenerate` one may by design have
    rows that are zero, equal or opposite, and so redundant units. A `joint` rule fills a bias together with its layer's
    weight: its generator starts in the same state as the weight's, so it can repeat the weight's draws.

    `revised(layer)` counts how often the values that the rule gives a layer have changed since the first release: a
    trial's id holds the highest count of its layers, if it is not 0.
    """

    fill: Fill
    dimensions: tuple[int, int] = (1, 5)
    mean: float = 0.0
    variance: Law | None = None
    effective: Law | None = None
    whole: bool = False
    deterministic: bool = False
    degenerate: bool = False
    joint: bool = False
    revised: Callable[[Layer], int] = lambda _layer: 0

    def fits(self, tensor_dimensions: int) -> bool:
        """Return whether a tensor with this number of dimensions can be filled."""
        return self.dimensions[0] <= tensor_dimensions <= self.dimensions[1]


@dataclass(frozen=True)
class Preset:
    """Rules for the weight and the bias of a layer; without one for the bias it is filled as by a `Rule` for weights.

    If `branches`, the preset is an error on a model that declares no residual branch.
    """

    weight: Callable[[Layer], Rule]
    bias: Callable[[Layer], Rule] | None = None
    branches: bool = False


@dataclass(frozen=True)
class Sample:
    """Training data for an initialization: `inputs` of the model, (n, …) each, and `labels` (n,)."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None


@dataclass(frozen=True)
class Passes:
    """The cost of an initialization: the number of images passed forward, and of those also passed backward."""

    forward: int = 0
    backward: int = 0


NO_PASSES = Passes()
Adjust = Callable[[nn.Module, Sequence[Layer], Sample, torch.Generator], Passes]


@dataclass(frozen=True)
class Applied:
    """A function (module) as `model.apply` takes it: it draws from torch's global generator, keyed for each module.

    The key of a module is that of its weight, so that what fills the weight first draws what a rule would.
    """

    function: Callable[[nn.Module], object]


@dataclass(frozen=True)
class Procedure:
    """A scheme of a whole model: a first fill, then an adjustment that may use training data.

    `base` fills first. `adjust(model, layers, sample, generator)` then changes the model in place: a float32 copy on
    the CPU, on one thread; only the values of parameters are copied back, not its mode, buffers and hooks. `layers` are
    those that the procedure may change, in forward order: a layer with a part of its own in the scheme's text is not
    among them. `needs` is what it uses of the sample. If it sets the `scales` of residual branches, those are copied
    back too, and a model without them is an error; if `whole`, every trainable parameter without a part of its own is
    copied back. An adjustment that is `Applied` is one of each module.
    """

    base: Rule | Preset
    adjust: Adjust | Applied
    needs: Literal["nothing", "inputs", "labels"] = "inputs"
    scales: bool = False
    whole: bool = False


Filler = Rule | Preset | Procedure  # what the factory of a scheme returns


SCHEMES: Registry[Filler] = Registry("scheme")


def centre_tap(block: Tensor) -> Tensor:
    """Return the centre of a block's kernel as a view (out, in): index k//2 of each axis, for even k as in `dirac_`."""
    for size in block.shape[2:]:
        block = block.select(2, size // 2)
    return block


def where_it_fits(rule: Rule) -> str:
    """Return which layers' weights a rule fits, for lists and messages."""
    linear, conv = rule.fits(2), rule.fits(4)
    return "Linear and Conv" if linear and conv else "Linear only" if linear else "Conv only" if conv else "no layer"
