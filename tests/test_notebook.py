"""A comparison and an inspection in a notebook: executed by a real kernel; of any names it is inert."""

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from analysis_data import a_comparison, a_trial, diverged, finished
from hypothesis import example, given
from hypothesis import strategies as st
from long_form import examples
from matplotlib.figure import Figure
from PIL import Image
from stored import a_folder
from test_inert_output import BAITS, Reader, a_hostile_comparison, baits, stored
from torch import nn

import initbench
from initbench.bar import bar_shown
from initbench.cli.present_inspection import inspection_document
from initbench.core.text import printable
from initbench.report.document import document_of
from initbench.report.figures.picture import Picture
from initbench.report.page import notebook
from initbench.report.page.notebook import notebook_html
from initbench.report.sentences import introduction
from initbench.report.tables import panel_tables
from initbench.running.inspection import plan_inspection, run_inspection

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
    """The answer, the cells of the terminal's table, one picture, and what is folded."""
    (table,) = panel_tables(comparison)
    assert Cells(html).rows == [list(table.headers), *map(list, table.rows)]
    text = Reader(html.replace("<img ", "<meta ")).text
    document = document_of(comparison)
    places = [text.index(line) for line in (*document.answers, table.headers[-1], table.head, introduction(comparison))]
    assert places == sorted(places)
    for line in (*table.lines, *document.notes):
        assert line in text
    assert html.index("<table>") < html.index("<img") < html.index("<details")
    ((caption, content),) = drawn_in(html)
    assert caption.startswith("Validation accuracy against step")
    assert Image.open(io.BytesIO(base64.b64decode(content))).width > 800


def drawn_in(html):
    return re.findall(r'<img alt="([^"]*)" width="\d+" src="data:image/png;base64,([A-Za-z0-9+/=]+)">', html)


def test_html_has_the_answer_the_table_and_a_picture():
    comparison = a_comparison(RECORDS)
    hold_shown(comparison._repr_html_(), comparison)


def test_repr_is_the_answer_a_small_table_and_where_the_numbers_are():
    comparison = a_comparison(RECORDS, missing=2)
    lines = repr(comparison).splitlines()
    assert lines[0] == document_of(comparison).answers[0]
    ranked = comparison.best[comparison.panels[0]].ranked
    assert [line.split()[0] for line in lines[2:6]] == ["scheme", *ranked]
    assert max(map(len, lines[2:6])) <= 80
    assert lines[-2] == "2 trials are not stored."
    for name in ("summary", "verdicts", "verdicts_full", "trials", "curves", "layers"):
        assert f".{name}" in lines[-1]
        assert not getattr(comparison, name).empty
    assert not repr(a_comparison([], name="\x1b[31m\n")).count("\x1b")


def test_verdicts_open_with_the_eight_columns_one_reads_after_what_varies():
    comparison = a_comparison(RECORDS)
    assert comparison.verdicts.columns.tolist() == [
        "scheme", "accuracy_verdict", "accuracy_difference", "accuracy_difference_low", "accuracy_difference_high",
        "accuracy_p_holm", "accuracy_n", "speed_verdict",
    ]  # fmt: skip
    other = tuple(finished(a_trial(scheme, 0, lr=0.5)) for scheme in ("torch_default", "kaiming_uniform"))
    both = a_comparison((*RECORDS, *other)).verdicts
    assert both.columns.tolist() == ["lr", *comparison.verdicts.columns]
    assert sorted(both["lr"].unique()) == [0.05, 0.5]


def test_an_inspection_has_its_answer_its_tables_and_its_html():
    model = nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 10))
    images = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    found = initbench.inspect(model, images, schemes=["kaiming", "torch_default"], seeds=5)
    assert found.answer.startswith("kaiming_uniform passes all 8 checks at step 0 (5 seeds); torch_default: FAIL in ")
    assert found.verdicts["verdict"].tolist() == ["PASS", "FAIL"]
    bad = found.verdicts.iloc[1]
    assert "gradient" in bad["fails"]
    assert bad["gradient_low"] < bad["gradient"] < bad["gradient_high"] < 0.3  # 1/6 by theory
    of_bad = found.verdicts_full.query("scheme == 'torch_default' and check == 'gradient'").iloc[0]
    assert (of_bad["level"], bool(of_bad["remedy"])) == ("FAIL", True)
    assert (len(found.layers), len(found.networks)) == (2 * 5 * 9, 2 * 5)
    assert repr(found).splitlines()[0] == found.answer
    html = found._repr_html_()
    text = Reader(html.replace("<img ", "<meta ").replace("<br>", "")).text
    assert text.index(found.answer) < text.index("verdict") < text.index(of_bad["remedy"])
    assert [row[:2] for row in Cells(html).rows[1:]] == [["kaiming_uniform", "PASS"], ["torch_default", "FAIL"]]
    assert len(drawn_in(html)) == 1


@pytest.mark.parametrize(
    ("model", "schemes", "answer", "best"),
    [
        (
            "mlp(depth=2..8)",
            ["kaiming", "torch_default", "zeros"],
            "kaiming_uniform carries signal and gradient to depth 8 (the largest scanned), 5 seeds; torch_default to 5",
            ["kaiming_uniform"],
        ),
        (
            "mlp(depth=8)",
            ["xavier", "zeros"],
            "No scheme passes all 8 checks at step 0 (5 seeds); xavier_uniform: WARN in signal and gradient; zeros: ",
            ["xavier_uniform"],
        ),
        (
            "mlp(depth=8)",
            ["torch_default"],
            "torch_default does not pass all 8 checks at step 0 (5 seeds): FAIL in gradient (‖∂z‖² ×0.16",
            ["torch_default"],
        ),
    ],
)
def test_the_answer_of_an_inspection_names_the_best_and_what_the_others_fail(model, schemes, answer, best):
    found = run_inspection("x", plan_inspection(model, schemes, 5))
    assert found.answer.startswith(answer)
    document = inspection_document(found, Path("x"))
    assert (document["answer"], document["best"]) == ([found.answer], best)


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
        picture = Picture("accuracy", caption, Figure(figsize=(1, 1)))
        patch.setattr(notebook, "leading_drawing", lambda _: lambda: picture)
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


class BarsOf:
    """What a client's kernel drew in place of an output, in the order in which it came."""

    def __init__(self, client):
        self.seen, self.process = [], client.process_message
        client.process_message = self

    def __call__(self, message, *place):
        if message["msg_type"] in {"display_data", "update_display_data"}:
            self.seen.append(message["content"]["data"]["text/html"])
        return self.process(message, *place)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_alone(terminal, monkeypatch):
    master, slave = os.openpty() if terminal else os.pipe()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    trials = [a_trial(seed=seed) for seed in range(2)]
    with os.fdopen(slave, "w") as file, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", file)
        with bar_shown() as observer:
            observer.started(trials, 0)
            observer.finished(finished(trials[0]))
            observer.progressed({trials[1].id: 1})
            observer.finished(finished(trials[1]))
        file.flush()
        os.set_blocking(master, False)
        try:
            drawn = os.read(master, 1 << 16).decode()
        except BlockingIOError:  # nothing was written
            drawn = ""
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*\w", "", drawn)
    assert [said in text for said in ("0% starting, 0/2 trials", "2 trials trained in 0:00")] == [terminal] * 2
    assert bool(drawn) == terminal


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
        "trained = initbench.compare(['zeros', 'kaiming'], 'linear', steps=3, seeds=2, jobs=1, out='trained')",
        "again = initbench.compare(['zeros', 'kaiming'], 'linear', steps=3, seeds=2, jobs=1, out='trained')",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "IPYTHONDIR": str(tmp_path / "ipython")}
    client = nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel(env=kernel):
        bars = BarsOf(client)
        for place, cell in enumerate(book.cells):
            client.execute_cell(cell, place)
    nbformat.validate(book)
    assert "progress" in bars.seen[0]
    assert "0%, starting, 0/4 trials" in bars.seen[0]
    assert [o.data["text/plain"][:17] for o in book.cells[4].outputs] == [
        "4 trials trained "
    ]  # one place, that changes
    assert not book.cells[5].outputs  # nothing was left to train
    shown = [cell.outputs[0] for cell in book.cells[:4]]
    comparison = a_comparison(RECORDS, name="compare-x", question="", target=None)
    hold_shown(shown[0].data["text/html"], comparison)
    assert shown[0].data["text/plain"] == repr(comparison) == shown[1].text.strip()
    assert "0.91" in shown[2].data["text/html"]
    assert shown[3].data["text/plain"] == "[]"
    assert len(shown[0].data["text/html"]) < 1_000_000
