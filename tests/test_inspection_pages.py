"""What `inspect` writes: tables, figures and the page; that names stay text, and that every edge is drawn."""

import csv
import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from analysis_data import a_comparison, a_trial, finished
from matplotlib.figure import Figure
from test_analysis_folder import HOSTILE, Page, contents

from initbench.analysis.step_zero.checks import Check
from initbench.analysis.step_zero.inspection import Inspection, Observed, layers_table, scan_table
from initbench.records.record import LayerStatistics, NetworkStatistics, StepZero
from initbench.report.document import document_of
from initbench.report.figures.axes import cut_note, short_names
from initbench.report.figures.inspection import inspection_pictures
from initbench.report.figures.inspection_plots import ridge_of
from initbench.report.figures.plots import lines
from initbench.report.figures.style import SCREEN, Files, looks
from initbench.report.folder import write_inspection
from initbench.report.freshness import STAMP, begin
from initbench.report.page.comparison import render_report
from initbench.report.page.inspection import inspection_page
from initbench.report.step_zero import step_zero_section
from initbench.signals import Batch, observe, weight_moments

BELL = tuple(np.exp(-(np.linspace(-4, 4, 48) ** 2) / 2) / 6)
TWELVE = tuple(f"scheme_{i}; bias=constant(0.1)" for i in range(12))
LONG = "transformer.encoder.layers.{}.self_attn.out_proj"


def a_layer(name, forward=1.0, gradient=1e-4, **fields):
    shape = {"kind": "linear", "fan_in": 64, "fan_out": 64, "weight_std": 0.1, "dead_fraction": 0.1}
    more = {"cosine": 0.5, "effective_rank": 3.0, "histogram": BELL if forward else (), "units": 64}
    return LayerStatistics(layer=name, forward_moment=forward, gradient_moment=gradient, **(shape | more | fields))


def a_step_zero(layers, **fields):
    parts = {"images": 64, "images_for_dead": 1200, "classes": 10, "loss": 2.4, "logit_std": 1.0}
    singular = {"jacobian_max": 2.0, "jacobian_mean": 1.0, "jacobian_min": 0.5}
    return StepZero(layers=tuple(layers), network=NetworkStatistics(**(parts | singular | fields)))


def a_network(depth=3, seed=0, factor=1.0, name="layers.{}", predicted=True, **fields):
    start = 1 + seed / 10
    return a_step_zero(
        a_layer(
            name.format(i),
            start * factor**i,
            start * 1e-4 * factor ** (depth - i),
            forward_moment_predicted=factor**i if predicted else None,
            **fields,
        )
        for i in range(depth)
    )


def an_inspection(schemes=("kaiming_uniform", "xavier_uniform"), seeds=3, **network):
    observed = [
        Observed("mlp", scheme, seed, a_network(seed=seed, factor=0.5**i, **network))
        for i, scheme in enumerate(schemes)
        for seed in range(seeds)
    ]
    return of_observed(observed)


def of_observed(observed, **fields):
    parts = {"name": "inspect-1", "source": "64 images of digits", "command": "initbench inspect"}
    return Inspection(
        schemes=tuple(dict.fromkeys(of.scheme for of in observed)),
        models=tuple(dict.fromkeys(of.model for of in observed)),
        observed=tuple(observed),
        **(parts | fields),
    )


def a_scan(axis, values, schemes=TWELVE[:8]):
    texts = {f"mlp({axis}={value})": value for value in values}
    observed = [
        Observed(text, scheme, seed, a_network(depth=value if axis == "depth" else 4, seed=seed, factor=0.5))
        for text, value in texts.items()
        for scheme in schemes
        for seed in range(2)
    ]
    return of_observed(observed, axis=axis, places=texts)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def names_drawn(inspection):
    drawn = list(inspection_pictures(inspection))
    assert all(picture.png.startswith(b"\x89PNG") and picture.svg for picture in drawn)
    assert Page(inspection_page(inspection, [])(drawn)).open == []
    return [picture.name for picture in drawn]


@pytest.fixture(scope="module")
def hostile():
    inspection = an_inspection(HOSTILE, seeds=2, name="=layer{}<b>$\x1b|")
    check = Check("signal", "FAIL", "E[z²] <i>", "=layer0<b>", "=remedy & <script>")
    inspection.__dict__["checks"] = {
        ("mlp", scheme): (check, Check("theory", "PASS", f"fits {i}")) for i, scheme in enumerate(HOSTILE)
    }
    return inspection


@pytest.fixture(scope="module")
def folder(tmp_path_factory, hostile):
    path = tmp_path_factory.mktemp("inspection")
    write_inspection(path, hostile)
    return path


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def test_the_folder_holds_what_is_promised(folder):
    assert sorted(p.name for p in folder.iterdir() if p.name != STAMP) == [
        "checks.csv", "layers.csv", "networks.csv", "plots", "report.html",
    ]  # fmt: skip
    drawn = sorted(p.name for p in (folder / "plots").iterdir())
    assert drawn == [f"{kind}.{end}" for kind in ("cosine", "ridges", "signal") for end in ("png", "svg")]


def test_the_tables_have_their_columns_and_no_formula(folder, hostile):
    layers, networks, checks = (rows_of(folder / f"{name}.csv") for name in ("layers", "networks", "checks"))
    key = ["model", "scheme", "seed"]
    assert list(layers[0]) == [*key, *(field.name for field in fields(LayerStatistics) if field.name != "histogram")]
    assert list(networks[0]) == [*key, *(field.name for field in fields(NetworkStatistics))]
    assert list(checks[0]) == ["model", "scheme", "check", "level", "figure", "layer", "remedy"]
    assert (len(layers), len(networks), len(checks)) == (len(HOSTILE) * 6, len(HOSTILE) * 2, len(HOSTILE) * 2)
    cells = [cell for row in (*layers, *networks, *checks) for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "@")) or "\x1b" in cell for cell in cells)
    assert layers[0]["layer"] == "'=layer0<b>$\\x1b|"
    assert (layers[0]["fan_in"], layers[0]["cosine_predicted"]) == ("64", "")


def test_a_png_has_its_resolution_though_the_svg_was_drawn_first(folder):
    width = int.from_bytes((folder / "plots" / "signal.png").read_bytes()[16:20])
    assert width == SCREEN.widths[1] * SCREEN.dpi


def test_writing_again_gives_the_same_bytes_and_removes_stale_figures_only(folder, hostile):
    before = contents(folder)
    begin(folder, ["plots/scan.png"])
    (folder / "plots" / "scan.png").write_bytes(b"of an earlier scan")
    (folder / "plots" / "signal-mine.png").write_bytes(b"not ours")
    write_inspection(folder, hostile)
    (folder / "plots" / "signal-mine.png").unlink()
    after = contents(folder)
    del before[STAMP], after[STAMP]
    assert after == before


def test_the_page_is_one_offline_file_of_text(folder, page):
    text = (folder / "report.html").read_text()
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]|@import|javascript:", text)
    assert page.tags.isdisjoint({"iframe", "img", "link", "image", "object", "i"})
    assert len(page.ids) == len(set(page.ids))
    assert "\x1b" not in text
    for name in HOSTILE:
        assert name.replace("\x1b", "\\x1b") in page.text


def test_the_page_tells_every_reason_and_remedy_and_links_to_the_tables(page, hostile):
    for check in (check for checks in hostile.checks.values() for check in checks):
        assert check.figure in page.text
        assert check.remedy in page.text
    assert "starts at =layer0<b>" in page.text
    assert "initbench inspect" in page.text
    assert [link for link in page.links if not link.startswith("#")] == ["layers.csv", "networks.csv", "checks.csv"]


@pytest.mark.parametrize(
    "inspection",
    [
        pytest.param(lambda: an_inspection(seeds=1), id="one seed", marks=pytest.mark.long),
        pytest.param(lambda: an_inspection(predicted=False), id="no prediction", marks=pytest.mark.long),
        pytest.param(lambda: an_inspection(depth=100, name=LONG, seeds=2), id="100 layers"),
        pytest.param(lambda: an_inspection(TWELVE, seeds=2), id="12 schemes"),
        pytest.param(lambda: an_inspection(depth=1), id="1 layer", marks=pytest.mark.long),
        pytest.param(lambda: an_inspection(depth=1, name=""), id="no name", marks=pytest.mark.long),
    ],
)
def test_networks_of_every_size_are_drawn(inspection):
    assert names_drawn(inspection()) == ["signal", "cosine", "ridges"]


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(
            [a_layer("a"), a_layer("b", 0.0, 0.0, cosine=None, effective_rank=None)],
            id="a dead layer",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [a_layer(n, 0.0, 0.0, cosine=None, effective_rank=None) for n in "ab"],
            id="all zero",
            marks=pytest.mark.long,
        ),
        pytest.param([a_layer("a", 1e250, 1e-250), a_layer("b", float("inf"), None, histogram=())], id="exploding"),
        pytest.param([a_layer(n, None, None, cosine=None, effective_rank=None) for n in "ab"], id="nothing finite"),
        pytest.param(
            [a_layer("a", kind="embedding", fan_in=None, fan_out=None, dead_fraction=None)],
            id="no weights",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [a_layer("a"), a_layer("b", kind="norm", weight_std=None)], id="one weighted layer", marks=pytest.mark.long
        ),
    ],
)
def test_what_has_no_place_on_an_axis_is_drawn(layers):
    inspection = of_observed([Observed("mlp", "zeros", seed, a_step_zero(layers, loss=None)) for seed in range(2)])
    assert set(names_drawn(inspection)) <= {"signal", "cosine", "ridges"}
    for axis in ("depth", "width"):
        places = {"mlp": 2, "wide": 40}
        observed = [Observed(model, of.scheme, of.seed, of.step_zero) for model in places for of in inspection.observed]
        drawn = names_drawn(of_observed(observed, axis=axis, places=places))
        assert set(drawn) <= {"scan", "cosine", "coordinates"}


@pytest.mark.parametrize("formats", [("png", "svg"), ("pdf",)])
def test_figures_beyond_the_budget_are_linked_where_they_lie(tmp_path, monkeypatch, formats):
    monkeypatch.setattr("initbench.report.page.inspection.FIGURES_BUDGET", 1)
    write_inspection(tmp_path, an_inspection(), Files(formats=formats))
    links = [link for link in Page((tmp_path / "report.html").read_text()).links if link.startswith("plots/")]
    assert links == [f"plots/{kind}.{formats[-1]}" for kind in ("signal", "cosine", "ridges")]
    assert all((tmp_path / link).is_file() for link in links)


def test_nothing_observed_is_said():
    inspection = of_observed([])
    assert list(inspection_pictures(inspection)) == []
    assert "Nothing was checked" in inspection_page(inspection, [])([])


def test_several_models_have_figures_of_their_own():
    observed = [Observed(model, "zeros", 0, a_network()) for model in ("mlp", "my/file.py:build")]
    assert names_drawn(of_observed(observed))[::3] == ["signal-mlp", "signal-my-file.py-build"]


@pytest.mark.long
def test_a_scan_shows_the_ends_of_the_network_in_place_of_its_layers():
    depths = a_scan("depth", [2, 3, 10, 30])
    assert names_drawn(depths) == ["scan", "cosine"]
    assert names_drawn(a_scan("width", [16, 64, 256])) == ["scan", "cosine", "coordinates"]
    text = Page(inspection_page(depths, [])([])).text
    assert "no FAIL up to depth" in text
    assert "layers.0" not in text.partition("Whole networks")[2]


def test_places_hold_the_last_hidden_and_the_first_weighted_layer():
    norm = a_layer("norm", 7.0, 7.0, kind="norm")
    layers = [norm, a_layer("first", 4.0, 1.0), a_layer("hidden", 9.0, 2.0), norm, a_layer("head", 16.0, 3.0)]
    inspection = of_observed([Observed("mlp", "zeros", 0, a_step_zero(layers))], axis="width", places={"mlp": 32})
    (row,) = scan_table(inspection).to_dict("records")
    assert (row["layer"], row["forward_moment"], row["gradient_moment"]) == (32, 9.0, 1.0)
    assert (row["first"], row["hidden"], row["output"]) == (2.0, 3.0, 4.0)
    assert np.isnan(row["hidden_predicted"])


def test_a_line_is_the_geometric_mean_and_stops_where_a_seed_is_zero():
    layers = [[a_layer("a", 1.0), a_layer("b", 0.0)], [a_layer("a", 4.0), a_layer("b", 4.0)]]
    observed = [Observed("mlp", "zeros", seed, a_step_zero(of)) for seed, of in enumerate(layers)]
    ax = Figure().subplots()
    frame = layers_table(of_observed(observed))
    lines(ax, frame, "forward_moment", looks(["zeros"], ""), {"a": 0, "b": 1})
    assert ax.lines[0].get_ydata() == pytest.approx([2.0, np.nan], nan_ok=True)
    foot = [c.get_offsets().tolist() for c in ax.collections if len(c.get_offsets()) == 1]
    assert foot[0][0][1] == 0


def test_a_ridge_is_the_mean_density_of_seeds_with_bins_of_their_own():
    same = ridge_of([a_layer("a", 4.0), a_layer("a", 4.0)])
    assert same.rms == 2
    assert same.density.max() == 1
    assert np.trapezoid(same.density * same.z**2, same.z) / np.trapezoid(same.density, same.z) == pytest.approx(
        4, rel=0.05
    )
    apart = ridge_of([a_layer("a", 4.0), a_layer("a", 4e-4)])
    assert apart.density[np.abs(apart.z) > 0.5].max() < 0.1  # the narrow one is the peak


def test_long_names_keep_what_tells_them_apart():
    assert short_names(["layers.0", "layers.2"]) == ["layers.0", "layers.2"]
    assert short_names([LONG.format(i) for i in range(2)]) == ["0.self_attn.out_proj", "1.self_attn.out_proj"]
    assert short_names(["x" * 40]) == ["xxxxxxxx…xxxxxxxxxxxxxxx"]


def test_an_axis_that_is_cut_says_so():
    assert cut_note(np.array([1.0, 1e-9, np.nan, 0.0])) == ""
    assert cut_note(np.array([1.0, 2e-40])) == "\naxis cut: lowest value 2e-40"
    assert cut_note(np.array([1.0, 2e-40, 3e40])) == "\naxis cut: lowest value 2e-40,\nhighest value 3e+40"
    assert cut_note(np.array([1e-40, 1e-50])) == ""  # nothing would be left to see


def test_a_section_groups_schemes_and_shows_what_differs():
    good, bad = Check("signal", "PASS", "kept"), Check("loss", "WARN", "high", "head", "shrink it")
    checks = {("digits", m, s): (good,) if m == "a" else (good, bad) for m in "ab" for s in ("x", "y")}
    section = step_zero_section(("dataset", "model", "scheme"), checks)
    assert section.table.headers == ("scheme", "model", "verdict", "signal", "loss")
    assert section.table.rows[:2] == (("x", "a", "PASS", "PASS", "–"), ("x", "b", "WARN", "PASS", "WARN"))
    assert [reasons.open for reasons in section.reasons] == [False, True, False, True]
    assert section.reasons[1].findings[0].text == "loss: high (starts at head)"
    assert step_zero_section(("scheme",), {("x",): ()}) is None


def test_the_report_of_a_comparison_has_the_same_section():
    network = a_network()
    records = [finished(a_trial(seed=seed), layers=network.layers, network=network.network) for seed in range(2)]
    comparison = a_comparison(records)
    text = Page(render_report(document_of(comparison), [], [])).text
    (checks,) = comparison.step_zero_checks.values()
    assert "Before the first step" in text
    assert all(check.figure in text for check in checks)
    assert "Before the first step" not in render_report(document_of(a_comparison([finished(a_trial())])), [], [])


def test_the_page_says_which_network_it_is_about():
    one = of_observed([Observed("mlp", "zeros", 0, a_network())])
    assert "mlp; 64 images of digits" in Page(inspection_page(one, [])([])).text
    scan = Page(inspection_page(a_scan("depth", [2, 30]), [])([])).text
    assert "mlp(depth=2) … mlp(depth=30); 64 images of digits" in scan


def test_a_real_network_is_written(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.LayerNorm(16), torch.nn.Linear(16, 3))
    batch = Batch((torch.linspace(-1, 1, 256).view(32, 8),), torch.arange(32) % 3)
    seen = observe(model, batch, weight_moments(model, ()), histograms=True)
    write_inspection(tmp_path, of_observed([Observed("mine", "as_built", 0, seen)]))
    assert [row["layer"] for row in rows_of(tmp_path / "layers.csv")] == ["0", "2", "3"]
    assert {row["check"] for row in rows_of(tmp_path / "checks.csv")} >= {"signal", "gradient"}
    assert (tmp_path / "plots" / "ridges.png").exists()
