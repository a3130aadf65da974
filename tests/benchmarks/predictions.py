# ruff: noqa: T201 - it prints what it measured
"""How well theory predicts step 0: `python -m tests.benchmarks.predictions` (`make predictions`, most of an hour).

Every built-in model with every built-in scheme, 12 seeds each, on images of digits. Prints a table in Markdown of
measured over predicted, forward and backward, with the share of layers inside the interval that sampling explains, and
then every layer outside: there `inspect` shows no prediction.
"""

import argparse
import itertools
import math
import sys
import warnings
from collections.abc import Iterator, Sequence

from initbench.analysis.step_zero.agreement import ALPHA, PREDICTED, Agreement, agreements
from initbench.errors import UsageError
from initbench.networks.models import ACTIVATIONS
from initbench.running.inspection import plan_inspection, run_inspection
from initbench.schemes import SCHEMES

SEEDS = 12
MODELS = (
    "linear",
    "mlp",
    *(f"mlp(activation='{name}')" for name in ACTIVATIONS if name not in {"relu", "identity"}),
    *(f"mlp({part})" for part in ("norm='batch'", "norm='layer'", "norm='rms'", "bias=False", "dropout=0.1")),
    "mlp(depth=30)",
    "mlp(width=8)",
    "lenet",
    "lenet(activation='tanh')",
    "cnn(width=16)",
    "cnn(width=16, activation='tanh')",
    "cnn(width=16, norm='batch')",
    "deep_cnn(depth=8)",
    "resnet(depth=8)",
    "resnet(depth=8, branch_scale=True)",
    "resnet(depth=8, norm='batch')",
    "resnet(depth=8, preactivation=True)",
    "resmlp",
    "resmlp(norm='rms')",
)
ARGUMENTS = {"sparse": "sparse(0.5)", "constant": "constant(0.01)", "scaled": "scaled('kaiming_normal', 0.5)"}
QUICK = (("mlp(width=8)", "lenet", "cnn(width=16)"), ("kaiming_normal", "torch_default", "orthogonal"))


def compared(models: Sequence[str], schemes: Sequence[str], seeds: int) -> Iterator[tuple[str, str, Agreement]]:
    """Yield (model, scheme, agreement) of every layer and direction with a prediction."""
    for model, scheme in itertools.product(models, schemes):
        try:
            inspection = run_inspection("predictions", plan_inspection(model, [scheme], seeds))
        except UsageError:
            continue  # the scheme does not fit the model
        (name,) = inspection.models
        for one in agreements(inspection.steps(name, inspection.schemes[0])):
            yield model, scheme, one


def main() -> int:
    """Print the tables, and fail if fewer layers are inside than the intervals promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three models and three schemes: see that it runs")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")  # of a scheme that does not fit every layer
    schemes = QUICK[1] if quick else [ARGUMENTS.get(name, name) for name in SCHEMES]
    found = []
    print(
        "| model | " + " | ".join(f"{moment.partition('_')[0]}: layers, inside, ratio" for moment in PREDICTED) + " |"
    )
    print("|---|---|---|")
    for model in QUICK[0] if quick else MODELS:
        rows = list(compared([model], schemes, SEEDS))
        cells = [_cell([one for _, _, one in rows if one.moment == moment]) for moment in PREDICTED]
        print(f"| `{model}` | " + " | ".join(cells) + " |", flush=True)
        found += rows
    outside = [row for row in found if not row[2].inside]
    share = 1 - len(outside) / len(found)
    print(f"\n{len(found)} layers and directions, {SEEDS} seeds each: {share:.2%} inside.\n")
    for model, scheme, one in outside:
        ratio, low, high = (f"{math.exp(end):.3g}" for end in (one.ratio, one.low, one.high))
        print(f"- {model}, {scheme}, {one.layer}: {one.moment} {ratio} [{low}, {high}]")
    return share < 1 - ALPHA


def _cell(found: Sequence[Agreement]) -> str:
    if not found:
        return "no law"
    ratios = [math.exp(one.ratio) for one in found]
    inside = sum(one.inside for one in found) / len(found)
    return f"{len(found)}, {inside:.1%}, {min(ratios):.2f} to {max(ratios):.2f}"


if __name__ == "__main__":
    sys.exit(main())
