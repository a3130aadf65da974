"""From a draft to a study: the recipe is checked, its trials are laid out and its folder is named."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from initbench import datasets
from initbench.core import usercode
from initbench.core.parts import split_parts
from initbench.core.paths import require_utf8
from initbench.core.spec import parse
from initbench.core.text import printable
from initbench.datasets import Dataset
from initbench.records.draft import Draft, merge, read_toml
from initbench.records.manifest import read_earlier
from initbench.records.recipe import Recipe, Trial
from initbench.running.checking import (
    baseline_of,
    canonical_recipe,
    checked_device,
    merged,
    model_notices,
    require_fit,
)
from initbench.running.facts import facts_kept, revised_by_execution, revision_of, try_step
from initbench.running.foreseen import undecidable
from initbench.running.study import Study


def draft_of(recipe: Path | None, given: Mapping[str, Any], origin: str) -> Draft:
    """Merge the defaults, a recipe file and what was given as flags or arguments, the last winning."""
    layers: list[tuple[str, Mapping[str, Any]]] = [("default", Recipe().model_dump())]
    if recipe is not None:
        layers.append((str(recipe), {"name": _name_after(recipe)} | read_toml(recipe)))
    return merge([*layers, (origin, given)])


def _name_after(recipe: Path) -> str:
    """Return a folder's name after the recipe file's."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", recipe.stem).strip(".-")[:64] or "recipe"


@facts_kept()
def plan_study(
    draft: Draft,
    out: Path,
    data_dir: Path | None = None,
    *,
    verb: str = "compare",
    command: str = "",
    remote: bool = False,
) -> Study:
    """Check a draft in full, lay out its trials and name its folder; nothing is written.

    Args:
        draft: what is to be compared.
        out: the results folder.
        data_dir: where datasets lie.
        verb: the folder is `<verb>-<digest>` unless the draft names it.
        command: what repeats the run.
        remote: whether other machines train, which may have devices that this one lacks.

    Raises:
        UsageError: invalid flags, all of them, one per line; a path that is not UTF-8.
        ConfigurationError: an invalid recipe file, likewise; a device or dataset that is not available.
    """
    require_utf8(str(out), *map(str, draft.origins.values()), command)
    recipe = canonical_recipe(draft)
    device = recipe.device if remote and recipe.device != "auto" else checked_device(draft, recipe)
    baseline = baseline_of(recipe)
    if baseline not in recipe.schemes:
        recipe = recipe.model_copy(update={"schemes": (*recipe.schemes, baseline)})
    described = (datasets.prepare(text, data_dir) for text in recipe.dataset)
    prepared = {dataset.fingerprint: dataset for dataset in described}
    require_fit(draft, recipe, list(prepared.values()))
    study = Study(
        name=recipe.name or "",
        out=out,
        command=command,
        recipe=recipe,
        origins=draft.origins,
        baseline=baseline,
        device=device,
        datasets=prepared,
        notices=(*merged(draft), *_notices(recipe, list(prepared.values()))),
    )
    study = _with_trials(study)
    if not study.name:
        study = replace(study, name=f"{verb}-{_digest(study)}")
    return replace(study, earlier_seeds=_earlier_seeds(study))


def _notices(recipe: Recipe, prepared: Sequence[Dataset]) -> Iterator[str]:
    """Yield what a user should know before anything is trained: of the data, the question, the layers."""
    for dataset in prepared:
        yield from (f"{printable(dataset.name)}: {notice}" for notice in dataset.notices)
    yield from undecidable(recipe, prepared)
    yield from model_notices(recipe, list(prepared))


def _with_trials(study: Study) -> Study:
    """Lay out the trials that are known before training: with a grid of learning rates, those that tune."""
    layout, recipe = Layout(study), study.recipe
    tuned = len(recipe.lr) > 1
    return replace(
        study,
        trials=() if tuned else tuple(_by_seed(layout, recipe.seeds)),
        tuning=tuple(_by_seed(layout, recipe.tuning_seeds)) if tuned else (),
        crossed=tuple(_crossed(layout)) if recipe.vary else (),
    )


def _digest(study: Study) -> str:
    """Return 8 hexadecimal digits of what is asked: trials, seeds, baseline and target."""
    trials = (trial.id for trial in study.all_trials)
    identity = [*trials, study.recipe.seeds, study.baseline, study.recipe.target]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]


def _earlier_seeds(study: Study) -> tuple[tuple[int, ...], ...]:
    """Return the seeds of earlier runs of this question, where they were others: their results may have been seen."""
    earlier = read_earlier(study.folder)
    if earlier is None or not {*earlier.trials, *earlier.tuning} & {trial.id for trial in study.all_trials}:
        return ()
    before = tuple(earlier.recipe["seeds"].value)
    return (*earlier.looks, *([before] if before != study.recipe.seeds else []))


@dataclass(frozen=True)
class Layout:
    """What is crossed with seeds and learning rates."""

    study: Study

    def settings(self) -> Iterator[tuple[Dataset, str, str, int]]:
        """Yield (dataset, model, optimizer, batch size)."""
        recipe = self.study.recipe
        return itertools.product(self.study.datasets.values(), recipe.model, recipe.optimizer, recipe.batch_size)

    @cached_property
    def codes(self) -> Mapping[tuple[str, str], tuple[tuple[str, str], ...] | None]:
        """A hash of each piece of the user's own code by (model, scheme), which thousands of trials share."""
        return {pair: _code(*pair) for pair in itertools.product(self.study.recipe.model, self.study.recipe.schemes)}

    @cached_property
    def draws(self) -> Mapping[tuple[str, str], bool]:
        """Whether a model draws from generators of its own, by (model, fingerprint)."""
        pairs = itertools.product(self.study.recipe.model, self.study.datasets.values())
        least = min(self.study.recipe.batch_size)
        return {(model, data.fingerprint): try_step(model, data, least)[0] for model, data in pairs}

    @cached_property
    def revisions(self) -> Mapping[tuple[str, str], int | None]:
        """The revision of the weights by (model, scheme)."""
        recipe, shapes = self.study.recipe, list(self.study.datasets.values())
        return {
            (model, scheme): max(revision_of(model, scheme, dataset) for dataset in shapes) or None
            for model in recipe.model
            for scheme in recipe.schemes
        }

    @cached_property
    def traced(self) -> Mapping[tuple[str, str, str], bool]:
        """Whether execution changed the weights of a (model, scheme, fingerprint) when it came to decide them."""
        recipe, data = self.study.recipe, self.study.datasets.values()
        triples = itertools.product(recipe.model, recipe.schemes, data)
        return {(model, scheme, d.fingerprint): revised_by_execution(model, scheme, d) for model, scheme, d in triples}

    def trial(self, dataset: Dataset, model: str, optimizer: str, batch_size: int, **rest: Any) -> Trial:  # noqa: ANN401 - Trial checks
        """Return one cell."""
        recipe = self.study.recipe
        return Trial(
            model=model,
            code=self.codes[model, rest["scheme"]],
            revision=self.revisions[model, rest["scheme"]],
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            draws=1 if self.draws[model, dataset.fingerprint] else None,
            traced=1 if self.traced[model, rest["scheme"], dataset.fingerprint] else None,
            optimizer=optimizer,
            batch_size=batch_size,
            steps=recipe.steps_over(dataset.train_size, batch_size),
            device=self.study.device,
            precision=recipe.precision,
            **rest,
        )


def _code(model: str, scheme: str) -> tuple[tuple[str, str], ...] | None:
    code = usercode.code_hashes((model,), "initbench.models")
    code |= usercode.code_hashes((parse(spec).name for _, spec in split_parts(scheme)), "initbench.schemes")
    return tuple(sorted(code.items())) or None


def _by_seed(layout: Layout, seeds: Iterable[int]) -> Iterator[Trial]:
    """Lay out the grid, seed after seed, so that an interrupted run holds all schemes for the seeds it did."""
    recipe = layout.study.recipe
    for setting, lr in itertools.product(layout.settings(), recipe.lr):
        for seed, scheme in itertools.product(seeds, recipe.schemes):
            yield layout.trial(*setting, lr=lr, seed=seed, scheme=scheme)


def _crossed(layout: Layout) -> Iterator[Trial]:
    """Lay out init seeds × order seeds off the diagonal; on it, a trial's own seed governs both."""
    recipe = layout.study.recipe
    for setting, lr in itertools.product(layout.settings(), recipe.lr):
        for (seed, order_seed), scheme in itertools.product(itertools.permutations(recipe.seeds, 2), recipe.schemes):
            yield layout.trial(*setting, lr=lr, seed=seed, order_seed=order_seed, scheme=scheme)
