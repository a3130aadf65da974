"""What `inspect` found as tables with types of their own: for CSV files, figures and the page."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic.fields import FieldInfo

from initbench.analysis.frames import table
from initbench.analysis.inspection import Inspection, Observed
from initbench.record import LayerStatistics, NetworkStatistics

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
