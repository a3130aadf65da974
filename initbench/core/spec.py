"""The `name(key=value)` grammar of schemes, models, datasets and optimizers, parsed with literals only.

    kaiming_normal                       a name
    constant(0.1)                        a name with a value
    kaiming_normal(mode='fan_out')       a name with a named value

    my_file.py:my_init                   code of the user's, as does package.module:my_init

Nothing is evaluated: a text that holds anything but literals is refused.
"""

import ast
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from initbench.errors import UsageError

QUOTES = "'\""
OPENING, CLOSING = "([{", ")]}"
# Of a scheme, in the order of its canonical text (`schemes.compose`).
PARTS = ("weight", "conv", "linear", "first", "last", "head", "bias")
REFERENCE = re.compile(
    r"(?P<home>(?:[A-Za-z]:)?[^:;=()'\"]+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)"
)


@dataclass(frozen=True)
class Spec:
    """A name with the values given to its parameters.

    `str(spec)` is the text that parses back to it.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = [repr(value) for value in self.args]
        values += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(values)})" if values else self.name


def parse(text: str) -> Spec:
    """Read one `name(key=value, …)`.

    Raises:
        UsageError: the text is not of that form, or a value is not a literal.
    """
    if is_reference(text):
        return Spec(text.strip())
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _malformed(text) from None
    if isinstance(tree, ast.Name):
        return Spec(tree.id)
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise _malformed(text)
    args = tuple(_literal(node, text) for node in tree.args)
    kwargs = {_keyword(item, text): _literal(item.value, text) for item in tree.keywords}
    return Spec(tree.func.id, args, kwargs)


def is_reference(text: str) -> bool:
    """Say whether a text names code of the user's and not an entry of a registry."""
    return REFERENCE.fullmatch(text.strip()) is not None


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ', did you mean …?' or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else ""


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Cut `text` at each `separator`, a single character, outside brackets and quotes."""
    cuts = [place for place, char in outside_brackets(text) if char == separator]
    return [text[before + 1 : cut] for before, cut in pairwise([-1, *cuts, len(text)])]


def outside_brackets(text: str) -> Iterator[tuple[int, str]]:
    """Yield each character of `text` outside brackets and quotes, after its position."""
    depth, quote = 0, ""
    for place, char in enumerate(text):
        if not depth and not quote:
            yield place, char
        if quote:
            quote = "" if char == quote else quote
        elif char in QUOTES:
            quote = char
        else:
            depth += (char in OPENING) - (char in CLOSING)


def _keyword(item: ast.keyword, text: str) -> str:
    if item.arg is None:
        raise _malformed(text)
    return item.arg


def _literal(node: ast.expr, text: str) -> Any:  # noqa: ANN401 - a literal of any type
    try:
        if any(isinstance(part, ast.Set) for part in ast.walk(node)):
            raise ValueError  # noqa: TRY301 - a set is written in another order by every process
        value = ast.literal_eval(node)
        ast.literal_eval(repr(value))  # what is no literal when it is written (1e999, ...) could not be read back
        return value  # noqa: TRY300 - the value is what the block is for
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        word = ast.get_source_segment(text.strip(), node) or text  # unparsing would recurse as deep as the text does
        raise UsageError(
            f"'{word}' in '{text}' is not a literal: write a number, True, None or a quoted word such as '{word}'."
            if isinstance(node, ast.Name)
            else f"'{word}' in '{text}' is not a literal: write a finite number, True, None or a quoted word."
        ) from None


def _malformed(text: str) -> UsageError:
    return UsageError(f"'{text}' is not of the form name or name(key=value): check brackets, commas and quotes.")
