"""Which engine trains a trial, and which trials it takes together: pure functions of the trials.

What the engines share is the mathematics; bits differ between them, so the choice must not depend on the machine's
load, on what is stored, or on the other trials. Whether a group is trained at once or one by one changes no bit on the
CPU: batched products compute each matrix as if it were alone, as long as each begins on a cache line.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise

from initbench.datasets import Dataset
from initbench.engines import autograd, closed_form, convolutional
from initbench.engines.stepper import Engine
from initbench.models import MODELS, build_model
from initbench.optimizers import OPTIMIZERS
from initbench.own_model import ImageShape
from initbench.recipe import Trial
from initbench.spec import parse

Group = tuple[Trial, ...]

CACHE_LINE = 16  # float32 numbers
# Stacking pays where a call costs more than its sums: below so many multiplications in the product of one hidden layer.
NARROW = 300_000
STACK = 4  # members of a stack on the CPU: 8 gain a twentieth more, and leave cores without work
ON_GPU = 64  # members of a stack of Linear on a GPU
CONVOLUTIONS_ON_GPU = 8  # so many fill it; more only take memory


def group_trials(trials: Sequence[Trial], datasets: Mapping[str, Dataset]) -> list[Group]:
    """Divide trials into groups of even size, in the order in which they are asked for; `datasets` by fingerprint."""
    kinds: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(_kind(trial), []).append(trial)
    groups: list[Group] = []
    for alike in kinds.values():
        most = choose(alike[0], datasets[alike[0].fingerprint]).members
        groups += _even(alike if most == 1 else sorted(alike, key=_data_order), most)
    return groups


def choose(trial: Trial, dataset: Dataset) -> Engine:
    """Return the engine of a trial: the fastest whose mathematics is the reference's, else the reference."""
    if parse(trial.model).name not in MODELS:  # code of the user's may do anything that reads like a chain
        return autograd.ENGINE
    return _choose(
        trial.model, dataset.shape, dataset.classes, trial.batch_size, trial.optimizer, trial.device, trial.precision
    )


@lru_cache(maxsize=256)
def _choose(
    model: str, shape: ImageShape, classes: int, batch_size: int, optimizer: str, device: str, precision: str
) -> Engine:
    built = build_model(model, shape, classes, device="meta")
    layers = closed_form.linear_stack(built)
    if layers is not None and precision != "bfloat16" and device in {"cpu", "cuda"}:
        if device == "cuda":
            return Engine(partial(closed_form.ClosedForm, stacked=True), ON_GPU, shares_batches=True)
        stacked = _is_narrow([layer.weight.shape for layer, _ in layers], batch_size) and _folds(optimizer)
        return Engine(partial(closed_form.ClosedForm, stacked=stacked), STACK if stacked else 1)
    if device == "cuda":
        return Engine(partial(convolutional.fastest, shape=shape), CONVOLUTIONS_ON_GPU, shares_batches=True)
    if device == "cpu" and precision == "float32" and convolutional.takes_channels_last(built):
        return Engine(convolutional.channels_last)
    return autograd.ENGINE


def _is_narrow(weights: Sequence[Sequence[int]], batch_size: int) -> bool:
    """Say whether calls outweigh sums, with every matrix of a member on a cache line."""
    hidden = max((outputs * inputs for outputs, inputs in weights[1:-1]), default=0)
    sizes = {
        size for outputs, inputs in weights for size in (outputs * inputs, batch_size * outputs, batch_size * inputs)
    }
    return 0 < hidden * batch_size <= NARROW and all(size % CACHE_LINE == 0 for size in sizes)


def _folds(optimizer: str) -> bool:
    return OPTIMIZERS.build(optimizer).momentum is not None


def _kind(trial: Trial) -> tuple[str, ...]:
    """Return what trials of one group have in common; code of the user's may end its process, so it goes alone."""
    same = trial.model_dump_json(exclude={"scheme", "seed", "order_seed", "lr"})
    low, high = closed_form.FOLDED_RATES
    folded = str(low <= trial.lr <= high)
    return (same, folded) if trial.code is None else (same, folded, trial.id)


def _data_order(trial: Trial) -> int:
    return trial.seed if trial.order_seed is None else trial.order_seed


def _even(trials: Sequence[Trial], most: int) -> list[Group]:
    """Cut trials into as few groups of at most `most` as possible, their sizes differing by one at most."""
    count = -(-len(trials) // most)
    ends = [len(trials) * i // count for i in range(count + 1)]
    return [tuple(trials[start:end]) for start, end in pairwise(ends)]
