"""Fill a model: each tensor from its own keyed generator, on the CPU, whatever the model's device."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from initbench.core.generators import held, own_generators
from initbench.core.randomness import derive, generator, isolated, one_thread
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.copies import copied
from initbench.networks.coverage import coverage_notice, unfilled
from initbench.networks.inputs import Given, inputs_and_labels, with_shapes
from initbench.networks.layers import Layer, branch_scales, weighted_layers
from initbench.networks.wrappers import eager, modules_of, parameters_of, unwrapped
from initbench.schemes.compose import Assignment, Scheme, assign, parse_scheme
from initbench.schemes.functions import scheme_text
from initbench.schemes.rule import NO_PASSES, Applied, Passes, Procedure, Rule, Sample

ROUNDING = 1e-4  # of a tensor's norm: what float32 leaves of a factor after many multiplications


@dataclass(frozen=True)
class Filled:
    """What filling a model cost, and what a procedure did to the tensors that were filled before.

    `factors` holds by name the number by which each was multiplied, NaN where it was changed in another way: unit by
    unit, say. So a tensor with a factor is still a draw of its rule's law, only scaled, and one without is not.
    """

    passes: Passes = NO_PASSES
    factors: Mapping[str, float] = field(default_factory=dict)


def initialize(
    model: nn.Module,
    scheme: str | Callable[..., object],
    seed: int = 0,
    batch: Given | None = None,
    labels: Tensor | None = None,
) -> nn.Module:
    """Fill the Linear and convolution layers of `model` in place with a scheme, and return the model.

    Weights depend only on (scheme, seed, parameter name, shape): not on the device, the order of layers, other schemes
    or the global random state, which is not changed. Schemes that use the model and its data (`lsuv`, …) depend on both
    as well. Frozen parameters, embeddings, recurrent and normalization layers and weights computed by a parametrization
    are not changed, and a warning names them with their share; a tied weight is filled once. Names are those inside
    wrappers such as `torch.compile`'s.

    Args:
        model: any module with at least one Linear or Conv layer, on any device, in any floating dtype.
        scheme: for example "kaiming_uniform" or "conv=kaiming_uniform; bias=constant(0.1)" (`initbench list schemes`),
            or a function: `torch.nn.init.xavier_uniform_`, or one (module) that `model.apply` takes.
        seed: keys the draws; two schemes with the same seed share their underlying draws.
        batch: inputs of the model, (n, …), one tensor, a tuple or a mapping by name. If given, `first` and `head`
            follow the order of execution instead of registration; schemes that use data need it, and lazy modules.
            (x, y) of a data loader is inputs with labels.
        labels: (n,) class indices, for the schemes that need them.

    Returns:
        The same model.

    Raises:
        UsageError: an unknown scheme or parameter, a scheme that does not fit the model, or missing data.

    Source:
        torch.nn.init for the functions of that module; the papers that `initbench list schemes` names for the others.

    >>> import torch
    >>> from initbench import initialize
    >>> layer = initialize(torch.nn.Linear(10, 5), "xavier_uniform; bias=constant(0.1)", seed=0)
    >>> layer.bias.tolist()[:2]
    [0.10000000149011612, 0.10000000149011612]
    """
    parsed = parse_scheme(scheme_text(scheme, here=True))
    inputs, labels = inputs_and_labels(model, batch, labels)
    if inputs:
        with_shapes(model, inputs)
    assignments = planned(model, parsed, weighted_layers(model, inputs or None))
    fill_scheme(model, parsed, assignments, seed, Sample(inputs, labels))
    for notice in notices_of(model, parsed, assignments):
        warnings.warn(notice, InitbenchWarning, stacklevel=2)
    return model


def planned(model: nn.Module, scheme: Scheme, layers: list[Layer]) -> list[Assignment]:
    """Choose the rule of every tensor of a model's layers (`assign`); a glob may miss for a reason that is told.

    Raises:
        UsageError: see `assign`.
    """
    left = unfilled(model, [name for layer in layers for name in (layer.weight, layer.bias) if name])
    return assign(scheme, layers, {item.name: item.kind for item in left})


def notices_of(model: nn.Module, scheme: Scheme, assignments: Sequence[Assignment]) -> list[str]:
    """Return sentences on the layers that a scheme does not fit and on the share of the model that none fills."""
    notices = dict.fromkeys(item.notice for item in assignments if item.notice)
    filled = {item.parameter for item in assignments} | {*branch_scales([item.layer for item in assignments])}
    whole = scheme.procedure is not None and scheme.procedure.whole
    coverage = "" if whole else coverage_notice(model, filled)
    return [*notices, *([coverage] if coverage else [])]


def fill_scheme(model: nn.Module, scheme: Scheme, assignments: list[Assignment], seed: int, sample: Sample) -> Filled:
    """Fill the assigned tensors and run the scheme's procedure, if it has one.

    Raises:
        UsageError: the procedure needs inputs or labels that `sample` lacks.
    """
    fill_model(model, assignments, seed)
    if scheme.procedure is None:
        return Filled()
    lacking = {"nothing": False, "inputs": not sample.inputs, "labels": not sample.inputs or sample.labels is None}
    if lacking[scheme.procedure.needs]:
        raise UsageError(f"'{scheme}' uses training data: give a batch of inputs, and labels if it needs them.")
    return _adjust(model, scheme.procedure, assignments, seed, sample)


def _adjust(model: nn.Module, procedure: Procedure, assignments: list[Assignment], seed: int, sample: Sample) -> Filled:
    """Run a procedure on a float32 CPU copy and copy back the parameters, so that nothing else can change."""
    working = copied(unwrapped(model)).cpu().float()
    working.zero_grad(set_to_none=True)
    inputs = tuple(t.detach().cpu().float() if t.is_floating_point() else t.cpu() for t in sample.inputs)
    labels = sample.labels.cpu() if sample.labels is not None else None
    # By id: the name of a tied weight is that of the first layer, which depends on the order of listing.
    tensors = parameters_of(working, aliases=True)
    own = {id(tensors[item.parameter]) for item in assignments if item.adjusted}
    layers = [
        replace(layer, bias=layer.bias if layer.bias is not None and id(tensors[layer.bias]) in own else None)
        for layer in weighted_layers(working, inputs or None)
        if layer.runs and id(tensors[layer.weight]) in own
    ]
    keyed = generator(seed, "adjust")
    with one_thread(), isolated(int(torch.randint(2**62, (), generator=keyed))), eager():
        if isinstance(procedure.adjust, Applied):
            passes = _apply(working, procedure.adjust.function, seed)
        else:
            passes = procedure.adjust(working, layers, Sample(inputs, labels), keyed)
    adjusted = {item.parameter for item in assignments if item.adjusted}
    if procedure.whole:
        assigned = {item.parameter for item in assignments if not item.adjusted}
        adjusted = {name for name, parameter in parameters_of(model).items() if parameter.requires_grad} - assigned
    if procedure.scales:
        adjusted.update(branch_scales([item.layer for item in assignments]))
    parameters, factors = parameters_of(model, aliases=True), dict[str, float]()
    with torch.no_grad():
        for name, value in parameters_of(working, aliases=True).items():
            if name in adjusted:
                factors[name] = _factor(parameters[name].cpu(), value)
                parameters[name].copy_(value)
    return Filled(passes, factors)


@torch.no_grad()
def _apply(model: nn.Module, function: Callable[[nn.Module], object], seed: int) -> Passes:
    """Call a function with every module, children before parents as `model.apply` does; a module has its own draws."""
    with held(seed, own_generators(function)):
        for name, module in reversed(modules_of(model).items()):
            with isolated(derive(seed, "weights", f"{name}.weight" if name else "weight")):
                function(module)
    return NO_PASSES


def _factor(before: Tensor, after: Tensor) -> float:
    """Return the number by which a tensor was multiplied, NaN if it was changed in another way."""
    if before.is_complex():
        return math.nan
    old, new = before.double().flatten(), after.double().flatten()
    square = float(old @ old)
    factor = float(old @ new) / square if square else 1.0
    return factor if float((new - factor * old).norm()) <= ROUNDING * float(new.norm()) else math.nan


@torch.no_grad()
def fill_model(model: nn.Module, assignments: list[Assignment], seed: int) -> None:
    """Fill the assigned tensors of a model in place."""
    parameters = parameters_of(model, aliases=True)
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    with one_thread():
        for item in assignments:
            parameter = parameters[item.parameter]
            if parameter.is_complex():
                raise UsageError(f"'{item.parameter}' is complex: schemes are laws of real weights, and fill no other.")
            if parameter.is_meta:
                raise UsageError(f"'{item.parameter}' is on the meta device and has no data: move the model first.")
            padding = _padding_rows(embeddings, parameter)
            parameter.copy_(draw(item, parameter, seed))
            for row, values in padding:
                parameter[row] = values


def _padding_rows(embeddings: Sequence[nn.Embedding | nn.EmbeddingBag], parameter: Tensor) -> list[tuple[int, Tensor]]:
    """Return the rows that an embedding which shares a weight keeps for padding, with their values."""
    rows = [module.padding_idx for module in embeddings if module.weight is parameter]
    return [(row, parameter[row].clone()) for row in rows if row is not None]


def draw(item: Assignment, like: Tensor, seed: int) -> Tensor:
    """Draw the values of one tensor on the CPU, in float32 or better.

    Returns:
        A tensor of the shape of `like`. Half precision is rounded from the float32 draw, so that a seed gives
        the same weights in every precision up to rounding.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    keyed = generator(seed, "weights", item.layer.weight if item.rule.joint else item.parameter)
    if item.is_bias:
        values = torch.empty(like.shape, dtype=dtype)
        item.rule.fill(values, item.layer, keyed)
        return values
    return _draw_weight(item.rule, item.layer, dtype, keyed)


def _draw_weight(rule: Rule, layer: Layer, dtype: torch.dtype, keyed: torch.Generator) -> Tensor:
    """Fill a weight as its module holds it, or group by group: each is a convolution of its own, with its own fans."""
    if rule.whole:
        weight = torch.empty(layer.shape, dtype=dtype)
        rule.fill(weight, layer, keyed)
        return weight
    blocks = []
    for _ in range(layer.groups):
        block = torch.empty(layer.block, dtype=dtype)
        rule.fill(block, layer, keyed)
        blocks.append(block.transpose(0, 1) if layer.transposed else block)
    return torch.cat(blocks)
