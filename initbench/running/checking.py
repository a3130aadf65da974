"""Checks of a recipe against the registries and the data: every mistake is named before the first trial."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from initbench import datasets
from initbench.core.spec import is_reference
from initbench.core.words import joined, quoted
from initbench.datasets import Dataset
from initbench.errors import ConfigurationError, InitbenchError, UsageError
from initbench.records.draft import Draft, Mistake, check
from initbench.records.recipe import DEFAULT_BASELINE, Claim, Recipe, WhereKey
from initbench.running.facts import (
    canonical as canonical_text,
)
from initbench.running.facts import (
    check_precision,
    device_of,
    notices_of,
    require_logits,
    require_optimizer,
    try_step,
)

CODE_IN_FILE = "code is imported when a flag names it, never because a file does: give it with -s or -m."

_scheme = partial(canonical_text, "scheme")
_model = partial(canonical_text, "model")
_optimizer = partial(canonical_text, "optimizer")


def canonical_recipe(draft: Draft) -> Recipe:
    """Return the recipe of a draft with every name in canonical form.

    Structure and names are checked together, so that one run shows every mistake.

    Raises:
        UsageError: mistakes in flags or arguments, one per line.
        ConfigurationError: mistakes of which one is in a recipe file, likewise.
    """
    recipe, mistakes = check(draft)
    resolvers: dict[str, Callable[[str], object]] = {
        "schemes": _scheme,
        "model": _model,
        "dataset": datasets.resolve,
        "optimizer": _optimizer,
        "baseline": _scheme,
    }
    canonical: dict[str, Any] = {}
    for key, resolve in resolvers.items():
        values, wrong = _resolve_all(draft, key, resolve)
        mistakes += wrong
        canonical[key] = tuple(dict.fromkeys(values))
    for i, claim in enumerate(recipe.claims if recipe else ()):
        if any(map(names_code, (claim.better, claim.than, str(claim.where.get("model", ""))))):
            mistakes.append(draft.mistake("claims", CODE_IN_FILE, f"[{i}]"))
            continue
        named, wrong_keys = _claim(claim, canonical)
        canonical.setdefault("claims", []).append(named)
        mistakes += [draft.mistake("claims", said, f"[{i}].{key}") for key, said in wrong_keys]
    _raise_all(mistakes)
    assert recipe is not None
    canonical["baseline"] = next(iter(canonical["baseline"]), None)
    canonical["claims"] = tuple(canonical.get("claims", ()))
    return recipe.model_copy(update=canonical)


def merged(draft: Draft) -> Iterator[str]:
    """Yield a sentence per scheme that was given under several names; it is trained once."""
    value = draft.values.get("schemes")
    given = defaultdict[str, list[str]](list)
    for text in map(str, value if isinstance(value, list | tuple) else [value]):
        given[str(_scheme(text))].append(text)
    for scheme, names in given.items():
        if len(names) > 1:
            yield f"{joined(map(quoted, names))} are one scheme, {scheme}: it is trained once."


def names_code(text: str) -> bool:
    """Return whether any part of a scheme or model names the user's own code."""
    return ".py:" in text or any(is_reference(part.rpartition("=")[2]) for part in text.split(";"))


def _claim(claim: Claim, canonical: Mapping[str, Sequence[str]]) -> tuple[Claim, list[tuple[str, str]]]:
    """Return a claim with canonical names, and what is wrong by key; it may only be about what the recipe compares."""
    resolvers: dict[str, Callable[[], str | float]] = {
        "better": partial(_compared, claim.better, canonical["schemes"]),
        "than": partial(_compared, claim.than, canonical["schemes"]),
    }
    for key, resolve in (("model", _model), ("optimizer", _optimizer)):
        if key in claim.where:
            resolvers[f"where.{key}"] = partial(_named, resolve, claim.where[key], canonical[key])
    found: dict[str, str | float] = {}
    wrong: list[tuple[str, str]] = []
    for key, resolved in resolvers.items():
        try:
            found[key] = resolved()
        except UsageError as error:
            wrong.append((key, str(error)))
    if not wrong and found["better"] == found["than"]:
        wrong.append(("than", f"'{found['than']}' is the scheme named as better: name the one that it should beat."))
    sides = {key: found.get(key, getattr(claim, key)) for key in ("better", "than")}
    where = {key: found.get(f"where.{key}", value) for key, value in claim.where.items()}
    return claim.model_copy(update={**sides, "where": where}), wrong


def _compared(text: str, schemes: Sequence[str]) -> str:
    scheme = _scheme(text)
    if scheme not in schemes:
        raise UsageError(f"'{scheme}' is not among the schemes: add it.")
    return scheme


def _named(resolve: Callable[[str], str], value: str | float, known: Sequence[str]) -> str | float:
    return _one_of(resolve(str(value)), known)


def _one_of(value: str | float, known: Sequence[str | float]) -> str | float:
    """Return a value that a claim names if anything is trained with it: otherwise it would never be decided."""
    if value not in known:
        raise UsageError(f"{value!r} is not among the recipe's ({', '.join(map(str, known))}).")
    return value


def _resolve_all(draft: Draft, key: str, resolve: Callable[[str], object]) -> tuple[list[str], list[Mistake]]:
    """Return the canonical text of each name of an axis; values that are not text are left to the structure check."""
    value = draft.values.get(key)
    texts = value if isinstance(value, list | tuple) else [value]
    values, mistakes = [], []
    for text in texts:
        if not isinstance(text, str):
            continue
        if names_code(text) and draft.mistake(key, "").in_file:
            mistakes.append(draft.mistake(key, f"'{text}': {CODE_IN_FILE}"))
            continue
        try:
            values.append(str(resolve(text)))
        except UsageError as error:
            mistakes.append(draft.mistake(key, str(error)))
    return values, mistakes


def _raise_all(mistakes: Iterable[Mistake]) -> None:
    """Raise all mistakes as one error: a ConfigurationError if any of them is in a file, else a UsageError."""
    unique = list(dict.fromkeys(mistakes))
    if unique:
        error = ConfigurationError if any(mistake.in_file for mistake in unique) else UsageError
        raise error("\n".join(map(str, unique)))


def baseline_of(recipe: Recipe) -> str:
    """Return the declared baseline; undeclared, torch_default where it takes part, else the first scheme."""
    if recipe.baseline is not None:
        return recipe.baseline
    return DEFAULT_BASELINE if DEFAULT_BASELINE in recipe.schemes else recipe.schemes[0]


def checked_device(draft: Draft, recipe: Recipe) -> str:
    """Return the device that trains here.

    Raises:
        ConfigurationError: it is not available, or lacks the precision.
    """
    try:
        device = device_of(recipe.device, recipe.precision)
    except ConfigurationError as error:
        raise ConfigurationError(str(draft.mistake("device", str(error)))) from None
    try:
        check_precision(recipe.precision, device)
    except ConfigurationError as error:
        raise ConfigurationError(str(draft.mistake("precision", str(error)))) from None
    return device


def require_fit(draft: Draft, recipe: Recipe, prepared: list[Dataset]) -> None:
    """Try every pair of model, dataset, scheme and optimizer; a message is given once for all pairs it applies to.

    Raises:
        UsageError: a pair does not fit.
        ConfigurationError: one of them is in a recipe file.
    """
    mistakes: dict[str, Mistake] = {}
    for key, attempt in _attempts(recipe, prepared):
        try:
            attempt()
        except (InitbenchError, ValueError) as error:
            name, bracket, rest = key.partition("[")
            mistakes.setdefault(str(error), draft.mistake(name, str(error), bracket + rest))
    _raise_all(mistakes.values())


def _attempts(recipe: Recipe, prepared: list[Dataset]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a check of each pair that must fit, with the recipe key to blame if it fails."""
    yield "dataset", partial(_require_names, prepared)
    yield from _claim_places(recipe, prepared)
    for dataset in prepared:
        for batch_size in recipe.batch_size:
            yield "batch_size", partial(_require_batch, batch_size, dataset)
        for model in recipe.model:
            yield "model", partial(require_logits, model, dataset)
            for scheme in recipe.schemes:
                yield "schemes", partial(notices_of, model, scheme, dataset)
            yield "model", partial(try_step, model, dataset, min(recipe.batch_size))
    for optimizer, dataset, size in itertools.product(recipe.optimizer, prepared, recipe.batch_size):
        yield "optimizer", partial(require_optimizer, optimizer, recipe.steps_over(dataset.train_size, size))


def _require_names(prepared: list[Dataset]) -> None:
    """Raise if two datasets have one name: they would share the rows of every table."""
    counts = Counter(dataset.name for dataset in prepared)
    for name, count in counts.items():
        if count > 1:
            raise UsageError(f"{count} different datasets are called '{name}': rename a file or folder.")


def _claim_places(recipe: Recipe, prepared: list[Dataset]) -> Iterator[tuple[str, Callable[[], object]]]:
    known: dict[WhereKey, Sequence[str | float]] = {
        "dataset": [dataset.name for dataset in prepared],
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
    }
    for i, claim in enumerate(recipe.claims):
        for key in known.keys() & claim.where.keys():
            yield f"claims[{i}].where.{key}", partial(_one_of, claim.where[key], known[key])


def _require_batch(batch_size: int, dataset: Dataset) -> None:
    if batch_size > dataset.train_size:
        raise UsageError(
            f"a batch of {batch_size} is larger than the training split of {dataset.name} "
            f"({dataset.train_size} images): choose a smaller one."
        )


def model_notices(recipe: Recipe, prepared: list[Dataset]) -> list[str]:
    """Return a sentence for each kind of layer that a scheme does not fit, and what a step of a network showed."""
    combinations = itertools.product(recipe.model, recipe.schemes, prepared)
    tried = (try_step(*pair, min(recipe.batch_size))[1] for pair in itertools.product(recipe.model, prepared))
    return list(dict.fromkeys(itertools.chain(*tried, *itertools.starmap(notices_of, combinations))))
