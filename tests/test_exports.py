"""Exports: the same cells as the terminal's, escaped, in every format."""

import io
import json
import os
import re
import shutil
import subprocess
import unicodedata
from typing import get_args

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from initbench.cli.export import Format
from initbench.cli.export import export as command
from initbench.report.document import document_of
from initbench.report.exports import DOCUMENTS, FORMATS, export
from initbench.report.exports.latex import escaped, latex
from initbench.report.markdown import summary_markdown
from initbench.report.tables import AGAINST, panel_tables
from tests.analysis_data import a_comparison, a_trial, diverged, finished
from tests.stored import a_folder

RECORDS = tuple(
    record
    for seed in range(3)
    for record in (
        finished(a_trial("torch_default", seed), test=0.8 + seed / 100),
        finished(a_trial("conv=kaiming_uniform(mode='fan_out'); bias=constant(0.1)", seed), test=0.9 + seed / 100),
        diverged(a_trial("constant(0.05)", seed)),
    )
)


def unescaped(cell):
    cell = re.sub(r"\$\\pm\$", "±", cell)
    cell = cell.replace("$-$", "−").replace(r"$\infty$", "∞").replace(r"$\geq$", "≥").replace("--", "–")
    cell = cell.replace("{[}", "[").replace("{]}", "]").replace(r"\textquotesingle{}", "'")
    cell = re.sub(r"^\\textbf\{(.*)\}$", r"\1", cell)
    return re.sub(r"\\([_%&#${}])", r"\1", cell)


def test_latex_holds_the_cells_of_the_terminal():
    comparison = a_comparison(RECORDS)
    text = latex(document_of(comparison))
    (table,) = panel_tables(comparison)
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r" \\")]
    place = table.headers.index(AGAINST)
    headers, *rows = [tuple(map(unescaped, re.split(r" & ", line))) for line in lines]
    assert headers == (
        *table.headers[:place],
        "difference (points)",
        "interval",
        "p (Holm)",
        *table.headers[place + 1 :],
    )
    for row, cells in zip(rows, table.rows, strict=True):
        assert (*row[:place], *row[place + 3 :]) == (*cells[:place], *cells[place + 1 :])
        difference, ends, p = row[place : place + 3]
        assert cells[place] in {f"{difference} {ends}, p = {p}", f"{difference} ({ends}), p = {p}", difference}
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{l" + "r" * (len(headers) - 1)):
        assert rule in text
    assert text.count("{") == text.count("}")
    assert text.count("$") % 2 == 0


def test_latex_has_the_best_in_bold_and_no_column_that_says_nothing():
    runs = [
        finished(a_trial(scheme, seed), test=end + seed / 1000)
        for scheme, end in (("torch_default", 0.5), ("good", 0.9), ("poor", 0.3))
        for seed in range(10)
    ]
    text = latex(document_of(a_comparison(runs)))
    bold = [line.split(" & ")[0] for line in text.splitlines() if r"\textbf" in line]
    assert bold == [r"\textbf{good}"]
    assert "+40.0" in text
    assert "diverged" not in text
    assert r"99.8 \% interval" in text or r"97.5 \% interval" in text
    alike = latex(document_of(a_comparison(RECORDS[:1])))
    assert r"\textbf" not in alike
    assert "difference" not in alike.casefold()


def test_what_latex_would_read_is_escaped():
    assert escaped(r"a_b & 50 % of $x$ #1 {y} \input{z} ~^") == (
        r"a\_b \& 50 \% of \$x\$ \#1 \{y\} \textbackslash{}input\{z\} \texttt{\char126}\texttt{\char94}"
    )
    assert escaped("[1.2, ∞)") == r"{[}1.2, $\infty$)"
    assert escaped("kaiming 0.91 ± 0.02") == r"kaiming 0.91 $\pm$ 0.02"
    assert escaped("a-b--c, élan σ") == r"a-b-\kern0pt{}-c, élan \ifdefined\Umathchar σ\else U+03C3\fi{}"


def test_csv_and_markdown_are_the_summary_and_json_is_strict():
    comparison = a_comparison(RECORDS)
    read = pd.read_csv(io.BytesIO(export(comparison, "csv", {})))
    assert list(read.columns) == list(comparison.summary.columns)
    assert list(read["scheme"]) == list(comparison.summary["scheme"])
    assert export(comparison, "markdown", {}).decode() == summary_markdown(document_of(comparison))
    assert json.loads(export(comparison, "json", {"schema": 1, "low": None})) == {"schema": 1, "low": None}
    with pytest.raises(ValueError, match="JSON compliant"):
        export(comparison, "json", {"low": float("nan")})


def test_the_command_offers_every_format():
    assert get_args(Format) == FORMATS


@pytest.fixture
def folder(tmp_path):
    return a_folder(tmp_path, RECORDS)


def run(*args, **options):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(arg) for arg in args], **options)


@pytest.mark.parametrize("to", DOCUMENTS)
def test_the_command_writes_the_same_to_stdout_and_to_a_file(folder, tmp_path, to):
    shown = run(folder, "--to", to)
    written = run("--to", to, "--out", folder.parent, "--output", tmp_path / "deep" / "file")  # the latest
    assert shown.exit_code == written.exit_code == 0
    content = (tmp_path / "deep" / "file").read_text(encoding="utf-8")
    if to == "json":
        shown_document, document = json.loads(shown.stdout), json.loads(content)
        assert document["schema"] == 1
        assert [row["scheme"] for row in document["summary"]] == [row["scheme"] for row in shown_document["summary"]]
    else:
        assert shown.stdout == content
    assert max(map(len, content.splitlines())) > 80 or to == "json"  # nothing is folded
    assert not written.stdout


def test_what_is_written_to_a_pipe_does_not_replace_it(folder, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run(folder, "--to", "csv", "--output", pipe).exit_code == 0
    assert pipe.is_fifo()
    assert os.read(reader, 1 << 16).decode() == run(folder, "--to", "csv").stdout
    os.close(reader)


def test_a_folder_that_is_none_and_an_unknown_format_are_said(tmp_path):
    missing = run(tmp_path / "nothing", "--to", "csv")
    assert missing.exit_code == 4
    assert "No comparison in" in missing.stderr
    assert run("--to", "docx").exit_code == 2


def test_an_address_goes_with_mlflow_alone(folder):
    for words in (["--to", "csv", "--uri", "x"], ["--to", "mlflow", "--uri", "x", "-o", "y"]):
        refused = run(folder, *words)
        assert refused.exit_code == 2
        assert "--uri goes with --to mlflow" in refused.stderr


LATEX = next(filter(None, map(shutil.which, ("pdflatex", "lualatex", "xelatex", "tectonic"))), None)
NAMES = (
    "kaiming_uniform",
    r"\input{x} & 50 % of $x$ #1 ~^ <a> 'b' \"c\" [d] `e` | ± × ≤ ≥ ∞ − –",
    "a--b---c,,d ?`!` ''e'' <<f>>",
    "élan Gödel Čapek",
    "模型 σ² ðđą",
)


def compiled(tables, tmp_path):
    preamble = "\\documentclass{article}\n\\usepackage{booktabs,graphicx,textcomp}\n\\begin{document}\n\\listoftables\n"
    (tmp_path / "x.tex").write_text(preamble + tables + "\n\\end{document}\n", encoding="utf-8")
    options = [] if LATEX.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    for _ in range(2):  # the second reads the captions that the first has written down
        done = subprocess.run([LATEX, *options, "x.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    return tmp_path / "x.pdf"


@pytest.mark.skipif(LATEX is None, reason="there is no TeX here: install pdflatex or tectonic")
def test_latex_compiles(tmp_path):
    records = [finished(a_trial(name, seed, dataset=f"{name}.npz")) for name in NAMES for seed in range(2)]
    assert compiled(latex(document_of(a_comparison(records))), tmp_path).stat().st_size > 0


PDFTOTEXT = shutil.which("pdftotext")


@pytest.mark.skipif(PDFTOTEXT is None or shutil.which("pdflatex") is None, reason="pdflatex and pdftotext are not here")
def test_a_page_set_by_latex_holds_all_columns_and_the_names_as_they_are(tmp_path):
    records = [finished(a_trial(name, seed)) for name in NAMES for seed in range(2)]
    document = document_of(a_comparison(records))
    page = compiled(latex(document), tmp_path)
    told = subprocess.run([PDFTOTEXT, page, "-"], capture_output=True, text=True, check=True).stdout
    # What pdfTeX has no letter for is said by its number, and its underscore is drawn.
    lacking = {ord(letter): f"U+{ord(letter):04X}" for letter in "模型σ²ðđą"} | {ord("_"): " "}
    for text in (*NAMES, *document.tables[0].headers):
        assert text.translate(lacking) in unicodedata.normalize("NFC", told)
