"""Modules that wrap another and compute what it computes: names without them, and the module inside.

`torch.compile`, data parallelism, checkpointing, sharding and weight averaging put a network under a prefix
(`_orig_mod.`, `module.`, …). A tensor keeps the name that it has inside, so the wrapper changes no draw and no glob.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointFunction

from initbench.errors import UsageError

# Children by names that only wrappers use.
INSIDE = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"))


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside all wrappers, the model itself if there are none.

    Raises:
        UsageError: the model is compiled by TorchScript, which hides its layers.

    >>> unwrapped(nn.DataParallel(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    while (inside := _inside(model, outermost=True)) is not None:
        model = inside
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            f"{model.original_name} is compiled by TorchScript, which hides its layers: give the module itself."
        )
    return model


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a model by name like `named_modules`, without wrappers.

    >>> list(modules_of(nn.Sequential(nn.DataParallel(nn.Sequential(nn.Linear(3, 2))))))
    ['', '0', '0.0']
    """
    return dict(_modules(unwrapped(model), "", set()))


def parameters_of(model: nn.Module, *, aliases: bool = False) -> dict[str, nn.Parameter]:
    """Return the parameters of a model by name like `named_parameters`, without wrappers.

    A tensor with several names has the first one, and with `aliases` all.
    """
    found: dict[str, nn.Parameter] = {}
    seen = set[int]()
    for prefix, module in _modules(unwrapped(model), "", None):
        for name, parameter in _own_parameters(module):
            if aliases or id(parameter) not in seen:
                found[f"{prefix}.{name}" if prefix else name] = parameter
                seen.add(id(parameter))
    return found


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of a module without its children: of a plain one from where torch keeps them, quickly."""
    kept = vars(module).get("_parameters")
    if type(kept) is dict and type(module).named_parameters is nn.Module.named_parameters:
        yield from ((name, parameter) for name, parameter in kept.items() if parameter is not None)
    else:
        yield from module.named_parameters(recurse=False, remove_duplicate=False)


@contextmanager
def eager() -> Iterator[None]:
    """Run a model as it is written: compiled code, and checkpoints that run without a graph, are not listened to."""
    with _checkpoints_open():
        if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes a second
            yield
            return
        with torch.compiler.set_stance("force_eager"):
            yield


@contextmanager
def _checkpoints_open() -> Iterator[None]:
    """Run reentrant checkpoints as plain calls, but for those in which torch computes no gradient either."""
    closed, replaced = getattr(CheckpointFunction, "apply"), vars(CheckpointFunction).get("apply")  # noqa: B009 - untyped

    def opened(run: Callable[..., Any], preserve: bool, *args: Any) -> Any:  # noqa: ANN401 - as torch calls it
        differentiable = any(isinstance(x, torch.Tensor) and x.requires_grad for x in args)
        return run(*args) if differentiable or not torch.is_grad_enabled() else closed(run, preserve, *args)

    setattr(CheckpointFunction, "apply", staticmethod(opened))  # noqa: B010 - torch declares it a method
    try:
        yield
    finally:
        if replaced is None:  # it is inherited
            del CheckpointFunction.apply
        else:
            setattr(CheckpointFunction, "apply", replaced)  # noqa: B010


def _modules(module: nn.Module, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, nn.Module]]:
    while (inside := _inside(module)) is not None:
        module = inside
    if seen is not None:
        if id(module) in seen:
            return
        seen.add(id(module))
    yield prefix, module
    for name, child in _children(module).items():
        if child is not None:
            yield from _modules(child, f"{prefix}.{name}" if prefix else name, seen)


def _inside(module: nn.Module, *, outermost: bool = False) -> nn.Module | None:
    """Return what a wrapper wraps; the `outermost` module also is one if it holds nothing but a `module`."""
    children = _children(module)
    if not children:
        return None
    hidden = next((child for name, child in children.items() if name in INSIDE), None)
    if hidden is not None:
        return hidden
    by_torch = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
    averaged = type(module).__module__ == "torch.optim.swa_utils"
    alone = outermost and children.keys() == {"module"} and not [*module.parameters(recurse=False)]
    return children.get("module") if by_torch or averaged or alone else None


def _children(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return the children of a module, one with two names twice, which `named_children` gives once."""
    kept = vars(module).get("_modules")
    children: dict[str, nn.Module | None] = kept if type(kept) is dict else dict(module.named_children())
    return children
