"""The parts of a page: sort keys, colours on both papers, figures inside HTML, their order, the analysis plan."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis_data import a_comparison, a_curve, a_trial, finished
from matplotlib.figure import Figure
from test_analysis_folder import Page

from initbench.analysis.statistics.intervals import Estimate
from initbench.records.recipe import Claim
from initbench.report.analysis_plan import analysis_plan
from initbench.report.cells import mean_cell
from initbench.report.document import document_of
from initbench.report.figures.comparison import looks_of, pictures
from initbench.report.figures.picture import Picture, house_style
from initbench.report.figures.style import COLOURS, REFERENCE_COLOUR, looks
from initbench.report.page.comparison import chapters, render_report
from initbench.report.page.downloads import downloads
from initbench.report.page.inline_figures import Inlined, inline_svg
from initbench.report.page.palette import INK, PAPER, contrast, shown, swatches, variable, variables
from initbench.report.page.template import sort_key
from initbench.report.tables import panel_tables

# ---- what tables are sorted by


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("57 [51, 63] (10/10)", 57),
        ("0.957 ± 0.003", 0.957),
        ("0.9570 (n = 1)", 0.957),
        ("1.2e+05 ± 3e+03 (3/10)", 1.2e5),
        ("−0.4 [−1.0, 0.2]", -0.4),
        ("[−1.0, 0.2]", -1),
        ("−∞ (n = 2)", -np.inf),
        ("< 0.001", 0.001),
        ("0.014", 0.014),
        ("3/10", 0.3),
        ("10/10", 1),
        ("290 / 0.2 s", 290),
        ("10 or more", 10),
        ("PASS", 0),
        ("FAIL", 2),
    ],
)
def test_a_cell_is_sorted_by_the_number_that_it_begins_with(cell, number):
    assert float(sort_key(cell)) == number
    assert re.fullmatch(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|Infinity)", sort_key(cell))  # as JavaScript reads it


@pytest.mark.parametrize("cell", ["never (0/10)", "> 400 (3/10)", "– (0/10)", "–", "", "0/0", "3d_shapes", "x 3"])
def test_words_have_no_number(cell):
    assert sort_key(cell) == ""


@pytest.mark.parametrize("mean", [0.0, 0.5, 3.25, 99_999.0, 123_456.0, 7e20])
def test_the_cells_that_tables_write_are_sorted_by_their_means(mean):
    for estimate, total in ((Estimate(mean, 0.01, 3), 3), (Estimate(mean, None, 1), 3), (Estimate(mean, 0.0, 3), 4)):
        cell = mean_cell(estimate, total)
        assert float(sort_key(cell)) == pytest.approx(mean, rel=0.01)


# ---- colours


# What the guidelines (WCAG 2.2) ask of graphics and of text.
LEAST = {"line": 3.0, "text": 4.5}


@pytest.mark.parametrize("kind", ["light", "dark"])
@pytest.mark.parametrize("use", LEAST)
def test_every_colour_of_a_scheme_stands_out_on_either_paper(use, kind):
    rgb = [tuple(bytes.fromhex(colour[1:])) for colour in (*COLOURS, "#000000")]
    on_paper = [shown(use, colour, kind) for colour in rgb]
    assert all(contrast(colour, PAPER[kind]) >= LEAST[use] for colour in on_paper)
    assert len(set(on_paper)) == len(rgb)


def test_contrast_is_that_of_the_guidelines():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)  # the well-known #767676
    assert contrast((10, 20, 30), (10, 20, 30)) == 1


def test_greys_run_from_ink_to_paper():
    black, white = (0, 0, 0), (255, 255, 255)
    for kind in PAPER:
        assert shown("line", black, kind) == INK[kind]
        assert shown("line", white, kind) == PAPER[kind]
    assert shown("line", (228, 228, 228), "light") == (228, 228, 228)  # a grid stays faint
    assert contrast(shown("line", (228, 228, 228), "dark"), PAPER["dark"]) < 1.6
    grey = tuple(bytes.fromhex(REFERENCE_COLOUR[1:]))
    assert all(contrast(shown("text", grey, kind), PAPER[kind]) >= LEAST["text"] for kind in PAPER)


def test_variables_are_those_that_a_text_names():
    text = f"<path stroke='{variable('line', '#D55E00')}'/><text fill='{variable('text', '#000000')}'>"
    light, dark = re.findall(r":root \{ (.*?) \}", variables(text))
    assert light == "--line-d55e00: #d55e00; --text-000000: #000000;"
    assert re.fullmatch(r"--line-d55e00: #[0-9a-f]{6}; --text-000000: #e8e8e6;", dark)
    assert variables("") == variables("none")


# ---- figures inside HTML


def a_picture(name="loss", **artists):
    """A figure with an artist per gid."""
    with house_style():
        figure = Figure(figsize=(2, 2))
        ax = figure.subplots()
        for gid, colour in artists.items():
            ax.plot([0, 1.23456], [0, 1], color=colour, gid=gid, marker="o")
        ax.set_title("a < b  c", color="#56B4E9")
        return Picture(name, "A & B", figure)


def test_parts_say_which_scheme_and_seed_they_are():
    gids = {"scheme3.seed12.loss": "#D55E00", "scheme3.mean": "#D55E00", "x.scheme10.seed0.a": "k", "myscheme1.": "k"}
    root = ET.fromstring(inline_svg(a_picture(**gids)))  # noqa: S314 - ours
    told = {g.get("id"): (g.get("data-scheme"), g.get("data-seed")) for g in root.iter("g")}
    assert told["loss.scheme3.seed12.loss"] == ("3", "12")
    assert told["loss.scheme3.mean"] == ("3", None)
    assert told["loss.x.scheme10.seed0.a"] == ("10", "0")
    assert told["loss.myscheme1."] == (None, None)


def test_an_inlined_figure_has_no_style_and_colours_of_the_page():
    svg = inline_svg(a_picture(a="#D55E00"))
    root = ET.fromstring(svg)  # noqa: S314 - ours
    assert not any("style" in element.attrib for element in root.iter())
    assert "#d55e00" not in svg
    assert "var(--line-d55e00)" in {path.get("stroke") for path in root.iter("path")}
    (title,) = [text for text in root.iter("text") if text.text == "a < b  c"]
    assert title.get("fill") == "var(--text-56b4e9)"
    assert title.get("font-size") == "9.5px"


def test_an_inlined_figure_is_named_and_described():
    root = ET.fromstring(inline_svg(a_picture()))  # noqa: S314 - ours
    assert [root[0].tag, root[1].tag] == ["title", "desc"]
    assert root[0].text == "A & B"
    assert (root.get("role"), root.get("aria-labelledby"), root.get("aria-describedby")) == (
        "img", root[0].get("id"), root[1].get("id"),
    )  # fmt: skip
    unknown = ET.fromstring(inline_svg(a_picture("mine")))  # noqa: S314 - ours
    assert unknown.get("aria-describedby") is None


def test_shortened_places_are_the_places():
    picture = a_picture(a="k")
    numbers = [
        [float(number) for path in root.iter(f"{name}path") for number in re.findall(r"-?\d+\.?\d*", path.get("d"))]
        for root, name in (
            (ET.fromstring(picture.svg), "{http://www.w3.org/2000/svg}"),  # noqa: S314 - ours
            (ET.fromstring(inline_svg(picture)), ""),  # noqa: S314 - ours
        )
    ]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.005001)
    assert len(inline_svg(picture)) < len(picture.svg)


# ---- the order of a page


def an_inlined(name):
    return Inlined(name, name, "<svg/>")


def test_figures_stand_in_the_order_in_which_they_are_read():
    names = ["signal", "lr", "profile", "strange", "final_accuracy-a", "survival-a", "accuracy-b", "loss-b"]
    names += ["loss-a", "accuracy-a", "loss_linear-a"]
    told = [
        (chapter.id, [[figure.name for figure in plate] for plate in chapter.plates])
        for chapter in chapters([an_inlined(name) for name in names])
    ]
    assert told == [
        ("curves", [["loss-b"], ["accuracy-b"], ["loss-a", "loss_linear-a"], ["accuracy-a"]]),
        ("steps", [["survival-a"]]),
        ("accuracy", [["profile"], ["final_accuracy-a"]]),
        ("rates", [["lr"]]),
        ("signal", [["signal"]]),
        ("others", [["strange"]]),
    ]


def test_every_figure_of_a_comparison_is_in_a_chapter():
    records = [finished(a_trial(scheme, s, lr=lr)) for scheme in "ab" for s in range(2) for lr in (0.1, 0.2)]
    drawn = [an_inlined(picture.name) for picture in pictures(a_comparison(records))]
    found = [figure for chapter in chapters(drawn) for plate in chapter.plates for figure in plate]
    assert sorted(figure.name for figure in found) == sorted(figure.name for figure in drawn)
    assert "others" not in [chapter.id for chapter in chapters(drawn)]


def test_a_page_goes_from_the_verdict_to_the_tables():
    comparison = a_comparison(
        [finished(a_trial(scheme, s), test=0.8 + s / 50) for scheme in ("a", "torch_default") for s in range(2)],
        claims=(Claim(text="a wins", metric="test_accuracy", better="a", than="torch_default"),),
    )
    page = render_report(document_of(comparison), pictures(comparison), ["trials.csv"])
    text = Page(page).text
    heads = [
        "2 seeds cannot tell 2 schemes apart", "Summary", "Validation accuracy against step", "Learning curves",
        "Loss against step", "Steps to the target", "Signal by layer", "Claims", "Analysis plan", "Environment",
        "Reproduce", "trials.csv",
    ]  # fmt: skip
    body = text
    places = [body.index(head) for head in heads[:1]]
    for head in heads[1:]:
        places.append(body.index(head, places[-1]))
    assert len(places) == len(heads)


def test_a_swatch_is_the_line_of_the_scheme_in_every_figure():
    comparison = a_comparison([finished(a_trial(scheme)) for scheme in ("torch_default", *"abcdefghij")])
    found = swatches(looks_of(comparison).values())
    assert [swatch.label for swatch in found] == ["torch_default (baseline)", *"abcdefghij"]
    assert [swatch.index for swatch in found] == list(range(11))
    assert found[0].dashes == ""
    assert found[10].dashes != ""
    assert found[10].stroke in {swatch.stroke for swatch in found[1:10]}  # the colours begin again, with dashes
    wide = looks(["a"], "")["a"]
    assert swatches([replace(wide, dash=(0, (5, 1.5)))])[0].dashes == "14 4.2"  # at 2.8 points


def test_a_download_says_what_it_weighs_and_a_small_one_goes_first():
    files = {"big.csv": b"x" * 5000, "small.csv": b"a,b\n1 2,3%\n"}
    held = downloads(files, ["big.csv", "other.md"], 1000)
    assert [(file.name, file.inside, file.size) for file in held] == [
        ("big.csv", False, "5 kB"), ("small.csv", True, "11 bytes"), ("other.md", False, ""),
    ]  # fmt: skip
    assert held[1].href == "data:text/csv;charset=utf-8,a,b%0A1%202,3%25%0A"
    assert [file.name for file in downloads(files, [], 1000)] == ["small.csv"]


# ---- the plan


def test_the_plan_says_what_was_settled_before():
    schemes = ("torch_default", "a", "conv=a; bias=zeros")
    records = [finished(a_trial(scheme, seed)) for scheme in schemes for seed in range(4)]
    plan = dict(analysis_plan(a_comparison(records, target=None, question="Is it\x1b so?")))
    assert plan["Question"] == "Is it\\x1b so?"
    assert plan["Schemes"] == "torch_default, a, “conv=a; bias=zeros”"
    assert plan["Settings"] == "digits, mlp(depth=8, width=64), sgd"
    assert plan["Training"] == "200 steps, batches of 64 images, float32"
    assert plan["Seeds"].startswith("0 to 3 for every scheme")
    assert plan["Learning rate"] == "0.05"
    assert "0.55 (halfway between chance and 1, as this folder does not say" in plan["Target"]
    assert plan["Holm's family"].startswith("the 2 schemes ")
    assert "Claims" not in plan
    assert "as given" in dict(analysis_plan(a_comparison(records, target=0.7)))["Target"]


def test_the_plan_of_a_grid_names_the_grid_and_its_seeds():
    curve = a_curve([0.1, 0.9], steps=(0, 200))
    tuning = [finished(a_trial("a", 1_000_000 + s, lr=lr), curve=curve) for s in range(3) for lr in (0.01, 0.1)]
    comparison = a_comparison([finished(a_trial("a", lr=0.1))], tuning=tuple(tuning), asked_rates=(0.01, 0.1))
    said = dict(analysis_plan(comparison))["Learning rate"]
    assert said.startswith("chosen from 0.01, 0.1 by validation loss on tuning seeds 1000000 to 1000002")


def test_a_plan_without_trials_says_what_is_asked():
    plan = dict(analysis_plan(a_comparison([], schemes=("a",))))
    assert plan["Schemes"] == "a"
    assert "Seeds" not in plan


def test_every_cell_of_a_numeric_column_but_words_has_a_sort_key():
    records = [finished(a_trial(scheme, s), test=0.8 + s / 50) for scheme in "ab" for s in range(3)]
    (table,) = panel_tables(a_comparison(records))
    page = render_report(document_of(a_comparison(records)), [], [])
    for row in table.rows:
        for cell in row[1:]:
            assert f'data-sort="{sort_key(cell)}">{cell}<' in page if sort_key(cell) else f'">{cell}<' in page


def test_the_page_uses_only_what_its_style_sheet_and_its_script_know():
    templates = Path(render_report.__code__.co_filename).parent / "templates"
    style = (templates / "report.css").read_text()
    fragments = {"notebook.html.j2", "notebook_inspection.html.j2"}  # with a style of their own
    pages = "".join(path.read_text() for path in templates.glob("*.j2") if path.name not in fragments)
    classes = {name for names in re.findall(r'class="([a-z ]+)"', pages) for name in names.split()}
    known = set(re.findall(r"\.([a-z]+)", style)) | set(
        re.findall(r"[.\"]([a-z]+)", (templates / "report.js").read_text())
    )
    assert classes <= known, classes - known
