"""What a typed name is without torch: misspelt, or right because it sets nothing but defaults, or to be checked."""

import ast
from functools import cache
from inspect import Parameter
from typing import Any

from initbench.core.declared import Named, registered
from initbench.core.parts import split_parts
from initbench.core.registry import Entry, Registry, bind
from initbench.core.spec import Spec, parse

SPELLED_OUT = frozenset({"model"})  # the kinds whose canonical text keeps default values


@cache
def declared(kind: str) -> Registry[Any]:
    """Return a registry of what the package's source declares: names, parameters and defaults, no types."""
    registry = Registry[Any](kind, spelled_out=kind in SPELLED_OUT)
    for named in registered(kind):
        registry.add(Entry(kind, named.name, _not_loaded, named.aliases, _parameters(named), named.common))
    return registry


def settled(kind: str, text: str) -> str | None:
    """Return the canonical text of a name that sets nothing but defaults, None where its values are to be checked.

    What it names is not the user's own code.

    Raises:
        UsageError: as `Registry.resolve` and `schemes.parse_scheme` raise for what is misspelt.
    """
    if kind != "scheme":
        return _by_defaults(declared(kind), text)
    found = dict[str, str]()
    for part, spec in split_parts(text):
        name = _by_defaults(declared(kind), spec)
        if name is None:
            return None  # a wrong value is what is wrong first: nothing after it is looked at
        found[part] = name
    return found["weight"] if [*found] == ["weight"] else None


def _by_defaults(registry: Registry[Any], text: str) -> str | None:
    spec = parse(text)
    entry = registry.find(spec.name)
    for key, value in bind(entry, spec).items():
        default = entry.parameters[key].default
        if type(value) is not type(default) or value != default:
            return None
    spelled_out = {key: p.default for key, p in entry.parameters.items() if registry.spells_out(p)}
    return str(Spec(entry.name, kwargs=spelled_out))


def _parameters(named: Named) -> dict[str, Parameter]:
    return {
        name: Parameter(
            name,
            Parameter.KEYWORD_ONLY if name in named.keyword_only else Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if default is None else ast.literal_eval(default),
        )
        for name, default in named.parameters.items()
    }


def _not_loaded(*_values: Any) -> Any:  # noqa: ANN401 - as a factory
    raise AssertionError("a declared entry builds nothing")
