"""Writes stay inside the folder that they were asked for: no symbolic link leads them out of it."""

import os
from pathlib import Path

import platformdirs

from initbench.errors import ConfigurationError


def leads_out(root: Path, path: Path) -> bool:
    """Say whether the folder of `path`, its links followed, lies outside of `root`."""
    # Not `resolve`, which raises where links lead in a circle.
    return not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(root))


def stay_inside(root: Path, path: Path) -> None:
    """Pass where writing `path` writes within `root`.

    A file that is itself a link is no danger: it is replaced, never written through.

    Raises:
        ConfigurationError: a link on the way leads out.
    """
    if leads_out(root, path):
        raise ConfigurationError(
            f"{path.parent} is a link that leads out of {root}: remove it, or choose another --out."
        )


def cache_dir() -> Path:
    """Return the folder of the cache: INITBENCH_CACHE, else the platform's."""
    chosen = os.environ.get("INITBENCH_CACHE")
    return expand(chosen) if chosen else Path(platformdirs.user_cache_dir("initbench", appauthor=False))


def expand(path: str | Path) -> Path:
    """Replace a leading ~, and leave alone what names no user (where `Path.expanduser` raises)."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
