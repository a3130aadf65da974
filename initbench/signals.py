"""Step 0: what the signal does on its way forward and the gradient on its way back, before any training.

Measured for every weighted layer over one batch, and predicted where a closed form is known (so far: a stack of Linear
layers with ReLU or no activation).
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from initbench.layers import Layer
from initbench.record import LayerStatistics
from initbench.schemes import Assignment, Rule

UNKNOWN = math.nan  # it spreads through products and sums by itself, and a record stores it as None
PLAIN = nn.Flatten | nn.Linear | nn.ReLU | nn.Identity


@dataclass(frozen=True)
class Signal:
    """One layer's output z over a batch and the gradient of the mean loss with respect to it, both (n, units, …)."""

    output: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Law:
    """What the closed forms need of a layer; UNKNOWN where they do not hold.

    `kept` is the share of the second moment that the layer's activation lets through.
    """

    layer: Layer
    weight_variance: float
    bias_moment: float
    kept: float


def measure(
    model: nn.Module, assignments: Sequence[Assignment], images: Tensor, labels: Tensor
) -> tuple[LayerStatistics, ...]:
    """Measure every layer of an initialized model over one batch, in training mode; the model is left as it was.

    Args:
        model: maps images (n, channels, height, width) to logits (n, classes).
        assignments: which rule filled which tensor, for the predictions.
        images: n of 2 or more, for the cosine between different images.
        labels: (n,) class indices.
    """
    layers = [item.layer for item in assignments if not item.is_bias]
    signals = _run(copy.deepcopy(model).train(), layers, images, labels)
    laws = [_law(layer, assignments) for layer in layers]
    plain = isinstance(model, nn.Sequential) and all(isinstance(module, PLAIN) for module in model)
    forward = list(predict_forward(laws, second_moment(images) if plain else UNKNOWN))
    backward = list(predict_backward(laws, second_moment(signals[-1].gradient) if plain else UNKNOWN))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return tuple(
        LayerStatistics(
            layer=layer.name,
            kind=layer.kind,
            fan_in=layer.fan_in,
            fan_out=layer.fan_out,
            weight_std=float(parameters[layer.weight].detach().double().std(correction=0)),
            forward_moment=second_moment(signals[i].output),
            gradient_moment=second_moment(signals[i].gradient),
            dead_fraction=dead_fraction(signals[i].output) if layer.nonlinearity == "relu" else None,
            cosine=mean_cosine(signals[i].output),
            forward_moment_predicted=forward[i],
            gradient_moment_predicted=backward[i],
        )
        for i, layer in enumerate(layers)
    )


def predict_forward(laws: Sequence[Law], moment: float) -> Iterator[float]:
    """Predict M(z) of each layer from the second moment of the images, for weights of mean 0.

    M(z) = fan_in·Var·M(x) + M(b), and M(relu(z)) = M(z)/2 while z is symmetric about 0 (He et al. 2015, eq. 5-10).
    """
    for law in laws:
        output = law.layer.fan_in * law.weight_variance * moment + law.bias_moment
        yield output
        moment = law.kept * output


def predict_backward(laws: Sequence[Law], moment: float) -> list[float]:
    """Predict M(∂z) of each layer from the one measured at the logits: M(∂z_l) = kept·fan_out·Var(W_{l+1})·M(∂z_{l+1}).

    He et al. 2015, eq. 13-14. `fan_out` is that of layer l+1.
    """
    moments = [moment]
    for law, above in zip(reversed(laws[:-1]), reversed(laws[1:]), strict=True):
        moments.append(law.kept * above.layer.fan_out * above.weight_variance * moments[-1])
    return moments[::-1]


def second_moment(values: Tensor) -> float:
    """Return the mean of squares, in float64: signals of very deep networks leave the range of float32 when squared."""
    return float(values.double().square().mean())


def dead_fraction(output: Tensor) -> float:
    """Return the share of units (n, units, …) whose output is <= 0 for every image and place."""
    return float((output.transpose(0, 1).flatten(1) <= 0).all(dim=1).double().mean())


def mean_cosine(output: Tensor) -> float:
    """Return the mean cosine between the outputs (n, …) for different images; images without output are left out.

    The mean over pairs without forming them: (‖Σu‖² − n) / (n(n−1)) for unit vectors u.
    """
    rows = output.double().flatten(1)
    norms = rows.norm(dim=1)
    units = rows[norms > 0] / norms[norms > 0, None]
    n = len(units)
    return (float(units.sum(dim=0).square().sum()) - n) / (n * (n - 1)) if n > 1 else UNKNOWN


def _run(model: nn.Module, layers: Sequence[Layer], images: Tensor, labels: Tensor) -> list[Signal]:
    """One forward and backward pass that notes each layer's output and its gradient."""
    outputs: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}

    def listen(name: str) -> None:
        def keep(gradient: Tensor) -> None:
            gradients[name] = gradient.cpu()

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            # Copies: an in-place activation would overwrite the output; and not every device has float64.
            outputs[name] = output.detach().cpu().clone()
            output.register_hook(keep)  # type: ignore[no-untyped-call] # torch types it so

        model.get_submodule(name).register_forward_hook(hook)

    for layer in layers:
        listen(layer.name)
    functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call] # Tensor.backward
    return [Signal(outputs[layer.name], gradients[layer.name]) for layer in layers]


def _law(layer: Layer, assignments: Sequence[Assignment]) -> Law:
    rules = {item.parameter: item.rule for item in assignments}
    weight, bias = rules[layer.weight], rules.get(layer.bias or "")
    passes = {"relu": 0.5, "linear": 1.0}.get(layer.nonlinearity, UNKNOWN)
    return Law(
        layer,
        weight_variance=_variance(weight, layer.block) if weight.mean == 0 else UNKNOWN,
        bias_moment=bias.mean**2 + _variance(bias, layer.block[:1]) if bias else 0.0,
        kept=passes if bias is None or bias.mean == 0 or layer.nonlinearity == "linear" else UNKNOWN,
    )


def _variance(rule: Rule, shape: Sequence[int]) -> float:
    return rule.variance(shape) if rule.variance else UNKNOWN
