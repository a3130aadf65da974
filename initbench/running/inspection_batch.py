"""The batch of an inspection: training images, or numbers made up in the shapes that were typed."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from initbench.core.randomness import generator
from initbench.datasets import Dataset
from initbench.datasets.batches import resident
from initbench.errors import UsageError
from initbench.signals import Batch, batch_of, batch_size

CLASSES = 10  # of made-up labels, without a dataset
_INPUT = re.compile(r"(\d+(?:x\d+)*)(?::(\d+))?")


def taken_from(dataset: Dataset) -> tuple[Batch, str, tuple[int, int, int], int]:
    """Return a fixed sample of training images, and the rest of the split for what needs more of them."""
    batch = batch_of(resident(dataset, "train", "cpu"))
    batch = replace(batch, classes=dataset.classes)
    return batch, f"{batch.size} training images of {dataset.name}", dataset.shape, dataset.classes


def made_up(inputs: Sequence[str]) -> tuple[Batch, str, tuple[int, int, int] | None, int]:
    """Make inputs of the given shapes: standard normal numbers, or uniform tokens."""
    shapes = [_input(text) for text in inputs]
    size = min(batch_size(shape) for shape, _ in shapes)
    made = []
    for number, (shape, vocabulary) in enumerate(shapes):
        keyed = generator(size, "made-up input", str(number))
        if vocabulary:
            made.append(torch.randint(vocabulary, (size, *shape), generator=keyed))
        else:
            made.append(torch.randn(size, *shape, generator=keyed))
    first = shapes[0][0]
    image = (first[0], first[1], first[2]) if len(first) == 3 else None
    return Batch(tuple(made)), f"{size} made-up inputs {', '.join(inputs)}", image, CLASSES


def _input(text: str) -> tuple[tuple[int, ...], int]:
    found = _INPUT.fullmatch(text.strip())
    if found is None or 0 in (sides := [int(side) for side in found[1].split("x")]) or found[2] == "0":
        raise UsageError(f"--input '{text}' is not a shape: write 3x32x32, or 16:1000 for 16 tokens below 1000.")
    return tuple(sides), int(found[2] or 0)
