"""A model of the user's own: a function that builds it, used like a factory of the registry."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from initbench.core.generators import held, own_generators
from initbench.core.usercode import on_import_path, user_errors
from initbench.errors import UsageError
from initbench.networks.arguments import ImageShape, arguments_of

__all__ = ["ImageShape", "adopt_model"]


def adopt_model(reference: str, build: Any) -> Callable[..., nn.Module]:  # noqa: ANN401 - the user's object
    """Return the factory of a builder; what it is called with, `arguments_of` says."""
    return lambda shape, classes: _built(reference, build, shape, classes)


def _built(reference: str, build: Any, shape: ImageShape | None, classes: int) -> nn.Module:  # noqa: ANN401 - the user's object
    """Build a model with the user's builder (`arguments_of`).

    Raises:
        UsageError: not callable, needs other arguments, or returns no module.
        ConfigurationError: the builder raises; the message quotes the line.
    """
    if isinstance(build, nn.Module):
        raise UsageError(f"'{reference}' is a model, not a function that builds one: each seed needs a new one.")
    if not callable(build):
        raise UsageError(f"'{reference}' is {type(build).__name__}, not a function that builds a model.")
    positional, named = arguments_of(build, reference, shape, classes)
    drawn_from = held(torch.initial_seed(), own_generators(build))  # `build_model` seeds torch with its purpose
    with user_errors(reference, "raised"), on_import_path(reference.strip().rpartition(":")[0]), drawn_from:
        model = build(*positional, **named)
    if not isinstance(model, nn.Module):
        raise UsageError(f"{reference} returned {type(model).__name__}, not a torch.nn.Module.")
    return model
