"""A scheme as a page names it beside its figures: the line that it has in them, and its label."""

from collections.abc import Iterable
from dataclasses import dataclass

from initbench.analysis.palette import variable
from initbench.analysis.style import Look


@dataclass(frozen=True)
class Swatch:
    """A scheme's line: `dashes` in the units of an SVG, empty for a solid one; `index` is that of its `Look`."""

    index: int
    label: str
    stroke: str
    width: float
    dashes: str


def swatches(looks: Iterable[Look]) -> tuple[Swatch, ...]:
    """Return the swatches of these looks."""
    return tuple(
        Swatch(look.index, look.label, variable("line", look.colour), look.width, _dashes(look)) for look in looks
    )


def _dashes(look: Look) -> str:
    """Return a line's dashes, which matplotlib counts in widths of the line; solid has none."""
    return "" if look.dash == "-" else " ".join(f"{look.width * part:g}" for part in look.dash[1])
