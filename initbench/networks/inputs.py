"""Batches as data loaders yield them, and lazy modules, which take their shape from the first batch."""

import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from initbench.core import usercode
from initbench.core.generators import held, own_generators
from initbench.core.nests import shapes_in_words, tensors_of
from initbench.core.randomness import isolated
from initbench.errors import UsageError

Given = Tensor | Sequence[Tensor] | Mapping[str, Any]


def inputs_and_labels(
    model: nn.Module, batch: Given | None, labels: Tensor | None
) -> tuple[tuple[Any, ...], Tensor | None]:
    """Return a model's inputs, by position, and labels.

    Of a mapping, the model takes the values by name, or the whole if it has no such parameters. (x, y) is a batch with
    labels where the model takes one input, and so are `labels` in a mapping: whole numbers (n,), if none are given.

    Raises:
        UsageError: `batch` is no batch of tensors.
    """
    if batch is None or isinstance(batch, Tensor):
        return () if batch is None else (batch,), labels
    if not isinstance(batch, Mapping | tuple | list) or next(tensors_of(batch), None) is None:
        raise UsageError(
            f"A batch is a tensor, or a tuple, list or mapping of tensors, not {type(batch).__name__} without any: "
            "give next(iter(loader)) of a data loader, torch.from_numpy(array) of an array."
        )
    if isinstance(batch, Mapping):
        return _by_name(model, dict(batch), labels)
    if labels is None and len(batch) == 2 and isinstance(batch[1], Tensor) and not _takes_two(model):
        inputs, second = batch
        if _are_labels(second, inputs):
            return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), second
    return tuple(batch), labels


def _by_name(model: nn.Module, batch: dict[str, Any], labels: Tensor | None) -> tuple[tuple[Any, ...], Tensor | None]:
    others = {name: value for name, value in batch.items() if name != "labels"}
    if labels is None and _are_labels(batch.get("labels"), others):
        batch, labels = others, batch["labels"]
    try:
        taken = inspect.signature(model.forward).bind(**batch)
    except TypeError:
        return (batch,), labels
    taken.apply_defaults()
    return taken.args, labels


def _are_labels(given: object, inputs: object) -> bool:
    """Return whether a tensor may be the labels of inputs: a whole number for each."""
    if not isinstance(given, Tensor) or given.is_floating_point() or given.is_complex() or given.ndim != 1:
        return False
    return any(len(tensor) == len(given) for tensor in itertools.islice(tensors_of(inputs), 1) if tensor.ndim)


def with_shapes(model: nn.Module, inputs: Sequence[Any]) -> nn.Module:
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
        shapes = shapes_in_words(inputs)
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
