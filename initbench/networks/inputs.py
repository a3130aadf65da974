"""Batches as data loaders yield them, and lazy modules, which take their shape from the first batch."""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from initbench.core import usercode
from initbench.core.generators import held, own_generators
from initbench.core.randomness import isolated
from initbench.errors import UsageError

Given = Tensor | Sequence[Tensor]


def inputs_and_labels(
    model: nn.Module, batch: Given | None, labels: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Return a model's inputs and labels: (x, y) is a batch with labels where the model takes one input.

    y has to be whole numbers (n,), and `labels` absent.
    """
    if batch is None or isinstance(batch, Tensor):
        return () if batch is None else (batch,), labels
    if labels is None and len(batch) == 2 and isinstance(batch[1], Tensor) and not _takes_two(model):
        inputs, second = batch
        whole = not (second.is_floating_point() or second.is_complex()) and second.ndim == 1
        if whole and len(second) == len(inputs if isinstance(inputs, Tensor) else inputs[0]):
            return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs), second
    return tuple(batch), labels


def with_shapes(model: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """Give lazy modules their shape by one forward pass in evaluation mode, seeded; other models are left alone.

    Raises:
        UsageError: the model does not take the inputs.
    """
    if not any(isinstance(parameter, nn.UninitializedParameter) for parameter in model.parameters()):
        return model
    training = {module: module.training for module in model.modules()}
    try:
        with isolated(torch.initial_seed()), held(0, own_generators(model)), torch.no_grad():
            model.eval()(*inputs)
    except Exception as error:
        shapes = ", ".join("×".join(map(str, tensor.shape)) for tensor in inputs)
        raise UsageError(
            f"{type(model).__name__} has lazy modules and cannot take a batch of shape {shapes}, which would give them "
            f"their shape: {usercode.describe_error(error)}."
        ) from error
    for module, mode in training.items():
        module.training = mode
    return model


def _takes_two(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters.values()
    return sum(p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters) > 1
