"""A page: a template filled in, one file that asks nothing of the network and runs only the script that it names."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from initbench.report.page.inlining import Inlined
from initbench.report.page.palette import Swatch, variables

_NUMBER = re.compile(r"\[?(?:[<≥] )?([−-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|∞))(?![\w-])")
_SHARE = re.compile(r"(\d+)/(\d+)")
_LEVELS = {"PASS": "0", "WARN": "1", "FAIL": "2"}


def sort_key(cell: str) -> str:
    """Return the number that a cell is sorted by, as JavaScript reads it; nothing for `never` and other words.

    `7/10` counts as a share, `0.91 ± 0.02 (3/10)` by its mean, `[1, 2]` by its low end, PASS before WARN before FAIL.
    """
    if cell in _LEVELS:
        return _LEVELS[cell]
    if share := _SHARE.fullmatch(cell):
        return repr(int(share[1]) / int(share[2])) if int(share[2]) else ""
    number = _NUMBER.match(cell)
    return number[1].replace("−", "-").replace("∞", "Infinity") if number else ""


_TEMPLATES = PackageLoader("initbench.report.page", "templates")
_ENVIRONMENT = Environment(loader=_TEMPLATES, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_ENVIRONMENT.filters["sort_key"] = sort_key


def page(template: str, figures: Sequence[Inlined], schemes: Sequence[Swatch] = (), **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a page filled in; every value is escaped. `schemes` are those that the figures tell apart."""
    coloured = "".join([*(figure.svg for figure in figures), *(swatch.stroke for swatch in schemes)])
    script, style = (_TEMPLATES.get_source(_ENVIRONMENT, f"report.{kind}")[0] for kind in ("js", "css"))
    style = variables(coloured) + style
    return fragment(
        template, policy=_policy(script, style), script=script, style=style, figures=figures, schemes=schemes, **values
    )


def fragment(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a template filled in; every value is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


def _policy(script: str, style: str) -> str:
    """Allow this very script and style sheet, and nothing else: no style attribute, no image, no connection."""
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    allowed = "script-src 'sha256-{}'; style-src 'sha256-{}'".format(*hashes)
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


_KINDS = {"csv": "text/csv", "md": "text/markdown"}


@dataclass(frozen=True)
class Download:
    """A file that the page holds (`inside`) or that stands beside it."""

    name: str
    href: str
    size: str
    inside: bool


def downloads(files: Mapping[str, bytes], beside: Collection[str], budget: int) -> tuple[Download, ...]:
    """Return links to files: the smallest are held in the page, up to `budget` bytes, others only if they are beside.

    `beside` are the names of the files in the page's folder, some of which may not be among `files`.
    """
    held: dict[str, str] = {}
    for name in sorted(files, key=lambda name: len(files[name])):
        href = _data(name, files[name])
        budget -= len(href)
        if budget >= 0:
            held[name] = href
    names = [name for name in dict.fromkeys((*files, *beside)) if name in held or name in beside]
    return tuple(Download(name, held.get(name, name), _size(files.get(name)), name in held) for name in names)


def _data(name: str, content: bytes) -> str:
    # Percent signs only where a URL or an attribute needs them: base64 would add a third to every table.
    return f"data:{_KINDS[name.rpartition('.')[2]]};charset=utf-8,{quote(content, safe=',()=.;')}"


def _size(content: bytes | None) -> str:
    if content is None:
        return ""
    return f"{len(content)} bytes" if len(content) < 1000 else f"{len(content) / 1000:.0f} kB"
