"""The same inspection again: what it showed last time, if its question is the same and its folder is still whole."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from initbench.cli import console
from initbench.cli.shown import Shown, show
from initbench.core import kept
from initbench.records.manifest import refuse_foreign
from initbench.report.freshness import whole_stamp
from initbench.running.asked import STAMP_FILE

INSPECTIONS = 100  # that are kept


@dataclass(frozen=True)
class Inspected:
    """What an inspection prints; `document` is that of --json, printed instead of `shown`."""

    folder: str
    notices: Sequence[str]
    shown: Sequence[Shown]
    document: dict[str, Any] | None

    def show(self, *, quiet: bool) -> None:
        """Print it, the notices on stderr."""
        for notice in self.notices if not quiet else ():
            console.notice(notice)
        if self.document is not None:
            console.show_json(self.document)
        else:
            show(self.shown)


def remember(inspected: Inspected, question: str | None) -> None:
    """Keep what an inspection printed, if its numbers are decided by its question and its folder is whole."""
    wrote = _wrote(Path(inspected.folder))
    if question is not None and wrote is not None:
        kept.keep(_place(question), question, asdict(inspected) | {"wrote": wrote}, INSPECTIONS)


def recalled(question: str | None) -> Inspected | None:
    """Return what an inspection printed, None where it is to be measured, or where its folder has changed since.

    Raises:
        ConfigurationError: the folder holds something else.
    """
    found = None if question is None else kept.recall(_place(question), question)
    if found is None or found.pop("wrote") != _wrote(Path(found["folder"])):
        return None
    refuse_foreign(Path(found["folder"]), STAMP_FILE)
    return Inspected(**found | {"shown": [Shown(**piece) for piece in found["shown"]]})


def _wrote(folder: Path) -> list[Any] | None:
    """Return what is known of the content of a folder that was written whole, else None."""
    stamp = whole_stamp(folder)
    try:
        return None if stamp is None else [stamp, hashlib.sha256((folder / STAMP_FILE).read_bytes()).hexdigest()]
    except OSError:
        return None


def _place(question: str) -> str:
    return f"inspections/{hashlib.sha256(question.encode()).hexdigest()[:16]}.json"
