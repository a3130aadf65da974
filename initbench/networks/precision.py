"""Why a network does not take its inputs: precisions that do not go together are named, other errors are quoted."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from initbench.core import usercode


def why_not(model: nn.Module, inputs: Sequence[Any], error: BaseException) -> str:
    """Return the reason as the end of a sentence, without its full stop."""
    keys = [key for item in inputs if isinstance(item, dict) for key in item]
    if keys and isinstance(error, TypeError | AttributeError):
        return f"it takes tensors and not a dictionary: give it the one it needs, for example batch[{keys[0]!r}]"
    fed = {tensor.dtype for tensor in inputs if isinstance(tensor, Tensor) and tensor.is_floating_point()}
    held = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    mixed = len(held) > 1 and "type" in str(error)
    if not isinstance(error, RuntimeError) or not fed or not held or (fed & held and not mixed):
        return usercode.describe_error(error)
    theirs, ours = (" and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in of)) for of in (held, fed))
    every = "all" if mixed else "both"
    return f"its parameters are {theirs} and its inputs {ours}: give {every} one precision, for example `model.float()`"
