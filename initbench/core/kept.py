"""Answers kept in files for later processes: read by the same program alone, and never where they are damaged.

A kept answer is JSON with a checksum. It is named or marked by `PROGRAM`, so no other version, no edited source and no
other library reads it. Whatever cannot be read is computed again, and where nothing can be written nothing is kept.
"""

import hashlib
import json
import os
import stat
import sys
import tempfile
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Any

from initbench.core.paths import cache_dir
from initbench.core.usercode import entry_points

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("torch", "numpy", "scipy", "pandas")
PLUGINS = ("initbench.models", "initbench.schemes")


def _program() -> str:
    """Return a digest of what answers depend on besides their question: our source, Python, libraries, plug-ins."""
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(f"{library} {_installed(library)}\0".encode())
    for group in PLUGINS:
        digest.update(repr(sorted((name, point.value) for name, point in entry_points(group).items())).encode())
    for source in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{source.relative_to(PACKAGE)}\0".encode() + source.read_bytes())
    return digest.hexdigest()


def _installed(library: str) -> str:
    """Return where a library is, its version, and when it was installed."""
    found = util.find_spec(library)
    if found is None or found.origin is None:
        return "absent"
    with suppress(metadata.PackageNotFoundError, OSError):
        return f"{found.origin} {metadata.version(library)} {Path(found.origin).stat().st_mtime_ns}"
    return f"{found.origin} of no known version"


# Of this process: its code was loaded when this module was, and the files may change while it runs.
PROGRAM = _program()


def is_unchanged() -> bool:
    """Return whether the program's files are still those that this process runs."""
    return _program() == PROGRAM


def recall(place: str, question: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the answer to a question that is kept at a place of the cache, "facts/x.json", or None.

    It is None unless this program kept it, the file is whole, and nobody else could have written it.
    """
    path = cache_dir() / place
    try:
        document = json.loads(path.read_bytes()) if is_private(path.parent) else {}
        text = document["answer"]
        return json.loads(text) if document["key"] == _key(question, text) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def keep(place: str, question: str, answer: Any, most: int) -> None:  # noqa: ANN401 - any JSON
    """Keep an answer in a folder of at most `most` files, the oldest leaving it.

    Nothing is kept where the folder cannot be written, others can write to it, or the program was changed while it ran.
    """
    path, text = cache_dir() / place, json.dumps(answer, allow_nan=False)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_private(path.parent) and is_unchanged():
            _replace(path, json.dumps({"key": _key(question, text), "answer": text}).encode())
            for old in sorted(path.parent.glob("*.json"), key=lambda file: -file.stat().st_mtime_ns)[most:]:
                old.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: a reader sees the old one or the new one."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        part = Path(beside, path.name)
        part.write_bytes(content)
        part.replace(path)


def is_private(folder: Path) -> bool:
    """Return whether only this user can have written to a folder.

    Raises:
        OSError: there is no such folder.
    """
    status = folder.stat()
    if not hasattr(os, "geteuid"):  # Windows has no such mode; the cache is in the user's own profile
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key(question: str, text: str) -> str:
    return hashlib.sha256(f"{PROGRAM}\0{question}\0{text}".encode()).hexdigest()
