"""What the procedures share: the scheme that fills first, and one pass that meets the layers in execution order."""

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
from initbench.schemes.rule import SCHEMES, Preset, Procedure, Rule, Sample

LEAST_SPREAD = 1e-6  # a spread below this share of the root mean square is rounding, and no signal


def _canonical(base: str) -> str:
    spec = SCHEMES.resolve(base)
    if isinstance(SCHEMES.build(spec), Procedure):
        raise UsageError(f"'{spec}' adjusts a whole model and cannot be a base: take one that fills layer by layer.")
    return str(spec)


Base = Annotated[str, AfterValidator(_canonical)]


def filling(base: str) -> Rule | Preset:
    """Return what the scheme of the text `base` fills with; `Base` has seen to it that this is no procedure."""
    maker = SCHEMES.build(base)
    assert not isinstance(maker, Procedure)
    return maker


def prepared(model: nn.Module, sample: Sample) -> tuple[Tensor, ...]:
    """Set a copy's mode as it is measured in, and return the inputs of the sample in the copy's precision.

    Dropout is off. Batch normalization takes the statistics of the batch as in training, from two images on.
    """
    inputs = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in sample.inputs)
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(len(inputs[0]) > 1)
    return inputs


@dataclass(frozen=True)
class Call:
    """A layer as a forward pass meets it first: what it is given, and how to compute its output again."""

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
        """The layer's bias where it may be changed; None where it has none or that is frozen."""
        return self.module.bias if self.layer.bias is not None and isinstance(self.module.bias, Tensor) else None

    def by_unit(self, values: Tensor) -> Tensor:
        """Bring outputs to (units, n, …): the units of a Linear stand last, a convolution's before the places."""
        return values.movedim(1 - len(self.layer.block), 0)

    def scale_units(self, factors: Tensor) -> None:
        """Multiply what comes into each unit: `factors` is (units,)."""
        blocks = self.weight.view(self.layer.groups, -1, *self.weight.shape[1:])
        if self.layer.transposed:
            blocks = blocks.transpose(1, 2)  # a transposed convolution holds (in, out, *kernel)
        blocks.mul_(factors.view(self.layer.groups, -1, *[1] * (blocks.dim() - 2)))


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight of a Linear or convolution."""
    assert isinstance(module.weight, Tensor)
    return module.weight


def layer_weights(model: nn.Module, layers: Sequence[Layer]) -> list[Tensor]:
    """Return the weights of some layers of a model."""
    modules = dict(model.named_modules())
    return [weight_of(modules[layer.name]) for layer in layers]


@torch.no_grad()
def visit(
    model: nn.Module, layers: Sequence[Layer], inputs: tuple[Tensor, ...], change: Callable[[Call, Tensor], Tensor]
) -> None:
    """Run one forward pass in which `change(call, output)` may alter each layer; what it returns goes on from there.

    A layer that is met several times (or a weight tied to several) is changed the first time alone, and one that is
    given a single vector or image instead of a batch is not changed.
    """
    modules = dict(model.named_modules())
    met = set[str]()

    def watch(layer: Layer) -> torch.utils.hooks.RemovableHandle:
        module = modules[layer.name]

        def hook(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
            if layer.name in met or output.dim() < len(layer.block):
                return output
            met.add(layer.name)
            given = args[0] if args else next(iter(kwargs.values()))
            return change(Call(layer, module, given, lambda: module.forward(*args, **kwargs)), output)

        return module.register_forward_hook(hook, with_kwargs=True)  # type: ignore[no-any-return] # torch's is untyped

    handles = [watch(layer) for layer in layers]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()


def spread(scheme: str, layer: Layer, values: Tensor, dims: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over `dims` (over all, where none is named), and 0 for what is but rounding.

    Raises:
        UsageError: they are not finite.
    """
    std, mean = torch.std_mean(values.double(), dim=dims or None, correction=0)
    if not (std.isfinite().all() and mean.isfinite().all()):
        raise UsageError(
            f"{scheme} cannot go on: on the sample given, the layer '{layer.name}' has outputs that are not finite. "
            "Check the inputs for NaN, or take another base."
        )
    return mean, torch.where(std > LEAST_SPREAD * (mean**2 + std**2).sqrt(), std, 0.0)


def warn(text: str) -> None:
    """Say something that the user should know and that stops nothing."""
    warnings.warn(text, InitbenchWarning, stacklevel=2)


def named(layers: Sequence[str]) -> str:
    """Name layers in a sentence, the first three of them."""
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return ", ".join(f"'{name}'" for name in layers[:3]) + more


def require_tensor(scheme: str, model: nn.Module, output: object) -> Tensor:
    """Return a model's output, to take gradients of.

    Raises:
        UsageError: it is not one tensor.
    """
    if isinstance(output, Tensor):
        return output
    raise UsageError(
        f"{scheme} needs a model that returns one tensor, and {type(model).__name__} returns a "
        f"{type(output).__name__}: wrap it in one that does."
    )
