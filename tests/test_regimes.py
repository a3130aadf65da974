"""Schedules, warmup and clipping: every engine trains as plain PyTorch does with torch's own schedulers."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from torch import nn
from torch.optim import lr_scheduler

from initbench import datasets
from initbench import training as engines
from initbench.errors import UsageError
from initbench.records.recipe import Trial
from initbench.training import autograd, chains, loop, schedules
from initbench.training.choice import choose
from initbench.training.optimizers import OPTIMIZERS

STEPS, BATCH, LR = 50, 16, 0.05
# A regime in our words, and what a person writes with torch: a scheduler of an optimizer, and a limit of the norm.
REGIMES = {
    "schedule='cosine'": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "schedule='cosine(end=0.1)', warmup=0.2": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 1 / 10, total_iters=10), lr_scheduler.CosineAnnealingLR(o, 40, 0.1 * LR)], [10]
    ),
    "warmup=5": lambda o: lr_scheduler.LinearLR(o, 1 / 5, total_iters=5),
    "schedule='linear', clip=0.5": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, STEPS),
    "schedule='step(12, gamma=0.5)'": lambda o: lr_scheduler.StepLR(o, 12, 0.5),
    "schedule='step(0.5)', clip=1.0": lambda o: lr_scheduler.StepLR(o, 25),
    "schedule='onecycle'": lambda o: lr_scheduler.OneCycleLR(o, LR, total_steps=STEPS, cycle_momentum=False),
}
OURS = {"sgd": "momentum=0.9, nesterov=True", "adamw": "weight_decay=0.1"}
TORCHS = {
    "sgd": lambda p: torch.optim.SGD(p, LR, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, LR, weight_decay=0.1),
}


@pytest.fixture(scope="module")
def digits():
    return datasets.prepare("digits")


def silent(_group, _step):
    """Observe nothing."""


def trial_of(optimizer, **changes):
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": "made", "fingerprint": "made",
        "scheme": "kaiming_uniform", "optimizer": optimizer, "lr": LR, "batch_size": BATCH, "steps": STEPS, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 5))


def batches():
    torch.manual_seed(1)
    return [(torch.randn(1, BATCH, 6, 1, 1), torch.randint(5, (1, BATCH))) for _ in range(STEPS)]


def written_by_hand(model, optimizer, scheduler, clip):
    losses = []
    for images, labels in batches():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[0]), labels[0])
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", OURS)
def test_the_reference_engine_is_a_loop_with_torchs_scheduler_to_the_bit(name, regime):
    by_hand, ours = network(), network()
    optimizer = TORCHS[name](by_hand.parameters())
    clip = float(regime.partition("clip=")[2] or 0)
    expected = written_by_hand(by_hand, optimizer, REGIMES[regime](optimizer), clip)
    engine = autograd.Autograd([ours], [trial_of(f"{name}({OURS[name]}, {regime})")])
    assert [engine.step(*batch, gradients=True).item() for batch in batches()] == expected
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), by_hand.parameters(), strict=True))


@pytest.mark.parametrize("regime", REGIMES)
def test_the_reference_engine_in_float64_is_plain_pytorch_to_nine_digits(regime):
    """Momentum, schedule and clipping by their formulas, in float64 NumPy-like arithmetic, without torch.optim."""
    model = network().double()
    engine = autograd.Autograd([copy.deepcopy(model)], [trial_of(f"sgd(momentum=0.9, {regime})")])
    holder = torch.optim.SGD([torch.zeros(1, requires_grad=True)], LR)
    scheduler, clip = REGIMES[regime](holder), float(regime.partition("clip=")[2] or math.inf)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for images, labels in batches():
        loss = nn.functional.cross_entropy(model(images[0].double()), labels[0])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        rate, scale = holder.param_groups[0]["lr"], min(1.0, clip / (norm + 1e-6))
        found = float(engine.step(images.double(), labels, gradients=True))
        assert found == pytest.approx(loss.item(), rel=1e-9)
        assert float(engine.gradient_norms()) == pytest.approx(norm * (scale if clip == math.inf else 1), rel=1e-9)
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                p.sub_(v.mul_(0.9).add_(g, alpha=scale), alpha=rate)
        holder.step()
        scheduler.step()


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("optimizer", ["sgd", "sgd(momentum=0.9)", "adam", "nadam", "adagrad"])
def test_the_compiled_loop_follows_the_same_rates_and_limits(digits, optimizer, regime):
    text = f"{optimizer.rstrip(')')}{', ' if '(' in optimizer else '('}{regime})"
    slow = {"adam": 1e-4, "nadam": 1e-4, "adagrad": 1e-3}.get(optimizer, 0.05)
    given = {"dataset": digits.name, "fingerprint": digits.fingerprint, "lr": slow, "steps": 20}
    trial = trial_of(str(OPTIMIZERS.resolve(text)), **given)
    assert choose(trial, digits) is chains.ENGINE
    ours = engines.train([trial], digits, silent)[0]
    reference = loop.train([trial], digits, silent, autograd.ENGINE)[0]
    plain = engines.train([trial.model_copy(update={"optimizer": optimizer})], digits, silent)[0]
    assert ours.early.losses == pytest.approx(reference.early.losses, rel=1e-5)
    assert ours.early.gradient_norms == pytest.approx(reference.early.gradient_norms, rel=1e-4)
    assert ours.early.losses != plain.early.losses


def test_lion_and_muon_move_as_their_papers_say():
    """Lion: every weight by the rate, in the direction of the gradient's sign. Muon: an orthogonal update."""
    model, (batch, *_) = network(), batches()
    for optimizer in ("lion", "muon(weight_decay=0.0)"):
        ours = copy.deepcopy(model)
        engine = autograd.Autograd([ours], [trial_of(optimizer, lr=0.01)])
        engine.step(*batch, gradients=True)
        gradient = list(ours.parameters())[2].grad
        moved = [(a - b).detach() for a, b in zip(ours.parameters(), model.parameters(), strict=True)]
        if optimizer == "lion":
            signs = [p.grad.sign() for p in ours.parameters()]
            torch.testing.assert_close(moved, [-0.01 * sign for sign in signs], rtol=1e-4, atol=1e-6)
        else:
            spread = [values.max() / values.min() for values in map(torch.linalg.svdvals, (moved[2], gradient))]
            assert spread[0] < spread[1] / 2  # five iterations of Newton and Schulz go a part of the way
            assert moved[2].square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)  # the size of AdamW's
            torch.testing.assert_close(moved[3].abs(), torch.full((5,), 0.01), rtol=1e-2, atol=0)  # AdamW's first step


@examples(50)
@given(
    schedule=st.sampled_from(["constant", "cosine", "linear", "step(0.25)", "step(7)", "cosine(end=0.5)"]),
    warmup=st.one_of(st.just(0), st.integers(1, 40), st.floats(0.01, 0.8)),
    steps=st.integers(60, 200),
    lr=st.floats(1e-6, 10),
)
def test_rates_rise_to_the_rate_in_the_warmup_and_never_exceed_it_nor_rise_again(schedule, warmup, steps, lr):
    rates = schedules.rates(schedule, warmup, lr, steps)
    over = schedules.in_steps(warmup, steps) if warmup else 0
    assert len(rates) == steps
    assert max(rates) <= lr * (1 + 1e-9)
    assert rates[over] == pytest.approx(lr)
    assert rates[0] == pytest.approx(lr / over if over else lr)
    assert sorted(rates[: over + 1]) == pytest.approx(rates[: over + 1])
    assert sorted(rates[over:], reverse=True) == pytest.approx(rates[over:], abs=1e-12 * lr)


@pytest.mark.parametrize(
    ("optimizer", "steps", "words"),
    [
        ("sgd(schedule='cosin')", 50, "schedule 'cosin': did you mean 'cosine'?"),
        ("sgd(schedule='step')", 50, "needs a value for 'size'"),
        ("sgd(schedule='onecycle', warmup=5)", 50, "warmup of its own"),
        ("sgd(clip=0)", 50, "greater than 0"),
        ("adam(warmup=50)", 50, "leaves no step of 50"),
        ("adam(warmup=1.5)", 50, "less than 1"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(optimizer, steps, words):
    with pytest.raises(UsageError) as error:
        schedules.require_fitting(OPTIMIZERS.build(optimizer).regime.warmup, steps)
    assert words in str(error.value)


def test_trials_without_a_regime_keep_their_names():
    for written in ("sgd", "sgd(schedule='constant', warmup=0, clip=None)", "sgd(schedule='constant()')"):
        assert str(OPTIMIZERS.resolve(written)) == "sgd"
    text = str(OPTIMIZERS.resolve('sgd(clip=1, schedule="cosine(end=0.0)", warmup=0.1)'))
    assert text == "sgd(schedule='cosine', warmup=0.1, clip=1.0)"
