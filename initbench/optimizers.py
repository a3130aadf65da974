"""Optimizers: torch.optim's, under its names and defaults; the learning rate is an axis of its own.

A factory takes what the user sets and returns a function of (parameters, lr). Nothing of torch.optim is built while a
recipe is checked, for its first optimizer imports torch's compiler (1.3 s).
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat
from torch import nn

from initbench.errors import UsageError
from initbench.registry import Registry

NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Decay = Annotated[FiniteFloat, Field(ge=0, lt=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
MakeOptimizer = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]

OPTIMIZERS: Registry[MakeOptimizer] = Registry("optimizer")


@OPTIMIZERS.register()
def sgd(momentum: Decay = 0.0, weight_decay: NonNegative = 0.0, nesterov: bool = False) -> MakeOptimizer:
    """Stochastic gradient descent, with momentum on request."""
    if nesterov and not momentum:
        raise UsageError("sgd(nesterov=True) needs momentum: write for example sgd(momentum=0.9, nesterov=True).")
    return lambda parameters, lr: torch.optim.SGD(
        parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov
    )


@OPTIMIZERS.register()
def adam(
    beta1: Decay = 0.9, beta2: Decay = 0.999, eps: Positive = 1e-8, weight_decay: NonNegative = 0.0
) -> MakeOptimizer:
    """Adam (Kingma & Ba 2015); its weight decay is added to the gradient."""
    return lambda parameters, lr: torch.optim.Adam(parameters, lr, (beta1, beta2), eps, weight_decay)


@OPTIMIZERS.register()
def adamw(
    beta1: Decay = 0.9, beta2: Decay = 0.999, eps: Positive = 1e-8, weight_decay: NonNegative = 0.01
) -> MakeOptimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return lambda parameters, lr: torch.optim.AdamW(parameters, lr, (beta1, beta2), eps, weight_decay)


@OPTIMIZERS.register()
def rmsprop(
    alpha: Decay = 0.99, eps: Positive = 1e-8, weight_decay: NonNegative = 0.0, momentum: Decay = 0.0
) -> MakeOptimizer:
    """RMSprop (Tieleman & Hinton 2012)."""
    return lambda parameters, lr: torch.optim.RMSprop(parameters, lr, alpha, eps, weight_decay, momentum)
