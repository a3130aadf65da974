"""What a network returns, held against what training needs: logits, a row per image and a column per class."""

import math

import torch
from torch import Tensor, nn

from initbench.core.nests import named_tensors
from initbench.core.words import joined
from initbench.errors import UsageError
from initbench.networks.layers import weighted_layers

ENLARGED, ENLARGEMENTS = 1000.0, 10  # the smallest signal that float32 multiplies is about 1e-30
SHARE_OF_CHANCE = 0.05  # a floor below this share of ln K holds nothing back


def misfit(output: object, images: int, classes: int) -> str:
    """Return what a network returns instead of logits, as the end of a sentence; empty if it returns logits."""
    wanted = (images, classes)
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
        if shape == wanted:
            return ""
        one = ", one per class" if shape[1:] == (1,) else ""
        return f"gives {shape}, not {wanted} logits{one}."
    tensors = list(named_tensors(output))
    kind = type(output).__name__
    if not tensors:
        return f"gives {kind}, not a tensor of logits."
    held = joined(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors)
    fitting = [name for name, tensor in tensors if tensor.shape == wanted]
    remedy = f"return output{fitting[0]} alone" if fitting else f"none of them has the shape {wanted}"
    return f"gives {kind}, not a tensor of logits: it holds {held}; {remedy}."


def has_logits(output: object, classes: int) -> bool:
    """Return whether a network returns a tensor with a column per class, alone or among others."""
    return any(tensor.ndim == 2 and tensor.shape[1] == classes for _, tensor in named_tensors(output))


def logits_first(output: object, classes: int | None) -> list[Tensor]:
    """Return the tensors of an output, first those with a column per class, then those that are called logits."""

    def rank(named: tuple[str, Tensor]) -> tuple[bool, bool]:
        name, tensor = named
        fits = classes is not None and tensor.ndim == 2 and tensor.shape[1] == classes
        return not fits, "logits" not in name

    return [tensor for _, tensor in sorted(named_tensors(output), key=rank)]


def loss_floor(model: nn.Module, images: tuple[Tensor, ...]) -> str:
    """Return a sentence about outputs that no weights move out of a narrow range, such as probabilities; else nothing.

    Outputs of training mode count first; those of evaluation mode alone hold back only the losses that are reported.
    `model` is left in evaluation mode, and its weights are given back.
    """
    found = [_floor(model.train(training), images) for training in (True, False)]
    return found[0] or (found[1] and f"in evaluation mode {found[1]}")


@torch.no_grad()
def _floor(model: nn.Module, images: tuple[Tensor, ...]) -> str:
    """Return such a sentence on the mode that a model is in.

    Cross-entropy applies softmax to outputs, so that it cannot fall below ln(1 + (K - 1) e^-r), with r the range. It is
    found by enlarging the weights of the last layer, which moves logits as much, however small a signal reaches it.
    """
    try:
        weight = model.get_parameter(weighted_layers(model)[-1].weight)
    except UsageError:
        return ""
    output = _enlarged(model, images, weight)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
        return ""
    low, high = float(output.min()), float(output.max())
    if low == high:
        return ""
    ends = torch.minimum(output - low, high - output) < (high - low) / 100
    if ends.double().mean() < 0.5:  # normalized, not cut off: other weights may move them further
        low, high = min(0.0, math.copysign(1.0, low)), 1.0
    classes = output.shape[1]
    floor = math.log1p((classes - 1) * math.exp(low - high))
    if floor < SHARE_OF_CHANCE * math.log(classes):
        return ""
    sums_to_one = low >= 0 and bool(torch.isclose(output.sum(1), output.new_ones(())).all())
    what = "are probabilities" if sums_to_one else f"stay between {low:.3g} and {high:.3g} for any weights"
    return (
        f"its outputs {what}, and cross-entropy, which applies softmax itself, cannot fall below {floor:.3f} nats "
        f"for {classes} classes: return logits, without the last {'softmax' if sums_to_one else 'function'}."
    )


def _enlarged(model: nn.Module, images: tuple[Tensor, ...], weight: nn.Parameter) -> object:
    """Return the output that no longer follows the enlarged weights of the last layer; None where it keeps growing."""
    kept, output = weight.detach().clone(), None
    try:
        for _ in range(ENLARGEMENTS):
            weight.mul_(ENLARGED)
            larger = model(*images)
            if not isinstance(larger, Tensor) or not larger.isfinite().all() or larger.abs().max() > 1 + 1e-5:
                return None
            uniform = torch.isclose(larger.min(), larger.max())  # no signal yet
            if not uniform and isinstance(output, Tensor) and torch.allclose(larger, output, atol=0):
                return larger
            output = larger
    finally:
        weight.copy_(kept)
    return None
