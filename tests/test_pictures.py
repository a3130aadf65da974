"""Whose each part of a figure is, what fits where, and in which sizes and formats figures are written."""

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, islice, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from analysis_data import LN_10, a_comparison, a_curve, a_layer, a_trial, diverged, finished
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer.testing import CliRunner

from initbench.analysis.statistics.survival import survival_curve
from initbench.cli import app
from initbench.report.figures.axes import fit_y, step_ticks
from initbench.report.figures.comparison import drawings, looks_of, pictures
from initbench.report.figures.labels import apart, ink
from initbench.report.figures.picture import house_style
from initbench.report.figures.style import COLOURS, IN_BLACK, PAPER, SCREEN, STYLES, Files
from initbench.report.folder import write_folder
from initbench.report.freshness import is_fresh

OWNED = re.compile(r"scheme(\d+)(\.seed(\d+))?\..+")


def a_grid(schemes, *, lrs=(0.05,), datasets=("digits",), seeds=3):
    """Schemes that learn, one that is slow, one that diverges where it is alone in doing so."""
    records = []
    for dataset in datasets:
        for lr in lrs:
            for place, scheme in enumerate(schemes):
                trials = [a_trial(scheme, seed, lr=lr, dataset=dataset) for seed in range(seeds)]
                reach = [0.1 + 0.85 * (place + 1) / len(schemes) * i / 9 for i in range(10)]
                layers = (a_layer(0, 0.0), a_layer(1, None), a_layer(2, 0.5, predicted=0.6))
                records += [
                    finished(t, val=reach[-1], test=reach[-1] - t.seed / 50, curve=a_curve(reach), layers=layers)
                    for t in trials
                ]
            records.append(diverged(a_trial(schemes[0], seeds, lr=lr, dataset=dataset)))
    return a_comparison(records, baseline=schemes[0])


def ids_of(picture):
    return [node.get("id") for node in ET.fromstring(picture.svg).iter() if node.get("id")]  # noqa: S314 - ours


@pytest.fixture(scope="module")
def drawn():
    return list(pictures(a_grid(("a", "b", "torch_default"), lrs=(0.01, 0.1))))


@pytest.mark.long
def test_everything_of_a_scheme_says_whose_it_is(drawn):
    for picture in drawn:
        ids = ids_of(picture)
        assert len(ids) == len(set(ids)), picture.name
        owners = [match for match in map(OWNED.fullmatch, ids) if match]
        assert {int(match[1]) for match in owners} == {0, 1, 2}, picture.name
        labels = {int(match[1]) for match in owners if ".label" in match[0]}
        assert labels == {0, 1, 2}, picture.name


def test_what_is_drawn_in_the_colour_of_a_scheme_is_its_own(drawn):
    comparison = a_grid(("a", "b", "torch_default"))
    coloured = {
        look.colour.lower(): str(look.index) for scheme, look in looks_of(comparison).items() if scheme != IN_BLACK
    }
    for picture in drawn:
        parents = {child: parent for parent in ET.fromstring(picture.svg).iter() for child in parent}  # noqa: S314
        for node in parents:
            for colour in coloured.keys() & set(re.findall("#[0-9a-f]{6}", node.get("style", ""))):
                whose = {match[1] for up in above(node, parents) if (match := OWNED.fullmatch(up.get("id", "")))}
                assert whose == {coloured[colour]}, (picture.name, node.tag)


def above(node, parents):
    while node is not None:
        yield node
        node = parents.get(node)


@pytest.mark.long
@pytest.mark.parametrize("name", ["loss", "accuracy", "steps_to_target", "final_accuracy"])
def test_every_seed_has_an_id_of_its_own(name):
    (picture,) = [picture for picture in pictures(a_grid(("a", "b", "torch_default"))) if picture.name == name]
    seeds = {(int(m[1]), int(m[3])) for m in map(OWNED.fullmatch, ids_of(picture)) if m and m[3]}
    assert seeds >= {(scheme, seed) for scheme in range(3) for seed in range(3)}


def test_where_the_loss_is_logarithmic_there_is_a_linear_twin():
    high = a_comparison([finished(a_trial(), curve=a_curve([0.1, 0.99], start=LN_10))])
    scales = {p.name: p.figure.axes[0].get_yscale() for p in pictures(high) if p.name.startswith("loss")}
    assert scales == {"loss": "log", "loss_linear": "linear"}
    flat = a_comparison([finished(a_trial(), curve=a_curve([0.1, 0.5]))])
    scales = {p.name: p.figure.axes[0].get_yscale() for p in pictures(flat) if p.name.startswith("loss")}
    assert scales == {"loss": "linear"}


SHORT = [f"scheme_{i}" for i in range(20)]
LONG = [f"conv=kaiming_uniform(mode='fan_out', gain={i}); linear=xavier_uniform; bias=constant(0.1)" for i in range(20)]


def texts_in(figure):
    """The box of every text drawn, in pixels, and whether it is turned by other than a right angle."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ticked = {}
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                ticked[tick.label1] = tick.label1.get_visible() and limits[0] <= tick.get_loc() <= limits[1]
                ticked[tick.label2] = False
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and ticked.get(text, True):
            yield text, text.get_window_extent(canvas.get_renderer()), text.get_rotation() % 90 != 0


def hold_apart(figure, name):
    texts = list(texts_in(figure))
    assert len(texts) > 5
    for text, box, _ in texts:
        outside = max(-box.x0, -box.y0, box.x1 - figure.bbox.width, box.y1 - figure.bbox.height)
        assert outside <= 1, (name, text.get_text(), outside)
    straight = [(text.get_text(), box) for text, box, turned in texts if not turned]
    for (first, a), (second, b) in combinations(straight, 2):
        common = min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))
        assert common <= 1, (name, first, second, common)


def crowds(counts, short):
    """Every count of schemes, with short and long names, in every style; all but those of `short` are long cases."""
    cases = product(counts, (("short", SHORT), ("long", LONG)), STYLES)
    return [
        pytest.param(
            count, names, STYLES[style], id=f"{count}-{length}-{style}",
            marks=() if (count, length, style) in short else pytest.mark.long,
        )
        for count, (length, names), style in cases
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "names", "style"),
    crowds([3, 8, 20], {(3, "long", "paper")}),
)
def test_texts_stay_apart_and_inside(count, names, style):
    seen = set()
    for picture in pictures(a_grid(names[:count], lrs=(0.01, 0.1), seeds=2), style):
        kind = picture.name.partition("-")[0]
        if kind not in seen:
            with house_style(style):
                picture.figure.set_dpi(style.dpi)
                hold_apart(picture.figure, f"{picture.name} of {count}")
        seen.add(kind)
    assert seen >= {"loss", "accuracy", "survival", "steps_to_target", "final_accuracy", "profile", "signal", "lr"}


@pytest.mark.long
def test_few_lines_that_end_apart_are_labelled_where_they_end():
    schemes = SHORT[:4]
    records = [
        finished(a_trial(scheme, seed), curve=a_curve([0.1 + i * place / 40 for i in range(10)]))
        for place, scheme in enumerate(schemes)
        for seed in range(2)
    ]
    for style in STYLES.values():
        accuracy = next(p for p in pictures(a_comparison(records), style) if p.name == "accuracy")
        ends = {text.get_text(): text for text in accuracy.figure.axes[0].texts}
        assert list(ends) == schemes
        heights = [
            ends[scheme].get_window_extent(FigureCanvasAgg(accuracy.figure).get_renderer()).y0 for scheme in ends
        ]
        assert (np.diff(heights) > 5).all()
        assert len(accuracy.figure.legends[0].get_texts()) == 1  # the target
    together = [finished(a_trial(scheme), curve=a_curve([0.1] * 10)) for scheme in SHORT[:8]]
    many = [record for scheme in SHORT[:9] for record in (finished(a_trial(scheme)),)]
    early = [diverged(a_trial(SHORT[0])), finished(a_trial(SHORT[1]))]
    for crowd in (together, many, early):
        comparison = a_comparison(crowd)
        accuracy = next(p for p in pictures(comparison) if p.name == "accuracy")
        assert list(accuracy.figure.axes[0].texts) == []
        assert len(accuracy.figure.legends[0].get_texts()) >= len(comparison.schemes)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.1)), min_size=1, max_size=8))
def test_labels_stand_apart_in_the_order_of_their_lines(wanted_and_heights):
    wanted, heights = np.array(wanted_and_heights).T
    centres = apart(wanted, heights, 0.0, 1.0)
    order = np.argsort(wanted, kind="stable")
    gaps = (heights[order][1:] + heights[order][:-1]) / 2
    assert (np.diff(centres[order]) >= gaps - 1e-9).all()
    assert (centres - heights / 2 >= -1e-9).all()
    assert (centres + heights / 2 <= 1 + 1e-9).all()
    free = np.array([*(np.diff(wanted[order]) >= gaps), True]).all()
    if free and (wanted >= heights / 2).all() and (wanted <= 1 - heights / 2).all():
        assert centres == pytest.approx(wanted)


def test_labels_move_no_farther_than_they_must():
    assert apart(np.array([0.5, 0.5, 0.9]), np.full(3, 0.1), 0, 1) == pytest.approx([0.45, 0.55, 0.9])
    assert apart(np.array([1.0, 1.0]), np.full(2, 0.1), 0, 1) == pytest.approx([0.85, 0.95])


@pytest.mark.parametrize("colour", [*COLOURS, "#000000"])
def test_labels_are_dark_enough_to_read(colour):
    parts = np.array([int(ink(colour)[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.45


@given(st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=1, max_size=12))
def test_the_survival_curve_is_that_of_kaplan_and_meier(arrivals):
    reached = np.array([a is not None for a in arrivals])
    steps = np.array([50.0 if a is None else a for a in arrivals])
    of = survival_curve(steps, reached, budget=50)
    expected = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(steps, ~reached)).sf
    assert of.share == pytest.approx(expected.evaluate(of.steps))
    assert of.steps[0] == 0
    assert of.steps[-1] == 50
    assert (of.low <= of.share).all()
    assert (of.share <= of.high).all()


def test_survival_shows_who_arrived_and_who_was_watched_in_vain():
    records = [
        finished(a_trial(seed=0)),
        finished(a_trial(seed=1), curve=a_curve([0.1] * 10)),
        diverged(a_trial(seed=2)),
    ]
    picture = next(p for p in pictures(a_comparison(records)) if p.name == "survival")
    lines = {line.get_gid(): line for line in picture.figure.axes[0].lines}
    assert lines["scheme0.line"].get_drawstyle() == "steps-post"
    assert list(lines["scheme0.line"].get_ydata()) == pytest.approx([1, 2 / 3, 2 / 3])
    assert list(lines["scheme0.censored"].get_ydata()) == pytest.approx([2 / 3])


def test_a_paper_has_its_columns_and_its_text_as_text():
    for picture in pictures(a_grid(SHORT[:3]), PAPER):
        width = picture.figure.get_figwidth()
        assert width == (6.75 if len(picture.figure.axes) > 1 else 3.25), picture.name
        assert picture.figure.get_suptitle() == ""
        sizes = {text.get_fontsize() for text in picture.figure.findobj(Text) if text.get_text()}
        assert sizes <= {7.0, 7.5}, picture.name
        assert picture.pdf.startswith(b"%PDF")
        assert b"/Type0" in picture.pdf or b"/TrueType" in picture.pdf
        assert b"/Type3" not in picture.pdf


def test_lines_of_a_paper_are_thinner():
    screen, paper = (
        next(iter(pictures(a_grid(SHORT[:3]), style))).figure.axes[0].lines[0] for style in (SCREEN, PAPER)
    )
    assert paper.get_linewidth() == pytest.approx(0.6 * screen.get_linewidth())


def digests(count):
    """Each picture's name and the hashes of its files, a line each."""
    drawn = islice(pictures(a_grid(SHORT[:3]), PAPER), count)
    lines = [(p.name, *(hashlib.sha256(getattr(p, kind)).hexdigest() for kind in ("pdf", "svg", "png"))) for p in drawn]
    return "\n".join(map(" ".join, lines))


def digests_elsewhere(count, seed):
    """The same of a process of its own, in which sets have another order."""
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); from test_pictures import digests; print(digests({count}))"
    env = os.environ | {"PYTHONHASHSEED": seed}
    return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout


@pytest.mark.long
@pytest.mark.parametrize(("count", "seeds"), [(3, "1"), pytest.param(100, "12", marks=pytest.mark.long)])
def test_every_process_writes_the_same_bytes(count, seeds):
    here = digests(count)
    assert here
    assert all(digests_elsewhere(count, seed).strip() == here for seed in seeds)


def suffixes_in(folder):
    return {path.suffix for path in folder.glob("*")}


def test_figures_for_a_paper_stand_beside_those_for_the_screen(tmp_path):
    comparison, asked = a_comparison([finished(a_trial())]), Files(PAPER, ("pdf",))
    write_folder(tmp_path, comparison)
    assert is_fresh(tmp_path, comparison)
    assert not is_fresh(tmp_path, comparison, asked)
    page, screen = ((tmp_path / name).read_bytes() for name in ("report.html", "plots/loss.png"))
    write_folder(tmp_path, comparison, asked=asked)
    assert is_fresh(tmp_path, comparison, asked)
    assert is_fresh(tmp_path, comparison)
    assert suffixes_in(tmp_path / "plots") == {".png", ".svg"}
    assert suffixes_in(tmp_path / "paper") == {".pdf"}
    assert [(tmp_path / name).read_bytes() for name in ("report.html", "plots/loss.png")] == [page, screen]


@pytest.mark.long
def test_figures_of_the_same_records_stay_and_those_of_others_go(tmp_path):
    comparison = a_grid(SHORT[:2], seeds=2)
    write_folder(tmp_path, comparison)
    write_folder(tmp_path, comparison, asked=Files(SCREEN, ("pdf",)))
    write_folder(tmp_path, comparison, asked=Files(PAPER, ("svg",)))
    assert suffixes_in(tmp_path / "plots") == {".png", ".svg", ".pdf"}
    write_folder(tmp_path, comparison)
    assert suffixes_in(tmp_path / "plots") == {".png", ".svg", ".pdf"}
    assert suffixes_in(tmp_path / "paper") == {".svg"}
    write_folder(tmp_path, a_grid(SHORT[:2], seeds=3))
    assert suffixes_in(tmp_path / "plots") == {".png", ".svg"}
    assert suffixes_in(tmp_path / "paper") == set()


def test_the_command_writes_the_style_and_formats_asked_for(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("initbench.comparison.load", lambda _: a_grid(SHORT[:2]))
    monkeypatch.setattr("initbench.records.manifest.read_manifest", lambda _: SimpleNamespace(every=()))
    monkeypatch.setattr("initbench.report.folder.write_document", lambda *asked: written.append(asked[-1]))
    runner = CliRunner()
    assert runner.invoke(app, ["report", str(tmp_path), "--style", "paper", "--format", "pdf,png"]).exit_code == 0
    assert runner.invoke(app, ["report", str(tmp_path)]).exit_code == 0
    assert written == [Files(PAPER, ("pdf", "png")), Files(SCREEN, ("png", "svg"))]
    for wrong in (["--format", "jpg"], ["--format", ""], ["--style", "wall"]):
        refused = runner.invoke(app, ["report", str(tmp_path), *wrong])
        assert refused.exit_code == 2
        assert wrong[1] in refused.stderr


# ---- What shows the effect


def of_kind(comparison, *names, style=SCREEN):
    """Draw the figures of these functions alone: `_final` for `final`."""
    draws = {draw.args[0].__name__: draw for draw in drawings(comparison, style) if hasattr(draw.args[0], "__name__")}
    return [draws[f"_{name}"]().figure for name in names]


def a_solved_task():
    """Three schemes that end near together, far above chance, and reach the target early."""
    records = [
        finished(a_trial(scheme, seed), val=end, test=end + seed / 500, curve=a_curve([0.1, 0.5, 0.8, *[end] * 7]))
        for scheme, end in (("a", 0.93), ("b", 0.932), ("torch_default", 0.91))
        for seed in range(3)
    ]
    return a_comparison(records)


def test_the_axis_of_final_accuracy_follows_the_data_and_says_where_chance_is():
    (final,) = of_kind(a_solved_task(), "final")
    low, high = final.axes[0].get_xlim()
    assert 0.88 < low < 0.91
    assert 0.936 < high < 0.96
    assert "← chance 0.100" in [text.get_text() for text in final.axes[0].texts]
    (at_chance,) = of_kind(a_comparison([finished(a_trial(seed=s), test=0.1 + s / 50) for s in range(3)]), "final")
    assert not any("←" in text.get_text() for text in at_chance.axes[0].texts)
    assert any(list(line.get_xdata()) == [0.1, 0.1] for line in at_chance.axes[0].lines)


def test_where_curves_end_near_together_the_second_half_has_a_panel_of_its_own():
    (near,) = of_kind(a_solved_task(), "accuracy")
    assert len(near.axes) == 2
    assert near.axes[1].get_xlim()[0] > 90
    assert np.ptp(near.axes[1].get_ylim()) < 0.05
    (apart,) = of_kind(a_grid(SHORT[:3]), "accuracy")
    assert len(apart.axes) == 1


def test_steps_to_target_stand_on_the_axis_of_the_curves():
    steps, curves = (figure.axes[0] for figure in of_kind(a_solved_task(), "steps", "loss"))
    assert steps.get_xscale() == curves.get_xscale() == "symlog"
    assert list(steps.get_xticks()) == list(curves.get_xticks())
    assert steps.get_xlim()[0] == curves.get_xlim()[0]
    lane = steps.patches[-1].get_extents().transformed(steps.transAxes.inverted())
    whole = steps.transAxes + steps.transData.inverted()
    assert whole.transform((lane.x0, 0))[0] == pytest.approx(curves.get_xlim()[1], rel=1e-3)


def test_bands_and_intervals_of_accuracies_stay_between_0_and_1():
    curves = [[0.0, 0.5, 1.0, 1.0], [0.3, 1.0, 0.4, 0.9]]
    records = [finished(a_trial(seed=s), test=0.6 + 0.4 * s, curve=a_curve(curve)) for s, curve in enumerate(curves)]
    accuracy, final = (figure.axes[0] for figure in of_kind(a_comparison(records), "accuracy", "final"))
    (band,) = [drawn for drawn in accuracy.collections if ".band." in str(drawn.get_gid())]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)
    (interval,) = [drawn for drawn in final.collections if drawn.get_segments()]
    assert [x for x, _ in interval.get_segments()[0]] == pytest.approx([0, 1])
    assert 1 < final.get_xlim()[1] < 1.1


def test_lines_that_coincide_are_said_to():
    same, other = [0.1] * 10, [0.1 + i / 11 for i in range(10)]
    records = [finished(a_trial(s), curve=a_curve(c)) for s, c in (("a", same), ("b", other), ("c", same))]
    for figure in of_kind(a_comparison(records), "accuracy", "survival"):
        assert "\na and c coincide" in figure.legends[0].get_title().get_text()
    layers = [(a_layer(0, 1.0, gradient), a_layer(1, 1.0, gradient)) for gradient in (1.0, 1e-3)]
    apart = [finished(a_trial(scheme), layers=seen) for scheme, seen in zip("ab", layers, strict=True)]
    (signal,) = of_kind(a_comparison(apart), "signal")
    assert "\na and b coincide (left)" in signal.legends[0].get_title().get_text()


def ticks_seen(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_majorticklocs() if low <= tick <= high]


@pytest.mark.parametrize("count", [3, 8])
def test_a_paper_has_ticks_enough_and_no_line_of_a_seed_among_eight_schemes(count):
    for picture in pictures(a_grid(SHORT[:count]), PAPER):
        ids = ids_of(picture)
        if picture.name in ("loss", "accuracy"):
            seeds = [name for name in ids if re.fullmatch(r"scheme\d+\.seed\d+\.(train|val)_\D+\d+", name)]
            assert bool(seeds) == (count == 3), picture.name
        scales = [axis for ax in picture.figure.axes for axis in (ax.xaxis, ax.yaxis)]
        for axis in scales:
            if not any(label.get_text()[:1].isalpha() for label in axis.get_ticklabels()):
                assert len(ticks_seen(axis)) >= 4, (picture.name, axis.axis_name)


@given(st.floats(1e-6, 1e6), st.floats(0, 40))
def test_an_axis_has_ticks_enough_for_any_values(low, decades):
    for log in (True, False):
        ax = Figure().subplots()
        fit_y(ax, np.array([low, low * 10.0**decades]), log=log)
        assert 4 <= len(ticks_seen(ax.yaxis)) <= 12


@pytest.mark.parametrize("last", [5, 8, 10, 15, 60, 100, 3_000, 10**6])
def test_an_axis_of_steps_has_ticks_enough(last):
    assert 4 <= len(step_ticks(last)) <= 9
