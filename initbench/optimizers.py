"""Optimizers: torch.optim's, under its names and defaults; the learning rate is an axis of its own."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat
from torch import nn

from initbench.registry import Registry

NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Decay = Annotated[FiniteFloat, Field(ge=0, lt=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
Parameters = Iterable[nn.Parameter]

OPTIMIZERS: Registry[torch.optim.Optimizer] = Registry("optimizer")


@OPTIMIZERS.register()
def sgd(
    parameters: Parameters, lr: float, /, momentum: Decay = 0.0, weight_decay: NonNegative = 0.0, nesterov: bool = False
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with momentum on request."""
    return torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov)


@OPTIMIZERS.register()
def adam(
    parameters: Parameters,
    lr: float,
    /,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015); its weight decay is added to the gradient."""
    return torch.optim.Adam(parameters, lr, (beta1, beta2), eps, weight_decay)


@OPTIMIZERS.register()
def adamw(
    parameters: Parameters,
    lr: float,
    /,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(parameters, lr, (beta1, beta2), eps, weight_decay)


@OPTIMIZERS.register()
def rmsprop(
    parameters: Parameters,
    lr: float,
    /,
    alpha: Decay = 0.99,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum: Decay = 0.0,
) -> torch.optim.Optimizer:
    """RMSprop (Tieleman & Hinton 2012)."""
    return torch.optim.RMSprop(parameters, lr, alpha, eps, weight_decay, momentum)
