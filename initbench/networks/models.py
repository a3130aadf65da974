"""The built-in networks: Linear, Conv2d and an activation, one function each, for any image size and class count.

Every factory takes the shape of an image (channels, height, width) and the number of classes, and returns a module that
maps (n, channels, height, width) to logits (n, classes). Layer names are stable, because weights are drawn by name.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from initbench.core import usercode
from initbench.core.randomness import derive, isolated
from initbench.core.registry import Registry
from initbench.core.spec import parse
from initbench.errors import UsageError
from initbench.networks.inputs import with_shapes
from initbench.networks.layers import Layer, weighted_layers
from initbench.networks.user_model import ImageShape, adopt_model
from initbench.networks.wrappers import unwrapped

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "selu", "gelu", "silu", "elu", "identity"]
Norm = Literal["none", "batch", "layer"]
Width = Annotated[int, Field(ge=1, le=16384)]
Depth = Annotated[int, Field(ge=1, le=1000)]

MODELS: Registry[nn.Module] = Registry("model", spelled_out=True)
MODELS.adopter(adopt_model)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "identity": nn.Identity,
}


@MODELS.register()
def linear(shape: ImageShape, classes: int, /) -> nn.Module:
    """One Linear layer on the pixels: softmax regression."""
    return _stack(flatten=nn.Flatten(), head=nn.Linear(_size(shape), classes))


@MODELS.register()
def mlp(
    shape: ImageShape, classes: int, /, depth: Depth = 8, width: Width = 64, activation: Activation = "relu"
) -> nn.Module:
    """`depth` hidden Linear layers of equal width, each with its activation, and a Linear head."""
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    inputs = _size(shape)
    for i in range(1, depth + 1):
        layers[f"linear{i}"] = nn.Linear(inputs, width)
        layers[f"{activation}{i}"] = ACTIVATIONS[activation]()
        inputs = width
    return _stack(**layers, head=nn.Linear(inputs, classes))


@MODELS.register()
def lenet(shape: ImageShape, classes: int, /, activation: Activation = "relu") -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with max-pooling: two 5×5 convolutions and three Linear layers."""
    _require_image("lenet", shape)
    channels, height, width = shape
    # The second convolution shrinks the map by 4, as in the paper, if the image is large enough.
    padding = 0 if min(height, width) >= 20 else 2
    height, width = (((side // 2) - 4 + 2 * padding) // 2 for side in (height, width))
    act = ACTIVATIONS[activation]
    return _stack(
        conv1=nn.Conv2d(channels, 6, 5, padding=2),
        act1=act(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5, padding=padding),
        act2=act(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        linear1=nn.Linear(16 * height * width, 120),
        act3=act(),
        linear2=nn.Linear(120, 84),
        act4=act(),
        head=nn.Linear(84, classes),
    )


@MODELS.register()
def cnn(
    shape: ImageShape,
    classes: int,
    /,
    depth: Depth = 4,
    width: Width = 32,
    activation: Activation = "relu",
    norm: Norm = "none",
) -> nn.Module:
    """`depth` 3×3 convolutions, with max-pooling and twice the channels after every two, and a Linear head.

    On CIFAR at width 64 the first layer is Conv2d(3, 64, 3, stride=1, padding=1). Pooling stops at a 2×2 map.
    """
    _require_image("cnn", shape)
    channels, height, image_width = shape
    layers: dict[str, nn.Module] = {}
    outputs = width
    for i in range(1, depth + 1):
        layers |= _convolution(i, channels, outputs, activation, norm)
        channels = outputs
        if i % 2 == 0 and min(height, image_width) >= 4:
            layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
            height, image_width, outputs = height // 2, image_width // 2, outputs * 2
    head = nn.Linear(channels * height * image_width, classes)
    return _stack(**layers, flatten=nn.Flatten(), head=head)


@MODELS.register()
def deep_cnn(
    shape: ImageShape, classes: int, /, depth: Depth = 20, width: Width = 16, activation: Activation = "relu"
) -> nn.Module:
    """A plain stack of `depth` 3×3 convolutions of equal width for depth studies, with two strides of 2.

    The strides are at a third and two thirds of the depth; then global average pooling and a Linear head.
    """
    _require_image("deep_cnn", shape)
    layers: dict[str, nn.Module] = {}
    channels = shape[0]
    for i in range(1, depth + 1):
        stride = 2 if i in (depth // 3 + 1, 2 * depth // 3 + 1) and i > 1 else 1
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, stride=stride, padding=1)
        layers[f"act{i}"] = ACTIVATIONS[activation]()
        channels = width
    return _stack(**layers, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(width, classes))


@MODELS.register()
def resnet(
    shape: ImageShape, classes: int, /, depth: Depth = 20, width: Width = 16, branch_scale: bool = False
) -> nn.Module:
    """A CIFAR ResNet (He et al. 2015, section 4.2) of depth 6n+2 without normalization, in three stages.

    With `branch_scale` each residual branch is multiplied by a learned number of its own, 1 unless a scheme sets it:
    the α of SkipInit and ReZero, and Fixup's multiplier. Fixup's scalar biases are omitted, because every convolution
    here has a bias per channel.
    """
    _require_image("resnet", shape)
    if depth < 8 or (depth - 2) % 6:
        near = max(8, 6 * round((depth - 2) / 6) + 2)
        raise UsageError(f"resnet(depth={depth}) does not exist: its depth is 6n+2, for example {near}.")
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(shape[0], width, 3, padding=1), "relu1": nn.ReLU()}
    channels = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            layers[f"stage{stage}_block{block}"] = _Residual(channels, outputs, stride, scaled=branch_scale)
            channels = outputs
    return _stack(**layers, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(channels, classes))


@lru_cache(maxsize=256)
def is_built_in(text: str) -> bool:
    """Return whether a text names one of this package's networks, of which none draws in a forward pass."""
    return parse(text).name in MODELS


def build_model(text: str, shape: ImageShape | None, classes: int, device: str = "cpu", seed: int = 0) -> nn.Module:
    """Build the model that `text` names, without its wrappers and without changing the global random state.

    On the "meta" device no memory is allocated and nothing is computed. `seed` seeds what the model draws while it is
    built and a scheme may not fill, such as an embedding. `shape` is None if inputs are not images.

    Raises:
        UsageError: an unknown model or parameter, or a model that does not fit such images.
    """
    # The user's own code may set a default device, which torch refuses within such a block.
    placed = nullcontext() if torch.device(device) == torch.get_default_device() else torch.device(device)
    with isolated(derive(seed, "build")), placed, _default_dtype(torch.float32):
        model = unwrapped(MODELS.build(text, shape, classes))
        return model if shape is None else with_shapes(model, (torch.zeros(2, *shape, dtype=torch.float32),))


def layers_in_order(text: str, model: nn.Module, shape: ImageShape) -> list[Layer]:
    """Return the layers of a model in the order of execution: that of a black image, for the user's own models.

    Built-in models register their layers in this order.

    Raises:
        UsageError: see `weighted_layers`.
    """
    own = bool(usercode.code_hashes((text,), MODELS.group))
    return weighted_layers(model, (torch.zeros(2, *shape, dtype=torch.float32),) if own else None)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class _Residual(nn.Module):
    """relu(x + α·conv2(relu(conv1(x)))), with a 1×1 convolution on the shortcut where the shape changes.

    α is a parameter if the branch is `scaled`, else 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, scaled: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride)
        self.relu2 = nn.ReLU()
        self.alpha = nn.Parameter(torch.ones(())) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.relu1(self.conv1(x)))
        if self.alpha is not None:
            residual = self.alpha * residual
        return self.relu2(residual + self.shortcut(x))  # type: ignore[no-any-return] # nn.Module calls are untyped

    def residual_branch(self) -> list[nn.Module | nn.Parameter]:
        """Return what is added to the shortcut (see `weighted_layers`)."""
        return [self.conv1, self.relu1, self.conv2, *([] if self.alpha is None else [self.alpha])]


def _convolution(i: int, inputs: int, outputs: int, activation: Activation, norm: Norm) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {f"conv{i}": nn.Conv2d(inputs, outputs, 3, stride=1, padding=1)}
    if norm != "none":
        layers[f"norm{i}"] = nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(1, outputs)
    layers[f"act{i}"] = ACTIVATIONS[activation]()
    return layers


def _stack(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _size(shape: ImageShape) -> int:
    return shape[0] * shape[1] * shape[2]


def _require_image(name: str, shape: ImageShape) -> None:
    if min(shape[1:]) < 4:
        raise UsageError(
            f"The model '{name}' needs images of at least 4×4 pixels, and these are {shape[1]}×{shape[2]}: "
            "use linear or mlp."
        )
