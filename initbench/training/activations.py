"""Nonlinearities and their derivatives from ATen, in place and without autograd, for `stacked` and `grouped`.

Most derivatives are functions of the output (tanh' = 1 - tanh²), so the pre-activation is overwritten; GELU and SiLU
are not monotonic, so their derivatives need the input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ATEN = torch.ops.aten


@dataclass(frozen=True)
class Nonlinearity:
    """`apply(z, out=h)`, and `backward(∂h, kept)` that turns ∂h into ∂z in place.

    `kept` is the output h, which may share memory with z, or the input z if `keeps_input`.
    """

    apply: Callable[..., object]
    backward: Callable[[Tensor, Tensor], object]
    keeps_input: bool = False


def nonlinearity_of(module: nn.Module) -> Nonlinearity | None:
    """Return the nonlinearity of an activation module, or None if it is unknown."""
    known = _KNOWN.get(type(module))
    return known(module) if known else None


def chain_of(model: nn.Module) -> list[tuple[nn.Linear, nn.Module]]:
    """Return the layers of a chain of Linear (with bias), each with the activation after it or an Identity.

    Empty if the model is anything else.
    """
    if type(model) is not nn.Sequential:
        return []
    layers: list[tuple[nn.Linear, nn.Module]] = []
    modules = list(model)
    for module in modules[1:] if type(modules[0]) is nn.Flatten else modules:
        if type(module) is nn.Linear and module.bias is not None:
            layers.append((module, nn.Identity()))
        elif nonlinearity_of(module) and layers and type(layers[-1][1]) is nn.Identity:
            layers[-1] = (layers[-1][0], module)
        else:
            return []
    return layers


def _nothing(*_: Tensor, out: Tensor | None = None) -> None:
    """The identity, in place."""


IDENTITY = Nonlinearity(_nothing, _nothing)


def _relu(_: nn.Module) -> Nonlinearity:
    derivative = ATEN.threshold_backward.grad_input

    def apply(z: Tensor, out: Tensor) -> None:
        # In place it is one call without arguments; parsing arguments dominates its cost in a small layer.
        z.relu_() if out is z else torch.clamp_min(z, 0, out=out)

    def backward(gradient: Tensor, h: Tensor) -> None:
        derivative(gradient, h, 0, grad_input=gradient)

    return Nonlinearity(apply, backward)


def _leaky_relu(module: Any) -> Nonlinearity:  # noqa: ANN401 - the module's own class has untyped attributes
    slope, function, derivative = module.negative_slope, ATEN.leaky_relu.out, ATEN.leaky_relu_backward.grad_input

    def backward(gradient: Tensor, h: Tensor) -> None:
        derivative(gradient, h, slope, True, grad_input=gradient)

    return Nonlinearity(lambda z, out: function(z, slope, out=out), backward)


def _elu(alpha: float, scale: float) -> Nonlinearity:
    function, derivative = ATEN.elu.out, ATEN.elu_backward.grad_input

    def backward(gradient: Tensor, h: Tensor) -> None:
        derivative(gradient, alpha, scale, 1, True, h, grad_input=gradient)

    return Nonlinearity(lambda z, out: function(z, alpha, scale, 1, out=out), backward)


def _gelu(module: Any) -> Nonlinearity:  # noqa: ANN401 - as above
    kind, function, derivative = module.approximate, ATEN.gelu.out, ATEN.gelu_backward.grad_input

    def backward(gradient: Tensor, z: Tensor) -> None:
        derivative(gradient, z, approximate=kind, grad_input=gradient)

    return Nonlinearity(lambda z, out: function(z, approximate=kind, out=out), backward, keeps_input=True)


def _by_name(name: str, *, keeps_input: bool = False) -> Callable[[nn.Module], Nonlinearity]:
    """Return the nonlinearity with this name in ATen, which has no parameters."""
    function, derivative = getattr(ATEN, name).out, getattr(ATEN, f"{name}_backward").grad_input

    def backward(gradient: Tensor, kept: Tensor) -> None:
        derivative(gradient, kept, grad_input=gradient)

    made = Nonlinearity(function, backward, keeps_input)
    return lambda _: made


# Klambauer et al. 2017, eq. 2, to the digits of torch.selu.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

_KNOWN: dict[type[nn.Module], Callable[[Any], Nonlinearity]] = {
    nn.Identity: lambda _: IDENTITY,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.Tanh: _by_name("tanh"),
    nn.Sigmoid: _by_name("sigmoid"),
    nn.SELU: lambda _: _elu(SELU_ALPHA, SELU_SCALE),
    nn.ELU: lambda module: _elu(module.alpha, 1.0),
    nn.GELU: _gelu,
    nn.SiLU: _by_name("silu", keeps_input=True),
}
