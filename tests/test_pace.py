"""Speed that must not be lost unseen: ratios within one run, with room for a busy machine; `make bench` measures it."""

import copy
import statistics
import time

import numpy as np
import pytest
import torch

from initbench import datasets
from initbench.analysis.paired import EXACT_PAIRS, sign_flip
from initbench.engines import autograd, choosing
from initbench.models import build_model
from initbench.recipe import Trial

ROUNDS, STEPS = 7, 10


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(work, other):
    """How long `work` takes against `other`: the median of paired rounds, after one to warm up."""
    work(), other()
    return statistics.median(seconds(work) / seconds(other) for _ in range(ROUNDS))


def group_of(model, members, dataset):
    return [
        Trial(
            model=model, dataset=dataset.name, fingerprint=dataset.fingerprint, scheme="kaiming_uniform",
            optimizer="sgd", lr=0.01, batch_size=64, steps=STEPS, seed=seed,
        )
        for seed in range(members)
    ]  # fmt: skip


def steps(stepper, members, shape, classes):
    images, labels = torch.rand(members, 64, *shape), torch.randint(classes, (members, 64))

    def run():
        for _ in range(STEPS):
            stepper.step(images, labels, gradients=False)

    return run


@pytest.mark.parametrize(
    ("model", "most"), [("mlp(depth=8, width=64)", 0.6), ("mlp(depth=2, width=256)", 0.9), ("cnn(depth=4)", 1.2)]
)
def test_the_engine_that_is_chosen_is_not_slower_than_the_reference(model, most):
    digits = datasets.prepare("digits")
    engine = choosing.choose(group_of(model, 1, digits)[0], digits)
    trials = group_of(model, engine.members, digits)
    models = [build_model(model, digits.shape, digits.classes) for _ in trials]
    ours = engine.open(copy.deepcopy(models), trials, len(trials))
    reference = autograd.Autograd(models, trials)
    works = [steps(stepper, len(trials), digits.shape, digits.classes) for stepper in (ours, reference)]
    assert ratio(*works) < most


def test_a_wide_network_trains_at_a_fair_share_of_the_rate_of_products():
    digits = datasets.prepare("digits")
    model, width, depth = "mlp(depth=3, width=512)", 512, 3
    trials = group_of(model, 1, digits)
    ours = choosing.choose(trials[0], digits).open([build_model(model, digits.shape, digits.classes)], trials, 1)
    a, b, out = (torch.rand(width, width) for _ in range(3))

    def products():
        """As many multiplications as the hidden layers' in steps: forward, ∂h and ∂W of batches of 64."""
        for _ in range(3 * (depth - 1) * STEPS * 64 // width):
            torch.mm(a, b, out=out)

    assert ratio(steps(ours, 1, digits.shape, digits.classes), products) < 3


def test_the_exact_test_of_twenty_pairs_costs_no_more_than_sorting_its_million_signs():
    differences = np.random.default_rng(0).normal(size=EXACT_PAIRS)
    sums = np.random.default_rng(1).normal(size=2**EXACT_PAIRS)
    assert ratio(lambda: sign_flip(differences), lambda: np.sort(sums)) < 0.5
