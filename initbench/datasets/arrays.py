"""Parsed datasets as arrays, the registry of named ones, and the checks that all must pass."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from initbench.core.registry import Registry
from initbench.core.usercode import user_errors
from initbench.datasets import augmentation
from initbench.datasets import labels as labelling
from initbench.errors import DataError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Array = NDArray[np.generic]
Labels = NDArray[np.int64]

# Of control groups, version 2 and 1: what a container may use, as seen from inside.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
BLOCK_BYTES = 4 << 20  # images are processed in blocks, so that no step doubles the memory of a dataset


@dataclass(frozen=True)
class Change:
    """What a recipe changes in the training split; validation and test stay as they are, so that results compare.

    `subset` is a number of images or a share of them, stratified by class; `noise` the share of wrong labels; `augment`
    the moves of images (`augmentation`).
    """

    subset: float | None = None
    noise: float = 0.0
    augment: str = ""


@dataclass(frozen=True)
class Arrays:
    """A parsed dataset: images (n, channels, height, width) uint8 or float32, labels (n,) of any integers or text.

    Without a validation split of its own, one is drawn from the training images. `notices` are sentences on how the
    images were read.
    """

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    val_images: Array | None = None
    val_labels: Array | None = None
    notices: tuple[str, ...] = ()
    change: Change = Change()

    @property
    def held_out(self) -> tuple[tuple[str, Array, Array], ...]:
        """The splits that nothing is trained on, as (name, images, labels)."""
        test = ("test", self.test_images, self.test_labels)
        if self.val_images is None or self.val_labels is None:
            return (test,)
        return ("validation", self.val_images, self.val_labels), test


def changed(
    arrays: Arrays,
    /,
    subset: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = None,
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    augment: Annotated[str, AfterValidator(augmentation.canonical)] = "",
) -> Arrays:
    """Return a dataset whose training split will be changed: every dataset has these parameters."""
    return replace(arrays, change=Change(subset, noise, augment))


DATASETS: Registry[Arrays] = Registry("dataset", common=changed)


@DATASETS.adopter
def _adopt(name: str, function: Any) -> Callable[[Path], Arrays]:  # noqa: ANN401 - a package's object
    """Return the factory of a package's function () -> (x_train, y_train, x_test, y_test), images (n, C, H, W)."""

    def read(_root: Path) -> Arrays:
        with user_errors(f"the dataset '{name}'", "raised"):
            arrays = [np.asarray(part) for part in function()]
        if len(arrays) != 4:
            raise DataError(f"The dataset '{name}' gave {len(arrays)} arrays, not x_train, y_train, x_test, y_test.")
        x_train, y_train, x_test, y_test = arrays
        labels = (
            labelling.parse(part, f"{key} of '{name}'") for key, part in (("y_train", y_train), ("y_test", y_test))
        )
        parsed = Arrays(x_train, next(labels), x_test, next(labels))
        check(parsed, name)
        return parsed

    return read


def check(arrays: Arrays, where: object) -> Arrays:
    """Return the arrays with labels 0..K-1 (int64, in the order of the training labels' values).

    Raises:
        DataError: lengths, shapes, types or labels unfit for training; `where` is in the message.
    """
    train = arrays.train_images
    for split, images, labels in (("train", train, arrays.train_labels), *arrays.held_out):
        _check_split(images, labels, f"the {split} split of {where}")
        if train.shape[1:] != images.shape[1:] or train.dtype != images.dtype:
            raise DataError(
                f"The train images of {where} are {_kind(train)} and its {split} images {_kind(images)}: make them the "
                f"same."
            )
    if arrays.change.augment:
        augmentation.table(arrays.change.augment, *train.shape[2:])
    others = [(split, labels) for split, _, labels in arrays.held_out]
    train_labels, mapped = labelling.consecutive(arrays.train_labels, others, where)
    return replace(
        arrays,
        train_labels=train_labels,
        test_labels=mapped[-1],
        val_labels=mapped[0] if arrays.val_images is not None else None,
    )


def refuse_giant(size: int, where: object) -> None:
    """Raise unless an array of `size` bytes fits into this machine's memory; called before any is allocated.

    Raises:
        DataError: it does not fit, as a file of a few bytes can claim.
    """
    if size > (most := memory()):
        raise DataError(
            f"{where} would take {size / 2**30:,.1f} GiB, and {most / 2**30:,.1f} GiB of memory may be used here: "
            f"give a smaller dataset."
        )


def memory() -> float:
    """Return the bytes that this process may use: of the machine's memory, its container's and its own limit.

    Infinity where the system does not report any (Windows).
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(path.read_text()))
    if resource is not None and (own := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        limits.append(own)
    return min(limits, default=float("inf"))


def blocks(images: Array, rows: NDArray[np.intp] | None = None) -> Iterator[Array]:
    """Yield images, or some rows of them, in contiguous blocks of a few MB."""
    size = max(1, BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images if rows is None else rows), size):
        part = slice(start, start + size)
        yield np.ascontiguousarray(images[part if rows is None else rows[part]])


def moments(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of (n, C, H, W), in the images' own units (0..255 for bytes).

    A constant channel gets the deviation 1, so that dividing by it is harmless.
    """
    count = images.shape[0] * images.shape[2] * images.shape[3]
    # Sums of bytes are exact in integers, so that results do not depend on a machine's order of summation.
    exact = np.uint64 if images.dtype == np.uint8 else np.float64
    total = sum(block.sum(axis=(0, 2, 3), dtype=exact) for block in blocks(images))
    mean = np.asarray(total, np.float64) / count
    if images.dtype == np.uint8:
        squares = sum(np.square(block, dtype=np.uint32).sum(axis=(0, 2, 3), dtype=exact) for block in blocks(images))
        numerators = [int(s) * count - int(t) ** 2 for s, t in zip(squares, total, strict=True)]
        variance = np.array([numerator / count**2 for numerator in numerators])
    else:
        # Two passes: the one-pass formula cancels catastrophically where the mean is large.
        centre = mean[:, None, None]
        variance = sum(np.square(block - centre).sum(axis=(0, 2, 3)) for block in blocks(images)) / count
    std = np.sqrt(variance)
    constant = std <= np.finfo(np.float32).eps * np.abs(mean)
    return tuple(mean.tolist()), tuple(np.where(constant, 1.0, std).tolist())


def _check_split(images: Array, labels: Array, where: str) -> None:
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"The images of {where} have the shape {images.shape}: (n, C, H, W) without a zero is needed.")
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(f"The images of {where} are {images.dtype}: uint8 or float32 is needed.")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iuU":
        raise DataError(
            f"The labels of {where} are {labels.dtype} of shape {labels.shape} for {len(images)} images: "
            f"one integer or text for each image is needed."
        )
    if images.dtype == np.float32 and not all(np.isfinite(block).all() for block in blocks(images)):
        raise DataError(f"The images of {where} contain NaN or infinity: replace them.")


def _kind(images: Array) -> str:
    return f"{images.dtype} {'×'.join(map(str, images.shape[1:]))}"
