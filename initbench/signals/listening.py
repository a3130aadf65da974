"""A forward pass overheard: every call that uses a parameter, what goes in and out, and the law that comes with it.

PyTorch tells a `TorchFunctionMode` of each function called on tensors, whoever calls it: a module, `functional`, or a
method. So shared weights, modules used twice, residual sums and activations without a module are all seen as they run,
and the model needs no hooks.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initbench.signals import laws, measures
from initbench.signals.carrying import ACTIVATIONS, MOVES, Call, carried
from initbench.signals.laws import Law, WeightLaw
from initbench.signals.sites import GATES, Site, marks_of, measured_forward

CONVOLUTIONS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
# The functions that sum weighted inputs, and what their positional arguments are called.
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
NO_BIAS = WeightLaw(0.0, 0.0)


@dataclass
class Known:
    """A tensor that stems from the input: its law, the layer it comes from, and how many operations have used it."""

    tensor: Tensor
    law: Law | None
    owner: Site | None
    origin: str
    known_uses: int = 0
    unknown_uses: int = 0


class Listener(TorchFunctionMode):
    """Listens to one forward pass.

    `weights` holds the law of each parameter by name; what is not in it is not predicted. After the forward pass,
    `sites` stand in order of execution, and `seeds` are the tensors where the way back leaves what is known.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, WeightLaw], *, histograms: bool = False) -> None:
        super().__init__()
        self.model = model
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.weights = weights
        self.histograms = histograms
        self.sites: list[Site] = []
        self.known: dict[int, Known] = {}
        self.derived: dict[int, tuple[Tensor, str]] = {}  # the tensor is kept so that its id stays its own
        self.seeds: dict[int, tuple[Known, list[Tensor]]] = {}
        self.used: set[str] = set()
        self.gates: list[Tensor] = []  # for which images (n,) a gate is shut in all its units

    def receive(self, inputs: object) -> None:
        """Name what the model is given."""
        for tensor in tensors_of(inputs):
            self.known[id(tensor)] = Known(tensor, None, None, laws.INPUT)

    def finish(self, output: Tensor) -> None:
        """Take the measured gradient at the model's output."""
        of = self.known.get(id(output))
        if of is not None and of.law is not None:
            self._seed(of)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        kwargs = kwargs or {}
        given = list(tensors_of((args, kwargs)))
        inputs = [self.known[id(tensor)] for tensor in given if id(tensor) in self.known]
        names = [name for tensor in given if (name := self._parameter(tensor))]
        result = func(*args, **kwargs)
        outputs = list(tensors_of(result))
        if outputs and inputs:
            known = tuple(of.law for of in inputs)
            self._hear(Call(plain_name(func), func, tuple(args), kwargs, known, outputs[0]), inputs, names, outputs)
        elif outputs and names:  # made of parameters alone: a normalized weight, an expanded token
            self.derived[id(outputs[0])] = (outputs[0], names[0])
        return result

    def _parameter(self, tensor: Tensor) -> str | None:
        """Return the parameter that a tensor is, or is made of."""
        return self.derived[id(tensor)][1] if id(tensor) in self.derived else self.names.get(id(tensor))

    def _hear(self, call: Call, inputs: list[Known], names: list[str], outputs: list[Tensor]) -> None:
        law = self._weighted(call, inputs[0]) if call.name in WEIGHTED else carried(call)
        self._count_uses(inputs, law)
        owner = inputs[0].owner if len(inputs) == 1 else None  # where branches meet, an activation is nobody's
        if names and call.out.is_floating_point():
            owner = self._visit(call, names[0], owner, law)
        elif owner is not None and call.name in ACTIVATIONS:
            owner.activate(call.name, call.out.detach(), gate=len(self.gates))
        if call.name in GATES:
            self.gates.append((call.out.detach().flatten(1) == 0).all(dim=1))
        origin = inputs[0].origin if call.name in MOVES else call.name
        for tensor in outputs:
            self.known[id(tensor)] = Known(tensor, law if tensor is call.out else None, owner, origin)
        self.used.update(names)

    def _count_uses(self, inputs: list[Known], law: Law | None) -> None:
        for of in inputs:
            of.known_uses += law is not None
            of.unknown_uses += law is None
            if law is None and of.law is not None:
                self._seed(of)

    def _seed(self, of: Known) -> None:
        """Take the measured gradient where the way back comes from something unknown."""
        if id(of.tensor) not in self.seeds and of.tensor.requires_grad:
            seen: list[Tensor] = []
            of.tensor.register_hook(lambda gradient: seen.append(gradient.detach()))  # type: ignore[no-untyped-call] # torch types it so
            self.seeds[id(of.tensor)] = (of, seen)

    def _weighted(self, call: Call, of: Known) -> Law | None:
        """Carry a law through weights, at their first use only: later, the signal depends on them already."""
        given = call.given(*WEIGHTED[call.name])
        name = self._parameter(given["weight"]) or ""
        weight, bias = self.weights.get(name), self._bias(given.get("bias"))
        if name in self.used or of.tensor is not given["input"] or weight is None or bias is None:
            return None
        if weight.mean != 0 or math.isnan(weight.variance + bias.moment):
            return None
        x = self._anchored(of)
        return laws.through_weights(x, call.name, given, weight, bias, call.out) if x is not None else None

    def _bias(self, bias: Tensor | None) -> WeightLaw | None:
        return NO_BIAS if bias is None else self.weights.get(self._parameter(bias) or "")

    def _anchored(self, of: Known) -> Law | None:
        """Return the law of a tensor, from its measured values where the way to it is unknown."""
        if of.law is None and of.tensor.is_floating_point() and of.tensor.ndim > 1 and of.tensor.isfinite().all():
            of.law = laws.measured(of.tensor, of.origin)
        return of.law

    def _visit(self, call: Call, weight: str, upstream: Site | None, law: Law | None) -> Site:
        """Measure what a call with parameters gives, and its gradient when that comes."""
        axis = 1 if call.name in CHANNELS_SECOND else call.out.ndim - 1
        if call.name not in KINDS and upstream is not None and upstream.axis < call.out.ndim:
            axis = upstream.axis  # a sum or product with a parameter leaves the units where they are
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
            law=law,
            upstream=upstream,
            forward=forward,
            histogram=measures.histogram(z, forward["forward_moment"]) if self.histograms else (),
            marks=marks_of(z, axis),
            numel=z.numel(),
            outputs=z.numel() // len(z) if z.ndim else 1,
        )
        if law is not None and law.kernel.requires_grad:
            law.kernel.retain_grad()
        if call.out.requires_grad:
            call.out.register_hook(lambda gradient: site.note_gradient(gradient.detach()))  # type: ignore[no-untyped-call] # torch types it so
        self.sites.append(site)
        return site

    def _label(self, weight: str) -> str:
        """Name a layer by its parameter; a module used again gets the number of its use."""
        name = weight.rpartition(".")[0] or weight
        uses = sum(site.weight == weight for site in self.sites)
        return f"{name}#{uses + 1}" if uses else name


def tensors_of(nest: object) -> Iterator[Tensor]:
    """Yield the tensors of a nest of tuples, lists, mappings and dataclasses."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, tuple | list):
        for item in nest:
            yield from tensors_of(item)
    elif isinstance(nest, Mapping):
        yield from tensors_of(list(nest.values()))
    elif is_dataclass(nest) and not isinstance(nest, type):
        yield from tensors_of([getattr(nest, of.name) for of in fields(nest)])


def plain_name(func: Callable[..., Any]) -> str:
    """Return the plain name of a function: `relu_`, `__add__` and `Tensor.relu` are relu, add and relu."""
    return str(getattr(func, "__name__", func)).strip("_")
