"""Whether a folder still holds what would be written: drawing costs seconds, and a repeated command changes nothing."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from initbench.analysis.comparison import Comparison
from initbench.store import write_atomically, writing

STAMP = ".derived.json"
# Raised with every change of what a folder holds, so that one written by an earlier state of this version is redone.
EDITION = 3


def forget(folder: Path) -> None:
    """Take the stamp away before anything is written, so that a half-written folder is never taken for whole."""
    with writing(folder / STAMP):
        (folder / STAMP).unlink(missing_ok=True)


def remember(folder: Path, comparison: Comparison, files: Iterable[Path]) -> None:
    """Stamp a folder that was written whole."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    stamp = json.dumps({"digest": _digest(comparison), "sizes": sizes}, indent=1)
    write_atomically(folder / STAMP, stamp.encode())


def is_fresh(folder: Path, comparison: Comparison) -> bool:
    """Say whether this version wrote the folder for these very records and every file is still there."""
    try:
        stamp = json.loads((folder / STAMP).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in stamp["sizes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return whole and stamp["digest"] == _digest(comparison)


def _digest(comparison: Comparison) -> str:
    """Name what a folder is derived from. A record is known by its trial and its timings, which no two runs share."""
    kept = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
    records = [
        [(r.trial.id, r.timings.seconds_init, r.timings.seconds_train) for r in kept.pop(name)]
        for name in ("records", "tuning", "crossed")
    ]
    asked = [[part.model_dump() for part in kept.pop("claims")], *kept.values()]
    return hashlib.sha256(json.dumps([version("initbench"), EDITION, asked, records]).encode()).hexdigest()
