"""Schemes that set weights from the outputs of layers on a sample of training data."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from initbench.networks.layers import Layer
from initbench.schemes.procedures import (
    Base,
    Call,
    filling,
    layer_weights,
    named,
    prepared,
    require_tensor,
    spread,
    visit,
    warn,
)
from initbench.schemes.rule import SCHEMES, Passes, Procedure, Sample

Tolerance = Annotated[float, Field(gt=0, lt=1)]

MOST_RESCALES = 30  # per layer, in lsuv
MOST_BALANCINGS = 10  # as in the paper
DIRECTIONS = 4  # random η, over which squared gradients are averaged
BALANCED = 0.01  # balanced: no gradient ratio's |ln| relative to the geometric mean exceeds this
RELUS = (functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


@SCHEMES.register()
def lsuv(
    base: Base = "orthogonal", tol: Tolerance = 1e-3, statistics: Literal["batch", "running"] = "batch"
) -> Procedure:
    """Divide each weight, layer by layer, by the std of the layer's output on data until |std-1| < tol (Mishkin 2015).

    Layers are visited in execution order, including the first and the head; the std is over all outputs of a layer:
    over images, units and positions. With zero biases one division is enough, because outputs are linear in the weight;
    otherwise it is repeated. A weight that does not reach tol, or whose output is constant, keeps the base's values,
    with a warning. The paper's tol of 0.1 saves a division and accepts any std within it. For a layer used several
    times the first use counts. Biases are not changed.

    Batch normalization uses the statistics of the batch, as in the first training step. The authors' package puts the
    model into eval(): statistics='running' does, so that a fresh one changes nothing (mean 0, variance 1). The package
    (lsuv 0.3) visits layers in the order of registration.

    It needs inputs and costs one forward pass over them, plus each layer once more per division: two passes.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, _generator: torch.Generator) -> Passes:
        inputs = prepared(model, sample, running=statistics == "running")
        divisions, left = [0], list[str]()

        def to_unit_std(call: Call, output: Tensor) -> Tensor:
            filled, first = call.weight.clone(), output
            for done in range(MOST_RESCALES):
                std = float(spread("lsuv", call.layer, output)[1])
                divisions.append(done)
                if abs(std - 1) < tol:
                    return output
                if std == 0:
                    break
                call.weight.div_(std)
                output = call.again()
            call.weight.copy_(filled)
            left.append(call.layer.name)
            return first

        visit(model, layers, inputs, to_unit_std)
        if left:
            warn(f"lsuv found no scale for {named(left)}, whose outputs do not vary enough with the weight.")
        return Passes(forward=len(inputs[0]) * (1 + max(divisions)))

    return Procedure(filling(base), adjust)


@SCHEMES.register()
def data_dependent(base: Base = "normal", balance: bool = True, bias: FiniteFloat = 0.0) -> Procedure:
    """Set each unit's output to mean 0 and variance 1 on data, then balance layers' gradient ratios (Krähenbühl 2016).

    Layer by layer in execution order, W ← W/σ and b ← (b-μ)/σ with μ and σ of each unit or channel; without a bias, σ
    alone. Then, up to ten times, W ← W·√(C_k/C̃) for every layer, where C_k = ‖∂L/∂W‖/‖W‖ and C̃ is their geometric mean,
    and biases that set the means back to 0. The product of these factors is 1, so the scale of the output does not
    change. In a chain of ReLU layers one round suffices; the variances within a layer stay equal but are no longer 1. A
    round that does not bring the ratios closer, as can happen in residual networks, is undone and ends the balancing.
    As in the paper L = ηᵀ·output for random η ~ N(0, 1), here four per image, so labels are not needed. The paper's
    filters from PCA or k-means are omitted. `balance=False` skips the balancing (as Salimans & Kingma 2016).

    With `bias` a unit's mean is that many of its standard deviations instead of 0: b ← (b-μ)/σ + bias. The authors'
    program (magic_init) adds 0.1 unless told otherwise, and balances only with the option -cs.

    A unit of constant output keeps its scale, with a warning. For a layer used several times the first use counts.

    It needs inputs and costs two forward passes over them, plus three forward and four backward per balancing round.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, keyed: torch.Generator) -> Passes:
        inputs = prepared(model, sample)
        constant = list[str]()

        def standardize(call: Call, output: Tensor) -> Tensor:
            mean, std = spread("data_dependent", call.layer, call.by_unit(output).flatten(1), (1,))
            factors = torch.where(std > 0, 1 / std, 1.0)
            if not std.all():
                constant.append(call.layer.name)
            call.scale_units(factors.float())
            if call.own_bias is not None:
                call.own_bias.copy_((call.own_bias - mean) * factors + bias)
            return call.again()

        visit(model, layers, inputs, standardize)
        if constant:
            warn(f"data_dependent found units of constant output in {named(constant)}: their scale is left unchanged.")
        rounds = _balance(model, layers, inputs, keyed, bias) if balance else 0
        images = len(inputs[0])
        return Passes(forward=images * (2 + 3 * rounds), backward=images * DIRECTIONS * rounds)

    return Procedure(filling(base), adjust)


@SCHEMES.register()
def sign_flip(base: Base = "kaiming_normal") -> Procedure:
    """Flip the sign of each ReLU unit that is dead for over half of the live images at its layer (Rister & Rubin 2020).

    An image is live at a layer if the layer's input is not all zero, and a unit is dead for an image if its
    pre-activation is positive nowhere; so with zero biases at least 2⁻ᵏ of the images stay live through k layers. To
    flip is to negate the unit's weights and bias; a unit that flipping does not help (it is 0 everywhere, or its bias
    is frozen) is kept. Layer by layer in execution order, where an output goes directly into a ReLU, module or
    function; other layers, such as those before a normalization, are not changed. Signs aside, weights are the base's.
    For a layer used several times the first use counts.

    More units are active than before, so each layer passes on more than the half that He's variance assumes: the signal
    of a deep network grows. It needs inputs and costs one forward pass over them.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, _generator: torch.Generator) -> Passes:
        inputs = prepared(model, sample)
        flipper = _Flipper()
        with flipper:
            visit(model, layers, inputs, flipper.note)
        if not flipper.met:
            warn("sign_flip found no layer whose output goes directly into a ReLU: the base's weights are unchanged.")
        return Passes(forward=len(inputs[0]))

    return Procedure(filling(base), adjust)


def _balance(
    model: nn.Module, layers: Sequence[Layer], inputs: tuple[Tensor, ...], keyed: torch.Generator, bias: float
) -> int:
    """Balance the gradient ratios of layers, means of units kept at `bias` deviations; return the number of rounds."""
    weights = layer_weights(model, layers)
    tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    seed = int(torch.randint(2**62, (), generator=keyed))

    def centre(call: Call, output: Tensor) -> Tensor:
        if call.own_bias is None:
            return output
        mean, std = spread("data_dependent", call.layer, call.by_unit(output).flatten(1), (1,))
        call.own_bias.sub_(mean - bias * std)
        return call.again()

    unbalance = _log_ratios(model, weights, inputs, seed)
    if not unbalance.isfinite().all():
        warn("data_dependent did not balance gradients: on this sample some layers have none, or they overflow.")
        return 1
    for done in range(1, MOST_BALANCINGS + 1):
        if unbalance.abs().max() < BALANCED:
            return done
        before = [tensor.detach().clone() for tensor in tensors]
        with torch.no_grad():
            for weight, ratio in zip(weights, unbalance.tolist(), strict=True):
                weight.mul_(math.exp(ratio / 2))
        visit(model, layers, inputs, centre)
        now = _log_ratios(model, weights, inputs, seed)
        if not now.abs().max() < unbalance.abs().max():
            with torch.no_grad():
                for tensor, values in zip(tensors, before, strict=True):
                    tensor.copy_(values)
            return done + 1
        unbalance = now
    return MOST_BALANCINGS + 1


def _log_ratios(model: nn.Module, weights: Sequence[Tensor], inputs: tuple[Tensor, ...], seed: int) -> Tensor:
    """Return ln(C_k/C̃) of each weight; not finite where a gradient is zero or overflows.

    With an η of its own for each image, the square of the summed gradient is on average the sum of the squares.
    """
    output = require_tensor("data_dependent", model, model(*inputs))
    generator, squares = torch.Generator().manual_seed(seed), torch.zeros(len(weights), dtype=torch.float64)
    for _ in range(DIRECTIONS):
        objective = (output * torch.randn(output.shape, generator=generator)).sum()
        gradients = torch.autograd.grad(objective, weights, retain_graph=True, materialize_grads=True)
        squares += torch.stack([gradient.double().square().sum() for gradient in gradients])
    sizes = torch.stack([weight.detach().double().norm() for weight in weights])
    ratios = (squares.sqrt() / sizes).log()
    return ratios - ratios.mean()


class _Flipper(TorchFunctionMode):
    """Intercepts each ReLU applied to a layer's output, and flips the layer's units just before."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, tuple[Call, Tensor]] = {}
        self.met = False

    def note(self, call: Call, output: Tensor) -> Tensor:
        """Remember a layer and its output; the reference prevents another tensor from reusing its id."""
        self.open[id(output)] = (call, output)
        return output

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func in RELUS and args and id(args[0]) in self.open:
            call, output = self.open.pop(id(args[0]))
            self.met = True
            _flip(call, output)
        return func(*args, **(kwargs or {}))


def _flip(call: Call, output: Tensor) -> None:
    """Flip the units of a layer that are dead for over half of its live images, and their outputs."""
    alive = (call.given != 0).flatten(1).any(1)
    values = call.by_unit(output)
    mirrored = -values
    if call.own_bias is None and isinstance(call.module.bias, Tensor):
        mirrored += 2 * call.module.bias.view(-1, *[1] * (values.dim() - 1))
    lives, would_live = (
        (signal > 0).reshape(*signal.shape[:2], -1).any(2)[:, alive].sum(1) for signal in (values, mirrored)
    )
    flipped = (2 * lives < alive.sum()) & (would_live > lives)
    signs = torch.where(flipped, -1.0, 1.0)
    call.scale_units(signs)
    if call.own_bias is not None:
        call.own_bias.mul_(signs)
    values.copy_(torch.where(flipped.view(-1, *[1] * (values.dim() - 1)), mirrored, values))
