"""What planning asks of torch: kept for built-in networks and schemes, so that the next plan of them loads no torch.

What the user's own code takes part in is never kept: its answers may depend on anything.
"""

import ctypes
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from initbench.core import kept, usercode
from initbench.core.registry import Entry
from initbench.core.spelling import settled
from initbench.datasets import Dataset
from initbench.errors import UsageError
from initbench.records.recipe import Precision

# ruff: noqa: PLC0415 - what loads torch is imported where a fact is not known

Answer = TypeVar("Answer")
PROGRAMS = 8  # states of the program whose facts are kept: a developer makes a new one with every edit
REGISTRIES = (
    "initbench.schemes.rule:SCHEMES",
    "initbench.networks.models:MODELS",
    "initbench.training.optimizers:OPTIMIZERS",
)
_GLOB = re.compile(r"(^|;)\s*name:[^;:]*=")


class _Book:
    """The facts known to this process; `new` where some are not in the file yet."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] | None = None
        self.new = False


_book = _Book()


@contextmanager
def facts_kept() -> Iterator[None]:
    """Know the facts that earlier processes kept, and keep those that are found within the block."""
    try:
        yield
    finally:
        if _book.new:
            _keep()


def remembered(fact: Callable[..., Answer]) -> Callable[..., Answer]:
    """Look up a fact, or find it and remember it: what it returns is JSON, and a UsageError is remembered too."""

    @functools.wraps(fact)
    def asked(*question: Any) -> Answer:  # noqa: ANN401 - texts and numbers
        if any(isinstance(part, str) and may_name_code(part) for part in question):
            return fact(*question)
        key = json.dumps([fact.__name__, *question])
        known = _known()
        if key not in known:
            known[key] = _outcome(fact, question)
            _book.new = True
        answer, error = known[key]
        if error is not None:
            raise UsageError(error)
        return answer  # type: ignore[no-any-return] # as JSON gives it back

    return asked


def _outcome(fact: Callable[..., Any], question: tuple[Any, ...]) -> tuple[Any, str | None]:
    try:
        return fact(*question), None
    except UsageError as error:
        return None, str(error)


def may_name_code(text: str) -> bool:
    """Return whether a model's or scheme's text may name the user's own code; never wrong where it says no."""
    if ":" in _GLOB.sub("", text) or any(map(_is_extended, REGISTRIES)):
        return True
    return any(name in text for group in kept.PLUGINS for name in usercode.entry_points(group))


def _is_extended(home: str) -> bool:
    """Return whether this process has registered functions that are not the package's, in a registry by its place."""
    module, _, name = home.partition(":")
    registry: Mapping[str, Entry[Any]] = getattr(sys.modules.get(module), name, {})
    return any(not entry.factory.__module__.startswith("initbench.") for entry in registry.values())


@remembered
def canonical(kind: str, text: str) -> str:
    """Return the canonical text of a scheme, a model or an optimizer.

    Raises:
        UsageError: see `schemes.parse_scheme` and `Registry.resolve`.
    """
    if not may_name_code(text) and (found := settled(kind, text)) is not None:
        return found
    from initbench.running import fitting

    return fitting.canonical(kind, text)


@remembered
def require_optimizer(text: str, steps: int) -> None:
    """Raise UsageError where an optimizer cannot be built for so many steps."""
    if may_name_code(text) or settled("optimizer", text) is None:
        from initbench.running import fitting

        fitting.require_optimizer(text, steps)


def require_logits(model: str, dataset: Dataset) -> None:
    """Raise UsageError where a built-in model does not fit the images of a dataset."""
    _fits(model, dataset.name, dataset.shape, dataset.classes)


def notices_of(model: str, scheme: str, dataset: Dataset) -> list[str]:
    """Return sentences about the layers of a model that a scheme does not fit."""
    return _notices(model, scheme, dataset.shape, dataset.classes)


def revision_of(model: str, scheme: str, dataset: Dataset) -> int:
    """Return how often the weights that a scheme gives a model have changed since the first release."""
    return _revision(model, scheme, dataset.shape, dataset.classes)


@remembered
def _fits(model: str, name: str, shape: tuple[int, int, int], classes: int) -> None:
    from initbench.running import fitting

    fitting.require_logits(model, name, shape, classes)


@remembered
def _notices(model: str, scheme: str, shape: tuple[int, int, int], classes: int) -> list[str]:
    from initbench.running import fitting

    return fitting.notices_of(model, scheme, shape, classes)


@remembered
def _revision(model: str, scheme: str, shape: tuple[int, int, int], classes: int) -> int:
    from initbench.running import fitting

    return fitting.revision_of(model, scheme, shape, classes)


def try_step(model: str, dataset: Dataset, batch_size: int) -> tuple[bool, tuple[str, ...]]:
    """Return whether a step of a network draws from generators of its own, and sentences about it (`trying`)."""
    if not may_name_code(model):
        return False, ()
    from initbench.running import trying

    tried = trying.try_step(model, dataset, batch_size)
    return tried.draws_from_own, tried.notices


def revised_by_execution(model: str, scheme: str, dataset: Dataset) -> bool:
    """Return whether the order of execution changed the weights of a network (`revised`)."""
    if not may_name_code(model):
        return False
    from initbench.running import revised

    return revised.revised_by_execution(model, scheme, dataset)


def device_of(asked: str, precision: Precision) -> str:
    """Return the device that trains here, the CPU without torch where there is no GPU.

    Raises:
        ConfigurationError: see `environment.choose_device` and `check_precision`.
    """
    plain = precision != "tf32" and "torch" not in sys.modules
    if plain and (asked == "cpu" or (asked == "auto" and not _may_have_gpu())):
        return "cpu"
    from initbench.training.environment import choose_device

    return choose_device(asked)


def check_precision(precision: Precision, device: str) -> None:
    """Raise ConfigurationError where a device lacks a precision."""
    if precision == "tf32":
        from initbench.training import environment

        environment.check_precision(precision, device)


def _may_have_gpu() -> bool:
    """Return whether torch could find a GPU: without the driver's library it finds none."""
    if sys.platform == "darwin":
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # AMD's
    return True


def _known() -> dict[str, Any]:
    if _book.facts is None:
        _book.facts = _stored()
    return _book.facts


def _stored() -> dict[str, Any]:
    """Return the facts that are in the file."""
    found = kept.recall(_place(), "facts")
    return found if isinstance(found, dict) else {}


def _keep() -> None:
    """Write what is known, with what other processes wrote meanwhile."""
    _book.new = False
    kept.keep(_place(), "facts", _stored() | _known(), PROGRAMS)


def _place() -> str:
    return f"facts/{kept.PROGRAM[:16]}.json"
