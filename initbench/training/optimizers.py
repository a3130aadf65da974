"""Optimizers: torch.optim's, with its names and defaults; the learning rate is a separate axis.

A factory takes the user's parameters and returns an `Optimizer`. Checking a recipe constructs no torch.optim optimizer,
because the first one imports torch's compiler (1.3 s).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from initbench.core.registry import Registry
from initbench.errors import UsageError
from initbench.training import schedules
from initbench.training.schedules import ScheduleText

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
class Regime:
    """How the rate moves and the gradient is limited: `clip` is the most that its norm over all parameters may be."""

    schedule: str = schedules.CONSTANT
    warmup: float = 0
    clip: float | None = None

    @property
    def moves(self) -> bool:
        """Whether the rate changes during training."""
        return bool(self.warmup) or self.schedule != schedules.CONSTANT

    def rates(self, lr: float, steps: int) -> tuple[float, ...]:
        """Return the rate of each step; a constant one is returned once."""
        return schedules.rates(self.schedule, self.warmup, lr, steps) if self.moves else (lr,)


class TorchOptimizer(Protocol):
    """What a training step uses of a torch.optim optimizer."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:  # noqa: ANN401 - torch's signature
        """Update the parameters."""


@dataclass(frozen=True)
class Optimizer:
    """`make(parameters, lr=…)` is torch.optim's own, `rule` the same in a compiled loop, None where there is none.

    `momentum` is that of plain SGD (0 without), whose update an engine may fold into the weight gradient's product;
    None for every other rule. `fused` is true if torch has a fused version, `capturable` if it takes that flag for CUDA
    graphs, `grouped` if engines that train several networks at once take it.
    """

    make: Callable[..., TorchOptimizer]
    rule: Rule | None
    momentum: float | None = None
    fused: bool = True
    capturable: bool = True
    grouped: bool = True
    regime: Regime = field(default_factory=Regime)

    def open(self, groups: list[dict[str, Any]], *, captured: bool = False) -> TorchOptimizer:
        """Open the optimizer over torch's parameter groups in its fastest form."""
        wanted = {"fused": self.fused, "capturable": captured and self.capturable}
        return self.make(groups, **{flag: True for flag, on in wanted.items() if on})

    @property
    def alone(self) -> bool:
        """Whether only engines that train one network at a time take it."""
        return not self.grouped or self.regime != Regime()


def regime(
    optimizer: Optimizer,
    /,
    schedule: ScheduleText = "constant",
    warmup: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] = 0,
    clip: Positive | None = None,
) -> Optimizer:
    """Return an optimizer whose rate follows a schedule after a warmup, and whose gradient is clipped.

    Every optimizer has these parameters (`initbench list schedules`); a warmup of 0.1 is a tenth of the steps.
    """
    if warmup and schedule.startswith("onecycle"):
        raise UsageError("schedule='onecycle' begins with a warmup of its own (rise=0.3): leave warmup out.")
    return replace(optimizer, regime=Regime(schedule, warmup, clip))


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", common=regime)


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
def nadam(
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum_decay: NonNegative = 0.004,
) -> Optimizer:
    """Adam with Nesterov's momentum (Dozat 2016); its weight decay is added to the gradient."""
    make = partial(
        torch.optim.NAdam, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay
    )
    made = Rule("nadam", (beta1, beta2, eps, weight_decay, momentum_decay, 0.0, 1.0), states=2)
    return Optimizer(make, made, fused=False)


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


@OPTIMIZERS.register()
def adagrad(lr_decay: NonNegative = 0.0, eps: Positive = 1e-10, weight_decay: NonNegative = 0.0) -> Optimizer:
    """Adagrad (Duchi, Hazan & Singer 2011)."""
    make = partial(torch.optim.Adagrad, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay)
    made = Rule("adagrad", (lr_decay, eps, weight_decay), states=1)
    return Optimizer(make, made, fused=False, capturable=False, grouped=False)


@OPTIMIZERS.register()
def lion(beta1: Decay = 0.9, beta2: Decay = 0.99, weight_decay: NonNegative = 0.0) -> Optimizer:
    """Lion (Chen et al. 2023): the sign of a momentum, with decoupled weight decay. Its rate is a tenth of Adam's."""
    made = Rule("lion", (beta1, beta2, weight_decay), states=1)
    return Optimizer(partial(_lion, beta1=beta1, beta2=beta2, weight_decay=weight_decay), made, grouped=False)


@OPTIMIZERS.register()
def muon(momentum: Decay = 0.95, weight_decay: NonNegative = 0.1, nesterov: bool = True) -> Optimizer:
    """Muon (Jordan et al. 2024) for matrices of weights; biases, kernels and whatever is no matrix go to AdamW.

    Both have the same rate: Muon's update is scaled to the size of AdamW's (`adjust_lr_fn="match_rms_adamw"`), and both
    the same weight decay.
    """
    made = partial(_Muon, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    return Optimizer(made, None, grouped=False)


def _lion(parameters: Iterable[Tensor], *, lr: float, **settings: float) -> torch.optim.Optimizer:
    """Make Lion, which torch.optim has not; the class is made late, because torch's own imports torch's compiler."""

    class Lion(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, _closure: Any = None) -> None:  # type: ignore[override] # noqa: ANN401 - torch's signature
            for group in self.param_groups:
                fresh, fresh_later = 1 - group["beta1"], 1 - group["beta2"]
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(m.lerp(p.grad, fresh).sign_(), alpha=group["lr"])
                    m.lerp_(p.grad, fresh_later)

    return Lion(list(parameters), {"lr": lr, **settings})


class _Muon:
    """torch.optim.Muon over the matrices among parameters, AdamW over the others."""

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        every = list(parameters)
        matrices, others = [p for p in every if p.ndim == 2], [p for p in every if p.ndim != 2]
        muon = partial(torch.optim.Muon, momentum=momentum, nesterov=nesterov, adjust_lr_fn="match_rms_adamw")
        kinds = ((muon, matrices), (torch.optim.AdamW, others))
        self.parts = [make(those, lr=lr, weight_decay=weight_decay) for make, those in kinds if those]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()  # type: ignore[no-untyped-call] # torch's own
