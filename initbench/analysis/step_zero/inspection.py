"""What `inspect` measured: networks at step 0 by model, scheme and seed, their checks, and the tables of them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from initbench.analysis.step_zero.agreement import withhold
from initbench.analysis.step_zero.checks import LEVELS, Check, diagnose_together, worst_level
from initbench.analysis.step_zero.propagation import in_order, power_of_two, signal_slopes
from initbench.records.recipe import AS_BUILT
from initbench.records.record import LayerStatistics, NetworkStatistics, StepZero

if TYPE_CHECKING:
    import pandas as pd

WEIGHTED = frozenset(("linear", "conv"))
CHECK_COLUMNS = dict.fromkeys(("model", "scheme", "check", "level", "figure", "layer", "remedy"), "str")
VERDICT_COLUMNS = {
    **dict.fromkeys(("model", "scheme", "verdict", "fails", "warns"), "str"),
    # The factor per layer by which the mean squares of the signal and of its gradient change, with 95 % intervals.
    **{f"{name}{end}": "float64" for name in ("signal", "gradient") for end in ("", "_low", "_high")},
    "seeds": "int64",
}
SCAN_COLUMNS = {
    "scheme": "str",
    "seed": "int64",
    "layer": "float64",  # the scanned value, under the name by which a line is drawn over layers, depths or widths
    **{
        f"{name}{suffix}": "float64"
        for name in ("forward_moment", "gradient_moment", "cosine", "first", "hidden", "output")
        for suffix in ("", "_predicted")
    },
    "effective_rank": "float64",
}
_KEY = {"model": "str", "scheme": "str", "seed": "int64"}
_LAYER_FIELDS = {field.name: field.type for field in fields(LayerStatistics) if field.name != "histogram"}
_NETWORK_FIELDS = {field.name: field.type for field in fields(NetworkStatistics)}


@dataclass(frozen=True)
class Observed:
    """One initialized network at step 0; `logits` is the check of its outputs, where that was made and failed."""

    model: str
    scheme: str
    seed: int
    step_zero: StepZero
    logits: Check | None = None


@dataclass(frozen=True)
class Inspection:
    """Networks at step 0: some schemes and seeds, on one model or along a scan of depths or widths.

    `source` describes the batch. `axis` is the scanned parameter ("depth", "width", …) or empty, `places` its value by
    model text.
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
    def layers(self) -> "pd.DataFrame":
        """One row per model, scheme, seed and layer: `record.LayerStatistics` without its histogram.

        A prediction that differs from what was measured by more than sampling explains is left out.
        """
        groups = itertools.groupby(self.observed, key=lambda network: (network.model, network.scheme))
        rows = itertools.chain.from_iterable(_layer_rows(list(networks)) for _, networks in groups)
        frame = _frame(list(rows), [*_KEY, *_LAYER_FIELDS])
        for model, scheme in self.checks:
            withhold(frame, (frame["model"] == model) & (frame["scheme"] == scheme), self.steps(model, scheme))
        return frame

    @cached_property
    def networks(self) -> "pd.DataFrame":
        """One row per model, scheme and seed: `record.NetworkStatistics`."""
        rows = [_key(network) | asdict(network.step_zero.network) for network in self.observed]
        return _frame(rows, [*_KEY, *_NETWORK_FIELDS])

    @cached_property
    def checks(self) -> dict[tuple[str, str], tuple[Check, ...]]:
        """The checks of each (model, scheme), with that of the model's outputs where they are no logits."""
        logits = self.logits
        return {
            (model, scheme): (*checks, logits[model]) if model in logits else checks
            for model in self.models
            for scheme, checks in diagnose_together({s: self.steps(model, s) for s in self.schemes}).items()
        }

    @property
    def logits(self) -> dict[str, Check]:
        """What is wrong with the outputs of each model, as logits."""
        return {network.model: network.logits for network in self.observed if network.logits is not None}

    @property
    def not_measured(self) -> list[str]:
        """A sentence for each reason why parameters have no gradient, or are in no row."""
        steps = [network.step_zero for network in self.observed]
        never = set.intersection(*({*step.unused} for step in steps)) if steps else set[str]()
        sometimes = dict.fromkeys(itertools.chain(*((*step.unused, *step.absent) for step in steps)))
        detached, unseen = (
            dict.fromkeys(itertools.chain(*(getattr(step, kind) for step in steps))) for kind in ("detached", "unseen")
        )
        named = {
            "Not used in the forward pass": [name for name in sometimes if name in never],
            "Skipped in the measured pass of some seeds": [name for name in sometimes if name not in never],
            "Used in the forward pass, but no gradient reaches": detached,
            "With a gradient but without a row, because their calls run inside torch.func (vmap, grad)": unseen,
        }
        return [f"{reason}: {', '.join(names)}." for reason, names in named.items() if names]

    def steps(self, model: str, scheme: str) -> list[StepZero]:
        """Return the statistics of one scheme on one model, seed by seed."""
        return [network.step_zero for network in self.observed if network.model == model and network.scheme == scheme]


def same_for_every_seed(observed: Sequence[Observed]) -> Iterator[str]:
    """Yield a sentence for each model that is built with the same weights whatever the seed."""
    built = [network for network in observed if network.scheme == AS_BUILT]
    for model in dict.fromkeys(network.model for network in built):
        weights = [[row.weight_norm for row in one.step_zero.layers] for one in built if one.model == model]
        if len(weights) > 1 and all(row == weights[0] for row in weights):
            yield (
                f"{model} as built: all {len(weights)} seeds give the same weights, as the model seeds or loads them "
                "itself; its intervals say nothing of other draws."
            )


def _layer_rows(networks: Sequence[Observed]) -> list[dict[str, Any]]:
    """Return the rows of one scheme, seed by seed; layer by layer where some are absent in some seeds."""
    rows = [
        _key(network) | {name: getattr(layer, name) for name in _LAYER_FIELDS}
        for network in networks
        for layer in network.step_zero.layers
    ]
    names = [[layer.layer for layer in network.step_zero.layers] for network in networks]
    if all(row == names[0] for row in names):
        return rows
    places = {name: place for place, name in enumerate(in_order(names))}
    return sorted(rows, key=lambda row: places[row["layer"]])


def layers_table(inspection: Inspection) -> "pd.DataFrame":
    """Return `Inspection.layers` with the types of `record.LayerStatistics`; absent values are missing, never 0."""
    return inspection.layers.astype(_KEY | _types(_LAYER_FIELDS))


def networks_table(inspection: Inspection) -> "pd.DataFrame":
    """Return `Inspection.networks` with the types of `record.NetworkStatistics`."""
    return inspection.networks.astype(_KEY | _types(_NETWORK_FIELDS))


def checks_table(inspection: Inspection) -> "pd.DataFrame":
    """Return one row per model, scheme and check (`CHECK_COLUMNS`)."""
    rows = [
        {"model": model, "scheme": scheme, "check": check.name}
        | {name: getattr(check, name) for name in ("level", "figure", "layer", "remedy")}
        for (model, scheme), checks in inspection.checks.items()
        for check in checks
    ]
    return _table(rows, CHECK_COLUMNS)


def verdicts_table(inspection: Inspection) -> "pd.DataFrame":
    """Return one row per model and scheme (`VERDICT_COLUMNS`): its verdict, and the checks that fail or warn."""
    return _table([_verdict_row(inspection, *key) for key in inspection.checks], VERDICT_COLUMNS)


def _verdict_row(inspection: Inspection, model: str, scheme: str) -> dict[str, Any]:
    checks, steps = inspection.checks[model, scheme], inspection.steps(model, scheme)
    by_level = {level: [check.name for check in checks if check.level == level] for level in LEVELS}
    factors = {
        f"{name}{end}": None if bits is None else power_of_two(bits)
        for name, slope in zip(("signal", "gradient"), signal_slopes(steps), strict=True)
        for end, bits in (("", slope.mean), ("_low", slope.low), ("_high", slope.high))
    }
    return {
        "model": model,
        "scheme": scheme,
        "verdict": worst_level(checks) or "",
        "fails": ", ".join(by_level["FAIL"]),
        "warns": ", ".join(by_level["WARN"]),
        **factors,
        "seeds": len(steps),
    }


def scan_table(inspection: Inspection) -> "pd.DataFrame":
    """Return one row per scheme, seed and scanned value (`SCAN_COLUMNS`): the signal at both ends of the network.

    `forward_moment`, `cosine` and `effective_rank` are those of the last hidden layer, `gradient_moment` that of the
    first layer; `first`, `hidden` and `output` are root mean squares of z there.
    """
    rows = [row for network in inspection.observed for row in _scan_rows(network, inspection.places or {})]
    return _table(rows, SCAN_COLUMNS)


def _scan_rows(network: Observed, values: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    weighted = [asdict(layer) for layer in network.step_zero.layers if layer.kind in WEIGHTED]
    if not weighted or network.model not in values:
        return
    first, output = weighted[0], weighted[-1]
    hidden: dict[str, Any] = weighted[-2] if len(weighted) > 1 else {}
    row = {"scheme": network.scheme, "seed": network.seed, "layer": values[network.model]}
    row["effective_rank"] = hidden.get("effective_rank")
    for suffix in ("", "_predicted"):
        row[f"gradient_moment{suffix}"] = first[f"gradient_moment{suffix}"]
        row |= {f"{name}{suffix}": hidden.get(f"{name}{suffix}") for name in ("forward_moment", "cosine")}
        for name, layer in (("first", first), ("hidden", hidden), ("output", output)):
            row[f"{name}{suffix}"] = _root(layer.get(f"forward_moment{suffix}"))
    yield row


def _root(moment: float | None) -> float | None:
    return None if moment is None else float(np.sqrt(moment))


def _key(network: Observed) -> dict[str, Any]:
    return {"model": network.model, "scheme": network.scheme, "seed": network.seed}


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> "pd.DataFrame":
    """Return rows as a table; a number that no row has is NaN and not None, of which no mean can be taken."""
    import pandas as pd  # noqa: PLC0415 - measuring needs none

    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({name: "float64" for name in columns if rows and frame[name].isna().all()})


def _types(annotations: Mapping[str, object]) -> dict[str, str]:
    return {name: _type(annotation) for name, annotation in annotations.items()}


def _type(annotation: object) -> str:
    if annotation is str:
        return "str"
    return "Int64" if annotation in (int, int | None) else "float64"


def _table(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> "pd.DataFrame":
    from initbench.analysis.frames import table  # noqa: PLC0415 - loads pandas

    return table(rows, columns)
