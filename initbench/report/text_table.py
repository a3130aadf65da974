"""A table in plain text, for Python's prompt."""

from collections.abc import Sequence


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns two blanks apart, the first line the headers.

    >>> print(text_table(("scheme", "learned"), [("zeros", "0/5")]))
    scheme  learned
    zeros   0/5
    """
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
