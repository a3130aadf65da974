"""One call that uses a parameter, with the measurements of its signal and gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from initbench.signals import measures
from initbench.signals.propagation import ExpectedMoments

GATES = frozenset(("relu", "relu6", "threshold"))  # exactly 0 where inactive


@dataclass(frozen=True)
class Activated:
    """Measurements of the activation after a layer; for a gate, the units that are 0 for every image.

    `gate` is the index of the gate in the forward pass, by which a later pass identifies it.
    """

    name: str
    moment: float
    std: float
    shut: Tensor | None = None
    gate: int | None = None


@dataclass
class Site:
    """A layer in one of its uses. `upstream` is the layer before a normalization."""

    name: str
    kind: str
    weight: str
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

    def activate(self, name: str, x: Tensor, gate: int) -> None:
        """Measure the first activation after the layer; ignore later ones."""
        if self.activated is not None:
            return
        axis = self.axis if x.ndim > self.axis else 1
        is_gate = name in GATES
        self.activated = Activated(
            name,
            *measures.moments(x),
            (measures.by_unit(x, axis) <= 0).all(dim=1) if is_gate else None,
            gate if is_gate else None,
        )
        if self.kind == "norm" and self.upstream is not None:
            self.upstream.activated = self.activated

    def note_gradient(self, gradient: Tensor) -> None:
        """Measure the gradient of the layer's output, and count the units that it cannot distinguish."""
        moment, std = measures.moments(gradient)
        self.backward = {"gradient_moment": moment, "gradient_std": std}
        marks = torch.cat([self.marks, measures.signatures(_units(gradient, self.axis), "units")], dim=1)
        self.symmetric = int(measures.repeated(marks).sum()) if self.units > 1 else 0


def measured_forward(z: Tensor) -> dict[str, float]:
    """Return the measurements of a layer's output (n, …)."""
    moment, std = measures.moments(z)
    return {
        "forward_moment": moment,
        "forward_std": std,
        "cosine": measures.mean_cosine(z),
        "effective_rank": measures.effective_rank(z),
    }


def marks_of(z: Tensor, axis: int) -> Tensor:
    """Return signatures of the units of a layer's output."""
    return measures.signatures(_units(z, axis), "units")


def _units(values: Tensor, axis: int) -> Tensor:
    return measures.by_unit(values, axis) if values.ndim > 1 else values[:, None]
