"""Paths: writes that stay inside their folder despite symbolic links, the cache folder, and `~` expansion."""

import os
from pathlib import Path

import platformdirs

from initbench.core.text import printable
from initbench.errors import ConfigurationError, UsageError


def leads_out(root: Path, path: Path) -> bool:
    """Return whether the folder of `path`, with links resolved, lies outside `root`."""
    # Not `Path.resolve`, which raises on a cycle of links.
    return not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(root))


def stay_inside(root: Path, path: Path) -> None:
    """Raise unless `path` resolves inside `root`.

    A `path` that is itself a link is safe: writing replaces the link and never follows it.

    Raises:
        ConfigurationError: a parent folder of `path` is a link to a place outside `root`.
    """
    if leads_out(root, path):
        raise ConfigurationError(
            f"{path.parent} is a link that leads out of {root}: remove it, or choose another --out."
        )


def require_utf8(*texts: str) -> None:
    """Raise where a text has bytes that are not UTF-8, as a folder's name may: no JSON file could be read back with it.

    Raises:
        UsageError: names the text.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{printable(text)}: a name is not UTF-8, which results cannot record; rename the folder, or "
                "work inside it with relative paths."
            ) from None


def cache_dir() -> Path:
    """Return the cache folder: INITBENCH_CACHE if set, else the platform's."""
    chosen = os.environ.get("INITBENCH_CACHE")
    return expand(chosen) if chosen else Path(platformdirs.user_cache_dir("initbench", appauthor=False))


def expand(path: str | Path) -> Path:
    """Replace a leading ~; keep ~name of an unknown user as it is, where `Path.expanduser` raises."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
