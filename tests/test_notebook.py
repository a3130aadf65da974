"""A comparison in a notebook: executed by a real kernel; of any names it is inert."""

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from analysis_data import a_comparison, a_trial, diverged, finished
from hypothesis import example, given
from hypothesis import strategies as st
from long_form import examples
from matplotlib.figure import Figure
from PIL import Image
from stored import a_folder
from test_inert_output import BAITS, Reader, a_hostile_comparison, baits, stored

from initbench.core.text import printable
from initbench.report.document import document_of
from initbench.report.figures.picture import Picture
from initbench.report.page import notebook
from initbench.report.page.notebook import notebook_html
from initbench.report.sentences import introduction
from initbench.report.tables import panel_tables

RECORDS = tuple(
    record
    for seed in range(3)
    for record in (
        finished(a_trial("torch_default", seed), test=0.8 + seed / 100),
        finished(a_trial("kaiming_uniform", seed), test=0.9 + seed / 100),
        diverged(a_trial("constant(0.05)", seed)),
    )
)
TAGS = {"div", "style", "p", "b", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li", "img", "details"}


class Cells(HTMLParser):
    """The rows of every table."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside &= tag not in {"th", "td"}

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def hold_shown(html, comparison):
    """The cells of the terminal's table, its verdicts, loss and accuracy as pictures."""
    (table,) = panel_tables(comparison)
    assert Cells(html).rows == [list(table.headers), *map(list, table.rows)]
    text = Reader(html.replace("<img ", "<meta ")).text
    for line in (introduction(comparison), table.head, *table.groups, *document_of(comparison).notes):
        assert line in text
    drawn = re.findall(r'<img alt="([^"]*)" width="\d+" src="data:image/png;base64,([A-Za-z0-9+/=]+)">', html)
    assert [caption.partition(":")[0] for caption, _ in drawn] == [
        "Loss against step", "Validation accuracy against step"
    ]  # fmt: skip
    for _, content in drawn:
        assert Image.open(io.BytesIO(base64.b64decode(content))).width > 800


def test_html_has_the_table_the_verdicts_and_two_pictures():
    comparison = a_comparison(RECORDS)
    hold_shown(comparison._repr_html_(), comparison)


def test_repr_says_in_two_lines_what_it_is():
    comparison = a_comparison(RECORDS, missing=2)
    first, second = repr(comparison).split("\n")
    assert first == "Comparison 'compare-test': 3 schemes against 'torch_default', 9 trials, 2 not stored."
    for name in ("summary", "verdicts", "trials", "curves", "layers"):
        assert f".{name}" in second
        assert not getattr(comparison, name).empty
    assert not repr(a_comparison([], name="\x1b[31m\n")).count("\x1b")


def test_what_is_missing_is_open_to_see_and_nothing_stored_is_said():
    assert "<details><summary>" in notebook_html(a_comparison(RECORDS))
    assert "<details open><summary>" in notebook_html(a_comparison(RECORDS, missing=1))
    nothing = notebook_html(a_comparison([], schemes=("kaiming_uniform",), missing=3))
    assert "No trial is stored yet." in nothing
    assert "<img" not in nothing


@example([BAITS[4]])  # leaves an attribute, where quotes are let through
@examples(8)
@given(st.lists(baits, min_size=1, max_size=2))
def test_a_notebook_shows_any_names_as_text(texts):
    comparison = a_hostile_comparison(texts)
    caption = f"{printable(stored(texts[0]))}: x"
    with pytest.MonkeyPatch.context() as patch:  # drawing takes seconds, and tests of figures hold it
        patch.setattr(notebook, "pictures", lambda _: iter([Picture("loss", caption, Figure(figsize=(1, 1)))]))
        html = notebook_html(comparison)
    read = Reader(re.sub("<img ", "<meta ", html, count=1))
    assert read.open == []
    assert read.tags - {"summary", "meta"} <= TAGS
    sources = [value for _, key, value in read.attributes if key == "src"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert {key for _, key, _ in read.attributes} <= {"class", "scope", "src", "alt", "width", "open"}
    assert all(c.isprintable() or c == "\n" for c in html)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"https?:|@import|url\(", style)
    for line in style.splitlines()[1:]:
        assert line.startswith((".initbench", " "))  # it styles nothing else on the page
    for text in texts:
        assert " ".join(printable(stored(text)).split()) in " ".join(read.text.split())


def test_a_notebook_is_executed_and_shows_the_comparison(tmp_path):
    reason = "a notebook's kernel is not installed: pip install 'initbench[dev]'"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    a_folder(tmp_path, RECORDS)
    cells = [
        "import sys, initbench\ncomparison = initbench.load('compare-x')\ncomparison",
        "print(repr(comparison))",
        "comparison.summary[['scheme', 'test_accuracy']]",
        "sorted({'torch'} & sys.modules.keys())",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "IPYTHONDIR": str(tmp_path / "ipython")}
    client = nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=kernel)
    nbformat.validate(book)
    shown = [cell.outputs[0] for cell in book.cells]
    comparison = a_comparison(RECORDS, name="compare-x", question="", target=None)
    hold_shown(shown[0].data["text/html"], comparison)
    assert shown[0].data["text/plain"] == repr(comparison) == shown[1].text.strip()
    assert "0.91" in shown[2].data["text/html"]
    assert shown[3].data["text/plain"] == "[]"
    assert len(shown[0].data["text/html"]) < 1_000_000
