"""A trainer that drives a `Stepper` batch by batch; it makes an engine of any stepper."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench.datasets.batches import Split
from initbench.records.recipe import Trial
from initbench.records.record import EARLY_STEPS
from initbench.training import cuda
from initbench.training.engine import EVALUATION_BATCH, Engine, Stepper

OpenStepper = Callable[[Sequence[nn.Module], Sequence[Trial], int], Stepper]  # (…, number of data orders)


class Stepwise:
    """Trains a `Stepper` batch by batch and records losses and norms; see `Trainer`.

    If `shared`, members with the same data order share each batch.
    """

    def __init__(
        self, opened: OpenStepper, models: Sequence[nn.Module], group: Sequence[Trial], split: Split, *, shared: bool
    ) -> None:
        orders = data_orders(group, shared=shared)
        trial = group[0]
        self.stepper = opened(models, group, len(orders))
        # On a GPU the bits of a batched product may depend on its size; on the CPU networks are trained one by one.
        self.name = self.stepper.name + ("" if trial.device == "cpu" else f", {len(group)} at a time")
        self.batches = split.batches(orders, trial.batch_size, trial.steps)
        # Read only at evaluations: a read waits for the device.
        self.losses = torch.zeros(len(group), trial.steps, device=trial.device)
        self.norms = torch.zeros(len(group), min(EARLY_STEPS, trial.steps), device=trial.device)
        self.replay = cuda.replayed(self.stepper) if self.stepper.captures else None

    def train(self, start: int, stop: int) -> Iterator[int]:
        """See `Trainer`."""
        for step in range(start, stop):
            if step < EARLY_STEPS:
                self.losses[:, step] = self.stepper.step(*next(self.batches), gradients=True)
                self.norms[:, step] = self.stepper.gradient_norms()
            elif self.replay is not None:
                self.losses[:, step] = self.replay(*next(self.batches))
            else:
                self.losses[:, step] = self.stepper.step(*next(self.batches), gradients=False)
            yield step + 1

    def first_bad(self, steps: int) -> list[int]:
        """See `Trainer`."""
        bad = functional.pad(~self.losses[:, :steps].isfinite(), (0, 1), value=True)
        return bad.int().argmax(1).tolist()

    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """See `Trainer`."""
        logits = torch.cat([self.stepper.logits(piece) for piece in torch.split(images, EVALUATION_BATCH)], dim=1)
        labels = labels.expand(len(logits), -1)
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return torch.stack([losses.view(labels.shape), (logits.argmax(dim=-1) == labels).float()])


def stepwise(opened: OpenStepper, members: int = 1, *, shares_batches: bool = False) -> Engine:
    """Return the engine of a stepper."""
    return Engine(lambda *given: Stepwise(opened, *given, shared=shares_batches), members)


def data_orders(group: Sequence[Trial], *, shared: bool) -> list[int]:
    """Return the seeds of the data orders, each for an equal share of consecutive members; one each unless `shared`."""
    seeds = [trial.data_seed for trial in group]
    distinct = list(dict.fromkeys(seeds))
    fits = len(seeds) % len(distinct) == 0
    laid_out = [seed for seed in distinct for _ in range(len(seeds) // len(distinct))]
    return distinct if shared and fits and seeds == laid_out else seeds
