"""The axes of a recipe, derived from the fields of `Recipe`: what the command line and `initbench.compare` take."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from initbench.records.recipe import Recipe

FILE_ONLY = frozenset({"question", "tuning_seeds", "claims"})  # keys that only a recipe file sets


@dataclass(frozen=True)
class Axis:
    """One axis: `written` is the type of what may be given, without bounds; `default` is "" where it is not a word."""

    name: str
    written: Any
    description: str
    default: str

    @property
    def choices(self) -> tuple[type, ...]:
        """The types that may be written; a list is its item's, as `list[str]`."""
        return get_args(self.written) if get_origin(self.written) in {Union, UnionType} else (self.written,)


def axes() -> dict[str, Axis]:
    """Return every axis by its name, in the order of the recipe."""
    return {
        name: Axis(name, _without_bounds(_written(field)), field.description or "", _in_a_word(field.default))
        for name, field in Recipe.model_fields.items()
        if name not in FILE_ONLY
    }


def _written(field: FieldInfo) -> Any:  # noqa: ANN401 - any type
    """Return the type that a recipe may give: validators turn it into the field's own."""
    inputs = (item.json_schema_input_type for item in field.metadata if isinstance(item, BeforeValidator))
    return next(inputs, field.annotation)


def _without_bounds(kind: Any) -> Any:  # noqa: ANN401 - any type
    """Strip `Annotated` from a type, and from its parts."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _without_bounds(parts[0])
    if origin in {Union, UnionType}:
        return reduce(or_, (_without_bounds(part) for part in parts if part is not type(None)))
    return list[_without_bounds(parts[0])] if origin is list else kind  # type: ignore[misc]


def _in_a_word(default: object) -> str:
    """Return a default as one would type it; nothing for None and for a list of several."""
    if isinstance(default, tuple) and default == tuple(range(len(default))):
        return str(len(default))
    if isinstance(default, Sequence) and not isinstance(default, str):
        return str(default[0]) if len(default) == 1 else ""
    return "" if default is None else str(default)
