"""Schemes that learn the scales of weights before training, by gradient descent on a measure of a good start."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.networks.wrappers import parameters_of
from initbench.schemes.procedures import Base, filling, layer_weights, prepared, require_tensor, warn
from initbench.schemes.rule import SCHEMES, Passes, Procedure, Sample
from initbench.schemes.scaling import Positive

Momentum = Annotated[FiniteFloat, Field(ge=0, lt=1)]

EPSILON = 1e-5  # of the gradient quotient, as published
METAINIT_IMAGES = 32  # random ones a step
# A backward pass costs two forward ones, and what a step differentiates is three times as long each time: 1 for the
# loss, 2 for g, 6 for Hg and 18 for the gradient of the quotient.
METAINIT_BACKWARD = 13
GRADINIT_IMAGES = 128
LEAST_SCALE = 0.01  # of gradinit, as published
BETAS = 0.9, 0.999  # of Adam, whose second moment gradinit(official=True) shares


@SCHEMES.register()
def metainit(
    base: Base = "xavier_normal", steps: PositiveInt = 50, lr: Positive = 0.1, momentum: Momentum = 0.9
) -> Procedure:
    """Minimise the gradient quotient mean|(g-Hg)/(g+ε·sign g)-1| over the weights' norms (Dauphin & Schoenholz 2019).

    g is the gradient of the loss on random images and labels and H its Hessian: the quotient measures how much g
    changes along itself, which is 0 if the loss is linear. Every step draws 32 images of N(0, 1), in the shape of the
    data, and labels, takes the sign of the quotient's derivative with respect to each weight's norm, and moves the norm
    against it with momentum; ε = 10⁻⁵. A norm at most halves in a step. The quotient is over all parameters; only the
    norms of the weights that the scheme fills are moved. Integer inputs (indices) are taken from the sample. With a
    base whose signal grows with depth the quotient may rise before it falls.

    It needs inputs, only for their shape. A step costs about nine training steps on its 32 images, because it nests
    three derivatives. The paper takes 500 steps, which is minutes on a CPU for a small CNN; the default here is 50,
    after which the quotients of the built-in models hardly fall.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, keyed: torch.Generator) -> Passes:
        inputs = tuple(tensor[:METAINIT_IMAGES] for tensor in prepared(model, sample))
        weights = layer_weights(model, layers)
        velocity = torch.zeros(len(weights), dtype=torch.float64)
        done = 0
        for done in range(1, steps + 1):
            slopes = _quotient_slopes(model, weights, _random_like(inputs, keyed), keyed)
            if not slopes.isfinite().all():
                warn(f"metainit stopped at step {done} of {steps}, where the gradient quotient is not finite.")
                break
            velocity = momentum * velocity - lr * slopes.sign()
            with torch.no_grad():
                for weight, change in zip(weights, velocity.tolist(), strict=True):
                    norm = float(weight.double().norm())
                    weight.mul_(max(1 + change / norm, 0.5) if norm else 1.0)
        images = done * len(inputs[0])
        return Passes(forward=images, backward=METAINIT_BACKWARD * images)

    return Procedure(filling(base), adjust)


@SCHEMES.register()
def gradinit(
    base: Base = "kaiming_normal",
    steps: PositiveInt = 50,
    lr: Positive = 0.03,
    eta: Positive = 0.1,
    gamma: Positive = 1.0,
    official: bool = False,
) -> Procedure:
    """Learn a scale for each weight and bias that minimises the loss after one SGD step, ‖g‖ <= gamma (Zhu 2021).

    In each step g is the gradient of the loss on a part S of the sample. If ‖g‖ > gamma the scales are updated to lower
    ‖g‖, otherwise to lower the loss of w - eta·g on another part, half of which is from S: so a base with a larger
    gradient ends near ‖g‖ = gamma, even if its loss after a step was lower. The scales start at 1, stay above 0.01, and
    are learned by Adam at rate lr, with separate moments for the two objectives. The paper takes about a hundred steps
    and also learns scales of normalization layers, which are not changed here; nor are parameters that other parts of a
    scheme fill.

    With `official` it follows the authors' program with the options of their launch scripts: the step is eta·g/‖g‖ and
    is not itself differentiated; its loss is divided by eta; derivatives by the scales are clipped to ±1; Adam's second
    moment is shared by the two objectives; scales of biases stay above 0. The scripts take 390 steps at a rate lr from
    0.001 to 0.1 that depends on the network.

    It needs inputs and labels. A step costs as much as three or four training steps on up to 128 images, two thirds of
    the sample at most, because it differentiates a gradient.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, keyed: torch.Generator) -> Passes:
        inputs = prepared(model, sample)
        labels = _checked_labels("gradinit", model, inputs, sample)
        names = [name for layer in layers for name in (layer.weight, layer.bias) if name is not None]
        learner = _GradInit(model, names, eta, gamma, official=official)
        biases = torch.tensor([name in {layer.bias for layer in layers} for name in names])
        least = torch.where(biases, 0.0, LEAST_SCALE) if official else torch.tensor(LEAST_SCALE)
        adam = _Adam(learner.scales, lr, shared=official)
        size = max(1, min(GRADINIT_IMAGES, 2 * len(labels) // 3))
        forward, backward = len(labels), 0
        for done in range(1, steps + 1):
            order = torch.randperm(len(labels), generator=keyed)
            parts = [
                (tuple(tensor[part] for tensor in inputs), labels[part])
                for part in (order[:size], order[size // 2 :][:size])
            ]
            objective, within, cost = learner.objective(*parts)
            forward, backward = forward + cost.forward * size, backward + cost.backward * size
            (slopes,) = torch.autograd.grad(objective, learner.scales)
            if not slopes.isfinite().all():
                warn(f"gradinit stopped at step {done} of {steps}, where the loss or its gradient is not finite.")
                break
            adam.step(slopes.clamp(-1, 1) if official else slopes, within=within)
            with torch.no_grad():
                learner.scales.clamp_(min=least)
        learner.apply()
        return Passes(forward, backward)

    return Procedure(filling(base), adjust, needs="labels")


def _random_like(inputs: tuple[Tensor, ...], keyed: torch.Generator) -> tuple[Tensor, ...]:
    return tuple(torch.randn(x.shape, generator=keyed) if x.is_floating_point() else x for x in inputs)


def _quotient_slopes(
    model: nn.Module, weights: Sequence[Tensor], images: tuple[Tensor, ...], keyed: torch.Generator
) -> Tensor:
    """Return the derivative of the gradient quotient, on random labels, by the logarithm of each weight's norm."""
    logits = _logits("metainit", model, model(*images))
    labels = torch.randint(logits.shape[1], (logits.shape[0], *logits.shape[2:]), generator=keyed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    quotient = gradient_quotient(functional.cross_entropy(logits, labels), parameters)
    gradients = torch.autograd.grad(quotient, weights, allow_unused=True)
    slopes = [
        0.0 if gradient is None else float((gradient * weight.detach()).double().sum())
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
    return torch.tensor(slopes, dtype=torch.float64)


def gradient_quotient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return mean|(g-Hg)/(g+ε·sign g)-1| over the entries of the parameters that the loss depends on."""
    found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    used = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
    half_square = torch.stack([(g**2).sum() for _, g in used]).sum() / 2
    products = torch.autograd.grad(half_square, [p for p, _ in used], create_graph=True, materialize_grads=True)
    terms = [
        ((g - hg) / (g + torch.where(g >= 0, EPSILON, -EPSILON)) - 1).abs().sum()
        for (_, g), hg in zip(used, products, strict=True)
    ]
    return torch.stack(terms).sum() / sum(p.numel() for p, _ in used)


Part = tuple[tuple[Tensor, ...], Tensor]


class _GradInit:
    """A model whose named tensors are multiplied by `scales`, one each."""

    def __init__(self, model: nn.Module, names: Sequence[str], eta: float, gamma: float, *, official: bool) -> None:
        self.model, self.eta, self.gamma, self.official = model, eta, gamma, official
        self.parameters = {name: p for name, p in parameters_of(model).items() if p.requires_grad}
        first_name = {id(p): name for name, p in self.parameters.items()}  # of a tied tensor, which has several
        aliases = parameters_of(model, aliases=True)
        self.names = [first_name[id(aliases[name])] for name in names]
        self.scales = torch.ones(len(self.names), requires_grad=True)

    def objective(self, first: Part, second: Part) -> tuple[Tensor, bool, Passes]:
        """Return the objective, whether ‖g‖ is at most gamma, and the cost per image, gradient included."""
        scaled = self.scaled()
        loss = self._loss(scaled, first)
        found = torch.autograd.grad(loss, list(scaled.values()), create_graph=True, materialize_grads=True)
        norm = torch.stack([(gradient**2).sum() for gradient in found]).sum().sqrt()
        if norm > self.gamma:
            return norm, False, Passes(1, 4)
        if self.official:
            unit = {name: (g / norm).detach() for name, g in zip(scaled, found, strict=True)}
            stepped = {name: p - self.eta * unit[name] for name, p in scaled.items()}
            return self._loss(stepped, second) / self.eta, True, Passes(2, 2)
        stepped = {name: p - self.eta * g for (name, p), g in zip(scaled.items(), found, strict=True)}
        return self._loss(stepped, second), True, Passes(2, 5)

    def scaled(self) -> dict[str, Tensor]:
        """Return all trainable parameters; the scaled ones are functions of the scales."""
        scale = dict(zip(self.names, self.scales, strict=True))
        return {name: p.detach() * scale[name] if name in scale else p for name, p in self.parameters.items()}

    @torch.no_grad()
    def apply(self) -> None:
        """Multiply the model's tensors by their scales."""
        for name, scale in zip(self.names, self.scales, strict=True):
            self.parameters[name].mul_(scale)

    def _loss(self, parameters: dict[str, Tensor], part: Part) -> Tensor:
        return functional.cross_entropy(functional_call(self.model, parameters, part[0]), part[1])


class _Adam:
    """Adam for the scales, with a first moment per objective, and a second moment per objective or `shared`."""

    def __init__(self, scales: Tensor, lr: float, *, shared: bool) -> None:
        self.scales, self.shared, self.lr = scales, shared, lr
        self.optimizers = {within: torch.optim.Adam([scales], lr=lr) for within in (True, False)}
        self.first = {within: torch.zeros_like(scales) for within in (True, False)}
        self.second, self.counts = torch.zeros_like(scales), {True: 0, False: 0}

    @torch.no_grad()
    def step(self, slopes: Tensor, *, within: bool) -> None:
        """Move the scales against `slopes`, the derivatives of one of the two objectives."""
        if not self.shared:
            self.scales.grad = slopes
            self.optimizers[within].step()
            return
        self.counts[within] += 1
        self.first[within].lerp_(slopes, 1 - BETAS[0])
        self.second.lerp_(slopes**2, 1 - BETAS[1])
        first = self.first[within] / (1 - BETAS[0] ** self.counts[within])
        second = self.second / (1 - BETAS[1] ** sum(self.counts.values()))
        self.scales.sub_(self.lr * first / (second.sqrt() + 1e-8))


def _logits(scheme: str, model: nn.Module, output: object) -> Tensor:
    logits = require_tensor(scheme, model, output)
    if logits.dim() < 2:
        raise UsageError(f"{scheme} needs logits (n, classes), and {type(model).__name__} returns {logits.dim()}-D.")
    return logits


def _checked_labels(scheme: str, model: nn.Module, inputs: tuple[Tensor, ...], sample: Sample) -> Tensor:
    """Return the labels of a sample, checked against one forward pass over it."""
    assert sample.labels is not None
    with torch.no_grad():
        logits, labels = _logits(scheme, model, model(*inputs)), sample.labels
    if len(labels) != len(logits):
        raise UsageError(f"{scheme} needs a label for each of the {len(logits)} inputs, and got {len(labels)}.")
    if labels.is_floating_point() or not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise UsageError(
            f"{scheme} needs labels from 0 to {logits.shape[1] - 1}, because the model has {logits.shape[1]} outputs."
        )
    return labels.long()
