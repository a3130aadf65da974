"""How figures look: one colour, dash and marker per scheme, the same in every figure; sizes and fonts."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any, Literal

from initbench.core.text import printable

# Okabe & Ito (2008), without its yellow, too pale on white, and with Tol's wine, indigo and brown. Under simulated
# protan-, deuteran- and tritanopia no two are nearer than Okabe & Ito's own nearest (16 in CIELAB).
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#882255", "#332288", "#661100")
# What is compared most has a colour of its own in every company; others begin to look among the last four.
OWN = {"kaiming_uniform": 0, "xavier_uniform": 1, "orthogonal": 2, "kaiming_normal": 3, "xavier_normal": 4}
BLACK, IN_BLACK = "#000000", "torch_default"
REFERENCE_COLOUR = "#6E6E6E"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
# Their number shares no factor with that of the colours: colour and marker repeat together only after 72 schemes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

BAND_ALPHA = 0.14
SEED_ALPHA = 0.22

# Text is never read as TeX, so a `$` in a name is a dollar. SVG and PDF keep text as text: small, searchable, editable.
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
    "legend.handlelength": 3.2,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.0,
    "text.parse_math": False,
    "text.usetex": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "initbench",
}


@dataclass(frozen=True)
class Style:
    """Where figures are to be shown: their sizes in inches, and how their parts are made to fit.

    `widths` are those of one, two and three panels, `rows_width` that of a figure with a row per scheme; `height`
    is without what a legend below needs. `strokes` multiplies lines and marks. `wrap`, `row_wrap` and `end_wrap` are
    the characters to a line in legends, at rows and at the ends of lines; there are at most `row_ticks` ticks below
    rows. Where it is not `titled`, a caption says the rest. Seeds are drawn as lines up to `seeds_up_to` schemes. Its
    files lie in `folder`.
    """

    name: Literal["screen", "paper"]
    widths: tuple[float, float, float]
    rows_width: float
    height: float
    strokes: float
    wrap: int
    row_wrap: int
    end_wrap: int
    row_ticks: int
    titled: bool
    legend_below: bool
    seeds_up_to: int
    folder: str
    dpi: int
    rc: dict[Any, Any] = field(default_factory=dict, hash=False)

    def for_labels(self, labels: Sequence[str]) -> "Style":
        """Return the style for schemes of these labels: many or long ones need the full width of a page."""
        crowded = len(labels) > 10 or any(len(word) > self.row_wrap for label in labels for word in label.split())
        if self.name == "screen" or not crowded:
            return self
        full = self.widths[1]
        return replace(self, widths=(full, full, full), rows_width=full, row_wrap=self.wrap, row_ticks=8)


SCREEN = Style(
    "screen",
    widths=(8.8, 11.5, 13.5),
    rows_width=8.2,
    height=4.2,
    strokes=1.0,
    wrap=36,
    row_wrap=36,
    end_wrap=36,
    row_ticks=8,
    titled=True,
    legend_below=False,
    seeds_up_to=20,
    folder="plots",
    dpi=150,
)
# A column of a two-column page, and its full width for two panels.
PAPER = Style(
    "paper",
    widths=(3.25, 6.75, 6.75),
    rows_width=3.25,
    height=2.3,
    strokes=0.6,
    wrap=31,
    row_wrap=18,
    end_wrap=18,
    row_ticks=4,
    titled=False,
    legend_below=True,
    seeds_up_to=4,
    folder="paper",
    dpi=300,
    rc={
        "font.size": 7.5,
        "axes.titlesize": 7.5,
        "legend.fontsize": 7.0,
        "legend.title_fontsize": 7.0,
        "axes.linewidth": 0.6,
        "grid.linewidth": 0.4,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "legend.borderaxespad": 0.2,
        "legend.handlelength": 2.0,
        "legend.handletextpad": 0.5,
        "legend.columnspacing": 1.0,
        "legend.labelspacing": 0.25,
    },
)
STYLES: dict[str, Style] = {style.name: style for style in (SCREEN, PAPER)}
FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Files:
    """In which style and formats the figures of a folder are written."""

    style: Style = SCREEN
    formats: tuple[str, ...] = ("png", "svg")

    @property
    def by_style(self) -> dict[str, tuple[str, ...]]:
        """The formats of each style's files: those for a paper stand beside the usual ones for the screen."""
        asked: dict[str, tuple[str, ...]] = {self.style.name: self.formats}
        return asked if self.style == SCREEN else {SCREEN.name: USUAL.formats} | asked


USUAL = Files()


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


def luminance(parts: Sequence[float]) -> float:
    """Return the relative luminance of red, green and blue from 0 to 1 (sRGB; WCAG 2.2)."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def looks(schemes: Sequence[str], baseline: str) -> dict[str, Look]:
    """Return a look for every scheme: its colour, dash and marker come from its name, not from its place.

    Of two that want the same colour the first by name has it, and the other takes the next that is free: so a scheme
    outside of `OWN` may change its colour with the company, never with the order. From the tenth on dashes tell them.
    """
    slots = _slots(schemes)
    return {
        scheme: _look(f"{printable(scheme)}{' (baseline)' * (scheme == baseline)}", index, slots.get(scheme))
        for index, scheme in enumerate(schemes)
    }


def _slots(schemes: Sequence[str]) -> dict[str, int]:
    taken = {scheme: OWN[scheme] for scheme in schemes if scheme in OWN}
    for scheme in sorted({*schemes} - {*taken, IN_BLACK}):
        used = {*taken.values()}
        taken[scheme] = next(slot for slot in _wishes(scheme) if slot not in used)
    return taken


def _wishes(scheme: str) -> Iterator[int]:
    """Yield the places that a scheme would take, the dearest first: colours that are nobody's own, then all others."""
    shared = range(len(OWN), len(COLOURS))
    first = zlib.crc32(scheme.encode()) % len(shared)
    turn = [*shared[first:], *shared[:first], *range(len(OWN))]
    return chain.from_iterable((len(COLOURS) * dash + slot for slot in turn) for dash in count())


def _look(label: str, index: int, slot: int | None) -> Look:
    if slot is None:
        return Look(label, index, BLACK, "-", MARKERS[0])
    dash = DASHES[slot // len(COLOURS) % len(DASHES)]
    return Look(label, index, COLOURS[slot % len(COLOURS)], dash, MARKERS[(slot + 1) % len(MARKERS)])
