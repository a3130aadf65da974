"""Training: a group of trials becomes records, by the engine that `choice` picks; `autograd` is the reference engine.

`start` and `loop` are the same for every engine. Engines: `chains` (compiled loops on the CPU), `stacked` and `grouped`
(GPU), `convolutional`, `autograd`; `stepwise` drives all but the first. Importing the package alone, or
`compiled.kernels`, loads no torch.
"""

from collections.abc import Callable, Sequence

from initbench.datasets import Dataset
from initbench.records.recipe import Trial
from initbench.records.record import Record

Observe = Callable[[Sequence[Trial], int], None]  # (group, step), called after steps; may raise to stop


def train(group: Sequence[Trial], dataset: Dataset, observe: Observe) -> list[Record]:
    """Train a group with the engine of its trials; if the device runs out of memory, train its halves."""
    import torch  # noqa: PLC0415 - takes seconds

    from initbench.training import loop  # noqa: PLC0415 - loads torch
    from initbench.training.choice import choose  # noqa: PLC0415 - likewise

    try:
        return loop.train(group, dataset, observe, choose(group[0], dataset))
    except torch.OutOfMemoryError:
        if len(group) == 1:
            raise
    # Outside the except clause: the exception keeps frames alive that hold the memory (pytorch issue 27600).
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(group) // 2
    return [*train(group[:half], dataset, observe), *train(group[half:], dataset, observe)]
