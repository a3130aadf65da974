"""What a builder is called with: by the names of its parameters where they say what they want, else by position."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from initbench.errors import UsageError

ImageShape = tuple[int, int, int]

SHAPE = ("shape", "input_shape", "image_shape", "img_shape", "in_shape")
FEATURES = ("in_features", "input_size", "input_dim", "in_dim", "n_inputs", "num_inputs", "num_features", "n_features")
SIDE = ("image_size", "img_size", "resolution")
CHANNELS = ("in_channels", "in_chans", "input_channels", "num_channels", "n_channels", "in_ch", "channels", "c_in")
CLASSES = (
    "classes", "num_classes", "n_classes", "nclasses", "nb_classes", "num_class", "n_class", "num_labels", "n_labels",
    "out_features", "output_size", "output_dim", "out_dim", "n_outputs", "num_outputs",
)  # fmt: skip
# Given in place of a default too: 1000 classes and three channels are the defaults of many files.
OVER_DEFAULTS = ("num_classes", "n_classes", "num_labels", "in_channels", "in_chans", "input_channels")


def arguments_of(
    build: Callable[..., Any], reference: str, shape: ImageShape | None, classes: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and named arguments of a builder, for images of a shape (None if inputs are not images).

    Parameters with names such as `num_classes` or `in_channels` are given that. If a required one has another name, the
    first of (shape, classes), (shape,) and () that the signature takes is given.

    Raises:
        UsageError: the signature takes none of them, or cannot be read.
    """
    try:
        signature = inspect.signature(build)
    except ValueError:
        raise UsageError(f"'{reference}' has no readable signature: write a Python function that calls it.") from None
    meant = _meant(shape, classes)
    parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty]
    if required and all(p.name in meant and p.kind is not p.POSITIONAL_ONLY for p in required):
        return (), {p.name: meant[p.name] for p in required} | _over_defaults(parameters, meant)
    by_position = [p for p in required if p.kind <= p.POSITIONAL_OR_KEYWORD]
    for offer in [(shape, classes), (shape,), ()] if shape is not None else [()]:
        try:
            signature.bind(*offer)
        except TypeError:
            continue
        if len(offer) == len(by_position) or not by_position:
            return (offer, {}) if by_position else ((), _over_defaults(parameters, meant))
    raise UsageError(
        f"{reference}{signature} must take (shape, classes), (shape) or no arguments, or parameters whose names "
        "say what they want, such as num_classes, in_channels, in_features and image_size."
    )


def _meant(shape: ImageShape | None, classes: int) -> Mapping[str, Any]:
    known: dict[str, Any] = dict.fromkeys(CLASSES, classes)
    if shape is not None:
        known |= dict.fromkeys(SHAPE, shape) | dict.fromkeys(FEATURES, math.prod(shape))
        known |= dict.fromkeys(CHANNELS, shape[0]) | dict.fromkeys(SIDE, max(shape[1:]))
    return known


def _over_defaults(parameters: list[inspect.Parameter], meant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        p.name: meant[p.name]
        for p in parameters
        if p.default is not p.empty and p.name in OVER_DEFAULTS and p.name in meant
    }
