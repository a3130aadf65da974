"""Small networks and trials for which every engine's answers are checked."""

import itertools
from typing import Any

from torch import nn

from initbench.networks.models import ACTIVATIONS
from initbench.records.recipe import Trial

CLASSES, BATCH = 10, 32
# Rules that divide by a gradient's size multiply its rounding where it is near 0; a larger eps bounds by how much.
OPTIMIZERS = (
    "sgd", "sgd(momentum=0.9)", "sgd(weight_decay=0.01)", "sgd(momentum=0.8, weight_decay=0.1, nesterov=True)",
    "adam(eps=0.001)", "adam(eps=0.001, weight_decay=0.1)", "adamw(eps=0.001)", "rmsprop(eps=0.001)",
    "rmsprop(eps=0.001, momentum=0.5)",
)  # fmt: skip


def trial_of(**changes: Any) -> Trial:
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": "made", "fingerprint": "made",
        "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.05, "batch_size": BATCH, "steps": 80, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def chain(activation: str, sizes: tuple[int, ...] = (48, 40, 33, 24, CLASSES)) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def convolutions(norm: str, activation: str = "relu") -> nn.Sequential:
    """Return a chain of two convolutions for images of 3 × 4 × 4."""
    norms = {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(4), "group": lambda: nn.GroupNorm(2, 4)}
    made = [
        nn.Conv2d(3, 4, 3, padding=1), norms[norm](), ACTIVATIONS[activation](), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), ACTIVATIONS[activation](), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 7), ACTIVATIONS[activation](), nn.Linear(7, CLASSES),
    ]  # fmt: skip
    return nn.Sequential(*(module for module in made if not isinstance(module, nn.Identity)))
