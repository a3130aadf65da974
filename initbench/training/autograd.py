"""The reference engine: PyTorch's own autograd and optimizers, for any nn.Module. The others are tested against it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench.records.recipe import Trial
from initbench.training.environment import in_precision
from initbench.training.optimizers import OPTIMIZERS, TorchOptimizer
from initbench.training.stepwise import stepwise


class Autograd:
    """Trains modules one after the other with plain PyTorch, or each on its own CUDA stream.

    `captures` is only allowed if no forward pass waits for the device, which a user's model may do.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        trials: Sequence[Trial],
        *,
        name: str = "autograd",
        captures: bool = False,
        streams: Sequence[torch.cuda.Stream] = (),
    ) -> None:
        self.models, self.trials, self.streams = list(models), trials, streams
        self.name, self.captures = name, captures and trials[0].device == "cuda"
        self.regime = OPTIMIZERS.build(trials[0].optimizer).regime
        self.rates = [self.regime.rates(trial.lr, trial.steps) for trial in trials]
        self.norms = [torch.zeros(())] * len(models)  # of gradients before they were clipped
        self.taken = 0
        self.optimizers = [self._optimizer(*pair, captures=captures) for pair in zip(models, trials, strict=True)]

    def _optimizer(self, model: nn.Module, trial: Trial, *, captures: bool) -> TorchOptimizer:
        optimizer = OPTIMIZERS.build(trial.optimizer)
        if captures:
            return optimizer.open([{"params": list(model.parameters()), "lr": trial.lr}], captured=self.captures)
        return optimizer.make(model.parameters(), lr=trial.lr)

    def step(self, images: Tensor, labels: Tensor, *, gradients: bool) -> Tensor:  # noqa: ARG002 - gradients are always kept
        """See `Stepper`."""
        share = len(self.models) // len(images)
        losses = []
        for k in range(len(self.models)):
            with self._stream(k):
                losses.append(self._step(k, images[k // share], labels[k // share]))
        for stream in self.streams:
            torch.cuda.current_stream().wait_stream(stream)
        self.taken += 1
        return torch.stack(losses)

    def _stream(self, k: int) -> AbstractContextManager[object]:
        if not self.streams:
            return nullcontext()
        self.streams[k].wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self.streams[k])

    def _step(self, k: int, images: Tensor, labels: Tensor) -> Tensor:
        model, optimizer = self.models[k], self.optimizers[k]
        if not model.training:
            model.train()
        optimizer.zero_grad()
        with in_precision(self.trials[k]):
            loss = functional.cross_entropy(full_precision(model(images)), labels)
        loss.backward()  # type: ignore[no-untyped-call] # Tensor.backward
        if self.regime.clip is not None:
            self.norms[k] = nn.utils.clip_grad_norm_(model.parameters(), self.regime.clip)
        if self.regime.moves:
            for group in optimizer.param_groups:
                group["lr"] = self.rates[k][self.taken]
        optimizer.step()
        return loss.detach()

    def gradient_norms(self) -> Tensor:
        """See `Stepper`."""
        clipped = self.regime.clip is not None
        return torch.stack(self.norms if clipped else [_gradient_norm(model) for model in self.models])

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """See `Stepper`."""
        with in_precision(self.trials[0]):
            return torch.stack([full_precision(model.eval()(images)) for model in self.models])


def full_precision(logits: Tensor) -> Tensor:
    """Return logits in at least 32 bits, for the loss."""
    return logits.float() if logits.dtype is torch.bfloat16 else logits


@torch.no_grad()
def _gradient_norm(model: nn.Module) -> Tensor:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients)


ENGINE = stepwise(lambda models, trials, _: Autograd(models, trials))
