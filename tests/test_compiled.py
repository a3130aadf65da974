"""The compiled loop: every part against float64, the whole against autograd, and the same bits in any circumstances."""

import hashlib
import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from torch import nn
from torch.nn import functional

from initbench import datasets
from initbench import training as engines
from initbench.datasets.batches import Split
from initbench.networks.models import ACTIVATIONS
from initbench.records.recipe import Trial
from initbench.training import autograd, chains, choice, loop
from initbench.training.compiled import kernels, layout
from initbench.training.environment import denormals, device_name

F = np.float32
KNOWN = sorted(name for name, module in ACTIVATIONS.items() if module in chains.ACTIVATIONS)
ON = f"on {device_name('cpu')}, {kernels.processor()}"  # what a failure has to say
OPTIMIZERS = (
    "sgd", "sgd(momentum=0.9)", "sgd(weight_decay=0.01)", "sgd(momentum=0.8, weight_decay=0.1, nesterov=True)",
    "adam(eps=0.001)", "adam(eps=0.001, weight_decay=0.1)", "adamw(eps=0.001)", "rmsprop(eps=0.001)",
    "rmsprop(eps=0.001, momentum=0.5, weight_decay=0.01)", "nadam(eps=0.001, weight_decay=0.1)",
    "adagrad(eps=0.001, lr_decay=0.1, weight_decay=0.1)", "sgd(clip=0.5, schedule='step(2)')",
    "sgd(momentum=0.9, schedule='cosine', warmup=0.3, clip=0.2)", "adamw(eps=0.001, schedule='onecycle', clip=0.3)",
)  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


def silent(_group, _step):
    """Observe nothing."""


def trial_of(dataset, **changes):
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": dataset.name,
        "fingerprint": dataset.fingerprint, "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.02,
        "batch_size": 16, "steps": 50, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def plain(record):
    return record.model_dump(exclude={"timings"})


def address(array):
    return array.ctypes.data


# Activations.


def far_and_near():
    """Numbers of both signs from denormal to overflow, and every stretch where something bends."""
    sizes = np.concatenate([np.geomspace(1e-30, 3.4e38, 20_001), np.linspace(1e-3, 100, 40_001)])
    return np.concatenate([-sizes, [0.0], sizes]).astype(F)


def applied(kind, z):
    """Return what the forward kernel makes of z, and the derivative that the backward one multiplies by."""
    of = chains.ACTIVATIONS[ACTIVATIONS[kind]]
    h, slope, gradient = z.copy(), np.zeros_like(z), np.ones_like(z)
    kernels.function(f"activations.{of.forward}", 3)(address(h), address(slope), len(h))
    kernels.function(f"activations.{of.backward}", 4)(address(gradient), address(h), address(slope), len(h))
    return h, gradient


@pytest.mark.parametrize("kind", sorted({*KNOWN} - {"identity"}))
def test_an_activation_and_its_derivative_are_right_to_a_few_units_in_the_last_place(kind):
    z = far_and_near()
    exact = torch.from_numpy(z.astype(np.float64)).requires_grad_()
    value, slope, terms = in_float64(kind, exact)
    found = applied(kind, z)
    for name, of, expected, scale in zip(["φ", "φ'"], found, (value, slope), terms, strict=True):
        normal, largest = float(np.finfo(F).tiny), float(np.finfo(F).max)
        unit = np.spacing(np.clip(scale, normal, largest / 2).astype(F)).astype(np.float64)
        over = np.abs(expected) > largest
        np.testing.assert_array_equal(of[over], np.sign(expected[over]) * np.inf)
        off = np.where(over, 0, np.abs(np.where(over, 0, of) - expected) / unit)
        off[(np.abs(expected) < 32 * normal) & (np.abs(of) < 32 * normal)] = 0  # what is below may be 0
        assert off.max() < 8, f"{kind} {name} is {off.max():.1f} units off at z = {z[off.argmax()]:g} {ON}"


def in_float64(kind, z):
    """Return φ(z), φ'(z) and the sizes of the largest terms of each, of which a sum can keep no more digits."""
    numbers = z.detach()
    e = torch.exp(-numbers.abs())
    if kind == "tanh":  # 1 - tanh² has no digit left in float64 either
        value = torch.tanh(numbers)
        slope = 4 * e**2 / (1 + e**2) ** 2
    elif kind == "sigmoid":
        value, slope = torch.where(numbers < 0, e / (1 + e), 1 / (1 + e)), e / (1 + e) ** 2
    elif kind == "gelu":
        share = 0.5 * torch.special.erfc(-numbers / math.sqrt(2))
        density = torch.exp(-(numbers.clamp(-50, 50) ** 2) / 2) / math.sqrt(2 * math.pi)
        value, slope = numbers * share, share + numbers.clamp(-50, 50) * density
    else:
        module = ACTIVATIONS[kind]()
        value = module(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
        value = value.detach()
    value, slope = value.numpy(), slope.numpy()
    largest = np.abs(slope)
    if kind in {"gelu", "silu"}:  # whose derivatives cross 0: the sum of two terms
        share = 0.5 * torch.special.erfc(-numbers / math.sqrt(2)) if kind == "gelu" else torch.sigmoid(numbers)
        largest = np.maximum(largest, share.numpy())
    return value, slope, (np.abs(value), largest)


@pytest.mark.parametrize("kind", sorted({*KNOWN} - {"identity"}))
def test_what_is_no_number_or_infinite_passes_as_in_torch(kind):
    z = np.array([np.nan, np.inf, -np.inf, -0.0] * 8, F)  # by vectors and one by one
    h, slope = applied(kind, z)
    given = torch.from_numpy(z.copy()).requires_grad_()
    value = ACTIVATIONS[kind]()(given)
    (expected,) = torch.autograd.grad(value.sum(), given)
    # torch has no number for the derivatives of SiLU and GELU at ∓∞; 0 and 1 are their limits.
    known = expected.isfinite().numpy() | np.isnan(z)
    np.testing.assert_array_equal(
        h[~np.isnan(value.detach().numpy())], value.detach().numpy()[~np.isnan(value.detach().numpy())]
    )
    assert np.isnan(h[np.isnan(z)]).all()
    np.testing.assert_array_equal(slope[known & ~np.isnan(z)], expected.numpy()[known & ~np.isnan(z)])
    assert np.isnan(slope[np.isnan(z)]).all() or kind in {"relu", "leaky_relu", "elu", "selu"}


# Products.


@examples(80)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 6), depth=st.integers(1, 60), turned=st.booleans(),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_a_product_is_its_sums_and_no_element_depends_on_the_shape_of_the_whole(rows, columns, depth, turned, seed):
    numbers = np.random.default_rng(seed)
    wide = columns * layout.PAD
    a, b, s = (numbers.standard_normal(shape).astype(F) for shape in ((rows, depth), (depth, wide), (1, wide)))
    laid = np.ascontiguousarray(a.T) if turned else a
    a_row, a_column = (1, rows) if turned else (depth, 1)

    def product(row, many, left, wide_):
        c = np.full((many, wide), np.nan, F)
        given = address(laid) + 4 * row * a_row, a_row, a_column, address(b) + 4 * left, wide
        start = address(s) + 4 * left, 0
        kernels.function("products.product", 12)(address(c) + 4 * left, wide, *given, *start, many, wide_, depth)
        return c[:, left : left + wide_]

    whole = product(0, rows, 0, wide)
    exact = a.astype(np.float64) @ b + s
    bound = 1.2e-7 * (depth + 1) * (np.abs(a) @ np.abs(b) + np.abs(s))
    assert (np.abs(whole - exact) <= bound).all(), ON
    for row, left in {(0, 0), (rows - 1, wide - layout.PAD), (rows // 2, 0)}:
        alone = product(row, 1, left, layout.PAD)
        assert alone.tobytes() == whole[row : row + 1, left : left + layout.PAD].tobytes(), ON


def test_a_deep_product_is_cut_without_a_trace():
    """Beyond what goes in one piece: the sum goes on where it was, in the same order."""
    numbers = np.random.default_rng(0)
    a, b, s = (
        numbers.standard_normal((3, 2500)).astype(F),
        numbers.standard_normal((2500, 16)).astype(F),
        np.zeros(16, F),
    )
    c = np.empty((3, 16), F)
    kernels.function("products.product", 12)(
        address(c), 16, address(a), 2500, 1, address(b), 16, address(s), 0, 3, 16, 2500
    )
    expected = np.zeros((3, 16), F)
    for k in range(2500):  # a product of two float32 is exact in float64: rounded twice, it is off once in 2^29 sums
        expected = (a[:, k : k + 1].astype(np.float64) * b[k] + expected).astype(F)
    np.testing.assert_array_equal(c, expected)


@examples(40)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_a_transpose_equals_that_of_numpy(rows, columns):
    a = np.arange(rows * 48, dtype=F).reshape(rows, 48)
    turned = np.full((columns, 48), -1, F)
    kernels.function("products.transpose", 6)(address(a), 48, address(turned), 48, rows, columns)
    np.testing.assert_array_equal(turned[:, :rows], a[:, :columns].T)
    assert (turned[:, rows:] == -1).all()


# The loop against the reference.


def chain(sizes, activation):
    layers = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def made_split(kind=torch.float32, classes=5):
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 2, 3, 1), generator=numbers).to(kind)
    labels = torch.randint(classes, (40,), generator=numbers)
    return Split(images, labels, torch.tensor([120.0, 130.0]).view(-1, 1, 1), torch.tensor([70.0, 74.0]).view(-1, 1, 1))


def differences(sizes, activation, optimizer, lr=0.02, kind=torch.float32, steps=15, spoil=None):
    """Return the largest relative differences of losses, gradient norms and last scores against float64 autograd."""
    torch.manual_seed(sum(sizes))
    model = chain([6, *sizes, 5], activation)
    trial = Trial(
        model="made", dataset="made", fingerprint="made", scheme="zeros", optimizer=optimizer, lr=lr,
        batch_size=7, steps=steps, seed=1,
    )  # fmt: skip
    split = made_split(kind)
    exact = Split(split.images.double(), split.labels, split.mean.double(), split.std.double())
    reference = autograd.Autograd([chain_in_float64(model)], [trial])
    trainer = chains.Chain([model], [trial], split)
    trainer.stretch = 4
    if spoil:
        spoil(trainer)
    assert list(trainer.train(0, steps)) == [4, 8, 12, 15]
    expected, norms = [], []
    for images, labels in batches(exact, trial):
        expected.append(float(reference.step(images[None], labels[None], gradients=True)))
        norms.append(float(reference.gradient_norms()))
    images, labels = exact_images(exact)
    scores = trainer.scores(images.float(), labels)[0, 0]
    logits = reference.logits(images)[0]
    last = functional.cross_entropy(logits, labels, reduction="none")
    return [
        relative(trainer.losses[0], torch.tensor(expected)),
        relative(trainer.norms[0], torch.tensor(norms)),
        relative(scores, last.float()),
    ]


def chain_in_float64(model):
    import copy

    return copy.deepcopy(model).double()


def batches(split, trial):
    per_epoch = len(split) // trial.batch_size
    for step in range(trial.steps):
        epoch, place = divmod(step, per_epoch)
        index = split.order(trial.data_seed, epoch)[place * trial.batch_size : (place + 1) * trial.batch_size]
        yield ((split.images[index] - split.mean) / split.std), split.labels[index]


def exact_images(split):
    return ((split.images - split.mean) / split.std), split.labels


def relative(actual, expected):
    """The largest difference against the largest value: one that is 0 by chance has no digits of its own."""
    return float((actual - expected).abs().max() / expected.abs().max())


@examples(100)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=6),
    activation=st.sampled_from(KNOWN),
    optimizer=st.sampled_from(OPTIMIZERS),
    kind=st.sampled_from([torch.float32, torch.uint8]),
)
def test_the_loop_is_autograd(sizes, activation, optimizer, kind):
    # A rule that divides by a gradient's size moves every weight by its rate: a large one would soon part any two.
    lr = 0.02 if optimizer.startswith("sgd") else 0.0005
    worst = differences(sizes, activation, optimizer, lr, kind)
    assert max(worst) < LOOP_TOLERANCE, f"{worst} {ON}"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_updates_as_that_of_torch(optimizer):
    lr = 0.02 if optimizer.startswith("sgd") else 0.0005
    assert max(differences([12, 12], "relu", optimizer, lr)) < LOOP_TOLERANCE


LOOP_TOLERANCE = 3e-5


def one_percent_too_much(trainer):
    """Multiply the gradient by 1.01 where it enters the first update: a rate that is 1 % off does as much."""
    trainer.arrays.held.append(factor := np.array([-0.02 * 1.01], F))
    trainer.task[layout.FACTOR] = address(factor)


def a_leak(trainer):
    """Let 1 % of the gradient through where a ReLU is shut."""
    trainer.layers[:, layout.BACKWARD][trainer.layers[:, layout.BACKWARD] != 0] = kernels.address(
        "activations.leaky_relu_back"
    )


@pytest.mark.parametrize("spoil", [one_percent_too_much, a_leak])
def test_a_gradient_that_is_one_percent_off_would_be_seen(spoil):
    assert max(differences([12, 12], "relu", "sgd")) < LOOP_TOLERANCE
    assert max(differences([12, 12], "relu", "sgd", spoil=spoil)) > 3 * LOOP_TOLERANCE


def test_an_overflow_hidden_behind_a_relu_is_seen_as_in_torch(digits):
    """A layer gives -∞ and +∞, the next 0 · ∞: "does not learn" would be the answer of a ReLU that hides a NaN."""
    for scheme, depth in (("normal(std=16)", 30), ("normal(std=1e30)", 3), ("constant(1e30)", 2)):
        trial = trial_of(digits, model=f"mlp(depth={depth}, width=16, activation='relu')", scheme=scheme)
        ours = engines.train([trial], digits, silent)[0]
        reference = loop.train([trial], digits, silent, autograd.ENGINE)[0]
        assert ours.outcome.status == "diverged", scheme
        assert ours.outcome == reference.outcome, scheme


def test_divergence_is_seen_at_its_step(digits):
    trial = trial_of(digits, lr=3e3, model="mlp(depth=8, width=16, activation='selu')", steps=40)
    ours = engines.train([trial], digits, silent)[0]
    reference = loop.train([trial], digits, silent, autograd.ENGINE)[0]
    assert ours.outcome.status == "diverged"
    assert ours.outcome == reference.outcome
    assert [point.step for point in ours.curve] == [point.step for point in reference.curve]


# The same bits in any circumstances.


SHAPES = [
    (1, 1, 1), (1, 17, 3), (2, 16, 2), (7, 33, 2), (16, 32, 3), (31, 63, 2), (64, 64, 3), (100, 65, 2), (128, 128, 2),
    (257, 100, 1), (512, 512, 1),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "width", "depth"), SHAPES)
def test_company_changes_no_bit_of_a_trial(digits, batch, width, depth):
    """Alone, beside a trial that diverges, after others in the same process, in another order, and with strangers."""
    schemes = {"kaiming_uniform": 0, "xavier_normal": 1, "normal(std=1e30)": 0, "zeros": 2}
    model = f"mlp(depth={depth}, width={width}, activation='relu')"
    trials = [
        trial_of(digits, model=model, batch_size=batch, scheme=scheme, seed=seed, steps=12, lr=0.01 * (1 + seed))
        for scheme, seed in schemes.items()
    ]
    found = {fingerprint(company_of(trials, digits)) for trials in (trials, trials[::-1], trials[1:] + trials[:1])}
    alone = fingerprint({trial.id: trained(trial, digits) for trial in trials})
    assert found == {alone}, ON


def company_of(trials, dataset):
    """Train trials as a run does that was asked for all of them."""
    groups = choice.group_trials(trials, {dataset.fingerprint: dataset})
    return {record.trial.id: record for group in groups for record in engines.train(group, dataset, silent)}


def trained(trial, dataset):
    return engines.train([trial], dataset, silent)[0]


def fingerprint(records):
    told = json.dumps([plain(record) for _, record in sorted(records.items())], default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def test_the_length_of_a_stretch_changes_no_bit(digits, monkeypatch):
    """How often the loop returns to Python is a matter of speed."""
    whole = plain(trained(trial_of(digits, steps=90, batch_size=64), digits))
    monkeypatch.setattr(chains, "STRETCH", 1.0)
    assert plain(trained(trial_of(digits, steps=90, batch_size=64), digits)) == whole


SETS = {  # of x86-64, each with what LLVM has to know of it
    "haswell": "+avx2,+fma,+bmi,+bmi2,+avx,+sse4.2,+popcnt",
    "skylake-avx512": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,+avx2,+fma,+bmi,+bmi2,+avx,+sse4.2,+popcnt",
}
CURVES = """
import sys
from initbench import datasets, training
from initbench.records.recipe import Trial
digits = datasets.prepare("digits")
for model, optimizer, batch in ("mlp(depth=3, width=37, activation='gelu')", "adam", 19), ("linear", "sgd", 64), (
    "mlp(depth=4, width=64, activation='tanh')", "sgd(momentum=0.9)", 64), (
    "mlp(depth=2, width=130, activation='relu')", "sgd", 33):
    trial = Trial(model=model, dataset="digits", fingerprint=digits.fingerprint, scheme="kaiming_uniform",
        optimizer=optimizer, lr=0.001, batch_size=batch, steps=60, seed=1)
    record = training.train([trial], digits, lambda *_: None)[0]
    print([point.train_loss for point in record.curve], record.early, record.final)
"""


def program(text, **environment):
    """Run a program with an environment of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", text], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long  # each compiles every kernel anew
@pytest.mark.parametrize("name", ["haswell", "skylake-avx512"])
def test_narrower_vectors_change_no_bit(tmp_path_factory, name):
    """Sums are written out in order and multiply-adds are fused everywhere: how wide vectors are does not matter."""
    has = llvm.get_host_cpu_features()
    needed = [feature[1:] for feature in SETS[name].split(",")]
    missing = [feature for feature in needed if not has.get(feature)]
    if missing:
        pytest.skip(f"{device_name('cpu')} has no {missing[0]}")
    cache = str(tmp_path_factory.getbasetemp().parent / f"compiled-for-{name}")
    forced = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": SETS[name], "INITBENCH_CACHE": cache}
    assert program(CURVES, **forced) == program(CURVES), ON


# Machine code, made and kept.

ONE = """
from initbench.training.compiled import kernels
import numpy as np
h = np.array([-1.0, 2.0, np.nan], np.float32)
kernels.function("activations.relu", 3)(h.ctypes.data, 0, 3)
print(h, kernels.can_keep())
"""
ANSWER = "[ 0.  2. nan]"


@pytest.mark.long
@pytest.mark.parametrize("harms", [1, pytest.param(3, marks=pytest.mark.long)])
def test_code_is_kept_and_read_without_numba(tmp_path, harms):
    told = ONE + "import sys; print('numba' in sys.modules)"
    assert program(told, INITBENCH_CACHE=str(tmp_path)) == f"{ANSWER} True\nTrue\n"
    (kept,) = tmp_path.glob("compiled/*/activations.relu.o")
    assert program(told, INITBENCH_CACHE=str(tmp_path)) == f"{ANSWER} True\nFalse\n"
    for harm in (b"x" * kept.stat().st_size, kept.read_bytes()[:-9], b"")[:harms]:
        kept.write_bytes(harm)
        assert program(told, INITBENCH_CACHE=str(tmp_path)) == f"{ANSWER} True\nTrue\n"
    other = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": ""} if "x86" in os.uname().machine else {}
    assert program(ONE, INITBENCH_CACHE=str(tmp_path), NUMBA_OPT="2", **other).startswith(ANSWER)
    assert len(list(tmp_path.glob("compiled/*/activations.relu.o"))) == 2  # a folder for each processor and version
    kept.parent.chmod(0o777)  # others may have written there: not trusted, not read
    assert program(told, INITBENCH_CACHE=str(tmp_path)) == f"{ANSWER} False\nTrue\n"


def test_where_nothing_can_be_kept_code_is_made_in_memory(tmp_path):
    (tmp_path / "file").touch()
    assert program(ONE, INITBENCH_CACHE=str(tmp_path / "file")) == f"{ANSWER} False\n"


@pytest.mark.long
def test_two_processes_that_compile_at_once_do_so_once(tmp_path):
    waiting = [
        subprocess.Popen([sys.executable, "-c", ONE + "import sys; print('numba' in sys.modules)"],
            env=os.environ | {"INITBENCH_CACHE": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate()[0] for process in waiting]
    assert all(text.startswith(f"{ANSWER} True") for text in told)
    assert [path.name for path in tmp_path.glob("compiled/*/*.o")] == ["activations.relu.o"]
    assert not list(tmp_path.glob("compiled/*/tmp*"))


# Denormals.


def test_denormals_are_seen_at_step_0_and_flushed_in_training(digits):
    """A signal of 1e-40 has a second moment in the record, and no step pays for it."""
    trial = trial_of(digits, scheme="normal(std=1e-5)", model="mlp(depth=9, width=16, activation='relu')", steps=3)
    for engine in (chains.ENGINE, autograd.ENGINE):
        seen = []
        record = loop.train([trial], digits, lambda *_, seen=seen: seen.append(flushes()), engine)[0]
        assert seen
        assert all(seen)
        assert record.environment.engine.endswith(", denormals flushed")
        stds = [layer.forward_std for layer in record.layers]
        assert any(0 < std < 1e-38 for std in stds), stds
    assert not flushes()


def flushes():
    return float(torch.tensor(1e-39) * 2) == 0


def test_what_the_thread_had_chosen_is_given_back():
    for before in (True, False):
        torch.set_flush_denormal(before)
        for flushed in (True, False):
            with denormals(flushed=flushed):
                assert flushes() == flushed
            assert flushes() == before


# Beyond the first steps a single trial is chaotic: there, distributions are compared.


@pytest.mark.long
@pytest.mark.simulation
def test_two_hundred_trials_end_as_the_references_do(digits):
    """Where rounding has grown to the size of the loss few trials agree, and the means must, to 2 points."""
    deep = {"model": "mlp(depth=8, width=32, activation='relu')", "lr": 0.1, "batch_size": 64, "steps": 80}
    trials = [trial_of(digits, **deep, seed=seed, evaluations=2) for seed in range(200)]
    ours = [trained(trial, digits).final.val_accuracy for trial in trials]
    reference = [loop.train([t], digits, silent, autograd.ENGINE)[0].final.val_accuracy for t in trials]
    difference = np.subtract(ours, reference)
    error = difference.std(ddof=1) / math.sqrt(len(trials))
    assert (difference != 0).mean() > 0.4, "these trials are not chaotic: the test would show nothing"
    assert 2.8 * error < 0.02, f"a difference below {2.8 * error:.4f} would not be found with 80 % certainty"
    assert abs(difference.mean()) < 3 * error, f"{difference.mean():.4f} ± {error:.4f} {ON}"
