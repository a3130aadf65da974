"""The whole command line on tiny settings, mostly in this process; and what it keeps from loading."""

import csv
import inspect
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

import initbench
from initbench import training
from initbench.analysis import frames
from initbench.cli import app
from initbench.cli.shown import show_folded
from initbench.datasets import DATASETS
from initbench.networks.models import MODELS
from initbench.records import store
from initbench.records.axes import FILE_ONLY
from initbench.records.recipe import DEFAULT_SCHEMES, Recipe
from initbench.schemes import SCHEMES, parse_scheme
from initbench.training.optimizers import OPTIMIZERS
from initbench.training.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]
TINY = ("-m", "linear", "--steps", "6", "--jobs", "1")
PAIR = ("-s", "kaiming", "-s", "torch_default", *TINY, "--seeds", "2")
HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "sklearn", "numpy"}

TRIALS_CSV = (
    "trial, dataset, model, scheme, optimizer, lr, batch_size, steps, seed, device, precision, outcome, initial_loss, "
    "final_train_loss, final_train_accuracy, final_val_loss, final_val_accuracy, test_loss, test_accuracy, "
    "generalization_gap, steps_to_target, seconds_init, seconds_train, initialization_steps"
)
CURVES_CSV = "trial, scheme, lr, seed, step, epoch, train_loss, val_loss, val_accuracy"
LAYERS_CSV = (
    "trial, scheme, seed, layer, kind, fan_in, fan_out, weight_std, forward_moment, gradient_moment, dead_fraction, "
    "cosine, forward_moment_predicted, gradient_moment_predicted, cosine_predicted, predicted_from, spread, "
    "nonlinearity, forward_std, activation_moment, activation_std, gradient_std, weight_gradient_moment, "
    "weight_gradient_std, weight_norm, effective_rank, units, outputs, zero_rows, duplicate_rows, antiparallel_rows, "
    "symmetric_units"
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, cache):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("INITBENCH_DATA", raising=False)


def initbench_(*arguments, code=0):
    """Run a command line in this process and hold it to its exit code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def document(*arguments, code=0):
    """Run a command line with --json and return its document, read strictly."""
    return strict_json(initbench_(*arguments, "--json", code=code).stdout)


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def python(*arguments, cwd, **environment):
    """Run a Python of its own, as a user's shell would."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=cwd, timeout=120)


def no_pictures(monkeypatch):
    """Draw nothing where a test looks at the store and the tables alone: drawing takes a second."""
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))


def files(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def contents(folder):
    return {name: (Path(folder) / name).read_bytes() for name in files(folder)}


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def header(path):
    return ", ".join(next(csv.reader(path.read_text(encoding="utf-8").splitlines())))


def trial_files(out):
    return sorted(Path(out).glob("trials/*/*.json"))


@pytest.fixture(scope="session")
def made(tmp_path_factory, cache):
    """One comparison of two schemes over two seeds; copy it, never change it."""
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITBENCH_CACHE", str(cache))
        patch.setenv("COLUMNS", "100")
        result = initbench_("compare", *PAIR, "--target", "0.2", "--out", out, "--name", "pair")
    return out, result


@pytest.fixture
def stored(made, tmp_path):
    """A results folder of one's own that holds the comparison `pair`."""
    return shutil.copytree(made[0], tmp_path / "results")


# --- compare ---------------------------------------------------------------------------------------------------------


def test_compare_prints_its_table_on_stdout_and_all_else_on_stderr(made):
    out, result = made
    for scheme in ("kaiming_uniform", "torch_default"):
        assert sum(line.startswith(scheme) for line in result.stdout.splitlines()) == 1
    assert "4 trials to train, 0 stored" in result.stderr
    assert str(out / "pair" / "report.html") in result.stderr
    assert "to train" not in result.stdout
    assert "report.html" not in result.stdout


def test_the_folder_holds_exactly_the_files_that_the_design_names(made):
    folder = made[0] / "pair"
    names = {name for name in files(folder) if not name.startswith(".")}  # hidden files are the program's own notes
    plots = {name for name in names if name.startswith("plots/")}
    assert names - plots == {
        "recipe.json",
        "verdicts.csv",
        "trials.csv",
        "curves.csv",
        "layers.csv",
        "summary.csv",
        "summary.md",
        "report.html",
    }
    assert {Path(name).suffix for name in plots} == {".png", ".svg"}
    assert {name for name in plots if name.endswith(".svg")} == {
        name.replace(".png", ".svg") for name in plots if name.endswith(".png")
    }
    assert {path.name for path in made[0].iterdir()} == {"pair", "trials"}


def test_the_tables_have_the_columns_that_the_design_lists(made):
    folder = made[0] / "pair"
    assert header(folder / "trials.csv") == TRIALS_CSV == ", ".join(frames.TRIAL_COLUMNS)
    assert header(folder / "curves.csv") == CURVES_CSV == ", ".join(frames.CURVE_COLUMNS)
    assert header(folder / "layers.csv") == LAYERS_CSV == ", ".join(frames.LAYER_COLUMNS)


def test_the_tables_have_a_row_for_every_trial_point_and_layer(made):
    out, _ = made
    trials, curves, layers = (table(out / "pair" / f"{name}.csv") for name in ("trials", "curves", "layers"))
    ids = [row["trial"] for row in trials]
    assert sorted(ids) == sorted(path.stem for path in trial_files(out))
    assert {(row["scheme"], row["seed"]) for row in trials} == {
        (scheme, seed) for scheme in ("kaiming_uniform", "torch_default") for seed in "01"
    }
    for trial in trials:
        steps = [int(row["step"]) for row in curves if row["trial"] == trial["trial"]]
        assert steps[0] == 0
        assert steps[-1] == 6
        assert steps == sorted(set(steps))
        assert [row["layer"] for row in layers if row["trial"] == trial["trial"]] == ["head"]


def test_steps_to_target_is_the_first_point_at_or_above_it_and_empty_where_never_reached(made):
    folder = made[0] / "pair"
    curves = table(folder / "curves.csv")
    for trial in table(folder / "trials.csv"):
        points = [row for row in curves if row["trial"] == trial["trial"]]
        reached = [row["step"] for row in points if float(row["val_accuracy"]) >= 0.2]
        assert trial["steps_to_target"] == (reached[0] if reached else "")


def test_a_target_that_is_never_reached_leaves_the_field_empty(stored, monkeypatch):
    no_pictures(monkeypatch)
    initbench_("compare", *PAIR, "--target", "0.99", "--out", stored, "--name", "high")
    assert {row["steps_to_target"] for row in table(stored / "high" / "trials.csv")} == {""}


def test_recipe_json_has_every_value_with_its_origin(made):
    asked = strict_json((made[0] / "pair" / "recipe.json").read_text())
    assert set(asked["recipe"]) == set(Recipe.model_fields)
    origins = {key: setting["origin"] for key, setting in asked["recipe"].items()}
    flags = {
        "schemes": "--scheme",
        "model": "--model",
        "steps": "--steps",
        "seeds": "--seeds",
        "target": "--target",
        "name": "--name",
    }
    assert origins == dict.fromkeys(Recipe.model_fields, "default") | flags
    assert asked["recipe"]["schemes"]["value"] == ["kaiming_uniform", "torch_default"]
    assert asked["recipe"]["seeds"]["value"] == [0, 1]
    assert asked["recipe"]["lr"]["value"] == [0.02]
    assert asked["recipe"]["epochs"]["value"] is None
    assert asked["target"] == 0.2
    assert asked["baseline"] == "torch_default"
    assert len(asked["trials"]) == 4


def test_every_stored_number_is_strict_json_and_no_temporary_file_is_left(made):
    for path in trial_files(made[0]):
        strict_json(path.read_text())
    assert not [name for name in files(made[0]) if name.endswith(".part")]


def test_a_repeated_compare_trains_nothing_and_writes_the_same_bytes(stored, monkeypatch):
    before = contents(stored)
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("a stored trial was trained again"))
    result = initbench_("compare", *PAIR, "--target", "0.2", "--out", stored, "--name", "pair")
    assert "0 trials to train, 4 stored" in result.stderr
    after = contents(stored)
    changed = {name for name in after if after[name] != before.get(name)}
    assert set(after) == set(before)
    # These three may hold the command line of this process, and when it ran.
    assert changed <= {"pair/recipe.json", "pair/report.html", "pair/.derived.json"}


def test_a_repeated_compare_puts_back_what_is_gone_or_cut_short(stored):
    before = contents(stored / "pair")
    (stored / "pair" / "trials.csv").unlink()
    (stored / "pair" / "summary.csv").write_text("")
    initbench_("compare", *PAIR, "--target", "0.2", "--out", stored, "--name", "pair")
    after = contents(stored / "pair")
    assert set(after) == set(before)
    assert all(after[name] == before[name] for name in ("trials.csv", "summary.csv", "curves.csv", "summary.md"))


def test_json_is_one_strict_document_and_the_only_thing_on_stdout(stored):
    result = initbench_("report", stored / "pair", "--json")
    read = strict_json(result.stdout)
    assert read["schema"] == 1
    assert read["name"] == "pair"
    assert read["folder"] == str(stored / "pair")
    assert read["baseline"] == "torch_default"
    assert read["missing"] == 0
    rows = table(stored / "pair" / "summary.csv")
    assert [row["scheme"] for row in read["summary"]] == [row["scheme"] for row in rows]
    assert [list(row) for row in read["summary"]] == [list(row) for row in rows]
    for ours, theirs in zip(read["summary"], rows, strict=True):
        assert ours["test_accuracy"] == pytest.approx(float(theirs["test_accuracy"]))


def test_quiet_leaves_stderr_empty_and_prints_the_answer_and_the_table_alone(made, stored):
    quiet = initbench_("compare", *PAIR, "--target", "0.2", "--out", stored, "--name", "pair", "-q")
    assert quiet.stderr == ""
    assert made[1].stdout.startswith(quiet.stdout.rstrip("\n"))
    assert "Against" in made[1].stdout.removeprefix(quiet.stdout.rstrip("\n"))


def test_a_name_names_the_folder_and_without_one_it_says_what_was_asked(stored):
    first = document("compare", *PAIR, "--out", stored, "--dry-run")
    again = document("compare", *PAIR, "--out", stored, "--dry-run")
    other = document("compare", *PAIR, "--lr", "0.1", "--out", stored, "--dry-run")
    assert first["folder"] == again["folder"]
    assert Path(first["folder"]).parent == stored
    assert Path(first["folder"]).name.startswith("compare-")
    assert other["folder"] != first["folder"]
    assert document("compare", *PAIR, "--name", "mine", "--dry-run")["folder"] == str(Path("results", "mine"))


def test_the_out_folder_comes_from_the_environment_unless_a_flag_says_otherwise(monkeypatch):
    monkeypatch.setenv("INITBENCH_OUT", "elsewhere")
    assert document("compare", *PAIR, "--name", "x", "--dry-run")["folder"] == str(Path("elsewhere", "x"))
    flag = document("compare", *PAIR, "--name", "x", "--dry-run", "--out", "here")
    assert flag["folder"] == str(Path("here", "x"))


def test_a_dry_run_shows_the_grid_with_its_counts_and_writes_nothing(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("a dry run trained"))
    before = contents(tmp_path)
    result = initbench_("compare", *PAIR, "-s", "zeros", "--out", stored, "--dry-run")
    assert "6 trials, 4 of them stored: 2 to train." in result.stdout
    for word in ("kaiming_uniform", "torch_default", "zeros", "linear", "digits", "sgd", "0.02", "64", "cpu"):
        assert word in result.stdout
    for origin in ("--scheme", "--model", "--steps", "--seeds", "default"):
        assert origin in result.stdout
    assert result.stderr.startswith("note: 2 seeds cannot tell 2 schemes from the baseline")
    read = document("compare", *PAIR, "-s", "zeros", "--out", stored, "--dry-run")
    assert (read["trials"], read["stored"], read["steps"]) == (6, 4, [6])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "trials"),
    [
        (("--lr", "0.1,0.2,0.3"), 18),  # tuning: 3 rates × 3 tuning seeds × 2 schemes
        (("--lr", "tune"), 30),
        (("--vary", "init,order", "--seeds", "3"), 18),  # 3 × 3 seeds × 2 schemes
        (("-m", "mlp"), 8),
        (("-o", "adam", "-o", "sgd"), 8),
        (("--seeds", "5"), 10),
        (("--seeds", "5,9,11"), 6),
        (("--seeds", "5,"), 2),  # a list of one
        (("--lr", "0.1, 0.2"), 12),
        (("-s", "he_uniform"), 4),
        (("--baseline", "zeros"), 6),
    ],
)
def test_every_axis_multiplies_the_grid(flags, trials):
    assert document("compare", *PAIR, *flags, "--dry-run")["trials"] == trials


def test_the_defaults_are_the_design_s_own():
    read = document("compare", "--dry-run")
    assert read["schemes"] == list(DEFAULT_SCHEMES)
    assert read["model"] == ["mlp(depth=8, width=64, activation='relu')"]
    assert (read["optimizer"], read["lr"], read["batch_size"]) == (["sgd"], [0.02], 64)
    assert read["seeds"] == list(range(10))
    assert read["baseline"] == "torch_default"
    assert read["trials"] == 80


def test_epochs_count_whole_batches_of_the_training_split():
    one, half = (document("compare", "-s", "zeros", "--epochs", e, "--dry-run")["steps"] for e in ("1", "0.5"))
    assert one == [1294 // 64]
    assert half == [1294 // 64 // 2]


def test_an_alias_and_its_scheme_count_once():
    read = document(
        "compare", *PAIR, "-s", "kaiming_uniform", "-s", "he_uniform", "-s", "kaiming_uniform()", "--dry-run"
    )
    assert read["schemes"] == ["kaiming_uniform", "torch_default"]
    assert read["trials"] == 4


def test_a_scheme_that_a_layer_cannot_take_is_noted_on_stderr_unless_quiet():
    flags = ("compare", "-s", "dirac", "-m", "cnn(depth=1, width=2)", "--steps", "2", "--dry-run")
    assert "dirac fills Conv only" in initbench_(*flags).stderr
    assert initbench_(*flags, "-q").stderr == ""


def test_no_column_of_the_table_is_cut_off_on_a_narrow_screen(stored, monkeypatch):
    no_pictures(monkeypatch)
    wide = initbench_("report", stored / "pair").stdout
    monkeypatch.setenv("COLUMNS", "80")  # a narrower one has no table: test_habits.py
    narrow = initbench_("report", stored / "pair").stdout

    def words(text):
        return sorted("".join(text.split()))

    assert words(narrow) == words(wide)


def test_a_name_folds_only_where_numbers_leave_no_room(monkeypatch, capsys):
    rows = [["orthogonal (baseline)", "72 [37, 100] (7/7)"], ["kaiming_uniform", "19 [7, 32] (7/7)"]]
    for columns, folds in (("60", False), ("31", False), ("30", True)):
        monkeypatch.setenv("COLUMNS", columns)
        show_folded("", ["scheme", "steps to target"], rows)
        shown = capsys.readouterr().out
        assert ("orthogonal (baseline)" not in shown) == folds
        assert max(map(len, shown.splitlines())) <= int(columns)


# --- run, then compare -----------------------------------------------------------------------------------------------


def test_a_run_makes_the_comparison_after_it_cheaper(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    out = tmp_path / "results"
    ran = initbench_("run", "--scheme", "kaiming", *TINY, "--seeds", "2", "--out", out)
    assert "2 trials to train, 0 stored" in ran.stderr
    assert [path.name for path in out.iterdir() if path.name.startswith("run-")]
    before = {path: path.read_bytes() for path in trial_files(out)}
    read = document("compare", *PAIR, "--out", out, "--dry-run")
    assert (read["trials"], read["stored"]) == (4, 2)
    assert "2 trials to train, 2 stored" in initbench_("compare", *PAIR, "--out", out).stderr
    assert len(trial_files(out)) == 4
    assert {path: path.read_bytes() for path in before} == before


# --- recipes ---------------------------------------------------------------------------------------------------------


def write_recipe(path="r.toml", text=""):
    lines = 'question = "Why?"\nschemes = ["kaiming", "torch_default"]\nmodel = "linear"\nsteps = 6\nseeds = 2\n'
    Path(path).write_text(lines + text, encoding="utf-8")
    return path


def test_a_recipe_runs_as_the_flags_that_say_the_same_and_lends_its_name(stored, monkeypatch):
    no_pictures(monkeypatch)
    recipe = write_recipe("why.toml")
    result = initbench_("compare", recipe, "--jobs", "1", "--out", stored)
    assert "0 trials to train, 4 stored" in result.stderr
    asked = strict_json((stored / "why" / "recipe.json").read_text())
    assert asked["question"] == "Why?"
    assert {asked["recipe"][key]["origin"] for key in ("schemes", "model", "steps", "seeds", "name")} == {recipe}
    assert asked["recipe"]["lr"]["origin"] == "default"
    assert "Why?" in result.stdout


def test_flags_override_a_recipe_and_the_rest_of_it_stays(stored):
    recipe = write_recipe(text='lr = 0.3\nname = "told"\n')
    read = document("compare", recipe, "-s", "zeros", "--seeds", "3", "--epochs", "1", "--out", stored, "--dry-run")
    assert read["schemes"] == ["zeros"]
    assert read["seeds"] == [0, 1, 2]
    assert read["steps"] == [1294 // 64]
    assert read["lr"] == [0.3]
    assert read["model"] == ["linear"]
    assert read["folder"] == str(stored / "told")
    named = document("compare", recipe, "--name", "flag", "--out", stored, "--dry-run")
    assert named["folder"] == str(stored / "flag")


def test_a_new_experiment_is_a_recipe_that_runs_as_it_is():
    result = initbench_("new", "experiment", "depth-8")
    path = Path("experiments", "depth-8.toml")
    assert str(path) in result.stderr
    assert set(tomllib.loads(path.read_text())) <= set(Recipe.model_fields)
    read = document("compare", path, "--dry-run")
    assert read["folder"] == str(Path("results", "depth-8"))
    assert read["trials"] == 40
    listed = initbench_("list", "experiments")
    assert "depth-8.toml" in listed.stdout
    assert "Does kaiming_uniform train faster" in listed.stdout


def test_a_new_experiment_never_overwrites():
    initbench_("new", "experiment", "mine")
    path = Path("experiments", "mine.toml")
    path.write_text("steps = 3\n")
    refused = initbench_("new", "experiment", "mine", code=4)
    assert str(path) in refused.stderr
    assert "exists" in refused.stderr
    assert path.read_text() == "steps = 3\n"


# --- report ----------------------------------------------------------------------------------------------------------


def test_a_report_rebuilds_every_derived_file_as_it_was(made, stored):
    folder = stored / "pair"
    before = contents(folder)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "recipe.json":
            path.unlink()
    result = initbench_("report", folder)
    assert result.stdout == made[1].stdout
    assert str(folder / "report.html") in result.stderr
    assert contents(folder) == before


def test_a_report_without_a_folder_is_of_the_latest(stored, monkeypatch):
    no_pictures(monkeypatch)
    other = shutil.copytree(stored / "pair", stored / "other")
    asked = json.loads((other / "recipe.json").read_text()) | {"name": "other"}
    (other / "recipe.json").write_text(json.dumps(asked))
    for age, name in enumerate(["pair", "other"]):
        os.utime(stored / name / "recipe.json", (10**9 - age, 10**9 - age))
    assert document("report", "--out", stored)["name"] == "pair"
    os.utime(other / "recipe.json")
    assert document("report", "--out", stored)["name"] == "other"


def test_a_report_counts_what_is_not_stored(stored, monkeypatch):
    no_pictures(monkeypatch)
    trial_files(stored)[0].unlink()
    read = document("report", stored / "pair")
    assert read["missing"] == 1
    assert sum(row["n"] for row in read["summary"]) == 3
    assert any("Not stored: 1" in note for note in read["notes"])


def test_a_report_from_inside_the_folder_finds_the_same_trials(stored, monkeypatch):
    monkeypatch.chdir(stored / "pair")
    no_pictures(monkeypatch)
    before = (stored / "pair" / "trials.csv").read_bytes()
    assert document("report", ".")["missing"] == 0
    assert (stored / "pair" / "trials.csv").read_bytes() == before


@pytest.mark.parametrize("arguments", [("compare", *PAIR, "--target", "0.2", "--name", "pair"), ("report",)])
def test_open_shows_the_report_in_a_browser(stored, monkeypatch, arguments):
    opened = []
    monkeypatch.setattr(typer, "launch", opened.append)
    no_pictures(monkeypatch)
    initbench_(*arguments, "--out", stored, "--open")
    assert opened == [(stored / "pair" / "report.html").resolve().as_uri()]


# --- what goes wrong while it runs -----------------------------------------------------------------------------------


def test_trials_that_fail_are_named_and_the_others_stored_and_only_they_are_tried_again(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    train = training.train

    def faulty(group, data, report):
        if any(trial.seed == 1 for trial in group):
            raise RuntimeError("the disk is on fire")
        return train(group, data, report)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", faulty)
        result = initbench_("compare", *PAIR, "--seeds", "3", "--out", tmp_path / "o", code=3)
    assert "2 of 6 trials failed" in result.stderr
    assert "the disk is on fire" in result.stderr
    assert "Traceback" not in result.output
    assert "kaiming_uniform" in result.stdout
    assert "2 trials to train, 4 stored" in initbench_("compare", *PAIR, "--seeds", "3", "--out", tmp_path / "o").stderr


def test_an_interrupted_run_keeps_what_is_stored_and_says_how_to_go_on(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    out = tmp_path / "o"
    write = store.write

    def interrupted(*arguments):
        write(*arguments)
        if len(trial_files(out)) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", interrupted)
        result = initbench_("compare", *PAIR, "--out", out, code=130)
    assert "2 of 4 trials" in result.stderr
    assert "initbench" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert "Not stored: 2" in " ".join(result.stdout.split())
    assert "2 trials to train, 2 stored" in initbench_("compare", *PAIR, "--out", out).stderr


def test_divergence_is_an_outcome_that_the_table_shows_and_no_failure(tmp_path, monkeypatch):
    out = tmp_path / "o"
    flags = ("-s", "kaiming", "-m", "mlp(depth=1, width=8)", "--steps", "30", "--seeds", "2", "--jobs", "1")
    no_pictures(monkeypatch)
    read = document("compare", *flags, "--lr", "1e20", "--out", out)
    assert read["summary"][0]["diverged"] == 2
    assert read["summary"][0]["test_accuracy"] is None


def test_a_disk_that_fills_up_is_named_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    out = tmp_path / "o"

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", full)
        result = initbench_("compare", *PAIR, "--out", out, code=4)
    assert "No space left on device" in result.stderr
    assert "--out" in result.stderr
    assert result.stdout == ""
    assert files(out) == set()


# --- what there is ---------------------------------------------------------------------------------------------------


REGISTRIES = {
    "schemes": SCHEMES,
    "models": MODELS,
    "datasets": DATASETS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
}
ENTRIES = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_list_shows_every_name(monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "300")
    result = initbench_("list", kind)
    for entry in REGISTRIES[kind].values():
        shown = entry.name if kind == "schemes" else entry.signature
        assert any(line.startswith(shown) and entry.summary in line for line in result.stdout.splitlines())
        for alias in entry.aliases:
            assert alias in result.stdout
    assert result.stderr == ""


def test_list_schemes_says_for_each_what_it_fills_and_needs_and_what_is_unusual(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    rows = {line.split()[0]: line for line in initbench_("list", "schemes").stdout.splitlines() if line.strip()}
    assert [rows[name].split()[1] for name in ("kaiming_uniform", "eye", "dirac", "fixup", "skipinit")] == [
        "any", "Linear", "Conv", "resnet", "resnet",
    ]  # fmt: skip
    assert {name for name in SCHEMES if "Deterministic." in rows[name]} == {
        "constant", "ones", "zeros", "eye", "dirac", "partial_identity", "zero_hadamard", "idinit", "sinusoidal",
    }  # fmt: skip
    assert "Rows may be equal, opposite or 0." in rows["looks_linear"]


@pytest.mark.parametrize("columns", [80, 120])
def test_list_schemes_keeps_its_columns_at_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = initbench_("list", "schemes").stdout.splitlines()
    assert max(map(len, lines)) <= columns
    table = lines[1 : lines.index("", 1)]
    assert {line.split()[0] for line in table if not line.startswith(" ")} == set(SCHEMES)


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_list_shows_the_whole_page_of_a_name(monkeypatch, kind, name):
    monkeypatch.setenv("COLUMNS", "300")
    entry = REGISTRIES[kind][name]
    shown = initbench_("list", kind, name).stdout
    assert shown.startswith(entry.signature)
    assert " ".join(inspect.getdoc(entry.factory).split()) in " ".join(shown.split())
    for parameter in entry.parameters:
        assert any(line.startswith(f"{parameter} ") for line in shown.splitlines())
    for alias in entry.aliases:
        assert initbench_("list", kind, alias).stdout == shown
        assert alias in shown
    if kind == "schemes":
        assert "Fills: " in shown
        example = next(line for line in shown.splitlines() if line.startswith("initbench check"))
        parse_scheme(shlex.split(example)[2])


@pytest.mark.parametrize(("kind", "name", "near"), [("schemes", "kaimin", "kaiming"), ("datasets", "mnst", "mnist")])
def test_a_page_that_does_not_exist_names_the_nearest(kind, name, near):
    assert f"did you mean '{near}'" in initbench_("list", kind, name, code=2).stderr


def test_list_experiments_shows_a_recipe_by_its_name():
    Path("experiments").mkdir()
    Path("experiments", "depth.toml").write_text('question = "[red]How deep?[/red]"\n')
    assert initbench_("list", "experiments", "depth").stdout.strip() == 'question = "[red]How deep?[/red]"'
    assert "did you mean 'depth'" in initbench_("list", "experiments", "deep", code=2).stderr


def test_list_experiments_says_where_it_looked_when_none_are_the_user_s(tmp_path):
    result = initbench_("list", "experiments")
    assert "article" in result.stdout
    assert str(tmp_path) in result.stderr.replace("\n", "")


def test_list_experiments_names_a_recipe_that_cannot_be_read():
    Path("experiments").mkdir()
    Path("experiments", "bad.toml").write_bytes(b"\xff = [")
    assert "cannot be read" in initbench_("list", "experiments").stdout


def test_data_list_tells_the_state_of_every_dataset(tmp_path):
    result = initbench_("data", "list", "--data-dir", tmp_path / "none")
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "embedded" in rows["digits"]
    for name in DATASETS:
        assert name in rows
    assert "absent" in rows["mnist"]
    assert "initbench data fetch mnist" in rows["mnist"]
    assert not (tmp_path / "none").exists()


def test_there_is_nothing_to_fetch_for_a_dataset_that_is_built_in():
    result = initbench_("data", "fetch", "digits", code=2)
    assert "digits" in result.stderr
    assert "needs no download" in result.stderr
    assert result.stdout == ""


def test_doctor_shows_what_works_here_and_writes_nothing(tmp_path, monkeypatch):
    result = initbench_("doctor", "--out", tmp_path / "o", "--data-dir", tmp_path / "d")
    for word in ("initbench", "python", "torch", "device", "results", "digits", "writable"):
        assert word in " ".join(result.stdout.split())
    assert files(tmp_path) == set()
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("COLUMNS", "300")
    assert "not writable" in initbench_("doctor", "--out", blocked / "below", code=4).stdout


def commands(group=None, path=()):
    group = group or typer.main.get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def parameters_of(path):
    command = typer.main.get_command(app)
    for name in path:
        _, command, _ = command.resolve_command(typer.Context(command), [name])
    return command.params


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_that_names_all_its_options(path):
    for flag in ("--help", "-h"):
        text = initbench_(*path, flag).stdout
        assert text.startswith("Usage: initbench" if not path else "Usage: ")
        for parameter in parameters_of(path):
            if parameter.param_type_name == "option":
                assert parameter.help
                assert all(option in text for option in parameter.opts)


def test_the_tree_of_commands_is_what_the_design_has_so_far():
    names = {" ".join(path) for path in commands()}
    assert {"run", "compare", "check", "report", "list", "data list", "data fetch", "new experiment", "doctor"} <= names


# --- hostile names ---------------------------------------------------------------------------------------------------


def test_markup_and_escapes_in_a_recipe_stay_text_everywhere(tmp_path):
    recipe = Path("r.toml")
    recipe.write_text(
        'question = "[red]hot[/red] \\u001b[31m <script>alert(1)</script> [link=x]"\n'
        'schemes = ["name:*[!q]=zeros", "torch_default"]\nmodel = "linear"\nsteps = 2\nseeds = 1\n'
    )
    result = initbench_("compare", recipe, "--jobs", "1", "--out", tmp_path / "o")
    again = initbench_("compare", recipe, "--dry-run")
    for text in (result.output, again.output):
        assert "\x1b" not in text
    assert "[red]hot[/red]" in result.stdout
    assert "name:*[!q]=zeros" in result.stdout
    assert "name:*[!q]=zeros" in again.stdout
    page = (tmp_path / "o" / "r" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "\x1b" not in page + (tmp_path / "o" / "r" / "summary.md").read_text()


def test_escapes_in_what_was_typed_never_reach_the_terminal():
    result = initbench_("compare", "-s", "[red]x", "-s", "\x1b[2Jy", code=2)
    assert "[red]x" in result.stderr
    assert "\x1b" not in result.output


# --- in processes of their own ---------------------------------------------------------------------------------------


def test_the_program_runs_as_a_module_and_its_command_line_is_on_record(tmp_path):
    flags = ["compare", *PAIR, "--seeds", "1", "--name", "x", "--json"]
    result = python("-m", "initbench", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    read = strict_json(result.stdout)
    assert [row["scheme"] for row in read["summary"]] == ["kaiming_uniform", "torch_default"]
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    asked = strict_json((tmp_path / "results" / "x" / "recipe.json").read_text())
    assert shlex.split(asked["command"]) == ["initbench", *flags]


LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    "code",
    [
        "import initbench",
        "import initbench.cli",
        "import initbench.records.recipe, initbench.core.spec, initbench.errors, initbench.core.registry",
        *(
            f"from initbench.cli import app; app({flags!r}, standalone_mode=False)"
            for flags in (["--help"], ["compare", "--help"], ["run", "-h"], ["report", "--help"], ["list", "--help"])
        ),
    ],
)
def test_help_and_the_bare_import_load_no_heavy_library(tmp_path, code):
    result = python("-c", f"{code}\n{LOADED}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert loaded & HEAVY == set()


def test_only_commands_with_axes_load_pydantic_for_their_help(tmp_path):
    code = f"from initbench.cli import app; app(['--help'], standalone_mode=False)\n{LOADED}"
    assert "pydantic" not in python("-c", code, cwd=tmp_path).stdout.splitlines()[-1].split()


def test_completion_loads_no_heavy_library(tmp_path):
    code = f"from initbench.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{LOADED}"
    result = python(
        "-c",
        code,
        cwd=tmp_path,
        _INITBENCH_COMPLETE="complete_bash",
        COMP_WORDS="initbench comp",
        COMP_CWORD="1",
    )
    lines = result.stdout.splitlines()
    assert "compare" in lines
    assert set(lines[-1].split()) & HEAVY == set()


def test_the_reading_half_needs_no_torch(stored):
    code = (
        "from initbench.records import manifest, recipe, record, store\nimport initbench.comparison\n"
        "from initbench.cli import app\n"
        f"app(['report', {str(stored / 'pair')!r}, '-q'], standalone_mode=False)\n{LOADED}"
    )
    result = python("-c", code, cwd=stored)
    assert result.returncode == 0, result.stderr
    assert "kaiming_uniform" in result.stdout
    assert {"torch", "torchvision"} & set(result.stdout.splitlines()[-1].split()) == set()


def test_a_script_without_a_main_guard_compares_in_processes_and_load_gives_the_same(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import initbench\n"
        "print('once')\n"
        "made = initbench.compare(['kaiming', 'torch_default'], model='linear', steps=4, seeds=2, jobs=2, name='lib')\n"
        "read = initbench.load('results/lib')\n"
        "assert made == read\n"
        "for table in ('trials', 'curves', 'layers', 'summary'):\n"
        "    assert getattr(made, table).equals(getattr(read, table)), table\n"
        "print(len(made.trials), made.missing)\n"
    )
    result = python("script.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["once", "4 0"]
    assert "Traceback" not in result.stderr


# --- the library face ------------------------------------------------------------------------------------------------


def test_the_library_face_and_the_command_line_ask_the_same_trials(made, stored):
    comparison = initbench.compare(
        ["kaiming", "torch_default"], "linear", steps=6, seeds=2, target=0.2, jobs=1, name="lib", out=stored
    )
    loaded = initbench.load(stored / "pair")
    assert comparison.records == loaded.records
    assert comparison.trials.equals(loaded.trials)
    assert initbench.load(str(made[0] / "pair")).summary.equals(comparison.summary)
    asked = strict_json((stored / "lib" / "recipe.json").read_text())
    assert asked["recipe"]["schemes"]["origin"] == "argument"


def test_the_library_face_warns_where_the_command_line_notes(tmp_path, monkeypatch):
    monkeypatch.setattr("initbench.api.carry_out", lambda study, *_: study)
    with pytest.warns(initbench.errors.InitbenchWarning, match="dirac fills Conv only"):
        initbench.compare(["dirac"], "cnn(depth=1, width=2)", steps=2, out=tmp_path / "o")


def test_the_library_face_takes_any_sequence_for_an_axis(monkeypatch):
    monkeypatch.setattr("initbench.api.carry_out", lambda study, *_: study.recipe)
    recipe = initbench.compare(("kaiming",), ["linear"], lr=(0.1, 0.2), seeds=range(2, 4), steps=3)
    assert recipe.schemes == ("kaiming_uniform",)
    assert recipe.lr == (0.1, 0.2)
    assert recipe.seeds == (2, 3)


def test_the_library_face_has_a_parameter_for_every_axis_of_a_recipe():
    signature = inspect.signature(initbench.compare)
    own = {"recipe", "jobs", "executor", "shared_folder", "trial_timeout", "data_dir", "out"}
    assert set(signature.parameters) - own == set(Recipe.model_fields) - FILE_ONLY
    assert list(signature.parameters)[:3] == ["schemes", "model", "dataset"]
    documented = " ".join(inspect.getdoc(initbench.compare).split())
    for name in signature.parameters:
        assert f" {name}: " in documented
    for name in set(signature.parameters) - own:
        assert Recipe.model_fields[name].description in documented
    assert signature.parameters["lr"].annotation == Literal["tune"] | float | list[float] | None
    with pytest.raises(TypeError, match=r"compare\(\) got an unexpected keyword argument 'lrs'"):
        initbench.compare(lrs=0.1)


def test_the_public_names_are_there():
    for name in initbench.__all__:
        assert getattr(initbench, name) is not None
    with pytest.raises(AttributeError, match="compere"):
        initbench.compere  # noqa: B018 - the access is what is tested


# --- verdicts, claims, conditions ------------------------------------------------------------------------------------

EIGHT = ("-s", "kaiming", "-s", "normal(std=0.01)", "-m", "mlp(depth=3, width=16)", "--steps", "60", "--seeds", "8",
       "--baseline", "normal(std=0.01)", "--jobs", "1")  # fmt: skip
CLAIMS = """
schemes = ["kaiming", "normal(std=0.01)"]
model = "mlp(depth=3, width=16)"
steps = 60
seeds = 8
baseline = "normal(std=0.01)"
[[claims]]
text = "Kaiming is right more often."
metric = "test_accuracy"
better = "kaiming"
than = "normal(std=0.01)"
source = "He et al. 2015"
[[claims]]
text = "A tiny normal fits better."
metric = "final_train_loss"
better = "normal(std=0.01)"
than = "kaiming"
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """A store that every test here takes its trials from."""
    out = tmp_path_factory.mktemp("eight")
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_pictures(monkeypatch)
        initbench_("compare", *EIGHT, "--out", out)
    return out


def test_a_condition_that_holds_leaves_with_5_after_everything_is_shown(eight, monkeypatch):
    no_pictures(monkeypatch)
    met = initbench_(
        "compare",
        *EIGHT,
        "--out",
        eight,
        "--fail-if",
        "he_uniform.test_accuracy > normal(std=0.01).test_accuracy",
        code=5,
    )
    assert "kaiming_uniform.test_accuracy > normal(std=0.01).test_accuracy" in met.stderr
    assert "kaiming_uniform" in met.stdout
    initbench_("compare", *EIGHT, "--out", eight, "--fail-if", "kaiming.test_accuracy < 0.1")


@pytest.mark.parametrize("condition", ["kaiming.test_accuracy", "kaimin.test_accuracy < 1", "kaiming.acc < 1", "1 < 2"])
def test_a_condition_that_says_nothing_is_a_mistake_before_anything_is_trained(tmp_path, condition):
    result = initbench_("compare", *EIGHT, "--out", tmp_path / "o", "--fail-if", condition, code=2)
    assert result.stdout == ""
    assert not (tmp_path / "o").exists()


def test_claims_are_judged_in_the_terminal_the_page_the_report_and_the_document(eight, tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    recipe = tmp_path / "claims.toml"
    recipe.write_text(CLAIMS)
    shown = " ".join(initbench_("compare", recipe, "--jobs", "1", "--out", eight).stdout.split())
    page = (eight / "claims" / "report.html").read_text()
    markdown = (eight / "claims" / "summary.md").read_text()
    for text in (shown, page, markdown):
        assert "Kaiming is right more often." in text
        assert "He et al. 2015" in text
        assert "supported" in text
        assert "refuted" in text
    read = document("compare", recipe, "--jobs", "1", "--out", eight)
    assert [claim["status"] for claim in read["claims"]] == ["supported", "refuted"]
    assert all(claim["n"] == 8 and claim["p"] <= 0.05 for claim in read["claims"])
    assert "0 trials to train" in initbench_("compare", recipe, "--jobs", "1", "--out", eight).stderr


def test_tuned_rates_give_two_tables_and_say_how_they_were_chosen(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    arguments = ("-s", "kaiming", "-m", "linear", "--steps", "20", "--seeds", "2", "--lr", "0.01,0.1", "--jobs", "1")
    shown = " ".join(initbench_("run", *arguments, "--out", tmp_path, "--name", "tuned").stdout.split())
    for words in ("own best lr", "common lr", "tuning seeds", "training steps in total"):
        assert words in shown
    assert (tmp_path / "tuned" / "tuning.csv").exists()


def test_crossed_seeds_give_shares_of_the_spread(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    arguments = (
        "-s",
        "kaiming",
        "-m",
        "linear",
        "--steps",
        "20",
        "--seeds",
        "3",
        "--vary",
        "init,order",
        "--jobs",
        "1",
    )
    shown = initbench_("run", *arguments, "--out", tmp_path).stdout
    assert "Sources of variance" in shown
    assert "init" in shown


def test_seeds_added_after_a_look_are_said_to_be(tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    arguments = ("-s", "kaiming", "-m", "linear", "--steps", "6", "--jobs", "1", "--name", "looked", "--out", tmp_path)
    assert "added" not in initbench_("run", *arguments, "--seeds", "2").stdout
    assert "Seeds 2, 3 were added" in " ".join(initbench_("run", *arguments, "--seeds", "4").stdout.split())


def test_all_pairs_are_shown_on_request(eight, monkeypatch):
    no_pictures(monkeypatch)
    shown = " ".join(initbench_("compare", *EIGHT, "--out", eight, "--all-pairs").stdout.split())
    assert "p adjusted by Holm over 1 pairs" in shown
    assert "kaiming_uniform against normal(std=0.01)" in shown or "normal(std=0.01) against kaiming_uniform" in shown


@pytest.mark.parametrize("kind", ["csv", "markdown", "latex", "json"])
def test_a_comparison_is_exported(eight, tmp_path, kind):
    (folder,) = (path for path in eight.iterdir() if path.name.startswith("compare-"))
    shown = initbench_("export", folder, "--to", kind).stdout
    assert "kaiming" in shown
    initbench_("export", folder, "--to", kind, "--output", tmp_path / "it")
    assert (tmp_path / "it").read_text().split() == shown.split()


def test_a_low_precision_is_named_above_and_in_every_table(tmp_path):
    result = initbench_("run", "-s", "kaiming", *TINY, "--seeds", "2", "--precision", "bfloat16", "--out", tmp_path)
    named = "Computed in bfloat16, which can change the conclusion."
    assert named in " ".join(result.stdout.split())
    folder = next(path for path in tmp_path.iterdir() if path.name.startswith("run-"))
    assert named in (folder / "report.html").read_text()
    for name in ("trials.csv", "summary.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            assert {row["precision"] for row in csv.DictReader(file)} == {"bfloat16"}
