"""From a draft to a comparison on disk: what `initbench.compare`, `initbench run` and `initbench compare` share."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from initbench.analysis.tuning import TunedRates, extended_grid, tune_rates
from initbench.comparison import Comparison, comparison_of
from initbench.records import store
from initbench.records.manifest import Asked, Setting, read_earlier, stamp
from initbench.records.recipe import Draft, Recipe, Trial, merge, read_toml
from initbench.records.record import Record
from initbench.running.cluster import Cluster
from initbench.running.plan import Plan, SettingKey, make_plan, scored_at, tuning_at
from initbench.running.runner import Observer, run


@dataclass(frozen=True)
class Place:
    """Where data come from and results go, who trains, how long a trial may take; it changes no number.

    Without a `cluster`, `jobs` processes of this machine train.
    """

    out: Path
    data_dir: Path | None = None
    jobs: int | None = None
    trial_timeout: float | None = None
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Prepared:
    """A checked plan, the folder it will fill, and how many of its trials are stored already."""

    plan: Plan
    asked: Asked
    place: Place

    @property
    def folder(self) -> Path:
        """Where the comparison goes."""
        return self.place.out / self.asked.name

    @property
    def stored(self) -> int:
        """Count the plan's trials that need not be trained; nothing is changed on disk."""
        records, _ = store.read_many(self.place.out, self.asked.every)
        return sum(record.outcome.status != "failed" for record in records.values())


def draft_of(recipe: Path | None, given: Mapping[str, Any], origin: str) -> Draft:
    """Lay what was given over a recipe file; everything else is the default."""
    layers: list[tuple[str, Mapping[str, Any]]] = [("default", Recipe().model_dump())]
    if recipe is not None:
        layers.append((str(recipe), {"name": _name_of(recipe)} | read_toml(recipe)))
    return merge([*layers, (origin, given)])


def _name_of(recipe: Path) -> str:
    """Return a folder's name after the recipe file's."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", recipe.stem).strip(".-")[:64] or "recipe"


def prepare(draft: Draft, place: Place, verb: str, command: str = "") -> Prepared:
    """Check a draft, lay out its trials and name its folder: `<verb>-<digest>` unless the draft names it."""
    elsewhere = place.cluster is not None and not place.cluster.embedded
    plan = make_plan(draft, place.data_dir, elsewhere=elsewhere)
    resolved = plan.recipe.model_dump(mode="json")
    trials = _ids((*plan.tuning, *plan.trials, *plan.crossed))
    identity = [*trials, plan.recipe.seeds, plan.baseline, plan.recipe.target]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    asked = Asked(
        name=plan.recipe.name or f"{verb}-{digest}",
        question=plan.recipe.question,
        recipe={key: Setting(value=value, origin=plan.origins.get(key, "default")) for key, value in resolved.items()},
        schemes=plan.recipe.schemes,
        baseline=plan.baseline,
        target=plan.recipe.target,
        device=plan.device,
        notices=plan.notices,
        command=command,
        trials=_ids(plan.trials),
        tuning=_ids(plan.tuning),
        crossed=_ids(plan.crossed),
        claims=plan.recipe.claims,
    )
    return Prepared(plan, asked, place)


def carry_out(prepared: Prepared, observer: Observer | None = None) -> Comparison:
    """Stamp the folder, tune where there is a grid, train what is not stored, and lay out the comparison.

    Raises:
        ConfigurationError: the results folder cannot be written, or the cluster cannot be used.
        KeyboardInterrupt: after the workers are gone; what is stored stays.
    """
    prepared = replace(prepared, asked=_with_looks(prepared))
    stamp(prepared.folder, prepared.asked)
    tuned: list[Record] = []
    with prepared.place.cluster or nullcontext():
        if prepared.plan.tuning:
            prepared, tuned = _tune(prepared, observer)
            stamp(prepared.folder, prepared.asked)
        scored = _train(prepared, (*prepared.plan.trials, *prepared.plan.crossed), observer)
    records = [*tuned, *scored]
    return comparison_of(prepared.asked, dict(zip(_ids(record.trial for record in records), records, strict=True)))


def _tune(prepared: Prepared, observer: Observer | None) -> tuple[Prepared, list[Record]]:
    """Choose each scheme's learning rate on the tuning seeds, the grid extended once, and lay out what is scored.

    Returns:
        What is then to be trained, and the records of the tuning trials.
    """
    plan = prepared.plan
    records = _train(prepared, plan.tuning, observer)
    every = tune_rates(records)
    grids = {_key(tuned): _extended(tuned) for tuned in every}
    if any(len(grids[_key(tuned)]) > len(tuned.grid) for tuned in every):
        plan = replace(plan, tuning=tuning_at(plan, grids))
        records = _train(prepared, plan.tuning, observer)
        every = tune_rates(records)
    rates = {_key(tuned): {scheme: (own, tuned.common) for scheme, own in tuned.own.items()} for tuned in every}
    plan = replace(plan, trials=scored_at(plan, rates))
    asked = prepared.asked.model_copy(update={"trials": _ids(plan.trials), "tuning": _ids(plan.tuning)})
    return replace(prepared, plan=plan, asked=asked), records


def _extended(tuned: TunedRates) -> tuple[float, ...]:
    return extended_grid(tuned.grid, tuned.edge_low, tuned.edge_high)


def _key(tuned: TunedRates) -> SettingKey:
    return tuned.dataset, tuned.model, tuned.optimizer


def _train(prepared: Prepared, trials: Sequence[Trial], observer: Observer | None) -> list[Record]:
    place = prepared.place
    return run(prepared.plan, trials, place.out, place.jobs, observer, place.trial_timeout, place.cluster)


def _with_looks(prepared: Prepared) -> Asked:
    """Note the seeds of an earlier run of this question, if they were other ones: its results may have been seen."""
    earlier, asked = read_earlier(prepared.folder), prepared.asked
    if earlier is None or not {*earlier.trials, *earlier.tuning} & {*asked.trials, *asked.tuning}:
        return asked
    before = tuple(earlier.recipe["seeds"].value)
    added = before != prepared.plan.recipe.seeds
    return asked.model_copy(update={"looks": (*earlier.looks, *([before] if added else []))})


def _ids(trials: Iterable[Trial]) -> tuple[str, ...]:
    return tuple(trial.id for trial in trials)
