"""The 14 functions of `torch.nn.init`, called (not reimplemented) under their own names without the underscore.

Parameters and defaults are torch's, and so are the values on every layer: a weight is filled as the module holds it.
`gain` also accepts the name of a nonlinearity, and `fans` other fans than torch's (`schemes.fans`). Source of every
formula: https://docs.pytorch.org/docs/stable/nn.init.html
"""

import math
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field, FiniteFloat, PositiveInt
from torch import Tensor, nn

from initbench.core.randomness import isolated
from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.schemes.fans import WEIGHTS, Fans, Std, by_fans, once_if_packed
from initbench.schemes.rule import SCHEMES, Fill, Rule

Nonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
Mode = Literal["fan_in", "fan_out"]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Gain = FiniteFloat | Nonlinearity


@SCHEMES.register()
def uniform(a: FiniteFloat = 0.0, b: FiniteFloat = 1.0) -> Rule:
    """Fill with U(a, b); with torch's default range (0, 1) the mean is not zero.

    torch.nn.init.uniform_; no paper. Its variance (b-a)²/12 ignores the fans, so its effect on a signal depends on the
    width of a layer; it suits no particular activation.
    """
    _ordered("uniform", a, b)
    return Rule(
        lambda tensor, _layer, generator: nn.init.uniform_(tensor, a, b, generator=generator),
        mean=(a + b) / 2,
        variance=lambda _layer: (b - a) ** 2 / 12,
        whole=True,
        revised=once_if_packed,
    )


@SCHEMES.register()
def normal(mean: FiniteFloat = 0.0, std: NonNegative = 1.0) -> Rule:
    """Fill with N(mean, std²).

    torch.nn.init.normal_. Its variance ignores the fans, so it suits no particular activation: normal(std=0.01), as
    in AlexNet (Krizhevsky et al. 2012), preserves a signal after ReLU if each unit has 20,000 inputs.
    """
    return Rule(
        lambda tensor, _layer, generator: nn.init.normal_(tensor, mean, std, generator=generator),
        mean=mean,
        variance=lambda _layer: std**2,
        whole=True,
        revised=once_if_packed,
    )


@SCHEMES.register()
def trunc_normal(mean: FiniteFloat = 0.0, std: NonNegative = 1.0, a: FiniteFloat = -2.0, b: FiniteFloat = 2.0) -> Rule:
    """Fill with N(mean, std²) truncated to [a, b], which are absolute values and not multiples of std.

    torch.nn.init.trunc_normal_; no paper. It suits no particular activation, because its variance ignores the fans.
    Truncation reduces the variance, by 23 % at two standard deviations; `lecun_normal` corrects for that.
    """
    _ordered("trunc_normal", a, b)
    if std == 0:
        raise UsageError("trunc_normal needs std > 0: write constant(mean) for a distribution without spread.")
    shift, variance = truncated_normal_law((a - mean) / std, (b - mean) / std)
    return Rule(
        lambda tensor, _layer, generator: nn.init.trunc_normal_(tensor, mean, std, a, b, generator=generator),
        mean=mean + std * shift,
        variance=lambda _layer: std**2 * variance,
        whole=True,
        revised=once_if_packed,
    )


@SCHEMES.register()
def constant(val: FiniteFloat) -> Rule:
    """Fill with one value: all units of a layer then stay identical through training.

    torch.nn.init.constant_. For biases with any activation: bias=constant(0.1) is often used to make ReLU units active
    at the start. For weights it demonstrates the cost of symmetry.
    """
    return _one_value(lambda tensor, _layer, _generator: nn.init.constant_(tensor, val), val)


@SCHEMES.register()
def ones() -> Rule:
    """Fill with ones.

    torch.nn.init.ones_. For weights it equals `constant(1.0)` and serves only as a bad example.
    """
    return _one_value(lambda tensor, _layer, _generator: nn.init.ones_(tensor), 1.0)


@SCHEMES.register()
def zeros() -> Rule:
    """Fill with zeros.

    torch.nn.init.zeros_. For biases, and for heads with any activation: head=zeros starts at a loss of ln(classes).
    If all weights are zero, a ReLU network learns only its last bias.
    """
    return _one_value(lambda tensor, _layer, _generator: nn.init.zeros_(tensor), 0.0)


@SCHEMES.register()
def eye() -> Rule:
    """Make Linear layers copy as many inputs as fit (the identity); Conv layers keep torch_default's weights.

    torch.nn.init.eye_. For linear layers and ReLU, which passes nonnegative values unchanged (Le et al. 2015, for
    recurrent weights). Where a layer widens, the additional outputs are zero.
    """
    return Rule(
        lambda tensor, _layer, _generator: nn.init.eye_(tensor),
        dimensions=(2, 2),
        deterministic=True,
        degenerate=True,
    )


@SCHEMES.register()
def dirac(groups: PositiveInt = 1) -> Rule:
    """Make convolutions copy as many channels as fit (Dirac delta); Linear layers keep torch_default's weights.

    torch.nn.init.dirac_. For linear layers and ReLU, which passes nonnegative values unchanged (Zagoruyko & Komodakis
    2017). `groups` copies channels group by group; torch's default of 1 leaves all but the first group of a grouped
    convolution 0 (`partial_identity` fills each).
    """

    def fill(tensor: Tensor, layer: Layer, _generator: torch.Generator) -> None:
        if tensor.shape[0] % groups:
            raise UsageError(
                f"dirac(groups={groups}) does not fit the layer '{layer.name}': "
                f"its {tensor.shape[0]} output channels are not divisible by {groups}."
            )
        nn.init.dirac_(tensor, groups)

    return Rule(fill, dimensions=(3, 5), whole=True, deterministic=True, degenerate=True, revised=once_if_packed)


@SCHEMES.register("xavier", "glorot", "glorot_uniform")
def xavier_uniform(gain: Gain = 1.0, fans: Fans = "torch") -> Rule:
    """Fill with U(±gain·√(6/(fan_in+fan_out))), of variance gain²·2/(fan_in+fan_out) (Glorot & Bengio 2010).

    For tanh and other activations that are nearly linear around 0: a compromise between preserving the variance of
    signals and that of gradients. After ReLU every square layer halves the mean square.

    torch counts fans from the shape of the weight, which is not what a signal meets where a convolution has groups, is
    transposed or has a stride: fans='effective' counts what it meets.
    """
    factor = gain_of(gain)
    return by_fans(
        lambda fan_in, fan_out: factor * math.sqrt(2 / (fan_in + fan_out)),
        "uniform",
        fans,
        partial(nn.init.xavier_uniform_, gain=factor),
    )


@SCHEMES.register("glorot_normal")
def xavier_normal(gain: Gain = 1.0, fans: Fans = "torch") -> Rule:
    """Fill with N(0, gain²·2/(fan_in+fan_out)) (Glorot & Bengio 2010).

    For tanh and other activations that are nearly linear around 0: a compromise between preserving the variance of
    signals and that of gradients. After ReLU every square layer halves the mean square. This is torch's
    xavier_normal_; glorot_normal of Keras and JAX is truncated at two sigma: write `glorot_normal_keras` for theirs.

    torch counts fans from the shape of the weight, which is not what a signal meets where a convolution has groups, is
    transposed or has a stride: fans='effective' counts what it meets.
    """
    factor = gain_of(gain)
    return by_fans(
        lambda fan_in, fan_out: factor * math.sqrt(2 / (fan_in + fan_out)),
        "normal",
        fans,
        partial(nn.init.xavier_normal_, gain=factor),
    )


@SCHEMES.register("kaiming", "he", "he_uniform")
def kaiming_uniform(
    a: FiniteFloat = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    fans: Fans = "torch",
) -> Rule:
    """Fill with U(±gain·√(3/fan)), of variance gain²/fan; gain √2 for ReLU (He et al. 2015).

    For ReLU, and leaky ReLU of slope `a`; `nonlinearity` selects the gain of another activation. mode='fan_in'
    preserves the mean square of signals from layer to layer, 'fan_out' that of gradients.

    torch counts fans from the shape of the weight, which is not what a signal meets where a convolution has groups, is
    transposed or has a stride: fans='effective' counts what it meets.
    """
    call = partial(nn.init.kaiming_uniform_, a=a, mode=mode, nonlinearity=nonlinearity)
    return by_fans(kaiming_std(a, mode, nonlinearity), "uniform", fans, call)


@SCHEMES.register("he_normal")
def kaiming_normal(
    a: FiniteFloat = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    fans: Fans = "torch",
) -> Rule:
    """Fill with N(0, gain²/fan); gain √2 for ReLU (He et al. 2015).

    For ReLU, and leaky ReLU of slope `a`; `nonlinearity` selects the gain of another activation. mode='fan_in'
    preserves the mean square of signals from layer to layer, 'fan_out' that of gradients. This is torch's
    kaiming_normal_; he_normal of Keras and JAX is truncated at two sigma: write `he_normal_keras` for theirs.

    torch counts fans from the shape of the weight, which is not what a signal meets where a convolution has groups, is
    transposed or has a stride: fans='effective' counts what it meets.
    """
    call = partial(nn.init.kaiming_normal_, a=a, mode=mode, nonlinearity=nonlinearity)
    return by_fans(kaiming_std(a, mode, nonlinearity), "normal", fans, call)


@SCHEMES.register()
def orthogonal(gain: Gain = 1.0, fans: Fans = "torch") -> Rule:
    """Fill with gain times a random (semi-)orthogonal matrix, kernels flattened to (out, fan_in) (Saxe et al. 2013).

    For linear layers and tanh; gain='relu' is for ReLU. All min(out, fan_in) singular values are gain, so in a linear
    network no direction vanishes. Where a layer widens, the mean square is multiplied by fan_in/out as well
    (`scaled_orthogonal` corrects that), and a convolution is not an orthogonal map (`delta_orthogonal` is).

    torch flattens the weight as it is, all groups together, and a transposed one from outputs to inputs;
    fans='effective' flattens each group in the direction of the signal, and multiplies a transposed one by √strides.
    """
    factor = gain_of(gain)

    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        scale = math.sqrt(layer.stride) if fans == "effective" and layer.transposed else 1.0
        nn.init.orthogonal_(tensor, factor * scale, generator=generator)

    # min(rows, columns) unit rows or columns share rows·columns entries.
    def of_torch(layer: Layer) -> float:
        return factor**2 / max(layer.shape[0], math.prod(layer.shape[1:]))

    def of_groups(layer: Layer) -> float:
        return factor**2 * (layer.stride if layer.transposed else 1) / max(layer.block[0], layer.fan_in)

    if fans == "effective":
        return Rule(fill, dimensions=WEIGHTS, variance=of_groups)
    return Rule(fill, dimensions=WEIGHTS, variance=of_torch, effective=of_groups, whole=True, revised=once_if_packed)


@SCHEMES.register()
def sparse(sparsity: Share, std: NonNegative = 0.01) -> Rule:
    """Fill with N(0, std²) and set a share of each column to 0, kernels flattened to (out, fan_in) (Martens 2010).

    For units that saturate, tanh and sigmoid: in the paper each has the same small number of inputs, so that its sum
    stays small at any width. torch, and so this scheme, zeroes ⌈sparsity·out⌉ entries of each column instead; a layer
    that would be all zero is an error.
    """

    def fill(tensor: Tensor, layer: Layer, generator: torch.Generator) -> None:
        if sparsity < 1 and variance(layer) == 0 < std:
            raise UsageError(
                f"sparse({sparsity:g}) would zero all of the layer '{layer.name}' (outputs: {tensor.shape[0]}): "
                "give that layer a part of its own."
            )
        # torch 2.13 draws the mask from the global generator whatever `generator` says (pull request 196941), so the
        # global generator is seeded from ours during the call.
        mask_seed = int(torch.randint(2**62, (), generator=generator))
        with isolated(mask_seed):
            nn.init.sparse_(tensor.flatten(1), sparsity, std, generator=generator)

    def variance(layer: Layer) -> float:
        return std**2 * (1 - math.ceil(sparsity * layer.shape[0]) / layer.shape[0])

    return Rule(fill, dimensions=WEIGHTS, variance=variance, whole=True, revised=once_if_packed)


def gain_of(gain: Gain) -> float:
    """Return a gain given as a number or as the name of a nonlinearity."""
    return nn.init.calculate_gain(gain) if isinstance(gain, str) else gain


def truncated_normal_law(low: float, high: float) -> tuple[float, float]:
    """Return mean and variance of N(0, 1) truncated to [low, high] (Johnson et al. 1994, section 13.10.1)."""
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass <= 0:
        raise UsageError(f"trunc_normal has no mass between {low:g} and {high:g} standard deviations: widen [a, b].")
    mean = (_density(low) - _density(high)) / mass
    return mean, 1 + (low * _density(low) - high * _density(high)) / mass - mean**2


def _one_value(fill: Fill, value: float) -> Rule:
    return Rule(fill, mean=value, variance=lambda _layer: 0.0, deterministic=True, degenerate=True)


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def kaiming_std(a: float = 0.0, mode: Mode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu") -> Std:
    """Return gain/√fan as a function of the fans."""
    gain = nn.init.calculate_gain(nonlinearity, a)
    return lambda fan_in, fan_out: gain / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def _ordered(name: str, a: float, b: float) -> None:
    if a >= b:
        raise UsageError(f"{name} needs a < b, not a={a:g} and b={b:g}.")
