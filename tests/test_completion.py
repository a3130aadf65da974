"""What the Tab key offers, asked as shells ask, and held against the registries that it must never load."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from initbench.cli import completion
from initbench.core.declared import registered
from initbench.datasets import DATASETS
from initbench.networks.models import MODELS
from initbench.schemes import SCHEMES, parse_scheme
from initbench.training.optimizers import OPTIMIZERS
from initbench.training.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "sklearn", "numpy"}
LOADED = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
CODE = f"import sys\nfrom initbench.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{LOADED}"
REGISTRIES = {"scheme": SCHEMES, "model": MODELS, "dataset": DATASETS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}


def tab(*words, cwd, form="bash"):
    """Ask for the completion of the last word as a shell does; nothing heavy may be loaded for the answer."""
    # A shell hands words over as they were typed: what holds spaces or brackets stands in a quote not yet closed.
    typed = ["initbench", *words[:-1], f'"{words[-1]}' if set(words[-1]) & set(" ;()'") else words[-1]]
    asked = {
        "bash": {"COMP_WORDS": "\n".join(typed), "COMP_CWORD": str(len(words))},
        "zsh": {"_TYPER_COMPLETE_ARGS": " ".join(typed)},
        "fish": {"_TYPER_COMPLETE_ARGS": " ".join(typed), "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[form]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_INITBENCH_COMPLETE": f"complete_{form}", **asked}
    told = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=env, cwd=cwd, timeout=60
    )
    *offered, loaded = told.stdout.splitlines()
    assert set(loaded.split()) & HEAVY == set()
    assert told.stderr == ""
    return [line for line in offered if line]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_names_read_from_the_source_are_those_of_the_registry(kind):
    entries = REGISTRIES[kind].values()
    found = {named.name: named for named in registered(kind)}
    assert set(found) == {entry.name for entry in entries}
    for entry in entries:
        named = found[entry.name]
        assert named.aliases == entry.aliases
        assert named.summary == entry.summary
        assert list(named.parameters) == list(entry.parameters)
        for key, parameter in entry.parameters.items():
            assert (named.parameters[key] is None) == (parameter.default is inspect.Parameter.empty)


@pytest.mark.long
def test_schemes_models_datasets_and_optimizers_are_completed_without_torch(tmp_path):
    assert {"kaiming", "kaiming_uniform", "kaiming_normal"} <= set(tab("compare", "-s", "kaim", cwd=tmp_path))
    assert set(tab("compare", "-m", "", cwd=tmp_path)) == set(MODELS)
    assert set(tab("data", "fetch", "", cwd=tmp_path)) == set(DATASETS)
    assert tab("run", "--optimizer", "rms", cwd=tmp_path) == ["rmsprop"]
    assert set(tab("check", "glorot_u", cwd=tmp_path)) == {"glorot_uniform"}
    assert tab("list", "mod", cwd=tmp_path) == ["models"]
    assert tab("list", "models", "len", cwd=tmp_path) == ["lenet"]
    assert tab("list", "nothing", "x", cwd=tmp_path) == []
    assert tab("compare", "--device", "cu", cwd=tmp_path) == ["cuda"]
    assert tab("--vers", cwd=tmp_path) == ["--version"]


@pytest.mark.parametrize("form", ["zsh", "fish"])
def test_other_shells_are_offered_names_with_what_they_are(tmp_path, form):
    offered = tab("compare", "-s", "kaiming_n", cwd=tmp_path, form=form)
    (line,) = offered  # however long it is: fish takes each line for a word
    assert "kaiming_normal" in line
    assert SCHEMES["kaiming_normal"].summary in line


def test_a_scheme_is_completed_at_every_place_of_its_grammar(tmp_path):
    def offered(text):
        return tab("compare", "-s", text, cwd=tmp_path)

    assert {"constant", "conv="} == set(offered("con"))
    assert set(offered("conv=kaiming_n")) == {"conv=kaiming_normal"}
    assert {f"conv=kaiming_uniform; linear={name}" for name in SCHEMES} <= set(offered("conv=kaiming_uniform; li"))
    assert set(offered("conv=kaiming_uniform; linear=xavier_n")) == {"conv=kaiming_uniform; linear=xavier_normal"}
    keys = {f"kaiming_normal({key}=" for key in SCHEMES["kaiming_normal"].parameters}
    assert {word.partition("=")[0] + "=" for word in offered("kaiming_normal(")} == keys
    second = "kaiming_normal(mode='fan_out', nonlinearity="
    assert set(offered("kaiming_normal(mode='fan_out', non")) == {second, f"{second}'leaky_relu'"}
    assert offered("constant(") == ["constant(val="]
    assert set(offered("bias=constant(0.1); head=he_u")) == {"bias=constant(0.1); head=he_uniform"}
    assert offered("nobody(") == offered("constant(0.1)") == offered("kaiming_normal(mode='fan_") == []


def test_whatever_is_offered_for_a_scheme_goes_on_from_what_was_typed_and_can_become_one():
    for text in ("", "k", "conv=", "torch_default; ", "conv=kaiming; linear=xavier_", "  ones;bias="):
        for word, _ in completion.scheme(text):
            assert word.startswith(text)
            *_, last = word.split(";")
            name = last.rpartition("=")[2].strip()
            if name == last.strip() and not SCHEMES[name].parameters:  # a part may be too small for a scheme
                parse_scheme(last)


def test_zsh_is_offered_no_word_whose_quotes_it_would_lose(tmp_path):
    offered = " ".join(tab("compare", "-m", "mlp(", cwd=tmp_path, form="zsh"))
    assert '"mlp(depth=8"' in offered
    assert "mlp(activation=relu" not in offered.replace("'", "")
    assert tab("compare", "-m", r"mlp(depth=\$(x), wi", cwd=tmp_path, form="zsh") == ["_files"]
    assert tab("compare", "-s", r"conv=\$(x); li", cwd=tmp_path, form="zsh") == ["_files"]


def test_recipes_of_the_current_folder_are_offered_with_their_question(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "depth.toml").write_text('question = "How deep?"\n')
    (tmp_path / "experiments" / "broken.toml").write_bytes(b"\xff")
    assert set(tab("compare", "", cwd=tmp_path)) == {
        *("experiments/broken.toml", "experiments/depth.toml", "article", "first_look")
    }
    assert tab("compare", "./own", cwd=tmp_path) == []  # files are the shell's to offer
    (tmp_path / "experiments" / "hostile.toml").write_text('question = "[/red] \\u001b[2J"\n')
    offered = " ".join(tab("compare", "exp", cwd=tmp_path, form="zsh"))
    assert "How deep?" in offered
    assert "[/red]" in offered
    assert "\x1b" not in offered
    assert "\\" not in offered  # which before a quote would end it, and zsh would run what follows
    assert tab("list", "experiments", "de", cwd=tmp_path) == ["depth"]


def test_folders_of_results_are_offered_from_where_results_are(tmp_path):
    for out, name in (("results", "one"), ("elsewhere", "two")):
        (tmp_path / out / name).mkdir(parents=True)
        (tmp_path / out / name / "recipe.json").write_text("{}")
    (tmp_path / "results" / "trials").mkdir()
    assert tab("report", "", cwd=tmp_path) == ["results/one"]
    assert tab("report", "--out", "elsewhere", "", cwd=tmp_path) == ["elsewhere/two"]
    assert tab("export", "res", cwd=tmp_path) == ["results/one"]
