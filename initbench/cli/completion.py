"""Shell completion: names, also inside a partly typed scheme; recipes and results folders.

Every completer returns (word, help) pairs of whole words; if bash has split a scheme (`shells`), of its last piece.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer
from rich.markup import escape

from initbench.cli.names import question, recipes, typed
from initbench.cli.shells import ASKED, BEFORE
from initbench.core.declared import HOMES, Named, installed, registered
from initbench.core.spec import PARTS, split_outside_brackets
from initbench.core.text import printable

Offers = list[tuple[str, str]]

# bash inserts a word verbatim. In what typer passes to zsh, a backslash before a quote or a `$` ends the quoting, and
# zsh runs the rest: so no word and no help text may contain one, whether from a file or from what was typed.
_PLAIN = re.compile(r"[\w@%+,./-]+")


def scheme(incomplete: str) -> Offers:
    """Complete a scheme: a name or part after each `;`, a name after each `part=`, parameters inside brackets."""
    if "\\" in incomplete:
        return []
    apart = os.environ.get(BEFORE, "")
    typed = apart + incomplete
    piece = split_outside_brackets(typed, ";")[-1].lstrip()
    part, *rest = split_outside_brackets(piece, "=")
    text = "=".join(rest) if rest else part
    before = typed[: len(typed) - len(text)]
    offers = [*_specs("scheme", text), *([] if rest else _parts(text))]
    if [word[-1:] for word, _ in offers] == ["="] and not rest and "(" not in text:
        # With a single candidate a shell closes the quote, and a part alone is not a scheme.
        offers = [(offers[0][0] + name, about) for name, about in _names("scheme")]
    return [((before + word).removeprefix(apart), about) for word, about in offers]


def model(incomplete: str) -> Offers:
    """Complete a model."""
    return list(_specs("model", incomplete))


def dataset(incomplete: str) -> Offers:
    """Complete the name of a dataset; the shell itself completes files."""
    return list(_specs("dataset", incomplete))


def optimizer(incomplete: str) -> Offers:
    """Complete an optimizer."""
    return list(_specs("optimizer", incomplete))


def rate(incomplete: str) -> Offers:
    """Complete the only word that --lr accepts."""
    return _words(incomplete, tune="a grid; each scheme is scored at its own best rate")


def device(incomplete: str) -> Offers:
    """Complete a device."""
    return _words(incomplete, auto="CUDA if available, else the CPU", cpu="", cuda="", mps="")


def precision(incomplete: str) -> Offers:
    """Complete a precision."""
    return _words(incomplete, float32="the default", tf32="on NVIDIA GPUs", bfloat16="")


def executor(incomplete: str) -> Offers:
    """Complete --executor."""
    return _words(
        incomplete, **{"dask": "workers on this machine", "dask(dashboard=8787)": "with a dashboard in the browser"}
    )


def vary(incomplete: str) -> Offers:
    """Complete what `--vary` takes."""
    return _words(incomplete, **{"init,order": "every weight seed with every data-order seed"})


def recipe(incomplete: str) -> Offers:
    """Complete a recipe: a path in the current folder's experiments/, or the name of one of the package."""
    return _plain(incomplete, ((typed(path), _question(path)) for path in recipes().values()))


def folder(ctx: typer.Context, incomplete: str) -> Offers:
    """Complete a comparison's folder in the results folder given by --out."""
    out = Path(ctx.params.get("out") or os.environ.get("INITBENCH_OUT") or "results")
    found = (str(stamp.parent) for stamp in sorted(out.glob("*/recipe.json")))
    return _plain(incomplete, ((path, "a comparison") for path in found))


def listed(ctx: typer.Context, incomplete: str) -> Offers:
    """Complete the NAME of `initbench list WHAT NAME`."""
    what = str(ctx.params.get("what") or "")
    kind = what.removesuffix("s")
    if what == "experiments":
        return _plain(incomplete, ((name, _question(path)) for name, path in recipes().items()))
    return _plain(incomplete, _names(kind) if kind in HOMES else ())


def _plain(incomplete: str, offers: Iterable[tuple[str, str]]) -> Offers:
    """Leave out file names that a shell would not read as one word: the shell's own completion quotes them."""
    return [(word, about) for word, about in offers if word.startswith(incomplete) and _PLAIN.fullmatch(word)]


def _words(incomplete: str, **words: str) -> Offers:
    return [(word, about) for word, about in words.items() if word.startswith(incomplete)]


def _question(path: Path) -> str:
    """Return a recipe's question, escaped: typer reads it as markup, and passes a backslash on to zsh."""
    return escape(printable(question(path)).replace("\\", ""))


def _specs(kind: str, text: str) -> Iterator[tuple[str, str]]:
    """Complete `name(key=value, …)`: the name, or the next key."""
    name, bracket, inside = text.partition("(")
    if bracket and "\\" not in text:
        yield from _keys(kind, name, text, inside)
    else:
        yield from ((word, about) for word, about in _names(kind) if word.startswith(text))


def _names(kind: str) -> Iterator[tuple[str, str]]:
    for named in registered(kind):
        yield named.name, named.summary
        yield from ((alias, f"the same as {named.name}") for alias in named.aliases)
    yield from ((name, "from an installed package") for name in installed(kind))


def _keys(kind: str, name: str, text: str, inside: str) -> Iterator[tuple[str, str]]:
    *given, last = split_outside_brackets(inside, ",")
    last = last.lstrip()
    before = text[: len(text) - len(last)]
    taken = {value.partition("=")[0].strip() for value in given}
    quoteless = os.environ.get(ASKED) == "complete_zsh"  # typer doubles quotes for zsh, which then drops them
    for key, default in _parameters(kind, name).items():
        if key.startswith(last) and key not in taken:
            yield f"{before}{key}=", "no default" if default is None else f"default: {default}"
            if default is not None and not (quoteless and "'" in default):
                yield f"{before}{key}={default}", "the default"


def _parameters(kind: str, name: str) -> dict[str, str | None]:
    """Return the parameters of a name or an alias; none if it is unknown."""

    def is_meant(named: Named) -> bool:
        return name in (named.name, *named.aliases)

    return next((dict(named.parameters) for named in registered(kind) if is_meant(named)), {})


def _parts(text: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{part}=", "a part of the network") for part in PARTS if part.startswith(text))
