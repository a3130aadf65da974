"""How the command line behaves: what it says of itself and next, which stream gets what, and its exit codes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from analysis_data import a_comparison, a_trial, finished
from long_form import one_in
from typer.testing import CliRunner

from initbench import training
from initbench.cli import app, doctor, examples
from initbench.cli.details import next_commands, seeds_that_settle
from initbench.records.recipe import Claim

ROOT = Path(__file__).parents[1]
TINY = ("-m", "linear", "--lr", "0.05", "--steps", "6", "--jobs", "1", "--seeds", "2")
PAIR = ("-s", "kaiming", "-s", "torch_default", *TINY)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, cache):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
    monkeypatch.delenv("INITBENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def initbench_(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def python(code, *arguments, cwd, **environment):
    """Run some lines in a Python of its own, with the arguments of a command line."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=cwd, timeout=120)


RUN = "from initbench.__main__ import main; main()"


# --- itself ----------------------------------------------------------------------------------------------------------


def test_the_version_comes_with_torch_and_the_device():
    import torch

    said = initbench_("--version").stdout
    assert said.startswith("initbench 0.")
    assert len(said.splitlines()) == 1
    for part in (f"torch {torch.__version__}", "Python 3.", "cuda: " if torch.cuda.is_available() else "cpu: "):
        assert part in said


def test_every_command_has_examples_that_stand_line_by_line_in_its_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name, lines in examples.EXAMPLES.items():
        shown = initbench_(*name.split(), "--help").stdout
        assert max(map(len, shown.splitlines())) <= 80
        for line in lines:
            assert f"  {line}\n" in shown
    for group in ((), ("data",), ("new",)):
        listed = initbench_(*group, "--help").stdout.partition("Commands:")[2]
        assert "..." not in listed
    assert "Exit codes:" in initbench_("--help").stdout
    assert "--json" in initbench_("compare", "--help").stdout.partition("Exit codes")[0].rpartition("Examples")[2]


@pytest.mark.parametrize("line", [line for lines in examples.EXAMPLES.values() for line in lines])
def test_every_example_is_a_command_line(line):
    command, context = typer.main.get_command(app), None
    name, *words = shlex.split(line)
    while hasattr(command, "commands"):
        context = command.make_context(name, words, parent=context)
        name, command, words = command.resolve_command(context, context._protected_args + context.args)
    command.make_context(name, words, parent=context)


@pytest.mark.parametrize("line", [line for kind in ("run", "compare") for line in examples.EXAMPLES[kind]])
def test_every_example_names_what_there_is(line):
    if "-d" in line.split():
        pytest.skip("it needs a dataset that is not part of the package")
    shutil.copytree(ROOT / "experiments", "experiments")
    initbench_(*[word for word in shlex.split(line)[1:] if word != "--dry-run"], "--dry-run")


# --- a bug -----------------------------------------------------------------------------------------------------------


def test_what_nobody_foresaw_is_said_to_be_a_bug_with_its_traceback_and_leaves_with_1(tmp_path):
    fault = (
        "import initbench.running.runner as c\n"
        "def carry_out(*_):\n"
        "    raise KeyError('a key [red]nobody[/red] \\x1b[31m missed')\n"
        "c.carry_out = carry_out\n"
    )
    result = python(fault + RUN, "compare", *PAIR, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    *lines, last = result.stderr.splitlines()
    assert last.startswith("error: internal error (KeyError")
    assert "report it" in last
    assert any("Traceback (most recent call last)" in line for line in lines)
    assert any("in carry_out" in line for line in lines)
    assert "[red]nobody[/red]" in last
    assert "\x1b" not in result.stderr


def test_a_mistake_of_the_user_s_is_no_bug(fork_server, tmp_path):
    (tmp_path / "mine.py").write_text("def build(shape, classes):\n    return {}['nothing']\n")
    result = fork_server.run("compare", "-m", "mine.py:build", *PAIR[:4], home=tmp_path)
    assert result.returncode in {2, 4}
    assert "mine.py" in result.stderr
    assert "bug in initbench" not in result.stderr


# --- streams ---------------------------------------------------------------------------------------------------------

NOISY = """\
import os
import torch

print("imported")


def noisy(tensor, layer, generator):
    print("filling")
    os.write(1, b"as a C library would\\n")
    tensor.normal_(0, 0.1, generator=generator)


class Net(torch.nn.Sequential):
    def forward(self, x):
        print("forward")
        return super().forward(x)


def build(shape, classes):
    print("building")
    return Net(torch.nn.Flatten(), torch.nn.Linear(64, classes))
"""


@pytest.mark.parametrize("jobs", one_in(2, ["2", "1"]))
def test_what_the_user_s_code_prints_never_gets_into_the_document(fork_server, tmp_path, jobs):
    (tmp_path / "mine.py").write_text(NOISY)
    flags = ("-s", "mine.py:noisy", "-s", "kaiming", "-m", "mine.py:build", "--steps", "3", "--seeds", "2")
    result = fork_server.run("compare", *flags, "--jobs", jobs, "--json", home=tmp_path, draw=False)
    assert result.returncode == 0, result.stderr
    assert [row["n"] for row in json.loads(result.stdout)["summary"]] == [2, 2]
    for words in ("imported", "filling", "as a C library would", "building", "forward"):
        assert words in result.stderr


def test_a_terminal_that_lacks_a_letter_shows_its_escape(tmp_path):
    result = python(RUN, "list", "schemes", "kaiming_normal", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "kaiming_normal" in result.stdout


# --- what was done and what is next ----------------------------------------------------------------------------------


def test_trials_that_all_failed_leave_no_others_to_speak_of(monkeypatch):
    def faulty(*_):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(training, "train", faulty)
    said = initbench_("compare", *PAIR, code=3).stderr
    assert "4 of 4 trials failed, 4 of them with: RuntimeError: the disk is on fire" in said
    assert "The others" not in said
    assert "None finished; the same command" in said


def test_details_say_where_how_and_at_what_cost():
    said = initbench_("compare", *PAIR, "-v", "--name", "one").stderr
    labels = [line.split()[0] for line in said.splitlines() if line.strip()]
    for label, count in (("device", 1), ("workers", 1), ("data", 1), ("stored", 1), ("engine", 1), ("time", 2)):
        assert labels.count(label) == count, said
    assert "results/one/trials.csv" in said
    assert "device" not in initbench_("compare", *PAIR, "--name", "one").stderr
    assert initbench_("compare", *PAIR, "--name", "one", "-v", "-q").stderr == ""


@dataclass(frozen=True)
class Asked:
    """A comparison of some schemes whose accuracies are given by seed."""

    command: str
    accuracies: dict

    def comparison(self, **fields):
        records = [
            finished(a_trial(scheme=scheme, seed=seed), test=value, val=value)
            for scheme, values in self.accuracies.items()
            for seed, value in enumerate(values)
        ]
        return a_comparison(records, command=self.command, asked_rates=(0.05,), **fields)


CLEAR = {"torch_default": [0.1 + i / 1000 for i in range(10)], "kaiming": [0.9 + i / 1000 for i in range(10)]}
OPEN = {"torch_default": [0.90, 0.93, 0.88], "kaiming": [0.92, 0.91, 0.93]}


def commands(comparison, folder="results/x"):
    return [command for command, _ in next_commands(comparison, Path(folder))]


def test_after_a_clear_comparison_the_next_question_is_the_rate():
    said = commands(Asked("initbench compare -s kaiming -s torch_default --lr 0.05", CLEAR).comparison())
    assert said == ["initbench report --open", "initbench compare -s kaiming -s torch_default --lr tune"]
    named = commands(Asked("initbench compare -s kaiming --name one --lr 0.05", CLEAR).comparison())
    assert named[1] == "initbench compare -s kaiming --lr tune"  # under its name it would take this one's folder


def test_where_seeds_leave_it_open_more_of_them_are_next():
    comparison = Asked("initbench compare --seeds=3 -s kaiming -s 'torch_default; bias=zeros'", OPEN).comparison()
    seeds = seeds_that_settle(comparison)
    assert 3 < seeds <= 100
    again = shlex.split(commands(comparison)[-1])
    assert again[-2:] == ["--seeds", str(seeds)]
    assert "--seeds=3" not in again
    assert "torch_default; bias=zeros" in again


def test_an_open_claim_asks_for_seeds_where_every_verdict_stands():
    rng = np.random.default_rng(0)
    levels = {"torch_default": 0.1, "kaiming": 0.9, "orthogonal": 0.9}
    records = [
        finished(a_trial(scheme, seed), test=level + 0.03 * rng.normal(), val=level)
        for scheme, level in levels.items()
        for seed in range(10)
    ]
    claim = Claim(text="one beats the other", metric="test_accuracy", better="kaiming", than="orthogonal")
    asked = a_comparison(records, claims=(claim,))
    assert seeds_that_settle(a_comparison(records)) is None
    assert seeds_that_settle(asked) == asked.claims_judged[0].seeds_needed > 10


def test_seeds_that_are_no_count_are_not_thrown_away():
    records = [finished(a_trial(scheme=s, seed=seed)) for s in ("torch_default", "kaiming") for seed in (5, 9)]
    assert seeds_that_settle(a_comparison(records)) is None


def test_after_one_scheme_comes_the_comparison_with_another():
    comparison = Asked("initbench run -s kaiming --name one --seeds 3", {"kaiming": [0.9, 0.8, 0.9]}).comparison()
    assert commands(comparison)[1] == "initbench compare -s kaiming --seeds 3 -s torch_default"


def test_results_elsewhere_are_named(monkeypatch):
    comparison = Asked("initbench compare", CLEAR).comparison()
    assert commands(comparison, "my results/x")[0] == "initbench report 'my results/x' --open"
    monkeypatch.setenv("INITBENCH_OUT", "my results")
    assert commands(comparison, "my results/x")[0] == "initbench report --open"


def test_what_is_next_is_said_last_on_stderr_and_never_when_quiet_or_of_a_failure(monkeypatch):
    result = initbench_("compare", *PAIR)
    report, first, second, third = result.stderr.splitlines()[-4:]
    assert "report.html" in report
    assert first.startswith("next    initbench report --open  # ")
    assert "--lr tune" in second
    assert "--seeds" in third
    assert "next" not in result.stdout


# --- doctor ----------------------------------------------------------------------------------------------------------


def rows(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip() and not line.startswith("   ")}


def test_the_doctor_finds_nothing_wrong_here(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "300")
    result = initbench_("doctor", "--data-dir", tmp_path / "d")
    found = rows(result.stdout)
    for what in ("initbench", "python", "libraries", "device", "workers", "results", "cache", "digits"):
        assert found[what].split()[1] == "ok", found[what]
    assert found["mnist"].split()[1] == "-"
    assert "initbench data fetch mnist" in found["mnist"]
    assert "Everything a comparison needs works." in result.stderr


def test_the_doctor_says_what_to_do_and_leaves_with_4(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "file").write_text("")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\0\0\x08\x03")
    result = initbench_("doctor", "--out", tmp_path / "file" / "below", "--data-dir", tmp_path / "data", code=4)
    found = rows(result.stdout)
    assert found["results"].split()[1] == "FAIL"
    assert "--out" in found["results"]
    assert found["mnist"].split()[1] == "FAIL"
    assert "initbench data fetch mnist" in found["mnist"]
    assert "2 of" in result.stderr
    assert "results, mnist" in " ".join(result.stderr.split())


def test_the_doctor_goes_on_where_a_library_is_broken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(doctor_module(), "LIBRARIES", ("numpy", "no_such_library"))
    result = initbench_("doctor", code=4)
    found = rows(result.stdout)
    assert found["no_such_library"].split()[1] == "FAIL"
    assert "pip install --force-reinstall no_such_library" in found["no_such_library"]
    assert "numpy" in found["libraries"]


def doctor_module():
    return sys.modules[doctor.__module__]


# --- near misses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("comapre",), "compare"),
        (("data", "fecth", "mnist"), "fetch"),
        (("new", "experimnt", "x"), "experiment"),
        (("compare", "--baselin", "x"), "--baseline"),
        (("list", "scheme"), "schemes"),
        (("list", "schemes", "kaimin"), "kaiming"),
        (("list", "experiments", "articel"), "article"),
        (("compare", "experiments/articel.toml"), "experiments/article.toml"),
        (("report", "results/on"), "'one'"),
        (("compare", "-s", "conv=kaimin"), "kaiming"),
        (("compare", "-s", "cnv=kaiming"), "conv"),
        (("compare", "-s", "kaiming(mod='fan_in')"), "mode"),
        (("compare", "-m", "resnt"), "resnet"),
        (("compare", "-d", "mnits"), "mnist"),
        (("compare", "-o", "sgd(momentm=0.9)"), "momentum"),
        (("compare", "--fail-if", "kaimin.test_accuracy < 1"), "kaiming"),
        (("compare", "--fail-if", "kaiming.test_acuracy < 1"), "test_accuracy"),
        (("compare", "bad.toml"), "schemes"),
        (("inspect", "-m", "mpl"), "mlp"),
        (("inspect", "-s", "xavierr"), "xavier"),
        (("check", "orthogonl"), "orthogonal"),
        (("export", "--to", "latx"), "latex"),
        (("data", "fetch", "mnits"), "mnist"),
        (("compare", "--vary", "ini,order"), "init,order"),
        (("compare", "--device", "gpu"), "cuda"),
    ],
)
def test_a_typing_error_is_answered_with_what_was_meant(arguments, near):
    shutil.copytree(ROOT / "experiments", "experiments")
    Path("bad.toml").write_text('schmes = ["kaiming"]\n')
    Path("results", "one").mkdir(parents=True)
    Path("results", "one", "recipe.json").write_text("{}")
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code in {2, 4}
    assert near in result.stderr
    assert result.stdout == ""
