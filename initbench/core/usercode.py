"""The user's own code, named as `path/to/file.py:name` or `package.module:name`: loaded only because a flag asked.

Nothing stored is ever a reason to import: reports read plain data.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from initbench.core.spec import REFERENCE, did_you_mean, is_reference
from initbench.errors import ConfigurationError, InitbenchError, UsageError

_LIBRARY = sysconfig.get_path("stdlib")


def load(name: str, group: str = "") -> Any:  # noqa: ANN401 - whatever the user's code holds
    """Import and return what a reference or an entry point of `group` names; once, unless the file has changed.

    Raises:
        UsageError: no such file, module or name.
        ConfigurationError: the user's code raises while it is imported; the message has its line.
    """
    found = REFERENCE.fullmatch(name.strip())
    if found is None and name not in entry_points(group):
        raise UsageError(f"'{name}' is not of the form path/to/file.py:name or package.module:name.")
    if found is None:
        with told(f"the entry point {name}"):
            return entry_points(group)[name].load()
    module = _module(found["home"], _changed(found["home"]))
    if not hasattr(module, found["name"]):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{found['home']} has no '{found['name']}'{did_you_mean(found['name'], names) or '.'}")
    return getattr(module, found["name"])


@cache
def entry_points(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name; nothing of theirs is imported."""
    return {point.name: point for point in metadata.entry_points(group=group)}


def source_hash(reference: str, group: str = "") -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the file that holds the user's code: part of a trial's identity.

    What that file imports is not covered.
    """
    found = REFERENCE.fullmatch(reference.strip())
    is_file = found is not None and found["home"].endswith(".py")
    path = Path(found["home"]).expanduser() if found and is_file else Path(_source(load(reference, group), reference))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def own_code(texts: Iterable[str], group: str) -> dict[str, str]:
    """Return the hash of each reference or entry point among some names."""
    return {text: source_hash(text, group) for text in texts if is_reference(text) or text in entry_points(group)}


def where(error: BaseException) -> str:
    """Name an error with the last line of the user's own code that it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(("<", str(Path(__file__).parent), _LIBRARY))]
    message = str(error).strip().partition("\n")[0].rstrip(".")
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return f"{said} ({own[-1].filename}, line {own[-1].lineno}: {own[-1].line})" if own else said


@contextmanager
def told(home: str, did: str = "does not import:") -> Iterator[None]:
    """Turn whatever the user's code raises into a sentence with its line; the global random state stays as it was.

    Raises:
        ConfigurationError: the block raised anything but an error of ours.
    """
    import torch  # noqa: PLC0415 - this module is loaded where plain data are read, which needs no torch

    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except InitbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{home} {did} {where(error)}.") from error


def _changed(home: str) -> int:
    """Return when a file was last written, 0 for a module: a file that was changed is loaded anew."""
    path = Path(home).expanduser()
    return path.stat().st_mtime_ns if home.endswith(".py") and path.is_file() else 0


@lru_cache(maxsize=64)
def _module(home: str, _changed_at: int) -> ModuleType:
    is_file = home.endswith(".py")
    with told(home), beside(home):
        try:
            return _from_file(Path(home).expanduser()) if is_file else importlib.import_module(home)
        except ModuleNotFoundError as error:
            if not is_file and error.name and f"{home}.".startswith(f"{error.name}."):
                raise UsageError(f"No module named '{error.name}': is it installed, or a file.py:name?") from None
            raise


def _source(loaded: Any, reference: str) -> str:  # noqa: ANN401 - the user's object
    try:
        return inspect.getsourcefile(loaded) or ""
    except TypeError:
        raise UsageError(f"'{reference}' has no source file: name a function that is written in Python.") from None


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
def beside(home: str) -> Iterator[None]:
    """Have the folder of a file on the path, as `python file.py` would, and for a module the current one, as `-m`."""
    folder = str(Path(home).expanduser().parent.resolve()) if home.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the file may have tidied the path itself
            sys.path.remove(folder)
