"""The user's own code: named, loaded, built with each seed; each mistake in it is a sentence with its line."""

import copy
import random
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from initbench.core.spec import is_reference
from initbench.core.usercode import load
from initbench.errors import ConfigurationError, InitbenchError, UsageError
from initbench.networks.models import build_model

SHAPE = (3, 8, 8)
BUILDERS = """
import functools
from torch import nn

def both(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
def one(shape): return nn.Linear(shape[2], 5)
def nothing(): return nn.Linear(2, 3)
def all_defaults(width=7, depth=2): return nn.Linear(width, depth)
def default_after(shape, classes=6): return nn.Linear(shape[2], classes)
def default_after_both(shape, classes, width=9): return nn.Linear(classes, width)
def keywords(**kwargs): return nn.Linear(2, len(kwargs) + 1)
def stars(*args, **kwargs): return nn.Linear(2, len(args) + 1)
def keyword_only(shape, *, classes=4): return nn.Linear(shape[2], classes)
def three(shape, classes, width): return nn.Linear(1, 1)
def must_name(*, shape): return nn.Linear(shape[1], 1)
def by_name(num_classes, in_channels): return nn.Linear(in_channels, num_classes)
def flat(in_features, hidden=4, out_features=9): return nn.Linear(in_features, out_features)
def over_defaults(num_classes=1000, in_chans=1, depth=2): return nn.Linear(in_chans, num_classes)
def side(img_size, n_classes): return nn.Linear(img_size, n_classes)

class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(shape[0], classes)

class Bare(nn.Linear):
    def __init__(self): super().__init__(2, 2)

class Maker:
    def __call__(self, shape): return nn.Linear(shape[0], 1)
    @staticmethod
    def static(): return nn.Linear(4, 4)

maker = Maker()
part = functools.partial(both, classes=8)
model = nn.Linear(2, 2)
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, name="mine.py", text=BUILDERS):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def made(reference, shape=SHAPE, seed=0):
    return build_model(str(reference), shape, 10, seed=seed)


def refusal(reference, kind=InitbenchError, shape=SHAPE):
    with pytest.raises(kind) as caught:
        made(reference, shape)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith((".", "?"))
    return said


# --- what is a reference ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a.py:b", "./a/b c.py:build", "~/x.py:f", "/x/y.z.py:f", "pkg:f", "pkg.mod:f", " a.py:b ", r"C:\x\a.py:f"]
)
def test_files_and_modules_with_a_name_are_references(text):
    assert is_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "mlp",
        "mlp(depth=2)",
        "a.py",
        "a.py:",
        ":f",
        "a.py:1f",
        "a.py:f()",
        "a b:f",
        "pkg:f.g",
        "a.py:b\nc",
        "",
    ],
)
def test_nothing_else_is(text):
    assert not is_reference(text)


# --- builders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("both", (192, 10)),
        ("one", (8, 5)),
        ("nothing", (2, 3)),
        ("all_defaults", (7, 2)),
        ("default_after", (8, 6)),
        ("default_after_both", (10, 9)),
        ("keywords", (2, 1)),
        ("stars", (2, 1)),
        ("keyword_only", (8, 4)),
        ("must_name", (8, 1)),
        ("by_name", (3, 10)),
        ("flat", (192, 9)),
        ("over_defaults", (3, 10)),
        ("side", (8, 10)),
        ("Net", (3, 10)),
        ("Bare", (2, 2)),
        ("maker", (3, 1)),
        ("part", (192, 8)),
    ],
)
def test_a_builder_is_given_what_it_has_no_default_for(here, name, size):
    write(here)
    model = made(f"mine.py:{name}")
    linear = next(module for module in model.modules() if isinstance(module, nn.Linear))
    assert (linear.in_features, linear.out_features) == size


def test_a_builder_is_found_by_path_or_by_module(here, monkeypatch):
    path = write(here, "deep/er/mine.py")
    write(here, "pkg_of_mine/__init__.py", "")
    write(here, "pkg_of_mine/models.py")
    assert isinstance(made(f"{path}:nothing"), nn.Linear)
    assert isinstance(made("deep/er/mine.py:nothing"), nn.Linear)
    monkeypatch.syspath_prepend(here)
    assert isinstance(made("pkg_of_mine.models:nothing"), nn.Linear)
    assert made("torch.nn:Identity").training


def test_without_an_image_shape_only_a_builder_that_needs_none_will_do(here):
    write(here)
    assert made("mine.py:nothing", shape=None).in_features == 2
    assert "must take" in refusal("mine.py:both", UsageError, shape=None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "three",
            "three(shape, classes, width) must take (shape, classes), (shape) or no arguments, or parameters whose",
        ),
        ("model", "is a model, not a function that builds one"),
        ("number", "is int, not a function"),
        ("nn", "is module, not a function"),
        ("bothh", "did you mean 'both'?"),
        ("_private", "has no '_private'"),
    ],
)
def test_what_is_no_builder_is_refused(here, name, said):
    write(here)
    assert said in refusal(f"mine.py:{name}", UsageError)


@pytest.mark.parametrize(
    ("value", "kind"), [("None", "NoneType"), ("[nn.Linear(1, 1)]", "list"), ("nn.Linear", "type")]
)
def test_a_builder_must_return_a_module(here, value, kind):
    write(here, text=f"from torch import nn\ndef build(): return {value}\n")
    assert refusal("mine.py:build", UsageError) == f"mine.py:build returned {kind}, not a torch.nn.Module."


def test_builtins_without_a_signature_are_a_sentence(here):
    write(here, text="build = type\n")
    refusal("mine.py:build")


# --- what the user's code does wrong ---------------------------------------------------------------------------------


def test_what_does_not_exist_is_said(here):
    assert refusal("no.py:build", UsageError) == "No file no.py."
    (here / "folder.py").mkdir()
    assert refusal("folder.py:build", UsageError) == "No file folder.py."
    assert "No module named 'nowhere_at_all'" in refusal("nowhere_at_all.x:build", UsageError)
    assert "No module named 'torch.nowhere'" in refusal("torch.nowhere:build", UsageError)
    with pytest.raises(UsageError, match="not of the form"):
        load("mlp")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build(:\n", ("SyntaxError", "mine.py, line 1")),
        ("x = 1\n  y = 2\n", ("IndentationError", "mine.py, line 2")),
        ("x = 1\nundefined_name\n", ("NameError", "'undefined_name'", "mine.py, line 2: undefined_name")),
        ("import nowhere_at_all\n", ("No module named 'nowhere_at_all'", "mine.py, line 1")),
        ("import mine_\n", ("No module named 'mine_'", "mine.py, line 1")),
        ("from torch import nowhere\n", ("ImportError", "mine.py, line 1")),
        ("import sys\nsys.exit('bye')\n", ("SystemExit: bye", "mine.py, line 2")),
        ("import sys\nsys.exit()\n", ("SystemExit (", "mine.py, line 2")),
        ("raise ValueError('a\\nb')\n", ("ValueError: a (", "mine.py, line 1")),
        ("import json\njson.loads('x')\n", ("JSONDecodeError", "mine.py, line 2: json.loads")),
        ("def f(): f()\nf()\n", ("RecursionError", "mine.py, line 1")),
        ("\0", ("null bytes",)),
    ],
)  # fmt: skip
def test_a_file_that_does_not_import_is_a_sentence_with_its_line(here, text, said):
    write(here, text=text)
    refused = refusal("mine.py:build", ConfigurationError)
    assert refused.startswith("mine.py does not import: ")
    for part in said:
        assert part in refused


def test_a_file_that_is_no_text_is_a_sentence(here):
    (here / "mine.py").write_bytes(b"\xff\xfe\x00x")
    assert "does not import" in refusal("mine.py:build", ConfigurationError)


def test_a_missing_package_is_not_taken_for_the_file_itself(here):
    write(here, "foo.py", "import fo\n")
    assert "does not import" in refusal("foo.py:build", ConfigurationError)


def test_an_error_in_a_module_beside_the_file_has_that_ones_line(here):
    write(here, "helper_of_mine.py", "def make():\n    return 1 / 0\n")
    write(here, text="import helper_of_mine\ndef build(): return helper_of_mine.make()\n")
    assert f"({here / 'helper_of_mine.py'}, line 2: return 1 / 0)." in refusal("mine.py:build", ConfigurationError)
    sys.modules.pop("helper_of_mine")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return nn.Linear('a', 2)", "TypeError"),
        ("return nn.Linear(-1, 2)", "RuntimeError"),
        ("import sys; sys.exit(2)", "SystemExit: 2"),
        ("raise KeyError", "KeyError ("),
        ("return build()", "RecursionError"),
    ],
)
def test_a_builder_that_raises_is_a_sentence_with_its_line(here, body, said):
    write(here, text=f"from torch import nn\n\ndef build():\n    {body}\n")
    refused = refusal("mine.py:build", ConfigurationError)
    assert refused.startswith("mine.py:build raised ")
    assert said in refused
    assert f"{here / 'mine.py'}, line 4: {body.partition(';')[0].strip()}" in refused


def test_ctrl_c_in_the_users_code_is_no_mistake_of_his(here):
    write(here, text="def build(): raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        made("mine.py:build")


@pytest.mark.parametrize(
    "name", ["[bold]x[/].py", "a\x1b[31m.py", "my model-v2.1.py", "ü.py", "__init__.py", "torch.py"]
)
def test_a_file_of_any_name_loads(here, name):
    write(here, name)
    real = sys.modules["torch"]
    assert isinstance(made(f"{name}:nothing"), nn.Linear)
    assert sys.modules["torch"] is real


# --- what is left as it was ------------------------------------------------------------------------------------------


def test_a_file_may_import_what_lies_beside_it_when_loaded_and_when_built(here):
    write(here, "sub/beside_of_mine.py", "from torch import nn\n")
    write(here, "sub/later_of_mine.py", "from torch import nn\n")
    write(
        here, "sub/mine.py",
        "import beside_of_mine\ndef build():\n    import later_of_mine\n    return later_of_mine.nn.Linear(2, 2)\n",
    )  # fmt: skip
    before = list(sys.path)
    assert made("sub/mine.py:build").in_features == 2
    assert sys.path == before
    for name in ("beside_of_mine", "later_of_mine"):
        assert sys.modules.pop(name)


def test_the_path_loses_nothing_but_our_entry_whatever_the_file_does(here):
    write(here, text="import sys\nsys.path.insert(0, 'of-the-user')\ndef build(): pass\n")
    before = list(sys.path)
    try:
        load("mine.py:build")
        assert sys.path == ["of-the-user", *before]
    finally:
        sys.path[:] = before
    write(here, "cleaner.py", "import sys\nsys.path.pop(0)\ndef build(): pass\n")
    load("cleaner.py:build")
    assert sys.path == before


def test_a_file_that_fails_leaves_no_trace(here):
    write(here, text="1 / 0\n")
    path, modules = list(sys.path), set(sys.modules)
    refusal("mine.py:build")
    assert sys.path == path
    assert set(sys.modules) - modules == set()


def test_classes_of_a_file_can_be_copied_and_are_dataclasses(here):
    write(
        here,
        text="""
        from __future__ import annotations
        from dataclasses import dataclass
        from torch import nn

        @dataclass
        class Config:
            width: int = 3

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.config, self.head = Config(), nn.Linear(Config().width, 2)
        """,
    )
    assert copy.deepcopy(made("mine.py:Net")).config.width == 3


def test_each_call_reads_the_file_anew(here):
    write(here, text="from torch import nn\ndef build(): return nn.Linear(2, 2)\n")
    assert made("mine.py:build").out_features == 2
    write(here, text="from torch import nn\n\ndef build(): return nn.Linear(2, 333)\n")
    assert made("mine.py:build").out_features == 333


def test_the_same_seed_gives_the_same_weights_and_random_state_stays(here):
    write(here, text="import torch\ntorch.manual_seed(1)\ntorch.rand(3)\n" + BUILDERS)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state
    first, again, other = (made("mine.py:nothing", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert first is not again
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002 - likewise
    assert torch.equal(made("mine.py:nothing").weight, first.weight)


def test_a_builder_that_raises_leaves_the_random_state(here):
    write(here, text="import torch\ndef build():\n    torch.rand(5)\n    raise ValueError\n")
    state = torch.get_rng_state()
    refusal("mine.py:build")
    assert torch.equal(torch.get_rng_state(), state)
