"""The observer of a run: what it is notified of, and one that ignores everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from initbench.records.recipe import Trial
from initbench.records.record import Record


class Observer(Protocol):
    """Receives the events of a run; the command line draws progress, the library passes notices on as warnings."""

    def damaged(self, path: Path, reason: str) -> None:
        """A stored trial was damaged: its file was moved to `path`, and the trial is trained again."""

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Training starts: `todo` trials are to be trained, `stored` others were found in the store."""

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Trials, by id, have reached these steps."""

    def finished(self, record: Record) -> None:
        """A trial ended and is stored."""

    def noticed(self, sentence: str) -> None:
        """A non-fatal notice for the user."""


@dataclass(frozen=True)
class Silent:
    """The observer that ignores every event."""

    def damaged(self, path: Path, reason: str) -> None:
        """Do nothing."""

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Do nothing."""

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Do nothing."""

    def finished(self, record: Record) -> None:
        """Do nothing."""

    def noticed(self, sentence: str) -> None:
        """Do nothing."""
