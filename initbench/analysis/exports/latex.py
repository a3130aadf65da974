"""The summary's tables for a paper in LaTeX."""

import re

from initbench.analysis.tables import DisplayTable

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
