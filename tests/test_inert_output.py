"""Names, reasons, notices and questions of any content stay text wherever they are shown."""

import csv
import hashlib
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from analysis_data import ENVIRONMENT, a_comparison, a_layer, a_trial, diverged, failed, finished
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from matplotlib.figure import Figure
from rich.console import Console
from test_inspection_pages import a_network, of_observed
from typer.testing import CliRunner

import initbench
from initbench.analysis.step_zero.inspection import Observed
from initbench.cli import app, console
from initbench.cli.present import show_document, summary_document
from initbench.cli.present_inspection import show_inspection
from initbench.core.text import markdown, printable, spreadsheet
from initbench.records import store
from initbench.records.recipe import Claim
from initbench.records.record import Record
from initbench.report.document import document_of
from initbench.report.exports import DOCUMENTS, export
from initbench.report.exports.latex import escaped
from initbench.report.figures.comparison import pictures
from initbench.report.figures.inspection import inspection_pictures
from initbench.report.figures.picture import Picture
from initbench.report.folder import write_inspection
from initbench.report.markdown import summary_markdown
from initbench.report.page.comparison import render_report
from initbench.report.page.inline_figures import inline_svg
from initbench.report.page.inspection import inspection_page
from initbench.report.table_files import csv_bytes, tables_of
from initbench.report.tables import panel_tables

BAITS = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "</title></style></svg><iframe src=//evil>",
    "<!-- --> ]]> <![CDATA[ &#x3c; &lt;",
    "' onmouseover='alert(1)' \" style=\"x\"",
    "javascript:alert(1)",
    "[red]x[/red] [link=file:///etc/passwd]y[/link] :skull:",
    "\x1b[31mred\x1b]8;;http://evil\x1b\\link\x07 \x9b2J",
    "\r\n| a | b |\n# head\n\t\b\0\x7f\x85",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200b\ufeff\u2028\u2029",
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\uff1d1+1",
    "$\\input{/etc/passwd}$ \\write18{x} \\frac{ ^_ {{ }} %x #1 ~ & \\\\[1em]",
    "${{ 7*7 }} {% include 'x' %} {# x",
    "[x](javascript:alert(1)) ![y](http://evil) <http://evil> `z` **b** _e_",
    "x" * 3000,
    "word " * 400,
    "ü 火 \U0001f600 \U000e0041",
    "\ud800",
    "",
    " ",
)  # fmt: skip
baits = st.one_of(st.sampled_from(BAITS), st.lists(st.sampled_from(BAITS[:19]), max_size=3).map(" ".join), st.text())


def stored(text):
    """Return a text as a store can hold it: pydantic takes no lone surrogates, no name is empty or holds a NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "") or "x"


# ---- the escapes


@examples(150)
@given(baits)
def test_a_printable_text_has_nothing_that_a_terminal_obeys_and_says_the_same(text):
    shown = printable(text)
    assert all(c.isprintable() for c in shown)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert printable(shown) == shown
    kept = iter(shown)
    assert all(c in kept for c in text if c.isprintable())  # in their order
    if text.isprintable():
        assert shown == text


@examples(100)
@given(st.lists(baits, min_size=1, max_size=4))
def test_a_csv_cell_is_no_formula_and_one_row(texts):
    import pandas as pd

    # As objects: strings that pyarrow keeps, where it is installed, take no lone surrogates.
    frame = pd.DataFrame({"scheme": pd.Series(texts, dtype=object), "n": range(len(texts))})
    content = csv_bytes(frame).decode()
    rows = list(csv.reader(io.StringIO(content)))
    assert [row[0] for row in rows[1:]] == [spreadsheet(text) for text in texts]
    for row in rows[1:]:
        assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))


LATEX_WORDS = r"\\(textbackslash|textless|textgreater|textbar|textasciigrave|textquotesingle)\{\}"
LATEX_WORDS += r"|\\texttt\{\\char(34|94|126)\}|(?<=[-,])\\kern0pt\{\}|\\[{}$&#%_]|\{\[\}|\{\]\}"
LATEX_WORDS += r"|\$(\\(pm|times|leq|geq|infty)|-)\$|\\ifdefined\\Umathchar [^\x00-\x7f]\\else U\+[0-9A-F]{4,6}\\fi\{\}"


@examples(100)
@given(baits)
def test_what_latex_reads_are_our_own_words_only(text):
    rest = re.sub(LATEX_WORDS, "", escaped(printable(text)))
    assert not re.search(r"[\\{}$&#%_^~<>|`\[\]]", rest)


@examples(100)
@given(baits)
def test_a_text_in_markdown_opens_nothing(text):
    shown = markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[`*\[\]|$~#]", shown.replace("\\\\", ""))
    assert not re.search(r"<[A-Za-z/!?]", shown)


@examples(60)
@given(baits)
def test_no_text_is_markup_or_a_control_sequence_on_a_terminal(text):
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        options = {"highlight": False, "markup": False, "force_terminal": True, "width": 10_000}
        patch.setattr(console, "out", Console(file=out, **options))
        patch.setattr(console, "err", Console(file=err, **options))
        patch.setenv("COLUMNS", "9000")
        console.notice(text)
        console.say(text)
        console.show_path("at", text)
        console.show_text(text)
        console.show_table("", ["a"], [[text]])
        console.show_numbers("", ["a", "b"], [[text, text]])
        console.show_json({"x": text})
    ours = re.compile(r"\x1b\[(0|1|33|1;31)?m")
    for shown in (out.getvalue(), err.getvalue()):
        plain = ours.sub("", shown)
        assert all(c.isprintable() or c == "\n" for c in plain)
    assert printable(text.split("\n")[0]).strip() in ours.sub("", err.getvalue())


# ---- pages


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.open = set(), [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in {"meta", "br", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


HTML = {
    "html", "head", "meta", "title", "style", "script", "body", "header", "main", "nav", "section", "h1", "h2", "h3",
    "p", "div", "span", "b", "br", "a", "ul", "li", "dl", "dt", "dd", "pre", "code", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "details", "summary", "figure", "fieldset", "legend", "label", "input", "button",
}  # fmt: skip
SVG = {
    "svg", "title", "desc", "defs", "g", "path", "text", "tspan", "use", "clippath", "rect", "line", "circle",
    "metadata", "rdf:rdf",
}  # fmt: skip
# No script and no style but one each, no font, no frame, no image, no connection, no object.
HASH = r"'sha256-[\w+/]{43}='"
POLICY = f"default-src 'none'; script-src {HASH}; style-src {HASH}; base-uri 'none'; form-action 'none'"
SCRIPT = Path(initbench.__file__).parent / "report" / "page" / "templates" / "report.js"


def hold_inert(page, *, beside):
    read = hold_markup(page, beside=beside)
    (policy,) = [value for tag, key, value in read.attributes if (tag, key) == ("meta", "content") and "src" in value]
    assert re.fullmatch(POLICY, policy)
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<style>")
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert not re.search(r"https?:|@import|url\(", text)
        assert tag == "style" or text == SCRIPT.read_text()
    assert all(c.isprintable() or c == "\n" for c in page)
    return read


def hold_markup(page, *, beside):
    read = Reader(page)
    assert read.open == []
    assert read.tags <= HTML | SVG, read.tags - HTML - SVG
    held = {(tag, value) for tag, key, value in read.attributes if key == "download"}
    for tag, key, value in read.attributes:
        assert not key.startswith("on"), (tag, key)
        assert key != "style"
        if key in {"href", "src", "xlink:href", "action", "srcset", "data", "poster", "background"}:
            assert key == "href"
            if value.startswith("data:"):
                assert held
                assert re.fullmatch(r"data:text/(csv|markdown);charset=utf-8,[\w%.,()=;~-]*", value, re.ASCII)
                continue
            assert value.startswith(("#", "plots/")) or value in beside
        if "url(" in (value or ""):
            assert "//" not in value or key == "aria-label"
            assert not re.search(r"url\((?!#)", value) or key == "aria-label"
    return read


def a_hostile_record(make, trial, text, **fields):
    layers = tuple(replace(a_layer(i, 0.5), layer=f"{text}{i}", kind=text) for i in range(2))
    return make(trial, layers=layers, notices=(text,), environment=replace(
        ENVIRONMENT, platform=text, device=text), **fields)  # fmt: skip


def a_hostile_comparison(texts, seeds=2):
    """Have every text that anyone can choose be one of these."""
    one, other = stored(texts[0]), stored(texts[-1])
    axes = {"dataset": one, "model": other, "optimizer": one, "fingerprint": other}
    records = []
    for seed in range(seeds):
        records += [
            a_hostile_record(finished, a_trial(stored(text), seed, **axes), stored(text))
            for text in dict.fromkeys(texts)
        ]
    records.append(a_hostile_record(diverged, a_trial(one, seeds, **axes), other))
    records.append(a_hostile_record(failed, a_trial(other, seeds + 1, **axes), one, reason=one))
    records = [Record.model_validate_json(record.model_dump_json()) for record in records]
    claim = Claim(text=f"x{one}", metric="test_accuracy", better=one.strip() or "x", than=other.strip() or "x",
                  source=other, where={"model": other})  # fmt: skip
    return a_comparison(
        {record.trial.id: record for record in records}.values(),
        name=one, question=other, baseline=one, command=f"initbench {one}", claims=(claim,), missing=1,
    )  # fmt: skip


BESIDE = ["trials.csv", "summary.md"]


@examples(8)
@given(st.lists(baits, min_size=1, max_size=3))
def test_a_report_of_any_texts_is_inert(texts):
    comparison = a_hostile_comparison(texts)
    caption = f"{printable(stored(texts[0]))}: x"
    drawn = [Picture("loss", caption, Figure(figsize=(1, 1)))]
    document = document_of(comparison)
    page = render_report(document, drawn, BESIDE, tables_of(document))
    read = hold_inert(page, beside=BESIDE)
    for text in texts:
        assert " ".join(printable(stored(text)).split()) in " ".join(read.text.split())


@examples(8)
@given(st.lists(baits, min_size=1, max_size=3))
def test_tables_files_and_documents_of_any_texts_are_inert(texts):
    comparison = a_hostile_comparison(texts)
    for table in panel_tables(comparison):
        for line in (table.setting, table.head, *table.lines, *(cell for row in table.rows for cell in row)):
            assert line == printable(line)
    page = summary_markdown(document_of(comparison))
    assert all(c.isprintable() or c == "\n" for c in page)
    assert not re.search(r"<[A-Za-z/!?]", page)
    assert not any(re.search(r"(?<!\\)\$", line.replace("\\\\", "")) for line in page.splitlines())
    tables = "trials", "curves", "layers", "summary", "verdicts_full"
    for frame in (getattr(comparison, name) for name in tables):
        rows = list(csv.reader(io.StringIO(csv_bytes(frame).decode())))
        assert {len(row) for row in rows} == {len(frame.columns)}
        text = [i for i, column in enumerate(frame.columns) if frame[column].dtype.kind != "f"]
        cells = [row[i] for row in rows[1:] for i in text]
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in cells)
        assert not any(re.match(r"-(?![\d.])", cell) for cell in cells)
    document = summary_document(document_of(comparison), Path("out"))
    for to in DOCUMENTS:
        content = export(comparison, to, document).decode()
        assert all(c.isprintable() or c == "\n" for c in content), to
    assert json.loads(export(comparison, "json", document))["question"] == comparison.question


@examples(8)
@given(st.lists(baits, min_size=1, max_size=2))
def test_a_terminal_shows_any_comparison_as_text(texts):
    comparison = a_hostile_comparison(texts)
    with pytest.MonkeyPatch.context() as patch:
        shown = io.StringIO()
        patch.setattr(console, "out", Console(file=shown, highlight=False, markup=False, force_terminal=True))
        patch.setenv("COLUMNS", "100")
        show_document(document_of(comparison))
    plain = re.sub(r"\x1b\[(0|1)?m", "", shown.getvalue())
    assert all(c.isprintable() or c == "\n" for c in plain)


def test_every_page_has_the_policy():
    hold_inert(render_report(document_of(a_hostile_comparison(["x"])), [], BESIDE), beside=BESIDE)
    hold_inert(inspection_page(an_inspection(["x"]), BESIDE)([]), beside=BESIDE)
    pages = {path.name for path in (Path(initbench.__file__).parent / "report" / "page" / "templates").iterdir()}
    assert {name for name in pages if name.startswith(("report", "inspection"))} == {
        "report.html.j2", "report.css", "report.js", "inspection.html.j2",
    }  # fmt: skip


def an_inspection(texts):
    texts = list(dict.fromkeys(stored(text) for text in texts))
    layer = texts[-1].replace("{", "{{").replace("}", "}}") + "{}"
    observed = [Observed(texts[0], text, 0, a_network(name=layer)) for text in texts]
    return of_observed(observed, name=texts[0], source=texts[-1], command=texts[0], notices=(texts[0],))


@examples(8)
@given(st.lists(baits, min_size=1, max_size=3))
def test_the_page_and_the_terminal_of_any_inspection_are_inert(texts):
    inspection = an_inspection(texts)
    hold_inert(inspection_page(inspection, BESIDE)([]), beside=BESIDE)
    with pytest.MonkeyPatch.context() as patch:
        shown = io.StringIO()
        patch.setattr(console, "out", Console(file=shown, highlight=False, markup=False, force_terminal=True))
        patch.setenv("COLUMNS", "100")
        show_inspection(inspection)
    plain = re.sub(r"\x1b\[(0|1)?m", "", shown.getvalue())
    assert all(c.isprintable() or c == "\n" for c in plain)


# ---- figures: every kind, with baits in each name


def texts_of(svg):
    return {"".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - ours


def hold_drawn(picture):
    svg = picture.svg
    tags = {node.tag.rpartition("}")[2].lower() for node in ET.fromstring(svg).iter()}  # noqa: S314 - ours
    assert tags <= SVG | {"style", "format", "type", "work", "rdf", "title"}
    hold_markup(f"<html><body>{inline_svg(picture)}</body></html>", beside=())
    assert picture.png.startswith(b"\x89PNG")
    assert re.fullmatch(r"[a-z0-9._-]+", picture.name.lower())
    return texts_of(svg)


def test_every_kind_of_figure_shows_baits_as_they_are():
    schemes = [BAITS[0], BAITS[2], BAITS[6], BAITS[16]]
    records = []
    for lr in (0.01, 0.1):
        records += [
            finished(a_trial(scheme, seed, lr=lr, model="$a$\x1b", dataset="=[red]<b>"), test=0.8 + seed / 50)
            for scheme in schemes
            for seed in range(2)
        ]
    comparison = a_comparison(records, baseline=schemes[0])
    drawn = list(pictures(comparison))
    kinds = {picture.name.partition("-")[0] for picture in drawn}
    assert kinds == {"loss", "accuracy", "survival", "steps_to_target", "final_accuracy", "profile", "signal", "lr"}
    seen = {}
    for picture in drawn:
        seen.setdefault(picture.name.partition("-")[0], picture)
    for kind, picture in seen.items():
        shown = " ".join(hold_drawn(picture))
        for scheme in (schemes[0], schemes[2], schemes[3]):
            assert all(word in shown for word in printable(scheme).split()), kind


@pytest.mark.long
def test_every_kind_of_figure_of_an_inspection_shows_baits_as_they_are(tmp_path):
    inspection = an_inspection([BAITS[0], BAITS[7], BAITS[16], BAITS[10]])
    for picture in inspection_pictures(inspection):
        shown = " ".join(hold_drawn(picture))
        assert all(word in shown for word in printable(BAITS[16]).split())
    write_inspection(tmp_path / "x", inspection)


# ---- a stored folder of baits, through the commands


def test_the_commands_show_a_stored_folder_of_baits_inertly(tmp_path):
    comparison = a_hostile_comparison([BAITS[1], BAITS[7], BAITS[16]])
    for record in comparison.records:
        store.write(tmp_path, record)
    asked = {
        "schema": 1, "name": BAITS[1], "question": BAITS[7], "schemes": list(comparison.schemes),
        "recipe": {"lr": {"value": [0.05], "origin": BAITS[7]}, "seeds": {"value": [0], "origin": BAITS[7]}},
        "baseline": BAITS[0], "target": 0.5, "device": BAITS[7], "notices": [BAITS[7]], "command": BAITS[7],
        "trials": [record.trial.id for record in comparison.records],
    }  # fmt: skip
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "recipe.json").write_text(json.dumps(asked, indent=1))
    for words in (["report", "x"], ["export", "x", "--to", "latex"], ["export", "x", "--to", "markdown"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert all(c.isprintable() or c == "\n" for c in result.output)
    page = (tmp_path / "x" / "report.html").read_text()
    names = [path.name for path in (tmp_path / "x").iterdir()]
    hold_inert(page, beside=names)
    for path in (tmp_path / "x").rglob("*"):
        assert path.name.isascii()
        assert path.name.isprintable()
    for path in (tmp_path / "x" / "plots").glob("*.svg"):
        ET.fromstring(path.read_bytes())  # noqa: S314 - ours


def test_a_comparison_has_a_page_for_texts_that_json_cannot_hold():
    lone = replace(a_comparison([]), name="\ud800", question="\udfff\x1b", command="\ud800")
    assert "\\ud800" in render_report(document_of(lone), [], [])
    assert "\\ud800" in summary_markdown(document_of(lone))
