"""Writes stay inside --out, nothing foreign is touched, all works offline and with data that cannot be written."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from matplotlib.figure import Figure
from typer.testing import CliRunner

from initbench.cli import app
from initbench.core.paths import leads_out, stay_inside
from initbench.errors import ConfigurationError, UsageError
from initbench.records import manifest
from initbench.records.draft import check_one
from initbench.records.recipe import RunName
from initbench.report.figures.picture import Picture

COMPARE = ("compare", "-s", "kaiming", "-m", "linear", "--steps", "2", "--seeds", "1", "--jobs", "1", "-q")


@pytest.fixture(autouse=True)
def _quick_drawing(monkeypatch):
    """Draw one empty figure, for the real ones take seconds."""

    def draw():
        return Picture("loss", "Loss", Figure(figsize=(1, 1)))

    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter([draw]))
    monkeypatch.setattr("initbench.report.folder.inspection_drawings", lambda *_: iter([draw]))


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def everything(folder):
    """Return what lies below a folder: links by where they lead, files by their content, with their modes."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", path.readlink())
        else:
            found[name] = ("folder" if path.is_dir() else path.read_bytes(), path.stat().st_mode)
    return found


@pytest.fixture
def parent(tmp_path):
    """A folder with somebody's work in it, beside which results go."""
    (tmp_path / "work" / "plots").mkdir(parents=True)
    for name in ("thesis.tex", "report.html", "recipe.json", "plots/loss.png", "trials.csv", ".derived.json"):
        (tmp_path / "work" / name).write_text(f"years of {name}")
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "mine.json").write_text("{}")
    return tmp_path


# ---- what is beside --out


def test_commands_write_into_out_and_nowhere_else(parent):
    before = everything(parent)
    run(*COMPARE, "--out", "out", "--name", "one")
    run("report", "out/one")
    run("report", "--out", "out")
    run("export", "out/one", "--to", "csv")
    run("data", "list")
    run("doctor")
    run("list", "schemes")
    after = everything(parent)
    assert {name: what for name, what in after.items() if name.partition("/")[0] != "out"} == before
    assert after["out"][0] == "folder"


@pytest.mark.parametrize("name", ["work", "out/work"])
def test_a_folder_of_somebody_elses_is_refused_and_left_as_it_was(parent, name):
    out, _, kept = name.rpartition("/")
    if out:
        shutil.copytree("work", name)
    before = everything(parent)
    assert "did not write" in run(*COMPARE, "--out", out or ".", "--name", kept, code=4).stderr
    assert "recipe.json" in run("report", name, code=4).stderr
    assert everything(parent) == before


def test_files_of_somebody_elses_inside_a_folder_of_ours_stay(parent):
    run(*COMPARE, "--out", "out", "--name", "one")
    mine = ("out/one/notes.txt", "out/one/plots/mine.png", "out/one/plots/loss-mine.svg", "out/trials/notes.txt")
    for name in (*mine, "out/notes.txt"):
        Path(name).write_text("mine")
    run(*COMPARE, "--out", "out", "--name", "one", "--steps", "3")
    run("report", "out/one")
    assert all(Path(name).read_text() == "mine" for name in (*mine, "out/notes.txt"))


def test_an_experiment_never_overwrites_and_an_export_replaces_one_file(parent):
    (parent / "work" / "x.toml").write_text("mine")
    before = everything(parent)
    run("new", "experiment", "x", "--folder", "work", code=4)
    assert everything(parent) == before
    run(*COMPARE, "--out", "out", "--name", "one")
    before = everything(parent)
    run("export", "out/one", "--to", "csv", "--output", "work/trials.csv")
    changed = {name for name, what in everything(parent).items() if before.get(name) != what}
    assert changed == {"work/trials.csv"}


# ---- names

ways_out = st.sampled_from(["..", ".", "/", "\\", "~", "trials", "\0", "\n", "a", "-", "C:", "$HOME", "%2e"])
names = st.one_of(st.lists(ways_out, max_size=4).map("".join), st.lists(ways_out, max_size=4).map("/".join), st.text())


@examples(150)
@given(names)
def test_a_name_is_one_visible_folder_within_out_or_refused(tmp_path, name):
    try:
        check_one(RunName, name, "--name")
    except UsageError as error:
        assert "--name" in str(error)  # noqa: PT017 - either outcome is right
    else:
        place = tmp_path / "out" / name
        assert place.parent == tmp_path / "out"
        assert Path(os.path.normpath(place)) == place
        assert not name.startswith((".", "-"))
        assert name != "trials"
        assert name.isascii()
        assert len(name) <= 64


@examples(15)
@given(name=names.filter(lambda text: text and not text.startswith("-")))
def test_no_command_creates_anything_for_a_name_that_is_refused(tmp_path, name):
    with contextlib.suppress(UsageError):
        check_one(RunName, name, "--name")
        return
    before = everything(tmp_path)
    for words in ([*COMPARE, "--out", "o", "--name", name, "--dry-run"], ["new", "experiment", name, "--folder", "e"]):
        assert CliRunner().invoke(app, words).exit_code == 2
    assert everything(tmp_path) == before


@pytest.mark.parametrize("trial", ["../../../work/x", "/etc/passwd", "\0", "x" * 300, "", "g" * 20, "A" * 20])
def test_a_stamp_cannot_have_files_read_that_are_no_trials(parent, trial):
    run(*COMPARE, "--out", "out", "--name", "one")
    stamp = json.loads(Path("out/one/recipe.json").read_text())
    stamp["trials"] = [trial]
    Path("out/one/recipe.json").write_text(json.dumps(stamp, indent=1))
    assert "trials.0" in run("report", "out/one", code=4).stderr


@pytest.mark.parametrize("axis", ["lr", "seeds"])
@pytest.mark.parametrize("value", [None, 3.5, "x", [], {}, ["x"], "absent"])
def test_a_stamp_whose_axes_are_none_is_damaged(parent, axis, value):
    run(*COMPARE, "--out", "out", "--name", "one")
    stamp = json.loads(Path("out/one/recipe.json").read_text())
    stamp["recipe"][axis]["value"] = value
    if value == "absent":
        del stamp["recipe"][axis]
    Path("out/one/recipe.json").write_text(json.dumps(stamp, indent=1))
    assert "is damaged (recipe)" in run("report", "out/one", code=4).stderr
    run(*COMPARE, "--out", "out", "--name", "one")  # the same command mends it


# ---- links


def link(path, target):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(Path(target).resolve(), target_is_directory=Path(target).is_dir())


def test_a_comparisons_folder_that_is_a_link_is_refused(parent):
    link("out/one", "work")
    Path("empty").mkdir()
    link("out/two", "empty")
    before = everything(parent)
    for name in ("one", "two"):
        assert "leads out of" in run(*COMPARE, "--out", "out", "--name", name, code=4).stderr
        assert "leads out of" in run("inspect", "--seeds", "1", "--out", "out", "--name", name, code=4).stderr
    assert everything(parent) == before


def test_the_latest_comparison_is_one_that_lies_in_the_folder(parent):
    run(*COMPARE, "--out", "out", "--name", "one")
    run(*COMPARE, "--out", "elsewhere", "--name", "later")
    link("out/later", "elsewhere/later")
    assert manifest.latest(Path("out")) == Path("out/one")
    before = everything(parent / "elsewhere")
    run("report", "--out", "out")
    assert everything(parent / "elsewhere") == before


def test_plots_that_are_a_link_are_refused(parent):
    run(*COMPARE, "--out", "out", "--name", "one")
    shutil.rmtree("out/one/plots")
    link("out/one/plots", "work/plots")
    before = everything(parent / "work")
    for words in (("report", "out/one"), (*COMPARE, "--steps", "3", "--out", "out", "--name", "one")):
        assert "leads out of" in run(*words, code=4).stderr
    assert everything(parent / "work") == before


def test_files_that_are_links_are_replaced_and_never_written_through(parent):
    run(*COMPARE, "--out", "out", "--name", "one")
    (trial,) = Path("out").glob("trials/*/*.json")
    record = trial.read_bytes()
    names = [path for path in Path("out/one").iterdir() if path.is_file()]
    for path in [*names, trial]:
        content = path.read_bytes() if path.name == "recipe.json" else b"somebody's"
        Path("work", f"target-{path.name}").write_bytes(content)
        path.unlink()
        link(path, f"work/target-{path.name}")
    before = everything(parent / "work")
    run(*COMPARE, "--out", "out", "--name", "one")
    run("report", "out/one")
    assert everything(parent / "work") == before
    assert not trial.is_symlink()
    assert json.loads(trial.read_bytes())["payload"] == json.loads(record)["payload"]
    assert not [path for path in names if path.is_symlink()]


@pytest.mark.parametrize("linked", ["trials", "xx"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_store_that_is_a_link_out_of_the_results_is_not_written(parent, linked, damaged):
    run(*COMPARE, "--out", "out", "--name", "one")
    (trial,) = Path("out").glob("trials/*/*.json")
    place = trial.parent if linked == "xx" else Path("out/trials")
    shutil.move(place, "work/store")
    link(place, "work/store")
    trial.write_bytes(b"damaged") if damaged else trial.unlink()
    before = everything(parent / "work")
    assert "leads out of" in run(*COMPARE, "--out", "out", "--name", "one", code=4).stderr
    assert everything(parent / "work") == before


def test_results_may_themselves_lie_behind_a_link_and_links_within_them_are_fine(parent):
    Path("disk").mkdir()
    link("out", "disk")
    run(*COMPARE, "--out", "out", "--name", "one")
    link("disk/alias", "disk/one")
    run("report", "out/alias")
    run(*COMPARE, "--out", "out", "--name", "one")
    assert (parent / "disk" / "one" / "report.html").exists()


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert not leads_out(tmp_path, tmp_path / "x")
    with pytest.raises(ConfigurationError, match="leads out of"):
        stay_inside(tmp_path / "out", tmp_path / "a" / "x")


# ---- offline, and with data that cannot be written


def test_everything_but_fetching_works_offline(parent, monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    run(*COMPARE, "--out", "out", "--name", "one")
    for words in (("report", "out/one"), ("export", "out/one", "--to", "latex"), ("data", "list"), ("doctor",),
                  ("inspect", "-m", "mlp(depth=2, width=8)", "--seeds", "1", "--out", "out"), ("list", "datasets"),
                  ("check", "kaiming")):  # fmt: skip
        run(*words)
    result = run("data", "fetch", "kmnist", "--data-dir", "data", code=4)
    assert "connect to the network and fetch again" in result.stderr
    assert list((parent / "data").iterdir()) == []


# Root may write anywhere by a capability, which a process can lay down for good.
WITHOUT_CAPABILITIES = """
import ctypes, sys
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, none) == 0
import initbench.report.folder
from initbench.cli import app
initbench.report.folder.drawings = lambda *_: iter(())
try:
    open(sys.argv[1] + "/x", "w")
except PermissionError:
    app(sys.argv[2:])
sys.exit("the folder can be written")
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="lays down capabilities")
def test_a_data_folder_that_cannot_be_written_is_enough(parent, cache):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.random((200, 4)), "y_train": np.arange(200) % 3}
    data = parent / "data"
    data.mkdir()
    np.savez(data / "mine.npz", **arrays, x_test=rng.random((30, 4)), y_test=np.arange(30) % 3)
    data.chmod(0o555)
    before = everything(data)
    words = [*COMPARE, "-d", data / "mine.npz", "--data-dir", data, "--out", "out"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "INITBENCH_CACHE": str(cache)}
    command = [sys.executable, "-c", WITHOUT_CAPABILITIES, data, *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=parent, env=env, timeout=240)
    after = everything(data)
    data.chmod(0o755)
    assert result.returncode == 0, result.stderr
    assert "mine" in result.stdout
    assert after == before
