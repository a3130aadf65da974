"""Members of a group side by side in one network: grouped convolutions, batched products, autograd.

The channels of all members are concatenated, (batch, members · channels, height, width); a convolution with one group
per member keeps them apart, and pooling and activations do not mix channels. Members that share a batch share the input
image: their first convolutions become one with more output channels. The loss is the sum of the members' losses, so
each member's gradient is its own; each member's weights are one slice of a stacked parameter.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench.records.recipe import Trial
from initbench.training.activations import nonlinearity_of
from initbench.training.autograd import full_precision
from initbench.training.environment import in_precision
from initbench.training.optimizers import OPTIMIZERS


def groupable(model: nn.Module) -> bool:
    """Return whether a model is a chain of modules that can be grouped."""
    return type(model) is nn.Sequential and all(map(_has_form, model))


def _has_form(module: nn.Module) -> bool:
    kinds = (nn.Linear, nn.Flatten, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.BatchNorm2d, nn.GroupNorm)
    plain = type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"
    return plain or type(module) in kinds or nonlinearity_of(module) is not None


class Grouped:
    """Trains chains side by side; the modules of the first member are used with the weights of all."""

    def __init__(self, models: Sequence[nn.Module], trials: Sequence[Trial], orders: int) -> None:
        self.members, self.orders, self.trials = len(models), orders, trials
        self.name, self.captures = "autograd(grouped)", trials[0].device == "cuda"
        self.modules: list[Any] = list(models[0].children())
        chains = list(zip(*(list(model.children()) for model in models), strict=True))
        self.weights = [_stacked(members, "weight") for members in chains]
        self.biases = [_stacked(members, "bias") for members in chains]
        self.statistics = [_statistics(members) for members in chains]
        self.parameters = [p for pair in zip(self.weights, self.biases, strict=True) for p in pair if p is not None]
        # One view of each parameter per member, for its own learning rate; gradients are accumulated in place.
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer = OPTIMIZERS.build(trials[0].optimizer)
        self.optimizer = optimizer.open([self._group(k) for k in range(len(trials))], captured=self.captures)

    def _group(self, k: int) -> dict[str, Any]:
        """Return one member's slices as one of torch.optim's parameter groups."""
        slices = [parameter.detach()[k] for parameter in self.parameters]
        for piece, parameter in zip(slices, self.parameters, strict=True):
            piece.grad = parameter.grad[k] if parameter.grad is not None else None
        return {"params": slices, "lr": self.trials[k].lr}

    def step(self, images: Tensor, labels: Tensor, *, gradients: bool) -> Tensor:  # noqa: ARG002 - gradients are always kept
        """See `Stepper`."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()
        # (orders, batch, c, h, w) -> (batch, orders · c, h, w)
        logits = self._forward(images.transpose(0, 1).flatten(1, 2), self.orders, training=True)
        labels = labels.repeat_interleave(self.members // self.orders, dim=0)
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = losses.view(self.members, -1).mean(1)
        losses.sum().backward()  # type: ignore[no-untyped-call] # Tensor.backward
        self.optimizer.step()
        return losses.detach()

    def gradient_norms(self) -> Tensor:
        """See `Stepper`."""
        norms = [torch.linalg.vector_norm(p.grad.flatten(1), dim=1) for p in self.parameters if p.grad is not None]
        return torch.stack(norms).square().sum(0).sqrt()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """See `Stepper`."""
        return self._forward(images, 1, training=False)

    def _forward(self, h: Tensor, inputs: int, *, training: bool) -> Tensor:
        """Return logits (members, n, classes) of images with the channels of `inputs` groups concatenated."""
        with in_precision(self.trials[0]):
            flat = False
            for i, module in enumerate(self.modules):
                if isinstance(module, nn.Flatten):
                    h, flat = self._flatten(h, inputs), True
                elif isinstance(module, nn.Linear):
                    h, inputs = self._linear(i, h), self.members
                elif isinstance(module, nn.Conv2d):
                    h, inputs = self._convolve(i, h, inputs), self.members
                else:
                    h = module(h) if flat else self._pointwise(i, h, training=training)
            return full_precision(h)

    def _convolve(self, i: int, h: Tensor, inputs: int) -> Tensor:
        module, weight, bias = self.modules[i], self.weights[i], self.biases[i]
        bias = None if bias is None else bias.flatten()
        geometry = module.stride, module.padding, module.dilation
        return functional.conv2d(h, weight.flatten(0, 1), bias, *geometry, inputs)  # type: ignore[union-attr] # every Conv2d has weights

    def _linear(self, i: int, h: Tensor) -> Tensor:
        """Multiply (members or orders, n, in) with each member's weights."""
        weight, bias = self.weights[i], self.biases[i]
        h = h.repeat_interleave(self.members // len(h), dim=0)
        product = torch.bmm(h, weight.mT)  # type: ignore[union-attr] # every Linear has weights
        return product if bias is None else product + bias.unsqueeze(1)

    def _flatten(self, h: Tensor, inputs: int) -> Tensor:
        """Turn (n, inputs · c, h, w) into (inputs, n, c · h · w)."""
        return h.view(len(h), inputs, -1).transpose(0, 1)

    def _pointwise(self, i: int, h: Tensor, *, training: bool) -> Tensor:
        """Apply a module that does not mix the channels of different members."""
        module, weight, bias = self.modules[i], self.weights[i], self.biases[i]
        if weight is None or bias is None:
            return module(h)  # type: ignore[no-any-return] # nn.Module calls are untyped
        if isinstance(module, nn.GroupNorm):
            groups = module.num_groups * self.members
            return functional.group_norm(h, groups, weight.flatten(), bias.flatten(), module.eps)
        statistics = self.statistics[i]
        assert statistics is not None
        affine = weight.flatten(), bias.flatten()
        return functional.batch_norm(h, *statistics, *affine, training, module.momentum, module.eps)


def _stacked(members: Sequence[nn.Module], name: str) -> Tensor | None:
    tensors = [getattr(member, name, None) for member in members]
    if not isinstance(tensors[0], Tensor):
        return None
    return torch.stack([tensor.detach() for tensor in tensors if tensor is not None]).requires_grad_()


def _statistics(members: Sequence[nn.Module]) -> tuple[Tensor, Tensor] | None:
    """Return the members' running means and variances, concatenated; None if they have none."""
    norms = [member for member in members if isinstance(member, nn.BatchNorm2d)]
    if not norms:
        return None
    return torch.cat([norm.running_mean for norm in norms]), torch.cat([norm.running_var for norm in norms])  # type: ignore[misc] # every BatchNorm2d here tracks them
