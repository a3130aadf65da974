"""Compare weight-initialization schemes in fair trials, with confidence intervals.

initbench.initialize(model, "conv=kaiming_uniform; bias=constant(0.1)", seed=0)
found = initbench.inspect(model, batch, schemes=["kaiming_uniform", "xavier_uniform"])
comparison = initbench.compare(["kaiming_uniform", "xavier_uniform"], model="cnn(depth=4)", dataset="mnist")
comparison = initbench.load("results/compare-1f0c2a9b")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initbench.api import compare
    from initbench.comparison import Comparison, load
    from initbench.inspected import Inspected
    from initbench.running.inspection import inspect
    from initbench.schemes.fill import initialize

__all__ = ["Comparison", "Inspected", "compare", "initialize", "inspect", "load"]

# Imported on first use: neither `initbench --help` nor reading results needs torch.
_HOMES = {
    "Comparison": "initbench.comparison",
    "Inspected": "initbench.inspected",
    "compare": "initbench.api",
    "initialize": "initbench.schemes.fill",
    "inspect": "initbench.running.inspection",
    "load": "initbench.comparison",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'initbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
