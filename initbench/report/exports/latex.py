"""The summary's tables for a paper in LaTeX."""

import re
from collections.abc import Iterable, Iterator, Sequence

from initbench.analysis.judgements import Judgement
from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.verdicts import confidence
from initbench.core.text import printable
from initbench.report.cells import NOTHING, interval, number, p_cell
from initbench.report.document import Document
from initbench.report.tables import AGAINST, PanelTable
from initbench.report.verdict_tables import difference_cell

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
_SPREAD = r"$\pm$: 95\,\% Student $t$ interval of the mean over seeds; ($k/n$): only $k$ of $n$ trials have the value."
_MARKED = ("scheme", "test accuracy")
_DIFFERENCE = ("difference (points)", "interval", "p (Holm)")
_BOLD = r"Bold: best, or not told apart from the best (95\,\% confidence)."


def latex(document: Document) -> str:
    """Return the tables for a LaTeX document that loads `booktabs`, `graphicx` and `textcomp`, one `table` each."""
    results = document.results
    tables = (_latex_table(results, *shown) for shown in zip(results.panels, document.tables, strict=True))
    return "\n\n".join(["% \\usepackage{booktabs,graphicx,textcomp}", *tables]) + "\n"


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it stands, outside of mathematics."""
    return _SPECIAL.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    if match["sign"]:
        return _LATEX[match[0]]
    if match["foreign"]:  # XeTeX and LuaTeX, which know this command, print it; pdfTeX says which one it would be
        return rf"\ifdefined\Umathchar {match[0]}\else U+{ord(match[0]):04X}\fi{{}}"
    return match[0] + r"\kern0pt{}"  # which parts them in LuaTeX, too


def _latex_table(results: Results, panel: Panel, table: PanelTable) -> str:
    best, judged = results.best[panel], {judgement.scheme: judgement for judgement in results.judgements[panel]}
    columns = list(_columns(table, [judged.get(scheme) for scheme in best.ranked]))
    bold = best.candidates if best.beaten_by else ()
    headers = [header for header, _ in columns]
    rows = zip(best.ranked, zip(*(cells for _, cells in columns), strict=True), strict=True)
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.setting)}. {_meaning(results.baseline, judged.values(), bold)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",  # long names would leave the page
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        _latex_row(map(escaped, headers)),
        r"\midrule",
        *(_latex_row(_marked(cells, headers) if scheme in bold else map(escaped, cells)) for scheme, cells in rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ])  # fmt: skip


def _columns(table: PanelTable, judged: Sequence[Judgement | None]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the header and the cells of each column that says something, with the difference in three."""
    for header, cells in zip(table.headers, zip(*table.rows, strict=True), strict=True):
        if header == AGAINST:
            yield from zip(_DIFFERENCE, zip(*map(_difference, judged), strict=True), strict=True)
        elif set(cells) - {NOTHING, "0"}:
            yield header, cells


def _difference(judgement: Judgement | None) -> tuple[str, str, str]:
    """Return the difference to the baseline, its interval and the adjusted p of its test."""
    if judgement is None or judgement.absent or difference_cell(judgement) == NOTHING:
        return NOTHING, NOTHING, NOTHING
    difference, tests = judgement.accuracy_comparison.pairs.difference, judgement.accuracy_comparison.tests
    if difference.value is None:
        return NOTHING, NOTHING, NOTHING
    value, ends = number(100 * difference.value, 1), difference.interval
    said = f"n = {difference.n}"
    if ends is not None:
        said = interval(100 * ends.low, None if ends.high is None else 100 * ends.high, 1)
    return "+" * (difference.value > 0) + value, said, p_cell(tests.values_p)


def _meaning(baseline: str, judged: Iterable[Judgement], bold: Sequence[str]) -> str:
    shown = [judgement for judgement in judged if _difference(judgement)[0] != NOTHING]
    levels = {confidence(judgement.accuracy_comparison.pairs.alpha) for judgement in shown}
    level = f"{levels.pop()} " if len(levels) == 1 else ""
    against = (
        f"Difference in test accuracy to {escaped(printable(baseline))} in pairs of seeds, with its {escaped(level)}"
        "interval and its $p$ after Holm's adjustment."
    )
    return " ".join(filter(None, (_SPREAD, against if shown else "", _BOLD if bold else "")))


def _marked(cells: Sequence[str], headers: Sequence[str]) -> Iterator[str]:
    """Yield the cells of a row with the scheme and its accuracy in bold."""
    for header, cell in zip(headers, cells, strict=True):
        yield rf"\textbf{{{escaped(cell)}}}" if header in _MARKED else escaped(cell)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
