"""Measurements with additional passes: singular values of the input-output Jacobian, and dead units on more images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initbench.core.nests import tensors_of
from initbench.networks.wrappers import parameters_of
from initbench.signals import measures
from initbench.signals.listening import plain_name
from initbench.signals.sites import Gate, GateOrder, Site

JACOBIAN_IMAGES = 8
MOST_OUTPUTS = 128  # each output is a row of the Jacobian and costs a copy of the images


def jacobian_singular_values(
    model: nn.Module, inputs: Sequence[Any], outputs: int | None = None
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return the largest, mean and smallest singular value of ∂output/∂input, each the mean over a few images.

    In evaluation mode, so that normalization does not mix images; `outputs` is their number where it is known. None if
    inputs are not one float tensor, outputs are not vectors of moderate length, or the model cannot run this way (for
    example, with another batch size).
    """
    try:
        return _singular_values(model, inputs, outputs)
    except Exception:  # noqa: BLE001 - the model's own code, which ran on the batch itself; only this result is lost
        return None, None, None


def _singular_values(
    model: nn.Module, inputs: Sequence[Any], outputs: int | None
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Pass one copy of every image per output: one backward pass, from each copy's own output, gives all rows."""
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not inputs[0].is_floating_point():
        return None, None, None
    images = inputs[0][:JACOBIAN_IMAGES].detach()
    if model.training:
        model.eval()
    outputs = outputs or _outputs(model, images)
    if outputs is None or outputs > MOST_OUTPUTS:
        return None, None, None
    copies = images.repeat_interleave(outputs, dim=0).requires_grad_()
    output = next(tensors_of(model(copies.clone())))  # a leaf could not be changed in place
    own = torch.arange(outputs, device=output.device).repeat(len(images))
    (rows,) = torch.autograd.grad(output.gather(1, own[:, None]).sum(), copies, allow_unused=True)
    if rows is None or not rows.isfinite().all():
        return None, None, None
    singular = torch.linalg.svdvals(rows.double().reshape(len(images), outputs, -1))
    largest, mean, smallest = singular.amax(dim=1), singular.mean(dim=1), singular.amin(dim=1)
    return float(largest.mean()), float(mean.mean()), float(smallest.mean())


def _outputs(model: nn.Module, images: Tensor) -> int | None:
    """Return the length of the vector that a model returns for an image, None if it returns something else."""
    with torch.no_grad():
        shape = next(tensors_of(model(images[:1].clone()))).shape
    return shape[1] if len(shape) == 2 else None


class _Gates(TorchFunctionMode):
    """Records for every gate of a forward pass the units that are active for some image."""

    def __init__(self, model: nn.Module, axes: Mapping[Gate, int]) -> None:
        super().__init__()
        self.axes = axes
        self.order = GateOrder({id(parameter): name for name, parameter in parameters_of(model).items()})
        self.open: dict[Gate, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor | tuple):
            gate = self.order.next(plain_name(func), tensors_of((args, kwargs)))
            axis = self.axes.get(gate) if gate is not None else None
            if axis is not None and gate is not None and isinstance(result, Tensor):
                self.open[gate] = measures.is_positive(result, axis)
        return result


def still_shut(
    model: nn.Module, sites: Sequence[Site], more: Iterable[Tensor], seen: int
) -> tuple[dict[int, Tensor], int]:
    """Return the units of each site (by index) that no image activates, and the number of images tested.

    Units inactive on the whole batch are tested on `more` images, chunk by chunk, until every unit has been active, no
    images are left, or images do not reach every gate in question.
    """
    shut = {i: s.activated.shut.clone() for i, s in enumerate(sites) if s.activated and s.activated.shut is not None}
    gates = {i: a.gate for i in shut if (a := sites[i].activated) is not None and a.gate is not None}
    model.eval()
    asked = seen
    for images in more:
        if not any(bool(units.any()) for units in shut.values()):
            break
        doubtful = {gate: sites[i].axis for i, gate in gates.items() if shut[i].any()}
        try:
            with torch.no_grad(), _Gates(model, doubtful) as gating:
                model(images)
        except Exception:  # noqa: BLE001 - the model's own code, which accepts its own batch but not this one
            break
        if doubtful.keys() - gating.open.keys():
            break
        for i, gate in gates.items():
            opened = gating.open.get(gate)
            if opened is not None and opened.shape == shut[i].shape:
                shut[i] &= ~opened
        asked += len(images)
    return shut, asked


class _Touched(TorchFunctionMode):
    """Records the parameters that calls of a forward pass are given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in parameters_of(model).items()}
        self.touched: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        result = func(*args, **(kwargs or {}))
        if next(tensors_of(result), None) is not None:
            self.touched.update(self.names[id(x)] for x in tensors_of((args, kwargs)) if id(x) in self.names)
        return result


def executed(model: nn.Module, inputs: Sequence[Any]) -> frozenset[str]:
    """Return the parameters that a forward pass in evaluation mode uses, where no layer is skipped at random."""
    model.eval()
    try:
        with torch.no_grad(), _Touched(model) as listening:
            model(*(item.clone() if isinstance(item, Tensor) else item for item in inputs))
    except Exception:  # noqa: BLE001 - the model's own code, which ran on this batch in training mode
        return frozenset()
    return frozenset(listening.touched)
