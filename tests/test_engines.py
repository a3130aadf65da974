"""Every engine against the reference, over random networks and optimizers; and what a group must never do."""

import copy
import itertools
import math
from collections import Counter
from importlib.metadata import version

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples, one_in
from torch import nn

from initbench import datasets
from initbench import training as engines
from initbench.networks.models import ACTIVATIONS, MODELS, build_model
from initbench.records.recipe import Trial
from initbench.training import autograd, chains, convolutional, grouped, loop
from initbench.training.activations import chain_of, nonlinearity_of
from initbench.training.choice import choose, group_trials
from initbench.training.optimizers import OPTIMIZERS
from initbench.training.stacked import Stacked
from initbench.training.stepwise import data_orders, stepwise

BATCH, CLASSES = 16, 5
COMPILED = f"compiled(numba {version('numba')}, llvmlite {version('llvmlite')}), denormals flushed"
AUTOGRAD, CHANNELS_LAST = "autograd, denormals flushed", "autograd(channels_last), denormals flushed"
# Rules that divide by a gradient's size multiply its rounding where it is near 0; a larger eps bounds by how much.
OPTIMIZER_TEXTS = (
    "sgd", "sgd(momentum=0.9)", "sgd(weight_decay=0.01)", "sgd(momentum=0.8, weight_decay=0.1, nesterov=True)",
    "adam(eps=0.001)", "adam(eps=0.001, weight_decay=0.1)", "adamw(eps=0.001)", "rmsprop(eps=0.001)",
    "rmsprop(eps=0.001, momentum=0.5)",
)  # fmt: skip
MORE = ((3, 3), (3, 1), (1, 1))  # members and data orders
KNOWN = sorted(name for name, module in ACTIVATIONS.items() if nonlinearity_of(module()))  # to the faster engines


def silent(_group, _step):
    """Observe nothing."""


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


def trial_of(dataset=None, **changes):
    name, fingerprint = (dataset.name, dataset.fingerprint) if dataset else ("made", "made")
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": name, "fingerprint": fingerprint,
        "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.05, "batch_size": BATCH, "steps": 50, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def chain(sizes, activation):
    layers = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def small_cnn(norm, activation="relu"):
    norms = {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(4), "group": lambda: nn.GroupNorm(2, 4)}
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norms[norm](), ACTIVATIONS[activation](), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, bias=False), ACTIVATIONS[activation](), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 7), ACTIVATIONS[activation](), nn.Linear(7, CLASSES),
    )  # fmt: skip


def batches(shape, orders, steps, dtype):
    for _ in range(steps):
        yield torch.randn(orders, BATCH, *shape, dtype=dtype), torch.randint(CLASSES, (orders, BATCH))


def against_the_reference(opened, models, trials, shape, orders=1, steps=12):
    """Return the largest relative differences of losses, gradient norms and final logits in float64."""
    models = [model.double() for model in models]
    reference = autograd.Autograd(copy.deepcopy(models), trials)
    engine = opened(copy.deepcopy(models), trials, orders)
    worst = [0.0, 0.0, 0.0]
    for step, (images, labels) in enumerate(batches(shape, orders, steps, torch.float64)):
        kept = step % 3 < 2  # both ways of updating, in turns
        expected = reference.step(images, labels, gradients=True)
        worst[0] = max(worst[0], relative(engine.step(images, labels, gradients=kept), expected))
        if kept:
            worst[1] = max(worst[1], relative(engine.gradient_norms(), reference.gradient_norms()))
    looked_at = torch.randn(9, *shape, dtype=torch.float64)
    worst[2] = relative(engine.logits(looked_at), reference.logits(looked_at))
    return worst


def relative(actual, expected):
    """The largest difference against the largest value: one that is 0 by chance has no digits of its own."""
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# Stacks, which train on a GPU.


@examples(60)
@given(
    sizes=st.lists(st.integers(1, 24), min_size=1, max_size=6),
    activation=st.sampled_from(KNOWN),
    optimizer=st.sampled_from(OPTIMIZER_TEXTS),
    members=st.integers(1, 5),
    rates=st.lists(st.floats(1e-4, 0.1), min_size=5, max_size=5),
)
def test_a_stack_is_autograd_in_float64(sizes, activation, optimizer, members, rates):
    torch.manual_seed(0)  # an example that fails must fail again
    models = [chain([6, *sizes, CLASSES], activation) for _ in range(members)]
    # A rule that divides by a gradient's size moves every weight by its rate: 0.1 would soon part any two roundings.
    scale = 1 if optimizer.startswith("sgd") else 0.01
    trials = [trial_of(optimizer=optimizer, lr=scale * rate) for rate in rates[:members]]
    worst = against_the_reference(Stacked, models, trials, (6, 1, 1), orders=members)
    assert max(worst) < 1e-8, worst


@examples(60)
@given(
    sizes=st.lists(st.integers(1, 24), max_size=8),
    activation=st.sampled_from(KNOWN),
)
def test_a_stacks_gradient_is_autograds_to_ten_digits(sizes, activation):
    """One step of plain SGD, its update divided by the rate: the gradient itself, parameter by parameter."""
    torch.manual_seed(0)
    model, trial = chain([6, *sizes, CLASSES], activation).double(), trial_of(lr=0.5)
    engine = Stacked([copy.deepcopy(model)], [trial], 1)
    (images, labels), *_ = batches((6, 1, 1), 1, 1, torch.float64)
    before = [p.value.clone() for p in engine.parameters]
    engine.step(images, labels, gradients=False)
    loss = nn.functional.cross_entropy(model(images[0]), labels[0])
    for parameter, was, expected in zip(
        engine.parameters, before, torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        gradient = ((was - parameter.value) / trial.lr).view(expected.shape)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
@pytest.mark.parametrize(("members", "orders"), [(6, 2), (4, 1), (3, 3)])
def test_members_that_share_batches_are_trained_as_if_each_had_its_own(optimizer, members, orders):
    models = [chain([6, 9, 8, CLASSES], "gelu") for _ in range(members)]
    trials = [trial_of(optimizer=optimizer, lr=0.01 * (k + 1)) for k in range(members)]
    assert max(against_the_reference(Stacked, models, trials, (6, 1, 1), orders=orders)) < 1e-9


@pytest.mark.parametrize("lr", [1e-9, 1e9])
def test_a_rate_too_extreme_to_be_folded_is_left_to_torch(lr):
    engine = Stacked([chain([6, 5], "relu")], [trial_of(lr=lr)], 1)
    assert isinstance(engine.optimizer, torch.optim.SGD)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 4, bias=False)),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Tanh()),
        nn.Sequential(nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.Dropout()),
        nn.Sequential(nn.Linear(4, 4), nn.Mish(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.Flatten()),
        nn.Linear(4, 4),
        nn.Sequential(nn.Sequential(nn.Linear(4, 4))),
    ],
)
def test_what_is_no_plain_chain_is_left_to_the_reference(model):
    assert not chain_of(model)
    assert not chains.takes(model)


@pytest.mark.parametrize("last", [nn.LeakyReLU(0.3), nn.ELU(2.0), nn.GELU("tanh"), nn.ReLU()])
def test_what_the_compiled_loop_has_not_written_in_is_not_its_own(last):
    assert not chains.takes(nn.Sequential(nn.Linear(4, 4), last, *([nn.Linear(4, 4)] * (type(last) is not nn.ReLU))))
    assert chains.takes(nn.Sequential(nn.Linear(4, 4), type(last)(), nn.Linear(4, 4)))


# Convolutions.


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("optimizer", one_in(2, ["sgd(momentum=0.9, weight_decay=0.01)", "sgd", "adam", "rmsprop"]))
@pytest.mark.parametrize(("members", "orders"), [(4, 2), *(pytest.param(*p, marks=pytest.mark.long) for p in MORE)])
def test_grouped_convolutions_are_autograd_in_float64(norm, optimizer, members, orders):
    models = [small_cnn(norm, "tanh") for _ in range(members)]
    assert all(map(grouped.groupable, models))
    trials = [trial_of(optimizer=optimizer, lr=0.002 * (k + 1)) for k in range(members)]
    assert max(against_the_reference(grouped.Grouped, models, trials, (2, 9, 8), orders=orders)) < 1e-8


@pytest.mark.parametrize("form", [convolutional.channels_last, convolutional.one_by_one, convolutional.streamed])
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_other_layouts_are_autograd_in_float64(form, norm):
    models, trials = [small_cnn(norm) for _ in range(2)], [trial_of(lr=0.02), trial_of(lr=0.03)]
    assert max(against_the_reference(form, models, trials, (2, 9, 8), orders=2)) < 1e-9


def test_pooling_before_a_relu_changes_no_bit_of_output_or_gradient():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.Tanh(), nn.MaxPool2d(2)
    )
    swapped = convolutional.pooling_first(model)
    assert [type(module).__name__ for module in swapped] == [
        "Conv2d",
        "MaxPool2d",
        "ReLU",
        "Conv2d",
        "Tanh",
        "MaxPool2d",
    ]
    images = torch.randn(50, 2, 9, 9)
    images[0, :, :5] = 0  # ties
    images[1, 0, 0, 0] = math.nan
    results = []
    for chain_ in (model, swapped):
        model.zero_grad()
        output = chain_(images)
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", ["autograd(in turn)", "autograd(streams)", "autograd(grouped)"])
def test_a_group_of_convolutions_takes_the_fastest_form_and_finds_its_models_as_they_were(monkeypatch, name):
    """Each form is timed for real; then this one is declared the fastest."""
    monkeypatch.setattr(convolutional, "_fastest", {})
    timed, really = [], convolutional._seconds

    def seconds(stepper, *rest):
        timed.append((stepper.name, really(stepper, *rest)))
        return float(stepper.name != name)

    monkeypatch.setattr(convolutional, "_seconds", seconds)
    models = [small_cnn("none") for _ in range(2)]
    before = [p.clone() for model in models for p in model.parameters()]
    stepper = convolutional.fastest(models, [trial_of(), trial_of(seed=4)], 2, shape=(2, 9, 8))
    assert stepper.name == name
    again = convolutional.fastest(models, [trial_of(seed=5), trial_of(seed=6)], 2, shape=(2, 9, 8))
    assert again.name == name
    assert len(timed) == 3  # the second group was not timed
    assert all(took > 0 for _, took in timed)
    assert all(torch.equal(a, b) for a, b in zip(before, (p for m in models for p in m.parameters()), strict=True))


# Whole trials, as they are run.


@pytest.mark.parametrize("optimizer", one_in(2, OPTIMIZERS))
@pytest.mark.parametrize("name", one_in(2, [name for name in MODELS if name != "resmlp"]))  # the reference trains that
def test_the_chosen_engine_draws_the_references_curve(digits, name, optimizer):
    small = {"deep_cnn": "deep_cnn(depth=5)", "resnet": "resnet(depth=8, width=8)", "cnn": "cnn(width=8, norm='layer')"}
    rate = {"sgd": 0.02, "adam": 1e-4, "adamw": 1e-4, "nadam": 1e-4, "muon": 1e-4, "adagrad": 1e-3}.get(optimizer, 1e-5)
    rate /= 10 if name == "resnet" else 1  # eight layers grow the last bits of float32 sooner
    trial = trial_of(digits, model=str(MODELS.resolve(small.get(name, name))), optimizer=optimizer, lr=rate)
    chosen = engines.train([trial], digits, silent)[0]
    expected = loop.train([trial], digits, silent, autograd.ENGINE)[0]
    assert chosen.environment.engine != expected.environment.engine
    for point, reference in zip(chosen.curve, expected.curve, strict=True):
        assert point.train_loss == pytest.approx(reference.train_loss, rel=1e-4)
        assert point.val_loss == pytest.approx(reference.val_loss, rel=1e-4)
    assert chosen.early.losses == pytest.approx(expected.early.losses, rel=1e-4)
    assert chosen.early.gradient_norms == pytest.approx(expected.early.gradient_norms, rel=1e-3)
    assert chosen.layers == expected.layers


@pytest.mark.parametrize(
    ("model", "on_cpu", "on_gpu"),
    [
        ("mlp", COMPILED, 320), ("mlp(norm='rms')", AUTOGRAD, 8), ("mlp(bias=False)", AUTOGRAD, 8),
        ("mlp(activation='sine')", AUTOGRAD, 8), ("mlp(depth=2, width=[32, 16])", COMPILED, 320),
        ("mlp(dropout=0.1)", AUTOGRAD, 1), ("cnn(norm='rms')", CHANNELS_LAST, 8), ("cnn(dropout=0.1)", AUTOGRAD, 1),
    ],
)  # fmt: skip
def test_who_trains_what_and_what_draws_is_trained_alone(digits, model, on_cpu, on_gpu):
    trial = trial_of(digits, model=str(MODELS.resolve(model)), steps=2)
    (record,) = engines.train([trial], digits, silent)
    assert record.environment.engine == on_cpu
    assert choose(trial.model_copy(update={"device": "cuda"}), digits).members == on_gpu


@pytest.mark.parametrize("model", ["cnn(depth=2, width=8, norm='rms')", "resnet(depth=8, width=8, norm='group')"])
def test_normalized_convolutions_are_the_same_in_channels_last(model):
    models = [build_model(model, (2, 8, 8), CLASSES) for _ in range(2)]
    trials = [trial_of(lr=0.02), trial_of(lr=0.03)]
    assert max(against_the_reference(convolutional.channels_last, models, trials, (2, 8, 8), orders=2)) < 1e-9


def test_what_overruns_a_buffer_in_channels_last_is_the_references(digits):
    """A strided 1×1 convolution of few channels: where there is no more than AVX2, the process would die."""
    for width, engine in ((4, AUTOGRAD), (8, CHANNELS_LAST)):
        (record,) = engines.train([trial_of(digits, model=f"resnet(depth=8, width={width})")], digits, silent)
        assert record.environment.engine == engine


def plain(record):
    return record.model_dump(exclude={"timings"})


@pytest.mark.parametrize("opened", [Stacked, grouped.Grouped], ids=["stacked", "grouped"])
def test_a_diverging_member_changes_no_bit_of_its_neighbours(opened):
    shape = (2, 9, 8)
    build = (
        (lambda: chain([144, 8, CLASSES], "relu")) if opened is not grouped.Grouped else (lambda: small_cnn("batch"))
    )
    models, trials = [build() for _ in range(3)], [trial_of(optimizer="sgd(momentum=0.9)")] * 3
    outputs = []
    for bad in (None, math.nan, math.inf):
        changed = copy.deepcopy(models)
        if bad is not None:
            nn.init.constant_(next(changed[1].parameters()), bad)
        torch.manual_seed(1)
        engine = opened(changed, trials, 3)
        losses = [engine.step(*batch, gradients=True) for batch in batches(shape, 3, 5, torch.float32)]
        outputs.append(torch.cat([torch.stack(losses).T, engine.logits(torch.ones(2, *shape)).flatten(1)], dim=1))
    for other in outputs[1:]:
        assert torch.equal(outputs[0][[0, 2]], other[[0, 2]])
        assert not other[1].isfinite().all()


# Groups.


def test_groups_hold_alike_trials_and_depend_on_nothing_else(digits):
    schemes = ("kaiming_uniform", "orthogonal", "zeros")
    trials = [
        trial_of(digits, scheme=scheme, seed=seed, lr=lr, optimizer=optimizer)
        for scheme, seed, lr, optimizer in itertools.product(schemes, range(3), (0.01, 0.1), ("sgd", "adam"))
    ]
    on_a_gpu = [trial.model_copy(update={"device": "cuda"}) for trial in trials]
    groups = group_trials(on_a_gpu, {digits.fingerprint: digits})
    assert groups == group_trials(on_a_gpu, {digits.fingerprint: digits})
    assert Counter(itertools.chain.from_iterable(groups)) == Counter(on_a_gpu)
    assert [{(t.optimizer, t.lr <= 1e6) for t in group} for group in groups] == [{("sgd", True)}, {("adam", True)}]
    assert {len(group) for group in group_trials(trials, {digits.fingerprint: digits})} == {1}


def test_code_of_the_users_goes_alone(digits):
    trials = [trial_of(digits, seed=seed, code=(("mine.py:f", "0" * 16),)) for seed in range(4)]
    assert [len(group) for group in group_trials(trials, {digits.fingerprint: digits})] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, COMPILED),
        ({"batch_size": 15, "model": "mlp(depth=2, width=17, activation='relu')"}, COMPILED),
        ({"optimizer": "adam"}, COMPILED),
        ({"model": "linear"}, COMPILED),
        ({"model": "lenet(activation='relu')"}, CHANNELS_LAST),
        ({"precision": "bfloat16"}, AUTOGRAD),
    ],
)
def test_the_choice_of_an_engine(digits, changes, name):
    record = engines.train([trial_of(digits, steps=2, **changes)], digits, silent)[0]
    assert record.environment.engine == name


@pytest.mark.parametrize(
    ("seeds", "shared", "orders"),
    [
        ([1, 1, 2, 2], True, [1, 2]),
        ([1, 1, 2, 2], False, [1, 1, 2, 2]),
        ([1, 2, 1, 2], True, [1, 2, 1, 2]),
        ([1, 1, 2], True, [1, 1, 2]),
        ([5], True, [5]),
    ],
)
def test_batches_are_shared_only_in_equal_consecutive_shares(seeds, shared, orders):
    assert data_orders([trial_of(seed=seed) for seed in seeds], shared=shared) == orders


def test_a_group_too_large_for_memory_is_halved_until_it_fits_and_one_trial_is_not(digits, monkeypatch):
    trials = [trial_of(digits, seed=seed, steps=3) for seed in range(4)]
    sizes = []

    def limited(models, group, orders, most):
        sizes.append(len(models))
        if len(models) > most:
            raise torch.OutOfMemoryError
        return Stacked(models, group, orders)

    def records(most):
        engine = stepwise(lambda *given: limited(*given, most=most), members=4)
        monkeypatch.setattr("initbench.training.choice.choose", lambda *_: engine)
        return [plain(record) for record in engines.train(trials, digits, silent)]

    assert len(records(4)) == 4
    sizes.clear()
    assert [record["trial"]["seed"] for record in records(1)] == [0, 1, 2, 3]
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    with pytest.raises(torch.OutOfMemoryError):
        records(0)


def test_a_low_precision_is_another_trial_and_shows(digits):
    full, low = (trial_of(digits, precision=precision) for precision in ("float32", "bfloat16"))
    assert full.id != low.id
    records = [engines.train([trial], digits, silent)[0] for trial in (full, low)]
    assert records[1].outcome.status == "finished"
    assert records[1].final.test_loss == pytest.approx(records[0].final.test_loss, rel=0.2)
    assert records[1].final.test_loss != pytest.approx(records[0].final.test_loss, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("model", ["mlp(depth=3, width=64, activation='relu')", "cnn(depth=2, width=8)"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_group_on_a_gpu_draws_the_curves_of_the_cpu(digits, model, optimizer):
    """Steps beyond the first fifty are replayed from a graph."""
    model = str(MODELS.resolve(model))
    trials = [
        trial_of(digits, model=model, optimizer=optimizer, lr=1e-3, steps=80, seed=seed, scheme=scheme, device="cuda")
        for seed in range(2)
        for scheme in ("kaiming_uniform", "orthogonal")
    ]
    together = engines.train(trials, digits, silent)
    for record, trial in zip(together, trials, strict=True):
        on_cpu = loop.train([trial.model_copy(update={"device": "cpu"})], digits, silent, autograd.ENGINE)[0]
        assert record.final.val_loss == pytest.approx(on_cpu.final.val_loss, rel=1e-3)
