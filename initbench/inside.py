"""Writes stay inside the folder that they were asked for: no symbolic link leads them out of it."""

import os
from pathlib import Path

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
