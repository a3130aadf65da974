"""A page: a template filled in, one file that asks nothing of the network and runs only the script that it names."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from initbench.analysis.inlining import Inlined
from initbench.analysis.palette import variables
from initbench.analysis.sorting import sort_key
from initbench.analysis.swatches import Swatch

_TEMPLATES = PackageLoader("initbench.analysis", "templates")
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
