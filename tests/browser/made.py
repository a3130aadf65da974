"""Comparisons made up for pages: every figure, every section, and names that would be markup."""

import numpy as np
from analysis_data import a_comparison, a_curve, a_layer, a_trial, diverged, failed, finished
from test_inspection_pages import a_network

from initbench.records.recipe import Claim

SCHEMES = ("torch_default", "kaiming_uniform", "xavier_uniform", "zeros")
HOSTILE = (
    "torch_default",
    "<script>window.ran = 1</script>",
    "\"'><img src=x onerror='window.ran = 1'>",
    "</title></style></script><b>bold</b> & &lt; ${1} javascript:alert(1)",
)
NEVER = 3  # the place of the scheme that never learns


def a_whole_comparison(*, hostile=False):
    """Four schemes of three seeds over a grid of two rates, one of which learns nothing."""
    schemes = HOSTILE if hostile else SCHEMES
    records = [_a_record(scheme, place, seed, lr) for lr in (0.05, 0.1) for place, scheme in enumerate(schemes)
               for seed in range(3)]  # fmt: skip
    records += [diverged(a_trial(schemes[1], 3)), failed(a_trial(schemes[1], 4), reason=schemes[2])]
    claim = Claim(text=schemes[1], metric="test_accuracy", better=schemes[1], than=schemes[0], source=schemes[2])
    return a_comparison(
        records, name=schemes[2], question=f"Is {schemes[1]} better?", claims=(claim,), command=f"compare {schemes[1]}"
    )


def a_wide_comparison(schemes, seeds, points=30, layers=9):
    """As many schemes and seeds as asked for, with curves and layers of a usual length."""
    return a_comparison(
        [_a_long_record(place, seed, points, layers) for place in range(schemes) for seed in range(seeds)]
    )


def _a_record(scheme, place, seed, lr):
    best = 0.12 if place == NEVER else 0.99 - 0.03 * place - 0.01 * seed - lr / 10
    curve = a_curve([0.1 + (best - 0.1) * (i / 9) ** (1 + place / 2) for i in range(10)])
    steps = a_network(seed=seed, factor=1.5 - place / 2)
    return finished(
        a_trial(scheme, seed, lr=lr), curve=curve, val=best, test=best - 0.01 * seed, layers=steps.layers,
        network=steps.network,
    )  # fmt: skip


def _a_long_record(place, seed, points, layers):
    draw = np.random.default_rng([place, seed])
    steps = np.unique(np.geomspace(1, 2000, points).astype(int)).tolist()
    rise = np.clip(0.1 + 0.09 * place * np.linspace(0, 1, len(steps) + 1) + draw.normal(0, 0.01, len(steps) + 1), 0, 1)
    scheme = f"kaiming_uniform(mode='fan_out'); bias=constant({place / 10})" if place else "torch_default"
    return finished(
        a_trial(scheme, seed, steps=2000), curve=a_curve(rise.tolist(), steps=[0, *steps]), val=float(rise[-1]),
        layers=tuple(a_layer(i, float(draw.lognormal(place - i, 0.1)), predicted=0.5) for i in range(layers)),
        test=float(rise[-1]),
    )  # fmt: skip
