"""What is trained: six workloads, their data, and who contends in each."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from initbench import datasets
from initbench.records.recipe import DEFAULT_SCHEMES, Trial
from initbench.running.plan import draft_of, plan_study

CONTENDERS = ("tutorial loop", "Lightning", "eager loop", "torch.compile", "JAX")
FULL_SIZE = {"mnist": (60_000, 10_000, (28, 28, 1)), "cifar10": (10_000, 2_000, (32, 32, 3))}  # train, test, image


@dataclass(frozen=True)
class Workload:
    """A setting, and how many trials of it each contender trains in a round.

    The tutorial loop trains the first `tutorial_trials` of them: it takes one after another, so that its seconds a
    trial do not depend on how many there are. `steps` None is one epoch. With `command` the whole of `initbench
    compare` is timed, from the start of its process to the end; it evaluates 30 times.
    """

    title: str
    model: str
    dataset: str
    lr: float
    trials: int
    tutorial_trials: int
    batch_size: int = 128
    steps: int | None = None
    evaluations: int = 30
    schemes: tuple[str, ...] = ("kaiming_uniform",)
    contenders: tuple[str, ...] = CONTENDERS
    command: bool = False


# The default set without constant(0.05): a network of twins, whose loss grows a last bit into a hundredth within 50
# steps, so that no two programs agree on it.
TAME = tuple("xavier_normal" if scheme == "constant(0.05)" else scheme for scheme in DEFAULT_SCHEMES)

# The rates of E and F are low because training is chaotic above them: at 0.02 the losses of some seeds differ by a
# hundredth within 50 steps between any two programs that add in another order.
WORKLOADS = {
    "A": Workload("MNIST, 784-256-256-10", "mlp(depth=2, width=256)", "mnist", 0.02, trials=8, tutorial_trials=2),
    "B": Workload("CIFAR-10 shapes, 4 convolutions", "cnn(depth=4, width=32)", "cifar10", 0.005, trials=2,
                  tutorial_trials=1, steps=30, evaluations=6, contenders=(
                      "tutorial loop", "Lightning", "eager loop", "eager loop, channels_last",
                      "torch.compile, channels_last")),
    "C": Workload("MNIST, 30 layers of width 64", "mlp(depth=29, width=64)", "mnist", 0.0003, trials=8,
                  tutorial_trials=2),
    "D": Workload("initbench compare, process start to report", "mlp(depth=2, width=256)", "mnist", 0.01,
                  trials=40, tutorial_trials=8, schemes=TAME, contenders=("tutorial loop",), command=True),
    "E": Workload("digits, 8 hidden layers of width 64", "mlp(depth=8, width=64)", "digits", 0.002, trials=40,
                  tutorial_trials=2, batch_size=64, steps=200),
    "F": Workload("digits, 4 hidden layers of width 32", "mlp(depth=4, width=32)", "digits", 0.005, trials=80,
                  tutorial_trials=2, batch_size=32, steps=200),
}  # fmt: skip


def quick(workload: Workload) -> Workload:
    """Return a workload of a few seconds, to see that everything runs; its ratios mean nothing."""
    schemes = workload.schemes[:2]
    evaluations = workload.evaluations if workload.command else 5
    trials = 2 * len(schemes)
    few = trials if workload.command else 2
    return replace(workload, steps=20, evaluations=evaluations, trials=trials, tutorial_trials=few, schemes=schemes)


def flags(workload: Workload, dataset: str) -> dict[str, object]:
    """Return the recipe of a workload, which the command line takes as flags of the same names."""
    length = {"epochs": 1} if workload.steps is None else {"steps": workload.steps}
    return {
        "schemes": list(workload.schemes),
        "model": workload.model,
        "dataset": dataset,
        "lr": workload.lr,
        "batch_size": workload.batch_size,
        "seeds": workload.trials // len(workload.schemes),
        "device": "cpu",
        "baseline": workload.schemes[0],
        **length,
    }


def lay_out(workload: Workload, dataset: str, data_dir: Path) -> list[Trial]:
    """Return the trials of a workload on a dataset, given by name or path."""
    study = plan_study(draft_of(None, flags(workload, dataset), "argument"), Path(), data_dir)
    return [trial.model_copy(update={"evaluations": workload.evaluations}) for trial in study.trials]


def find_data(kind: str, root: Path, made: Path) -> tuple[str, str]:
    """Return a dataset by name or path, and what to call it: real images where there are any, else made ones."""
    if kind == "digits":
        return "digits", "scikit-learn's digits"
    if kind == "mnist" and datasets.locate("mnist", root).state == "verified":
        return "mnist", "MNIST"
    files = sorted(root.glob("*cifar10[!0]*.npz")) if kind == "cifar10" else []
    if files:
        return str(files[0]), files[0].name
    return str(make_data(kind, made / f"made_{kind}.npz")), f"made images of the shape of {kind.upper()}"


def make_data(kind: str, path: Path) -> Path:
    """Write images that can be learned: ten patterns under noise."""
    train, test, shape = FULL_SIZE[kind]
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, size=(10, *shape), dtype=np.uint8) // 4
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        labels = rng.integers(0, 10, size=count)
        noise = rng.integers(0, 256, size=(count, *shape), dtype=np.uint8) // 4 * 3
        arrays |= {f"x_{split}": patterns[labels] + noise, f"y_{split}": labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path
