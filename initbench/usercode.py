"""The user's own code, named as `path/to/file.py:name` or `package.module:name`: loaded only because a flag asked.

Nothing stored is ever a reason to import: reports read plain data.
"""

import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from initbench.errors import ConfigurationError, UsageError
from initbench.models import ImageShape
from initbench.randomness import isolated
from initbench.registry import did_you_mean

_LIBRARY = sysconfig.get_path("stdlib")
_REFERENCE = re.compile(r"(?P<home>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def is_reference(text: str) -> bool:
    """Say whether a text names user code and not an entry of a registry."""
    return _REFERENCE.fullmatch(text.strip()) is not None


def load(reference: str) -> Any:  # noqa: ANN401 - whatever the user's file holds
    """Import the module and return what has that name in it.

    Raises:
        UsageError: no such file, module or name.
        ConfigurationError: the user's code raises while it is imported; the message has its line.
    """
    found = _REFERENCE.fullmatch(reference.strip())
    if found is None:
        raise UsageError(f"'{reference}' is not of the form path/to/file.py:name or package.module:name.")
    module = _module(found["home"])
    if not hasattr(module, found["name"]):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{found['home']} has no '{found['name']}'{did_you_mean(found['name'], names) or '.'}")
    return getattr(module, found["name"])


def builder(reference: str, shape: ImageShape | None, classes: int) -> Callable[[int], nn.Module]:
    """Return a function from a seed to a new model, as the user's builder makes it.

    The builder may take (shape, classes), (shape) or nothing; the global random state is seeded for it, and left as it
    was.

    Raises:
        UsageError: not callable, or needs other arguments.
    """
    build = load(reference)
    if isinstance(build, nn.Module):
        raise UsageError(f"'{reference}' is a model, not a function that builds one: each seed needs a new one.")
    if not callable(build):
        raise UsageError(f"'{reference}' is {type(build).__name__}, not a function that builds a model.")
    arguments = _fitting(build, reference, shape, classes)
    home = reference.strip().rpartition(":")[0]

    def built(seed: int) -> nn.Module:
        try:
            with isolated(seed), _beside(home):
                model = build(*arguments)
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"{reference} raised {where(error)}.") from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"{reference} returned {type(model).__name__}, not a torch.nn.Module.")
        return model

    return built


def where(error: BaseException) -> str:
    """Name an error with the last line of the user's own code that it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(("<", str(Path(__file__).parent), _LIBRARY))]
    message = str(error).strip().partition("\n")[0].rstrip(".")
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return f"{said} ({own[-1].filename}, line {own[-1].lineno}: {own[-1].line})" if own else said


def _module(home: str) -> ModuleType:
    is_file = home.endswith(".py")
    try:
        with isolated(0), _beside(home):
            return _from_file(Path(home).expanduser()) if is_file else importlib.import_module(home)
    except ModuleNotFoundError as error:
        if not is_file and error.name and f"{home}.".startswith(f"{error.name}."):
            raise UsageError(f"No module named '{error.name}': is it installed, or a file.py:name?") from None
        raise ConfigurationError(f"{home} does not import: {where(error)}.") from error
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{home} does not import: {where(error)}.") from error


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name of its own."""
    if not path.is_file():
        raise UsageError(f"No file {path}.")
    spec = importlib.util.spec_from_file_location(f"initbench_user_{path.stem}", path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles in the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return module


@contextmanager
def _beside(home: str) -> Iterator[None]:
    """Have the folder of a file on the path, as `python file.py` would, and for a module the current one, as `-m`."""
    folder = str(Path(home).expanduser().parent.resolve()) if home.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the file may have tidied the path itself
            sys.path.remove(folder)


def _fitting(build: Callable[..., Any], reference: str, shape: ImageShape | None, classes: int) -> tuple[Any, ...]:
    """Return the first of (shape, classes), (shape,) and () that the builder's signature takes."""
    try:
        signature = inspect.signature(build)
    except ValueError:
        raise UsageError(
            f"'{reference}' does not say what arguments it takes: write a function that calls it."
        ) from None
    offers: list[tuple[Any, ...]] = [(shape, classes), (shape,), ()] if shape is not None else [()]
    required = [p for p in signature.parameters.values() if p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD]
    for offer in offers:
        try:
            signature.bind(*offer)
        except TypeError:
            continue
        if len(offer) == len(required) or not required:
            return offer if required else ()
    raise UsageError(f"{reference}{signature} takes neither (shape, classes), (shape) nor nothing.")
