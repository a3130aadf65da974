"""Learning rates by step: torch.optim.lr_scheduler's, with its names, after a linear warmup.

A factory takes the user's parameters and returns what makes torch's scheduler for a number of steps. Rates are read off
that scheduler before the training begins, so every engine follows the same ones. A length is a number of steps or,
below 1, a share of them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch.optim import lr_scheduler

from initbench.core.registry import Registry
from initbench.errors import UsageError

Length = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Schedule = Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]

CONSTANT = "constant"
SCHEDULES: Registry[Schedule] = Registry("schedule")
ScheduleText = Annotated[str, AfterValidator(lambda text: str(SCHEDULES.resolve(text)))]


@SCHEDULES.register()
def constant() -> Schedule:
    """Keep the rate."""
    return lambda optimizer, _: lr_scheduler.ConstantLR(optimizer, factor=1.0)


@SCHEDULES.register()
def cosine(end: Share = 0.0) -> Schedule:
    """Fall along half a cosine to `end` times the rate (CosineAnnealingLR; Loshchilov & Hutter 2017)."""
    return lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps, end * optimizer.defaults["lr"])


@SCHEDULES.register()
def linear(end: Share = 0.0) -> Schedule:
    """Fall in equal steps to `end` times the rate (LinearLR)."""
    return lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, end, steps)


@SCHEDULES.register()
def step(size: Length, gamma: Annotated[float, Field(gt=0)] = 0.1) -> Schedule:
    """Multiply the rate by `gamma` each time `size` steps have passed (StepLR)."""
    return lambda optimizer, steps: lr_scheduler.StepLR(optimizer, in_steps(size, steps), gamma)


@SCHEDULES.register()
def onecycle(rise: Annotated[float, Field(gt=0, lt=1)] = 0.3) -> Schedule:
    """Rise from a 25th of the rate over a share `rise` of the steps, then fall to nearly 0 (OneCycleLR; Smith 2018).

    The rate is the highest. The momentum is not cycled: it stays what the optimizer says.
    """
    return lambda optimizer, steps: lr_scheduler.OneCycleLR(
        optimizer, optimizer.defaults["lr"], total_steps=steps, pct_start=rise, cycle_momentum=False
    )


def in_steps(length: float, steps: int) -> int:
    """Return a length in steps: itself, or a share of them, one at least."""
    return length if isinstance(length, int) else max(1, round(length * steps))


def require_fitting(warmup: float, steps: int) -> None:
    """Raise UsageError where a warmup would last as long as the training."""
    if warmup and in_steps(warmup, steps) >= steps:
        raise UsageError(f"warmup={warmup} leaves no step of {steps} at the full rate: shorten it or train longer.")


@lru_cache(maxsize=64)
def rates(schedule: str, warmup: float, lr: float, steps: int) -> tuple[float, ...]:
    """Return the learning rate of each step: 1/w of `lr` rises to `lr` in w steps of warmup, then the schedule begins.

    Cost: about 6 µs per step.
    """
    holder = _Holder(lr)
    over = in_steps(warmup, steps) if warmup else 0
    scheduler = SCHEDULES.build(schedule)(holder, steps - over)
    if over:
        rising = lr_scheduler.LinearLR(holder, 1 / over, total_iters=over)
        scheduler = lr_scheduler.SequentialLR(holder, [rising, scheduler], [over])
    found = []
    for _ in range(steps):
        found.append(float(holder.param_groups[0]["lr"]))
        holder.step()
        scheduler.step()
    return tuple(found)


class _Holder(torch.optim.Optimizer):
    """An optimizer of nothing, whose rate a scheduler moves.

    It is not initialized as one of torch's: the first of those imports torch's compiler (1.3 s).
    """

    def __init__(self, lr: float) -> None:
        self.defaults = {"lr": lr}
        self.param_groups = [{"params": [], "lr": lr}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override] # noqa: ANN401 - torch's signature
        """Change nothing; a scheduler warns unless this was called."""
