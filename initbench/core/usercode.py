"""The user's own code, named as `path/to/file.py:name` or `package.module:name`; loaded only when a flag names it.

Reading stored results imports no user code: reports read plain data.
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

from initbench.core.paths import expand
from initbench.core.spec import did_you_mean, is_reference, split_reference
from initbench.errors import ConfigurationError, InitbenchError, UsageError

_LIBRARY = sysconfig.get_path("stdlib")
_importing: list[str] = []
TORCH_SEED = 67280421310721  # of torch's generator in a new process


def load(name: str, group: str = "") -> Any:  # noqa: ANN401 - any object of the user's code
    """Import and return the object that a reference or an entry point of `group` names.

    A file is imported once, and again after it has changed.

    Raises:
        UsageError: no such file, module or name.
        ConfigurationError: the user's code raises while it is imported; the message quotes the line.
    """
    found = split_reference(name)
    if found is None and name not in entry_points(group):
        raise UsageError(f"'{name}' is not of the form path/to/file.py:name or package.module:name.")
    if found is None:
        with user_errors(f"the entry point {name}"):
            return entry_points(group)[name].load()
    home, wanted = found
    module = _module(home, _changed(home))
    if not hasattr(module, wanted):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{home} has no '{wanted}'{did_you_mean(wanted, names) or '.'}")
    return getattr(module, wanted)


def reference_to(item: object) -> str | None:
    """Return the reference to a function or class that stands at the top of a file or an installed module, else None.

    A file below the current folder is named from there.
    """
    name, module = getattr(item, "__qualname__", ""), sys.modules.get(getattr(item, "__module__", None) or "")
    if not name.isidentifier() or getattr(module, name, None) is not item:
        return None
    try:
        file = Path(inspect.getsourcefile(item) or "")  # type: ignore[arg-type] # it raises for what has no source
    except TypeError:
        return None
    if not file.is_file() or file.suffix != ".py":
        return None
    if "site-packages" in file.parts:
        return f"{item.__module__}:{name}"
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}:{name}"


def importing() -> str:
    """Return the file of the user's that is being imported now, empty if none is."""
    return _importing[-1] if _importing else ""


@cache
def entry_points(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name, without importing any."""
    return {point.name: point for point in metadata.entry_points(group=group)}


def source_hash(reference: str, group: str = "") -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the file that holds the user's code, for the trial's id.

    Modules imported by that file are not covered.
    """
    found = split_reference(reference)
    is_file = found is not None and found[0].endswith(".py")
    path = expand(found[0]) if found and is_file else Path(_source(load(reference, group), reference))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def code_hashes(texts: Iterable[str], group: str) -> dict[str, str]:
    """Return the source hash of each reference or entry point among `texts`."""
    return {text: source_hash(text, group) for text in texts if is_reference(text) or text in entry_points(group)}


def describe_error(error: BaseException) -> str:
    """Return an error's type and message with the last line of the user's code in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(("<", str(Path(__file__).parents[1]), _LIBRARY))]
    message = str(error).strip().partition("\n")[0].rstrip(".")
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return f"{text} ({own[-1].filename}, line {own[-1].lineno}: {own[-1].line})" if own else text


@contextmanager
def user_errors(name: str, failure: str = "does not import:") -> Iterator[None]:
    """Turn errors of the user's code into a ConfigurationError that quotes the line; give back the process's state.

    Raises:
        ConfigurationError: the block raises anything but an InitbenchError.
    """
    from initbench.core.process_state import process_kept  # noqa: PLC0415 - loads torch, which plain data do not need

    try:
        with process_kept():
            yield
    except InitbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{name} {failure} {describe_error(error)}.") from error


def _changed(home: str) -> int:
    """Return the modification time of a file, 0 for a module: a changed file is imported again."""
    path = expand(home)
    return path.stat().st_mtime_ns if home.endswith(".py") and path.is_file() else 0


@lru_cache(maxsize=64)
def _module(home: str, _changed_at: int) -> ModuleType:
    from initbench.core.randomness import isolated  # noqa: PLC0415 - loads torch, which plain data do not need

    is_file = home.endswith(".py")
    # What a file draws while it is imported is the same in every process.
    with user_errors(home), on_import_path(home), isolated(TORCH_SEED):
        try:
            return _from_file(expand(home)) if is_file else importlib.import_module(home)
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
    """Import a file under a module name that hides no other module."""
    if not path.is_file():
        raise UsageError(f"No file {path}.")
    spec = importlib.util.spec_from_file_location(f"initbench_user_{path.stem}", path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up there
    _importing.append(str(path))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    finally:
        _importing.pop()
    return module


@contextmanager
def on_import_path(home: str) -> Iterator[None]:
    """Put the folder of a file on sys.path, as `python file.py` does; for a module the current folder, as `-m` does."""
    folder = str(expand(home).parent.resolve()) if home.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have removed it
            sys.path.remove(folder)
