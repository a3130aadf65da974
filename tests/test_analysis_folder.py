"""Figures, the report and the folder: what they show, that they are stable, that names stay text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from analysis_data import LN_10, a_comparison, a_curve, a_layer, a_trial, diverged, failed, finished
from long_form import one_in
from matplotlib.figure import Figure

from initbench.analysis.statistics.intervals import mean_band
from initbench.records.recipe import DEFAULT_SCHEMES
from initbench.report.document import document_of
from initbench.report.figures import plots
from initbench.report.figures.comparison import pictures
from initbench.report.figures.style import COLOURS, OWN, PAPER, SCREEN, USUAL, Files, looks
from initbench.report.folder import write_folder
from initbench.report.freshness import STAMP, begin, is_fresh
from initbench.report.page.comparison import render_report
from initbench.report.page.inline_figures import inline_svg
from initbench.report.table_files import tables_of

HOSTILE = (
    "<script>alert(1)</script>",
    "$\\input{x}$ [red]\x1b[31m |",
    '_a"b\' id="x" url(#p) --> ]]> 火',
    "=HYPERLINK(1)",
    "torch_default",
)
FILES = ["curves.csv", "layers.csv", "plots", "report.html", "summary.csv", "summary.md", "trials.csv", "verdicts.csv"]


def a_mixed_comparison(schemes, lrs=(0.05,)):
    records = []
    for lr in lrs:
        for scheme in schemes:
            records += [finished(a_trial(scheme, s, lr=lr), test=0.8 + s / 50) for s in range(3)]
        records += [diverged(a_trial(schemes[0], 3, lr=lr)), failed(a_trial(schemes[0], 4, lr=lr), layers=())]
    return a_comparison(records, missing=2, name="hostile <b>")


class Page(HTMLParser):
    """What a browser would make of a page: tags that are open, ids, links, text."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text, self.open, self.references = set(), [], [], "", [], set()
        self.held = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._read(dict(attributes))

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self._read(dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def _read(self, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        if "download" in attributes:
            self.held[attributes["download"]] = attributes["href"]
        elif "href" in attributes:
            self.links.append(attributes["href"])
        told = " ".join(attributes.get(f"aria-{key}", "") for key in ("labelledby", "describedby"))
        urls = " ".join(value or "" for value in attributes.values())
        self.references |= {*told.split(), *re.findall(r"url\(#([^)]+)\)", urls)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile")
    write_folder(path, a_mixed_comparison(HOSTILE))
    return path


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_what_is_promised(folder):
    assert sorted(path.name for path in folder.iterdir() if path.name != STAMP) == FILES
    kinds = ["accuracy", "final_accuracy", "loss", "signal", "steps_to_target", "survival"]
    assert sorted(p.name for p in (folder / "plots").iterdir()) == [f"{k}.{e}" for k in kinds for e in ("png", "svg")]


def test_writing_again_gives_the_same_bytes_and_removes_stale_figures_only(folder, tmp_path):
    write_folder(tmp_path, a_mixed_comparison(("a", "torch_default"), lrs=(0.01, 0.1)))
    assert (tmp_path / "plots" / "lr.png").exists()
    (tmp_path / "plots" / "loss-mine.png").write_bytes(b"not ours")
    write_folder(tmp_path, a_mixed_comparison(HOSTILE))
    (tmp_path / "plots" / "loss-mine.png").unlink()  # it raises where it was removed
    assert contents(tmp_path) == contents(folder)


@pytest.mark.long
def test_figures_of_a_look_that_was_cut_off_are_removed_by_the_next(tmp_path):
    comparison = a_comparison([finished(a_trial())])
    write_folder(tmp_path, comparison)
    before = contents(tmp_path)
    begin(tmp_path, ["plots/lr.png"])
    (tmp_path / "plots" / "lr.png").write_bytes(b"of the look that was cut off")
    assert not is_fresh(tmp_path, comparison)
    write_folder(tmp_path, comparison)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", ["", "[]", "3", '{"sizes": 3}', '{"sizes": [3]}', "[" * 10_000])
def test_a_damaged_stamp_is_no_stamp(tmp_path, content):
    (tmp_path / STAMP).write_text(content)
    write_folder(tmp_path, comparison := a_comparison([]))
    assert is_fresh(tmp_path, comparison)


def test_a_stamp_has_nothing_removed_but_figures_in_their_place(tmp_path):
    foreign = ["../up.png", "plots/../x.png", "plots/deep/x.png", "mine.png", "plots/mine.txt", "/up.png", "plots"]
    (tmp_path / "out" / "plots" / "deep").mkdir(parents=True)
    for name in foreign[:-1]:
        (tmp_path / "out" / name.lstrip("/")).write_text("mine")
    (tmp_path / "out" / STAMP).write_text(json.dumps({"sizes": dict.fromkeys(foreign)}))
    before = contents(tmp_path)
    write_folder(tmp_path / "out", a_comparison([]))
    assert contents(tmp_path).items() >= {k: v for k, v in before.items() if STAMP not in k}.items()


def test_the_report_is_one_offline_file(folder, page):
    text = (folder / "report.html").read_text()
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]|@import|javascript:", text)
    assert page.tags.isdisjoint({"iframe", "img", "link", "image", "object"})
    assert len(text.encode()) < 2_000_000


def test_ids_are_unique_and_every_reference_is_met(page):
    assert len(page.ids) == len(set(page.ids))
    within = {link[1:] for link in page.links if link.startswith("#")}
    assert within
    assert within | page.references <= set(page.ids)


def test_the_report_holds_every_table_as_it_stands_beside_it(folder, page):
    assert [link for link in page.links if not link.startswith("#")] == []
    assert sorted(page.held) == sorted(name for name in FILES if name.endswith((".csv", ".md")))
    for name, link in page.held.items():
        assert unquote_to_bytes(link.partition(",")[2]) == (folder / name).read_bytes()


def test_tables_beyond_the_budget_are_linked_where_they_stand_beside_it(monkeypatch):
    comparison = a_comparison([finished(a_trial())])
    tables = tables_of(document_of(comparison))
    monkeypatch.setattr("initbench.report.page.comparison.BUDGET", 2 * len(tables["trials.csv"]))
    page = Page(render_report(document_of(comparison), [], ["summary.csv", "curves.csv"], tables))
    assert set(page.held) == {"trials.csv"}
    assert [link for link in page.links if not link.startswith("#")] == ["curves.csv", "summary.csv"]


def test_hostile_names_stay_text(folder, page):
    for name in HOSTILE:
        assert name.replace("\x1b", "\\x1b") in page.text
    assert b"\x1b" not in (folder / "report.html").read_bytes()
    assert b"\x1b" not in (folder / "summary.md").read_bytes()
    assert "<script" not in (folder / "summary.md").read_text()
    assert "'=HYPERLINK" in (folder / "summary.csv").read_text()
    drawn = (folder / "plots" / "loss.svg").read_text()
    assert "&lt;script&gt;" in drawn
    assert "$\\input{x}$" in drawn


def test_pictures_have_no_date_and_no_version(folder):
    for path in (folder / "plots").iterdir():
        assert not re.search(rb"Software|dc:date|Matplotlib v|matplotlib version", path.read_bytes(), re.IGNORECASE)


@pytest.mark.parametrize(
    "records",
    one_in(
        3,
        [
            [],
            [finished(a_trial())],
            [finished(a_trial(), layers=(), curve=())],
            [diverged(a_trial(seed=s), curve=()) for s in range(2)],
            [failed(a_trial(), layers=())],
            [finished(a_trial(seed=s), layers=(a_layer(0, 0.0, 0.0), a_layer(1, None))) for s in range(2)],
            [finished(a_trial(seed=s), curve=a_curve([1.05], steps=(0,))) for s in range(2)],
        ],
    ),
)
def test_every_edge_is_drawn_and_reported(records):
    comparison = a_comparison(records)
    drawn = list(pictures(comparison))
    assert all(picture.png and picture.svg for picture in drawn)
    assert Page(render_report(document_of(comparison), drawn, [])).open == []


def test_a_grid_of_rates_has_its_own_files_and_one_signal():
    comparison = a_mixed_comparison(("a", "torch_default"), lrs=(0.01, 0.1))
    names = [picture.name for picture in pictures(comparison)]
    per_setting = ("loss", "accuracy", "survival", "steps_to_target", "final_accuracy")
    assert names == [f"{kind}-lr-{lr}" for lr in (0.01, 0.1) for kind in per_setting] + ["profile", "signal", "lr"]


@pytest.mark.long
def test_figures_beyond_the_budget_are_linked_instead(monkeypatch):
    monkeypatch.setattr("initbench.report.page.comparison.FIGURES_BUDGET", 1)
    comparison = a_comparison([finished(a_trial())])
    for formats, linked in ((("png", "svg"), "svg"), (("pdf", "png"), "png"), (("pdf",), "pdf")):
        page = Page(render_report(document_of(comparison), pictures(comparison), [], formats=formats))
        assert "path" not in page.tags
        assert f"plots/loss.{linked}" in page.links
    alone = Page(render_report(document_of(comparison), pictures(comparison), []))
    assert [link for link in alone.links if not link.startswith("#")] == []
    assert "Loss against step: digits" in alone.text
    assert alone.text.count("left out to keep this file small.") == len(list(pictures(comparison)))


@pytest.mark.long
@pytest.mark.parametrize(
    "asked",
    [
        Files(PAPER, ("pdf",)),
        *(pytest.param(files, marks=pytest.mark.long) for files in (USUAL, Files(SCREEN, ("png",)))),
    ],
)
def test_links_of_a_page_lead_to_files(tmp_path, monkeypatch, asked):
    monkeypatch.setattr("initbench.report.page.comparison.FIGURES_BUDGET", 1)
    comparison = a_comparison([finished(a_trial())])
    write_folder(tmp_path, comparison, asked=asked)
    written = (tmp_path / "report.html").read_text()
    links = [link for link in Page(written).links if link.startswith("plots/")]
    assert len(links) == len({path.stem for path in (tmp_path / "plots").iterdir()})
    assert all((tmp_path / link).is_file() for link in links)
    assert comparison.report(tmp_path / "again.html").read_text() == written


def test_comparison_writes_its_report_where_told(tmp_path):
    path = a_comparison([finished(a_trial())]).report(str(tmp_path / "here.html"))
    page = Page(path.read_text())
    assert path == tmp_path / "here.html"
    assert [link for link in page.links if not link.startswith("#")] == []  # nothing stands beside it
    assert "trials.csv" in page.held


def test_an_inlined_figure_keeps_its_drawing_and_loses_its_prologue():
    picture = next(iter(pictures(a_comparison([finished(a_trial())]))))
    svg = inline_svg(picture)
    assert svg.startswith("<svg ")
    assert svg.count("<path") == picture.svg.decode().count("<path")
    assert "xmlns" not in svg


def test_the_mean_ends_where_the_first_seed_ends():
    records = [finished(a_trial(seed=0)), finished(a_trial(seed=1)), diverged(a_trial(seed=2))]
    comparison = a_comparison(records)
    ax = Figure().subplots()
    lost = frozenset({records[2].trial.id})
    curve = plots.Curve("val_loss", (0.0, np.inf))
    plots.curves(ax, comparison.curves, curve, looks(("kaiming_uniform",), "torch_default"), lost)
    (mean,) = ax.lines
    together = comparison.curves.pivot_table(index="step", columns="trial", values="val_loss").dropna()
    assert list(mean.get_xdata()) == [0, 1, 2, 4]
    assert mean.get_ydata() == pytest.approx(mean_band(together.to_numpy().T)[0])
    crosses = [c.get_offsets().tolist() for c in ax.collections if len(c.get_offsets()) and c.get_offsets().any()]
    assert [4.0, records[2].curve[-1].val_loss] in crosses[0]


def test_a_loss_beyond_the_axis_is_said():
    records = [
        finished(a_trial(), curve=a_curve([0.1, 0.9])),
        diverged(a_trial(seed=1), curve=a_curve([0.1], start=1e6)),
    ]
    losses = [picture for picture in pictures(a_comparison(records)) if picture.name.startswith("loss")]
    drawn = {picture.name: picture.figure.axes[1] for picture in losses}
    for name, times in (("loss", 10), ("loss_linear", 2)):
        said = f"validation loss (nats)\naxis cut at {times} ln 10, values to 9.5e+05"
        assert drawn[name].get_title(loc="left") == said
        assert drawn[name].get_ylim()[1] < 1.5 * times * LN_10


def test_a_scheme_looks_the_same_wherever_it_is_drawn():
    of_all = looks(DEFAULT_SCHEMES, "torch_default")
    assert of_all["torch_default"].colour == "#000000"
    assert len({look.colour for look in of_all.values()}) == len(DEFAULT_SCHEMES)
    # No other order, baseline or company changes it, of inspect's, which has no baseline, too.
    for some in ([*DEFAULT_SCHEMES][::-1], DEFAULT_SCHEMES[2:4], DEFAULT_SCHEMES[5:], [*OWN, "normal(std=1)"]):
        for baseline in ("", some[0]):
            for scheme, look in looks(some, baseline).items():
                known = of_all.get(scheme)
                same = known is None or (look.colour, look.dash, look.marker) == (
                    known.colour,
                    known.dash,
                    known.marker,
                )
                assert same, (scheme, some)


def test_schemes_that_want_one_colour_get_two_whatever_their_order():
    names = [f"scheme_{i}" for i in range(len(COLOURS))]
    one, other = looks(names, ""), looks(names[::-1], "")
    assert len({look.colour for look in one.values()}) == len(COLOURS)
    assert {name: one[name].colour for name in names} == {name: other[name].colour for name in names}
    known = looks([*names, *OWN], "")
    assert all(known[name].colour == COLOURS[place] for name, place in OWN.items())


def test_twenty_schemes_are_told_apart():
    of_all = looks([f"s{i}" for i in range(20)], "s3")
    assert len({(look.colour, str(look.dash)) for look in of_all.values()}) == 20
    assert len({(look.colour, look.marker) for look in of_all.values()}) == 20


def test_one_drawing_leaves_matplotlib_as_it_was():
    from matplotlib import rcParams

    before = dict(rcParams)
    assert all(picture.svg for picture in pictures(a_comparison([finished(a_trial())])))
    assert dict(rcParams) == before
    assert np.isfinite(before["font.size"])


def test_a_folder_is_written_again_only_when_something_changed(tmp_path):
    comparison = a_mixed_comparison(["kaiming_uniform"])
    assert not is_fresh(tmp_path, comparison)
    write_folder(tmp_path, comparison)
    assert is_fresh(tmp_path, comparison)
    assert not is_fresh(tmp_path, replace(comparison, target=0.4))
    assert not is_fresh(tmp_path, replace(comparison, records=comparison.records[1:]))
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path, content in whole.items():
        path.write_bytes(content[:-1])
        assert not is_fresh(tmp_path, comparison), path
        path.unlink()
        assert not is_fresh(tmp_path, comparison), path
        path.write_bytes(content)
    assert is_fresh(tmp_path, comparison)
