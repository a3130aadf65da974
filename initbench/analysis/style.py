"""How figures look: one colour, dash and marker per scheme, the same in every figure; sizes and fonts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from initbench.analysis.text import printable

# Okabe & Ito (2008), told apart under all common colour blindness; without its black, which is the baseline's, and its
# yellow, too pale on white, for which Tol's wine stands in.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255")
BASELINE_COLOUR = "#000000"
REFERENCE_COLOUR = "#6E6E6E"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
# Their number shares no factor with that of the colours: colour and marker repeat together only after 56 schemes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

BAND_ALPHA = 0.14
SEED_ALPHA = 0.22
PNG_DPI = 150

# Text is never read as TeX, so a `$` in a name is a dollar. SVG keeps text as text: small, searchable, editable.
# The hash salt makes the ids in an SVG, hence its bytes, the same in every run.
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.0,
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "initbench",
}


@dataclass(frozen=True)
class Look:
    """How one scheme is drawn; `index` is its place in the order asked for."""

    label: str
    index: int
    colour: str
    dash: Any
    marker: str

    @property
    def gid(self) -> str:
        """What the id of everything drawn of this scheme starts with, so that a page can find it in an SVG."""
        return f"scheme{self.index}"

    @property
    def width(self) -> float:
        """The line's width in points; later lines are thinner, so that one below them still shows."""
        return max(1.2, 2.8 - 0.2 * self.index)


def looks(schemes: Sequence[str], baseline: str) -> dict[str, Look]:
    """Return a look for every scheme; the baseline is black, the others take colours, then dashes, in order."""
    others = [scheme for scheme in schemes if scheme != baseline]
    return {
        scheme: _baseline(scheme, index) if scheme == baseline else _look(scheme, index, others.index(scheme))
        for index, scheme in enumerate(schemes)
    }


def _baseline(scheme: str, index: int) -> Look:
    return Look(f"{printable(scheme)} (baseline)", index, BASELINE_COLOUR, "-", MARKERS[0])


def _look(scheme: str, index: int, turn: int) -> Look:
    dash = DASHES[turn // len(COLOURS) % len(DASHES)]
    return Look(printable(scheme), index, COLOURS[turn % len(COLOURS)], dash, MARKERS[(turn + 1) % len(MARKERS)])
