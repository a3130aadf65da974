"""What the built-in networks are made of beside Linear and Conv2d: activations, normalizations, residual blocks."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal[
    "relu", "leaky_relu", "tanh", "sigmoid", "selu", "gelu", "silu", "elu", "softsign", "hardtanh", "mish", "prelu",
    "sine", "identity",
]  # fmt: skip
Norm = Literal["none", "batch", "layer", "group", "rms"]


class Sine(nn.Module):
    """The sine (Sitzmann et al. 2020, whose factor ω₀ belongs to the weights here)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sin(x)."""
        return torch.sin(x)


class RMSNorm2d(nn.Module):
    """x / √mean(x²) over the channels and positions of an image, times a learned factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (n, channels, height, width) image by image."""
        return functional.rms_norm(x, x.shape[1:]) * self.weight.view(-1, 1, 1)


ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softsign": nn.Softsign,
    "hardtanh": nn.Hardtanh,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "sine": Sine,
    "identity": nn.Identity,
}


def normalization(norm: Norm, units: int, *, maps: bool) -> nn.Module:
    """Return a normalization of vectors of `units`, or of `maps` with that many channels; the identity for 'none'.

    'group' has 8 groups (Wu & He 2018 have 32 of wider layers), fewer where one would have less than 4 units: two units
    that are normalized together are ±1 whatever the signal, and one is 0.
    """
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(units) if maps else nn.BatchNorm1d(units)
        case "layer":
            return nn.GroupNorm(1, units) if maps else nn.LayerNorm(units)
        case "group":
            return nn.GroupNorm(max(1, math.gcd(32, units) // 4), units)
        case "rms":
            return RMSNorm2d(units) if maps else nn.RMSNorm(units)


def dropping(share: float) -> nn.Module:
    """Return dropout of a share of the entries; the identity for none."""
    return nn.Dropout(share) if share else nn.Identity()


def draws(model: nn.Module) -> bool:
    """Return whether a built-in network draws in a forward pass: it has dropout."""
    return any(isinstance(module, nn.Dropout) for module in model.modules())


@dataclass(frozen=True)
class Parts:
    """What residual blocks have: `dropout` is a share; `scaled` branches are multiplied by a learned α."""

    norm: Norm
    bias: bool
    dropout: float
    scaled: bool


class Residual(nn.Module):
    """relu(x + α·f(x)) with f = conv2(relu(conv1(x))), and a 1×1 convolution on the shortcut where the shape changes.

    Each convolution has its normalization behind it, and dropout stands before the second (He et al. 2015, Zagoruyko &
    Komodakis 2016). α is a parameter if branches are `scaled`, else 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, parts: Parts) -> None:
        super().__init__()
        norm, bias = parts.norm, parts.bias
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = normalization(norm, outputs, maps=True)
        self.relu1 = nn.ReLU()
        self.dropout = dropping(parts.dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = normalization(norm, outputs, maps=True)
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias)
        self.shortcut_norm = normalization("none" if same else norm, outputs, maps=True)
        self.relu2 = nn.ReLU()
        self.alpha = nn.Parameter(torch.ones(())) if parts.scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        residual = self.norm2(self.conv2(self.dropout(self.relu1(self.norm1(self.conv1(x))))))
        kept = self.shortcut_norm(self.shortcut(x))
        return self.relu2(_times(self.alpha, residual) + kept)  # type: ignore[no-any-return] # nn.Module calls are untyped

    def residual_branch(self) -> list[nn.Module | nn.Parameter]:
        """Return what is added to the shortcut (see `weighted_layers`)."""
        branch = [self.conv1, self.norm1, self.relu1, self.dropout, self.conv2, self.norm2]
        return [*branch, *([] if self.alpha is None else [self.alpha])]


class PreActivation(nn.Module):
    """x + α·conv2(relu(conv1(relu(x)))), each ReLU behind a normalization (He et al. 2016, "Identity Mappings").

    As there, the first block of a network (`opens`) and one that changes the shape take the shortcut after the first
    ReLU; where the shape changes it has a 1×1 convolution. Dropout stands before the second convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, parts: Parts, *, opens: bool) -> None:
        super().__init__()
        norm, bias = parts.norm, parts.bias
        same = inputs == outputs
        self.shares = opens or not same
        self.norm1 = normalization(norm, inputs, maps=True)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.norm2 = normalization(norm, outputs, maps=True)
        self.relu2 = nn.ReLU()
        self.dropout = dropping(parts.dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias)
        self.alpha = nn.Parameter(torch.ones(())) if parts.scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        activated = self.relu1(self.norm1(x))
        residual = self.conv2(self.dropout(self.relu2(self.norm2(self.conv1(activated)))))
        return _times(self.alpha, residual) + self.shortcut(activated if self.shares else x)  # type: ignore[no-any-return] # as above

    def residual_branch(self) -> list[nn.Module | nn.Parameter]:
        """Return what is added to the shortcut (see `weighted_layers`)."""
        first = [] if self.shares else [self.norm1, self.relu1]
        branch = [*first, self.conv1, self.norm2, self.relu2, self.dropout, self.conv2]
        return [*branch, *([] if self.alpha is None else [self.alpha])]


class ResidualLinear(nn.Module):
    """x + α·linear2(φ(linear1(norm(x)))), with dropout before the second layer."""

    def __init__(self, width: int, activation: Activation, parts: Parts) -> None:
        super().__init__()
        norm, bias = parts.norm, parts.bias
        self.norm = normalization(norm, width, maps=False)
        self.linear1 = nn.Linear(width, width, bias=bias)
        self.act = ACTIVATIONS[activation]()
        self.dropout = dropping(parts.dropout)
        self.linear2 = nn.Linear(width, width, bias=bias)
        self.alpha = nn.Parameter(torch.ones(())) if parts.scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the input."""
        residual = self.linear2(self.dropout(self.act(self.linear1(self.norm(x)))))
        return x + _times(self.alpha, residual)

    def residual_branch(self) -> list[nn.Module | nn.Parameter]:
        """Return what is added to the input (see `weighted_layers`)."""
        branch = [self.norm, self.linear1, self.act, self.dropout, self.linear2]
        return [*branch, *([] if self.alpha is None else [self.alpha])]


def _times(alpha: nn.Parameter | None, residual: Tensor) -> Tensor:
    return residual if alpha is None else alpha * residual
