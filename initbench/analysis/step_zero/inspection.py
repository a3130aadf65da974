"""What `inspect` found: networks at step 0, by model, scheme and seed; tables and verdicts when first read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pydantic.fields import FieldInfo

from initbench.analysis.frames import table
from initbench.analysis.step_zero.checks import Check, diagnose
from initbench.records.record import LayerStatistics, NetworkStatistics, StepZero

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


_KEY = {"model": "str", "scheme": "str", "seed": "int64"}
WEIGHTED = frozenset(("linear", "conv"))
CHECK_COLUMNS = dict.fromkeys(("model", "scheme", "check", "level", "figure", "layer", "remedy"), "str")
PLACE_COLUMNS = {
    "scheme": "str",
    "seed": "int64",
    "layer": "float64",  # the scanned value: what draws a line by layer draws it by depth or width as well
    **{
        f"{name}{which}": "float64"
        for name in ("forward_moment", "gradient_moment", "cosine", "first", "hidden", "output")
        for which in ("", "_predicted")
    },
    "effective_rank": "float64",
}


def layers_table(inspection: Inspection) -> pd.DataFrame:
    """Return `Inspection.layers` with the types of `record.LayerStatistics`; what is not there is missing, never 0."""
    fields = {name: of for name, of in LayerStatistics.model_fields.items() if name != "histogram"}
    return inspection.layers.astype(_KEY | _types(fields))


def networks_table(inspection: Inspection) -> pd.DataFrame:
    """Return `Inspection.networks` with the types of `record.NetworkStatistics`."""
    return inspection.networks.astype(_KEY | _types(NetworkStatistics.model_fields))


def checks_table(inspection: Inspection) -> pd.DataFrame:
    """Return one row a model, scheme and check (`CHECK_COLUMNS`)."""
    rows = [
        {"model": model, "scheme": scheme, "check": of.name}
        | {name: getattr(of, name) for name in ("level", "figure", "layer", "remedy")}
        for (model, scheme), checks in inspection.checks.items()
        for of in checks
    ]
    return table(rows, CHECK_COLUMNS)


def places_table(inspection: Inspection) -> pd.DataFrame:
    """Return one row a scheme, seed and scanned value (`PLACE_COLUMNS`): what arrives at the ends of the network.

    `forward_moment`, `cosine` and `effective_rank` are those of the last hidden layer, `gradient_moment` that of the
    first layer; `first`, `hidden` and `output` are root mean squares of z there.
    """
    return table([row for of in inspection.observed for row in _place_rows(of, inspection.places or {})], PLACE_COLUMNS)


def _place_rows(of: Observed, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    weighted = [layer.model_dump() for layer in of.step_zero.layers if layer.kind in WEIGHTED]
    if not weighted or of.model not in places:
        return
    first, output = weighted[0], weighted[-1]
    hidden: dict[str, Any] = weighted[-2] if len(weighted) > 1 else {}
    row = {"scheme": of.scheme, "seed": of.seed, "layer": places[of.model]}
    row["effective_rank"] = hidden.get("effective_rank")
    for which in ("", "_predicted"):
        row[f"gradient_moment{which}"] = first[f"gradient_moment{which}"]
        row |= {f"{name}{which}": hidden.get(f"{name}{which}") for name in ("forward_moment", "cosine")}
        for name, layer in (("first", first), ("hidden", hidden), ("output", output)):
            row[f"{name}{which}"] = _root(layer.get(f"forward_moment{which}"))
    yield row


def _root(moment: float | None) -> float | None:
    return None if moment is None else float(np.sqrt(moment))


def _types(fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    return {name: _type(of.annotation) for name, of in fields.items()}


def _type(annotation: object) -> str:
    if annotation is str:
        return "str"
    return "Int64" if annotation in (int, int | None) else "float64"
