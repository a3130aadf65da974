"""Bring your own: schemes, models and datasets by reference and by entry point, as USAGE.md shows them."""

import json
import re
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import initbench
from initbench.conformance import conformance
from initbench.core import usercode
from initbench.core.usercode import entry_points, source_hash
from initbench.errors import ConfigurationError, UsageError
from initbench.networks.models import build_model
from initbench.schemes import parse_scheme

USAGE = Path(__file__).resolve().parent.parent / "initbench" / "USAGE.md"
QUICK = {"steps": 30, "seeds": 2, "jobs": 1, "out": "out"}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))


@pytest.fixture
def mine(tmp_path):
    """The file that USAGE.md shows, in the current folder."""
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", USAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "def build" in block
    )
    path = tmp_path / "mine.py"
    path.write_text(code)
    return path


@pytest.mark.long
def test_the_example_of_the_page_runs_as_it_says(mine, fork_server, tmp_path):
    command = re.search(r"\$ initbench (compare -m mine.py:build .*)", USAGE.read_text(encoding="utf-8"))[1]
    few = ("--steps", "40", "--seeds", "2", "--json", "-q")
    result = fork_server.run(*command.split(), *few, home=tmp_path, draw=False)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert [row["scheme"] for row in summary] == [
        "mine.py:small_head",
        "mine.py:unit_outputs",
        "mine.py:init",
        "torch_default",
    ]
    assert all(row["finished"] == 2 for row in summary)


def test_a_rule_of_the_users_fills_by_its_own_generator(mine):
    models = [build_model("mlp(depth=2, width=16)", (1, 8, 8), 10) for _ in range(2)]
    state = torch.get_rng_state()
    for model, seed in zip(models, (0, 1), strict=True):
        initbench.initialize(model, "mine.py:small_head; bias=constant(0.5)", seed=seed)
    again = initbench.initialize(build_model("mlp(depth=2, width=16)", (1, 8, 8), 10), "mine.py:small_head", seed=0)
    assert torch.equal(models[0].linear1.weight, again.linear1.weight)
    assert not torch.equal(models[0].linear1.weight, models[1].linear1.weight)
    assert float(models[0].head.bias.detach()[0]) == 0.5
    assert float(again.head.weight.detach().std()) < 0.3 * float(again.linear2.weight.detach().std())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_whole_scheme_of_the_users_sees_images_and_its_cost_is_counted(mine):
    comparison = initbench.compare(["mine.py:unit_outputs"], model="mine.py:build", **QUICK)
    assert all(record.initialization_steps > 0 for record in comparison.records)
    assert all(record.outcome.status == "finished" for record in comparison.records)
    with pytest.raises(UsageError, match="uses training data"):
        initbench.initialize(build_model("mlp", (1, 8, 8), 10), "mine.py:unit_outputs")


def test_editing_the_file_makes_other_trials(mine):
    first = initbench.compare(["mine.py:small_head", "kaiming"], **QUICK)
    again = initbench.compare(["mine.py:small_head", "kaiming"], **QUICK)
    assert [r.trial.id for r in first.records] == [r.trial.id for r in again.records]
    mine.write_text(mine.read_text().replace("0.1 if", "0.2 if"))
    edited = initbench.compare(["mine.py:small_head", "kaiming"], **QUICK)
    changed = {r.trial.scheme for r in edited.records} - {r.trial.scheme for r in first.records}
    assert not changed
    same = {r.trial.id for r in first.records} & {r.trial.id for r in edited.records}
    assert {r.trial.scheme for r in edited.records if r.trial.id in same} == {"kaiming_uniform"}


def test_what_the_users_code_raises_is_a_failed_trial_with_its_line_and_the_others_go_on(tmp_path):
    (tmp_path / "bad.py").write_text("def fails(tensor, layer, generator):\n    raise ValueError('not today')\n")
    comparison = initbench.compare(["bad.py:fails", "kaiming"], **QUICK)
    failed = [record.outcome for record in comparison.records if record.outcome.status == "failed"]
    assert len(failed) == 2
    assert "ValueError: not today" in failed[0].reason
    assert "bad.py, line 2: raise ValueError('not today')" in failed[0].reason
    assert sum(record.outcome.status == "finished" for record in comparison.records) == 2


def test_a_recipe_cannot_name_code(mine, tmp_path):
    witness = tmp_path / "ran"
    mine.write_text(f"open({str(witness)!r}, 'w').close()\n" + mine.read_text())
    (tmp_path / "r.toml").write_text('schemes = ["mine.py:small_head", "kaiming; head=mine.py:small_head"]\n')
    with pytest.raises(ConfigurationError, match="never because a file does"):
        initbench.compare(recipe="r.toml", **QUICK)
    (tmp_path / "m.toml").write_text('model = "mine.py:build"\n')
    with pytest.raises(ConfigurationError, match="never because a file does"):
        initbench.compare(recipe="m.toml", **QUICK)
    claim = '[[claims]]\ntext = "x"\nmetric = "test_accuracy"\nbetter = "mine.py:small_head"\nthan = "kaiming"\n'
    (tmp_path / "c.toml").write_text('schemes = ["kaiming"]\n' + claim)
    with pytest.raises(ConfigurationError, match="never because a file does"):
        initbench.compare(recipe="c.toml", **QUICK)
    assert not witness.exists()


@pytest.mark.long
def test_reading_what_is_stored_imports_nothing(mine):
    initbench.compare(["mine.py:small_head"], model="mine.py:build", name="own", **QUICK)
    mine.unlink()
    comparison = initbench.load("out/own")
    assert len(comparison.records) == 2
    assert comparison.report("report.html").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(x, y): pass", r"\(tensor, layer, generator\) for a rule, .* and \(module\) for what model.apply takes"),
        ("def f(x): x.zero_()", r"f\(x\) is none of .*name its parameters like one of them"),
        ("from torch import nn\ndef f(net: nn.Module): pass", r"f\(net\) is none of"),
        ("def f(m, gain): pass", r"f\(m, gain\) is none of"),
        ("f = 3", "is int, not a function"),
        ("def f(tensor, layer, generator): return tensor[:1]", "returned"),
    ],
)
def test_what_is_no_scheme_is_said(tmp_path, code, said):
    (tmp_path / "odd.py").write_text(code + "\n")
    with pytest.raises(UsageError, match=said):
        initbench.initialize(build_model("mlp", (1, 8, 8), 10), "odd.py:f")


APPLIED = """
from __future__ import annotations
import torch
from torch import nn

rng = torch.Generator().manual_seed(0)

def init(m, bias=0.0):
    if isinstance(m, (nn.Linear, nn.Conv2d)):
        nn.init.kaiming_normal_(m.weight)
        nn.init.constant_(m.bias, bias)

def own_draws(x: nn.Module):
    if isinstance(x, nn.Linear):
        x.weight.normal_(generator=rng)

def raises(module):
    raise ValueError("not today")
"""


def test_what_model_apply_takes_draws_what_the_rule_of_that_name_draws(tmp_path):
    (tmp_path / "mine.py").write_text(APPLIED)
    trained = initbench.compare(["mine.py:init", "kaiming_normal(nonlinearity='leaky_relu')"], model="cnn", **QUICK)
    own, built_in = (
        [record for record in trained.records if (":" in record.trial.scheme) == is_own] for is_own in (True, False)
    )
    assert [record.curve for record in own] == [record.curve for record in built_in]
    assert own[0].curve != own[1].curve
    assert [text for text, _ in own[0].trial.code] == ["mine.py:init"]


def test_what_model_apply_takes_is_reproducible_conforms_and_has_no_prediction(tmp_path):
    (tmp_path / "mine.py").write_text(APPLIED)
    model, images = build_model("mlp(depth=3, width=16)", (1, 8, 8), 10), torch.randn(32, 1, 8, 8)
    filled = (initbench.initialize(model, "mine.py:own_draws", seed=seed) for seed in (0, 0, 1))
    first, again, other = (one.head.weight.tolist() for one in filled)
    assert first == again != other
    found = initbench.inspect(model, images, schemes=["mine.py:init"], seeds=2)
    assert found.layers["forward_moment"].notna().all()
    assert found.layers["forward_moment_predicted"].isna().all()
    with pytest.raises(ConfigurationError, match=r"raises raised ValueError: not today \(.*mine.py, line 18: raise"):
        initbench.inspect(model, images, schemes=["mine.py:raises"])
    assert {result.outcome for result in conformance("mine.py:init")} == {"PASS", "SKIP"}


def test_a_function_of_this_process_is_inspected_and_what_others_cannot_find_is_said(monkeypatch):
    def init(m):
        if isinstance(m, torch.nn.Linear):
            torch.nn.init.eye_(m.weight)

    model = build_model("mlp(depth=1, width=64)", (1, 8, 8), 10)
    with pytest.raises(UsageError, match=r"init is no scheme that can be found by name: .*%%writefile mine\.py"):
        initbench.initialize(model, init)
    monkeypatch.setattr(sys.modules["__main__"], "init", init, raising=False)  # as a cell of a notebook does
    assert torch.equal(initbench.initialize(model, init).linear1.weight, torch.eye(64))
    with pytest.raises(UsageError, match="init is no scheme that can be found by name"):
        initbench.compare([init])
    with pytest.raises(UsageError, match="give its parameters by name"):
        initbench.initialize(model, partial(torch.nn.init.normal_, 0.1))


def test_a_script_inspects_with_its_own_function_and_runs_once(tmp_path, capsys):
    (tmp_path / "script.py").write_text(
        "import initbench, torch\n"
        "def init_(m): pass\n"
        "print('ran')\n"
        "found = initbench.inspect(torch.nn.Linear(4, 3), torch.ones(16, 4), schemes=[init_], seeds=1)\n"
        "print(*found.schemes)\n"
    )
    usercode._module.cache_clear()  # a process has one __main__, and here there are two
    runpy.run_path(str(tmp_path / "script.py"), run_name="__main__")
    usercode._module.cache_clear()
    assert capsys.readouterr().out.split() == ["ran", "__main__:init_"]


def test_a_rule_may_return_its_values(tmp_path):
    (tmp_path / "gives.py").write_text("def f(tensor, layer, generator): return 0 * tensor + layer.fan_in\n")
    model = initbench.initialize(build_model("mlp(depth=1, width=4)", (1, 8, 8), 10), "gives.py:f")
    assert float(model.head.weight.detach().mean()) == 4.0


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with entry points of all three kinds."""
    (tmp_path / "addon.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "def tiny(tensor, layer, generator): tensor.normal_(0, 1e-3, generator=generator)\n"
        "def one_layer(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))\n"
        "def stripes():\n"
        "    y = np.arange(400) % 4\n"
        "    x = (np.random.default_rng(0).random((400, 1, 4, 4)) * 99).astype('uint8')\n"
        "    x[np.arange(400), 0, y] += 150\n"
        "    return x[:300], y[:300], x[300:], y[300:]\n"
    )
    info = tmp_path / "addon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: addon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[initbench.schemes]\ntiny = addon:tiny\n[initbench.models]\none_layer = addon:one_layer\n"
        "[initbench.datasets]\nstripes = addon:stripes\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry_points.cache_clear()
    yield
    entry_points.cache_clear()


def test_a_package_adds_by_entry_points(package):
    comparison = initbench.compare(["tiny", "kaiming"], model="one_layer", dataset="stripes", batch_size=32, **QUICK)
    assert {record.outcome.status for record in comparison.records} == {"finished"}
    assert comparison.records[0].data.classes == 4
    tiny = next(record for record in comparison.records if record.trial.scheme == "tiny")
    assert tiny.trial.code == (("one_layer", source_hash("one_layer", "initbench.models")),
                               ("tiny", source_hash("tiny", "initbench.schemes")))  # fmt: skip
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        parse_scheme("tinyy")
