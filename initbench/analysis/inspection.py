"""What `inspect` found: networks at step 0, by model, scheme and seed; tables and verdicts when first read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from initbench.analysis.checks import Check, diagnose
from initbench.record import LayerStatistics, NetworkStatistics, StepZero

AS_BUILT = "as_built"  # the name of a model's own weights, where no scheme fills it


@dataclass(frozen=True)
class Observed:
    """One initialized network at step 0."""

    model: str
    scheme: str
    seed: int
    step_zero: StepZero


@dataclass(frozen=True)
class Inspection:
    """Networks at step 0: some schemes and seeds, on one model or along a scan of depths or widths.

    `source` says in words what the batch is. `axis` is the scanned parameter ("depth", "width", …) or empty, `places`
    the value of it that each model text stands for.
    """

    name: str
    source: str
    schemes: tuple[str, ...]
    models: tuple[str, ...]
    observed: tuple[Observed, ...]
    axis: str = ""
    places: Mapping[str, int] | None = None
    command: str = ""
    notices: tuple[str, ...] = ()

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a model, scheme, seed and layer: `record.LayerStatistics` without its histogram."""
        rows = [
            _key(of) | layer.model_dump(exclude={"histogram"}) for of in self.observed for layer in of.step_zero.layers
        ]
        return _frame(rows, ["model", "scheme", "seed", *_fields(LayerStatistics)])

    @cached_property
    def networks(self) -> pd.DataFrame:
        """One row a model, scheme and seed: `record.NetworkStatistics`."""
        rows = [_key(of) | of.step_zero.network.model_dump() for of in self.observed]
        return _frame(rows, ["model", "scheme", "seed", *NetworkStatistics.model_fields])

    @cached_property
    def checks(self) -> dict[tuple[str, str], tuple[Check, ...]]:
        """What each check says of each (model, scheme)."""
        return {
            (model, scheme): diagnose([of.step_zero for of in self.of(model, scheme)])
            for model in self.models
            for scheme in self.schemes
        }

    def of(self, model: str, scheme: str) -> list[Observed]:
        """Return what was seen of one scheme on one model, seed after seed."""
        return [of for of in self.observed if of.model == model and of.scheme == scheme]


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Return rows as a table; a number that no row has is NaN and not None, of which no mean can be taken."""
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({name: "float64" for name in columns if rows and frame[name].isna().all()})


def _key(of: Observed) -> dict[str, Any]:
    return {"model": of.model, "scheme": of.scheme, "seed": of.seed}


def _fields(model: type[LayerStatistics]) -> Iterable[str]:
    return (name for name in model.model_fields if name != "histogram")
