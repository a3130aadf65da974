"""Engines: what trains a group of trials. So far the reference alone."""

from collections.abc import Sequence

from initbench.engines import autograd
from initbench.recipe import Trial

Group = tuple[Trial, ...]


def group_trials(trials: Sequence[Trial]) -> list[Group]:
    """Divide trials into the units of work of the engines that will train them; the reference takes them one by one."""
    return [(trial,) for trial in trials]


__all__ = ["Group", "autograd", "group_trials"]
