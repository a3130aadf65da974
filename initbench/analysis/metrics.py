"""The metrics that a claim may name: which direction is better, in which unit, and what a trial must do to count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from initbench.records.recipe import Metric


@dataclass(frozen=True)
class Measured:
    """A metric: whether more is better, and the unit and scale in which its differences are written.

    `interesting` is the smallest difference of interest, for which seeds are planned: a share of accuracy, nats or
    logs; for steps, a share of the budget. `success` is what a trial must do for its value to compare anything, if any,
    and is tested with the values where `tested`.
    """

    more_is_better: bool
    name: str
    unit: str
    interesting: float
    scale: float = 1
    success: Literal["learned", "reached", ""] = "learned"
    tested: bool = False


METRICS: Mapping[Metric, Measured] = {
    "test_accuracy": Measured(True, "test accuracy", "points", 0.01, scale=100, tested=True),
    "test_loss": Measured(False, "test loss", "nats", 0.05),
    "steps_to_target": Measured(False, "steps to target", "steps", 0.1, success="reached", tested=True),
    "generalization_gap": Measured(False, "generalization gap", "nats", 0.05),
    "instability": Measured(False, "early instability", "log units", 0.05),
    "initial_loss": Measured(False, "loss at step 0", "nats", 0.05, success=""),
    "final_train_loss": Measured(False, "final training loss", "nats", 0.05),
}
# A network that stays at chance has no gap and nothing that shakes it.
OF_LEARNERS = frozenset({"generalization_gap", "instability"})
