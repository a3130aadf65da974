"""Which engine trains a trial, and which trials form a group: pure functions of the trials.

All engines compute the same mathematics, but bits differ, so the choice must not depend on the machine's load, on
stored results, on installed packages or on the other trials. On the CPU each network is trained alone.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise

from initbench.datasets import Dataset
from initbench.networks.blocks import draws
from initbench.networks.models import build_model, is_built_in
from initbench.networks.user_model import ImageShape
from initbench.records.recipe import Trial
from initbench.records.record import Group
from initbench.training import autograd, convolutional, cuda, stacked
from initbench.training.activations import chain_of
from initbench.training.engine import Engine
from initbench.training.optimizers import OPTIMIZERS
from initbench.training.stepwise import stepwise

# Members of a stack of Linear on a GPU: on an H200 a trial's step costs half as much among 320 as among 64.
ON_GPU = 320
CONVOLUTIONS_ON_GPU = cuda.MEMBERS  # these fill it; more only use memory


def group_trials(trials: Sequence[Trial], datasets: Mapping[str, Dataset]) -> list[Group]:
    """Divide trials into groups of even size, in the order of the trials; `datasets` by fingerprint."""
    kinds: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(_kind(trial), []).append(trial)
    groups: list[Group] = []
    for alike in kinds.values():
        most = choose(alike[0], datasets[alike[0].fingerprint]).members
        groups += _even(alike if most == 1 else sorted(alike, key=lambda trial: trial.data_seed), most)
    return groups


def choose(trial: Trial, dataset: Dataset) -> Engine:
    """Return the engine of a trial: the fastest that computes the same as the reference, else the reference."""
    if not is_built_in(trial.model):  # the user's code may look like a chain and do anything
        return autograd.ENGINE
    return _choose(trial.model, trial.optimizer, dataset.shape, dataset.classes, trial.device, trial.precision)


@lru_cache(maxsize=256)
def _choose(model: str, optimizer: str, shape: ImageShape, classes: int, device: str, precision: str) -> Engine:
    built = build_model(model, shape, classes, device="meta")
    updates = OPTIMIZERS.build(optimizer)
    if device == "cpu":
        from initbench.training import chains  # noqa: PLC0415 - it loads LLVM, which a GPU needs not

        if precision == "float32" and updates.rule is not None and chains.takes(built):
            return chains.ENGINE
        # In channels_last a mask of dropout has its draws in another order.
        if precision == "float32" and convolutional.takes_channels_last(built) and not draws(built):
            return stepwise(convolutional.channels_last)
        return autograd.ENGINE
    if device == "cuda" and not updates.alone and not draws(built):  # members would share one generator
        if precision != "bfloat16" and chain_of(built):
            return stepwise(stacked.Stacked, ON_GPU, shares_batches=True)
        return stepwise(partial(convolutional.fastest, shape=shape), CONVOLUTIONS_ON_GPU, shares_batches=True)
    return autograd.ENGINE


def _kind(trial: Trial) -> tuple[str, ...]:
    """Return the key of a group; trials of the user's code, which may crash the process, are alone."""
    same = trial.model_dump_json(exclude={"scheme", "seed", "order_seed", "lr"})
    low, high = stacked.FOLDED_RATES
    folded = str(low <= trial.lr <= high)
    return (same, folded) if trial.code is None else (same, folded, trial.id)


def _even(trials: Sequence[Trial], most: int) -> list[Group]:
    """Cut trials into as few groups of at most `most` as possible, their sizes differing by one at most."""
    count = -(-len(trials) // most)
    ends = [len(trials) * i // count for i in range(count + 1)]
    return [tuple(trials[start:end]) for start, end in pairwise(ends)]
