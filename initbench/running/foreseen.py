"""What cannot be decided whatever the results are, known from the recipe and the data before anything is trained."""

import math
from collections.abc import Iterator, Sequence

from initbench.analysis.metrics import METRICS
from initbench.analysis.statistics.families import least_seeds
from initbench.analysis.statistics.intervals import ALPHA, LEARNED_ALPHA, images_to_beat_guessing
from initbench.core.text import printable
from initbench.core.words import counted
from initbench.datasets import Dataset
from initbench.records.recipe import Claim, Recipe
from initbench.running.checking import baseline_of


def undecidable(recipe: Recipe, prepared: Sequence[Dataset]) -> Iterator[str]:
    """Yield a sentence for each question of a recipe that no result could answer, with what would."""
    for dataset in prepared:
        yield from _learning(dataset)
        name = printable(dataset.name)
        if recipe.target is not None and recipe.target <= dataset.guess:
            yield (
                f"{name}: the target {recipe.target:g} is reached without learning: always answering the most "
                f"frequent class has a validation accuracy of {dataset.guess:.3f}. Give a higher --target."
            )
    others = len(set(recipe.schemes) | {baseline_of(recipe)}) - 1
    in_tables = [claim for claim in recipe.claims if _in_table(claim, recipe)]
    families = ((in_tables, others), (own := [each for each in recipe.claims if each not in in_tables], len(own)))
    needed = max((least_seeds(family) for claims, family in families if claims), default=1)
    if len(recipe.seeds) < needed:
        yield (
            f"{counted(len(recipe.claims), 'claim')} with {counted(len(recipe.seeds), 'seed')} will stay undecided: "
            f"the exact test, adjusted by Holm, reaches p ≤ {ALPHA:g} from {needed} seeds on (--seeds {needed})."
        )


def too_few_seeds(recipe: Recipe) -> Iterator[str]:
    """Yield a sentence where no scheme can be told from the baseline, the recipe naming both."""
    others = len(set(recipe.schemes)) - 1
    if others and len(recipe.seeds) < (needed := least_seeds(others)):
        adjusted = ", adjusted by Holm," if others > 1 else ""
        yield (
            f"{counted(len(recipe.seeds), 'seed')} cannot tell {counted(others, 'scheme')} from the baseline: the "
            f"exact test{adjusted} reaches p ≤ {ALPHA:g} from {needed} seeds on (--seeds {needed})."
        )


def _in_table(claim: Claim, recipe: Recipe) -> bool:
    """Return whether a table decides a claim: of a scheme and the baseline, in one setting, in accuracy or steps."""
    settings = 1 if "lr" not in claim.where or len(recipe.lr) == 1 else 0
    for key in ("dataset", "model", "optimizer"):
        settings *= 1 if key in claim.where else len(getattr(recipe, key))
    return METRICS[claim.metric].tested and baseline_of(recipe) in {claim.better, claim.than} and settings == 1


def _learning(dataset: Dataset) -> Iterator[str]:
    needed, size, name = images_to_beat_guessing(dataset.guess), dataset.val_size, printable(dataset.name)
    if needed is None:
        yield (
            f"{name}: all {counted(size, 'validation image')} are of one class, so no scheme can be shown to "
            f"learn: give more images of the other classes."
        )
    elif size < needed:
        total = math.ceil((dataset.train_size + size) * needed / size)
        yield (
            f"{name}: {counted(size, 'validation image')} cannot show that a scheme learns: even a perfect "
            f"score has p = {dataset.guess**size:.2g} against always answering the most frequent class "
            f"({dataset.guess:.1%} of them), and p < {LEARNED_ALPHA:g} is needed. {needed} would do: about {total} "
            f"training images instead of {dataset.train_size + size}."
        )
