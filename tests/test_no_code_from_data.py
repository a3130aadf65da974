"""No code runs from data: not from results, recipes, stamps, caches or datasets."""

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from initbench.cli import app
from initbench.datasets import published
from initbench.records import store

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "initbench"
SOURCES = sorted(PACKAGE.rglob("*.py"))
QUICK = ("-m", "linear", "--steps", "2", "--seeds", "1", "--jobs", "1", "-q")


# ---- what the package is made of

MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml",
    "subprocess", "pty", "code", "codeop", "runpy", "xmlrpc", "hydra", "webbrowser",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}
METHODS = {
    "extractall", "extract", "unpack_archive", "system", "popen", "spawnl", "execv", "load_url", "from_pretrained",
    "read_pickle", "to_pickle", "read_feather", "read_hdf", "full_load", "unsafe_load", "load_state_dict_from_url",
    "fromfile", "loadtxt", "genfromtxt", "from_string",
}  # fmt: skip
# What is meant, and why: the user's own code, which a flag names; the libraries of a list in the doctor's source; a
# browser for one's own page; and the training loops, which another process of this same program compiles.
ALLOWED = {
    ("core/usercode.py", "import_module"), ("core/usercode.py", "exec_module"), ("__init__.py", "import_module"),
    ("cli/doctor.py", "import_module"), ("training/compiled/compiling.py", "import_module"),
    ("training/compiled/kernels.py", "subprocess"),
    ("cli/report.py", "launch"), ("cli/again.py", "launch"), ("cli/inspect.py", "launch"),
}  # fmt: skip


def of(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kind)]


def faults(path):
    """Yield what in a file could make data run as code."""
    place = path.relative_to(PACKAGE).as_posix()
    for node in of(path, ast.Import | ast.ImportFrom):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        names += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.partition(".")[0] in MODULES and (place, name) not in ALLOWED)
    for node in of(path, ast.Call):
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in CALLS or (name in METHODS and not called.startswith("platform.")):
            yield called
        if name in {"eval", "query"} and "." in called and (node.args or node.keywords):
            yield called  # pandas' of a text; PyTorch's eval() takes nothing
        if name in {"import_module", "exec_module", "launch"} and (place, name) not in ALLOWED:
            yield called
        if called in {"np.load", "numpy.load", "np.lib.format.read_array"} and keywords.get("allow_pickle") != "False":
            yield called
        if called in {"torch.load", "torch.jit.load", "torch.hub.load", "load"} and "torch" in called:
            yield called
        if keywords.get("shell", "False") != "False" or keywords.get("allow_pickle", "False") != "False":
            yield f"{called} of {keywords}"
        if keywords.get("weights_only") is not None or keywords.get("trust_remote_code") is not None:
            yield called


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_in_the_package_could_run_data_as_code(path):
    assert list(faults(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import joblib.memory", "from sklearn.externals import joblib",
        "eval(x)", "exec(x)", "compile(x, '', 'exec')", "__import__(x)", "tar.extractall()", "os.system(x)",
        "subprocess.run(x, shell=True)", "np.load(x)", "np.load(x, allow_pickle=True)", "torch.load(x)",
        "torch.load(x, weights_only=True)", "import yaml", "pd.read_pickle(x)", "frame.eval('a')",
        "frame.query(x)", "importlib.import_module(x)", "shutil.unpack_archive(x)", "np.save(x, y, allow_pickle=True)",
        "f(shell=1)", "spec.loader.exec_module(m)",
    ],
)  # fmt: skip
def test_the_reader_of_syntax_trees_sees_each_way(tmp_path, monkeypatch, code):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / "bad.py"
    path.write_text(f"def f():\n    {code}\n")
    assert list(faults(path))


def test_no_template_runs_code():
    templates = PACKAGE / "report" / "page" / "templates"
    for path in templates.iterdir():
        text = path.read_text()
        assert not any(word in text for word in ("__class__", "|attr", "onload", "onclick"))
        assert text.count("<script") == (path.name == "base.html.j2")
    assert "<script>{{ script | safe }}</script>" in (templates / "base.html.j2").read_text()
    # The one script makes no markup and no code from text, and asks nobody for anything; of its address it reads the
    # part to unfold.
    words = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval|Function|setTimeout|import|fetch|XMLHttp"
    )
    words += r"|WebSocket|sendBeacon|Storage|cookie|\.src\b|\.href\b|location(?!\.hash\))|postMessage|window\.open"
    words += r"|Worker"
    assert re.search(words, (templates / "report.js").read_text()) is None


# ---- poison in every place where the program reads


class Poison:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("poisoned").resolve(),))


POISON_PY = """import pathlib
pathlib.Path(__file__).parent.joinpath("poisoned").touch()
def f(*_): return 0
build = f
"""


def poison(folder):
    """Lay a poisoned file of every kind into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("x.pkl", "x.pickle", "x.joblib", "data.pt", "model.pth", "training.pt", "test.pt", "x.npy", ".x.pkl"):
        (folder / name).write_bytes(pickle.dumps(Poison()))
    torch.save(Poison(), folder / "checkpoint.pt")
    np.savez(folder / "objects.npz", x_train=np.array([Poison()], object))
    for name in ("conftest.py", "sitecustomize.py", "usercustomize.py", "__init__.py", "__main__.py"):
        (folder / name).write_text(POISON_PY)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A results folder of one comparison, with poison beside everything that it holds."""
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
    assert CliRunner().invoke(app, ["compare", "-s", "kaiming", *QUICK, "--out", "out", "--name", "one"]).exit_code == 0
    for folder in [path for path in (tmp_path / "out").rglob("*") if path.is_dir()]:
        poison(folder)
    poison(tmp_path / "out")
    return tmp_path / "out"


def poisoned_trial(out):
    """Have the stored trial name the user's code in every place, under a right checksum and id."""
    (path,) = out.glob("trials/*/*.json")
    document = json.loads(path.read_text())
    trial = document["payload"]["trial"]
    for key in ("scheme", "model", "dataset", "optimizer"):
        trial[key] = "evil.py:f"
    trial["code"] = [["evil.py:f", "0" * 16]]
    document["checksum"] = store._checksum(document["payload"])
    identity = store.decode(json.dumps(document).encode()).trial.id
    target = out / "trials" / identity[:2] / f"{identity}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document))
    stamp = json.loads((out / "one" / "recipe.json").read_text())
    stamp["trials"] = [identity]
    stamp["schemes"], stamp["baseline"] = ["evil.py:f"], "evil.py:f"
    stamp["command"] = "initbench compare -s evil.py:f; touch poisoned"
    stamp["claims"] = [{"text": "x", "metric": "test_accuracy", "better": "evil.py:f", "than": "evil:f"}]
    stamp["recipe"]["schemes"]["value"] = ["evil.py:f"]
    (out / "one" / "recipe.json").write_text(json.dumps(stamp, indent=1))


def test_reports_and_exports_of_a_poisoned_store_run_nothing_and_import_no_user_code(stored, tmp_path):
    (tmp_path / "evil.py").write_text(POISON_PY)
    poisoned_trial(stored)
    code = (
        "import sys, initbench.report.folder\nfrom initbench.cli import app\n"
        "initbench.report.folder.drawings = lambda *_: iter(())\n"
        "for words in (['report', 'out/one'], ['report'], ['export', '--to', 'latex'],\n"
        "              ['report', '--json', 'out/one']):\n"
        "    try:\n        app(words)\n    except SystemExit as end:\n        assert end.code == 0, (words, end.code)\n"
        "bad = [n for n in sys.modules if n in {'torch', 'joblib', 'evil', 'conftest', 'webbrowser'}\n"
        "       or n.startswith('initbench_user')]\n"
        "print('LOADED', bad)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "INITBENCH_OUT": "out"}
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "LOADED []"
    assert "evil.py:f" in result.stdout
    assert not list(tmp_path.rglob("poisoned"))


def test_running_again_in_a_poisoned_folder_runs_nothing(stored, tmp_path):
    again = CliRunner().invoke(app, ["compare", "-s", "kaiming", *QUICK, "--out", "out", "--name", "one", "--json"])
    assert again.exit_code == 0, again.output
    (path,) = stored.glob("trials/*/*.json")
    path.write_bytes(pickle.dumps(Poison()))
    (stored / "one" / ".derived.json").write_bytes(pickle.dumps(Poison()))
    again = CliRunner().invoke(app, ["compare", "-s", "kaiming", *QUICK, "--out", "out", "--name", "one"])
    assert again.exit_code == 0, again.output
    assert json.loads(path.read_text())["payload"]["outcome"]["status"] == "finished"
    (stored / "one" / "recipe.json").write_bytes(pickle.dumps(Poison()))
    assert CliRunner().invoke(app, ["report", "out/one"]).exit_code == 4
    assert not list(tmp_path.rglob("poisoned"))


def test_poison_in_a_data_folder_and_in_the_cache_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    for source in published.SOURCES.values():
        poison(data / source.folder)
        poison((data / source.folder).parent / "processed")
        for file in source.files:
            (data / source.folder / file.name).write_bytes(pickle.dumps(Poison()))
    listed = CliRunner().invoke(app, ["data", "list", "--data-dir", "data"])
    assert listed.stdout.count("damaged") >= len(published.SOURCES)
    for name in published.SOURCES:
        result = CliRunner().invoke(app, ["compare", "-d", name, "--data-dir", "data", "--dry-run"])
        assert result.exit_code == 4, result.output
    assert CliRunner().invoke(app, ["compare", "-s", "kaiming", *QUICK, "--out", "out"]).exit_code == 0
    for folder in (tmp_path / "cache").iterdir():
        poison(folder)
        for path in folder.glob("*_labels.npy"):
            path.unlink()  # not written over: this process maps it
            path.write_bytes(pickle.dumps(Poison()))
    shutil.rmtree("out")
    assert CliRunner().invoke(app, ["compare", "-s", "kaiming", *QUICK, "--out", "out"]).exit_code == 0
    assert not list(tmp_path.rglob("poisoned"))


@pytest.mark.parametrize(
    "recipe",
    [
        'schemes = ["evil.py:f"]', 'model = "evil.py:build"', 'dataset = "evil:f"', 'optimizer = "evil.py:f"',
        'schemes = ["__import__(\'evil\').f"]', "schemes = [\"constant(__import__('evil'))\"]",
        'baseline = "evil.py:f"', 'schemes = ["conv=evil.py:f; linear=kaiming"]', '_target_ = "evil.f"',
        'schemes = "kaiming"\nquestion = "{{ cycler.__init__.__globals__.os.system(\'touch poisoned\') }}"',
        '[model]\n_target_ = "evil.f"',
        'name = "$(touch poisoned)"', 'dataset = "objects.npz"', 'dataset = "evil.py"', 'device = "evil"',
        '[[claims]]\ntext = "x"\nmetric = "test_accuracy"\nbetter = "evil.py:f"\nthan = "kaiming"',
    ],
)  # fmt: skip
def test_a_poisoned_recipe_is_inert(tmp_path, monkeypatch, recipe):
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
    monkeypatch.syspath_prepend(str(tmp_path))  # where a module of that name could be imported
    poison(tmp_path)
    Path("evil.py").write_text(POISON_PY)
    Path("r.toml").write_text(recipe + "\n")
    result = CliRunner().invoke(app, ["compare", "r.toml", *QUICK[2:], "--out", "out"])
    assert result.exit_code == (0 if "cycler" in recipe else 4), result.output
    if result.exit_code == 0:
        assert "cycler.__init__" in (tmp_path / "out" / "r" / "report.html").read_text()
    assert "evil" not in sys.modules
    assert not list(tmp_path.rglob("poisoned"))
