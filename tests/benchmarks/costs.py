# ruff: noqa: T201 - it prints what it measured
"""What activations, optimizers and vanishing signals cost in training: `python -m tests.benchmarks.costs`.

Run from the repository. Prints three tables in Markdown. One process with one thread trains all rows of a column in
turn, round after round; a ratio is the median over rounds, with the least and the largest in brackets.
"""

import argparse
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from initbench import datasets, training
from initbench.datasets import Dataset, default_data_dir
from initbench.networks.models import ACTIVATIONS
from initbench.records.recipe import Trial
from initbench.running import bootstrap
from initbench.running.plan import draft_of, plan_study
from initbench.training.environment import describe

OPTIMIZERS = (
    "sgd",
    "sgd(momentum=0.9)",
    "sgd(momentum=0.9, nesterov=True, weight_decay=0.0001)",
    "adam",
    "adamw",
    "rmsprop",
)
# Kaiming's keeps the signal at every depth; the next three shrink it layer by layer, in the end below 2^-126, where
# numbers are denormal. A constant lets it grow, at depth 100 beyond the largest number.
SCHEMES = ("kaiming_uniform", "xavier_uniform", "normal(std=0.01)", "torch_default", "constant(0.05)", "zeros")
DEPTHS = (8, 30, 100)
TAME = "xavier_uniform"  # under which every activation trains
LR = 0.0003

Seconds = dict[str, list[float]]  # per step, round by round, for every row; NaN where a trial did not finish


@dataclass(frozen=True)
class Network:
    """A chain of width 64, and what it is trained on."""

    dataset: str
    depth: int
    batch_size: int
    steps: int

    @property
    def title(self) -> str:
        return f"{self.dataset}, depth {self.depth}, batch {self.batch_size}"

    def trial(self, data_dir: Path, activation: str = "relu", optimizer: str = "sgd", scheme: str = TAME) -> Trial:
        flags = {
            "schemes": [scheme],
            "baseline": scheme,
            "model": f"mlp(depth={self.depth}, width=64, activation='{activation}')",
            "dataset": self.dataset,
            "optimizer": optimizer,
            "lr": LR,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seeds": 1,
            "device": "cpu",
        }
        return plan_study(draft_of(None, flags, "argument"), Path(), data_dir).trials[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="after one that warms up (7)")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="where datasets lie (INITBENCH_DATA)")
    options = parser.parse_args()
    bootstrap.keep_memory()  # as every worker does
    here = describe("cpu", engine="")
    print(
        f"Measured on {here.device} ({here.instructions}), one thread; {options.rounds} rounds, median [least, most].\n"
    )
    # Those of the workloads E and C of `make bench`.
    small, deep = Network("digits", 8, 64, steps=200), Network("mnist", 29, 128, steps=421)
    if datasets.locate("mnist", options.data_dir).state != "verified":
        deep = Network("digits", 29, 64, steps=200)
    depths = [Network("digits", depth, 64, steps=100) for depth in DEPTHS]
    for axis, rows, networks, baseline in (
        ("activation", tuple(ACTIVATIONS), [small, deep], "relu"),
        ("optimizer", OPTIMIZERS, [small, deep], "sgd"),
        ("scheme", SCHEMES, depths, None),
    ):
        columns = {}
        for network in networks:
            dataset = datasets.prepare(network.dataset, options.data_dir)
            trials = {row: network.trial(options.data_dir, **{axis: row}) for row in rows}
            columns[network.title] = measure(trials, dataset, options.rounds)
        print(table(axis, columns, baseline), end="\n\n", flush=True)


def measure(trials: Mapping[str, Trial], dataset: Dataset, rounds: int) -> Seconds:
    """Train all trials once to warm up, then `rounds` times, every other time in reverse."""
    found: Seconds = {name: [] for name in trials}
    for i in range(rounds + 1):
        for name in list(trials)[:: 1 if i % 2 else -1]:
            seconds = seconds_per_step(trials[name], dataset)
            if i:
                found[name].append(seconds)
    return found


def seconds_per_step(trial: Trial, dataset: Dataset) -> float:
    """Return the seconds of a trial's training, evaluations included, divided by its steps."""
    (record,) = training.train([trial], dataset, lambda *_: None)
    return record.timings.seconds_train / trial.steps if record.outcome.status == "finished" else math.nan


def table(axis: str, columns: Mapping[str, Seconds], baseline: str | None) -> str:
    """Return a table in Markdown; a column of ratios stands beside every column of times."""
    head = [axis, *(cell for title in columns for cell in (f"{title}: µs per step", f"× {baseline or 'fastest'}"))]
    rows = next(iter(columns.values()))
    body = [[row, *(cell for found in columns.values() for cell in _cells(found, row, baseline))] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(found: Seconds, row: str, baseline: str | None) -> tuple[str, str]:
    """Return the median time of a row, and of its paired ratios to the baseline, or to the fastest row without one."""
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    if math.isnan(medians[row]):
        return "did not finish", ""
    baseline = baseline or min(medians, key=lambda name: math.inf if math.isnan(medians[name]) else medians[name])
    ratios = [mine / theirs for mine, theirs in zip(found[row], found[baseline], strict=True)]
    ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
    return f"{1e6 * medians[row]:.0f}", "1" if row == baseline else ratio


if __name__ == "__main__":
    main()
