"""Schemes that look at the outputs of layers on a sample of training data, and set weights by them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
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

MOST_RESCALES = 30  # of one layer by lsuv
MOST_BALANCINGS = 10  # as in the paper
DIRECTIONS = 4  # random η, over which squared gradients are averaged
BALANCED = 0.01  # the largest |ln| of a gradient ratio over their geometric mean that needs no further balancing
RELUS = (functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


@SCHEMES.register()
def lsuv(base: Base = "orthogonal", tol: Tolerance = 1e-3) -> Procedure:
    """Divide each weight, layer by layer, by the std of the layer's output on data until |std-1| < tol (Mishkin 2015).

    Layers come in execution order, the first and the head among them; the std is that of all outputs of a layer, over
    images, units and places. Where biases are zero one division is enough, for outputs are linear in the weight; with
    others it is repeated, and a weight that does not get there keeps the base's values, which a warning says, as it
    does of a layer of constant output. The paper's tol is 0.1, which saves a division and leaves any std within it.
    Of a layer used several times the first use counts. Biases are left alone.

    It needs inputs, and costs one forward pass over them and each layer once more for every division: two passes.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, _generator: torch.Generator) -> Passes:
        inputs = prepared(model, sample)
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
            warn(
                f"lsuv found no scale for {named(left)}, whose outputs do not vary enough with the weight: left as is."
            )
        return Passes(forward=len(inputs[0]) * (1 + max(divisions)))

    return Procedure(filling(base), adjust)


@SCHEMES.register()
def data_dependent(base: Base = "normal", balance: bool = True) -> Procedure:
    """Give each unit's output mean 0 and variance 1 on data, then balance layers' gradient ratios (Krähenbühl 2016).

    Layer by layer in execution order, W ← W/σ and b ← (b-μ)/σ for the μ and σ of each unit or channel; where there is
    no bias, σ alone. Then, up to ten times, W ← W·√(C_k/C̃) for every layer, C_k = ‖∂L/∂W‖/‖W‖ and C̃ the geometric mean
    of them, and biases that bring the means back to 0. These factors multiply to 1, so that the scale of the output
    stays. In a chain of ReLU layers one round balances all; the variances of a layer stay equal and are no longer 1. A
    round that does not bring the ratios closer, as may happen in residual networks, is undone and is the last. As in
    the paper L = ηᵀ·output for random η ~ N(0, 1), here four for each image, so labels are not needed. The paper's
    filters from PCA or k-means are left out. `balance=False` stops before the second part (as Salimans & Kingma 2016).

    A unit of constant output keeps its scale, which a warning says. Of a layer used several times the first use counts.

    It needs inputs, and costs two forward passes over them, then three and four backward for each round of balancing.
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
                call.own_bias.copy_((call.own_bias - mean) * factors)
            return call.again()

        visit(model, layers, inputs, standardize)
        if constant:
            warn(f"data_dependent met units of constant output in {named(constant)}: their scale is left as it is.")
        rounds = _balance(model, layers, inputs, keyed) if balance else 0
        images = len(inputs[0])
        return Passes(forward=images * (2 + 3 * rounds), backward=images * DIRECTIONS * rounds)

    return Procedure(filling(base), adjust)


@SCHEMES.register()
def sign_flip(base: Base = "kaiming_normal") -> Procedure:
    """Flip the sign of each ReLU unit that is dead for over half of the data alive at its layer (Rister & Rubin 2020).

    An image is alive at a layer whose input of it is not all zero, and a unit is dead for an image where its
    pre-activation is positive nowhere, so that with zero biases at least 2⁻ᵏ of the images outlive k layers. To flip is
    to negate the unit's weights and its bias; one that flipping would not mend (it is 0 everywhere, say, or its bias is
    frozen) stays. Layer by layer in execution order, where an output goes straight into a ReLU, as a module or a
    function; other layers, such as those before a normalization, are left alone. Signs aside, weights are the base's.
    Of a layer used several times the first use counts.

    More units open than before, so each layer passes on more than the half that He's variance counts on: the signal of
    a deep network grows. It needs inputs, and costs one forward pass over them.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, _generator: torch.Generator) -> Passes:
        inputs = prepared(model, sample)
        flipper = _Flipper()
        with flipper:
            visit(model, layers, inputs, flipper.note)
        if not flipper.met:
            warn("sign_flip found no layer whose output goes straight into a ReLU: the base's weights are left as is.")
        return Passes(forward=len(inputs[0]))

    return Procedure(filling(base), adjust)


def _balance(model: nn.Module, layers: Sequence[Layer], inputs: tuple[Tensor, ...], keyed: torch.Generator) -> int:
    """Balance the gradient ratios of layers, and return in how many rounds."""
    weights = layer_weights(model, layers)
    tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    seed = int(torch.randint(2**62, (), generator=keyed))

    def centre(call: Call, output: Tensor) -> Tensor:
        if call.own_bias is None:
            return output
        mean, _ = spread("data_dependent", call.layer, call.by_unit(output).flatten(1), (1,))
        call.own_bias.sub_(mean)
        return call.again()

    unbalance = _log_ratios(model, weights, inputs, seed)
    if not unbalance.isfinite().all():
        warn("data_dependent did not balance gradients: some layers have none on the sample given, or they overflow.")
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
    """Overhears each ReLU of a layer's output, and flips the layer's units just before."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, tuple[Call, Tensor]] = {}
        self.met = False

    def note(self, call: Call, output: Tensor) -> Tensor:
        """Remember a layer and its output, which is kept, so that no other tensor can take its identity."""
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
    """Flip the units of a layer that are dead for over half of what is alive there, and its output with them."""
    alive = (call.given != 0).flatten(1).any(1)
    values = call.by_unit(output)
    mirrored = -values
    if call.own_bias is None and isinstance(call.module.bias, Tensor):
        mirrored += 2 * call.module.bias.view(-1, *[1] * (values.dim() - 1))
    lives, would_live = ((of > 0).reshape(*of.shape[:2], -1).any(2)[:, alive].sum(1) for of in (values, mirrored))
    flipped = (2 * lives < alive.sum()) & (would_live > lives)
    signs = torch.where(flipped, -1.0, 1.0)
    call.scale_units(signs)
    if call.own_bias is not None:
        call.own_bias.mul_(signs)
    values.copy_(torch.where(flipped.view(-1, *[1] * (values.dim() - 1)), mirrored, values))
