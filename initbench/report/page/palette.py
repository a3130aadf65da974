"""The colours of figures as variables of a page, each with a value for light and one for dark paper."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from initbench.report.figures.style import Look, luminance

Rgb = tuple[int, int, int]

PAPER: dict[str, Rgb] = {"light": (255, 255, 255), "dark": (23, 24, 26)}
INK: dict[str, Rgb] = {"light": (0, 0, 0), "dark": (232, 232, 230)}
# The contrasts that the Web Content Accessibility Guidelines 2.2 ask of graphics (1.4.11) and of text (1.4.3).
LEAST = {"line": 3.0, "text": 4.5}
_VARIABLE = re.compile(r"var\(--(line|text)-([0-9a-f]{6})\)")


def variable(use: str, colour: str) -> str:
    """Return how a page names a colour (`#d55e00`) of a line or of a text."""
    return f"var(--{use}-{colour.lower().removeprefix('#')})"


def variables(text: str) -> str:
    """Return a style sheet that gives every variable which `text` names its value, for both kinds of paper."""
    named = sorted(set(_VARIABLE.findall(text)))
    light, dark = (" ".join(_declarations(named, kind)) for kind in ("light", "dark"))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def shown(use: str, colour: Rgb, kind: str) -> Rgb:
    """Return a colour as it is shown: greys run from ink to paper, others move off the paper until they stand out."""
    if len(set(colour)) == 1:
        grey = colour if kind == "light" else _mixed(INK[kind], PAPER[kind], colour[0] / 255)
        return _standing_out(grey, kind, LEAST["text"]) if use == "text" else grey
    return _standing_out(colour, kind, LEAST[use])


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    low, high = sorted(luminance([part / 255 for part in colour]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _declarations(named: list[tuple[str, str]], kind: str) -> Iterator[str]:
    for use, digits in named:
        red, green, blue = shown(use, _rgb(digits), kind)
        yield f"--{use}-{digits}: #{red:02x}{green:02x}{blue:02x};"


def _standing_out(colour: Rgb, kind: str, least: float) -> Rgb:
    steps = (_mixed(colour, INK[kind], step / 50) for step in range(51))
    return next(mixed for mixed in steps if contrast(mixed, PAPER[kind]) >= least)


def _mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(digits: str) -> Rgb:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


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
