"""Generators that the user's code keeps for itself, found from a network, and held like the global ones.

`rng = np.random.default_rng(0)` at the top of a file would go on from one trial to the next, so that a trial's numbers
depended on those trained before it in the same process.
"""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from initbench.core.randomness import derive

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
LIBRARIES = frozenset({*sys.stdlib_module_names, "torch", "numpy", "initbench"}) - {"__main__"}
INSTALLED = ("site-packages", "dist-packages")
PLAIN = frozenset((type(None), bool, int, float, str, bytes, torch.Tensor, nn.Parameter))  # hold no generator
MOST_ITEMS = 1000  # of one list or dictionary
_watching: ContextVar[set[str] | None] = ContextVar("watching", default=None)


def own_generators(*roots: object) -> dict[str, Generator]:
    """Return the generators that the given networks and functions can reach, by a path that is the same each time.

    Looked through are attributes, lists and dictionaries, what functions enclose, and the names in the files that
    define them; installed packages are not. The global generators are not among them (see `isolated`), nor is
    `random.SystemRandom`, which has no state.
    """
    found: dict[str, Generator] = {}
    waiting: list[tuple[str, object]] = [("", root) for root in reversed(roots)]
    seen: dict[int, object] = {}  # holds what was seen, so that no id is used twice
    while waiting:
        path, item = waiting.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, Generator):
            if not isinstance(item, random.SystemRandom) and not _is_global(item):
                found.setdefault(path, item)
        else:
            waiting.extend(reversed([part for part in _parts(path, item) if type(part[1]) not in PLAIN]))
    return found


@contextmanager
def held(seed: int, generators: Mapping[str, Generator]) -> Iterator[None]:
    """Seed each generator from (seed, its path) within the block, then give its state back."""
    before = [(generator, _state(generator)) for generator in generators.values()]
    for path, generator in generators.items():
        _seed(generator, derive(seed, "own generator", path))
    watching = _watching.get()
    seeded = _fingerprints(generators) if watching is not None else {}
    try:
        yield
    finally:
        if watching is not None:
            watching |= {path for path, state in _fingerprints(generators).items() if state != seeded[path]}
        for generator, state in before:
            _restore(generator, state)


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collect the paths of the generators that are drawn from where they are `held` within the block."""
    token = _watching.set(found := set[str]())
    try:
        yield found
    finally:
        _watching.reset(token)


def _fingerprints(generators: Mapping[str, Generator]) -> dict[str, bytes]:
    return {path: b"\0".join(_bytes(_state(generator))) for path, generator in generators.items()}


def _bytes(state: object) -> Iterator[bytes]:
    """Yield a state piece by piece; `repr` alone would leave out the middle of an array."""
    if isinstance(state, dict | tuple):
        for item in state.values() if isinstance(state, dict) else state:
            yield from _bytes(item)
    else:
        yield state.tobytes() if isinstance(state, np.ndarray) else repr(state).encode()


def _parts(path: str, item: object) -> Iterator[tuple[str, object]]:
    """Yield what an object refers to and may hold a generator, each with its path."""
    if isinstance(item, dict):
        yield from ((f"{path}.{key}", value) for key, value in islice(item.items(), MOST_ITEMS) if isinstance(key, str))
    elif isinstance(item, list | tuple):
        yield from ((f"{path}.{i}", value) for i, value in enumerate(islice(item, MOST_ITEMS)))
    elif isinstance(item, MethodType):
        yield from ((path, item.__self__), (path, item.__func__))
    elif isinstance(item, FunctionType):
        cells = zip(item.__code__.co_freevars, item.__closure__ or (), strict=True)
        yield from ((f"{path}.{name}", cell.cell_contents) for name, cell in cells if _is_filled(cell))
        yield from _home(item)
    elif isinstance(item, ModuleType):
        if _is_own(item.__name__):
            yield from ((f"{item.__name__}.{name}", value) for name, value in list(vars(item).items()))
    elif isinstance(item, type):
        if _is_own(item.__module__):
            yield from ((f"{item.__module__}.{item.__qualname__}.{key}", value) for key, value in vars(item).items())
            yield from (("", base) for base in item.__bases__)
            yield from _home(item)
    elif isinstance(item, nn.Module) or _is_own(type(item).__module__):
        yield from ((f"{path}.{key}", value) for key, value in list(getattr(item, "__dict__", {}).items()))
        yield "", type(item)


def _home(item: FunctionType | type) -> Iterator[tuple[str, object]]:
    """Yield the module that defines a function or a class, unless it is a library's."""
    module = sys.modules.get(item.__module__ or "")
    if module is not None:
        yield "", module


def _is_own(name: str) -> bool:
    """Return whether a module is the user's own code and not a library: those are large, and seed what they draw."""
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return name.partition(".")[0] not in LIBRARIES and not any(folder in file for folder in INSTALLED)


def _is_filled(cell: Any) -> bool:  # noqa: ANN401 - types.CellType is generic in no stub
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _is_global(generator: Generator) -> bool:
    return generator is torch.default_generator or generator is np.random.mtrand._rand or generator is random._inst  # noqa: SLF001 - there is no public name for them


def _seed(generator: Generator, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % 2**32)
    else:
        generator.seed(seed)


def _state(generator: Generator) -> Any:  # noqa: ANN401 - each kind has a form of its own
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _restore(generator: Generator, state: Any) -> None:  # noqa: ANN401 - as above
    if isinstance(generator, torch.Generator):
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.setstate(state)
