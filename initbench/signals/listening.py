"""Record a forward pass: every call that uses a parameter, its inputs and output, and their expected moments.

A `TorchFunctionMode` intercepts each function called on tensors, whether by a module, `functional` or a method. So
shared weights, modules used twice, residual sums and activations without a module are all recorded as they run, and the
model needs no hooks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from initbench.core.nests import tensors_of
from initbench.networks.wrappers import parameters_of
from initbench.signals import maps, propagation
from initbench.signals.carrying import LINEAR, MOVES, PROPAGATIONS, Call, carried
from initbench.signals.propagation import ExpectedMoments, WeightMoments
from initbench.signals.sites import Gate, GateOrder, Site, measured

CONVOLUTIONS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
# The functions that sum weighted inputs, with the names of their positional arguments.
WEIGHTED: Mapping[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    **{f"conv{n}d": CONVOLUTIONS for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": TRANSPOSED for n in (1, 2, 3)},
}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
KINDS: Mapping[str, str] = {
    **{name: "linear" if name == "linear" else "conv" for name in WEIGHTED},
    **dict.fromkeys(NORMS, "norm"),
    **dict.fromkeys(("embedding", "embedding_bag"), "embedding"),
    "multi_head_attention_forward": "attention",
    **dict.fromkeys(RECURRENT, "recurrent"),
}
CHANNELS_SECOND = (WEIGHTED.keys() - {"linear"}) | {"batch_norm", "group_norm", "instance_norm"}
NO_BIAS = WeightMoments(0.0, 0.0)
PRODUCTS = ("mul", "imul")  # of two signals: gates
UNSEEN = "calls that cannot be observed"
# How many leading arguments of a function are signals, where it is not one; the weights come after them.
SIGNALS: Mapping[str, int] = {"multi_head_attention_forward": 3, **dict.fromkeys(RECURRENT, 2)}


@dataclass
class Gradient:
    """The measured gradient of a tensor, kept if it is `wanted` by the time of the backward pass."""

    wanted: bool = False
    value: Tensor | None = None

    def note(self, gradient: Tensor) -> None:
        """Keep the gradient: the hook of the tensor, which must not hold the tensor itself."""
        if self.wanted:
            self.value = gradient.detach()


@dataclass
class Known:
    """A measured tensor: its expected moments and its layer.

    `parts` are the operations that made it of its layer's output. `behind` are the outputs of layers that it is made of
    by operations of known propagation: what follows may depend on which of their units are open, as max-pooling does.
    `number` is that of the last layer with a law that it depends on, by any operations.
    """

    tensor: Tensor
    expected: ExpectedMoments | None
    owner: Site | None
    origin: str
    parts: tuple[str, ...] = ()
    behind: "tuple[Known, ...]" = ()
    gradient: Gradient | None = None
    number: int = 0

    def watch(self) -> Gradient:
        """Return the tensor's gradient, to be wanted or not; an operation in place must come later."""
        if self.gradient is None:
            self.gradient = Gradient()
            if self.tensor.requires_grad:
                self.tensor.register_hook(self.gradient.note)  # type: ignore[no-untyped-call] # torch types it so
        return self.gradient


@dataclass(frozen=True)
class Heard:
    """What the function call of this number was in a pass.

    `site` is the index of the site that it made, `map` that of the layer whose output a map has changed, with the parts
    of the map so far.
    """

    call: int
    site: int | None
    map: tuple[int, tuple[str, ...]] | None
    gate: Gate | None


class Listener(TorchFunctionMode):
    """Records one forward pass.

    `weights` holds the moments of each parameter by name; others are not predicted. After the forward pass, `sites` are
    in order of execution, and `starts` are the tensors at whose measured gradients the predicted backward pass starts.
    """

    def __init__(
        self, model: nn.Module, weights: Mapping[str, WeightMoments], images: int, *, histograms: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.names = {id(parameter): name for name, parameter in parameters_of(model).items()}
        self.weights = weights
        self.sums = {name: _sums(p) for name, p in parameters_of(model).items() if name in weights}
        self.images = images
        self.histograms = histograms
        self.sites: list[Site] = []
        self.known: dict[int, Known] = {}
        # Of what is computed from parameters only, their names; the tensor is kept so that no other reuses its id.
        self.derived: dict[int, tuple[Tensor, tuple[str, ...]]] = {}
        self.starts: list[Known] = []
        self.drawn = 0  # layers with a law so far
        self.used: set[str] = set()
        self.multiplied: set[str] = set()  # by a signal
        self.gates: list[Tensor | None] = []  # per gate, the images (n,) for which all its units are 0; None for rows
        self.order = GateOrder(self.names)
        self.calls = 0
        self.heard: list[Heard] = []
        self.output: Tensor | None = None

    def run(self, inputs: Sequence[Any]) -> Any:  # noqa: ANN401 - a model returns anything
        """Run the model and record."""
        with self:
            return self.model(*inputs)

    def receive(self, inputs: object) -> None:
        """Register the model's inputs."""
        for tensor in tensors_of(inputs):
            self.known[id(tensor)] = Known(tensor, None, None, propagation.INPUT)

    def finish(self, output: Tensor) -> None:
        """Start the predicted backward pass from the measured gradient at the model's output."""
        self.output = output
        known = self.known.get(id(output))
        if known is not None and known.expected is not None:
            self._start(known)

    def expected_of(self, output: Tensor) -> ExpectedMoments | None:
        """Return the expected moments of the model's output."""
        known = self.known.get(id(output))
        return known.expected if known is not None else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        kwargs = kwargs or {}
        given = list(tensors_of((args, kwargs)))
        inputs = [self.known[id(tensor)] for tensor in given if id(tensor) in self.known]
        names = [name for tensor in given for name in self._parameters(tensor)]
        result = func(*args, **kwargs)
        outputs = list(tensors_of(result))
        if outputs and peek_interpreter_stack() is None:  # within torch.func's transforms, tensors have no values
            # Checkpointing counts the tensors saved for the backward pass: ours must not be among them.
            with saved_tensors_hooks(_unchanged, _unchanged):
                self._hear(plain_name(func), func, (tuple(args), kwargs), inputs, names, outputs)
            self.used.update(names)
        self.calls += 1
        return result

    def _hear(
        self,
        name: str,
        func: Callable[..., Any],
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
        inputs: list[Known],
        names: list[str],
        outputs: list[Tensor],
    ) -> None:
        given = list(tensors_of(arguments))
        gate = self.order.next(name, given)
        if not inputs and names and name in KINDS:  # learned queries, a hypernetwork: the input is made of parameters
            unseen = given[0].grad_fn is not None and not self._parameters(given[0])
            origin = UNSEEN if unseen else propagation.INPUT
            inputs = [self.known.setdefault(id(given[0]), Known(given[0], None, None, origin))]
        if inputs:
            moments, numbers = zip(*((known.expected, known.number) for known in inputs), strict=True)
            self._record(Call(name, func, *arguments, moments, numbers, outputs[0]), inputs, names, outputs, gate)
        elif names:  # computed from parameters only: a normalized weight, an expanded token
            self.derived |= {id(output): (output, tuple(dict.fromkeys(names))) for output in outputs}

    def _parameters(self, tensor: Tensor) -> tuple[str, ...]:
        """Return the names of the parameters that a tensor is, or is computed from."""
        if id(tensor) in self.derived:
            return self.derived[id(tensor)][1]
        return (self.names[id(tensor)],) if id(tensor) in self.names else ()

    def _record(
        self, call: Call, inputs: list[Known], names: list[str], outputs: list[Tensor], gate: Gate | None
    ) -> None:
        expected = self._weighted(call, inputs[0]) if call.name in WEIGHTED else carried(call)
        if not call.out.numel():  # an expert without rows
            expected = None
        if expected is None:
            self._start_behind(inputs, linear=call.name in LINEAR)
        owner = _common_owner(inputs)
        if call.name in PRODUCTS:
            _note_product(call, inputs, owner)
        self.multiplied.update(names)
        weight = self._weight_name(call, names)
        floats = call.out.is_floating_point() and call.out.numel() > 0
        parts = _parts(call, inputs)
        mapped = owner.root if parts and owner is not None and floats and maps.is_part(call) else None
        if mapped is not None:
            mapped.activate(parts, call.out.detach(), gate)
        if weight and floats:
            owner = self._visit(call, weight, owner, expected)
        if gate is not None:
            self.gates.append(silent(call.out.detach(), self.images))
        place = next((i for i, site in enumerate(self.sites) if site is mapped), None)
        used = len(self.sites) - 1 if weight and floats else None
        self.heard.append(Heard(self.calls, used, None if place is None else (place, parts), gate))
        origin = self._origin(call, inputs[0], owner)
        number = max(*call.numbers, expected.drawn if expected is not None else 0)
        for tensor in outputs:
            self.known[id(tensor)] = known = Known(
                tensor, expected if tensor is call.out else None, owner, origin, parts, number=number
            )
            if known.expected is not None and call.name in WEIGHTED:
                known.watch()  # now: an activation in place would be before it
            elif known.expected is not None:
                known.behind = tuple(source for one in inputs for source in one.behind or (one,))

    def _weight_name(self, call: Call, names: list[str]) -> str | None:
        """Return the parameter that a call is named after: its weight, or that of the layer which made its weight."""
        if call.name not in KINDS:
            return names[0] if names else None
        others = [value for key, value in call.kwargs.items() if key not in {"input", "query", "key", "value"}]
        rest = list(tensors_of([*call.args[SIGNALS.get(call.name, 1) :], *others]))
        named = [name for tensor in rest for name in self._parameters(tensor)]
        made_by = [known.owner for tensor in rest if (known := self.known.get(id(tensor))) and known.owner]
        return named[0] if named else made_by[0].weight if made_by else None

    def _origin(self, call: Call, known: Known, owner: Site | None) -> str:
        """Name what made the signal unknown: of an operation with a known law, that is what its input comes from."""
        if call.name in WEIGHTED and owner is not None:
            return f"the weights of {owner.name}"
        lost = known.expected is None and known.origin != propagation.INPUT
        return known.origin if call.name in MOVES or (lost and call.name in PROPAGATIONS) else call.name

    def _start_behind(self, inputs: list[Known], *, linear: bool) -> None:
        """Start the predicted backward pass where it comes from an operation of unknown propagation.

        The gradient that such an operation passes on may depend on which units are open: max-pooling gives it to the
        largest, which mostly are. So it is measured behind the activation, unless the operation is `linear`.
        """
        for known in inputs:
            if known.expected is not None:
                for source in (known,) if linear and not known.expected.fresh else known.behind or (known,):
                    self._start(source)

    def _start(self, known: Known) -> None:
        gradient = known.watch()
        if not gradient.wanted:
            gradient.wanted = True
            self.starts.append(known)

    def _weighted(self, call: Call, known: Known) -> ExpectedMoments | None:
        """Propagate moments through weights, at their first use only: later the signal depends on them already."""
        given = call.given(*WEIGHTED[call.name])
        names = self._parameters(given["weight"])
        weight, bias = self._law(given["weight"]), NO_BIAS if given.get("bias") is None else self._law(given["bias"])
        if (
            not self.multiplied.isdisjoint(names)
            or known.tensor is not given["input"]
            or weight is None
            or bias is None
        ):
            return None
        if weight.mean != 0 or math.isnan(weight.variance + bias.moment):
            return None
        x = self._anchored(known)
        if x is None:
            return None
        self.drawn += 1
        return propagation.through_weights(x, call.name, given, weight, bias, call.out, self.drawn)

    def _law(self, tensor: Tensor) -> WeightMoments | None:
        """Return the law of the tensor in a product: a parameter's own, or measured if it is computed from some.

        A parameter that the pass itself has changed, by its `.data` or without a gradient, has none.
        """
        if id(tensor) in self.derived:
            return propagation.as_drawn(tensor.detach().double())
        name = self.names.get(id(tensor), "")
        return self.weights[name] if self.sums.get(name) == _sums(tensor) else None

    def _anchored(self, known: Known) -> ExpectedMoments | None:
        """Return the expected moments of a tensor, or its measured ones after an operation with unknown propagation."""
        if (
            known.expected is None
            and known.tensor.is_floating_point()
            and known.tensor.ndim > 1
            and known.tensor.isfinite().all()
        ):
            known.expected = propagation.measured(known.tensor, known.origin)
        return known.expected

    def _visit(self, call: Call, weight: str, upstream: Site | None, expected: ExpectedMoments | None) -> Site:
        """Measure the output of a call with parameters, and later its gradient."""
        axis = 1 if call.name in CHANNELS_SECOND else call.out.ndim - 1
        if call.name not in KINDS and upstream is not None and upstream.axis < call.out.ndim:
            axis = upstream.axis  # a sum or product with a parameter does not move the units
        z, given = call.out.detach(), call.given(*WEIGHTED.get(call.name, ()))
        site = Site(
            name=self._label(weight),
            kind=KINDS.get(call.name, call.name),
            weight=weight,
            shape=z.shape,
            seen=given.get("weight"),
            axis=axis,
            units=z.shape[axis] if z.ndim > 1 else 1,
            groups=int(given.get("groups", 1)),
            transposed="transpose" in call.name,
            expected=expected,
            upstream=upstream,
            numel=z.numel(),
            outputs=z.numel() // _rows(z, self.images),
            **measured(z, self.images, axis, histograms=self.histograms),
        )
        if expected is not None and expected.kernel.requires_grad:
            expected.kernel.retain_grad()
        site.watch(call.out)
        if site.seen is not None and site.seen.requires_grad and not site.seen.is_leaf:
            site.seen.register_hook(lambda gradient: setattr(site, "weight_gradient", gradient.detach()))  # type: ignore[no-untyped-call] # torch types it so
        self.sites.append(site)
        return site

    def _label(self, weight: str) -> str:
        """Return the name of a layer from its parameter; a repeated use of a module gets its number."""
        module = weight.partition(".parametrizations.")[0] if ".parametrizations." in f".{weight}" else None
        name = module or weight.rpartition(".")[0] or weight
        uses = sum(site.weight == weight for site in self.sites)
        return f"{name}#{uses + 1}" if uses else name


def silent(activated: Tensor, images: int) -> Tensor | None:
    """Return the images (n,) for which all units of a gate are 0; None where its rows are not the images."""
    return ~activated.flatten(1).any(dim=1) if activated.ndim > 1 and len(activated) == images else None


def _parts(call: Call, inputs: Sequence[Known]) -> tuple[str, ...]:
    """Return the operations since the last layer, this one included."""
    if call.name in KINDS:
        return ()
    before = tuple(part for known in inputs for part in known.parts)
    return (*before, maps.label(call)) if maps.is_part(call) else before


def _common_owner(inputs: Sequence[Known]) -> Site | None:
    """Return the layer that all inputs come from: after a sum of branches, an activation belongs to no layer."""
    owner = inputs[0].owner
    if owner is None or len(inputs) == 1:
        return owner
    return owner.root if all(known.owner and known.owner.root is owner.root for known in inputs) else None


def _note_product(call: Call, inputs: Sequence[Known], owner: Site | None) -> None:
    """Mark the layers whose outputs, or parts of whose output, are multiplied with each other."""
    if len(inputs) > 1 and (owner is None or call.out.shape != owner.root.shape):
        for known in inputs:
            if known.owner is not None:
                known.owner.root.multiplied = True


def _sums(tensor: Tensor) -> tuple[float, float]:
    """Return sums that differ where the entries do, by sign or by size."""
    values = tensor.detach()
    return float(values.sum(dtype=torch.float64)), float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _rows(z: Tensor, images: int) -> int:
    """Return by how many rows to divide: the images if z holds all of them (tokens, windows), else its own rows."""
    whole = z.ndim > 0 and images > 0 and (images in z.shape[:2] or len(z) % images == 0)
    return images if whole else len(z) if z.ndim else 1


def plain_name(func: Callable[..., Any]) -> str:
    """Return the plain name of a function: `relu_`, `__add__` and `Tensor.relu` are relu, add and relu."""
    return str(getattr(func, "__name__", func)).strip("_")
