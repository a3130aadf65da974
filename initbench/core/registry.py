"""A registry of named factories, in order of definition; an unknown name raises an error with the nearest one.

A factory's signature defines its parameters. Those before the `/` are supplied by the program; those after it are set
by the user, typed, with optional defaults:

    @MODELS.register()
    def mlp(shape: ImageShape, classes: int, /, depth: Positive = 8, width: Positive = 64) -> nn.Module: ...

so adding a scheme, a model, a dataset or an optimizer is one function in one file.

A name may also refer to the user's code, `path/to/file.py:function` or `package.module:function`, or to an entry point
of the group `initbench.<kind>s` in an installed package: a registry's `adopter` turns such an object into a factory.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Generic, TypeVar

import pydantic

from initbench.core import usercode
from initbench.core.spec import Spec, did_you_mean, is_reference, parse
from initbench.core.text import in_words
from initbench.errors import UsageError

T = TypeVar("T")
Factory = Callable[..., T]
F = TypeVar("F", bound=Callable[..., Any])
Adopt = Callable[[str, Any], Factory[T]]  # (name, object of the user's) -> factory


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered factory: its kind, name, aliases, and the parameters that a user may set.

    `common` names those that every entry of its kind has; they are given by name.
    """

    kind: str
    name: str
    factory: Factory[T]
    aliases: tuple[str, ...]
    parameters: Mapping[str, inspect.Parameter]
    common: tuple[str, ...] = ()

    @cached_property
    def adapters(self) -> Mapping[str, pydantic.TypeAdapter[Any]]:
        """What checks the value of each parameter."""
        return {name: pydantic.TypeAdapter(parameter.annotation) for name, parameter in self.parameters.items()}

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @property
    def signature(self) -> str:
        """The name with its own parameters and their defaults, as a user would type it."""
        own = {name: p for name, p in self.parameters.items() if name not in self.common}
        values = [name if p.default is p.empty else f"{name}={p.default!r}" for name, p in own.items()]
        return f"{self.name}({', '.join(values)})" if values else self.name


class Registry(Mapping[str, Entry[T]], Generic[T]):
    """A mapping from names to entries that resolves aliases and checks parameters.

    `spelled_out` keeps default values in the canonical text: a table with `mlp(depth=8, width=64)` needs no footnote.
    Those of keyword-only parameters are left out even so: adding such a parameter changes no text, and no trial's id.
    Without an `adopter` only registered names are accepted. `common` changes what every factory made, by parameters
    that each entry has after its own.
    """

    def __init__(self, kind: str, *, spelled_out: bool = False, common: Callable[..., T] | None = None) -> None:
        self.kind = kind
        self.spelled_out = spelled_out
        self.common = common
        self.adopt: Adopt[T] | None = None
        self._entries: dict[str, Entry[T]] = {}
        self._aliases: dict[str, str] = {}

    def register(self, *aliases: str) -> Callable[[F], F]:
        """Return a decorator that adds a factory under its own name and `aliases`."""

        def add(factory: F) -> F:
            made: Factory[T] = factory if self.common is None else _then(factory, self.common)
            common = {} if self.common is None else settable(self.common)
            self.add(Entry(self.kind, factory.__name__, made, aliases, settable(factory) | common, tuple(common)))
            return factory

        return add

    def add(self, entry: Entry[T]) -> None:
        """Add an entry under its own name and its aliases."""
        self._entries[entry.name] = entry
        self._aliases |= dict.fromkeys(entry.aliases, entry.name)

    def adopter(self, adopt: Adopt[T]) -> Adopt[T]:
        """Register `adopt(reference, object)`, which turns an object of the user's into a factory."""
        self.adopt = adopt
        return adopt

    @property
    def group(self) -> str:
        """The group of entry points through which installed packages extend this registry."""
        return f"initbench.{self.kind}s"

    def __getitem__(self, name: str) -> Entry[T]:
        return self._entries[self._aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> Entry[T]:
        """Return the entry with this name or alias, or one for the user's code that `name` refers to.

        Capitals and the underscore of torch's functions that fill a tensor make no difference.

        Raises:
            UsageError: unknown name; the message suggests the nearest one.
            ConfigurationError: the user's code raises while it is imported.
        """
        if name in self._entries or name in self._aliases:
            return self[name]
        if self.adopt is not None and (is_reference(name) or name in usercode.entry_points(self.group)):
            return Entry(self.kind, name, self.adopt(name, usercode.load(name, self.group)), (), {})
        plain = name.lower().removesuffix("_")
        if plain in self._entries or plain in self._aliases:
            return self[plain]
        known = [*self._entries, *self._aliases, *usercode.entry_points(self.group)]
        raise UsageError(
            f"Unknown {self.kind} '{name}'{did_you_mean(name, known)} (`initbench list {self.kind}s` shows all)."
        )

    def resolve(self, text: str | Spec) -> Spec:
        """Check a spec against the registry and return its canonical form.

        Aliases become names, values are converted to their parameter's type, required values become positional, and
        values equal to the default are dropped, so that equal specs have equal text.

        >>> from initbench.schemes import SCHEMES
        >>> str(SCHEMES.resolve("constant(val=1)"))
        'constant(1.0)'

        Raises:
            UsageError: unknown name or parameter, missing value, or a value of the wrong type or range.
        """
        spec = parse(text) if isinstance(text, str) else text
        entry = self.find(spec.name)
        values = bind(entry, spec)
        checked = {key: _check(entry, key, value) for key, value in values.items()}
        required = {key for key, parameter in entry.parameters.items() if parameter.default is parameter.empty}
        args = tuple(checked[key] for key in entry.parameters if key in required)
        kwargs = {
            key: checked.get(key, parameter.default)
            for key, parameter in entry.parameters.items()
            if key not in required
            and (self.spells_out(parameter) or checked.get(key, parameter.default) != parameter.default)
        }
        return Spec(entry.name, args, kwargs)

    def spells_out(self, parameter: inspect.Parameter) -> bool:
        """Return whether the canonical text has a parameter's value where that is the default."""
        return self.spelled_out and parameter.kind is not parameter.KEYWORD_ONLY

    def build(self, text: str | Spec, *supplied: Any) -> T:  # noqa: ANN401 - each kind supplies its own
        """Call the factory that `text` names with the `supplied` arguments and the user's values."""
        spec = self.resolve(text)
        return self.find(spec.name).factory(*supplied, *spec.args, **spec.kwargs)


def settable(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a factory that a user sets."""
    signature = inspect.signature(factory, eval_str=True)
    return {name: p for name, p in signature.parameters.items() if p.kind is not p.POSITIONAL_ONLY}


def _then(factory: Factory[T], common: Factory[T]) -> Factory[T]:
    """Return a factory that passes what `factory` made on to `common`, each with its own parameters."""
    names = settable(common).keys()

    @wraps(factory)
    def both(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - each kind has its own
        made = factory(*args, **{name: value for name, value in kwargs.items() if name not in names})
        return common(made, **{name: value for name, value in kwargs.items() if name in names})

    return both


def bind(entry: Entry[Any], spec: Spec) -> dict[str, Any]:
    """Return the values of a spec by parameter, whose types are not checked yet.

    Raises:
        UsageError: unknown parameter, one that is given twice, too many values, or a required one that is missing.
    """
    own = {name: p for name, p in entry.parameters.items() if name not in entry.common}
    positional = [name for name, p in own.items() if p.kind is not p.KEYWORD_ONLY]
    if len(spec.args) > len(positional):
        without_names = f"{len(positional)} without a name" if len(positional) < len(own) else len(own)
        raise UsageError(f"'{spec}' has {len(spec.args)} values, but {entry.signature} takes {without_names}.")
    values = dict(zip(positional, spec.args, strict=False))
    for key, value in spec.kwargs.items():
        if key not in entry.parameters:
            near, takes = did_you_mean(key, list(entry.parameters)), ", ".join(entry.parameters) or "none"
            raise UsageError(f"Unknown parameter '{key}' of {entry.kind} '{entry.name}'{near} (it takes {takes}).")
        if key in values:
            raise UsageError(f"'{spec}' gives the parameter '{key}' twice.")
        values[key] = value
    for key, parameter in entry.parameters.items():
        if parameter.default is parameter.empty and key not in values:
            raise UsageError(f"The {entry.kind} '{entry.name}' needs a value for '{key}': write {entry.signature}.")
    return values


def _check(entry: Entry[Any], key: str, value: Any) -> Any:  # noqa: ANN401 - any literal
    try:
        return entry.adapters[key].validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        reason = _reason(error)
        raise UsageError(f"{entry.kind.capitalize()} '{entry.name}' cannot take {key}={value!r}: {reason}.") from None


def _reason(error: pydantic.ValidationError) -> str:
    """Return in words what a value must be, with every alternative of a union."""
    return " or ".join(dict.fromkeys(in_words(item["msg"]) for item in error.errors()))
