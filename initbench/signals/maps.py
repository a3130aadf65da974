"""The map from a layer's output z to what the next layer gets, whatever it is made of: its name, by what it does."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from initbench.signals import theory
from initbench.signals.carrying import ACTIVATIONS, MOVES, Call
from initbench.signals.theory import Floats

SAMPLED = 512  # entries of z and x that a map is known by
CLOSE = 5e-3  # of the root mean square: PyTorch's GELU and its approximation by tanh differ by less


def is_part(call: Call) -> bool:
    """Return whether a call may be a part of such a map: not where it moves entries, drops or pools them."""
    return call.name not in MOVES and not any(word in call.name for word in ("dropout", "pool", "norm"))


def label(call: Call) -> str:
    """Return the name of a call as people know it: nn.ReLU6 is hardtanh from 0 to 6 in PyTorch."""
    given = call.given("input", "min_val", "max_val")
    return "relu6" if call.name == "hardtanh" and (given.get("min_val"), given.get("max_val")) == (0, 6) else call.name


def sample(values: Tensor) -> Tensor:
    """Return a copy of some entries, the same ones of every tensor of one shape."""
    return values.flatten()[:: max(1, values.numel() // SAMPLED)].to(torch.float64, copy=True)


def name_of(parts: Sequence[str], z: Tensor, x: Tensor) -> str:
    """Return the name of the map that `parts` compute: of one known part its own, else that of an equal function."""
    if len(parts) == 1 and parts[0] in ACTIVATIONS | {"relu6"}:
        return parts[0]
    before, after = z.cpu().numpy(), x.cpu().numpy()
    # Not entry by entry, where a half is taken; and of what is not finite nothing is known.
    if before.shape != after.shape or not np.isfinite(before).all() or not np.isfinite(after).all():
        return _listed(parts)
    with np.errstate(all="ignore"):
        errors = {name: _error(act.value(before), after) for name, act in theory.ACTIVATIONS.items()}
    best = min(errors, key=lambda name: errors[name])
    return best if errors[best] < CLOSE else _listed(parts)


def _error(expected: Floats, found: Floats) -> float:
    scale = float(np.sqrt(np.square(found).mean()))
    return float(np.abs(expected - found).max() / scale) if scale > 0 else np.inf


def _listed(parts: Sequence[str]) -> str:
    return " → ".join(parts) if len(parts) <= 3 else f"a function of {len(parts)} operations"


def zeroed(z: Tensor, x: Tensor) -> bool:
    """Return whether the map sets entries to exactly 0, as a gate does."""
    return bool(((x == 0) & (z != 0)).any())
