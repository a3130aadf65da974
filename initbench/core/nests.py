"""The tensors in whatever a function takes or returns: nested tuples, lists, mappings and dataclasses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor


def named_tensors(output: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses, each with its key or place.

    >>> [name for name, _ in named_tensors({"a": Tensor(1), "b": (Tensor(1),)})]
    ["['a']", "['b'][0]"]
    """
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, item in output.items():
            yield from named_tensors(item, f"{name}[{key!r}]")
    elif isinstance(output, tuple | list):
        keys = getattr(output, "_fields", None)
        for i, item in enumerate(output):
            yield from named_tensors(item, f"{name}.{keys[i]}" if keys else f"{name}[{i}]")
    elif is_dataclass(output) and not isinstance(output, type):
        for field in fields(output):
            yield from named_tensors(getattr(output, field.name), f"{name}.{field.name}")


def tensors_of(nest: object) -> Iterator[Tensor]:
    """Yield the tensors alone: those of `named_tensors`, in its order."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, dict | tuple | list):  # of what a call is given, nearly all
        for item in nest.values() if isinstance(nest, dict) else nest:
            yield from tensors_of(item)
    elif nest is not None and not isinstance(nest, str | int | float):
        yield from (tensor for _, tensor in named_tensors(nest))


def shapes_in_words(inputs: Iterable[object]) -> str:
    """Return the shapes of what a call is given: `8×1×4×4`, `{'image': 8×1×4×4, 'label': 8}`."""
    return ", ".join(filter(None, map(_shape, inputs)))


def _shape(item: object) -> str:
    if isinstance(item, Tensor):
        return "×".join(map(str, item.shape)) or "()"
    if isinstance(item, dict):
        return "{" + ", ".join(f"{key!r}: {_shape(value) or type(value).__name__}" for key, value in item.items()) + "}"
    return f"({shapes_in_words(item)})" if isinstance(item, tuple | list) else ""
