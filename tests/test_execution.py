"""Execution decides what a model is: order, names inside wrappers, what is filled and what is not, copies."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from initbench import initialize, inspect
from initbench.core.randomness import isolated
from initbench.datasets import prepare
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.running.revised import revised_by_execution
from initbench.schemes import Sample, fill_scheme, parse_scheme, planned

IMAGES = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3))

HEAD_FIRST = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.aux, self.stem = nn.Linear(16, 10), nn.Linear(16, 3), nn.Linear(64, 16)
    def forward(self, x):
        h = torch.tanh(self.stem(x.flatten(1)))
        return nn.functional.linear(h, self.head.weight, self.head.bias)  # the module itself is not called
def net(shape, classes): return Net()
def wrapped(shape, classes): return nn.DataParallel(Net())
"""


def built(seed=0):
    space = {}
    with isolated(seed):
        exec(HEAD_FIRST, space)  # noqa: S102 - the test's own text
        return space["net"](None, 10)


class Sharded(nn.Module):
    """A wrapper as sharding makes one."""

    def __init__(self, model):
        super().__init__()
        self._fsdp_wrapped_module = model

    def forward(self, x):
        return self._fsdp_wrapped_module(x)


WRAPPERS = {
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda model: nn.DataParallel(Sharded(model)),
}


def test_parts_follow_execution_and_no_wrapper_changes_a_draw():
    found = {}
    for wrapper, wrap in {"none": lambda model: model, **WRAPPERS}.items():
        model = wrap(built())
        scheme = "kaiming_normal; head=zeros; first=constant(0.5); name:aux.*=constant(2)"
        initialize(model, scheme, seed=1, batch=IMAGES)
        plain = (key.removeprefix("module.").removeprefix("_fsdp_wrapped_module.") for key in model.state_dict())
        found[wrapper] = dict(zip(plain, model.state_dict().values(), strict=True))
    plain = found.pop("none")
    assert not plain["head.weight"].any()
    assert (plain["stem.weight"] == 0.5).all()
    assert (plain["aux.weight"] == 2).all(), "what does not run is filled too"
    for name, weights in found.items():
        assert all(torch.equal(weights[key], value) for key, value in plain.items()), name


@pytest.mark.long
def test_a_module_compiled_inside_keeps_its_names_and_is_inspected_as_written(recwarn):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    inside = nn.Sequential(nn.Flatten(), torch.compile(nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, 10))
    frames = [
        inspect(model, IMAGES, schemes="kaiming_normal", seeds=2).layers
        for model in (plain, inside, torch.compile(plain))
    ]
    for frame in frames[1:]:
        assert list(frame["layer"]) == ["1", "3"] * 2
        assert frame["forward_moment"].equals(frames[0]["forward_moment"])
    assert not [w for w in recwarn if "ynamo" in str(w.message)]


def test_plan_and_training_take_the_order_of_execution_and_only_changed_trials_change(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(HEAD_FIRST)
    digits = prepare("digits")
    changed = {
        s: revised_by_execution(f"{file}:net", s, digits) for s in ("kaiming_normal", "xavier_normal; head=zeros")
    }
    assert changed == {"kaiming_normal": False, "xavier_normal; head=zeros": True}
    assert revised_by_execution(f"{file}:wrapped", "kaiming_normal", digits)
    assert not revised_by_execution("mlp", "xavier_normal; head=zeros", digits)


@pytest.mark.parametrize("text", list(MODELS))
def test_built_in_models_register_their_layers_as_they_run(text):
    model = build_model(text, (1, 8, 8), 10)
    registered, ran = (weighted_layers(model, batch) for batch in (None, (IMAGES,)))
    assert [(x.weight, x.first, x.head) for x in registered] == [(x.weight, x.first, x.head) for x in ran]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.norm, self.head = nn.LSTM(8, 32, batch_first=True), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.norm(self.rnn(x[:, 0])[0][:, -1]))


def test_what_no_scheme_fills_is_named_with_its_share():
    model = Recurrent()
    with pytest.warns(
        InitbenchWarning, match=r"no scheme fills 94% .*\(recurrent rnn.weight_ih_l0.*normalization norm"
    ):
        initialize(model, "kaiming_normal")
    with pytest.raises(UsageError, match=r"exist but that no scheme fills: rnn.weight_ih_l0 \(recurrent\)"):
        initialize(model, "kaiming_normal; name:rnn.*=zeros")
    with pytest.raises(UsageError, match="matches no parameter"):
        initialize(model, "kaiming_normal; name:rmm.*=zeros")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initialize(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.PReLU()), "kaiming_normal")


def test_what_the_model_leaves_without_a_value_is_said():
    model = nn.Sequential(nn.Linear(4, 4), nn.Module())
    model[1].weight = nn.Parameter(torch.full((4, 4), torch.nan))
    with pytest.warns(InitbenchWarning, match=r"1.weight is not finite, as memory that nothing was written to"):
        initialize(model, "kaiming_normal")


def test_where_all_weights_are_computed_it_is_said_and_they_are_inspected_as_built():
    model = nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 10)))
    with pytest.raises(UsageError, match=r"only parameters that no scheme fills: parametrized 1.bias"):
        initialize(model, "kaiming_normal")
    assert list(inspect(model, IMAGES).layers["layer"]) == ["1"]


def test_a_model_that_deepcopy_refuses_is_measured_and_given_back():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        normed = nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(64, 16)), nn.BatchNorm1d(16), nn.Linear(16, 10))
    locked = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    locked[1].lock = threading.Lock()
    closed = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    closed[1].register_forward_hook(
        lambda *_: closed[1].weight.sum() and None
    )  # a copy of it would still refer to this one
    for model in (normed, locked, closed):
        model.eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InitbenchWarning)
            frame = inspect(model, IMAGES, schemes=["kaiming_normal", "orthogonal"], seeds=2).layers
        assert len(frame) == 4 * 3
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert not model.training
        assert all(p.grad is None for p in model.parameters())
    parsed = parse_scheme("lsuv")
    with pytest.raises(UsageError, match=r"module '1' \(Linear\) cannot: TypeError: cannot pickle '_thread.lock'"):
        fill_scheme(locked, parsed, planned(locked, parsed, weighted_layers(locked)), 0, Sample((IMAGES,)))
