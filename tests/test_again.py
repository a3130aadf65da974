"""The same comparison again: the kept answer is what working it out would print, and never that of other content."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from initbench.cli import again, app, planning
from initbench.core import kept
from initbench.records import store

ROOT = Path(__file__).parents[1]
TINY = (
    "compare",
    "-s",
    "kaiming",
    "-s",
    "torch_default",
    "-m",
    "linear",
    "--steps",
    "6",
    "--seeds",
    "2",
    "--jobs",
    "1",
)
SHOWN = ([], ["--json"], ["--quiet"], ["--all-pairs"])
DRAWN = "import sys; from initbench.cli import main\ntry: main()\nfinally: print(*sys.modules)"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, cache):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def shown_again(monkeypatch):
    """Whether each command so far showed a kept answer."""
    seen, recalled = [], planning.recalled

    def spy(*asked):
        found = recalled(*asked)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(planning, "recalled", spy)
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A comparison that was run once; copy it, never change it."""
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITBENCH_CACHE", str(cache))
        run(out)
    return out


@pytest.fixture
def stored(made, tmp_path):
    return shutil.copytree(made, tmp_path / "out")


def run(out, *more, code=0):
    result = CliRunner().invoke(app, [*TINY, "--out", str(out), "--name", "one", *more])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize(
    "more", [*SHOWN[:2], *(pytest.param(more, marks=pytest.mark.long) for more in SHOWN[2:])], ids=" ".join
)
def test_an_answer_shown_again_is_the_same_to_the_byte(stored, shown_again, monkeypatch, more):
    first = run(stored, *more)
    files = {path: path.read_bytes() for path in (stored / "one").rglob("*") if path.is_file()}
    assert run(stored, *more) == first
    assert shown_again == [False, True]
    assert {path: path.read_bytes() for path in (stored / "one").rglob("*") if path.is_file()} == files
    monkeypatch.setenv("COLUMNS", "47")  # another terminal
    narrow = run(stored, *more)
    monkeypatch.setattr(planning, "recalled", lambda *_: None)
    assert run(stored, *more) == narrow
    if more != ["--json"]:
        assert narrow != first


@pytest.mark.long
def test_a_tuned_comparison_is_shown_again_too(tmp_path, shown_again):
    tune = ("--lr", "0.01,0.1")
    run(tmp_path, *tune)
    first, second = run(tmp_path, *tune), run(tmp_path, *tune)
    assert shown_again == [False, True, True]
    assert "0 trials to train" in second[1]
    assert first == second


def another_record(out):
    """As another machine would have made it: whole, and not what was shown."""
    path = min(out.glob("trials/*/*.json"))
    record = store.read(out, path.stem)
    better = replace(record.final, test_accuracy=0.999)
    store.write(out, record.model_copy(update={"final": better}))


def damaged_record(out):
    path = min(out.glob("trials/*/*.json"))
    path.write_bytes(path.read_bytes()[:-200])


def gone_record(out):
    min(out.glob("trials/*/*.json")).unlink()


def gone_figure(out):
    min((out / "one" / "plots").iterdir()).unlink()


def damaged_answer(out):
    file = answer_of(out)
    file.write_bytes(file.read_bytes()[:-30])


def forged_answer(out):
    file = answer_of(out)
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps(document | {"answer": document["answer"].replace("0.", "0.9")}))


def answer_of(out):
    (file,) = (f for f in (Path(os.environ["INITBENCH_CACHE"]) / "answers").glob("*") if f.name in name_of(out))
    return file


def name_of(out):
    class Asked:
        folder = out / "one"

    return again._place(Asked)


@pytest.mark.parametrize(
    "change",
    [
        another_record,
        forged_answer,
        *(pytest.param(change, marks=pytest.mark.long) for change in (damaged_record, gone_record, gone_figure)),
        pytest.param(damaged_answer, marks=pytest.mark.long),
    ],
)
def test_what_was_changed_is_worked_out_anew(stored, shown_again, monkeypatch, change):
    before = run(stored)
    change(stored)
    after = run(stored)
    assert shown_again == [False, False]
    assert run(stored)[0] == after[0]
    assert shown_again[-1]
    monkeypatch.setattr(planning, "recalled", lambda *_: None)
    assert run(stored)[0] == after[0]
    assert (after[0] != before[0]) is (change is another_record)
    assert all(path.is_file() for path in (stored / "one" / "plots").iterdir())


def test_other_flags_programs_and_caches_show_no_kept_answer(stored, shown_again, monkeypatch):
    run(stored)
    run(stored, "-v")
    run(stored, "--fail-if", "kaiming.learned < 0")
    run(stored, "--seeds", "1")
    run(stored)  # the kept answer is that of one seed
    with monkeypatch.context() as patch:
        patch.setattr(kept, "PROGRAM", "another")
        run(stored)
    folder = Path(os.environ["INITBENCH_CACHE"]) / "answers"
    folder.chmod(0o777)
    try:
        run(stored)
    finally:
        folder.chmod(0o700)
    assert not any(shown_again)


def test_nothing_is_kept_of_records_that_are_no_longer_those_on_disk(stored, shown_again, monkeypatch):
    from initbench.cli import grid

    remember = grid.remember
    monkeypatch.setattr(grid, "remember", lambda *given: (another_record(stored), remember(*given)))
    run(stored)
    monkeypatch.setattr(grid, "remember", remember)
    run(stored)
    assert shown_again == [False, False]


@pytest.mark.process
def test_a_repeat_loads_nothing_that_computes_or_draws(stored):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", DRAWN, *TINY, "--out", str(stored), "--name", "one"]
    for _ in range(2):
        told = subprocess.run(line, capture_output=True, text=True, check=True, env=env, timeout=120)
    loaded = set(told.stdout.splitlines()[-1].split())
    assert "initbench.cli.again" in loaded
    assert not loaded & {"torch", "pandas", "scipy.stats", "matplotlib", "sklearn", "initbench.cli.grid"}


# --- inspect ---------------------------------------------------------------------------------------------------------

LOOK = ("inspect", "-m", "mlp(depth=2, width=8)", "-s", "kaiming", "-s", "as_built", "--seeds", "2", "--format", "svg")


@pytest.fixture
def measured(monkeypatch):
    """How many inspections were measured."""
    from initbench.running import inspection

    seen, run_all = [], inspection.run_inspection
    monkeypatch.setattr(inspection, "run_inspection", lambda *a, **k: seen.append(1) or run_all(*a, **k))
    return seen


def look(out, *more, code=0):
    result = CliRunner().invoke(app, [*LOOK, "--out", str(out), *more])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--json"],
        pytest.param(["-q"], marks=pytest.mark.long),
        pytest.param(["-m", "mlp(depth=1..3, width=8)", "--name", "scan"], marks=pytest.mark.long),
        pytest.param(["--input", "1x4x4"], marks=pytest.mark.long),
    ],
    ids=" ".join,
)
def test_an_inspection_shown_again_is_the_same_to_the_byte(tmp_path, measured, more):
    out = tmp_path / "out"
    first = look(out, *more)
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert look(out, *more) == first
    assert len(measured) == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    shutil.rmtree(out)
    assert look(out, *more) == first
    assert len(measured) == 2


def test_an_inspection_of_anything_else_is_measured(tmp_path, measured, monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (60, 4, 4), dtype=np.uint8)

    def save(images):
        labels = np.arange(60) % 2
        np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])

    save(images)
    own = ("-d", str(tmp_path / "own.npz"), "--name", "one")
    first = look(tmp_path, *own)
    save(images // 2 + 9)  # other images under the same name
    assert look(tmp_path, *own) != first
    look(tmp_path, *own, "--seeds", "1")
    look(tmp_path, *own)  # the folder holds another inspection by now
    with monkeypatch.context() as patch:
        patch.setattr(kept, "PROGRAM", "another")
        look(tmp_path, *own)
    min((tmp_path / "one" / "plots").iterdir()).unlink()
    look(tmp_path, *own)
    assert len(measured) == 6
    look(tmp_path, *own)
    assert len(measured) == 6
    (tmp_path / "mine.py").write_text("import torch\n\ndef build():\n    return torch.nn.Linear(16, 2)\n")
    for _ in range(2):
        look(tmp_path, "-m", str(tmp_path / "mine.py:build"), "--input", "16")
    assert len(measured) == 8


def test_a_folder_of_somebody_elses_is_refused_by_a_repeat_too(tmp_path, measured):
    look(tmp_path, "--name", "one")
    (tmp_path / "one" / "inspection.json").write_text("mine")
    assert "did not write" in look(tmp_path, "--name", "one", code=4)[1]


@pytest.mark.process
def test_a_repeated_inspection_and_its_typos_load_nothing_that_computes_or_draws(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    loaded = []
    for code, more in ((0, []), (0, []), (2, ["-s", "kaimig"])):
        line = [sys.executable, "-c", DRAWN, *LOOK, "--out", str(tmp_path), *more]
        told = subprocess.run(line, capture_output=True, text=True, check=False, env=env, timeout=120)
        assert told.returncode == code, told.stderr
        loaded.append({"torch", "pandas", "matplotlib"} & set(told.stdout.splitlines()[-1].split()))
    assert loaded == [{"torch", "pandas", "matplotlib"}, set(), set()]
