"""Figures as SVG inside a page: colours as variables of the page, parts marked with their scheme and seed."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from initbench.report.figures.picture import Picture, file_of
from initbench.report.page.palette import variable

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_PART = re.compile(r"(?:^|\.)scheme(\d+)(?:\.seed(\d+))?\.")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LONG = re.compile(r"-?\d+\.\d{3,}")
PIXELS = 1.4  # of the page for a point of a figure, where there is room
NARROW = 360  # points of a figure that a phone can show whole in letters to be read
LINKED = ("svg", "png", "pdf")  # formats of figures beside the page, the one that a browser shows best first
_PLACES = frozenset({"d", "x", "y", "transform", "viewBox", "width", "height"})

# Text alternatives of the figures; the numbers are in the tables.
DESCRIPTIONS = {
    "loss": "Training loss left, validation loss right, against the step: a thin line per seed, a thick one per "
    "scheme for the mean with its 95 % band. curves.csv holds the numbers.",
    "accuracy": "Validation accuracy against the step: a thin line per seed, a thick one per scheme for the mean with "
    "its 95 % band. curves.csv holds the numbers.",
    "survival": "Share of each scheme's trials that have not reached the target, against the step. The table "
    "of steps to the target holds medians and intervals.",
    "steps_to_target": "One row per scheme, one dot per seed at the step at which it reached the target; seeds "
    "that did not are at the right. The table of steps to the target holds the numbers.",
    "final_accuracy": "One row per scheme: the test accuracy of each seed, and their mean with its 95 % interval. The "
    "summary holds the numbers.",
    "profile": "Share of each scheme's trials above each test accuracy, over all settings.",
    "lr": "Final validation loss against the learning rate, one line per scheme with 95 % intervals.",
    "signal": "Mean square of each layer's output left, of its gradient right, before the first step: one line per "
    "scheme. layers.csv holds the numbers.",
}
DESCRIPTIONS["loss_linear"] = f"{DESCRIPTIONS['loss']} The axis of the loss is linear."


@dataclass(frozen=True)
class Inlined:
    """A figure as the page has it; `svg` is empty where the page would grow too large.

    `beside` is the figure's file in the page's folder, empty where there is none; `narrow` is its drawing for a phone,
    empty where it has none of its own.
    """

    name: str
    caption: str
    svg: str
    beside: str = ""
    narrow: str = ""

    @property
    def kind(self) -> str:
        """What it shows: its name without what tells it from those of other settings."""
        return kind_of(self.name)


def kind_of(name: str) -> str:
    """Return the first part of a figure's name: `loss` of `loss-lr-0.1`."""
    return name.partition("-")[0]


def within_budget(drawn: Iterable[Picture], budget: int, formats: Collection[str]) -> Iterator[Inlined]:
    """Yield figures as a page has them, those without their drawing that would take it beyond `budget` bytes.

    `formats` are those of the figures' files in the page's folder.
    """
    left = budget
    for picture in drawn:
        svg = inline_svg(picture)
        left -= len(svg.encode())
        beside = next((file_of(picture.name, format_) for format_ in LINKED if format_ in formats), "")
        yield Inlined(picture.name, picture.caption, svg if left >= 0 else "", beside)


def inline_svg(picture: Picture) -> str:
    """Return a figure's SVG for use inside HTML: its ids its own, its colours variables of the page, no style."""
    return ET.tostring(_inlined(picture, f"{picture.name}.", "plate"), encoding="unicode")


def narrow_svg(picture: Picture) -> str:
    """Return the same for a phone, which shows it in place of the wide one; "" where it cannot be read there."""
    root = _inlined(picture, f"{picture.name}.narrow.", "plate narrow")
    return ET.tostring(root, encoding="unicode") if float(root.attrib["width"]) <= PIXELS * NARROW else ""


def _inlined(picture: Picture, prefix: str, kind: str) -> ET.Element:
    root = ET.fromstring(picture.svg)  # noqa: S314 - matplotlib's own output
    for definitions in root.iter(f"{_SVG}defs"):
        for style in definitions.findall(f"{_SVG}style"):
            definitions.remove(style)  # the root says below what it said
    for element in root.iter():
        element.tag = str(element.tag).removeprefix(_SVG)
        use = "text" if element.tag == "text" else "line"
        element.attrib = dict(_attributes(element.attrib.items(), prefix, use))
        if not (element.text or "").strip():
            element.text = None
        if not (element.tail or "").strip():
            element.tail = None
    _describe(root, picture, prefix)
    lines = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib |= {"class": kind, "fill": variable("text", "#000000")} | lines
    # One scale for all, so that the text of a narrow figure is not larger than that of a wide one.
    root.attrib["width"] = f"{PIXELS * float(root.attrib['viewBox'].split()[2]):.0f}"
    del root.attrib["height"]
    return root


def _describe(root: ET.Element, picture: Picture, prefix: str) -> None:
    """Give the figure a title and a description for screen readers."""
    texts = {"title": picture.caption, "desc": DESCRIPTIONS.get(kind_of(picture.name), "")}
    for place, (tag, text) in enumerate((tag, text) for tag, text in texts.items() if text):
        element = ET.Element(tag, id=f"{prefix}{tag}")
        element.text = text
        root.insert(place, element)
    root.attrib |= {"role": "img", "aria-labelledby": f"{prefix}title"}
    if texts["desc"]:
        root.attrib["aria-describedby"] = f"{prefix}desc"


def _attributes(attributes: Iterable[tuple[str, str]], prefix: str, use: str) -> Iterator[tuple[str, str]]:
    """Put the figure's name before its ids and before what points to them, and shorten what is long."""
    for key, value in attributes:
        if key == "id":
            yield from _named(value, prefix)
        elif key == "style":
            yield from _declared(value, use)
        elif key == _LINK:
            yield "href", value.replace("#", f"#{prefix}", 1)
        elif key in _PLACES:
            yield key, " ".join(_LONG.sub(_short, value).split())
        else:
            yield key, value.replace("url(#", f"url(#{prefix}")


def _named(name: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Say which scheme and seed a part belongs to, where its name has them (`scheme3.seed0.loss`)."""
    yield "id", prefix + name
    part = _PART.search(name)
    if part:
        yield "data-scheme", part[1]
    if part and part[2]:
        yield "data-seed", part[2]


def _declared(style: str, use: str) -> Iterator[tuple[str, str]]:
    """Turn a style into attributes, which a policy without inline styles allows; the page chooses the font."""
    for declaration in filter(None, style.split(";")):
        key, value = (part.strip() for part in declaration.split(":", 1))
        if key == "font":  # the short form of some versions of matplotlib
            key, value = "font-size", next(word for word in value.split() if word.endswith("px"))
        if key != "font-family":
            yield key, _COLOUR.sub(lambda colour: variable(use, colour[0]), value)


def _short(number: re.Match[str]) -> str:
    """Keep hundredths of a point, which no eye tells from more."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
