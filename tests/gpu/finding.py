"""What a part of the program reports, line by line, and what it is told."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["ok", "WRONG", "measured", "skipped"]


@dataclass(frozen=True)
class Setting:
    """`device` is cuda, or cpu for the rehearsal; `data` has torchvision's layout; `found` is the file of findings."""

    device: str
    data: Path
    found: Path
    quick: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was tried, how it went, and what was seen, in words and in numbers."""

    what: str
    state: State
    seen: str
    values: Mapping[str, float] = field(default_factory=dict)

    def line(self, part: str) -> str:
        return json.dumps({"part": part, **asdict(self)})


Part = Callable[[Setting], Iterator[Finding]]


def judged(what: str, right: bool, seen: str, **values: float) -> Finding:
    """Return the finding of a check."""
    return Finding(what, "ok" if right else "WRONG", seen, values)


def read(path: Path) -> Iterator[tuple[str, Finding]]:
    """Yield (part, finding) of a file of findings; a part that was cut leaves a last line that is incomplete."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        yield document.pop("part"), Finding(**document)
