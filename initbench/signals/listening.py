"""Record a forward pass: every call that uses a parameter, its inputs and output, and their expected moments.

A `TorchFunctionMode` intercepts each function called on tensors, whether by a module, `functional` or a method. So
shared weights, modules used twice, residual sums and activations without a module are all recorded as they run, and the
model needs no hooks.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initbench.signals import measures, propagation
from initbench.signals.carrying import ACTIVATIONS, LINEAR, MOVES, Call, carried
from initbench.signals.propagation import ExpectedMoments, WeightMoments
from initbench.signals.sites import GATES, Site, marks_of, measured_forward

CONVOLUTIONS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
# The functions that sum weighted inputs, with the names of their positional arguments.
WEIGHTED: Mapping[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    **{f"conv{n}d": CONVOLUTIONS for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": TRANSPOSED for n in (1, 2, 3)},
}
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
KINDS: Mapping[str, str] = {
    **{name: "linear" if name == "linear" else "conv" for name in WEIGHTED},
    **dict.fromkeys(NORMS, "norm"),
    **dict.fromkeys(("embedding", "embedding_bag"), "embedding"),
    "multi_head_attention_forward": "attention",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "recurrent"),
}
CHANNELS_SECOND = (WEIGHTED.keys() - {"linear"}) | {"batch_norm", "group_norm", "instance_norm"}
NO_BIAS = WeightMoments(0.0, 0.0)


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
    """A tensor computed from the input: its expected moments and its layer.

    `behind` are the layers' outputs that it is made of by operations of known propagation: what follows may depend on
    which of their units are open, as max-pooling does.
    """

    tensor: Tensor
    expected: ExpectedMoments | None
    owner: Site | None
    origin: str
    behind: "tuple[Known, ...]" = ()
    gradient: Gradient | None = None

    def watch(self) -> Gradient:
        """Return the tensor's gradient, to be wanted or not; an operation in place must come later."""
        if self.gradient is None:
            self.gradient = Gradient()
            if self.tensor.requires_grad:
                self.tensor.register_hook(self.gradient.note)  # type: ignore[no-untyped-call] # torch types it so
        return self.gradient


class Listener(TorchFunctionMode):
    """Records one forward pass.

    `weights` holds the moments of each parameter by name; others are not predicted. After the forward pass, `sites` are
    in order of execution, and `starts` are the tensors at whose measured gradients the predicted backward pass starts.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, WeightMoments], *, histograms: bool = False) -> None:
        super().__init__()
        self.model = model
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.weights = weights
        self.histograms = histograms
        self.sites: list[Site] = []
        self.known: dict[int, Known] = {}
        self.derived: dict[int, tuple[Tensor, str]] = {}  # the tensor is kept so that no other reuses its id
        self.starts: list[Known] = []
        self.used: set[str] = set()
        self.gates: list[Tensor] = []  # per gate, the images (n,) for which all its units are 0

    def receive(self, inputs: object) -> None:
        """Register the model's inputs."""
        for tensor in tensors_of(inputs):
            self.known[id(tensor)] = Known(tensor, None, None, propagation.INPUT)

    def finish(self, output: Tensor) -> None:
        """Start the predicted backward pass from the measured gradient at the model's output."""
        known = self.known.get(id(output))
        if known is not None and known.expected is not None:
            self._start(known)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        kwargs = kwargs or {}
        given = list(tensors_of((args, kwargs)))
        inputs = [self.known[id(tensor)] for tensor in given if id(tensor) in self.known]
        names = [name for tensor in given if (name := self._parameter(tensor))]
        result = func(*args, **kwargs)
        outputs = list(tensors_of(result))
        if outputs and inputs:
            moments = tuple(known.expected for known in inputs)
            self._record(Call(plain_name(func), func, tuple(args), kwargs, moments, outputs[0]), inputs, names, outputs)
        elif outputs and names:  # computed from parameters only: a normalized weight, an expanded token
            self.derived[id(outputs[0])] = (outputs[0], names[0])
        return result

    def _parameter(self, tensor: Tensor) -> str | None:
        """Return the name of the parameter that a tensor is, or is computed from."""
        return self.derived[id(tensor)][1] if id(tensor) in self.derived else self.names.get(id(tensor))

    def _record(self, call: Call, inputs: list[Known], names: list[str], outputs: list[Tensor]) -> None:
        expected = self._weighted(call, inputs[0]) if call.name in WEIGHTED else carried(call)
        if expected is None:
            self._start_behind(inputs, linear=call.name in LINEAR)
        owner = (
            inputs[0].owner if len(inputs) == 1 else None
        )  # after a sum of branches, an activation belongs to no layer
        if names and call.out.is_floating_point():
            owner = self._visit(call, names[0], owner, expected)
        elif owner is not None and call.name in ACTIVATIONS:
            owner.activate(call.name, call.out.detach(), gate=len(self.gates))
        if call.name in GATES:
            self.gates.append((call.out.detach().flatten(1) == 0).all(dim=1))
        origin = inputs[0].origin if call.name in MOVES else call.name
        for tensor in outputs:
            self.known[id(tensor)] = known = Known(tensor, expected if tensor is call.out else None, owner, origin)
            if known.expected is not None and call.name in WEIGHTED:
                known.watch()  # now: an activation in place would be before it
            elif known.expected is not None:
                known.behind = tuple(source for one in inputs for source in one.behind or (one,))
        self.used.update(names)

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
        name = self._parameter(given["weight"]) or ""
        weight, bias = self.weights.get(name), self._bias(given.get("bias"))
        if name in self.used or known.tensor is not given["input"] or weight is None or bias is None:
            return None
        if weight.mean != 0 or math.isnan(weight.variance + bias.moment):
            return None
        x = self._anchored(known)
        return propagation.through_weights(x, call.name, given, weight, bias, call.out) if x is not None else None

    def _bias(self, bias: Tensor | None) -> WeightMoments | None:
        return NO_BIAS if bias is None else self.weights.get(self._parameter(bias) or "")

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
        z = call.out.detach()
        forward = measured_forward(z)
        site = Site(
            name=self._label(weight),
            kind=KINDS.get(call.name, call.name),
            weight=weight,
            axis=axis,
            units=z.shape[axis] if z.ndim > 1 else 1,
            groups=int(call.given(*WEIGHTED.get(call.name, ())).get("groups", 1)),
            transposed="transpose" in call.name,
            expected=expected,
            upstream=upstream,
            forward=forward,
            histogram=measures.histogram(z, forward["forward_moment"]) if self.histograms else (),
            marks=marks_of(z, axis),
            numel=z.numel(),
            outputs=z.numel() // len(z) if z.ndim else 1,
        )
        if expected is not None and expected.kernel.requires_grad:
            expected.kernel.retain_grad()
        if call.out.requires_grad:
            call.out.register_hook(lambda gradient: site.note_gradient(gradient.detach()))  # type: ignore[no-untyped-call] # torch types it so
        self.sites.append(site)
        return site

    def _label(self, weight: str) -> str:
        """Return the name of a layer from its parameter; a repeated use of a module gets its number."""
        name = weight.rpartition(".")[0] or weight
        uses = sum(site.weight == weight for site in self.sites)
        return f"{name}#{uses + 1}" if uses else name


def tensors_of(nest: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, tuple | list):
        for item in nest:
            yield from tensors_of(item)
    elif isinstance(nest, Mapping):
        yield from tensors_of(list(nest.values()))
    elif is_dataclass(nest) and not isinstance(nest, type):
        yield from tensors_of([getattr(nest, item.name) for item in fields(nest)])


def plain_name(func: Callable[..., Any]) -> str:
    """Return the plain name of a function: `relu_`, `__add__` and `Tensor.relu` are relu, add and relu."""
    return str(getattr(func, "__name__", func)).strip("_")
