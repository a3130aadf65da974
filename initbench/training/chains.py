"""The engine for chains of Linear and activation on the CPU: one network at a time, in a compiled loop.

It lays a model and a trial out in the flat arrays that `training.compiled` reads by address: an array must outlive the
table that holds its address, so the trainer keeps both.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from initbench.datasets.batches import Split
from initbench.records.recipe import Trial
from initbench.records.record import EARLY_STEPS
from initbench.training.activations import chain_of
from initbench.training.compiled import kernels, layout
from initbench.training.engine import Engine
from initbench.training.optimizers import OPTIMIZERS, Optimizer

Floats = npt.NDArray[np.float32]

STRETCH = 2e9  # operations between two returns to Python: about 20 ms, 0.2 s on a slow core
EVALUATION_ROWS = 128  # images at a time, so that the outputs of a layer stay in the second-level cache
LINE = 64  # bytes of a cache line


@dataclass(frozen=True)
class Activation:
    """The kernels of a nonlinearity; `stores_slope` is true if the forward one stores φ' for the backward one."""

    forward: str
    backward: str = "by_slope"
    stores_slope: bool = True


ACTIVATIONS: dict[type[nn.Module], Activation | None] = {
    nn.Identity: None,
    nn.ReLU: Activation("relu", "relu_back", stores_slope=False),
    nn.LeakyReLU: Activation("leaky_relu", "leaky_relu_back", stores_slope=False),
    nn.Tanh: Activation("tanh"),
    nn.Sigmoid: Activation("sigmoid"),
    nn.SiLU: Activation("silu"),
    nn.GELU: Activation("gelu"),
    nn.ELU: Activation("elu"),
    nn.SELU: Activation("selu"),
}


def takes(model: nn.Module) -> bool:
    """Return whether a model is a chain that ends in a Linear layer, with activations in torch's default form."""
    chain = chain_of(model)
    return bool(chain) and type(chain[-1][1]) is nn.Identity and all(_as_built_in(module) for _, module in chain)


def _as_built_in(module: nn.Module) -> bool:
    """Return whether an activation has torch's default parameters, which are constants in the kernels."""
    return module.extra_repr() == type(module)().extra_repr()


@dataclass
class _Arrays:
    """Arrays aligned to a cache line, kept alive as long as their addresses are used."""

    held: list[npt.NDArray[np.generic] | Tensor] = field(default_factory=list)

    def floats(self, *shape: int) -> Floats:
        """Return an array of zeros."""
        size = math.prod(shape)
        memory = np.zeros(size + LINE // 4, np.float32)
        start = -memory.ctypes.data % LINE // 4
        self.held.append(memory)
        return memory[start : start + size].reshape(shape)

    def place(self, values: npt.ArrayLike, kind: type[np.generic]) -> int:
        """Return the address of a copy of `values`."""
        array = np.array(values, kind)
        self.held.append(array)
        return array.ctypes.data

    def room(self, *shape: int) -> int:
        """Return the address of zeros of float32."""
        return self.floats(*shape).ctypes.data


class Chain:
    """Trains one network: see `Trainer`."""

    def __init__(self, models: Sequence[nn.Module], trials: Sequence[Trial], split: Split) -> None:
        (model,), (trial,) = models, trials
        chain = chain_of(model)
        assert chain
        self.name = _name()
        optimizer = _optimizer(trial.optimizer)
        assert optimizer.rule is not None
        self.trial, self.split, self.rule, self.regime = trial, split, optimizer.rule, optimizer.regime
        self.losses = torch.zeros(1, trial.steps)
        self.norms = torch.zeros(1, min(EARLY_STEPS, trial.steps))
        self._seen = self.losses[0].numpy()
        self._epoch = -1, torch.empty(0, dtype=torch.int64)
        self.arrays = _Arrays()
        widths = [layer.in_features for layer, _ in chain] + [chain[-1][0].out_features]
        self.columns = [-(-width // layout.PAD) * layout.PAD for width in widths]
        self.layers = np.zeros((len(chain), layout.LAYER), np.int64)
        for i, (layer, module) in enumerate(chain):
            self._lay_out(i, layer, ACTIVATIONS[type(module)])
        self.task = self._task(widths)
        self.evaluation_layers = self._evaluation_layers()
        self.stretch = max(1, int(STRETCH / (6 * trial.batch_size * sum(map(_product, widths, widths[1:])))))

    def train(self, start: int, stop: int) -> Iterator[int]:
        """See `Trainer`."""
        run = kernels.function("chain.train", 8)
        for begin in range(start, stop, self.stretch):
            end = min(stop, begin + self.stretch)
            order, chosen = self._order(begin, end)
            self.task[layout.CHOSEN] = 0 if chosen is None else chosen.data_ptr()
            given = self.layers.ctypes.data, len(self.layers), self.task.ctypes.data, order.data_ptr(), begin, end
            run(*given, self.losses.data_ptr(), self.norms.data_ptr())
            yield end

    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """See `Trainer`."""
        assert images.is_contiguous()
        assert labels.is_contiguous()
        found = torch.empty(2, 1, len(labels))
        given = self.evaluation_layers.ctypes.data, len(self.evaluation_layers), self.task.ctypes.data, EVALUATION_ROWS
        asked = images.data_ptr(), labels.data_ptr(), len(labels)
        kernels.function("chain.evaluate", 9)(*given, *asked, *(part.data_ptr() for part in found))
        return found

    def first_bad(self, steps: int) -> list[int]:
        """See `Trainer`."""
        good = np.isfinite(self._seen[:steps])
        return [steps if good.all() else int(good.argmin())]

    def _order(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Return the image indices of the steps start … stop - 1, (steps, batch), and how each image is moved, if any.

        Whole batches only in each epoch.
        """
        per_epoch = len(self.split) // self.trial.batch_size
        parts = []
        for epoch in range(start // per_epoch, (stop - 1) // per_epoch + 1):
            if self._epoch[0] != epoch:
                self._epoch = epoch, self._of_epoch(epoch)
            first = epoch * per_epoch
            parts.append(self._epoch[1][:, max(0, start - first) : stop - first])
        order, *chosen = torch.cat(parts, dim=1)
        return order, chosen[0] if chosen else None

    def _of_epoch(self, epoch: int) -> Tensor:
        """Return the order of an epoch's batches, and below it the choice of moves of each image, if any."""
        batch, seed = self.trial.batch_size, self.trial.data_seed
        order = self.split.order(seed, epoch)[: len(self.split) // batch * batch]
        rows = [order] if self.split.moves is None else [order, self.split.chosen(seed, epoch)[order]]
        return torch.stack(rows).view(len(rows), -1, batch)

    def _lay_out(self, i: int, layer: nn.Linear, activation: Activation | None) -> None:
        """Copy a layer's weights, allocate its training buffers, and write its row of the table."""
        inputs, outputs, columns = layer.in_features, layer.out_features, self.columns[i + 1]
        weights = self.arrays.floats(inputs + 1, columns)
        weights[:inputs, :outputs] = layer.weight.detach().numpy().T
        weights[inputs, :outputs] = layer.bias.detach().numpy()
        row = self.layers[i]
        row[[layout.INPUTS, layout.OUTPUTS, layout.COLUMNS]] = inputs, outputs, columns
        row[layout.WEIGHTS] = weights.ctypes.data
        row[layout.GRADIENT] = self.arrays.room(inputs + 1, columns)
        for place in (layout.FIRST, layout.SECOND)[: self.rule.states]:
            row[place] = self.arrays.room(inputs + 1, columns)
        if i:
            transposed = self.arrays.floats(columns, self.columns[i])
            transposed[:outputs, :inputs] = layer.weight.detach().numpy()
            row[layout.TRANSPOSED] = transposed.ctypes.data
        row[layout.Z] = self.arrays.room(self.trial.batch_size, columns)
        if activation is not None:
            row[layout.FORWARD] = kernels.address(f"activations.{activation.forward}")
            row[layout.BACKWARD] = kernels.address(f"activations.{activation.backward}")
            row[layout.SLOPE] = self.arrays.room(self.trial.batch_size, columns) if activation.stores_slope else 0

    def _task(self, widths: Sequence[int]) -> npt.NDArray[np.int64]:
        trial, split, arrays = self.trial, self.split, self.arrays
        arrays.held += [split.images, split.labels, *([] if split.moves is None else [split.moves])]
        rule, widest = self.rule, max(self.columns)
        channels = split.images.shape[1]
        rates = self.regime.rates(trial.lr, trial.steps) if self.regime.moves else ()
        kind = {torch.uint8: "bytes", torch.float32: "floats"}[split.images.dtype]
        gathering = f"gather_{kind}" if split.moves is None else f"gather_moved_{kind}"
        values = {
            layout.BATCH: trial.batch_size,
            layout.CHANNELS: channels,
            layout.PLANE: widths[0] // channels,
            layout.CLASSES: widths[-1],
            layout.EARLY: self.norms.shape[1],
            layout.IMAGES: split.images.data_ptr(),
            layout.LABELS: split.labels.data_ptr(),
            layout.MEAN: arrays.place(split.mean.flatten().numpy(), np.float32),
            layout.STD: arrays.place(split.std.flatten().numpy(), np.float32),
            layout.X: arrays.room(trial.batch_size, widths[0]),
            layout.Y: arrays.place(np.zeros(trial.batch_size), np.int64),
            layout.HERE: arrays.room(trial.batch_size, widest),
            layout.THERE: arrays.room(trial.batch_size, widest),
            layout.ZEROS: arrays.room(widest),
            layout.SUMS: arrays.place(np.zeros(layout.PAD), np.float64),
            layout.FACTOR: arrays.place([-trial.lr], np.float32),
            layout.SETTINGS: arrays.place([trial.lr, *rule.settings], np.float64),
            layout.RATES: arrays.place(rates, np.float64) if rates else 0,
            layout.CLIP: arrays.place([self.regime.clip], np.float64) if self.regime.clip is not None else 0,
            layout.MOVES: 0 if split.moves is None else split.moves.data_ptr(),
            layout.CHOSEN: 0,
            layout.GATHER: kernels.address(f"products.{gathering}"),
            layout.PRODUCT: kernels.address("products.product"),
            layout.ADD_PRODUCT: kernels.address("products.add_product"),
            layout.TRANSPOSE: kernels.address("products.transpose"),
            layout.UPDATE: kernels.address(f"updates.{rule.kernel}") if rule.kernel else 0,
        }
        return np.array([values[i] for i in range(layout.TASK)], np.int64)

    def _evaluation_layers(self) -> npt.NDArray[np.int64]:
        """Return the table of layers for evaluation: the same weights, with outputs alternating between two buffers."""
        evaluation_layers = self.layers.copy()
        buffers = [self.arrays.room(EVALUATION_ROWS, max(self.columns)) for _ in range(3)]
        evaluation_layers[0::2, layout.Z], evaluation_layers[1::2, layout.Z], evaluation_layers[:, layout.SLOPE] = (
            buffers
        )
        return evaluation_layers


@cache
def _optimizer(text: str) -> Optimizer:
    return OPTIMIZERS.build(text)


def _product(a: int, b: int) -> int:
    return a * b


@cache
def _name() -> str:
    made_by = ", ".join(f"{package} {version(package)}" for package in ("numba", "llvmlite"))
    return f"compiled({made_by})"


ENGINE = Engine(Chain)
