"""A scheme of the user's own: one function, used as a rule or as a procedure."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.schemes.presets import torch_default
from initbench.schemes.rule import SCHEMES, Applied, Passes, Procedure, Rule, Sample

TAKES_TENSOR = ("tensor", "layer", "generator")
TAKES_MODEL = ("model", "batch", "generator")
NAMES_OF_MODULES = frozenset(("module", "submodule", "mod", "m", "layer"))
NAMES_OF_MODELS = frozenset(("model", "net", "network"))
MODULES = (nn.Module, "nn.Module", "torch.nn.Module", "Module")  # as texts where annotations are postponed


@SCHEMES.adopter
def adopt_scheme(reference: str, function: Any) -> Callable[[], Rule | Procedure]:  # noqa: ANN401 - the user's object
    """Return the factory of a user's function (tensor, layer, generator), (model, batch, generator) or (module).

    The first kind fills in place, or returns, a weight block (out, in, *kernel) or, as the `bias` part, a bias (out,).
    The second kind changes in place a model that torch_default has filled; `batch` is (images, labels). Both should
    draw only from `generator`. The third is for `model.apply`, and its draws are keyed (`Applied`).

    Raises:
        UsageError: not a function, or one with other parameters.
    """
    if not callable(function):
        raise UsageError(f"'{reference}' is {type(function).__name__}, not a function that fills a tensor or a model.")
    names = _names(function)
    if names == TAKES_TENSOR:
        return lambda: Rule(lambda tensor, layer, generator: _fill(function, tensor, layer, generator))
    if names == TAKES_MODEL:
        return lambda: Procedure(torch_default(), lambda *call: _adjust(function, *call), needs="inputs", whole=True)
    if _takes_module(function):
        return lambda: Procedure(torch_default(), Applied(function), needs="nothing", whole=True)
    raise UsageError(
        f"{reference}({', '.join(names)}) is none of ({', '.join(TAKES_TENSOR)}) for a rule, "
        f"({', '.join(TAKES_MODEL)}) for a whole scheme, and (module) for what model.apply takes: name its parameters "
        "like one of them."
    )


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in _parameters(function))


def _takes_module(function: Callable[..., Any]) -> bool:
    """Return whether a function takes one module: one argument that must be given, named or annotated as a module.

    A function (model) may fill the whole model in one call, and one (x) a tensor: they are to be named.
    """
    parameters = _parameters(function)
    if not parameters or any(other.default is other.empty for other in parameters[1:]):
        return False
    first = parameters[0]
    return first.name in NAMES_OF_MODULES or (first.annotation in MODULES and first.name not in NAMES_OF_MODELS)


def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except ValueError:
        return ()


def _fill(function: Callable[..., Any], tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
    tensor.zero_()  # uninitialized memory would make two runs differ
    result = function(tensor, layer, generator)
    if isinstance(result, Tensor) and result is not tensor:
        if result.shape != tensor.shape:
            raise UsageError(
                f"{function.__name__} returned {tuple(result.shape)} for the {tuple(tensor.shape)} of {layer.name}."
            )
        tensor.copy_(result)


def _adjust(
    function: Callable[..., Any], model: nn.Module, _layers: Sequence[Layer], sample: Sample, generator: torch.Generator
) -> Passes:
    seen = 0

    def count(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += len(inputs[0]) if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim else 0

    handle = model.register_forward_pre_hook(count)
    with torch.enable_grad():
        function(model, (*sample.inputs, sample.labels), generator)
    handle.remove()
    return Passes(forward=seen)
