"""Measure a model on a batch, one forward and one backward pass, and predict the same quantities: `StepZero`.

The model is copied first, so its weights, buffers, training mode, hooks and gradients do not change, and dropout draws
from a separate generator.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench.core import usercode
from initbench.core.generators import held, own_generators
from initbench.core.nests import shapes_in_words
from initbench.core.randomness import generator, isolated
from initbench.errors import UsageError
from initbench.networks.copies import copied
from initbench.networks.outputs import logits_first
from initbench.networks.precision import why_not
from initbench.networks.wrappers import eager, parameters_of, unwrapped
from initbench.records.record import LayerStatistics, NetworkStatistics, StepZero
from initbench.schemes import Assignment
from initbench.signals import measures, theory
from initbench.signals.batch import Batch
from initbench.signals.listening import Listener
from initbench.signals.measures import UNKNOWN
from initbench.signals.probing import executed, jacobian_singular_values, still_shut
from initbench.signals.propagation import ExpectedMoments, WeightMoments, as_drawn
from initbench.signals.replaying import Replay, Score, score_of
from initbench.signals.sites import Site, measure_gradients, tell_apart
from initbench.signals.weights import weights_of

MOST_CLASSES = 1000  # an output with more columns, or without two dimensions, is not treated as logits


def observe(
    model: nn.Module,
    batch: Batch,
    weights: Mapping[str, WeightMoments],
    *,
    seed: int = 0,
    histograms: bool = False,
    own: bool = False,
) -> StepZero:
    """Measure an initialized model on one batch, in training mode, and predict what theory covers.

    Args:
        model: any module that maps the batch to a tensor (the first one if it returns several); not changed.
        batch: inputs; without labels, or if outputs are not logits, gradients are those of a random functional.
        weights: the moments of each parameter by name, for the predictions.
        seed: of what the network itself draws in the forward pass (dropout, layers skipped at random).
        histograms: also keep a histogram of each layer's output.
        own: the model is already a private copy and may be changed.

    Raises:
        UsageError: the model raises on the batch, or uses no parameter.
    """
    with isolated(seed), held(seed, own_generators(model)), eager():
        working = (unwrapped(model) if own else copied(unwrapped(model))).cpu().train()
        working.zero_grad(set_to_none=True)
        return _observed(model, batch, Listener(working, weights, batch.size, histograms=histograms))


@dataclass
class Series:
    """Step 0 of networks of one built-in model without dropout, on one batch, with weights of the same laws.

    The first is listened to. Those after it differ in their weights alone, unless `score` stays None.
    """

    batch: Batch
    weights: Mapping[str, WeightMoments]
    score: Score | None = None

    def observe(self, model: nn.Module) -> StepZero:
        """Measure a network in training mode on the CPU as `observe` does; its gradients and buffers change."""
        if self.score is not None:
            return _observed(model, self.batch, Replay(model, self.score, self.batch.size))
        listener = Listener(model, self.weights, self.batch.size)
        step_zero = _observed(model, self.batch, listener)
        self.score = score_of(listener)
        return step_zero


def _observed(model: nn.Module, batch: Batch, listener: Listener | Replay) -> StepZero:
    working = listener.model
    outputs = _forward(working, batch, listener)
    classes = _classes(outputs[0])
    loss = _objective(outputs, batch, classes, listener)
    tell_apart(listener.sites)
    _backward(loss, model)
    measure_gradients(listener.sites)
    _predict_backward(listener)
    parameters = parameters_of(working, aliases=True)
    shut, asked = still_shut(working, listener.sites, batch.more, batch.size)
    measured = {id(known.expected) for known in listener.starts}
    weights = weights_of(listener.sites, parameters)
    rows = [
        _layer(site, weight, shut.get(i), carried=id(site.expected) not in measured)
        for i, (site, weight) in enumerate(zip(listener.sites, weights, strict=True))
    ]
    named = _under_one_name(parameters)
    untouched, detached = _without_gradient(listener, named)
    elsewhere = executed(working, batch.inputs) if untouched else frozenset()
    return StepZero(
        layers=tuple(rows),
        network=_network(
            working, batch, listener, outputs[0], None if classes is None else float(loss.detach()), asked
        ),
        unused=tuple(name for name in untouched if name not in elsewhere),
        absent=tuple(name for name in untouched if name in elsewhere),
        detached=detached,
        unseen=_unseen(listener, named),
    )


def _under_one_name(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return each parameter by its first name."""
    names = {id(parameter): name for name, parameter in reversed([*parameters.items()])}
    return {name: parameter for name, parameter in parameters.items() if names[id(parameter)] == name}


def _without_gradient(
    listener: Listener | Replay, parameters: Mapping[str, nn.Parameter]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parameters that neither the forward pass nor a gradient reached, and those without a gradient.

    A frozen weight is among the latter where its layer's output has no gradient either: nothing is to be judged there.
    """
    lacking = {name: p for name, p in parameters.items() if p.grad is None}
    behind = {site.weight for site in listener.sites if not site.backward}
    untouched = tuple(name for name in lacking if name not in listener.used)
    used = ((name, p) for name, p in lacking.items() if name in listener.used)
    return untouched, tuple(name for name, p in used if p.requires_grad or name in behind)


def _unseen(listener: Listener | Replay, parameters: Mapping[str, nn.Parameter]) -> tuple[str, ...]:
    """Return the parameters with a gradient that no observed call multiplies by a signal, or adds to one."""
    return tuple(name for name, p in parameters.items() if p.grad is not None and name not in listener.multiplied)


def weight_moments(
    model: nn.Module, assignments: Sequence[Assignment], factors: Mapping[str, float] = MappingProxyType({})
) -> dict[str, WeightMoments]:
    """Return the moments of each tensor by name: from its rule if assigned, else from its values.

    Args:
        model: the filled model.
        assignments: the rules that filled it.
        factors: by which a procedure multiplied tensors afterwards, NaN for one that it changed in another way: that
            is no draw of any law (`schemes.Filled`).

    Raises:
        UsageError: the model is on the meta device or lazy and has no values.
    """
    parameters = parameters_of(model)
    if any(parameter.is_meta for parameter in parameters.values()):
        raise UsageError(f"{type(model).__name__} is on the meta device and has no data: move the model first.")
    lazy = next((name for name, p in parameters.items() if isinstance(p, nn.UninitializedParameter)), None)
    if lazy is not None:
        raise UsageError(f"The parameter '{lazy}' has no shape yet: run the model once on a batch first.")
    declared = {
        item.parameter: WeightMoments(
            item.rule.mean, item.rule.variance(item.layer) if item.rule.variance else UNKNOWN
        ).scaled(factors.get(item.parameter, 1.0))
        for item in assignments
    }
    others = {name: p for name, p in parameters.items() if name not in declared and p.is_floating_point()}
    return declared | {
        name: as_drawn(parameter.detach().double())
        for name, parameter in others.items()
        if not math.isnan(factors.get(name, 1.0))
    }


def _forward(model: nn.Module, batch: Batch, listener: Listener | Replay) -> list[Tensor]:
    """Return the outputs through which a gradient can pass, the one that fits the classes first."""
    inputs = tuple(item.clone() if isinstance(item, Tensor) else item for item in batch.inputs)
    listener.receive(inputs)
    try:
        found = listener.run(inputs)
        outputs = [tensor for tensor in logits_first(found, batch.classes) if tensor.requires_grad]
    except (Exception, SystemExit) as error:
        shapes = shapes_in_words(batch.inputs)
        raise UsageError(
            f"{type(model).__name__} cannot take a batch of shape {shapes}: {why_not(model, batch.inputs, error)}."
        ) from error
    if not outputs or not listener.sites:
        raise UsageError(f"{type(model).__name__} uses no trainable parameter on the way to its output.")
    if outputs[0].is_complex():
        raise UsageError(f"{type(model).__name__} has complex outputs, for which no loss is defined.")
    return outputs


def _backward(loss: Tensor, model: nn.Module) -> None:
    try:
        loss.backward()  # type: ignore[no-untyped-call] # Tensor.backward
    except Exception as error:
        raise UsageError(f"{type(model).__name__} has no backward pass: {usercode.describe_error(error)}.") from error


def _classes(output: Tensor) -> int | None:
    return output.shape[1] if output.ndim == 2 and 2 <= output.shape[1] <= MOST_CLASSES else None


def _objective(outputs: Sequence[Tensor], batch: Batch, classes: int | None, listener: Listener | Replay) -> Tensor:
    """Return the mean cross-entropy of the first output, or a random linear functional of outputs that are no logits.

    So each of several heads (boxes and scores, mean and variance) has a gradient.
    """
    output = outputs[0]
    if classes is None:
        keyed = generator(output.numel(), "cotangent")
        real = [output for output in outputs if not output.is_complex()]
        for output in real:
            listener.finish(output)
        terms = [(output * torch.randn(output.shape, generator=keyed).to(output)).sum() for output in real]
        return torch.stack([term.to(terms[0]) for term in terms]).sum() / max(1, batch.size)
    listener.finish(output)
    labels = batch.labels
    if labels is None:
        keyed = generator(output.numel(), "cotangent")
        labels = torch.randint(classes, (len(output),), generator=keyed).to(output.device)
    elif labels.shape != output.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise UsageError(f"Labels must be {len(output)} integers, one per output row, not {tuple(labels.shape)}.")
    elif int(labels.max()) >= classes or int(labels.min()) < 0:
        raise UsageError(
            f"The labels go from {int(labels.min())} to {int(labels.max())}, but the model has {classes} outputs."
        )
    return functional.cross_entropy(output, labels.long())


def _predict_backward(listener: Listener | Replay) -> None:
    """Propagate squared gradients backwards by autograd on the expected moments, from those measured at the starts.

    There the measured gradient, which is that of all uses of the tensor, replaces what comes from known operations.
    """
    starts = [
        (known.expected, known.gradient.value)
        for known in listener.starts
        if known.expected is not None
        and known.gradient is not None
        and known.gradient.value is not None
        and known.expected.kernel.requires_grad
    ]
    if not starts:
        return
    for site in listener.sites:
        if site.expected is not None and site.expected.kernel.retains_grad:  # of the seed before
            site.expected.kernel.grad = None
    kernels, squares = [expected.kernel for expected, _ in starts], [_squares(*start) for start in starts]
    hooks = [kernel.register_hook(partial(_replaced, by)) for kernel, by in zip(kernels, squares, strict=True)]  # type: ignore[no-untyped-call] # torch types it so
    # From a scalar, whose gradients the hooks replace: torch loads SymPy to check gradients that it is given.
    torch.stack([kernel.sum() for kernel in kernels]).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call] # Tensor.backward
    for hook in hooks:
        hook.remove()


def _squares(expected: ExpectedMoments, gradient: Tensor) -> Tensor:
    """Return the squared gradient in the form of the kernel, of which the first part is E[x²]."""
    squares = torch.zeros_like(expected.kernel)
    squares[0] = gradient.double().square().cpu().expand(expected.shape).sum_to_size(expected.kernel.shape[1:])
    return squares


def _replaced(by: Tensor, _others: Tensor) -> Tensor:
    return by


def _layer(site: Site, weight: dict[str, Any], shut: Tensor | None, *, carried: bool) -> LayerStatistics:
    """Return a layer's row; its gradient is predicted where it is `carried` to the layer and not measured there."""
    return LayerStatistics(
        **{
            "layer": site.name,
            "kind": site.kind,
            "units": site.units,
            "outputs": site.outputs,
            "symmetric_units": site.symmetric,
            "histogram": site.histogram,
            "gradient_moment": None,
            "dead_fraction": float(shut.double().mean()) if shut is not None else None,
            **site.forward,
            **site.backward,
            **_after(site),
            **weight,
            **_predictions(site, carried=carried),
        }
    )


def _after(site: Site) -> dict[str, Any]:
    after = site.activated
    measured = {} if after is None else {"activation_moment": after.moment, "activation_std": after.std}
    return {"nonlinearity": site.nonlinearity, **measured}


def _predictions(site: Site, *, carried: bool) -> dict[str, Any]:
    expected = site.expected
    if expected is None:
        return {}
    squares = expected.kernel.grad
    return {
        "forward_moment_predicted": expected.moment,
        "gradient_moment_predicted": float(squares[0].sum()) / site.numel if carried and squares is not None else None,
        "cosine_predicted": expected.cosine,
        "predicted_from": expected.origin,
        "spread": math.sqrt(expected.log_variance),
    }


def _network(
    model: nn.Module, batch: Batch, listener: Listener | Replay, output: Tensor, loss: float | None, asked: int
) -> NetworkStatistics:
    classes = _classes(output)
    singular = jacobian_singular_values(model, batch.inputs, classes if isinstance(listener, Replay) else None)
    expected = listener.expected_of(output)
    variance = (
        float(expected.kernel[0].detach().mean())
        if expected is not None and expected.fresh and expected.mean == 0
        else None
    )
    gates = [gate for gate in listener.gates if gate is not None]
    silent = torch.stack(gates).any(dim=0) if gates else None
    return NetworkStatistics(
        images=batch.size,
        images_for_dead=asked,
        classes=classes,
        loss=loss,
        loss_predicted=theory.expected_loss(classes, variance) if classes and variance is not None else None,
        logit_std=measures.moments(output.detach())[1],
        jacobian_max=singular[0],
        jacobian_mean=singular[1],
        jacobian_min=singular[2],
        silent_inputs=float(silent.double().mean()) if silent is not None else None,
        silent_inputs_predicted=_predicted_silence(listener),
    )


def _predicted_silence(listener: Listener | Replay) -> float | None:
    """Predict the share of images with no signal in a stack of Linear and ReLU without bias (`dead_probability`)."""
    gated = [site for site in listener.sites if site.activated is not None and site.activated.gate is not None]
    if not gated or len(gated) != len(listener.gates) or any(site.kind != "linear" for site in gated):
        return None
    biases = [listener.weights.get(f"{site.name}.bias") for site in gated]
    drawn = [listener.weights.get(site.weight) for site in gated]
    if any(site.expected is None for site in gated) or any(
        moments is None or moments.variance == 0 for moments in drawn
    ):
        return None
    if any(bias is not None and bias.moment != 0 for bias in biases):
        return None
    return theory.dead_probability([site.units for site in gated])
