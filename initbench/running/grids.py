"""Learning rates tuned on a grid, which is extended where a best rate is at its edge; then the trials that score."""

from collections.abc import Sequence
from dataclasses import replace

from initbench.analysis.tuning import extended_grid, tune_rates
from initbench.datasets import Dataset
from initbench.records.recipe import Place
from initbench.records.record import Record
from initbench.running.plan import Layout
from initbench.running.study import Study


def extend_grids(study: Study, records: Sequence[Record]) -> Study:
    """Return the study with more tuning trials where a best learning rate is at the edge of its grid.

    Args:
        study: has tuning trials.
        records: those of its tuning trials.
    """
    every = tune_rates(records)
    grids = {tuned.place: extended_grid(tuned.grid, tuned.edge_low, tuned.edge_high) for tuned in every}
    if all(len(grids[tuned.place]) == len(tuned.grid) for tuned in every):
        return study
    layout, recipe = Layout(study), study.recipe
    return replace(
        study,
        tuning=tuple(
            layout.trial(*setting, lr=lr, seed=seed, scheme=scheme)
            for setting in layout.settings()
            for lr in grids[_place(setting)]
            for seed in recipe.tuning_seeds
            for scheme in recipe.schemes
        ),
    )


def score_tuned(study: Study, records: Sequence[Record]) -> Study:
    """Return the study with its scored trials: each scheme at its own best learning rate and at the common one."""
    every = tune_rates(records)
    rates = {tuned.place: {scheme: (own, tuned.common) for scheme, own in tuned.own.items()} for tuned in every}
    layout, recipe = Layout(study), study.recipe
    return replace(
        study,
        trials=tuple(
            layout.trial(*setting, lr=lr, seed=seed, scheme=scheme)
            for setting in layout.settings()
            for seed in recipe.seeds
            for scheme in recipe.schemes
            for lr in dict.fromkeys(rates[_place(setting)][scheme])
        ),
    )


def _place(setting: tuple[Dataset, str, str, int]) -> Place:
    dataset, *rest = setting
    return Place(dataset.name, *rest)  # type: ignore[arg-type] # the rest of a tuple has one type
