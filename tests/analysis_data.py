"""Records with known numbers, for the tests of analysis."""

import math

from initbench.comparison import Comparison
from initbench.records.recipe import Trial
from initbench.records.record import (
    DataFacts,
    Environment,
    Final,
    LayerStatistics,
    Outcome,
    Point,
    Record,
    Timings,
)

DATA = DataFacts(classes=10, train_size=1200, val_size=300, test_size=297, guess=0.1)
ENVIRONMENT = Environment(
    initbench="0.1.0",
    torch="2.13.0",
    python="3.11.9",
    platform="Linux-x86_64",
    device="cpu",
    engine="autograd",
    threads=1,
)
LN_10 = math.log(10)
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 200)


def a_trial(scheme="kaiming_uniform", seed=0, **fields):
    axes = {
        "model": "mlp(depth=8, width=64)",
        "dataset": "digits",
        "fingerprint": "f00d",
        "optimizer": "sgd",
        "lr": 0.05,
        "batch_size": 64,
        "steps": STEPS[-1],
    }
    return Trial(scheme=scheme, seed=seed, **(axes | fields))


def a_curve(accuracies, *, steps=STEPS, start=LN_10):
    """A curve whose accuracy at each step is given and whose losses follow from it."""
    return tuple(
        Point(step=s, epoch=s / 20, train_loss=start * (1.04 - a), val_loss=start * (1.05 - a), val_accuracy=a)
        for s, a in zip(steps, accuracies, strict=False)
    )


def a_layer(number, forward, gradient=1e-4, predicted=None):
    return LayerStatistics(
        layer=f"layers.{2 * number}",
        kind="Linear",
        fan_in=64,
        fan_out=64,
        weight_std=0.1,
        forward_moment=forward,
        gradient_moment=gradient,
        dead_fraction=None,
        cosine=0.5,
        forward_moment_predicted=predicted,
    )


def finished(trial, *, test=0.9, val=0.9, curve=None, val_loss=0.3, **fields):
    curve = a_curve([0.1 + (val - 0.1) * i / 9 for i in range(10)]) if curve is None else curve
    final = Final(
        train_loss=0.2,
        train_accuracy=val,
        val_loss=val_loss,
        val_accuracy=val,
        test_loss=0.25,
        test_accuracy=test,
    )
    return a_record(trial, curve=curve, final=final, outcome=Outcome(status="finished"), **fields)


def diverged(trial, *, step=8, curve=None, **fields):
    curve = a_curve([0.1, 0.1, 0.12, 0.1]) if curve is None else curve
    return a_record(trial, curve=curve, final=None, outcome=Outcome(status="diverged", step=step), **fields)


def failed(trial, *, reason="out of memory", curve=(), **fields):
    return a_record(trial, curve=curve, final=None, outcome=Outcome(status="failed", reason=reason), **fields)


def a_record(trial, **fields):
    parts = {
        "data": DATA,
        "layers": tuple(a_layer(i, 0.5 * (1 + trial.seed / 10) ** i, predicted=0.5) for i in range(4)),
        "environment": ENVIRONMENT,
        "timings": Timings(seconds_init=0.01, seconds_train=1.0 + trial.seed),
    }
    return Record(trial=trial, **(parts | fields))


def a_comparison(records, **fields):
    parts = {
        "name": "compare-test",
        "question": "Does it matter?",
        "target": 0.8,
        "baseline": "torch_default",
        "schemes": tuple(dict.fromkeys(record.trial.scheme for record in records)),
        "missing": 0,
        "command": "initbench compare",
    }
    return Comparison(records=tuple(records), **(parts | fields))
