"""Which weights a forward pass uses, in which order and before which activations: what decides what a model is."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initbench.core.generators import held, own_generators
from initbench.core.nests import shapes_in_words, tensors_of
from initbench.core.randomness import isolated
from initbench.errors import UsageError
from initbench.networks.precision import why_not
from initbench.networks.wrappers import eager, modules_of, unwrapped

ACTIVATIONS = (
    "relu", "leaky_relu", "tanh", "sigmoid", "selu", "gelu", "silu", "elu", "softsign", "hardtanh", "mish", "prelu",
    "sin",
)  # fmt: skip


@dataclass
class Use:
    """The first use of a weight: the module that used it, if that was called, and the first activation after it."""

    module: nn.Module | None = None
    activation: str = "linear"


class _Trace(TorchFunctionMode):
    """Records the tensors of interest in order of first use."""

    def __init__(self, watched: Iterable[Tensor]) -> None:
        super().__init__()
        self.watched = {id(tensor) for tensor in watched}
        self.uses: dict[int, Use] = {}
        self.last: Use | None = None

    def use(self, tensor: object, module: nn.Module | None = None) -> None:
        """Note a use of a tensor."""
        if id(tensor) in self.watched:
            self.last = self.uses.setdefault(id(tensor), Use(module))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor | tuple):
            for tensor in tensors_of((args, kwargs)):
                self.use(tensor)
            name = str(getattr(func, "__name__", "")).strip("_")
            if name in ACTIVATIONS and self.last is not None:
                if self.last.activation == "linear":
                    self.last.activation = name
                self.last = None
        return result


def execution(model: nn.Module, batch: tuple[Any, ...], weights: Iterable[Tensor]) -> Mapping[int, Use]:
    """Return the uses of weights in a forward pass by id, in order.

    In evaluation mode, where no layer is skipped at random; in training mode if that raises. The model's mode and
    buffers and the random state do not change.

    Raises:
        UsageError: the model cannot take the batch in either mode.
    """
    inside = unwrapped(model)
    with restored(inside), isolated(0), held(0, own_generators(inside)), eager(), torch.no_grad():
        try:
            return _traced(inside.eval(), batch, weights)
        except (Exception, SystemExit):  # noqa: BLE001 - the model's own code, which has another chance
            try:
                return _traced(inside.train(), batch, weights)
            except (Exception, SystemExit) as error:
                shapes = shapes_in_words(batch)
                raise UsageError(
                    f"{type(inside).__name__} cannot take a batch of shape {shapes}: {why_not(model, batch, error)}."
                ) from error


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Give back the training mode of every module and the values of every buffer."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _traced(model: nn.Module, batch: tuple[Any, ...], weights: Iterable[Tensor]) -> Mapping[int, Use]:
    trace = _Trace(weights)
    with ExitStack() as hooks:  # a module may hand its weight to code that torch does not show
        for module in modules_of(model).values():
            weight = dict(module.named_parameters(recurse=False)).get("weight")
            if weight is not None and not isinstance(module, torch.jit.ScriptModule):
                hook = module.register_forward_pre_hook(lambda used, _inputs, weight=weight: trace.use(weight, used))
                hooks.callback(hook.remove)
        with trace:
            model(*(item.clone() if isinstance(item, Tensor) else item for item in batch))
    return trace.uses
