"""Every trial of a comparison as tools that track experiments see it: its part, what was set, how it is named."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from initbench.analysis.results import Results
from initbench.core.text import printable, slug
from initbench.errors import ConfigurationError
from initbench.records.recipe import Trial
from initbench.records.record import Record

Part = Literal["scored", "tuning", "crossed"]
CURVE_METRICS = ("train_loss", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Tracked:
    """A stored trial: `part` says whether tables score it, a rate was tuned with it, or it crosses seeds."""

    record: Record
    part: Part

    @property
    def parameters(self) -> dict[str, str | int | float]:
        """What was set before the trial began; text is printable."""
        trial = self.record.trial
        given = trial.model_dump(exclude_none=True, exclude={"code", "evaluations"})
        return {key: printable(value) if isinstance(value, str) else value for key, value in given.items()}


def tracked(comparison: Results) -> Iterator[Tracked]:
    """Yield every stored trial, those first that the tables score."""
    yield from (Tracked(record, "scored") for record in comparison.records)
    yield from (Tracked(record, "tuning") for record in comparison.tuning)
    yield from (Tracked(record, "crossed") for record in comparison.crossed)


def paths(trials: list[Tracked]) -> list[str]:
    """Return a relative path for each trial, all different: `kaiming_uniform/lr-0.05/seed-0`.

    Dataset, model, optimizer and batch size stand before it where they vary. Parts are file names on every system,
    whatever a scheme is called; where two trials would read the same, each ends with its id.
    """
    settings = [tracked.record.trial.place for tracked in trials]
    varying = [len(set(values)) > 1 for values in zip(*settings, strict=True)]
    named = []
    for tracked, setting in zip(trials, settings, strict=True):
        places = [slug(str(text)) for text, varies in zip(setting, varying, strict=True) if varies]
        named.append("/".join([*places, *_names(tracked.record.trial)]))
    counts = Counter(named)
    return [
        name if counts[name] == 1 else f"{name}-{tracked.record.trial.id}"
        for name, tracked in zip(named, trials, strict=True)
    ]


def _names(trial: Trial) -> tuple[str, str, str]:
    order = "" if trial.order_seed is None else f"-order-{trial.order_seed}"
    return slug(trial.scheme), f"lr-{trial.lr:g}", f"seed-{trial.seed}{order}"


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a library that is not installed into a sentence that names the extra which brings it.

    Raises:
        ConfigurationError: an import in the block found no module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Exporting to {extra} needs {error.name}, which is not installed: pip install 'initbench[{extra}]'."
        ) from None
