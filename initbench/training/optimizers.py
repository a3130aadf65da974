"""Optimizers: torch.optim's, with its names and defaults; the learning rate is a separate axis.

A factory takes the user's parameters and returns an `Optimizer`. Checking a recipe constructs no torch.optim optimizer,
because the first one imports torch's compiler (1.3 s).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field, FiniteFloat

from initbench.core.registry import Registry
from initbench.errors import UsageError

NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Decay = Annotated[FiniteFloat, Field(ge=0, lt=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class Rule:
    """The same optimizer in `training.compiled.updates`: its kernel, "" for plain SGD, and its settings after the rate.

    `states` is the number of state arrays, each of the weights' size.
    """

    kernel: str
    settings: tuple[float, ...] = ()
    states: int = 0


@dataclass(frozen=True)
class Optimizer:
    """`make(parameters, lr=…)` is torch.optim's own, `rule` the same in a compiled loop.

    `momentum` is that of plain SGD (0 without), whose update an engine may fold into the weight gradient's product;
    None for every other rule. `fused` is true if torch has a fused version, `capturable` if it takes that flag for CUDA
    graphs.
    """

    make: Callable[..., torch.optim.Optimizer]
    rule: Rule
    momentum: float | None = None
    fused: bool = True
    capturable: bool = True

    def open(self, groups: list[dict[str, Any]], *, captured: bool = False) -> torch.optim.Optimizer:
        """Open the optimizer over torch's parameter groups in its fastest form."""
        wanted = {"fused": self.fused, "capturable": captured and self.capturable}
        return self.make(groups, **{flag: True for flag, on in wanted.items() if on})


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")


@OPTIMIZERS.register()
def sgd(momentum: Decay = 0.0, weight_decay: NonNegative = 0.0, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent, optionally with momentum."""
    if nesterov and not momentum:
        raise UsageError("sgd(nesterov=True) needs momentum: write for example sgd(momentum=0.9, nesterov=True).")
    plain = not weight_decay and not nesterov
    kept = Rule("sgd", (momentum, weight_decay, float(nesterov)), states=1)
    return Optimizer(
        partial(torch.optim.SGD, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov),
        kept if momentum or weight_decay else Rule(""),
        momentum=momentum if plain else None,
        capturable=False,
    )


@OPTIMIZERS.register()
def adam(beta1: Decay = 0.9, beta2: Decay = 0.999, eps: Positive = 1e-8, weight_decay: NonNegative = 0.0) -> Optimizer:
    """Adam (Kingma & Ba 2015); its weight decay is added to the gradient."""
    make = partial(torch.optim.Adam, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    return Optimizer(make, Rule("adam", (beta1, beta2, eps, weight_decay, 0.0), states=2))


@OPTIMIZERS.register()
def adamw(
    beta1: Decay = 0.9, beta2: Decay = 0.999, eps: Positive = 1e-8, weight_decay: NonNegative = 0.01
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    make = partial(torch.optim.AdamW, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    return Optimizer(make, Rule("adam", (beta1, beta2, eps, 0.0, weight_decay), states=2))


@OPTIMIZERS.register()
def rmsprop(
    alpha: Decay = 0.99, eps: Positive = 1e-8, weight_decay: NonNegative = 0.0, momentum: Decay = 0.0
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012)."""
    return Optimizer(
        partial(torch.optim.RMSprop, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum),
        Rule("rmsprop", (alpha, eps, weight_decay, momentum), states=2),
        fused=False,
    )
