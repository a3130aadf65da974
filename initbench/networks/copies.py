"""Copies of a model, also of one that `copy.deepcopy` refuses because it keeps computed tensors."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getclosurevars
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from initbench.core import usercode
from initbench.errors import UsageError


class NotCopiedError(UsageError):
    """A model cannot be copied."""


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model.

    A tensor that a module keeps from its last forward pass (the weight of old-style weight_norm) is copied by value.

    Raises:
        NotCopiedError: the model cannot be copied; the module that prevents it is named.
    """
    try:
        _require_apart(model)
        return _copy(model)
    except Exception as error:
        name, culprit = next(_preventing(model), ("", model))
        where = f"its module '{name}' ({type(culprit).__name__})" if name else "it"
        raise NotCopiedError(
            f"{type(model).__name__} cannot be copied, because {where} cannot: {usercode.describe_error(error)}."
        ) from error


@contextmanager
def private(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model that may be changed: a copy, or where there can be none, the model itself, which is given back.

    Weights, buffers, gradients, training mode and device are restored.
    """
    try:
        copy_of_model = copied(model)
    except NotCopiedError:
        with _given_back(model):
            yield model
        return
    yield copy_of_model


@contextmanager
def _given_back(model: nn.Module) -> Iterator[None]:
    parameters = [(p, p.data, p.detach().clone(), p.grad) for p in model.parameters()]
    modes = {module: module.training for module in model.modules()}
    buffers = [(m, name, b, b.detach().clone()) for m in modes for name, b in m.named_buffers(recurse=False)]
    kept = [(m, name, x) for m in modes for name, x in vars(m).items() if isinstance(x, Tensor)]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, data, values, gradient in parameters:
                parameter.data = data.copy_(values)
                parameter.grad = gradient
            for module, name, buffer, values in buffers:
                setattr(module, name, buffer.copy_(values))
        for module, mode in modes.items():
            module.training = mode
        for module, name, tensor in kept:
            setattr(module, name, tensor)


def _require_apart(model: nn.Module) -> None:
    """Raise if a module keeps a function that holds part of the model: its copy would run the original's layers."""
    own = {id(part) for part in (*model.modules(), *model.parameters())}
    for module in model.modules():
        for kept in vars(module).values():
            for function in kept.values() if isinstance(kept, dict) else (kept,):  # hooks are kept in dictionaries
                held = getclosurevars(function).nonlocals if isinstance(function, FunctionType) else {}
                if not own.isdisjoint(map(id, held.values())):
                    raise TypeError("a function that it keeps refers to the model itself")


def _copy(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
        for buffer in module.buffers(recurse=False):
            if isinstance(buffer, nn.UninitializedBuffer):  # which torch cannot copy, as it does such a parameter
                memo[id(buffer)] = nn.UninitializedBuffer(False, buffer.device, buffer.dtype)  # type: ignore[arg-type] # of `Buffer`
    return copy.deepcopy(model, memo)


def _preventing(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the innermost modules that cannot be copied."""
    for name, module in reversed(list(model.named_modules())):
        try:
            _require_apart(module)
            _copy(module)
        except Exception:  # noqa: BLE001 - whatever prevents it
            yield name, module
