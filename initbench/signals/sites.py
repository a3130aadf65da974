"""One call that uses a parameter, with the measurements of its signal and gradient."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from initbench.records.record import PRODUCT
from initbench.signals import maps, measures
from initbench.signals.carrying import ACTIVATIONS
from initbench.signals.measures import UNKNOWN
from initbench.signals.propagation import ExpectedMoments

LAYERS = frozenset(("linear", "conv", "norm", "embedding", "attention", "recurrent"))  # other kinds are parts of a map
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
    """Measurements of the map after a layer, made of `parts`; for a gate, the units that are 0 for every image.

    By `gate`, a later pass identifies the gate. `name` is what the map does (`maps.name_of`).
    """

    parts: tuple[str, ...]
    source: Tensor
    sample: Tensor
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
    sample: Tensor
    shape: torch.Size
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
    distinct: bool = False  # no two units have the same output
    gradient: Tensor | None = None  # of the output, until it is measured
    multiplied: bool = False  # with another signal
    weight_gradient: Tensor | None = None  # of a computed weight; a parameter holds its own

    @property
    def root(self) -> "Site":
        """The layer itself or, of a parameter that only takes part in a map, the layer before it."""
        return self.upstream.root if self.kind not in LAYERS and self.upstream is not None else self

    @property
    def nonlinearity(self) -> str:
        """What the map after the layer is, `linear` if there is none."""
        if self.multiplied:
            return PRODUCT
        after = self.activated
        return "linear" if after is None else maps.name_of(after.parts, after.source, after.sample)

    def activate(self, parts: tuple[str, ...], x: Tensor, gate: Gate | None) -> None:
        """Measure what `parts` of a map have made of the layer's output; the last ones count that keep its shape."""
        before, same = self.activated, x.shape == self.shape
        if not same and (before is not None or parts[-1] not in ACTIVATIONS):
            return
        axis = self.axis if x.ndim > self.axis else 1
        sample = maps.sample(x)
        shut = None
        if gate is not None:
            shut = measures.largest(x, axis) <= 0
        elif before is not None and before.shut is not None and before.parts == parts[: len(before.parts)]:
            shut, gate = before.shut, before.gate
        elif same and maps.zeroed(self.sample, sample):
            shut = (measures.by_unit(x, axis) == 0).all(dim=1)
        self.activated = Activated(parts, self.sample, sample, *measures.moments(x), shut, gate)
        if self.kind == "norm" and self.upstream is not None:
            self.upstream.activated = self.activated

    def watch(self, z: Tensor) -> None:
        """Measure the gradient of the layer's output z when it comes."""
        if z.requires_grad:
            z.register_hook(lambda gradient: self.note_gradient(gradient.detach()))  # type: ignore[no-untyped-call] # torch types it so

    def note_gradient(self, gradient: Tensor) -> None:
        """Keep the gradient of the layer's output, or measure a large one, and count the units that it leaves alike."""
        self.gradient = gradient
        if gradient.numel() > measures.STACKED:
            measure_gradients([self])
        if self.units > 1 and not self.distinct:
            marks = torch.cat([self.marks, marks_of(gradient.double(), self.axis)], dim=1)
            self.symmetric = measures.count_repeated(marks)


def tell_apart(sites: Sequence[Site]) -> None:
    """Find the layers of which no two units have the same output."""
    for site, distinct in zip(sites, measures.each_distinct([site.marks for site in sites]), strict=True):
        site.distinct = distinct


def measure_gradients(sites: Sequence[Site]) -> None:
    """Measure the gradients that are kept, and let go of them."""
    kept = [(site, site.gradient) for site in sites if site.gradient is not None]
    for (site, _), (moment, std) in zip(kept, measures.moments_of([gradient for _, gradient in kept]), strict=True):
        site.backward = {"gradient_moment": moment, "gradient_std": std}
        site.gradient = None


def measured(z: Tensor, images: int, axis: int, *, histograms: bool) -> dict[str, Any]:
    """Return what a site holds of its output z."""
    doubled, rows = z.double(), _rows_by_image(z, images, axis)
    moment, std = measures.moments(doubled)
    forward = {
        "forward_moment": moment,
        "forward_std": std,
        "cosine": measures.mean_cosine(rows) if rows is not None else UNKNOWN,
        "effective_rank": measures.effective_rank(rows) if rows is not None else UNKNOWN,
    }
    return {
        "sample": maps.sample(z),
        "forward": forward,
        "histogram": measures.histogram(z, moment) if histograms else (),
        "marks": marks_of(doubled, axis),
    }


def _rows_by_image(z: Tensor, images: int, axis: int) -> Tensor | None:
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
