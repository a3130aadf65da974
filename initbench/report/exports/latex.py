"""The summary's tables for a paper in LaTeX."""

import re

from initbench.report.document import Document
from initbench.report.tables import PanelTable

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
    "^": r"\texttt{\char94}",  # of these three the old fonts have the sign itself among the typewriter's letters alone
    "~": r"\texttt{\char126}",
    '"': r"\texttt{\char34}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
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
_SIGN = "|".join(map(re.escape, _LATEX))
_LIGATURE = r"([-,])(?=\1)"  # two hyphens become a dash, and two commas a quotation mark
# pdfTeX stops at a letter that its fonts lack; these are all but those of European languages, and of them some.
_FOREIGN = r"[^\x00-\x7fÀ-ž]|[ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų]"
_SPECIAL = re.compile(f"{_LIGATURE}|(?P<sign>{_SIGN})|(?P<foreign>{_FOREIGN})")
_MEANING = r"$\pm$: 95\,\% Student $t$ interval of the mean over seeds; ($k/n$): only $k$ of $n$ trials have the value."


def latex(document: Document) -> str:
    """Return the tables for a LaTeX document that loads `booktabs`, `graphicx` and `textcomp`, one `table` each."""
    parts = ["% \\usepackage{booktabs,graphicx,textcomp}", *map(_latex_table, document.tables)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it stands, outside of mathematics."""
    return _SPECIAL.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    if match["sign"]:
        return _LATEX[match[0]]
    if match["foreign"]:  # XeTeX and LuaTeX, which know this command, print it; pdfTeX says which one it would be
        return rf"\ifdefined\Umathchar {match[0]}\else U+{ord(match[0]):04X}\fi{{}}"
    return match[0] + r"\kern0pt{}"  # which parts them in LuaTeX, too


def _latex_table(table: PanelTable) -> str:
    columns = "l" + "r" * (len(table.headers) - 1)
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.setting)}. {_MEANING}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",  # long names would leave the page
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.headers),
        r"\midrule",
        *map(_latex_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ])  # fmt: skip


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
