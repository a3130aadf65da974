"""The tensors that a scheme fills: the weighted layers of a model in forward order, with their fans."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from initbench.errors import UsageError
from initbench.networks.blocks import Sine
from initbench.networks.coverage import why_no_layers
from initbench.networks.execution import execution
from initbench.networks.wrappers import modules_of, parameters_of, unwrapped

Kind = Literal["linear", "conv"]

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
NONLINEARITIES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.Softsign: "softsign",
    nn.Hardtanh: "hardtanh",
    nn.Mish: "mish",
    nn.PReLU: "prelu",
    Sine: "sin",
}


@dataclass(frozen=True)
class Branch:
    """The position of a layer in a residual branch f of x + f(x).

    `name` is the module that declares it, `count` the number of branches in the model, `layers` that of weighted layers
    in this one, and `place` the layer's index in it. `scales` are the parameters that multiply the branch.
    """

    name: str
    count: int
    layers: int
    place: int
    scales: tuple[str, ...] = ()

    @property
    def last(self) -> bool:
        """Whether the layer is the last one before the sum."""
        return self.place == self.layers - 1


@dataclass(frozen=True)
class Layer:
    """One Linear or convolution: the names of its tensors, and the shape that decides its fans.

    `block` is the shape (out, in, *kernel) of one group. A grouped convolution is a block-diagonal map, so each group
    is a convolution of its own: fan_in = in·|kernel| and fan_out = out·|kernel| of one block. (`schemes.fans` has the
    fans that torch.nn.init counts, and those that take the stride into account.) `stride` is the product of the strides
    of all axes. `nonlinearity` is the activation after the layer, `linear` if there is none. `branch` is None outside
    residual branches. `runs` is False if a traced forward pass did not use the layer.
    """

    name: str
    kind: Kind
    weight: str
    bias: str | None
    block: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    stride: int = 1
    nonlinearity: str = "linear"
    first: bool = False
    head: bool = False
    branch: Branch | None = None
    runs: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight: (out, in/groups, *kernel), transposed (in, out/groups, *kernel)."""
        outputs, inputs, *kernel = self.block
        return (inputs * self.groups, outputs, *kernel) if self.transposed else (outputs * self.groups, inputs, *kernel)

    @property
    def packed(self) -> bool:
        """Whether the weight holds more than one block (out, in, *kernel), or holds it transposed."""
        return self.groups > 1 or self.transposed

    @property
    def fan_in(self) -> int:
        """The number of inputs that reach one output."""
        return self.block[1] * math.prod(self.block[2:])

    @property
    def fan_out(self) -> int:
        """The number of outputs that one input reaches."""
        return self.block[0] * math.prod(self.block[2:])


def weighted_layers(model: nn.Module, batch: tuple[Tensor, ...] | None = None) -> list[Layer]:
    """List the Linear and convolution layers of a model in forward order.

    The order, and with it `first`, `head` and `nonlinearity`, is that of registration or, if a `batch` of inputs is
    given, that of a forward pass; layers that do not run in it come last. Tied weights appear once; layers with a
    frozen weight are omitted. Names are those inside wrappers (`networks.wrappers`).

    >>> [layer.name for layer in weighted_layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))]
    ['0', '2']

    Residual branches must be declared by the model, because x + f(x) cannot be inferred from modules. A module that
    adds f(x) to its input declares f in a method `residual_branch`, which returns the submodules of f in forward order,
    and any parameters that multiply f:

        class Block(nn.Module):
            def forward(self, x):
                return x + self.scale * self.outer(torch.relu(self.inner(x)))

            def residual_branch(self):
                return [self.inner, self.outer, self.scale]

    A submodule with several layers stands for all of them. In nested branches, a layer belongs to the innermost.

    Raises:
        UsageError: the model has no weighted layer to fill, its parameters have no data yet, it cannot take the batch,
            or a `residual_branch` returns something else.
    """
    modules = modules_of(model)
    branches = _branches(model)
    described = {name: layer for name, module in modules.items() if (layer := _describe(name, module)) is not None}
    weights = {name: w for name in described if isinstance(w := modules[name].weight, Tensor) and w.requires_grad}
    on_meta = any(weight.is_meta for weight in weights.values())
    ran = execution(model, batch, weights.values()) if batch is not None and not on_meta else {}
    place = {weight: i for i, weight in enumerate(ran)}

    def order(name: str) -> tuple[int, bool]:  # of a tied weight's modules, the one that ran is the layer
        weight = id(weights[name])
        return place.get(weight, len(place)), weight in ran and ran[weight].module is not modules[name]

    layers, seen = [], set[int]()
    for name in sorted(weights, key=order):
        weight = id(weights[name])
        if weight in seen:
            continue
        seen.add(weight)
        after = ran[weight].activation if weight in ran else _following(list(modules.values()), modules[name])
        branch = branches.get(modules[name])
        layers.append(replace(described[name], nonlinearity=after, branch=branch, runs=not ran or weight in ran))
    if not layers:
        others = why_no_layers(model)
        raise UsageError(
            f"{type(unwrapped(model)).__name__} has no trainable Linear or Conv layer to fill"
            + (f", only parameters that no scheme fills: {others}." if others else ".")
        )
    layers[0] = replace(layers[0], first=True)
    last = max(i for i, layer in enumerate(layers) if layer.runs)
    layers[last] = replace(layers[last], head=True)
    return layers


def branch_scales(layers: Sequence[Layer]) -> list[str]:
    """Return the names of the parameters that multiply the residual branches of a model's layers."""
    return list(dict.fromkeys(name for layer in layers if layer.branch for name in layer.branch.scales))


def _branches(model: nn.Module) -> dict[nn.Module, Branch]:
    """Return the position of each weighted module of a declared branch."""
    declared = {
        name: _declared(module)
        for name, module in modules_of(model).items()
        if callable(getattr(type(module), "residual_branch", None))
    }
    weighted = {name: layers for name, parts in declared.items() if (layers := _weighted(parts))}
    names = {id(parameter): name for name, parameter in parameters_of(model).items() if parameter.requires_grad}
    branches: dict[nn.Module, Branch] = {}
    for name, layers in weighted.items():
        scales = tuple(names[id(part)] for part in declared[name] if id(part) in names)
        for place, layer in enumerate(layers):
            branches[layer] = Branch(name, len(weighted), len(layers), place, scales)
    return branches


def _declared(module: nn.Module) -> list[nn.Module | nn.Parameter]:
    """Return the parts of the residual branch that a module declares."""
    declared = module.residual_branch()  # type: ignore[operator] # the caller checked that it is a method
    parts = list(declared) if isinstance(declared, Iterable) else [declared]
    own = {id(part) for part in (*module.modules(), *module.parameters())} - {id(module)}
    if not all(id(part) in own for part in parts):
        raise UsageError(
            f"{type(module).__name__}.residual_branch() must return a list of the module's own submodules in forward "
            "order, with the parameters that multiply the branch."
        )
    return parts


def _weighted(parts: Sequence[nn.Module | nn.Parameter]) -> list[nn.Module]:
    """List the layers that have weights, whether or not these can be filled."""
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    return [module for module in dict.fromkeys(modules) if isinstance(module, nn.Linear | CONVOLUTIONS | TRANSPOSED)]


def _describe(name: str, module: nn.Module) -> Layer | None:
    if not isinstance(module, nn.Linear | CONVOLUTIONS | TRANSPOSED):
        return None
    if not isinstance(getattr(module, "weight", None), nn.Parameter):
        return None  # a normalized or otherwise parametrized weight is computed, maybe only as it is called
    if isinstance(module.weight, nn.UninitializedParameter):
        raise UsageError(f"The layer '{name}' has no shape yet: give a batch, or run the model on one first.")
    prefix = f"{name}." if name else ""
    shape = tuple(module.weight.shape)
    groups = int(getattr(module, "groups", 1))
    transposed = isinstance(module, TRANSPOSED)
    # Conv weights are (out, in/groups, *kernel), transposed ones (in, out/groups, *kernel).
    block = (shape[1], shape[0] // groups, *shape[2:]) if transposed else (shape[0] // groups, *shape[1:])
    return Layer(
        name=name,
        kind="linear" if isinstance(module, nn.Linear) else "conv",
        weight=f"{prefix}weight",
        bias=f"{prefix}bias" if module.bias is not None and module.bias.requires_grad else None,
        block=block,
        groups=groups,
        transposed=transposed,
        stride=math.prod(getattr(module, "stride", ())),
    )


def _following(modules: list[nn.Module], layer: nn.Module) -> str:
    """Return the nonlinearity registered next, before another weighted layer; `linear` if there is none."""
    for module in _after(modules, layer):
        if type(module) in NONLINEARITIES:
            return NONLINEARITIES[type(module)]
        if _describe("", module) is not None:
            break
    return "linear"


def _after(modules: list[nn.Module], layer: nn.Module) -> Iterator[nn.Module]:
    return iter(modules[next(i for i, module in enumerate(modules) if module is layer) + 1 :])
