"""The small models that a scheme is checked on: one for each thing that initializations get wrong.

Each has layers that widen and narrow, or tensors that must not change. Layers have the names of the built-in models, so
that `name:` parts of a scheme match.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from initbench.core.randomness import generator, isolated
from initbench.schemes import Sample

CLASSES = 5
IMAGES = 64
TOKENS = 30


@dataclass(frozen=True)
class SmallModel:
    """A small model: its factory, the shape of one input, and `alone`, the tensors that no scheme may change."""

    name: str
    parts: Callable[[], dict[str, nn.Module]]
    inputs: tuple[int, ...]
    alone: tuple[str, ...] = ()

    def build(self) -> nn.Module:
        """Return a new model, always the same, in training mode except for BatchNorm1d."""
        with isolated(0):
            model = nn.Sequential(OrderedDict(self.parts()))
        for module in model.modules():
            module.train(not isinstance(module, nn.BatchNorm1d))
        return model

    def sample(self) -> Sample:
        """Return a batch of standard normal inputs, or of tokens for the embedding, with labels."""
        keyed = generator(0, "specimen", self.name)
        labels = torch.randint(CLASSES, (IMAGES,), generator=keyed)
        if self.name == "tokens":
            return Sample((torch.randint(TOKENS, (IMAGES, *self.inputs), generator=keyed),), labels)
        return Sample((torch.randn(IMAGES, *self.inputs, generator=keyed),), labels)


class Block(nn.Module):
    """x + scale·outer(relu(inner(x))), which declares its residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the input."""
        return x + self.scale * self.outer(torch.relu(self.inner(x)))  # type: ignore[no-any-return] # untyped

    def residual_branch(self) -> list[nn.Module | nn.Parameter]:
        """Return the modules and parameters of what is added to the input."""
        return [self.inner, self.outer, self.scale]


def _conv(inputs: int, outputs: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups)


def _with_relu(**layers: nn.Module) -> dict[str, nn.Module]:
    """Append a ReLU to each weighted layer but the head."""
    parts: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        parts[name] = layer
        if name != "head" and hasattr(layer, "weight"):
            parts[f"relu_{name}"] = nn.ReLU()
    return parts


def _image(*, width: int, **layers: nn.Module) -> dict[str, nn.Module]:
    """Append a head to convolutions: global average pooling of `width` channels and a Linear layer."""
    return _with_relu(**layers, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(width, CLASSES))


def _tied() -> dict[str, nn.Module]:
    conv1, conv2, linear1, linear2 = _conv(8, 8), _conv(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    conv2.weight, linear2.weight = conv1.weight, linear1.weight
    pool, flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return _with_relu(
        conv1=conv1, conv2=conv2, pool=pool, flatten=flatten, linear1=linear1, linear2=linear2,
        head=nn.Linear(8, CLASSES),
    )  # fmt: skip


def _frozen() -> dict[str, nn.Module]:
    conv2, linear1, linear2 = _conv(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
    for frozen in (conv2.weight, conv2.bias, linear1.weight, linear1.bias, linear2.bias):
        frozen.requires_grad_(False)
    pool, flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return _with_relu(
        conv1=_conv(4, 16), conv2=conv2, pool=pool, flatten=flatten, linear1=linear1, linear2=linear2,
        head=nn.Linear(16, CLASSES),
    )  # fmt: skip


def _normalized() -> dict[str, nn.Module]:
    return {
        "conv1": _conv(3, 16), "norm1": nn.BatchNorm2d(16), "relu1": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(2), "flatten": nn.Flatten(), "drop": nn.Dropout(),
        "linear1": nn.Linear(64, 32), "norm2": nn.BatchNorm1d(32), "relu2": nn.ReLU(), "head": nn.Linear(32, CLASSES),
    }  # fmt: skip


def _tokens() -> dict[str, nn.Module]:
    embedding = nn.Embedding(TOKENS, 12)
    embedding.register_buffer("places", torch.arange(6))
    embedding.register_parameter("table", nn.Parameter(torch.arange(4), requires_grad=False))
    return {
        "embedding": embedding, "norm": nn.LayerNorm(12), "flatten": nn.Flatten(),
        "linear1": nn.Linear(72, 24), "relu1": nn.ReLU(), "head": nn.Linear(24, CLASSES),
    }  # fmt: skip


SMALL_MODELS = (
    SmallModel(
        "linear",
        lambda: _with_relu(linear1=nn.Linear(10, 40), linear2=nn.Linear(40, 10), head=nn.Linear(10, CLASSES)),
        (10,),
    ),
    SmallModel(
        "square",
        lambda: _with_relu(linear1=nn.Linear(256, 256), linear2=nn.Linear(256, 256), head=nn.Linear(256, CLASSES)),
        (256,),
    ),
    SmallModel(
        "conv",
        lambda: _image(
            conv1=_conv(3, 16), conv2=_conv(16, 16), conv3=_conv(16, 16), conv4=_conv(16, 40), conv5=_conv(40, 10),
            width=10,
        ),
        (3, 8, 8),
    ),
    SmallModel("grouped", lambda: _image(conv1=_conv(4, 24, 2), conv2=_conv(24, 12, 3), width=12), (4, 8, 8)),
    SmallModel(
        "depthwise", lambda: _image(conv1=_conv(3, 24), conv2=_conv(24, 24, 24), conv3=_conv(24, 8), width=8), (3, 8, 8)
    ),
    SmallModel(
        "transposed",
        lambda: _image(
            conv1=_conv(3, 12),
            conv2=nn.ConvTranspose2d(12, 6, 3, stride=2),
            conv3=nn.ConvTranspose2d(6, 24, 3, groups=2),
            width=24,
        ),
        (3, 6, 6),
    ),
    SmallModel("tied", _tied, (8, 6, 6)),
    SmallModel(
        "frozen", _frozen, (4, 6, 6),
        alone=("conv2.weight", "conv2.bias", "linear1.weight", "linear1.bias", "linear2.bias"),
    ),
    SmallModel(
        "normalized", _normalized, (3, 6, 6),
        alone=("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
    ),
    SmallModel(
        "tokens", _tokens, (6,),
        alone=("embedding.weight", "embedding.table", "norm.weight", "norm.bias"),
    ),
    SmallModel("residual", lambda: _image(conv1=_conv(3, 8), block1=Block(8), block2=Block(8), width=8), (3, 6, 6)),
)  # fmt: skip


@dataclass(frozen=True)
class Reordering:
    """Two models that share the layers `kept`; in the second the others are moved, renamed, resized or added."""

    one: SmallModel
    other: SmallModel
    kept: tuple[str, ...]


def _reordering(kind: str, layer: Callable[[int, int], nn.Module], inputs: tuple[int, ...]) -> Reordering:
    def one() -> dict[str, nn.Module]:
        return _with_relu(
            first=layer(9, 12), a=layer(12, 12), b=layer(12, 12), c=layer(12, 12), head=layer(12, CLASSES)
        )  # fmt: skip

    def other() -> dict[str, nn.Module]:
        return _with_relu(
            first=layer(9, 12), c=layer(12, 12), new=layer(12, 30), renamed=layer(30, 12), b=layer(12, 12),
            head=layer(12, CLASSES),
        )  # fmt: skip

    return Reordering(SmallModel(kind, one, inputs), SmallModel(kind, other, inputs), ("first", "b", "c", "head"))


REORDERINGS = (_reordering("linear", nn.Linear, (9,)), _reordering("conv", _conv, (9, 6, 6)))
