"""The summary for other tools: CSV, Markdown, LaTeX, JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from initbench.analysis.comparison import Comparison
from initbench.analysis.markdown import summary_markdown
from initbench.analysis.tables import DisplayTable, csv_bytes, display_rows

Format = Literal["csv", "markdown", "latex", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# What LaTeX reads as commands, what its old fonts print as something else, and the signs that our cells use.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\char34{}",
    "[": "{[}",  # after a line's end it would open that command's argument
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "−": "$-$",
    "–": "--",
}
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))
_MEANING = r"$\pm$: 95\,\% Student $t$ interval of the mean over seeds; ($k/n$): only $k$ of $n$ trials have the value."


def export(comparison: Comparison, to: Format, document: Mapping[str, Any]) -> bytes:
    """Return the summary in a format, as UTF-8 that ends with a newline.

    CSV holds the summary in full precision, Markdown the page summary.md, LaTeX the cells that the terminal shows, JSON
    `document`, the one of `--json`.
    """
    if to == "csv":
        return csv_bytes(comparison.summary)
    if to == "markdown":
        return summary_markdown(comparison).encode()
    if to == "latex":
        return latex(display_rows(comparison)).encode()
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def latex(tables: tuple[DisplayTable, ...]) -> str:
    """Return tables for a LaTeX document that loads `booktabs` and `textcomp`, one `table` each."""
    parts = ["% \\usepackage{booktabs,textcomp}", *map(_latex_table, tables)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it stands, outside of mathematics."""
    return _SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def _latex_table(table: DisplayTable) -> str:
    columns = "l" + "r" * (len(table.headers) - 1)
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.setting)}. {_MEANING}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.headers),
        r"\midrule",
        *map(_latex_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ])  # fmt: skip


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
