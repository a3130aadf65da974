"""Whether a folder still holds what would be written: drawing costs seconds, and a repeated command changes nothing."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from initbench.records.store import write_atomically, writing
from initbench.report.figures.style import FORMATS, USUAL, Files

if TYPE_CHECKING:
    from initbench.analysis.results import Results

STAMP = ".derived.json"
# Raised with every change of what a folder holds, so that one written by an earlier state of this version is redone.
EDITION = 8


def begin(folder: Path, names: Collection[str]) -> None:
    """Void the stamp before `names` are written: a half-written folder is never taken for whole, and knows its own."""
    ours = dict.fromkeys(sorted({*names, *_figures(folder)}))
    write_atomically(folder / STAMP, json.dumps({"digest": None, "sizes": ours}, indent=1).encode())


def remove_stale(folder: Path, names: Collection[str]) -> None:
    """Remove figures that an earlier look wrote and this one did not, and nothing that is not ours."""
    for name in _figures(folder) - set(names):
        with writing(folder / name):
            (folder / name).unlink(missing_ok=True)


def remember(folder: Path, comparison: "Results", files: Iterable[Path], asked: Files) -> None:
    """Stamp a folder that was written whole, with figures as asked."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    stamp = json.dumps({"digest": _digest(comparison, asked), "sizes": sizes}, indent=1)
    write_atomically(folder / STAMP, stamp.encode())


def remember_content(folder: Path, files: Mapping[str, bytes]) -> None:
    """Stamp a folder that was written whole with the content of its files."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\0".encode() + content)
    stamp = {"digest": digest.hexdigest(), "sizes": {name: len(content) for name, content in files.items()}}
    write_atomically(folder / STAMP, json.dumps(stamp, indent=1).encode())


def is_fresh(folder: Path, comparison: "Results", asked: Files = USUAL) -> bool:
    """Say whether this version wrote the folder for these very records, as asked, and every file is still there."""
    stamp = whole_stamp(folder)
    return stamp is not None and stamp["digest"] == _digest(comparison, asked)


def whole_stamp(folder: Path) -> dict[str, Any] | None:
    """Return the stamp of a folder that was written whole and of which every file is still there, else None."""
    try:
        stamp: dict[str, Any] = json.loads((folder / STAMP).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in stamp["sizes"].items())
        return stamp if whole and stamp["digest"] is not None else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _figures(folder: Path) -> set[str]:
    """Return the figures that a stamp says to be ours; a name that leads elsewhere is none."""
    try:
        names = map(PurePosixPath, json.loads((folder / STAMP).read_bytes())["sizes"])
        return {str(n) for n in names if n.parent == PurePosixPath("plots") and n.suffix[1:] in FORMATS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _digest(comparison: "Results", figures: Files) -> str:
    """Name what a folder is derived from. A record is known by its trial and its timings, which no two runs share."""
    kept = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
    records = [
        [(r.trial.id, r.timings.seconds_init, r.timings.seconds_train) for r in kept.pop(name)]
        for name in ("records", "tuning", "crossed")
    ]
    asked = [[part.model_dump() for part in kept.pop("claims")], *kept.values()]
    drawn = [figures.style.name, sorted(figures.formats)]
    return hashlib.sha256(json.dumps([version("initbench"), EDITION, asked, records, drawn]).encode()).hexdigest()
