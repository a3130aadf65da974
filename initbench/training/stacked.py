"""Groups of chains of Linear and activation on a GPU, as stacks: explicit backpropagation in preallocated buffers.

For a layer with input h, weights W (out, in), bias b and nonlinearity φ

    z = h Wᵀ + b    h' = φ(z)    ∂z = φ'(z) ∂h'    ∂h = ∂z W    ∂W = ∂zᵀ h    ∂b = ∂zᵀ 1

and the softmax's ∂z = (p - onehot) / batch. Plain SGD needs no gradient buffer: W ← W - lr ∂W is one product that adds
to its output, and so is the velocity of momentum. For other optimizers torch.optim uses the stored gradient.

A group is trained as stacks (members, …, …) with batched products: one call serves all members, because for small
layers a call costs as much as its arithmetic. Each member has its own learning rate: everything after the last layer's
∂z is linear in it, so the rate multiplies that ∂z. No sum runs over members; but a batched product may choose its
kernel by the number of members, so the last bits of a member can depend on the size of its group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from initbench.records.recipe import Trial
from initbench.training.activations import IDENTITY, Nonlinearity, chain_of, nonlinearity_of
from initbench.training.optimizers import OPTIMIZERS, Optimizer, TorchOptimizer

# Rates beyond these could take a gradient out of float32's range before it is divided by them again.
FOLDED_RATES = (1e-6, 1e6)


@dataclass(frozen=True)
class _Parameter:
    """A parameter and its gradient's two factors, ∂W = left · right; a bias (out, 1) has ones on the right.

    `right` is None where it is the network's input, `velocity` where there is no momentum.
    """

    value: Tensor
    gradient: Tensor
    velocity: Tensor | None
    left: Tensor
    right: Tensor | None


@dataclass(frozen=True)
class _Layer:
    """One layer's weights, transposed too, and its buffers z, h' and ∂z, each (…, batch, out)."""

    weight: Tensor
    weight_t: Tensor
    bias: Tensor
    nonlinearity: Nonlinearity
    z: Tensor
    output: Tensor
    gradient: Tensor


def layers_of(model: nn.Module) -> list[tuple[nn.Linear, Nonlinearity]]:
    """Return the layers of a chain, each with its nonlinearity; empty if the model is anything else."""
    return [(linear, nonlinearity_of(module) or IDENTITY) for linear, module in chain_of(model)]


class Stacked:
    """Trains the stacks of a group.

    If there are fewer `orders` than members, members share batches; their first layers are then one wide product.
    """

    def __init__(self, models: Sequence[nn.Module], trials: Sequence[Trial], orders: int) -> None:
        self.members, self.orders = len(models), orders
        self.wide = orders < self.members
        self.name = "stacked"
        self.captures = trials[0].device == "cuda"
        optimizer = OPTIMIZERS.build(trials[0].optimizer)
        rates = torch.tensor([trial.lr for trial in trials], dtype=torch.float64)
        low, high = FOLDED_RATES
        self.momentum = optimizer.momentum or 0.0
        self.folds = optimizer.momentum is not None and bool(((rates >= low) & (rates <= high)).all())
        self._allocate([layers_of(model) for model in models], trials[0].batch_size)
        self.outputs = [layer.z[..., :0, :] for layer in self.layers]
        like = self.layers[0].z
        self.factors = (rates if self.folds else torch.ones_like(rates)).to(like)  # of every gradient that is kept
        scale = self.factors / trials[0].batch_size
        self.scale = scale.view(-1, 1, 1)
        self.optimizer = None if self.folds else self._optimizer(optimizer, trials)

    def step(self, images: Tensor, labels: Tensor, *, gradients: bool) -> Tensor:
        """See `Stepper`."""
        inputs = images.flatten(2)
        self._forward(inputs)
        losses = self._loss_gradient(labels)
        if self.folds and not gradients:
            self._backward(inputs, self._fold)
        else:
            self._backward(inputs, self._keep)
            self._apply()
        return losses

    def gradient_norms(self) -> Tensor:
        """See `Stepper`."""
        squares = [p.gradient.view(self.members, -1).square().sum(1) for p in self.parameters]
        return torch.stack(squares, dim=1).sum(1).sqrt() / self.factors

    def logits(self, images: Tensor) -> Tensor:
        """See `Stepper`."""
        h = images.flatten(1)
        first, *others = outputs = self._outputs(len(h))
        self._first_logits(h, first)
        for layer, before, after in zip(self.layers[1:], outputs, others, strict=False):
            torch.baddbmm(layer.bias, before, layer.weight_t, out=after)
            layer.nonlinearity.apply(after, out=after)
        return outputs[-1].clone()

    def _outputs(self, count: int) -> list[Tensor]:
        """Return one output buffer per layer for `count` images, reused if the last call had the same count."""
        if self.outputs[0].shape[-2] != count:
            self.outputs = [o.new_empty(*o.shape[:-2], count, o.shape[-1]) for o in self.outputs]
        return self.outputs

    def _first_logits(self, images: Tensor, into: Tensor) -> None:
        """Apply the first layers of all members to the same images."""
        first = self.layers[0]
        if self.wide:
            wide = torch.addmm(first.bias.flatten(), images, first.weight.flatten(0, 1).mT)
            into.copy_(wide.view(len(images), self.members, -1).transpose(0, 1))
        else:
            torch.baddbmm(first.bias, images.expand(self.members, -1, -1), first.weight_t, out=into)
        first.nonlinearity.apply(into, out=into)

    # The step, part by part.

    def _forward(self, inputs: Tensor) -> None:
        h = inputs
        for layer in self.layers:
            if self.wide and h is inputs:
                self._wide_forward(inputs)
            else:
                torch.baddbmm(layer.bias, h, layer.weight_t, out=layer.z)
            layer.nonlinearity.apply(layer.z, out=layer.output)
            h = layer.output

    def _wide_forward(self, inputs: Tensor) -> None:
        """Multiply each batch once with the first weights of all members that see it, side by side."""
        first = self.layers[0]
        bias, weight = first.bias.view(self.orders, 1, -1), first.weight.view(self.orders, -1, inputs.shape[-1])
        torch.baddbmm(bias, inputs, weight.mT, out=self.side_by_side)
        self._by_member(first.z).copy_(self._by_batch(self.side_by_side))

    def _by_member(self, stack: Tensor) -> Tensor:
        """View (members, batch, out) as (orders, batch, share, out)."""
        return stack.view(self.orders, -1, *stack.shape[1:]).transpose(1, 2)

    def _by_batch(self, side_by_side: Tensor) -> Tensor:
        """View (orders, batch, share · out) as (orders, batch, share, out)."""
        return side_by_side.view(*side_by_side.shape[:2], self.members // self.orders, -1)

    def _loss_gradient(self, labels: Tensor) -> Tensor:
        """Write scale · (p - onehot) to the last layer's ∂z, and return the mean losses."""
        last = self.layers[-1]
        if self.wide:
            labels = labels.repeat_interleave(self.members // self.orders, dim=0)
        index = labels.unsqueeze(-1)
        torch.log_softmax(last.output, -1, out=last.gradient)
        losses = last.gradient.gather(-1, index).squeeze(-1).mean(-1).neg_()
        last.gradient.exp_().scatter_add_(-1, index, self.minus_one).mul_(self.scale)
        return losses

    def _backward(self, inputs: Tensor, treat: Callable[[_Parameter, Tensor], None]) -> None:
        """Go through the layers backwards and call `treat` on each parameter once ∂h no longer needs it."""
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            layer.nonlinearity.backward(layer.gradient, layer.z if layer.nonlinearity.keeps_input else layer.output)
            if i:
                torch.bmm(layer.gradient, layer.weight, out=self.layers[i - 1].gradient)
            elif self.wide:
                self._by_batch(self.side_by_side).copy_(self._by_member(layer.gradient))
            for parameter in self.parameters[2 * i : 2 * i + 2]:
                treat(parameter, inputs if parameter.right is None else parameter.right)

    def _fold(self, parameter: _Parameter, right: Tensor) -> None:
        """Update while computing the gradient, in one product."""
        velocity = parameter.velocity
        if velocity is not None:
            velocity.baddbmm_(parameter.left, right, beta=self.momentum)  # with out= it would copy first
            parameter.value.sub_(velocity)
        else:
            parameter.value.baddbmm_(parameter.left, right, alpha=-1)

    def _keep(self, parameter: _Parameter, right: Tensor) -> None:
        torch.bmm(parameter.left, right, out=parameter.gradient)

    def _apply(self) -> None:
        """Update with the stored gradients."""
        if self.optimizer is not None:
            self.optimizer.step()
            return
        for p in self.parameters:
            p.value.sub_(p.gradient if p.velocity is None else p.velocity.mul_(self.momentum).add_(p.gradient))

    # What is allocated once.

    def _allocate(self, stacks: Sequence[Sequence[tuple[nn.Linear, Nonlinearity]]], batch: int) -> None:
        """Lay out weights, buffers and gradients for a batch."""
        shape = (self.members, batch)
        like = stacks[0][0][0].weight.detach()
        ones = like.new_ones(*shape, 1)
        self.minus_one = -ones
        # A layer's ∂z is not needed after the previous layer's: two buffers per width suffice, and stay in the cache.
        gradients: dict[tuple[int, int], Tensor] = {}
        self.layers: list[_Layer] = []
        self.parameters: list[_Parameter] = []
        for same in zip(*stacks, strict=True):
            z = like.new_empty(*shape, same[0][0].out_features)
            gradient = gradients.setdefault((z.shape[-1], len(self.layers) % 2), torch.empty_like(z))
            layer = self._layer([linear for linear, _ in same], same[0][1], z, gradient)
            right = self.layers[-1].output if self.layers else None
            left = layer.gradient.mT
            weight = layer.weight
            if self.wide and not self.layers:
                self.side_by_side = like.new_empty(self.orders, batch, self.members // self.orders * weight.shape[-2])
                left, weight = self.side_by_side.mT, weight.view(self.orders, -1, weight.shape[-1])
            bias = layer.bias.squeeze(-2).unsqueeze(-1)
            self.parameters += [self._parameter(weight, left, right), self._parameter(bias, layer.gradient.mT, ones)]
            self.layers.append(layer)

    def _layer(self, members: Sequence[nn.Linear], nonlinearity: Nonlinearity, z: Tensor, gradient: Tensor) -> _Layer:
        weight = torch.stack([linear.weight.detach() for linear in members])
        bias = torch.stack([linear.bias.detach() for linear in members]).unsqueeze(1)
        output = torch.empty_like(z) if nonlinearity.keeps_input else z
        return _Layer(weight, weight.mT, bias, nonlinearity, z, output, gradient)

    def _parameter(self, value: Tensor, left: Tensor, right: Tensor | None) -> _Parameter:
        velocity = torch.zeros_like(value) if self.folds and self.momentum else None
        return _Parameter(value, torch.empty_like(value), velocity, left, right)

    def _optimizer(self, optimizer: Optimizer, trials: Sequence[Trial]) -> TorchOptimizer:
        """Open torch's optimizer over every member's parameters at the member's own rate."""
        groups = []
        for k, trial in enumerate(trials):
            vectors = [p.value.view(self.members, -1)[k] for p in self.parameters]
            for vector, p in zip(vectors, self.parameters, strict=True):
                vector.grad = p.gradient.view(self.members, -1)[k]
            groups.append({"params": vectors, "lr": trial.lr})
        return optimizer.open(groups, captured=trials[0].device == "cuda")
