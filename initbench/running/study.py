"""A study: the checked recipe, its trials, its data and the folder that its results are written to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from initbench.datasets import Dataset
from initbench.records import store
from initbench.records.manifest import Manifest, ResolvedValue
from initbench.records.recipe import Recipe, Trial


@dataclass(frozen=True)
class Study:
    """All that decides what is trained and where results go; who trains (a backend) is no part of it.

    `recipe` is in canonical form, `origins` says where each of its values was given, `datasets` are by fingerprint.
    `trials` are scored. `tuning` are those that a grid of learning rates is tuned with; where there are any, `trials`
    is empty until the rates are chosen. `crossed` are those off the diagonal of init seeds × order seeds. `notices` are
    sentences about layers that a scheme does not fit. `earlier_seeds` are the seeds of earlier runs under this name.
    """

    name: str
    out: Path
    command: str
    recipe: Recipe
    origins: Mapping[str, str]
    baseline: str
    device: str
    datasets: Mapping[str, Dataset]
    notices: tuple[str, ...]
    trials: tuple[Trial, ...] = ()
    tuning: tuple[Trial, ...] = ()
    crossed: tuple[Trial, ...] = ()
    earlier_seeds: tuple[tuple[int, ...], ...] = ()

    @property
    def folder(self) -> Path:
        """Where the comparison is written."""
        return self.out / self.name

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """Tuning, scored and crossed trials."""
        return (*self.tuning, *self.trials, *self.crossed)

    @property
    def todo(self) -> tuple[Trial, ...]:
        """The trials that are not stored and need training; nothing is changed on disk."""
        records, _ = store.read_many(self.out, (trial.id for trial in self.all_trials))
        done = {trial_id for trial_id, record in records.items() if record.outcome.status != "failed"}
        return tuple(trial for trial in self.all_trials if trial.id not in done)

    @property
    def stored(self) -> int:
        """How many of the trials are stored."""
        return len(self.all_trials) - len(self.todo)

    def manifest(self) -> Manifest:
        """Return the study's form on disk."""
        values = self.recipe.model_dump(mode="json")
        return Manifest(
            name=self.name,
            question=self.recipe.question,
            recipe={key: ResolvedValue(value=values[key], origin=self.origins.get(key, "default")) for key in values},
            schemes=self.recipe.schemes,
            baseline=self.baseline,
            target=self.recipe.target,
            nearest_mean={fingerprint: data.nearest_mean for fingerprint, data in self.datasets.items()},
            device=self.device,
            notices=self.notices,
            command=self.command,
            trials=tuple(trial.id for trial in self.trials),
            tuning=tuple(trial.id for trial in self.tuning),
            crossed=tuple(trial.id for trial in self.crossed),
            claims=self.recipe.claims,
            looks=self.earlier_seeds,
        )
