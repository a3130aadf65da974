"""The report: one HTML file with everything in it, which asks nothing of the network."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from initbench.analysis.comparison import Comparison
from initbench.analysis.drawing import Picture
from initbench.analysis.figures import pictures
from initbench.analysis.sections import sections
from initbench.analysis.sentences import DEFINITIONS, findings, introduction, notes
from initbench.analysis.step_zero import step_zero_section
from initbench.analysis.tables import across_remarks, across_rows, display_rows
from initbench.analysis.text import printable
from initbench.store import write_atomically

# Bytes of figures in a report: under 2 MB with the rest, which a mail takes and a phone opens.
FIGURES_BUDGET = 1_700_000
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Inlined:
    """A figure as the page has it; `svg` is empty where the page would grow too large."""

    name: str
    caption: str
    svg: str


def write_report(path: Path, comparison: Comparison) -> Path:
    """Write the report to `path`, with links to those of the comparison's files that stand beside it.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    files = ["trials.csv", "curves.csv", "layers.csv", "summary.csv", "verdicts.csv", "summary.md"]
    files += ["tuning.csv"] * bool(comparison.tuning)
    beside = [name for name in files if (path.parent / name).exists()]
    write_atomically(path, render_report(comparison, pictures(comparison), beside).encode())
    return path


def render_report(comparison: Comparison, drawn: Iterable[Picture], beside: Sequence[str]) -> str:
    """Return the page; `beside` are the names of the files in its folder that it links to."""
    return page(
        "report.html.j2",
        name=printable(comparison.name),
        introduction=introduction(comparison),
        findings=findings(comparison),
        tables=display_rows(comparison),
        across=across_rows(comparison),
        remarks=across_remarks(comparison),
        before=step_zero_section(("dataset", "model", "scheme"), comparison.step_zero_checks),
        sections=sections(comparison),
        notes=notes(comparison),
        figures=list(within_budget(drawn)),
        definitions=DEFINITIONS,
        data=_data(comparison),
        environments=_environments(comparison),
        command=printable(comparison.command),
        beside=beside,
    )


def page(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a template filled in; every value is escaped."""
    templates = PackageLoader("initbench.analysis", "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)


def inline_svg(picture: Picture) -> str:
    """Return a figure's SVG for use inside HTML: no prologue, no foreign names, its ids its own."""
    root = ET.fromstring(picture.svg)  # noqa: S314 - matplotlib's own output
    for definitions in root.iter(f"{_SVG}defs"):
        for style in definitions.findall(f"{_SVG}style"):
            definitions.remove(style)  # it would style the whole page; the page has these two lines itself
    for element in root.iter():
        element.tag = str(element.tag).removeprefix(_SVG)
        element.attrib = dict(_own(element.attrib.items(), f"{picture.name}."))
    root.attrib |= {"role": "img", "aria-label": picture.caption}
    del root.attrib["width"], root.attrib["height"]
    return ET.tostring(root, encoding="unicode")


def _own(attributes: Iterable[tuple[str, str]], prefix: str) -> Iterator[tuple[str, str]]:
    """Put the figure's name before its ids and before what points to them."""
    for key, value in attributes:
        if key == "id":
            yield key, prefix + value
        elif key == _LINK:
            yield "href", value.replace("#", f"#{prefix}", 1)
        else:
            yield key, value.replace("url(#", f"url(#{prefix}")


def within_budget(drawn: Iterable[Picture]) -> Iterator[Inlined]:
    """Yield figures as a page has them, those without their drawing that would make it too large."""
    left = FIGURES_BUDGET
    for picture in drawn:
        svg = inline_svg(picture)
        left -= len(svg.encode())
        yield Inlined(picture.name, picture.caption, svg if left >= 0 else "")


def _data(comparison: Comparison) -> dict[str, str]:
    """Describe each dataset in a sentence; its fingerprint says that two reports saw the same images."""
    return {
        printable(record.trial.dataset): (
            f"{record.data.classes} classes; {record.data.train_size} training, {record.data.val_size} validation and "
            f"{record.data.test_size} test images; always answering the most frequent class is right on "
            f"{record.data.guess:.3f} of validation; fingerprint {printable(record.trial.fingerprint)}."
        )
        for record in comparison.records
    }


def _environments(comparison: Comparison) -> list[tuple[int, dict[str, str]]]:
    """Return every environment that trials ran in, with how many did."""
    counts = Counter(record.environment for record in comparison.records)
    return [
        (count, {key: printable(str(value)) for key, value in environment}) for environment, count in counts.items()
    ]
