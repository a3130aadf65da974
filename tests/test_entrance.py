"""At the entrance: what the user's files change, are called and return; numbers as people write them."""

import gc
import json
import os
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from initbench import compare, datasets, initialize, inspect
from initbench.api import text_of_axes
from initbench.cli import app
from initbench.cli.axes import numbers
from initbench.core.spec import parse
from initbench.core.usercode import load
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.models import build_model
from initbench.networks.outputs import loss_floor
from initbench.records.draft import read_toml
from initbench.running.executor import choose_backend
from initbench.running.facts import canonical
from initbench.running.inspection import plan_inspection, run_inspection
from initbench.running.trying import try_step
from initbench.schemes import parse_scheme

CHANGES_ALL = """
import gc, os, random, sys, warnings
import numpy as np, torch
from torch import nn
import argparse
args = argparse.ArgumentParser()
args.add_argument("--width", type=int, default=7)
WIDTH = args.parse_args().width
DRAWN = random.random(), np.random.rand(), float(torch.rand(()))

def change():
    os.chdir("/")
    torch.set_default_dtype(torch.float64); torch.set_default_device("meta"); torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True); torch.set_num_threads(torch.get_num_threads() + 1)
    np.seterr(all="raise"); np.random.seed(1); random.seed(1); torch.manual_seed(1)
    warnings.simplefilter("error"); sys.stdout = sys.stderr; gc.disable(); sys.setrecursionlimit(5000)
    sys.argv[:] = ["x"]
change()

class Net(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
        change()

    def forward(self, x):
        os.chdir("/")
        return super().forward(x.flatten(1))
"""


def state():
    return (
        os.getcwd(), torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),  # noqa: PTH109 - text
        torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), np.geterr(), list(warnings.filters),
        np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), sys.stdout, sys.argv, list(sys.argv),  # noqa: NPY002
        gc.isenabled(), sys.getrecursionlimit(),
    )  # fmt: skip


def test_a_file_that_changes_the_process_changes_nothing_for_us(tmp_path, monkeypatch):
    (tmp_path / "all.py").write_text(CHANGES_ALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["initbench", "compare", "--lr", "0.1"])
    before = state()
    drawn = load("all.py:DRAWN")
    model = build_model("all.py:Net", (1, 8, 8), 10)
    assert not try_step("all.py:Net", datasets.prepare("digits"), 32).notices
    assert state() == before
    assert model.weight.dtype == torch.float32
    assert load("all.py:WIDTH") == 7
    os.utime(tmp_path / "all.py", (0, 0))  # imported again
    assert load("all.py:DRAWN") == drawn


@pytest.mark.parametrize("name", ["my model (1).py", "a;b=c.py", "it's {x}.py", "größe [0].py"])
def test_an_existing_file_is_a_reference_whatever_its_letters(tmp_path, monkeypatch, name):
    text = "from torch import nn\ndef net(shape, classes): return nn.Linear(2, classes)\n"
    (tmp_path / name).write_text(text + "def fill(tensor, layer, generator): return tensor.fill_(3)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="No file"):
        build_model(f"absent {name}:net", (1, 1, 1), 3)
    assert build_model(f"{name}:net", (1, 1, 1), 3).out_features == 3
    assert str(parse_scheme(f"{name}:fill")) == f"{name}:fill"
    assert initialize(nn.Linear(2, 2), f"./{name}:fill").weight.unique() == 3
    assert parse(f"./sub/../{name}:net") == parse(f"{name}:net")


def test_globs_spell_any_name():
    model = nn.ModuleDict({"a=b": nn.Linear(2, 2), "u[0]": nn.Linear(2, 2), "u0": nn.Linear(2, 2)})
    for glob in ("name:a=b.weight", "name:u[0].*"):
        initialize(model, f"constant(5.0); {glob}=constant(val=7.0)")
        named = {name for name, value in model.named_parameters() if (value == 7).all()}
        assert named == ({"a=b.weight"} if "=" in glob else {"u0.weight", "u0.bias", "u[0].weight", "u[0].bias"})


RETURNS = """
import collections, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.body, self.head, self.change = nn.Linear(64, 512), nn.Linear(512, 10), change

    def forward(self, x):
        h = self.body(x.flatten(1))
        return self.change(self, h, self.head(h))

Pair = collections.namedtuple("Pair", "logits aux")
def pair(): return Net(lambda net, h, z: (h, z))
def keyed(): return Net(lambda net, h, z: {"features": h, "out": z})
def aux(): return Net(lambda net, h, z: Pair(z, h) if net.training else z)
def features(): return Net(lambda net, h, z: h)
def single(): return Net(lambda net, h, z: z[:, :1])
def nothing(): return Net(lambda net, h, z: None)
def raising(): return Net(lambda net, h, z: z.undefined if net.training else z)
def detached(): return Net(lambda net, h, z: z.detach())
def double(): return Net(lambda net, h, z: z).double()
def mixed(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 10).double())
def softmax(): return Net(lambda net, h, z: z.softmax(1))
def sigmoid(): return Net(lambda net, h, z: z.sigmoid())
def tanh(): return Net(lambda net, h, z: z.tanh())
def log_softmax(): return Net(lambda net, h, z: z.log_softmax(1))
def relu(): return Net(lambda net, h, z: z.relu())
def unit(): return Net(lambda net, h, z: nn.functional.normalize(z))
def evaluated(): return Net(lambda net, h, z: z if net.training else z.softmax(1))
def logits(): return Net(lambda net, h, z: z)
"""


@pytest.fixture(scope="module")
def returns(tmp_path_factory):
    path = tmp_path_factory.mktemp("returns") / "nets.py"
    path.write_text(RETURNS)
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pair", "tuple, not a tensor of logits: it holds [0] (2, 512) and [1] (2, 10); return output[1] alone"),
        ("keyed", "return output['out'] alone"),
        ("aux", "in training mode gives Pair, not a tensor of logits"),
        ("features", "gives (2, 512), not (2, 10) logits"),
        ("single", "gives (2, 1), not (2, 10) logits, one per class"),
        ("nothing", "gives NoneType"),
        ("raising", "fails in training mode on digits: AttributeError"),
        ("detached", "has no backward pass"),
        ("double", "its parameters are float64 and its inputs float32"),
        ("mixed", "its parameters are float32 and float64 and its inputs float32: give all one precision"),
    ],
)
def test_what_cannot_be_trained_is_said_before_the_first_trial(returns, name, said):
    with pytest.raises(UsageError) as caught:
        try_step(f"{returns}:{name}", datasets.prepare("digits"), 32)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "floor"),
    [("softmax", 1.461), ("sigmoid", 1.461), ("tanh", 0.797), ("unit", 0.797), ("evaluated", 1.461),
     ("log_softmax", None), ("relu", None), ("logits", None)],
)  # fmt: skip
def test_outputs_that_cannot_be_logits_are_said_with_the_loss_they_cannot_go_below(returns, name, floor):
    notices = try_step(f"{returns}:{name}", datasets.prepare("digits"), 32).notices
    assert [f"cannot fall below {floor:.3f} nats" in notice for notice in notices] == [True] * (floor is not None)
    assert [": in evaluation mode its outputs" in notice for notice in notices] == [name == "evaluated"] * len(notices)


@pytest.mark.parametrize(
    ("flag", "text", "outcome"),
    [
        ("--seeds", "42,", [42]),
        ("--seeds", "0-4", [0, 1, 2, 3, 4]),
        ("--seeds", "3..5", [3, 4, 5]),
        ("--seeds", "seed=42", [42]),
        ("--lr", "1,5e-2", "write 1.5e-2 for one, 1.0,0.05 for two"),
        ("--lr", "0,05", "write 0.05"),
        ("--lr", "1,2", [1.0, 2.0]),
        ("--lr", "0.1, 5e-2", [0.1, 0.05]),
    ],
)
def test_numbers_as_people_write_them(flag, text, outcome):
    kind = int if flag == "--seeds" else float
    if isinstance(outcome, list):
        assert numbers(text, kind, flag) == outcome
    else:
        with pytest.raises(UsageError) as caught:
            numbers(text, kind, flag)
        assert f"{flag}: '{text}'" in str(caught.value)
        assert outcome in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        ("scheme", "xavier_uniform_", "xavier_uniform"),
        ("scheme", "Kaiming_Normal_", "kaiming_normal"),
        ("scheme", "nn.init.orthogonal_", "orthogonal"),
        ("scheme", "torch.nn.init.normal_(m.weight, 0, 0.02)", "normal(std=0.02)"),
        ("scheme", "init.kaiming_uniform_(w, a=0.1)", "kaiming_uniform(a=0.1)"),
        ("scheme", "linear=he; bias=Zeros_", "linear=kaiming_uniform; bias=zeros"),
        ("scheme", "glorot", "xavier_uniform"),
        ("scheme", "default", "torch_default"),
        ("dataset", "MNIST", "mnist"),
        ("optimizer", "torch.optim.Adam", "adam"),
    ],
)
def test_names_are_taken_as_they_are_pasted(kind, text, meant):
    assert canonical(kind, text) == canonical(kind, meant)


def test_names_between_commas_are_apart_and_one_scheme_of_several_names_is_trained_once(tmp_path):
    pasted = ["-s", "normal(mean=0, std=0.1),he", "-s", "kaiming", "--seeds", "0-8", "--out", str(tmp_path)]
    planned = CliRunner().invoke(app, ["compare", *pasted, "--json", "--dry-run"])
    assert json.loads(planned.stdout)["schemes"] == ["normal(std=0.1)", "kaiming_uniform"]
    assert "note: he and kaiming are one scheme, kaiming_uniform: it is trained once." in planned.stderr
    word = CliRunner().invoke(app, ["compare", "kaiming"])
    assert (word.exit_code, "No recipe 'kaiming': it is a scheme, write -s kaiming." in word.stderr) == (2, True)


def test_a_byte_order_mark_and_no_workers(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbflr = 0.1\n")
    assert read_toml(tmp_path / "r.toml") == {"lr": 0.1}
    for wrong in ({"jobs": 0}, {"trial_timeout": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            choose_backend(**wrong)


class TwoInputs(nn.Linear):
    def forward(self, x, weights):
        return super().forward(x) * weights[:, None]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(7, 4, padding_idx=2), nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        return self.out(self.embedding(tokens))


def test_a_batch_is_taken_as_a_data_loader_yields_it():
    x, y = torch.randn(16, 8), torch.arange(16) % 3
    model = nn.Linear(8, 3)
    assert inspect(model, [x, y]).layers.equals(inspect(model, x, y).layers)
    assert len(inspect(TwoInputs(8, 3), (x, torch.arange(16))).layers) == 1  # it takes two inputs
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(3))
    assert len(inspect(lazy, (x, y), schemes=torch.nn.init.eye_).layers) == 2 * 5
    assert isinstance(lazy[0].weight, nn.UninitializedParameter)  # left unchanged
    assert initialize(lazy, "constant(2.0)", batch=[x, y])[1].weight.shape == (3, 5)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, input_ids, token_types=None, attention_mask=None):
        return self.head((self.embed(input_ids) * attention_mask[..., None]).sum(1))


class Whole(Named):
    def forward(self, batch):
        return super().forward(**batch)


def test_a_batch_of_names_goes_where_its_names_say():
    tokens, mask, labels = torch.arange(96).view(16, 6) % 9, torch.ones(16, 6).tril(), torch.arange(16) % 3
    model, whole = Named(), Whole()
    whole.load_state_dict(model.state_dict())
    expected = inspect(model, (tokens, None, mask), labels).layers
    for given in ({"labels": labels}, {}):
        by_name = {"attention_mask": mask, "input_ids": tokens, **given}
        assert inspect(model, by_name, None if given else labels).layers.equals(expected)
        assert inspect(whole, by_name, None if given else labels).layers.equals(expected.assign(model="Whole"))
    for wrong in (tokens.numpy(), (tokens.numpy(), labels.numpy()), torch.utils.data.DataLoader(tokens), (16, 6)):
        with pytest.raises(UsageError, match=r"A batch is a tensor, or a tuple, .*next\(iter\(loader\)\)"):
            inspect(nn.Linear(6, 3), wrong)


def test_what_a_message_quotes_is_the_user_s_own():
    with pytest.raises(UsageError, match=r"missing 1 required positional argument: 'weights'\.$"):
        inspect(TwoInputs(8, 3), torch.randn(16, 8))


def test_functions_stand_for_the_schemes_and_models_that_they_are(tmp_path):
    expected = initialize(nn.Linear(4, 4), "xavier_uniform(gain=2.0)").weight
    assert torch.equal(initialize(nn.Linear(4, 4), partial(nn.init.xavier_uniform_, gain=2.0)).weight, expected)
    assert text_of_axes({"model": TwoInputs, "schemes": [nn.init.zeros_, "eye"]}) == {
        "model": f"{__file__}:TwoInputs", "schemes": ["zeros", "eye"]
    }  # fmt: skip
    for wrong in (lambda shape: None, nn.Linear(1, 1)):
        with pytest.raises(UsageError, match="model: "):
            compare("zeros", wrong, out=tmp_path)
        with pytest.raises(UsageError, match="is no scheme"):
            initialize(nn.Linear(1, 1), wrong)


def scaled_by_hook(layer):
    """Keep the weight under another name, and set it before each call, as equalized learning rates do."""
    layer.weight_orig = layer._parameters.pop("weight")
    layer.register_forward_pre_hook(lambda layer, _inputs: setattr(layer, "weight", 2 * layer.weight_orig))
    return layer


def test_a_weight_that_exists_in_calls_only_is_measured_and_kept():
    model, x = nn.Sequential(scaled_by_hook(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 3)), torch.randn(64, 8)
    kept = model[0].weight_orig.detach().clone()
    expected = nn.functional.linear(x, 2 * kept, model[0].bias).double().square().mean().item()
    with pytest.warns(InitbenchWarning, match="no scheme fills 73% of"):
        layers = inspect(model, x, schemes="zeros", seeds=1).layers
    assert layers["forward_moment"][0] == pytest.approx(expected)
    with pytest.warns(InitbenchWarning, match="no scheme fills"):
        assert torch.equal(initialize(model, "zeros")[0].weight_orig, kept)
    assert (model[2].weight == 0).all()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_cannot_be_copied_or_seen_is_done_or_said():
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    layers = inspect(lazy, torch.randn(16, 1, 6, 6), schemes="zeros", seeds=1).layers
    assert layers["fan_in"].dropna().tolist() == [9, 64]
    assert isinstance(lazy[1].running_mean, nn.UninitializedBuffer)
    hidden = torch.jit.trace(nn.Linear(8, 3), torch.randn(16, 8))
    for use in (lambda: inspect(hidden, torch.randn(16, 8)), lambda: initialize(hidden, "zeros")):
        with pytest.raises(UsageError, match="Linear is compiled by TorchScript, which hides its layers"):
            use()


def test_what_no_scheme_fills_is_refused_or_kept():
    with pytest.raises(UsageError, match="is complex"):
        initialize(nn.Linear(2, 2, dtype=torch.complex64), "kaiming_uniform")
    with pytest.raises(UsageError, match="float64 and its inputs float32"):
        inspect(nn.Linear(8, 3).double(), torch.ones(16, 8))
    weight = initialize(Tied(), "constant(3.0)").embedding.weight
    assert weight[:, 0].tolist() == [3, 3, 0, 3, 3, 3, 3]


def test_outputs_that_are_no_logits_are_no_pass_and_the_output_that_fits_is_taken(returns):
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    found = {}
    for name in ("pair", "softmax", "single", "logits"):
        inspection = run_inspection("x", plan_inspection(f"{returns}:{name}", ["orthogonal", "eye"], 1))
        found[name] = [(checks[-1].level, checks[-1].figure) for checks in inspection.checks.values()]
        assert not inspection.notices
        if name == "pair":
            assert set(inspection.networks["classes"]) == {10}  # and not the 512 features
    assert {level for level, _ in found["pair"] + found["logits"]} == {"PASS"}
    assert [level for level, _ in found["softmax"]] == ["WARN", "WARN"]
    assert "its outputs are probabilities" in found["softmax"][0][1]
    assert found["single"] == [("FAIL", "gives (256, 1), not (256, 10) logits, one per class")] * 2
    with pytest.warns(InitbenchWarning, match="probabilities.*: return logits, without the last softmax"):
        inspect(load(f"{returns}:softmax")(), images, labels)


@pytest.mark.parametrize("fading", [1.0, 1e-3, 0.0])
def test_a_signal_that_fades_before_the_last_layer_bounds_no_logits(fading):
    layers = [nn.Linear(16, 16, bias=False) for _ in range(6)]
    for layer in layers:
        initialize(layer, f"normal(std={fading / 4})")
    logits, images = nn.Sequential(*layers, nn.Linear(16, 3, bias=False)), torch.randn(32, 16)
    assert loss_floor(logits, (images,)) == ""
    if fading:
        assert "are probabilities" in loss_floor(nn.Sequential(logits, nn.Softmax(1)), (images,))
        assert "stay between -1 and 1" in loss_floor(nn.Sequential(logits, nn.Tanh()), (images,))


def test_seeds_that_a_model_ignores_are_no_seeds(tmp_path):
    seeds = "import torch\ndef build(shape, classes):\n    torch.manual_seed(23)\n    return own(shape, classes)\n"
    own = "def own(shape, classes): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))\n"
    (tmp_path / "m.py").write_text(seeds + own)
    notices = {name: run_inspection("x", plan_inspection(f"{tmp_path}/m.py:{name}", ["as_built", "zeros"], 2)).notices
               for name in ("build", "own")}  # fmt: skip
    assert "as built: all 2 seeds give the same weights" in notices["build"][0]
    assert notices["own"] == ()


def test_a_file_that_compares_as_it_is_imported_is_told_so(tmp_path):
    (tmp_path / "script.py").write_text("import initbench\ninitbench.compare('zeros', 'linear')\nbuild = None\n")
    with pytest.raises(UsageError, match="put it under"):
        load(f"{tmp_path / 'script.py'}:build")
