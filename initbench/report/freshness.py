"""Whether a folder still holds what would be written: drawing costs seconds, and a repeated command changes nothing."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from initbench.records.store import write_atomically, writing
from initbench.report.figures.style import FORMATS, STYLES, USUAL, Files

if TYPE_CHECKING:
    from initbench.analysis.results import Results

STAMP = ".derived.json"
# Raised with every change of what a folder holds, so that one written by an earlier state of this version is redone.
EDITION = 9


@dataclass(frozen=True)
class Seen:
    """What a look has left in a folder: `kinds` of figures, as `plots/png`, and files with their sizes in bytes."""

    kinds: frozenset[str] = frozenset()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, int]:
        """The figures among the files."""
        return {name: size for name, size in self.sizes.items() if _is_figure(name)}


def kinds_of(asked: Files) -> frozenset[str]:
    """Return the kinds of figures that are asked for: folder and format."""
    return frozenset(f"{STYLES[style].folder}/{kind}" for style, kinds in asked.by_style.items() for kind in kinds)


def begin(folder: Path, names: Collection[str]) -> None:
    """Void the stamp before `names` are written: a half-written folder is never taken for whole, and knows its own."""
    ours = dict.fromkeys(sorted({*names, *_figures(folder)}))
    write_atomically(folder / STAMP, json.dumps({"digest": None, "sizes": ours}, indent=1).encode())


def remove_stale(folder: Path, names: Collection[str]) -> None:
    """Remove figures that an earlier look wrote and this one did not, and nothing that is not ours."""
    for name in _figures(folder) - set(names):
        with writing(folder / name):
            (folder / name).unlink(missing_ok=True)


def remember(folder: Path, state: str, seen: Seen) -> None:
    """Stamp a folder that was written whole with the state that it is derived from."""
    stamp = {"digest": state, "kinds": sorted(seen.kinds), "sizes": dict(sorted(seen.sizes.items()))}
    write_atomically(folder / STAMP, json.dumps(stamp, indent=1).encode())


def earlier_look(folder: Path, state: str) -> Seen:
    """Return what stands in the folder of the same state, nothing where it is of another or not whole."""
    stamp = whole_stamp(folder)
    if stamp is None or stamp["digest"] != state:
        return Seen()
    return Seen(frozenset(stamp["kinds"]), stamp["sizes"])


def state_of_files(files: Mapping[str, bytes]) -> str:
    """Name a state by the content of the files derived from it."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\0".encode() + content)
    return digest.hexdigest()


def is_fresh(folder: Path, comparison: "Results", asked: Files = USUAL) -> bool:
    """Say whether this version wrote the folder for these very records, as asked, and every file is still there."""
    return kinds_of(asked) <= earlier_look(folder, state_of(comparison)).kinds


def whole_stamp(folder: Path) -> dict[str, Any] | None:
    """Return the stamp of a folder that was written whole and of which every file is still there, else None."""
    try:
        stamp: dict[str, Any] = json.loads((folder / STAMP).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in stamp["sizes"].items())
        named = all(isinstance(kind, str) for kind in stamp["kinds"])
        return stamp if whole and named and stamp["digest"] is not None else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _figures(folder: Path) -> set[str]:
    """Return the figures that a stamp says to be ours; a name that leads elsewhere is none."""
    try:
        names = map(PurePosixPath, json.loads((folder / STAMP).read_bytes())["sizes"])
        return {str(name) for name in names if _is_figure(str(name))}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _is_figure(name: str) -> bool:
    path = PurePosixPath(name)
    return str(path.parent) in {style.folder for style in STYLES.values()} and path.suffix[1:] in FORMATS


def state_of(comparison: "Results") -> str:
    """Name what a folder is derived from. A record is known by its trial and its timings, which no two runs share."""
    kept = {part.name: getattr(comparison, part.name) for part in fields(comparison)}
    records = [
        [(r.trial.id, r.timings.seconds_init, r.timings.seconds_train) for r in kept.pop(name)]
        for name in ("records", "tuning", "crossed")
    ]
    asked = [[part.model_dump() for part in kept.pop("claims")], *kept.values()]
    return hashlib.sha256(json.dumps([version("initbench"), EDITION, asked, records]).encode()).hexdigest()
