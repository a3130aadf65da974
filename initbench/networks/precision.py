"""Why a network does not take its inputs: another precision is named, other errors are quoted."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from initbench.core import usercode


def why_not(model: nn.Module, inputs: Sequence[Any], error: BaseException) -> str:
    """Return the reason as the end of a sentence, without its full stop."""
    fed = {tensor.dtype for tensor in inputs if isinstance(tensor, Tensor) and tensor.is_floating_point()}
    held = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if not isinstance(error, RuntimeError) or not fed or not held or fed & held:
        return usercode.describe_error(error)
    theirs, ours = (str(next(iter(dtypes))).removeprefix("torch.") for dtypes in (held, fed))
    return f"its parameters are {theirs} and its inputs {ours}: give both one precision, for example `model.float()`"
