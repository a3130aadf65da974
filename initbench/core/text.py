"""Text made safe for the place where it is shown: terminals, Markdown, spreadsheets, file names."""

import re
import textwrap

# A spreadsheet runs a cell that starts with one of these (OWASP, "CSV injection").
_FORMULA_STARTS = ("=", "+", "-", "@")
_MARKUP = re.compile(r"[\\`*\[\]|$~#>]|(?<![^\W_])_|_(?![^\W_])")
_TAG_OR_ENTITY = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def printable(text: str) -> str:
    """Show control, bidirectional and other invisible characters as escapes: a terminal obeys none of them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def markdown(text: str) -> str:
    """Escape what Markdown, its tables, its math and its inline HTML would read as markup.

    An underscore inside a word is left alone: no renderer reads `kaiming_uniform` as emphasis.
    """
    escaped = _MARKUP.sub(lambda match: "\\" + match[0], printable(text))
    return _TAG_OR_ENTITY.sub(lambda match: {"<": "&lt;", "&": "&amp;"}[match[0]], escaped)


def spreadsheet(text: str) -> str:
    """Put a quote before what a spreadsheet would run as a formula; no cell breaks its row."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def pieces(word: str, room: int) -> list[str]:
    """Return a word in pieces of at most `room`, broken after a bracket, a comma or an equals sign if it has them."""
    if len(word) <= room:
        return [word]
    found = [""]
    for part in re.split(r"(?<=[(,=])", word):
        for cut in textwrap.wrap(part, room, break_on_hyphens=False):
            found[-1:] = [found[-1] + cut] if len(found[-1] + cut) <= room else [found[-1], cut]
    return [piece for piece in found if piece]


def slug(text: str) -> str:
    """Return a file name's part: `mlp(depth=8, width=64)` becomes `mlp-depth-8-width-64`."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.")[:60].strip("-.") or "x"


def in_words(message: str) -> str:
    """Turn pydantic's message into the rest of a sentence of ours."""
    plain = message.replace("valid integer", "whole number").replace("valid number", "number")
    return plain[:1].lower() + plain[1:]
