"""The built-in networks: Linear, Conv2d and an activation, one function each, for any image size and class count.

Every factory takes the shape of an image (channels, height, width) and the number of classes, and returns a module that
maps (n, channels, height, width) to logits (n, classes). Layer names are stable, because weights are drawn by name. So
are texts, because a trial's id holds them: parameters after a `*` are left out where they have their default, and a
parameter of a model that people have trained is added there.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from initbench.core import usercode
from initbench.core.randomness import derive, isolated
from initbench.core.registry import Registry
from initbench.core.spec import parse
from initbench.errors import UsageError
from initbench.networks.blocks import (
    ACTIVATIONS,
    Activation,
    Norm,
    Parts,
    PreActivation,
    Residual,
    ResidualLinear,
    dropping,
    normalization,
)
from initbench.networks.inputs import with_shapes
from initbench.networks.layers import Layer, weighted_layers
from initbench.networks.user_model import ImageShape, adopt_model
from initbench.networks.wrappers import unwrapped

Width = Annotated[int, Field(ge=1, le=16384)]
Depth = Annotated[int, Field(ge=1, le=1000)]
Dropout = Annotated[float, Field(ge=0, lt=1)]

MODELS: Registry[nn.Module] = Registry("model", spelled_out=True)
MODELS.adopter(adopt_model)


@MODELS.register()
def linear(shape: ImageShape, classes: int, /) -> nn.Module:
    """One Linear layer on the pixels: softmax regression."""
    return _stack(flatten=nn.Flatten(), head=nn.Linear(_size(shape), classes))


@MODELS.register()
def mlp(
    shape: ImageShape,
    classes: int,
    /,
    depth: Depth = 8,
    width: Width | list[Width] = 64,
    activation: Activation = "relu",
    *,
    norm: Norm = "none",
    bias: bool = True,
    dropout: Dropout = 0.0,
) -> nn.Module:
    """`depth` hidden Linear layers, each with its activation, and a Linear head.

    `width` is that of every hidden layer, or a list of them: mlp(depth=2, width=[256, 128]). Normalization stands
    between a hidden layer and its activation, dropout behind that. bias=False leaves out all biases of layers, also the
    head's.
    """
    widths = width if isinstance(width, list) else [width] * depth
    if len(widths) != depth:
        raise UsageError(
            f"mlp(depth={depth}, width={widths}) has {len(widths)} widths for {depth} hidden layers: write "
            f"mlp(depth={max(1, len(widths))}, width={widths or [64]})."
        )
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    inputs = _size(shape)
    for i, units in enumerate(widths, start=1):
        layers[f"linear{i}"] = nn.Linear(inputs, units, bias=bias)
        layers[f"norm{i}"] = normalization(norm, units, maps=False)
        layers[f"{activation}{i}"] = ACTIVATIONS[activation]()
        layers[f"dropout{i}"] = dropping(dropout)
        inputs = units
    return _stack(**_asked_for(layers), head=nn.Linear(inputs, classes, bias=bias))


@MODELS.register()
def resmlp(
    shape: ImageShape,
    classes: int,
    /,
    depth: Depth = 8,
    width: Width = 64,
    activation: Activation = "relu",
    *,
    norm: Norm = "none",
    bias: bool = True,
    dropout: Dropout = 0.0,
    branch_scale: bool = False,
) -> nn.Module:
    """A Linear stem, `depth` residual blocks x + linear2(φ(linear1(x))) of equal width, and a Linear head.

    Normalization stands at the start of each branch and before the head (pre-norm, as in Transformers), dropout before
    linear2. bias=False leaves out all biases of layers, also the head's. With `branch_scale` each branch is multiplied
    by a learned number, 1 unless a scheme sets it: the α of SkipInit and ReZero.
    """
    parts = Parts(norm, bias, dropout, branch_scale)
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten(), "stem": nn.Linear(_size(shape), width, bias=bias)}
    layers |= {f"block{i}": ResidualLinear(width, activation, parts) for i in range(1, depth + 1)}
    layers["norm"] = normalization(norm, width, maps=False)
    return _stack(**_asked_for(layers), head=nn.Linear(width, classes, bias=bias))


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
    *,
    bias: bool = True,
    dropout: Dropout = 0.0,
) -> nn.Module:
    """`depth` 3×3 convolutions, with max-pooling and twice the channels after every two, and a Linear head.

    On CIFAR at width 64 the first layer is Conv2d(3, 64, 3, stride=1, padding=1). Pooling stops at a 2×2 map.
    Normalization stands between a convolution and its activation, dropout of single entries behind that. bias=False
    leaves out all biases of layers, also the head's.
    """
    _require_image("cnn", shape)
    channels, height, image_width = shape
    layers: dict[str, nn.Module] = {}
    outputs = width
    for i in range(1, depth + 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, outputs, 3, stride=1, padding=1, bias=bias)
        layers |= _after_convolution(i, outputs, activation, norm, dropout)
        channels = outputs
        if i % 2 == 0 and min(height, image_width) >= 4:
            layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
            height, image_width, outputs = height // 2, image_width // 2, outputs * 2
    head = nn.Linear(channels * height * image_width, classes, bias=bias)
    return _stack(**_asked_for(layers), flatten=nn.Flatten(), head=head)


@MODELS.register()
def deep_cnn(
    shape: ImageShape,
    classes: int,
    /,
    depth: Depth = 20,
    width: Width = 16,
    activation: Activation = "relu",
    *,
    norm: Norm = "none",
    bias: bool = True,
    dropout: Dropout = 0.0,
) -> nn.Module:
    """A plain stack of `depth` 3×3 convolutions of equal width for depth studies, with two strides of 2.

    The strides are at a third and two thirds of the depth; then global average pooling and a Linear head. Normalization
    stands between a convolution and its activation, dropout of single entries behind that. bias=False leaves out all
    biases of layers, also the head's.
    """
    _require_image("deep_cnn", shape)
    layers: dict[str, nn.Module] = {}
    channels = shape[0]
    for i in range(1, depth + 1):
        stride = 2 if i in (depth // 3 + 1, 2 * depth // 3 + 1) and i > 1 else 1
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=bias)
        layers |= _after_convolution(i, width, activation, norm, dropout)
        channels = width
    return _stack(**_asked_for(layers), **_pooled_head(width, classes, bias=bias))


@MODELS.register()
def resnet(
    shape: ImageShape,
    classes: int,
    /,
    depth: Depth = 20,
    width: Width = 16,
    branch_scale: bool = False,
    *,
    norm: Norm = "none",
    bias: bool = True,
    dropout: Dropout = 0.0,
    preactivation: bool = False,
) -> nn.Module:
    """A CIFAR ResNet (He et al. 2015, section 4.2) of depth 6n+2 in three stages, without normalization unless asked.

    With `branch_scale` each residual branch is multiplied by a learned number of its own, 1 unless a scheme sets it:
    the α of SkipInit and ReZero, and Fixup's multiplier. Fixup's scalar biases are omitted, because every convolution
    here has a bias per channel.

    Normalization stands behind each convolution, also a shortcut's; dropout of single entries between the two
    convolutions of a branch (Wide ResNet). `preactivation` moves normalization and ReLU before the convolutions of a
    branch, so that shortcuts are the identity, and adds both before the pooling (He et al. 2016). bias=False leaves out
    all biases of layers, also the head's.
    """
    _require_image("resnet", shape)
    if depth < 8 or (depth - 2) % 6:
        near = max(8, 6 * round((depth - 2) / 6) + 2)
        raise UsageError(f"resnet(depth={depth}) does not exist: its depth is 6n+2, for example {near}.")
    parts = Parts(norm, bias, dropout, branch_scale)
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(shape[0], width, 3, padding=1, bias=bias)}
    if not preactivation:
        layers |= {"norm1": normalization(norm, width, maps=True), "relu1": nn.ReLU()}
    channels = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            made = (
                PreActivation(channels, outputs, stride, parts, opens=stage == block == 1)
                if preactivation
                else Residual(channels, outputs, stride, parts)
            )
            layers[f"stage{stage}_block{block}"] = made
            channels = outputs
    if preactivation:
        layers |= {"norm": normalization(norm, channels, maps=True), "relu": nn.ReLU()}
    return _stack(**_asked_for(layers), **_pooled_head(channels, classes, bias=bias))


@lru_cache(maxsize=256)
def is_built_in(text: str) -> bool:
    """Return whether a text names one of this package's networks, which have no generators of their own."""
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


def _after_convolution(
    i: int, channels: int, activation: Activation, norm: Norm, dropout: float
) -> dict[str, nn.Module]:
    return {
        f"norm{i}": normalization(norm, channels, maps=True),
        f"act{i}": ACTIVATIONS[activation](),
        f"dropout{i}": dropping(dropout),
    }


def _pooled_head(channels: int, classes: int, *, bias: bool) -> dict[str, nn.Module]:
    head = nn.Linear(channels, classes, bias=bias)
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": head}


def _asked_for(layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Leave out the normalizations and dropouts that are not asked for: engines read a chain module by module."""
    optional = ("norm", "dropout")
    return {
        name: module
        for name, module in layers.items()
        if not (name.startswith(optional) and isinstance(module, nn.Identity))
    }


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
