"""autoinit: the distribution of a signal, computed layer by layer through a network, without data."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from initbench.core.nests import tensors_of
from initbench.networks.layers import Layer
from initbench.schemes.procedures import Base, filling, layer_weights, named, prepared, warn
from initbench.schemes.rule import SCHEMES, Passes, Procedure, Sample

Function = Callable[..., Any]
Pooling = Literal["exact", "normal"]

WEIGHTED = (
    functional.linear,
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
NORMALIZATIONS = (
    functional.batch_norm,
    functional.instance_norm,
    functional.layer_norm,
    functional.group_norm,
    functional.rms_norm,
)
SUMS = ("add", "add_", "sub", "sub_", "__add__", "__radd__", "__iadd__", "__sub__", "__isub__")
PRODUCTS = ("mul", "mul_", "__mul__", "__rmul__", "__imul__")
POINTS = 2001  # of a normal distribution, over ±8 standard deviations


@SCHEMES.register()
def autoinit(base: Base = "lecun_normal", pooling: Pooling = "exact") -> Procedure:
    """Scale each weight so that the computed output variance is 1: Var = 1/(fan_in·E[x²]) (AutoInit, Bingham 2023).

    E[x²] is not measured: it is computed from inputs of mean 0 and variance 1 through every layer. A weighted layer
    outputs a normal distribution, any activation transforms it value by value, max- and mean-pooling treat their k
    inputs as independent, normalization gives mean 0 and variance 1 times its own weights, and sums and products are
    those of independent signals. Anything else (reshaping, dropout, attention) is assumed to change nothing, and what
    no floating-point input has reached, such as an embedding, has the distribution of its values. fan_in is the mean
    number of inputs that reach an output, which at a padded border is less than the kernel size. E[w²] is the mean
    square of the base's weights, of which only the scale changes; zero weights stay zero, with a warning. For a layer
    used several times the first use counts. Biases are not changed.

    The authors' program differs: it takes the inputs of a pooling as normal also after a ReLU, so that E[x²] after ReLU
    and 2×2 max-pooling is 1.17, where independent inputs have 1.55: pooling='normal' does so. It also estimates pooling
    from samples, and other kinds of layers in its own way.

    It needs inputs, only for their shape, and costs two forward passes of one image.
    """

    def adjust(model: nn.Module, layers: Sequence[Layer], sample: Sample, _generator: torch.Generator) -> Passes:
        inputs = tuple(tensor[:1] for tensor in prepared(model, sample))
        model.eval()  # of one image batch normalization has no statistics
        names = [layer.name for layer in layers]
        owned = {id(w): n for w, n in zip(layer_weights(model, layers), names, strict=True)}
        carrier = _Carrier(inputs, owned, pooling)
        with torch.no_grad(), carrier:
            model(*inputs)
        if carrier.left:
            warn(f"autoinit found no scale for {named(carrier.left)}, because the signal or the weight is zero.")
        return Passes(forward=2)

    return Procedure(filling(base), adjust)


@dataclass(frozen=True)
class _Distribution:
    """The distribution of one variable: `values` and their probabilities `shares`, both (points,)."""

    values: Tensor
    shares: Tensor

    @property
    def mean(self) -> float:
        return float(self.values @ self.shares)

    @property
    def moment(self) -> float:
        """The mean of the square."""
        return float(self.values**2 @ self.shares)

    @property
    def variance(self) -> float:
        return max(self.moment - self.mean**2, 0.0)

    def largest_of(self, count: float) -> "_Distribution":
        """Return the distribution of the largest of `count` independent draws."""
        order = self.values.argsort(stable=True)
        below = self.shares[order].cumsum(0).clamp(max=1.0) ** count
        return _Distribution(self.values[order], torch.diff(below, prepend=below.new_zeros(1)))

    def through(self, function: Callable[[Tensor], Any]) -> "_Distribution":
        """Return the distribution of function(x) if it acts value by value; else it is assumed to change nothing."""
        some = len(self.values) // 3
        try:
            whole, part = function(self.values.clone()), function(self.values.flip(0)[:some].clone())
        except (RuntimeError, TypeError, IndexError, ValueError):
            return self  # it needs more dimensions: reshaping, softmax over channels
        by_value = isinstance(whole, Tensor) and whole.shape == self.values.shape and isinstance(part, Tensor)
        if not by_value or part.shape != (some,) or not torch.allclose(whole.flip(0)[:some], part):
            return self
        return _Distribution(whole.double(), self.shares)


@cache
def _standard() -> _Distribution:
    points = torch.linspace(-8, 8, POINTS, dtype=torch.float64)
    return _Distribution(points, torch.softmax(-(points**2) / 2, 0))


def _normal(mean: float, variance: float) -> _Distribution:
    standard = _standard()
    return _Distribution(mean + math.sqrt(variance) * standard.values, standard.shares)


class _Carrier(TorchFunctionMode):
    """Follows a forward pass, computes the distribution of each tensor, and scales the weights at their first use.

    `owned` holds the names of the weights to scale by id; `left` the names of those that cannot be scaled. Only the
    shapes of the tensors are used, not their values.
    """

    def __init__(self, inputs: tuple[Tensor, ...], owned: Mapping[int, str], pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.owned, self.left = dict(owned), list[str]()
        self.known: dict[int, tuple[Tensor, _Distribution]] = {}  # with the tensor, so that no other reuses its id
        for tensor in inputs:
            if tensor.is_floating_point():
                self.known[id(tensor)] = (tensor, _normal(0.0, 1.0))

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        given = dict(kwargs or {})
        carriers = [x for x in tensors_of((args, given)) if id(x) in self.known]
        sizes = [x.numel() for x in carriers]  # before an operation in place
        result = func(*args, **given)
        if not carriers and func not in WEIGHTED:
            return result
        for output in tensors_of(result):
            if output.is_floating_point():
                ratio = sum(sizes) / max(output.numel(), 1)
                weighted = func in WEIGHTED
                law = (
                    self._weighted(func, args, given) if weighted else self._output(func, args, given, carriers, ratio)
                )
                self.known[id(output)] = (output, law)
        return result

    def _distribution(self, tensor: Tensor) -> _Distribution:
        """Return the distribution of a tensor; if no signal has reached it, as for a parameter, that of its values."""
        if id(tensor) in self.known:
            return self.known[id(tensor)][1]
        values = tensor.detach().double()
        return _normal(float(values.mean()), float(values.var(correction=0)))

    def _output(
        self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], carriers: list[Tensor], ratio: float
    ) -> _Distribution:
        """Return the distribution of func's output; `ratio` is the number of inputs per output."""
        name, law = getattr(func, "__name__", ""), self._distribution(carriers[0])
        operands = [x for x in args[:2] if isinstance(x, Tensor)]
        if func in NORMALIZATIONS:
            return _normalized(func, law, inspect.signature(func).bind(*args, **kwargs).arguments)
        if "pool" in name or name in ("max", "amax", "mean", "sum"):
            count = _window(args, kwargs, carriers[0].dim() - 2) if "pool" in name and "adaptive" not in name else ratio
            pooled = _normal(law.mean, law.variance) if self.pooling == "normal" and count > 1 else law
            return _reduced(pooled, name, max(count, 1.0))
        if len(operands) == 2 and operands[0] is not operands[1] and name in SUMS + PRODUCTS:
            return _combined(name, self._distribution(operands[0]), self._distribution(operands[1]))
        if name in ("cat", "concat", "concatenate"):
            return _mixture([(self._distribution(x), x.numel()) for x in carriers])
        if name != "__get__" and all(x is carriers[0] for x in carriers):
            law = law.through(lambda values: func(*(_stand_in(x, carriers[0], values) for x in args), **kwargs))
        return law

    def _weighted(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Distribution:
        """Return the distribution of a linear map's output; a weight in `owned` is first scaled for variance 1."""
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        law, entries = self._distribution(x), weight.detach().double()
        # Ones through a weight of ones give the number of inputs that reach each output.
        fan = float(func(torch.ones_like(x), torch.ones_like(weight), None, *args[3:], **given).double().mean())
        mean = fan * float(entries.mean()) * law.mean
        variance = max(fan * (float((entries**2).mean()) * law.moment - (float(entries.mean()) * law.mean) ** 2), 0.0)
        owner = self.owned.pop(id(weight), None)
        if owner is not None and 0 < variance < math.inf:
            weight.detach().div_(math.sqrt(variance))
            mean, variance = mean / math.sqrt(variance), 1.0
        elif owner is not None:
            self.left.append(owner)
        offset = _normal(0.0, 0.0) if bias is None else self._distribution(bias)
        return _normal(mean + offset.mean, variance + offset.variance)


def _stand_in(argument: Any, signal: Tensor, values: Tensor) -> Any:  # noqa: ANN401 - any argument
    """Return what replaces an argument when a function of a signal is applied to the values of a distribution."""
    if argument is signal:
        return values
    return argument.detach().flatten()[:1].double() if isinstance(argument, Tensor) else argument


def _window(args: tuple[Any, ...], kwargs: Mapping[str, Any], places: int) -> float:
    """Return the number of positions of a pooling window."""
    size = kwargs.get("kernel_size", args[1] if len(args) > 1 else 1)
    sides = [size] if isinstance(size, int) else list(size)
    return float(math.prod(sides if len(sides) > 1 else sides * max(places, 1)))


def _reduced(law: _Distribution, name: str, count: float) -> _Distribution:
    """Return the distribution of the maximum, mean or sum of `count` independent values."""
    if count == 1:
        return law
    if "max" in name:
        return law.largest_of(count)
    factor = count if name == "sum" else 1.0
    return _normal(factor * law.mean, factor**2 * law.variance / count)


def _combined(name: str, a: _Distribution, b: _Distribution) -> _Distribution:
    """Return the distribution of the sum, difference or product of two independent signals."""
    if name in PRODUCTS:
        return _normal(a.mean * b.mean, max(a.moment * b.moment - (a.mean * b.mean) ** 2, 0.0))
    return _normal(a.mean + (-b.mean if "sub" in name else b.mean), a.variance + b.variance)


def _normalized(func: Function, law: _Distribution, given: Mapping[str, Any]) -> _Distribution:
    """Return the distribution after normalization with its own weights and biases."""
    centre = 0.0 if func is functional.rms_norm else law.mean
    size = math.sqrt(law.moment if func is functional.rms_norm else law.variance)
    weight, bias = given.get("weight"), given.get("bias")
    scale = 1.0 if weight is None else float((weight.detach().double() ** 2).mean().sqrt())
    shift = 0.0 if bias is None else float(bias.detach().double().mean())
    return _Distribution((law.values - centre) * (scale / size if size else 0.0) + shift, law.shares)


def _mixture(parts: Sequence[tuple[_Distribution, int]]) -> _Distribution:
    """Return the distribution of concatenated signals: of a value of a random one."""
    total = sum(size for _, size in parts)
    return _Distribution(
        torch.cat([law.values for law, _ in parts]), torch.cat([law.shares * (size / total) for law, size in parts])
    )
