"""One call that uses a parameter, with the measurements of its signal and gradient."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from initbench.signals import measures
from initbench.signals.propagation import ExpectedMoments

GATES = frozenset(("relu", "relu6", "threshold"))  # exactly 0 where inactive
Gate = tuple[str, int]  # the parameter used last before a gate, and the gate's number among those after it


class GateOrder:
    """Names the gates of a forward pass, so that a pass in which other layers run finds the same ones again."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names  # of parameters, by id
        self.last = ""
        self.counts = Counter[str]()

    def next(self, function: str, given: Iterable[Tensor]) -> Gate | None:
        """Follow one call, and return the gate that it is, if it is one."""
        self.last = next((name for tensor in given if (name := self.names.get(id(tensor)))), self.last)
        if function not in GATES:
            return None
        self.counts[self.last] += 1
        return self.last, self.counts[self.last]


@dataclass(frozen=True)
class Activated:
    """Measurements of the activation after a layer; for a gate, the units that are 0 for every image.

    By `gate`, a later pass identifies the gate.
    """

    name: str
    moment: float
    std: float
    shut: Tensor | None = None
    gate: Gate | None = None


@dataclass
class Site:
    """A layer in one of its uses. `upstream` is the layer before a normalization.

    `weight` names its parameter; `seen` is the tensor of weights that the product sees, which may be computed from it.
    """

    name: str
    kind: str
    weight: str
    seen: Tensor | None
    axis: int
    units: int
    groups: int
    transposed: bool
    expected: ExpectedMoments | None
    upstream: "Site | None"
    forward: Mapping[str, float]
    histogram: tuple[float, ...]
    marks: Tensor
    numel: int
    outputs: int
    activated: Activated | None = None
    backward: Mapping[str, float] = field(default_factory=dict)
    symmetric: int = 0
    weight_gradient: Tensor | None = None  # of a computed weight; a parameter holds its own

    def activate(self, name: str, x: Tensor, gate: Gate | None) -> None:
        """Measure the first activation after the layer; ignore later ones."""
        if self.activated is not None:
            return
        axis = self.axis if x.ndim > self.axis else 1
        is_gate = name in GATES
        self.activated = Activated(
            name,
            *measures.moments(x),
            (measures.by_unit(x, axis) <= 0).all(dim=1) if is_gate else None,
            gate,
        )
        if self.kind == "norm" and self.upstream is not None:
            self.upstream.activated = self.activated

    def note_gradient(self, gradient: Tensor) -> None:
        """Measure the gradient of the layer's output, and count the units that it cannot distinguish."""
        moment, std = measures.moments(gradient)
        self.backward = {"gradient_moment": moment, "gradient_std": std}
        marks = torch.cat([self.marks, measures.signatures(_units(gradient, self.axis), "units")], dim=1)
        self.symmetric = int(measures.repeated(marks).sum()) if self.units > 1 else 0


def measured_forward(z: Tensor, rows: Tensor | None) -> dict[str, float]:
    """Return the measurements of a layer's output; `rows` (n, …) are those of the images, if it has them."""
    moment, std = measures.moments(z)
    return {
        "forward_moment": moment,
        "forward_std": std,
        "cosine": measures.mean_cosine(rows) if rows is not None else measures.UNKNOWN,
        "effective_rank": measures.effective_rank(rows) if rows is not None else measures.UNKNOWN,
    }


def rows_by_image(z: Tensor, images: int, axis: int) -> Tensor | None:
    """Return a layer's output as (n, …); None if its rows are not the images (experts, tokens, learned queries).

    A sequence model may hold images in its second dimension, (T, n, d).
    """
    if z.ndim > 1 and len(z) == images:
        return z
    return z.transpose(0, 1) if z.ndim > 2 and axis != 1 and z.shape[1] == images else None


def marks_of(z: Tensor, axis: int) -> Tensor:
    """Return signatures of the units of a layer's output."""
    return measures.signatures(_units(z, axis), "units")


def _units(values: Tensor, axis: int) -> Tensor:
    return measures.by_unit(values, axis) if values.ndim > 1 else values.reshape(-1, 1)
