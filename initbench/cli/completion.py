"""What the Tab key offers: names, also inside a scheme that is half written; recipes and folders of results.

Every completer returns whole words, each with what a shell may show beside it; of a scheme that bash has taken apart
(`shells`), the last piece.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer
from rich.markup import escape

from initbench.cli.names import HOMES, Named, installed, question, recipes, registered
from initbench.cli.shells import ASKED, BEFORE
from initbench.core.spec import PARTS, split_outside_brackets
from initbench.core.text import printable

Offers = list[tuple[str, str]]

# bash inserts a word as it is. Of what typer hands zsh, a backslash before a quote or a `$` ends the quoting, and zsh
# runs the rest: so no word and no text beside it holds one, be it out of a file or out of what was typed.
_PLAIN = re.compile(r"[\w@%+,./-]+")


def scheme(incomplete: str) -> Offers:
    """Complete a scheme: after each `;` and each `part=` anew, and the parameters inside brackets."""
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
        # A shell that finds one word closes its quote, and a part alone is no scheme yet.
        offers = [(offers[0][0] + name, told) for name, told in _names("scheme")]
    return [((before + word).removeprefix(apart), told) for word, told in offers]


def model(incomplete: str) -> Offers:
    """Complete a model."""
    return list(_specs("model", incomplete))


def dataset(incomplete: str) -> Offers:
    """Complete the name of a dataset; files are the shell's own to offer."""
    return list(_specs("dataset", incomplete))


def optimizer(incomplete: str) -> Offers:
    """Complete an optimizer."""
    return list(_specs("optimizer", incomplete))


def rate(incomplete: str) -> Offers:
    """Complete the one word that a learning rate can be."""
    return _words(incomplete, tune="a grid, and each scheme at its own best rate")


def device(incomplete: str) -> Offers:
    """Complete a device."""
    return _words(incomplete, auto="CUDA where there is one, else the CPU", cpu="", cuda="", mps="")


def precision(incomplete: str) -> Offers:
    """Complete a precision."""
    return _words(incomplete, float32="the default", tf32="on NVIDIA GPUs", bfloat16="")


def executor(incomplete: str) -> Offers:
    """Complete where trials are trained."""
    return _words(
        incomplete, **{"dask": "workers on this machine", "dask(dashboard=8787)": "and a page that shows what they do"}
    )


def vary(incomplete: str) -> Offers:
    """Complete what `--vary` takes."""
    return _words(incomplete, **{"init,order": "every draw of the weights with every data order"})


def recipe(incomplete: str) -> Offers:
    """Complete a recipe of the current folder's experiments."""
    return _plain(incomplete, ((str(path), _question(path)) for path in recipes().values()))


def folder(ctx: typer.Context, incomplete: str) -> Offers:
    """Complete a comparison's folder in the folder of results that is asked for."""
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
    """Leave out names of files that a shell would read as more than a word: the shell's own completion quotes them."""
    return [(word, told) for word, told in offers if word.startswith(incomplete) and _PLAIN.fullmatch(word)]


def _words(incomplete: str, **words: str) -> Offers:
    return [(word, told) for word, told in words.items() if word.startswith(incomplete)]


def _question(path: Path) -> str:
    """Return what a recipe asks; typer reads it as markup, and lets a backslash through into what zsh runs."""
    return escape(printable(question(path)).replace("\\", ""))


def _specs(kind: str, text: str) -> Iterator[tuple[str, str]]:
    """Complete `name(key=value, …)`: the name, or the next key."""
    name, bracket, inside = text.partition("(")
    if bracket and "\\" not in text:
        yield from _keys(kind, name, text, inside)
    else:
        yield from ((word, told) for word, told in _names(kind) if word.startswith(text))


def _names(kind: str) -> Iterator[tuple[str, str]]:
    for named in registered(kind):
        yield named.name, named.summary
        yield from ((alias, f"the same as {named.name}") for alias in named.aliases)
    yield from ((name, "of an installed package") for name in installed(kind))


def _keys(kind: str, name: str, text: str, inside: str) -> Iterator[tuple[str, str]]:
    *given, last = split_outside_brackets(inside, ",")
    last = last.lstrip()
    before = text[: len(text) - len(last)]
    taken = {value.partition("=")[0].strip() for value in given}
    quoteless = os.environ.get(ASKED) == "complete_zsh"  # typer doubles quotes for it, and so loses them
    for key, default in _parameters(kind, name).items():
        if key.startswith(last) and key not in taken:
            yield f"{before}{key}=", "no default" if default is None else f"the default is {default}"
            if default is not None and not (quoteless and "'" in default):
                yield f"{before}{key}={default}", "the default"


def _parameters(kind: str, name: str) -> dict[str, str | None]:
    """Return the parameters of a name or an alias; none of what is not known."""

    def is_meant(named: Named) -> bool:
        return name in (named.name, *named.aliases)

    return next((dict(named.parameters) for named in registered(kind) if is_meant(named)), {})


def _parts(text: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{part}=", "a part of the network") for part in PARTS if part.startswith(text))
