"""`initbench inspect` from the command line: what it prints, writes and refuses."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from test_cli import HEAVY, contents, document, files, header, initbench_, python, strict_json, table

from initbench.analysis.step_zero.checks import CHECKS
from initbench.records.recipe import AS_BUILT, DEFAULT_SCHEMES
from initbench.records.record import LayerStatistics, NetworkStatistics

ROOT = Path(__file__).parents[1]
QUICK = ("-m", "mlp(depth=3, width=8)", "--seeds", "2")
KEY = ["model", "scheme", "seed"]
LAYER_COLUMNS = [*KEY, *(field.name for field in fields(LayerStatistics) if field.name != "histogram")]
NETWORK_COLUMNS = [*KEY, *(field.name for field in fields(NetworkStatistics))]
CHECK_COLUMNS = ["model", "scheme", "check", "level", "figure", "layer", "remedy"]

MODELS = """
import dataclasses, sys, threading
import torch
from torch import nn

print("hello from the user's file")

class Of(nn.Module):
    \"\"\"A network of two layers that does what it is told with its input.\"\"\"
    def __init__(self, does, inputs=64, outputs=10, **more):
        super().__init__()
        self.does, self.a, self.b = does, nn.Linear(inputs, 32), nn.Linear(32, outputs)
        for name, value in more.items():
            setattr(self, name, value)
    def plain(self, x): return self.b(self.a(x.flatten(1)).relu())
    def forward(self, *x): return self.does(self, *x)

def build(shape, classes): return Of(Of.plain, shape[0] * shape[1] * shape[2], classes)
def wrong(): return Of(Of.plain, 63)
def nothing(): return nn.Sequential(nn.Flatten(), nn.ReLU())
def frozen(): return Of(Of.plain).requires_grad_(False)
def frozen_first():
    model = Of(Of.plain); model.a.requires_grad_(False); return model
def meta():
    with torch.device("meta"): return Of(Of.plain)
def lazy(): return nn.Sequential(nn.Linear(9, 4), nn.LazyLinear(10))
class bare(nn.Module):
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.randn(64, 10))
    def forward(self, x): return x.flatten(1) @ self.w
def raises(): return 1 / 0
def none(): return None
def instance(): return kept
kept = Of(Of.plain)
model = nn.Linear(2, 2)

def printing(): return Of(lambda self, x: (print("forward"), self.plain(x))[1])
def recursion(): return Of(lambda self, x: self(x))
def hook():
    model = Of(Of.plain); model.a.register_forward_hook(lambda *_: 1 / 0); return model
def returns_none(): return Of(lambda self, x: None)
def integers(): return Of(lambda self, x: self.plain(x).argmax(1))
def detached(): return Of(lambda self, x: self.plain(x).detach())
def no_grad(): return Of(torch.no_grad()(lambda self, x: self.plain(x)))
def double(): return Of(Of.plain).double()
def cached():
    model = Of(Of.plain); model.cache = model.a(torch.zeros(1, 64)); return model
def locked(): return Of(Of.plain, lock=threading.Lock())
def few(): return Of(Of.plain, outputs=3)

def pair(): return Of(lambda self, x: (self.plain(x), None))
def mapping(): return Of(lambda self, x: {"loss": 0.5, "logits": self.plain(x)})
def vector(): return Of(lambda self, x: self.plain(x).sum(1))
def column(): return Of(Of.plain, outputs=1)
def images(): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
def one(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def lstm(): return Of(lambda self, x: self.b(self.r(x.squeeze(1))[0][:, -1]), r=nn.LSTM(8, 32, batch_first=True))
def unused(): return Of(Of.plain, never=nn.Linear(3, 3))
def half_detached(): return Of(lambda self, x: self.b(self.a(x.flatten(1)).relu().detach()))
def scaled(by):
    model = Of(Of.plain)
    with torch.no_grad(): model.a.weight.mul_(by)
    return model
def nan(): return scaled(float("nan"))
def infinite(): return scaled(float("inf"))
def huge(): return scaled(1e30)
def tiny(): return scaled(1e-30)
def hostile_names():
    return Of(lambda self, x: self.d["a\\x1b[31m"](self.d["[bold]x"](x.flatten(1)).relu()),
              d=nn.ModuleDict({"[bold]x": nn.Linear(64, 32), "a\\x1b[31m": nn.Linear(32, 10)}))

def scalar(): return Of(lambda self, x: self.plain(x).sum())
def complex_(): return Of(lambda self, x: torch.complex(self.plain(x), self.plain(x)))
def fixed_size(): return Of(lambda self, x: self.plain(x.reshape(256, 64)))
def backward_hook():
    model = Of(Of.plain); model.a.register_full_backward_hook(lambda *_: 1 / 0); return model
def in_place(): return Of(lambda self, x: self.plain(x.mul_(2)))
def training_only():
    def does(self, x):
        if not self.training: raise RuntimeError("training only")
        return self.plain(x)
    return Of(does)
def fewer(): return Of(lambda self, x: self.plain(x)[:7])
def exits(): return Of(lambda self, x: sys.exit(0))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(1000, 16), nn.Linear(16, 5)
    def forward(self, tokens): return self.head(self.embed(tokens).mean(1))
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.image, self.head = nn.Embedding(50, 16), nn.Linear(192, 16), nn.Linear(16, 5)
    def forward(self, image, tokens): return self.head(self.embed(tokens).mean(1) + self.image(image.flatten(1)))
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path, cache, request):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("INITBENCH_DATA", "INITBENCH_OUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("initbench.report.folder.inspection_drawings", lambda *_: iter(()))
    (tmp_path / "mine.py").write_text(MODELS, encoding="utf-8")


@pytest.fixture
def drawn():
    """Figures are drawn, which takes a second."""


def everything():
    return {str(path) for path in Path().rglob("*") if "__pycache__" not in str(path)}


def inspect(*arguments, code=0):
    return initbench_("inspect", *arguments, code=code)


def refused(*arguments, code):
    """What a refusal says: one sentence on stderr, nothing on stdout, nothing on disk."""
    before = everything()
    result = inspect(*arguments, code=code)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line != "hello from the user's file"]
    assert len(said) == 1, said
    assert said[0].startswith("error: ")
    assert said[0].endswith((".", "?", ")"))
    assert everything() == before
    return said[0]


# --- what it prints --------------------------------------------------------------------------------------------------


def test_the_defaults_show_a_verdict_a_scheme_with_reasons_and_remedies():
    result = inspect("--seeds", "2")
    lines = result.stdout.splitlines()
    assert lines[0] == "mlp(depth=8, width=64, activation='relu'), 256 training images of digits, 2 seeds"
    for scheme in DEFAULT_SCHEMES:
        name = scheme.partition(";")[0]
        row = next(line for line in lines if line.startswith(name))
        assert any(level in row for level in ("PASS", "WARN", "FAIL"))
    assert sum(line.strip().startswith("· FAIL symmetric units") for line in lines) == 1
    assert any(line.startswith("→ ") for line in lines)
    assert "plots" in result.stderr
    assert "report.html" in result.stderr


def test_one_scheme_shows_every_layer_predicted_beside_measured():
    out = inspect("-s", "kaiming", *QUICK).stdout
    rows = [line.split() for line in out.splitlines() if line.startswith(("linear", "head"))]
    assert [row[0] for row in rows] == ["linear1", "linear2", "linear3", "head"]
    assert "All checks pass at step 0." in out or "→" in out
    for row in rows:
        measured, predicted = float(row[1]), float(row[2])
        assert 0.2 < measured / predicted < 5


def test_quiet_prints_the_table_alone():
    loud = inspect("-s", "dirac", "-m", "cnn(depth=2, width=4)", "--seeds", "1")
    assert "dirac fills Conv only" in loud.stderr
    quiet = inspect("-s", "dirac", "-m", "cnn(depth=2, width=4)", "--seeds", "1", "-q")
    assert quiet.stdout == loud.stdout
    assert quiet.stderr == ""


def test_json_is_one_document_with_the_keys_that_are_promised():
    read = document("inspect", "-s", "kaiming", "-s", "zeros", *QUICK)
    assert set(read) >= {"schema", "name", "folder", "source", "axis", "verdicts", "networks", "layers"}
    assert read["schema"] == 1
    assert (Path(read["folder"]) / "layers.csv").exists()
    assert [(of["scheme"], of["verdict"]) for of in read["verdicts"]] == [
        ("kaiming_uniform", read["verdicts"][0]["verdict"]),
        ("zeros", "FAIL"),
    ]
    for of in read["verdicts"]:
        assert len(of["checks"]) == len(CHECKS)
        assert {"name", "level", "figure", "layer", "remedy"} == set(of["checks"][0])
    assert list(read["layers"][0]) == LAYER_COLUMNS
    assert list(read["networks"][0]) == NETWORK_COLUMNS
    assert (len(read["layers"]), len(read["networks"])) == (2 * 2 * 4, 2 * 2)


@pytest.mark.parametrize("name", ["nan", "infinite", "huge", "printing"])
def test_json_stays_json_whatever_the_model_does(name):
    result = inspect("-m", f"mine.py:{name}", "--seeds", "1", "--json")
    assert strict_json(result.stdout)["schema"] == 1
    assert "hello from the user's file" in result.stderr
    assert ("forward" in result.stderr) == (name == "printing")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seeds", "2"),
        ("-s", "conv=kaiming_uniform; linear=xavier_uniform; bias=constant(0.1); head=zeros", *QUICK),
        ("-m", "cnn(depth=3, width=4)", "-s", "kaiming", "--seeds", "2"),
        ("-m", "mlp(depth=2..20, width=16)", "-s", "xavier", "-s", "kaiming", "--seeds", "1"),
        pytest.param(
            ("-m", "mlp(depth=2, width=16..128)", "-s", "xavier", "-s", "kaiming", "--seeds", "2"),
            marks=pytest.mark.long,
        ),
        ("-m", "mlp(depth=12)", "-s", "constant(0.05)", "-s", "normal(std=3)", "--seeds", "2"),
    ],
)
def test_the_tables_fit_80_columns_and_nothing_is_cut(arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    wide = inspect(*arguments).stdout
    monkeypatch.setenv("COLUMNS", "80")
    narrow = inspect(*arguments).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    assert sorted("".join(narrow.split())) == sorted("".join(wide.split()))


def test_names_of_the_user_are_text_and_nothing_else():
    out = inspect("-m", "mine.py:hostile_names", "-s", AS_BUILT, "--seeds", "1").stdout
    assert "[bold]x" in out
    assert "\x1b" not in out


def test_unused_modules_are_named():
    out = inspect("-m", "mine.py:unused", "-s", "kaiming", "--seeds", "1").stdout
    assert "Not used in the forward pass: never.weight, never.bias." in out


# --- scans, seeds, inputs --------------------------------------------------------------------------------------------


def test_a_scan_of_depth_says_how_far_each_scheme_holds():
    lines = inspect("-m", "mlp(depth=2..30)", "-s", "zeros", "-s", "kaiming", "--seeds", "2").stdout.splitlines()
    heads = next(line for line in lines if line.startswith("scheme")).split()
    assert heads == ["scheme", "no", "FAIL", "up", "to", "2", "3", "4", "6", "9", "14", "20", "30"]
    zeros, kaiming = (next(line.split() for line in lines if line.startswith(of)) for of in ("zeros", "kaiming"))
    assert zeros == ["zeros", "–", *["FAIL"] * 8]
    assert kaiming[1:4] == ["30", "or", "more"]


def test_a_scan_of_width_checks_the_coordinates():
    out = inspect("-m", "mlp(depth=2, width=16..64)", "-s", "kaiming", "--seeds", "2").stdout
    assert "Coordinate check" in out
    assert "no FAIL up to" not in out
    read = document("inspect", "-m", "mlp(depth=2, width=16..64)", "-s", "kaiming", "--seeds", "1")
    assert read["axis"] == "width"
    assert len(read["verdicts"]) == 8


@pytest.mark.parametrize(("seeds", "kept"), [("3", [0, 1, 2]), ("7,5", [7, 5])])
def test_seeds_are_a_count_or_a_list(seeds, kept):
    read = document("inspect", "-s", "kaiming", "-m", "linear", "--seeds", seeds)
    assert [of["seed"] for of in read["networks"]] == kept


@pytest.mark.parametrize(
    ("model", "inputs", "source"),
    [
        ("mine.py:build", ["3x8x8"], "256 made-up inputs 3x8x8"),
        ("mine.py:Words", ["16:1000"], "256 made-up inputs 16:1000"),
        ("mine.py:Two", ["3x8x8", "16:50"], "256 made-up inputs 3x8x8, 16:50"),
        ("cnn(depth=2, width=4)", ["1x12x12"], "256 made-up inputs 1x12x12"),
    ],
)
def test_inputs_are_made_up_in_the_shapes_asked_for(model, inputs, source):
    flags = [flag for text in inputs for flag in ("--input", text)]
    read = document("inspect", "-m", model, *flags, "-s", "kaiming", "--seeds", "1")
    assert read["source"] == source
    assert read["networks"][0]["classes"] == (5 if ":W" in model or ":T" in model else 10)
    assert read["layers"][0]["forward_moment"] > 0


def test_a_dataset_of_ones_own_is_used(monkeypatch):
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(0, 256, (90, 6, 6), dtype=np.uint8) for part in ("train", "test")}
    np.savez("mine.npz", **arrays, y_train=np.arange(90) % 3, y_test=np.arange(90) % 3)
    read = document("inspect", "-d", "mine.npz", "-s", "kaiming", *QUICK)
    assert "training images of mine.npz" in read["source"] or "training images of mine" in read["source"]
    assert read["layers"][0]["fan_in"] == 36
    assert read["networks"][0]["classes"] == 3


def test_the_users_model_is_also_seen_as_it_is_built_and_a_kept_instance_is_not_changed_by_schemes():
    read = document("inspect", "-m", "mine.py:instance", "-s", "zeros", "-s", AS_BUILT, "--seeds", "1")
    std = {of["scheme"]: of["weight_std"] for of in read["layers"] if of["layer"] == "a"}
    assert std["zeros"] == 0
    assert std[AS_BUILT] > 0.05
    schemes = [of["scheme"] for of in document("inspect", "-m", "mine.py:build", "--seeds", "1")["verdicts"]]
    assert schemes[0] == AS_BUILT
    assert len(schemes) == len(DEFAULT_SCHEMES) + 1


# --- the folder ------------------------------------------------------------------------------------------------------


def test_the_folder_holds_tables_plots_a_page_and_what_was_asked(drawn):
    inspect("-s", "kaiming", "-s", "zeros", *QUICK, "--out", "here", "--name", "mine")
    folder = Path("here/mine")
    names = files(folder)
    plots = {name for name in names if name.startswith("plots/")}
    assert names - plots == {
        "inspection.json",
        "layers.csv",
        "networks.csv",
        "checks.csv",
        "report.html",
        ".derived.json",
    }
    assert {"plots/signal.png", "plots/signal.svg"} <= plots
    for name, columns in (("layers", LAYER_COLUMNS), ("networks", NETWORK_COLUMNS), ("checks", CHECK_COLUMNS)):
        assert header(folder / f"{name}.csv") == ", ".join(columns)
    assert len(table(folder / "layers.csv")) == 2 * 2 * 4
    assert len(table(folder / "checks.csv")) == 2 * len(CHECKS)
    asked = strict_json((folder / "inspection.json").read_text())
    assert (asked["schema"], asked["schemes"], asked["seeds"]) == (1, ["kaiming_uniform", "zeros"], [0, 1])
    before = contents(folder)
    inspect("-s", "kaiming", "-s", "zeros", *QUICK, "--out", "here", "--name", "mine")
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == set()


def test_the_same_question_has_the_same_folder_and_another_one_its_own():
    folders = {document("inspect", "-s", scheme, *QUICK)["folder"] for scheme in ("kaiming", "kaiming", "zeros")}
    assert len(folders) == 2
    assert all(Path(folder).name.startswith("inspect-") for folder in folders)


def test_the_folder_of_a_comparison_is_refused_and_the_other_way_round(made):
    out = shutil.copytree(made[0], "results")
    before = contents(out)
    assert "pair holds files that this command did not" in refused("-s", "kaiming", *QUICK, "--name", "pair", code=4)
    assert contents(out) == before
    inspect("-s", "kaiming", *QUICK, "--name", "looked")
    flags = ("compare", "-s", "kaiming", "-m", "linear", "--steps", "2", "--seeds", "1", "--jobs", "1")
    result = initbench_(*flags, "--name", "looked", code=4)
    assert "looked holds files that this command did not write" in result.stderr
    assert files("results/looked") == {
        "inspection.json",
        "layers.csv",
        "networks.csv",
        "checks.csv",
        "report.html",
        ".derived.json",
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITBENCH_CACHE", str(cache))
        patch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
        flags = ("-s", "kaiming", "-m", "linear", "--steps", "2", "--seeds", "1", "--jobs", "1")
        initbench_("compare", *flags, "--out", out, "--name", "pair")
    return out, None


# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("-m", "no.py:build"), 2, "No file no.py"),
        (("-m", "nowhere_at_all:build"), 2, "No module named 'nowhere_at_all'"),
        (("-m", "mine.py:biuld"), 2, "did you mean 'build'?"),
        (("-m", "mine.py:model"), 2, "is a model, not a function"),
        (("-m", "mine.py:none"), 2, "returned NoneType"),
        (("-m", "mine.py:raises"), 4, "ZeroDivisionError: division by zero ("),
        (("-m", "mine.py:wrong"), 2, "cannot take a batch of shape 256×1×8×8"),
        (("-m", "mine.py:build", "--input", "3x8"), 2, "must take (shape, classes)"),
        (("-m", "mine.py:nothing"), 2, "no trainable"),
        (("-m", "mine.py:frozen"), 2, "no trainable"),
        (("-m", "mine.py:meta"), 2, "on the meta device"),
        (("-m", "mine.py:lazy"), 2, "has lazy modules and cannot take a batch of shape 2×1×8×8"),
        (("-m", "mine.py:few"), 2, "The labels go from 0 to 9, but the model has 3 outputs"),
        (("-m", "mine.py:Words"), 2, "cannot take a batch"),
        (("-m", "mine.py:recursion"), 2, "RecursionError"),
        (("-m", "mine.py:hook"), 2, "ZeroDivisionError"),
        (("-m", "mine.py:returns_none"), 2, "no trainable parameter on the way"),
        (("-m", "mine.py:integers"), 2, "no trainable parameter on the way"),
        (("-m", "mine.py:detached"), 2, "no trainable parameter on the way"),
        (("-m", "mine.py:no_grad"), 2, ""),
        (("-m", "mine.py:double"), 2, "its parameters are float64 and its inputs float32"),
        (("-m", "mlpp"), 2, "did you mean 'mlp'"),
        (("-m", "mlp(depth=9..2)"), 2, "is not a range"),
        (("-m", "mlp(depth=2..4, width=2..4)"), 2, "scans 2 parameters"),
        (("--input", "3x8"), 2, "takes images"),
        (("--input", "3x0x8"), 2, "is not a shape"),
        (("--input", "huge"), 2, "is not a shape"),
        (("--input", "16:0"), 2, "is not a shape"),
        (("--input", "100000x100000"), 2, "too large"),
        (("--seeds", "0"), 2, "--seeds"),
        (("--seeds", "-1"), 2, "--seeds"),
        (("--seeds", "many"), 2, "--seeds"),
        (("-s", "kaimingg"), 2, "did you mean"),
        (("-s", ""), 2, "empty"),
        (("-d", "digitz"), 2, "digitz"),
        (("--name", "../up"), 2, "--name"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(arguments, code, said):
    schemes = [()] if "-s" in arguments else [("-s", "kaiming"), ("-s", AS_BUILT)][: 1 + ("-m" in arguments)]
    for scheme in schemes:
        assert said in refused(*arguments, *scheme, code=code)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build(:", "SyntaxError"),
        ("undefined_name", "NameError"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_a_file_that_does_not_import_is_one_sentence(text, said):
    Path("bad.py").write_text(text)
    message = refused("-m", "bad.py:build", code=4)
    assert said in message
    assert "bad.py" in message
    assert "line 1" in message


@pytest.mark.parametrize(
    "name",
    [
        "pair",
        "mapping",
        "vector",
        "column",
        "images",
        "one",
        "lstm",
        "frozen_first",
        "half_detached",
        "tiny",
        "cached",
        "locked",
    ],
)
@pytest.mark.parametrize("scheme", ["kaiming", AS_BUILT])
def test_odd_models_are_shown(name, scheme):
    out = inspect("-m", f"mine.py:{name}", "-s", scheme, "--seeds", "1", "-q").stdout
    assert "nan" not in out
    assert "verdict" in out


def test_bare_parameters_are_shown_as_built_and_nothing_passes():
    out = inspect("-m", "mine.py:bare", "-s", AS_BUILT, "--seeds", "1", "-q").stdout
    assert "Nothing was checked" in out
    assert "PASS" not in out


@pytest.mark.parametrize(
    "name",
    ["scalar", "complex_", "fixed_size", "backward_hook", "in_place", "training_only", "fewer", "exits"],
)
def test_odder_models_are_shown_or_refused(name):
    before = everything()
    result = initbench_any("-m", f"mine.py:{name}", "-s", "kaiming", "--seeds", "1", "-q")
    if result.exit_code == 0:
        assert "verdict" in result.stdout
    else:
        assert result.exit_code in {2, 4}
        assert "error: " in result.stderr
        assert everything() == before


def initbench_any(*arguments):
    from typer.testing import CliRunner

    from initbench.cli import app

    return CliRunner().invoke(app, ["inspect", *arguments])


# --- as a shell runs it ----------------------------------------------------------------------------------------------


def test_in_a_process_of_its_own_it_prints_data_on_stdout_and_exits_as_said(fork_server, tmp_path):
    flags = ("inspect", "-s", "kaiming", "--seeds", "1", "-m", "mine.py:build", "--json")
    result = fork_server.run(*flags, home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["schema"] == 1
    assert "Warning" not in result.stderr
    bad = fork_server.run("inspect", "-m", "mine.py:raises", home=tmp_path)
    assert (bad.returncode, bad.stdout) == (4, "")
    assert "Traceback" not in bad.stderr


def test_the_help_of_inspect_loads_nothing_heavy(tmp_path):
    for flags in (["--help"], ["inspect", "--help"]):
        code = (
            f"import sys\nfrom initbench.cli import app\napp({flags!r}, standalone_mode=False)\n"
            "print(*{name.partition('.')[0] for name in sys.modules})"
        )
        result = python("-c", code, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert set(result.stdout.splitlines()[-1].split()) & HEAVY == set()
        assert "inspect" in result.stdout
