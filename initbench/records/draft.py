"""A draft: the values of a recipe with where each was given, merged, and checked so that every mistake is named."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from initbench.core.spec import did_you_mean
from initbench.core.text import in_words
from initbench.errors import ConfigurationError, UsageError
from initbench.records.recipe import WHERE_KEYS, Claim, Recipe

LONGEST_QUOTE = 80  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Mistake:
    """One mistake in a recipe: `place` is the file and key, the flag, or the argument."""

    place: str
    message: str
    in_file: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class Draft:
    """Recipe values before they are checked, each with its origin: a flag, `argument`, `default` or a recipe file."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]

    def mistake(self, key: str, message: str, index: str = "") -> Mistake:
        """Return a mistake in the value of `key`, at the place where it was given; a default is named by its flag."""
        origin = self.origins.get(key, "default")
        if origin.startswith("--") or origin == "default":
            return Mistake(flag_of(key), message, in_file=False)
        if origin == "argument":
            return Mistake(key + index, message, in_file=False)
        return Mistake(f"{origin}: {key}{index}", message, in_file=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a recipe file without checking it.

    Raises:
        ConfigurationError: the file is absent, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors write a byte-order mark
    except FileNotFoundError:
        recipes = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        remedy = did_you_mean(str(path), recipes) or "; `initbench new experiment NAME` writes one."
        raise ConfigurationError(f"No recipe at {path}{remedy}") from None
    except OSError as error:
        raise ConfigurationError(f"Cannot read the recipe {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # what tomllib and the numbers and brackets in a file can raise
        raise ConfigurationError(f"The recipe {path} is not valid TOML: {error}.") from None


def merge(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> Draft:
    """Merge layers of values; a later layer overrides an earlier one.

    `layers` are (origin, values); the origin `--` stands for flags and becomes each flag's own name. Epochs and steps
    exclude each other, so a layer that gives one removes the other.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        if len({"epochs", "steps"} & layer.keys()) == 1:
            values |= {"epochs": None, "steps": None}
        values |= layer
        origins |= {key: flag_of(key) if origin == "--" else origin for key in layer}
    return Draft(values, origins)


def check_one(kind: Any, value: Any, flag: str) -> Any:  # noqa: ANN401 - any of the types above
    """Check the value of one flag outside a recipe, for example (RunName, "trials", "--name").

    Raises:
        UsageError: the value is not valid.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise UsageError(f"{flag}: {in_words(error.errors()[0]['msg'])}, not {_short(value)}.") from None


def flag_of(key: str) -> str:
    """Return the flag that sets a recipe key."""
    return "--" + {"schemes": "scheme"}.get(key, key).replace("_", "-")


def check(draft: Draft) -> tuple[Recipe | None, list[Mistake]]:
    """Check the structure of a draft (known keys, types and ranges) and return all mistakes at once."""
    mistakes = []
    if draft.values.get("epochs") is not None and draft.values.get("steps") is not None:
        mistakes.append(draft.mistake("steps", "give either epochs or steps, not both."))
    try:
        recipe = Recipe.model_validate(dict(draft.values))
    except ValidationError as error:
        return None, mistakes + [_mistake(draft, dict(item)) for item in error.errors()]
    shared = sorted(set(recipe.seeds) & set(recipe.tuning_seeds))
    if len(recipe.lr) > 1 and shared:
        mistakes.append(draft.mistake("seeds", f"{shared} are tuning seeds too, which would flatter the rate."))
    if len(recipe.lr) > 1 and recipe.vary:
        mistakes.append(draft.mistake("vary", "crossing seeds needs one learning rate, not a grid."))
    return recipe, mistakes


def _mistake(draft: Draft, item: Mapping[str, Any]) -> Mistake:
    key, *places = item["loc"]
    said = f"{in_words(item['msg'])}, not {_short(item['input'])}."
    if item["type"] == "missing":
        said = "this key is required."
    elif item["type"] == "extra_forbidden" or "[key]" in places:
        known = WHERE_KEYS if "[key]" in places else list(Claim.model_fields if places else Recipe.model_fields)
        places = [place for place in places if place != "[key]"]
        name = str(places.pop() if places else key)[:LONGEST_QUOTE]
        said = f"unknown key '{name}'" + (did_you_mean(name, known) or f" (known: {', '.join(known)}).")
    # A value that may be of several types has the type tried as its last place.
    below = "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places[:3])
    return draft.mistake(str(key)[:LONGEST_QUOTE], said, below)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not write out whole numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
