"""Bad input: each mistake is one sentence with value, place and remedy, and nothing half-written is left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from typer.testing import CliRunner

from initbench import training
from initbench.cli import app
from initbench.records import store

SMALL = ("-m", "linear", "--steps", "6", "--seeds", "1", "--jobs", "1")
KAIMING = ("-s", "kaiming", *SMALL)
NPZ = (*KAIMING, "--batch-size", "8")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, cache):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("INITBENCH_DATA", raising=False)
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))  # drawing is not looked at here


def initbench_(*arguments, code=0):
    """Run a command line in this process and hold it to its exit code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def files(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def everything(folder):
    return sorted(Path(folder).rglob("*"))


def trial_files(out):
    return sorted(Path(out).glob("trials/*/*.json"))


def an_npz(path, seed=0, **changes):
    rng = np.random.default_rng(seed)
    arrays = {
        "x_train": rng.integers(0, 256, (60, 4, 4), dtype=np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": rng.integers(0, 256, (12, 4, 4), dtype=np.uint8),
        "y_test": np.arange(12) % 3,
    } | changes
    Path(path).parent.mkdir(exist_ok=True)
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return Path(path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


RECIPES = {
    "typo.toml": 'schemes = ["kaimingg"]\n',
    "keys.toml": 'scheme = "kaiming"\nmodle = "linear"\n',
    "types.toml": 'model = 3\nlr = "0.05"\nbatch_size = 64.5\nquestion = 7\nseeds = true\n',
    "empty.toml": "schemes = []\nlr = []\nseeds = []\n",
    "ranges.toml": "lr = [0.1, -1]\ntarget = 1.5\nbatch_size = 0\nseeds = [0, -4]\nepochs = 0\n",
    "both.toml": "epochs = 1\nsteps = 10\n",
    "broken.toml": "schemes = [kaiming]\n",
    "table.toml": "[schemes]\na = 1\n",
    "nan.toml": "lr = nan\n",
    "gpu.toml": 'device = "gpu"\n',
    "cuda.toml": 'device = "cuda"\nschemes = "kaiming"\n',
    "name.toml": 'name = "../up"\n',
    "nine.toml": (
        'schemes = ["kaimingg"]\nmodel = "mpl"\ndataset = "digitz"\noptimizer = "sdg"\nbaseline = "xavierr"\n'
        'lr = 0\ntarget = 2\nsedes = 3\ndevice = "tpu"\n'
    ),
    "typo.txt": 'modle = "linear"\n',
}


def lay_out(here):
    """Write the bad files that the command lines below name."""
    for name, text in RECIPES.items():
        (here / name).write_text(text, encoding="utf-8")
    (here / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (here / "folder.toml").mkdir()
    whole = an_npz(here / "whole.npz").read_bytes()
    (here / "half.npz").write_bytes(whole[: len(whole) // 2])
    (here / "nothing.npz").write_bytes(b"")
    (here / "text.npz").write_text("not a zip file")
    flipped = bytearray(whole)
    flipped[200] ^= 0x10  # in the first array's pixels
    (here / "flipped.npz").write_bytes(flipped)
    an_npz(here / "keyless.npz", y_test=None)
    an_npz(here / "objects.npz", y_test=np.array([Bomb()] * 12, object))
    an_npz(here / "words.npz", x_train=np.full((60, 4, 4), "a"))
    an_npz(here / "shapes.npz", x_test=np.zeros((12, 5, 5), np.uint8))
    an_npz(here / "axes.npz", x_train=np.zeros((60, 2, 4, 4, 4), np.uint8))
    an_npz(here / "lengths.npz", y_train=np.arange(59) % 3)
    an_npz(here / "flat.npz", x_train=np.random.default_rng(0).random((60, 7)), x_test=np.zeros((12, 7)))
    (here / "file").write_text("a file")
    (here / "not-a-dataset.txt").write_text("x")
    (here / "images").mkdir()
    raw = here / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\0\0\x08\x03")
    (here / "foreign").mkdir()
    (here / "foreign" / "thesis.tex").write_text("years of work")
    for name, text in (("damaged", '{"schema": 1}'), ("cut", '{"schema": 1, "na')):
        (here / "stored" / name).mkdir(parents=True)
        (here / "stored" / name / "recipe.json").write_text(text)


LONG = "n" * 65

# The command line, its exit code, and what each line of the message must hold.
MISTAKES = [
    # unknown names, with the nearest one
    (("compare", "-s", "kaimingg", *SMALL), 2, [("--scheme", "'kaimingg'", "did you mean 'kaiming'")]),
    (("run", "-s", "xavier_unifrom", *SMALL), 2, [("--scheme", "'xavier_unifrom'", "did you mean 'xavier_uniform'")]),
    (("compare", "-m", "mpl"), 2, [("--model", "'mpl'", "did you mean 'mlp'")]),
    (("compare", "-d", "fashion-mnist"), 2, [("--dataset", "'fashion-mnist'", "did you mean 'fashion_mnist'")]),
    (("compare", "-o", "addam"), 2, [("--optimizer", "'addam'", "did you mean 'adam")]),
    (("compare", "--baseline", "orthogonl"), 2, [("--baseline", "'orthogonl'", "did you mean 'orthogonal'")]),
    (("compare", "-s", "qqqqqq", *SMALL), 2, [("--scheme", "'qqqqqq'", "initbench list schemes")]),
    (("compare", "-m", "mlp(dept=3)"), 2, [("--model", "'dept'", "did you mean 'depth'")]),
    (("compare", "-s", "cnv=kaiming", *SMALL), 2, [("--scheme", "'cnv'", "did you mean 'conv'")]),
    (("data", "fetch", "mnits"), 2, [("'mnits'", "did you mean 'mnist'")]),
    (("compar",), 2, [("'compar'", "compare")]),
    (("compare", "--schme", "x"), 2, [("--schme", "--scheme")]),
    (("list", "model"), 2, [("'model'", "models")]),
    # parameters of the wrong type or range, and texts that are none
    (("compare", "-m", "mlp(depth='a')"), 2, [("--model", "depth='a'", "whole number")]),
    (("compare", "-m", "mlp(depth=0)"), 2, [("--model", "depth=0", "greater than or equal to 1")]),
    (("compare", "-m", "mlp(depth=2.5)"), 2, [("--model", "depth=2.5", "whole number")]),
    (("compare", "-m", "mlp(1, 2, 'relu', 4)"), 2, [("--model", "4 values", "takes 3")]),
    (("compare", "-s", "kaiming(mode='fan_outt')", *SMALL), 2, [("--scheme", "'fan_outt'", "'fan_out'")]),
    (("compare", "-s", "kaiming(mode=fan_out)", *SMALL), 2, [("--scheme", "fan_out", "quoted", "'fan_out'")]),
    (("compare", "-s", "constant", *SMALL), 2, [("--scheme", "constant", "val")]),
    (("compare", "-s", "normal(std=-1)", *SMALL), 2, [("--scheme", "std=-1")]),
    (("compare", "-s", "kaiming(", *SMALL), 2, [("--scheme", "'kaiming('", "brackets")]),
    (("compare", "-s", "__import__('os').abort()", *SMALL), 2, [("--scheme", "__import__", "name(key=value)")]),
    (("compare", "-s", "constant(__import__('os'))", *SMALL), 2, [("--scheme", "__import__", "literal")]),
    (("compare", "-s", "kaiming;", *SMALL), 2, [("--scheme", "'kaiming;'", "';'")]),
    (("compare", "-m", "resnet(depth=9)"), 2, [("--model", "depth=9", "8")]),
    (("compare", *KAIMING, "-o", "sgd(momentum=1.5)"), 2, [("--optimizer", "momentum=1.5", "less than 1")]),
    (("compare", *KAIMING, "-o", "sgd(nesterov=True)"), 2, [("--optimizer", "nesterov=True", "momentum=")]),
    # numbers
    (("compare", *KAIMING, "--lr", "fast"), 2, [("--lr", "'fast'", "number")]),
    (("compare", *KAIMING, "--lr", "0.1,,0.2"), 2, [("--lr", "''", "number")]),
    (("compare", *KAIMING, "--lr", "0"), 2, [("--lr", "greater than 0", "0")]),
    (("compare", *KAIMING, "--lr", "0.1,-0.1"), 2, [("--lr", "greater than 0", "-0.1")]),
    (("compare", *KAIMING, "--lr", "nan"), 2, [("--lr", "finite", "nan")]),
    (("compare", *KAIMING, "--lr", "inf"), 2, [("--lr", "finite", "inf")]),
    (("compare", *KAIMING, "--seeds", "0"), 2, [("--seeds", "0")]),
    (("compare", *KAIMING, "--seeds", "-3"), 2, [("--seeds", "-3")]),
    (("compare", *KAIMING, "--seeds", "1,-3"), 2, [("--seeds", "-3")]),
    (("compare", *KAIMING, "--seeds", "1,x"), 2, [("--seeds", "'x'", "whole number")]),
    (("compare", *KAIMING, "--seeds", "1.5"), 2, [("--seeds", "'1.5'", "whole number")]),
    (("compare", *KAIMING, "--steps", "0"), 2, [("--steps", "greater than 0", "0")]),
    (("compare", *KAIMING, "--steps", "many"), 2, [("--steps", "integer")]),
    (("compare", "--epochs", "-1"), 2, [("--epochs", "greater than 0", "-1")]),
    (("compare", "--epochs", "nan"), 2, [("--epochs", "finite")]),
    (("compare", "--epochs", "1", "--steps", "3"), 2, [("--steps", "epochs", "not both")]),
    (("compare", *KAIMING, "--batch-size", "0"), 2, [("--batch-size", "greater than 0")]),
    (("compare", *KAIMING, "--batch-size", "5000"), 2, [("--batch-size", "5000", "1294", "smaller")]),
    (("compare", *KAIMING, "--target", "0"), 2, [("--target", "greater than 0")]),
    (("compare", *KAIMING, "--target", "1"), 2, [("--target", "less than 1")]),
    (("compare", *KAIMING, "--target", "95"), 2, [("--target", "less than 1", "95")]),
    (("compare", *KAIMING, "--target", "nan"), 2, [("--target", "finite")]),
    (("compare", *KAIMING, "--jobs", "0"), 2, [("--jobs", "1")]),
    pytest.param(("compare", "-s", "kaiming", "--epochs", "1e308"), 2, [("--epochs", "1e+308")]),
    # what does not fit
    (("compare", *NPZ, "-m", "cnn", "-d", "flat.npz"), 2, [("--model", "'cnn'", "1×7", "mlp")]),
    (
        ("compare", *NPZ, "-m", "lenet", "-m", "deep_cnn", "-d", "flat.npz"),
        2,
        [("--model", "'lenet'"), ("--model", "'deep_cnn'")],
    ),
    (("compare", "-s", "dirac", *SMALL), 2, [("--scheme", "'dirac'", "Conv only")]),
    (("compare", "-s", "conv=orthogonal; linear=dirac", *SMALL), 2, [("--scheme", "linear=dirac", "'head'")]),
    (("compare", "-s", "name:nope*=zeros", *SMALL), 2, [("--scheme", "'name:nope*'", "head.weight")]),
    (("run",), 2, [("--scheme",)]),
    # devices
    (("compare", *KAIMING, "--device", "gpu"), 2, [("--device", "'gpu'", "'cuda'")]),
    pytest.param(
        ("compare", *KAIMING, "--device", "cuda"),
        4,
        [("--device", "'cuda'", "cpu")],
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
    ),
    (("compare", *KAIMING, "--precision", "float16"), 2, [("--precision", "'float16'", "'bfloat16'")]),
    (("compare", *KAIMING, "--precision", "tf32", "--device", "cpu"), 4, [("--precision", "no TF32", "bfloat16")]),
    (("compare", "gpu.toml"), 4, [("gpu.toml: device", "'gpu'", "'cuda'")]),
    pytest.param(
        ("compare", "cuda.toml"),
        4,
        [("cuda.toml", "cuda")],
        marks=[
            pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ],
    ),
    # names of runs
    *(
        (("compare", *KAIMING, "--name", name), 2, [("--name", repr(name))])
        for name in ("../x", ".hidden", "trials", "a/b", LONG, "", "..", "a\\b", "-x")
    ),
    (("compare", "name.toml"), 4, [("name.toml: name", "'../up'")]),
    (("new", "experiment", "../x"), 2, [("'../x'", "letters")]),
    # recipes
    (("compare", "typo.toml"), 4, [("typo.toml: schemes", "'kaimingg'", "did you mean 'kaiming'")]),
    (
        ("compare", "keys.toml"),
        4,
        [("keys.toml", "'scheme'", "did you mean 'schemes'"), ("keys.toml", "'modle'", "did you mean 'model'")],
    ),
    (
        ("compare", "types.toml"),
        4,
        [
            ("types.toml: question", "string", "7"),
            ("types.toml: model", "string", "3"),
            ("types.toml: lr", "number", "'0.05'"),
            ("types.toml: batch_size", "whole number", "64.5"),
            ("types.toml: seeds", "True"),
        ],
    ),
    (
        ("compare", "empty.toml"),
        4,
        [
            ("empty.toml: schemes", "at least one"),
            ("empty.toml: lr", "at least one"),
            ("empty.toml: seeds", "at least one"),
        ],
    ),
    (
        ("compare", "ranges.toml"),
        4,
        [
            ("ranges.toml: lr[1]", "-1"),
            ("ranges.toml: batch_size", "0"),
            ("ranges.toml: epochs", "0"),
            ("ranges.toml: seeds[1]", "-4"),
            ("ranges.toml: target", "1.5"),
        ],
    ),
    (("compare", "both.toml"), 4, [("both.toml", "epochs", "steps", "not both")]),
    (("compare", "broken.toml"), 4, [("broken.toml", "TOML", "line 1")]),
    (("compare", "binary.toml"), 4, [("binary.toml", "TOML")]),
    (("compare", "folder.toml"), 4, [("folder.toml", "directory")]),
    (("compare", "table.toml"), 4, [("table.toml: schemes", "{'a': 1}")]),
    (("compare", "nan.toml"), 4, [("nan.toml: lr", "finite", "nan")]),
    (("compare", "tpyo.toml"), 4, [("tpyo.toml", "did you mean 'typo.toml'")]),
    (("compare", "nowhere/r.toml"), 4, [("nowhere/r.toml", "initbench new experiment")]),
    (
        ("compare", "nine.toml"),
        4,
        [
            ("nine.toml: schemes", "'kaimingg'", "'kaiming'"),
            ("nine.toml: model", "'mpl'", "'mlp'"),
            ("nine.toml: dataset", "'digitz'", "'digits'"),
            ("nine.toml: optimizer", "'sdg'", "'sgd'"),
            ("nine.toml: baseline", "'xavierr'", "'xavier'"),
            ("nine.toml: lr", "greater than 0"),
            ("nine.toml: target", "less than 1"),
            ("nine.toml: sedes", "'seeds'"),
            ("nine.toml: device", "'tpu'"),
        ],
    ),
    (
        ("compare", "typo.toml", "-m", "mpl"),
        4,
        [("typo.toml: schemes", "'kaimingg'"), ("--model", "'mpl'")],
    ),
    (("compare", "typo.toml", "-s", "xavierr"), 2, [("--scheme", "'xavierr'")]),
    (("compare", "typo.txt"), None, [("typo.txt: modle", "'model'")]),
    # several flags at once
    (
        ("compare", "-s", "kaimingg", "-s", "xavierr", "-m", "mpl", "-o", "sdg", "--lr", "0", "--target", "2"),
        2,
        [
            ("--scheme", "'kaimingg'"),
            ("--scheme", "'xavierr'"),
            ("--model", "'mpl'"),
            ("--optimizer", "'sdg'"),
            ("--lr", "0"),
            ("--target", "2"),
        ],
    ),
    pytest.param(
        ("compare", "-s", "kaimingg", "--lr", "fast", "--seeds", "x"),
        2,
        [("--scheme", "'kaimingg'"), ("--lr", "'fast'"), ("--seeds", "'x'")],
    ),
    # data
    (("compare", *NPZ, "-d", "./none.npz"), 4, [("none.npz", "does not exist", "x_train")]),
    (("compare", *NPZ, "-d", "./not-a-dataset.txt"), 4, [("not-a-dataset.txt", "neither", ".npz")]),
    (("compare", *NPZ, "-d", "half.npz"), 4, [("half.npz", "readable", "numpy.savez")]),
    (("compare", *NPZ, "-d", "nothing.npz"), 4, [("nothing.npz", "readable", "numpy.savez")]),
    (("compare", *NPZ, "-d", "text.npz"), 4, [("text.npz", "readable", "numpy.savez")]),
    (("compare", *NPZ, "-d", "flipped.npz"), 4, [("flipped.npz", "readable", "numpy.savez")]),
    (("compare", *NPZ, "-d", "keyless.npz"), 4, [("keyless.npz", "y_test", "found: x_test, x_train, y_train")]),
    (("compare", *NPZ, "-d", "objects.npz"), 4, [("objects.npz", "y_test", "never unpickled", "numbers")]),
    (("compare", *NPZ, "-d", "words.npz"), 4, [("words.npz", "x_train", "integers")]),
    (("compare", *NPZ, "-d", "shapes.npz"), 4, [("shapes.npz", "1×4×4", "1×5×5", "the same")]),
    (("compare", *NPZ, "-d", "axes.npz"), 4, [("axes.npz", "x_train", "(60, 2, 4, 4, 4)")]),
    (("compare", *NPZ, "-d", "lengths.npz"), 4, [("lengths.npz", "59", "60")]),
    (("compare", *NPZ, "-d", "images"), 4, [("images", "train/<class>/")]),
    (("compare", *KAIMING, "-d", "mnist", "--data-dir", "none"), 4, [("none", "--data-dir", "fetch mnist")]),
    (("compare", *KAIMING, "-d", "mnist", "--data-dir", "data"), 4, [("data", "train-images-idx3-ubyte", "mnist")]),
    (("compare", *KAIMING, "-d", "digits", "-d", "digitz"), 2, [("--dataset", "'digitz'", "'digits'")]),
    pytest.param(("compare", *KAIMING, "-d", "whole.npz"), 2, [("--batch-size", "64", "54")]),
    (("compare", *KAIMING, "-d", "whole.npz"), 2, [("64", "54", "whole", "smaller")]),
    # folders
    (("compare", *KAIMING, "--out", "file"), 4, [("file", "Not a directory", "--out")]),
    (("compare", *KAIMING, "--out", "file/below"), 4, [("file/below", "Not a directory", "--out")]),
    (("compare", *KAIMING, "--out", "/proc/none"), 4, [("/proc/none", "Cannot write", "--out")]),
    (("compare", *KAIMING, "--out", ".", "--name", "file"), 4, [("file", "--out")]),
    (("compare", *KAIMING, "--out", ".", "--name", "foreign"), 4, [("foreign", "did not write", "--name")]),
    (("report", "none"), 4, [("none", "No comparison", "recipe.json")]),
    (("report", "foreign"), 4, [("foreign", "No comparison", "recipe.json")]),
    (("report", "file"), 4, [("file", "recipe.json")]),
    (("report", "--out", "none"), 4, [("none", "No comparison", "initbench compare")]),
    (("report", "stored/damaged"), 4, [("stored/damaged/recipe.json", "damaged", "run the comparison again")]),
    (("report", "stored/cut"), 4, [("stored/cut/recipe.json", "damaged", "run the comparison again")]),
    (("new", "experiment", "x", "--folder", "file/below"), 4, [("file/below/x.toml", "Not a directory")]),
    pytest.param(("new", "experiment", "x", "--folder", "file"), 4, [("file", "directory")]),
]


def shown(value):
    """Name a case by its command line."""
    return " ".join(value)[:60] if isinstance(value, tuple) else ""


@pytest.mark.parametrize(("arguments", "code", "lines"), MISTAKES, ids=shown)
def test_a_mistake_is_named_with_its_value_and_place_and_leaves_nothing_behind(
    tmp_path, monkeypatch, cache, arguments, code, lines
):
    lay_out(tmp_path)
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("a trial was trained"))
    before, paths = files(tmp_path), everything(tmp_path)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == (code or result.exit_code)
    assert result.exit_code in {2, 4}
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.lower().startswith("error: ")]
    other = [line for line in result.stderr.splitlines() if not line.lower().startswith("error: ") and line]
    assert all(line.startswith(("Usage: ", " ", "Try ")) for line in other)
    assert len(said) == len(lines), result.stderr
    for fragments in lines:
        assert any(all(fragment in line for fragment in fragments) for line in said), (fragments, result.stderr)
    assert files(tmp_path) == before
    assert everything(tmp_path) == paths
    assert not list(cache.glob(".*"))


# --- what a sentence should not say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "jargon"),
    [
        (("--seeds", "0"), "tuple"),
        (("--lr", "0"), "--lr[0]"),
        (("--name", "a b"), "^[A-Z"),
    ],
)
def test_a_message_speaks_the_user_s_language(arguments, jargon):
    assert jargon not in initbench_("compare", *KAIMING, *arguments, code=2).stderr


def test_a_damaged_recipe_json_is_not_said_to_be_damaged_nowhere(tmp_path):
    lay_out(tmp_path)
    assert "()" not in initbench_("report", "stored/cut", code=4).stderr


def test_a_recipe_of_any_ending_is_a_configuration(tmp_path):
    lay_out(tmp_path)
    initbench_("compare", "typo.txt", code=4)


def test_an_object_array_is_never_unpickled(tmp_path):
    lay_out(tmp_path)
    initbench_("compare", *NPZ, "-d", "objects.npz", code=4)
    assert not Path("unpickled").exists()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_a_model_larger_than_the_memory_is_a_sentence_or_a_plan(tmp_path):
    code = (
        "import pathlib, resource, initbench.running.plan\n"
        "from initbench.cli import app\n"
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "limit = used + 900 * 2**20\n"  # less than one layer of this model
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "app(['compare', '-s', 'kaiming', '-m', 'mlp(width=16384, depth=2)', '--dry-run'])\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert "Traceback" not in result.stderr
    assert result.returncode in {0, 2, 4}


# --- one thing counts once -------------------------------------------------------------------------------------------


def test_one_scheme_in_several_spellings_counts_once():
    names = ("kaiming", "he_uniform", "kaiming_uniform", "kaiming_uniform()", " kaiming_uniform(mode='fan_in') ")
    flags = [flag for name in names for flag in ("-s", name)]
    read = json.loads(initbench_("compare", *flags, *SMALL, "--dry-run", "--json").stdout)
    assert read["schemes"] == ["kaiming_uniform"]
    assert read["trials"] == 1


@pytest.mark.parametrize(("flag", "value"), [("--seeds", "7,7"), ("--lr", "0.1,0.1"), ("--lr", "0.1,1e-1")])
def test_a_value_given_twice_counts_once_or_is_refused(flag, value):
    result = CliRunner().invoke(app, ["compare", *KAIMING, flag, value, "--dry-run", "--json"])
    if result.exit_code == 2:
        assert flag in result.stderr
    else:
        assert json.loads(result.stdout)["trials"] == 1


def test_two_data_files_of_one_name_are_never_mistaken_for_each_other(tmp_path):
    an_npz("a/same.npz", seed=1)
    an_npz("b/same.npz", seed=2)
    alone = CliRunner().invoke(app, ["compare", *NPZ, "-d", "a/same.npz", "--out", "alone"])
    both = CliRunner().invoke(app, ["compare", *NPZ, "-d", "a/same.npz", "-d", "b/same.npz", "--out", "both"])
    assert alone.exit_code == 0
    if both.exit_code in {2, 4}:
        assert "same" in both.stderr
        return
    (trial,) = trial_files("alone")
    twin = Path("both") / trial.relative_to("alone")
    assert json.loads(twin.read_text())["payload"] == json.loads(trial.read_text())["payload"]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_foreign_folder_with_a_recipe_json_of_its_own_is_left_alone():
    folder = Path("out", "kitchen")
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text('{"title": "Pancakes", "eggs": 3}')
    CliRunner().invoke(app, ["compare", *KAIMING, "--out", "out", "--name", "kitchen"])
    assert json.loads((folder / "recipe.json").read_text()) == {"title": "Pancakes", "eggs": 3}


def test_an_empty_folder_of_the_name_may_be_filled():
    Path("out", "mine").mkdir(parents=True)
    initbench_("compare", *KAIMING, "--out", "out", "--name", "mine")
    assert Path("out", "mine", "report.html").exists()


# --- damaged stored trials -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sound(tmp_path_factory, cache):
    """A results folder with one comparison of two trials; copy it, never change it."""
    out = tmp_path_factory.mktemp("sound") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITBENCH_CACHE", str(cache))
        patch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
        initbench_("compare", *KAIMING, "--seeds", "2", "--out", out, "--name", "one")
    return out


@pytest.fixture
def out(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "out")


def again(out):
    return initbench_("compare", *KAIMING, "--seeds", "2", "--out", out, "--name", "one")


def edited(change):
    """Damage that edits the JSON document and leaves it well-formed."""

    def damage(text):
        document = json.loads(text)
        change(document)
        return json.dumps(document).encode()

    return damage


def resealed(change):
    """Damage that also corrects the checksum, as no accident would."""

    def seal(document):
        change(document["payload"])
        document["checksum"] = store._checksum(document["payload"])

    return edited(seal)


DAMAGE = {
    "empty": lambda _: b"",
    "cut after a byte": lambda text: text[:1],
    "cut in the middle": lambda text: text[: len(text) // 2],
    "cut before its last brace": lambda text: text.rstrip()[:-1],
    "a flipped digit": lambda text: text.replace(b'"steps":6', b'"steps":7'),
    "a flipped bit": lambda text: text[:60] + bytes([text[60] ^ 1]) + text[61:],
    "zeros of a lost block": lambda text: bytes(len(text)),
    "not text": lambda _: b"\xff\xfe\x80",
    "foreign JSON": lambda _: b'{"hello": "world"}',
    "a list": lambda _: b"[]",
    "null": lambda _: b"null",
    "a word": lambda _: b'"format"',
    "too deep": lambda _: b"[" * 100_000,
    "another format": edited(lambda document: document.update(format=99)),
    "no timings": edited(lambda document: document.pop("timings")),
    "no checksum": edited(lambda document: document.pop("checksum")),
    "not a record": resealed(lambda payload: payload.pop("curve")),
    "an unknown key": resealed(lambda payload: payload.update(extra=1)),
    "another trial": resealed(lambda payload: payload["trial"].update(seed=9)),
    "NaN": lambda text: text.replace(b'"lr":0.02', b'"lr":NaN'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_trial_is_named_set_aside_and_computed_again_to_the_same_payload(out, damage):
    path, intact = trial_files(out)
    whole, other = path.read_bytes(), intact.read_bytes()
    damaged = damage(whole)
    assert damaged != whole
    path.write_bytes(damaged)
    result = again(out)
    aside = path.with_name(f"{path.name}.corrupt-1")
    assert aside.read_bytes() == damaged
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert str(aside) in notes[0]
    assert "1 trials to train, 1 stored" in result.stderr
    now, before = json.loads(path.read_bytes()), json.loads(whole)
    assert now["payload"] == before["payload"]
    assert now["checksum"] == before["checksum"]
    assert intact.read_bytes() == other


def test_each_damaged_file_is_kept_under_a_number_of_its_own(out):
    path = trial_files(out)[0]
    for number in (1, 2, 3):
        path.write_bytes(b"damage %d" % number)
        again(out)
    kept = sorted(path.parent.glob(f"{path.name}.corrupt-*"))
    assert [file.read_bytes() for file in kept] == [b"damage 1", b"damage 2", b"damage 3"]


def test_a_folder_in_the_place_of_a_trial_is_set_aside_too(out):
    path = trial_files(out)[0]
    path.unlink()
    path.mkdir()
    assert ".corrupt-1" in again(out).stderr
    assert path.is_file()


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_damage_is_mended_with_or_without_words(out, quiet):
    path = trial_files(out)[0]
    path.write_bytes(b"")
    result = initbench_("compare", *KAIMING, "--seeds", "2", "--out", out, "--name", "one", *quiet)
    assert bool(result.stderr) != bool(quiet)
    assert path.stat().st_size


def test_a_dry_run_counts_a_damaged_trial_as_not_stored_and_touches_nothing(out):
    trial_files(out)[0].write_bytes(b"")
    before = files(out)
    flags = ("compare", *KAIMING, "--seeds", "2", "--out", out, "--name", "one", "--dry-run", "--json")
    read = json.loads(initbench_(*flags).stdout)
    assert (read["trials"], read["stored"]) == (2, 1)
    assert files(out) == before


def test_a_report_on_a_damaged_store_still_works_and_says_that_one_is_missing(out):
    path = trial_files(out)[0]
    path.write_bytes(path.read_bytes()[:100])
    before = path.read_bytes()
    result = initbench_("report", out / "one")
    assert "Not stored: 1 planned trial" in " ".join(result.stdout.split())
    assert json.loads(initbench_("report", out / "one", "--json").stdout)["missing"] == 1
    assert path.read_bytes() == before


def test_a_report_on_an_empty_store_still_works(out):
    shutil.rmtree(out / "trials")
    read = json.loads(initbench_("report", out / "one", "--json").stdout)
    assert read["missing"] == 2
    assert read["summary"] == []


def test_a_failed_write_of_the_new_record_leaves_no_half_of_it(out, monkeypatch):
    path = trial_files(out)[0]
    path.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    before = files(out)
    result = initbench_("compare", *KAIMING, "--seeds", "2", "--out", out, "--name", "one", code=4)
    assert "No space left on device" in result.stderr
    assert files(out) == before


def test_a_damaged_file_that_cannot_be_set_aside_is_a_sentence(out, monkeypatch):
    trial_files(out)[0].write_bytes(b"")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    result = CliRunner().invoke(app, ["compare", *KAIMING, "--seeds", "2", "--out", str(out), "--name", "one"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 4


def test_a_report_that_cannot_be_written_is_a_sentence(out, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    initbench_("report", out / "one")
    for act in ("unlink", "replace", "mkdir"):
        monkeypatch.setattr(Path, act, refused)
    result = CliRunner().invoke(app, ["report", str(out / "one")])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 4


@examples(150)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_read(sound, tmp_path, position, bit):
    path = trial_files(sound)[0]
    whole = path.read_bytes()
    place = int(position * len(whole))
    copy = store.path_of(tmp_path, path.stem)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    try:
        record = store.read(tmp_path, path.stem)
    except store.DamagedFile:
        return
    assert record.model_dump(exclude={"timings"}) == store.read(sound, path.stem).model_dump(exclude={"timings"})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_no_truncated_file_is_read(sound, tmp_path, share):
    path = trial_files(sound)[0]
    whole = path.read_bytes().rstrip()
    copy = store.path_of(tmp_path, path.stem)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(store.DamagedFile):
        store.read(tmp_path, path.stem)
