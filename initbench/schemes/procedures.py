"""Shared by procedures: the base scheme that fills first, and a forward pass that visits layers in execution order."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import Layer
from initbench.networks.wrappers import modules_of
from initbench.schemes.rule import SCHEMES, Preset, Procedure, Rule, Sample

LEAST_SPREAD = 1e-6  # a spread below this share of the root mean square is rounding error


def _canonical(base: str) -> str:
    spec = SCHEMES.resolve(base)
    if isinstance(SCHEMES.build(spec), Procedure):
        raise UsageError(f"'{spec}' adjusts a whole model and cannot be a base: use one that fills layer by layer.")
    return str(spec)


Base = Annotated[str, AfterValidator(_canonical)]


def filling(base: str) -> Rule | Preset:
    """Return the rule or preset of the scheme `base`; `Base` has checked that it is not a procedure."""
    filler = SCHEMES.build(base)
    assert not isinstance(filler, Procedure)
    return filler


def prepared(model: nn.Module, sample: Sample, *, running: bool = False) -> tuple[Tensor, ...]:
    """Set the mode for measurement, and return the sample's inputs in float32.

    Dropout is off. Batch normalization uses batch statistics, as in training, if there are at least two images and its
    `running` ones are not asked for.
    """
    inputs = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in sample.inputs)
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(len(inputs[0]) > 1 and not running)
    return inputs


@dataclass(frozen=True)
class Call:
    """The first call of a layer in a forward pass: its input `given`, and `again` to recompute its output."""

    layer: Layer
    module: nn.Module
    given: Tensor
    again: Callable[[], Tensor]

    @property
    def weight(self) -> Tensor:
        """The layer's weight, to be changed in place."""
        return weight_of(self.module)

    @property
    def own_bias(self) -> Tensor | None:
        """The layer's bias, or None if it has none or must not change."""
        return self.module.bias if self.layer.bias is not None and isinstance(self.module.bias, Tensor) else None

    def by_unit(self, values: Tensor) -> Tensor:
        """Move units to the front: (units, n, …). They are the last axis of a Linear, the channels of a convolution."""
        return values.movedim(1 - len(self.layer.block), 0)

    def scale_units(self, factors: Tensor) -> None:
        """Multiply the incoming weights of each unit by its factor; `factors` is (units,)."""
        blocks = self.weight.view(self.layer.groups, -1, *self.weight.shape[1:])
        if self.layer.transposed:
            blocks = blocks.transpose(1, 2)  # a transposed convolution has (in, out, *kernel)
        blocks.mul_(factors.view(self.layer.groups, -1, *[1] * (blocks.dim() - 2)))


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight of a Linear or convolution."""
    assert isinstance(module.weight, Tensor)
    return module.weight


def layer_weights(model: nn.Module, layers: Sequence[Layer]) -> list[Tensor]:
    """Return the weights of some layers of a model."""
    modules = modules_of(model)
    return [weight_of(modules[layer.name]) for layer in layers]


@torch.no_grad()
def visit(
    model: nn.Module, layers: Sequence[Layer], inputs: tuple[Tensor, ...], change: Callable[[Call, Tensor], Tensor]
) -> None:
    """Run one forward pass in which `change(call, output)` may alter each layer and returns its new output.

    A layer called several times (or with a tied weight) is changed only at its first call; one called with a single
    vector or image instead of a batch is not changed.
    """
    modules = modules_of(model)
    met = set[str]()

    def watch(layer: Layer) -> torch.utils.hooks.RemovableHandle:
        module = modules[layer.name]

        def hook(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
            if layer.name in met or output.dim() < len(layer.block):
                return output
            met.add(layer.name)
            given = args[0] if args else next(iter(kwargs.values()))
            return change(Call(layer, module, given, lambda: module.forward(*args, **kwargs)), output)

        return module.register_forward_hook(hook, with_kwargs=True)

    handles = [watch(layer) for layer in layers]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()


def spread(scheme: str, layer: Layer, values: Tensor, dims: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over `dims` (default: all), with 0 for deviations within rounding error.

    Raises:
        UsageError: they are not finite.
    """
    std, mean = torch.std_mean(values.double(), dim=dims or None, correction=0)
    if not (std.isfinite().all() and mean.isfinite().all()):
        raise UsageError(
            f"{scheme} stopped: on this sample the layer '{layer.name}' has outputs that are not finite. "
            "Check the inputs for NaN, or use another base."
        )
    return mean, torch.where(std > LEAST_SPREAD * (mean**2 + std**2).sqrt(), std, 0.0)


def warn(text: str) -> None:
    """Issue a non-fatal notice to the user."""
    warnings.warn(text, InitbenchWarning, stacklevel=2)


def named(layers: Sequence[str]) -> str:
    """Return the names of layers for a message: the first three, and the number of others."""
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return ", ".join(f"'{name}'" for name in layers[:3]) + more


def require_tensor(scheme: str, model: nn.Module, output: object) -> Tensor:
    """Return a model's output if it is one tensor.

    Raises:
        UsageError: it is not one tensor.
    """
    if isinstance(output, Tensor):
        return output
    raise UsageError(
        f"{scheme} needs a model that returns one tensor, and {type(model).__name__} returns a "
        f"{type(output).__name__}: wrap it in one that does."
    )
