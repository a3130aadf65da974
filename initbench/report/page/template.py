"""A page: a template filled in, one file that loads nothing from the network and runs only the script that it names."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from initbench.report.page.palette import Swatch, variables

_NUMBER = re.compile(r"\[?(?:[<≥] )?([−-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|∞))(?![\w-])")
_SHARE = re.compile(r"(\d+)/(\d+)")
_LEVELS = {"PASS": "0", "WARN": "1", "FAIL": "2"}


def page(template: str, drawn: Sequence[str], schemes: Sequence[Swatch] = (), **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a page filled in; every value is escaped. `drawn` are its figures as SVG, which tell `schemes` apart."""
    coloured = "".join([*drawn, *(swatch.stroke for swatch in schemes)])
    script, style = (_TEMPLATES.get_source(_ENVIRONMENT, f"report.{kind}")[0] for kind in ("js", "css"))
    style = variables(coloured) + style
    return fragment(template, policy=_policy(script, style), script=script, style=style, schemes=schemes, **values)


def fragment(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a template filled in; every value is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


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


def _policy(script: str, style: str) -> str:
    """Allow this very script and style sheet, and nothing else: no style attribute, no image, no connection."""
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    allowed = "script-src 'sha256-{}'; style-src 'sha256-{}'".format(*hashes)
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


_TEMPLATES = PackageLoader("initbench.report.page", "templates")
_ENVIRONMENT = Environment(loader=_TEMPLATES, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_ENVIRONMENT.filters["sort_key"] = sort_key
