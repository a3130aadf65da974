"""Figures of an inspection for a screen and for a paper: what fits where, and what is written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from long_form import one_in
from matplotlib.text import Text
from test_inspection_pages import a_layer, a_network, a_scan, a_step_zero, an_inspection, of_observed
from test_pictures import LONG, SHORT, crowds, hold_apart
from typer.testing import CliRunner

from initbench.analysis.step_zero.inspection import Observed
from initbench.cli import app
from initbench.core.machine import cores
from initbench.report.figures.axes import wrapped
from initbench.report.figures.inspection import inspection_pictures
from initbench.report.figures.picture import house_style
from initbench.report.figures.style import PAPER, SCREEN, STYLES, Files
from initbench.report.folder import write_inspection

ROOT = Path(__file__).parents[1]
KILLED = """
import multiprocessing, sys
from pathlib import Path
from test_inspection_pages import an_inspection
from initbench.report.figures.style import USUAL
from initbench.report.writer import writer
with writer() as write:
    [copy] = multiprocessing.active_children()
    copy.kill()
    write(Path(sys.argv[1]), an_inspection(), USUAL)()
"""
LAYER = "encoder.layers.{}.self_attn.out_proj"


def held_apart(inspection, style):
    names = []
    for picture in inspection_pictures(inspection, style):
        with house_style(style):
            picture.figure.set_dpi(style.dpi)
            hold_apart(picture.figure, picture.name)
        names.append(picture.name)
    return names


@pytest.mark.parametrize(
    ("count", "names", "style"),
    crowds([1, 3, 20], {(3, "long", "paper")}),
)
def test_texts_stay_apart_and_inside(count, names, style):
    schemes = names[:count]
    layers = an_inspection(schemes, seeds=2, depth=30, name=LAYER)
    assert held_apart(layers, style) == ["signal", "cosine", "ridges"]
    widths = a_scan("width", [16, 32, 64, 128, 256, 512, 1024], schemes)
    assert held_apart(widths, style) == ["scan", "cosine", "coordinates"]
    assert held_apart(a_scan("depth", [2, 3, 10, 100], schemes), style) == ["scan", "cosine"]


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_long_numbers_below_ridges_stay_apart(style):
    tiny = a_step_zero(a_layer(f"layers.{i}", 1e-8) for i in range(3))
    held_apart(of_observed([Observed("mlp", scheme, 0, tiny) for scheme in SHORT[:4]]), style)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_what_is_cut_is_said_above_its_own_panel(style):
    places = {f"mlp(width={width})": width for width in (16, 64)}
    networks = {f"{factor:g} a layer": a_network(depth=4, factor=factor) for factor in (1e-25, 1.0, 1e25)}
    observed = [Observed(model, scheme, 0, seen) for model in places for scheme, seen in networks.items()]
    held_apart(of_observed(observed, axis="width", places=places), style)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("depth", [2, 16, 17, 100])
def test_turned_names_of_layers_do_not_touch(depth, style):
    signal = next(iter(inspection_pictures(an_inspection(seeds=1, depth=depth, name=LAYER), style))).figure
    for ax in signal.axes:
        names, feet = ax.get_xticklabels(), ax.transData.transform([(tick, 1) for tick in ax.get_xticks()])[:, 0]
        assert {name.get_rotation() for name in names} == {45}
        apart = np.diff(feet) * np.sin(np.pi / 4) * 72 / signal.dpi
        assert (apart >= names[0].get_fontsize()).all()
        assert ax.bbox.height > signal.dpi  # an inch is left for the lines


def test_a_label_breaks_at_spaces_then_at_brackets_commas_and_equals_signs():
    lines = wrapped("conv=kaiming_uniform(mode='fan_out', gain=0); linear=zeros", 18).split("\n")
    assert lines == ["conv=", "kaiming_uniform(", "mode='fan_out',", "gain=0);", "linear=zeros"]
    assert wrapped("x" * 20, 8) == "xxxxxxxx\nxxxxxxxx\nxxxx"


@pytest.mark.parametrize("schemes", one_in(3, [SHORT[:1], LONG[:1], SHORT[:3], SHORT[:8]]))
def test_a_paper_has_its_columns_and_its_text_as_text(schemes):
    for inspection in (an_inspection(schemes), a_scan("width", [16, 64], schemes)):
        for picture in inspection_pictures(inspection, PAPER):
            narrow = picture.name == "ridges" and schemes == SHORT[:1]
            assert picture.figure.get_figwidth() == (3.25 if narrow else 6.75), picture.name
            assert picture.figure.get_figheight() < 9, picture.name
            assert picture.figure.get_suptitle() == ""
            sizes = {text.get_fontsize() for text in picture.figure.findobj(Text) if text.get_text()}
            assert sizes <= {7.0, 7.5}, picture.name
            assert b"/Type3" not in picture.pdf


def test_lines_of_a_paper_are_thinner():
    screen, paper = (list(inspection_pictures(an_inspection(), style)) for style in (SCREEN, PAPER))
    drawn = [(of.figure.axes[0].lines or of.figure.axes[0].patches)[0].get_linewidth() for of in (*screen, *paper)]
    assert drawn[3:] == pytest.approx([0.6 * width for width in drawn[:3]])


@pytest.mark.long
def test_a_folder_holds_the_figures_asked_for_and_the_page_those_for_a_screen(tmp_path):
    inspection = an_inspection()
    write_inspection(tmp_path, inspection)
    page = (tmp_path / "report.html").read_bytes()
    screen = (tmp_path / "plots" / "signal.svg").read_bytes()
    write_inspection(tmp_path, inspection, Files(PAPER, ("pdf", "svg")))
    assert {path.suffix for path in (tmp_path / "paper").iterdir()} == {".pdf", ".svg"}
    assert (tmp_path / "paper" / "signal.svg").read_bytes() != screen
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".png", ".svg"}
    assert (tmp_path / "plots" / "signal.svg").read_bytes() == screen
    assert (tmp_path / "report.html").read_bytes() == page
    write_inspection(tmp_path, an_inspection(seeds=1))
    assert not any((tmp_path / "paper").iterdir())


def test_the_command_writes_the_style_and_formats_asked_for(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("initbench.report.folder.write_inspection", lambda _folder, _of, asked: written.append(asked))
    inspect = ["inspect", "-s", "kaiming", "-m", "mlp(depth=2)", "--seeds", "1", "-q", "--out", str(tmp_path)]
    runner = CliRunner()
    assert runner.invoke(app, [*inspect, "--style", "paper", "--format", "pdf,png,pdf"]).exit_code == 0
    assert runner.invoke(app, inspect).exit_code == 0
    assert written == [Files(PAPER, ("pdf", "png")), Files(SCREEN, ("png", "svg"))]
    for wrong in (["--format", "jpg"], ["--style", "wall"]):
        refused = runner.invoke(app, [*inspect, *wrong])
        assert refused.exit_code == 2
        assert wrong[1] in refused.stderr


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux" or cores() < 2, reason="no copy is made")
def test_a_folder_is_whole_though_the_copy_that_was_to_write_it_is_killed(tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], env=env, check=True)
    write_inspection(tmp_path / "here", an_inspection())
    killed, here = ({p.name: p.read_bytes() for p in (tmp_path / x).rglob("*.*")} for x in ("killed", "here"))
    assert killed == here
