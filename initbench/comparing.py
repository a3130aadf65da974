"""From a draft to a comparison on disk: what `initbench.compare`, `initbench run` and `initbench compare` share."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initbench import store
from initbench.analysis.comparison import Comparison
from initbench.folder import Asked, Setting, load, stamp
from initbench.plan import Plan, make_plan
from initbench.recipe import Draft, Recipe, merge, read_toml
from initbench.runner import Observer, run


@dataclass(frozen=True)
class Place:
    """Where data come from, where results go, and with how many workers; none of it changes a number."""

    out: Path
    data_dir: Path | None = None
    jobs: int | None = None


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
        records, _ = store.read_many(self.place.out, self.asked.trials)
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
    plan = make_plan(draft, place.data_dir)
    resolved = plan.recipe.model_dump(mode="json")
    trials = tuple(trial.id for trial in plan.trials)
    digest = hashlib.sha256(json.dumps([trials, plan.baseline, plan.recipe.target]).encode()).hexdigest()[:8]
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
        trials=trials,
    )
    return Prepared(plan, asked, place)


def carry_out(prepared: Prepared, observer: Observer | None = None) -> Comparison:
    """Stamp the folder, train what is not stored, and read the comparison back from the store.

    Raises:
        ConfigurationError: the results folder cannot be written.
        KeyboardInterrupt: after the workers are gone; what is stored stays.
    """
    stamp(prepared.folder, prepared.asked)
    run(prepared.plan, prepared.place.out, prepared.place.jobs, observer)
    return load(prepared.folder)
