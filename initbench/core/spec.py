"""The `name(key=value)` grammar of schemes, models, datasets and optimizers, parsed with literals only.

    kaiming_normal                       a name
    constant(0.1)                        a name with a value
    kaiming_normal(mode='fan_out')       a name with a named value

    nn.init.kaiming_normal_(w, a=0.1)    as pasted from a program that uses torch; the tensor is left out

    my_file.py:my_init                   the user's own code; also package.module:my_init

Nothing is evaluated: a value that is not a literal is an error.
"""

import ast
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from initbench.core.paths import expand
from initbench.errors import UsageError

QUOTES = "'\""
OPENING, CLOSING = "([{", ")]}"
# The parts of a scheme, in the order of its canonical text (`schemes.compose`).
PARTS = ("weight", "conv", "linear", "first", "last", "head", "bias")
REFERENCE = re.compile(
    r"(?P<home>(?:[A-Za-z]:)?[^:;=()'\"]+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)"
)


@dataclass(frozen=True)
class Spec:
    """A name with values of its parameters; `str(spec)` parses back to an equal spec.

    >>> str(Spec("kaiming_normal", kwargs={"mode": "fan_out"}))
    "kaiming_normal(mode='fan_out')"
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
    found = split_reference(text)
    if found is not None:
        return Spec(":".join(found))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _malformed(text) from None
    named = tree.func if isinstance(tree, ast.Call) else tree
    name = ast.unparse(named).removeprefix("torch.").removeprefix("nn.").removeprefix("init.").removeprefix("optim.")
    if not name.isidentifier():
        raise _malformed(text)
    if not isinstance(tree, ast.Call):
        return Spec(name)
    filled = name.endswith("_") and tree.args and isinstance(tree.args[0], ast.Name | ast.Attribute)
    args = tuple(_literal(node, text) for node in tree.args[1 if filled else 0 :])
    kwargs = {_keyword(item, text): _literal(item.value, text) for item in tree.keywords}
    return Spec(name, args, kwargs)


def is_reference(text: str) -> bool:
    """Return whether a text refers to the user's own code and not to a registry entry.

    >>> is_reference("my_file.py:my_init"), is_reference("kaiming_uniform")
    (True, False)
    """
    return split_reference(text) is not None


def split_reference(text: str) -> tuple[str, str] | None:
    """Split a reference into file or module and name, None if it is none; an existing file may have any letters.

    Spellings of one relative path give the same file. An absolute path stays one: workers of a cluster need it.

    >>> split_reference("./my_file.py:my_init"), split_reference("linear")
    (('my_file.py', 'my_init'), None)
    """
    home, _, name = text.strip().rpartition(":")
    is_file = home.endswith(".py")
    named = REFERENCE.fullmatch(text.strip()) is not None
    plain = os.path.normpath(home) if is_file else home
    if not named and not (is_file and name.isidentifier() and expand(plain).is_file()):
        return None
    # Behind a link, `..` may lead elsewhere.
    return plain if os.path.realpath(expand(plain)) == os.path.realpath(expand(home)) else home, name


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ": did you mean '…'?" with the nearest known word, or an empty text."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else ""


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split `text` at each `separator`, a single character, outside brackets and quotes.

    >>> split_outside_brackets("conv=normal(std=0.1); bias=zeros", "=")
    ['conv', 'normal(std=0.1); bias', 'zeros']
    """
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
            raise ValueError  # noqa: TRY301 - the order of a set differs between processes
        value = ast.literal_eval(node)
        ast.literal_eval(repr(value))  # a value whose text is no literal (1e999) could not be read back
        return value  # noqa: TRY300 - the result of the block
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        word = ast.get_source_segment(text.strip(), node) or text  # unparsing recurses as deeply as the text is nested
        raise UsageError(
            f"'{word}' in '{text}' is not a literal: write a number, True, None or a quoted word such as '{word}'."
            if isinstance(node, ast.Name)
            else f"'{word}' in '{text}' is not a literal: write a finite number, True, None or a quoted word."
        ) from None


def _malformed(text: str) -> UsageError:
    home, _, name = text.strip().rpartition(":")
    if home.endswith(".py") and name.isidentifier():
        return UsageError(f"No file {home}.")
    return UsageError(f"'{text}' is not of the form name or name(key=value): check brackets, commas and quotes.")
