"""A plan without torch: what is known from the source or from earlier plans is what torch would say, or is not used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from initbench.core import kept
from initbench.core.spelling import declared, settled
from initbench.datasets import prepare
from initbench.errors import UsageError
from initbench.networks.models import MODELS
from initbench.running import facts, fitting
from initbench.running.plan import draft_of, plan_study
from initbench.schemes import SCHEMES, parse_scheme
from initbench.training.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[1]
REGISTRIES = {"scheme": SCHEMES, "model": MODELS, "optimizer": OPTIMIZERS}
RESOLVE = {"scheme": parse_scheme, "model": MODELS.resolve, "optimizer": OPTIMIZERS.resolve}
LOADED = "import sys; from initbench.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
OWN = """
import torch

def build(shape, classes):
    first = torch.nn.Linear(shape[0] * shape[1] * shape[2], 5)
    return torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.Linear(5, classes), *{last})
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Begin as a new process does with an empty cache: nothing is known."""
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(facts, "_book", facts._Book())


def command(*arguments, cache, code=0):
    """Run a command line as a shell does; return what it printed on both streams, and whether torch was loaded."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "INITBENCH_CACHE": str(cache)}
    line = [sys.executable, "-c", LOADED, *arguments]
    told = subprocess.run(line, capture_output=True, text=True, check=False, env=env, timeout=120)
    assert told.returncode == code, told.stderr
    *printed, loaded = told.stdout.splitlines()
    return "\n".join([*printed, told.stderr]), loaded == "True"


def counted(monkeypatch):
    """Count the questions that torch is asked."""
    asked = []
    for name in ("canonical", "require_logits", "notices_of", "revision_of", "require_optimizer"):
        found = getattr(fitting, name)
        monkeypatch.setattr(fitting, name, lambda *q, name=name, found=found: asked.append((name, *q)) or found(*q))
    return asked


@pytest.mark.parametrize("kind", REGISTRIES)
def test_what_the_source_settles_is_what_the_registry_says(kind):
    for name, entry in REGISTRIES[kind].items():
        assert declared(kind)[name].signature == entry.signature
        if all(parameter.default is not parameter.empty for parameter in entry.parameters.values()):
            for text in (name, *entry.aliases, entry.signature):
                assert settled(kind, text) == str(RESOLVE[kind](text))
            if kind != "model":
                REGISTRIES[kind].build(name)  # no factory refuses its own defaults


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("scheme", "kaimig"), ("scheme", "constant"), ("scheme", "normal(sdt=1)"), ("scheme", "zeros(1)"),
        ("scheme", "kaiming; zeros"), ("scheme", "con=zeros"), ("scheme", "kaiming;"), ("scheme", "bias=zero; con=1"),
        ("scheme", "constant('x'); bias=zero"), ("scheme", "bias=orthogonal"), ("scheme", "constant(0.1"),
        ("scheme", "trunc_normal(a=3.0)"), ("scheme", "lsuv(base='kaimig')"), ("model", "mpl"),
        ("model", "mlp(depth=0)"), ("model", "mlp(depth=8, depht=2)"), ("model", "mlp(depth=True)"),
        ("optimizer", "adan"), ("optimizer", "sgd(momentum=2)"),
    ],
)  # fmt: skip
def test_a_mistake_has_torchs_sentence_the_first_time_and_when_remembered(kind, text):
    with pytest.raises(UsageError) as torchs:
        RESOLVE[kind](text)
    for _ in range(2):
        with pytest.raises(UsageError) as said:
            facts.canonical(kind, text)
        assert str(said.value) == str(torchs.value)


def test_a_plan_from_kept_facts_is_the_plan_that_torch_makes(tmp_path, monkeypatch):
    given = {
        "schemes": ["kaiming", "constant(0.05)", "dirac", "looks_linear"],
        "model": ["cnn(depth=2)", "resnet(depth=8)"],
        "optimizer": ["sgd(momentum=0.9)", "adam"],
        "seeds": 2,
    }
    asked = counted(monkeypatch)
    first = plan_study(draft_of(None, given, "argument"), tmp_path)
    assert asked
    assert any("keep torch_default's weights" in notice for notice in first.notices)
    assert any(trial.revision for trial in first.trials)
    asked.clear()
    monkeypatch.setattr(facts, "_book", facts._Book())  # as in the next process
    assert plan_study(draft_of(None, given, "argument"), tmp_path) == first
    assert asked == []
    plan_study(draft_of(None, given | {"model": ["cnn(depth=3)"], "seeds": 3}, "argument"), tmp_path)
    assert {question[0] for question in asked} == {"canonical", "require_logits", "notices_of", "revision_of"}
    assert {question[1] for question in asked if question[0] != "canonical"} == {str(MODELS.resolve("cnn(depth=3)"))}


def damaged(file):
    file.write_bytes(file.read_bytes()[:-40])


def of_another_answer(file):
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps(document | {"answer": document["answer"].replace("kaiming", "xavier")}))


def written_by_others(file):
    file.parent.chmod(0o777)


def replaced_by_a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [damaged, of_another_answer, written_by_others, replaced_by_a_folder])
def test_facts_that_cannot_be_trusted_are_found_again(tmp_path, monkeypatch, harm):
    given = {"schemes": ["kaiming(a=0.5)"], "model": "linear", "seeds": 1}
    first = plan_study(draft_of(None, given, "argument"), tmp_path)
    (file,) = (tmp_path / "cache" / "facts").glob("*.json")
    harm(file)
    asked = counted(monkeypatch)
    monkeypatch.setattr(facts, "_book", facts._Book())
    assert plan_study(draft_of(None, given, "argument"), tmp_path) == first
    assert asked


def test_another_program_has_other_facts(tmp_path, monkeypatch):
    """An edited source, another torch: `PROGRAM` differs, and a program that was edited while it ran keeps nothing."""
    here = kept._program()
    assert here == kept.PROGRAM
    monkeypatch.setattr(kept, "PACKAGE", tmp_path / "package")
    source = tmp_path / "package" / "schemes" / "x.py"
    source.parent.mkdir(parents=True)
    source.write_text("a = 1")
    before = kept._program()
    source.write_text("a = 2")
    assert len({here, before, kept._program()}) == 3
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    edited = kept._program()
    monkeypatch.setattr(kept.util, "find_spec", lambda name: kept.util.spec_from_file_location(
        name, tmp_path / "torch" / "__init__.py"))  # fmt: skip
    assert kept._program() != edited
    kept.keep("facts/x.json", "q", 1, 8)
    assert not (tmp_path / "cache" / "facts" / "x.json").exists()


def test_the_users_code_is_asked_each_time(tmp_path, monkeypatch):
    model = tmp_path / "mine.py"
    model.write_text(OWN.format(last="[]"))
    data = prepare("digits")
    assert not facts.try_step("mine.py:build", data, 8)[1]
    assert facts.notices_of("mine.py:build", "eye", data) == []
    model.write_text(OWN.format(last="[torch.nn.Sigmoid()]"))  # no logits any more
    assert "between 0 and 1" in " ".join(facts.try_step("mine.py:build", data, 8)[1])
    assert facts._known() == {}


def test_what_a_process_registers_itself_is_known_to_it_alone():
    def mine():
        return SCHEMES.build("zeros")

    entries = dict(SCHEMES._entries)
    SCHEMES.register()(mine)
    try:
        assert facts.canonical("scheme", "mine") == "mine"
    finally:
        SCHEMES._entries = entries
    assert facts._known() == {}
    with pytest.raises(UsageError, match="Unknown scheme 'mine'"):
        facts.canonical("scheme", "mine")


@pytest.mark.parametrize("text", ["m.py:f", "a.b:c", "name:x.*=zeros; bias=m.py:f", "lsuv(base='m.py:f')", "name:f"])
def test_texts_that_may_name_code_are_known_as_such(text):
    assert facts.may_name_code(text)


@pytest.mark.parametrize("text", ["kaiming; name:head.*=zeros", "name:a=b*=constant(1.0)", "mlp(depth=3)"])
def test_texts_of_built_in_names_alone_are_known_as_such(text):
    assert not facts.may_name_code(text)


@pytest.mark.process
def test_a_second_dry_run_and_a_typo_load_no_torch(tmp_path):
    cache = tmp_path / "cache"
    typo, loaded = command("compare", "-s", "kaimig", cache=cache, code=2)  # on a fresh installation
    assert "did you mean 'kaiming'?" in typo
    assert not loaded
    first, loaded = command("compare", "--dry-run", cache=cache)
    assert loaded
    assert command("compare", "--dry-run", cache=cache) == (first, False)
    other, loaded = command("compare", "--dry-run", "--seeds", "3", "--lr", "tune", "-s", "kaiming", cache=cache)
    assert "15 trials" in other
    assert not loaded
    assert not command("run", "-s", "kaiming", "--steps", "x", cache=cache, code=2)[1]
