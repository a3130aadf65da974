"""A model of the user's own: a function that builds it, used like a factory of the registry."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from initbench.core.generators import held, own_generators
from initbench.core.usercode import on_import_path, user_errors
from initbench.errors import UsageError

ImageShape = tuple[int, int, int]


def adopt_model(reference: str, build: Any) -> Callable[..., nn.Module]:  # noqa: ANN401 - the user's object
    """Return the factory of a builder, which may take (shape, classes), (shape) or nothing."""
    return lambda shape, classes: _built(reference, build, shape, classes)


def _built(reference: str, build: Any, shape: ImageShape | None, classes: int) -> nn.Module:  # noqa: ANN401 - the user's object
    """Build a model with the user's builder, which may take (shape, classes), (shape) or nothing.

    Raises:
        UsageError: not callable, needs other arguments, or returns no module.
        ConfigurationError: the builder raises; the message quotes the line.
    """
    if isinstance(build, nn.Module):
        raise UsageError(f"'{reference}' is a model, not a function that builds one: each seed needs a new one.")
    if not callable(build):
        raise UsageError(f"'{reference}' is {type(build).__name__}, not a function that builds a model.")
    arguments = _fitting(build, reference, shape, classes)
    drawn_from = held(torch.initial_seed(), own_generators(build))  # `build_model` seeds torch with its purpose
    with user_errors(reference, "raised"), on_import_path(reference.strip().rpartition(":")[0]), drawn_from:
        model = build(*arguments)
    if not isinstance(model, nn.Module):
        raise UsageError(f"{reference} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


def _fitting(build: Callable[..., Any], reference: str, shape: ImageShape | None, classes: int) -> tuple[Any, ...]:
    """Return the first of (shape, classes), (shape,) and () that the builder's signature takes."""
    try:
        signature = inspect.signature(build)
    except ValueError:
        raise UsageError(f"'{reference}' has no readable signature: write a Python function that calls it.") from None
    offers: list[tuple[Any, ...]] = [(shape, classes), (shape,), ()] if shape is not None else [()]
    required = [p for p in signature.parameters.values() if p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD]
    for offer in offers:
        try:
            signature.bind(*offer)
        except TypeError:
            continue
        if len(offer) == len(required) or not required:
            return offer if required else ()
    raise UsageError(f"{reference}{signature} must take (shape, classes), (shape) or no arguments.")
