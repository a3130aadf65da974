"""The propagation of expected moments for each function of PyTorch; a function without an entry is only measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from initbench.signals import propagation, theory
from initbench.signals.propagation import ExpectedMoments

# Elementwise functions that count as the activation of a layer without a law of that name: mostly of none at all.
UNPREDICTED = frozenset(
    ("relu6", "softplus", "hardswish", "hardsigmoid", "celu", "glu", "prelu", "logsigmoid", "softshrink", "tanhshrink",
     "threshold", "rrelu")
)  # fmt: skip
ACTIVATIONS = UNPREDICTED | (theory.ACTIVATIONS.keys() - {"linear"})
MOVES = (
    "flatten", "reshape", "view", "unflatten", "permute", "transpose", "movedim", "squeeze", "unsqueeze", "contiguous",
    "clone", "to", "float", "double",
)  # fmt: skip
# Functions of unknown propagation whose gradient does not depend on the signal's values.
LINEAR = frozenset(
    (*(f"{kind}_pool{n}d" for kind in ("avg", "adaptive_avg") for n in (1, 2, 3)), "mean", "sum", "linear",
     *(f"conv{of}{n}d" for of in ("", "_transpose") for n in (1, 2, 3)))
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call on tensors computed from the input: `known` are their expected moments, `out` its (first) result.

    `numbers` are those of the last layer that each of these tensors depends on.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    known: tuple[ExpectedMoments | None, ...]
    numbers: tuple[int, ...]
    out: Tensor

    def given(self, *names: str) -> dict[str, Any]:
        """Return the arguments by name; `names` are those of the positional ones."""
        return dict(zip(names, self.args, strict=False)) | dict(self.kwargs)


def carried(call: Call) -> ExpectedMoments | None:
    """Return the expected moments of the result of a call, or None if unknown."""
    carry = PROPAGATIONS.get(call.name)
    if carry is None or not call.known or call.known[0] is None or not isinstance(next(iter(call.args), None), Tensor):
        return None
    return carry(call, call.known[0])


def _activated(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    return propagation.through_activation(x, theory.ACTIVATIONS[call.name], call.out)


def _leaky(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    slope = call.given("input", "negative_slope").get("negative_slope", 0.01)
    return propagation.through_activation(x, theory.leaky_relu(float(slope)), call.out)


def _prelu(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    """Propagate through one slope; slopes of their own per channel would give units moments of their own."""
    weight = call.given("input", "weight")["weight"]
    slope = theory.leaky_relu(float(weight.detach())) if weight.numel() == 1 else None
    return propagation.through_activation(x, slope, call.out) if slope is not None else None


def _hardtanh(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    given = call.given("input", "min_val", "max_val")
    return _activated(call, x) if (given.get("min_val", -1), given.get("max_val", 1)) == (-1, 1) else None


def _elu(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    return _activated(call, x) if call.given("input", "alpha").get("alpha", 1.0) == 1 else None


def _gelu(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    return _activated(call, x) if call.kwargs.get("approximate", "none") == "none" else None


def _moved(call: Call, x: ExpectedMoments) -> ExpectedMoments:
    return propagation.reshaped(x, lambda part: call.func(part, *call.args[1:], **call.kwargs), call.out, fresh=x.fresh)


def _padded(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    """Padding copies entries or adds zeros; zeros are not normal, so no activation may follow."""
    if call.given("input", "pad", "mode", "value").get("value"):
        return None
    return propagation.reshaped(x, lambda part: call.func(part, *call.args[1:], **call.kwargs), call.out, fresh=False)


def _dropped(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    given = call.given("input", "p", "training")
    keep = 1.0 - float(given.get("p", 0.5)) if given.get("training", True) else 1.0
    return propagation.thinned(x, keep, call.out) if keep > 0 else None


def _added(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    if len(call.known) != 2 or len(call.args) != 2 or call.kwargs or call.known[1] is None:
        return None
    y, (of_x, of_y) = call.known[1], call.numbers
    return propagation.added(x, y, call.out) if x.uncorrelated(of_y) or y.uncorrelated(of_x) else None


def _scaled(call: Call, x: ExpectedMoments) -> ExpectedMoments | None:
    """Multiply or divide by a number, or by a tensor of one entry that does not depend on the input."""
    if len(call.args) != 2 or len(call.known) != 1 or call.kwargs or x.shape != call.out.shape:
        return None
    factor = call.args[1]
    if isinstance(factor, Tensor) and factor.numel() != 1:
        return None
    value = float(factor.detach()) if isinstance(factor, Tensor) else float(factor)
    return (
        propagation.scaled(x, value if "mul" in call.name else 1 / value, call.out)
        if value or "mul" in call.name
        else None
    )


PROPAGATIONS: Mapping[str, Callable[[Call, ExpectedMoments], ExpectedMoments | None]] = {
    **dict.fromkeys(theory.ACTIVATIONS.keys() - {"linear"}, _activated),
    "leaky_relu": _leaky,
    "elu": _elu,
    "gelu": _gelu,
    "hardtanh": _hardtanh,
    "prelu": _prelu,
    **dict.fromkeys(MOVES, _moved),
    "pad": _padded,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), _dropped),
    **dict.fromkeys(("add", "iadd"), _added),
    **dict.fromkeys(("mul", "imul", "div", "truediv"), _scaled),
}
