"""Errors that mean the machine or the installation has too little: no bug of the program, and a sentence says so."""

import errno
import textwrap
from collections.abc import Iterator

NO_MEMORY = (
    "failed to map segment",
    "allocate memory",
    "start new thread",
    "cannot apply additional memory protection",
)
FILES = (errno.EMFILE, errno.ENFILE)
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
MEMORY = (errno.ENOMEM, errno.EAGAIN)  # EAGAIN: no further process or thread


def shortage_in(error: BaseException) -> str | None:
    """Return a sentence on what is missing, None where an error means something else."""
    return next((sentence for link in _chain(error) if (sentence := _sentence(link))), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _sentence(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number in MEMORY or any(words in str(error) for words in NO_MEMORY):
        return (
            f"Not enough memory or threads ({_cause(error)}): free some, lower --jobs, or raise the limits of `ulimit`."
        )
    if number in FILES:
        return f"Too many open files ({_cause(error)}): raise the limit, as with `ulimit -n 4096`."
    if number in DISK:
        return f"Cannot write ({_cause(error)}): free disk space, or choose another folder."
    if _is_loading(error):
        remedy = "see `initbench doctor`, and raise the limit of `ulimit -v` if one is set."
        return f"A library cannot be loaded ({_cause(error)}): {remedy}"
    return None


def _is_loading(error: BaseException) -> bool:
    """Return whether a library, not a module of this program, is missing or broken."""
    if isinstance(error, ImportError):
        return not (error.name or "").startswith("initbench")
    return isinstance(error, OSError) and ".so" in str(error)


def _cause(error: BaseException) -> str:
    """Return the kind of error and the line of what it says that tells most."""
    lines = str(error).splitlines() or [""]
    telling = next((line for line in lines if any(words in line for words in NO_MEMORY)), lines[0])
    return f"{type(error).__name__}: {textwrap.shorten(telling, 160)}".rstrip(": ")
