"""Text made safe for terminals, Markdown, spreadsheets and file names; pydantic's messages in our words."""

import re
import textwrap

# A spreadsheet runs a cell that starts with one of these (OWASP, "CSV injection").
_FORMULA_STARTS = ("=", "+", "-", "@")
_MARKUP = re.compile(r"[\\`*\[\]|$~#>]|(?<![^\W_])_|_(?![^\W_])")
_TAG_OR_ENTITY = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def printable(text: str) -> str:
    r"""Escape control, bidirectional and other invisible characters, so that a terminal shows and does not obey them.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():  # as nearly all is
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def markdown(text: str) -> str:
    """Escape Markdown, table, math and inline HTML markup.

    An underscore within a word stays: no renderer takes `kaiming_uniform` for emphasis.
    """
    escaped = _MARKUP.sub(lambda match: "\\" + match[0], printable(text))
    return _TAG_OR_ENTITY.sub(lambda match: {"<": "&lt;", "&": "&amp;"}[match[0]], escaped)


def spreadsheet(text: str) -> str:
    """Prefix a quote to text that a spreadsheet would run as a formula, and escape line breaks.

    >>> spreadsheet("=1+1")
    "'=1+1"
    """
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def pieces(word: str, room: int) -> list[str]:
    """Split a word into pieces of at most `room` characters, preferably after a bracket, comma or equals sign."""
    if len(word) <= room:
        return [word]
    found = [""]
    for part in re.split(r"(?<=[(,=])", word):
        for cut in textwrap.wrap(part, room, break_on_hyphens=False):
            found[-1:] = [found[-1] + cut] if len(found[-1] + cut) <= room else [found[-1], cut]
    return [piece for piece in found if piece]


def slug(text: str) -> str:
    """Return text usable in a file name.

    >>> slug("mlp(depth=8, width=64)")
    'mlp-depth-8-width-64'
    """
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.")[:60].strip("-.") or "x"


def in_words(message: str) -> str:
    """Rephrase a message of pydantic as the end of one of our sentences.

    >>> in_words("Input should be a valid integer")
    'input should be a whole number'
    """
    plain = message.replace("valid integer", "whole number").replace("valid number", "number")
    return plain[:1].lower() + plain[1:]
