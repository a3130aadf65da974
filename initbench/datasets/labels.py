"""Labels as people save them, read as classes: numbers, one-hot rows, whole floats, text."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from initbench.core.text import printable
from initbench.errors import DataError

Array = NDArray[np.generic]
Labels = NDArray[np.int64]

NAMES_SHOWN = 10


def parse(array: Array, where: str) -> Array:
    """Return labels (n,) of integers or text, from those, (n, 1), whole floats, booleans or one-hot rows (n, K).

    Raises:
        DataError: anything else; `where` is in the message.
    """
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim == 2 and labels.dtype.kind in "buif" and _is_one_hot(labels):
        return np.asarray(labels.argmax(axis=1))
    if (
        labels.ndim == 1
        and labels.dtype.kind == "f"
        and (labels == np.floor(labels)).all()
        and np.isfinite(labels).all()
    ):
        labels = labels.astype(np.int64)
    if labels.ndim == 1 and labels.dtype.kind == "S":
        labels = np.char.decode(labels.astype(np.bytes_), "utf-8", "backslashreplace")
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise DataError(
            f"The array {where} is {array.dtype} of shape {array.shape}: integer classes or text of shape (n,) or "
            f"(n, 1), or one-hot rows, are needed."
        )
    return labels.astype(np.int64) if labels.dtype == np.bool_ else labels


def consecutive(train: Array, others: Sequence[tuple[str, Array]], where: object) -> tuple[Labels, list[Labels]]:
    """Map labels to 0..K-1 by the order of the values in `train`; `others` are named splits.

    Raises:
        DataError: one class only, or a label that `train` does not have.
    """
    values, train_labels = np.unique(train, return_inverse=True)
    if len(values) < 2:
        raise DataError(f"All training labels of {where} are {values[0]}: at least two classes are needed.")
    mapped = []
    for split, labels in others:
        if (labels.dtype.kind == "U") != (values.dtype.kind == "U"):
            raise DataError(
                f"The training labels of {where} are {train.dtype} and its {split} labels {labels.dtype}: "
                f"save both as numbers or both as text."
            )
        unseen = np.setdiff1d(labels, values)
        if len(unseen):
            raise DataError(
                f"The {split} label {unseen[0]} of {where} is not a training label: add training images of that class."
            )
        mapped.append(np.searchsorted(values, labels).astype(np.int64))
    return train_labels.astype(np.int64), mapped


def remarks(values: Array, splits: Sequence[tuple[str, Array]]) -> Iterator[str]:
    """Yield sentences on the training labels' `values` (sorted) and on classes that a split of 0..K-1 lacks."""
    if values.dtype.kind in "iu":
        low, high = int(values[0]), int(values[-1])
        if high - low + 1 > len(values):
            last = len(values) - 1
            yield f"its labels are {len(values)} numbers from {low} to {high}: they become classes 0 to {last}."
        if low < 0:
            yield f"its label {low} is taken for a class: remove those images if it marks unlabelled ones."
    for split, labels in splits:
        absent = np.setdiff1d(np.arange(len(values)), labels)
        if len(values) - len(absent) == 1:
            only = printable(str(values[labels[0]]))
            yield f"every {split} image is of class {only}, so that always answering it scores 1 there."
        elif len(absent):
            named = ", ".join(printable(str(value)) for value in values[absent[:NAMES_SHOWN]])
            more = ", …" if len(absent) > NAMES_SHOWN else ""
            yield f"no {split} image is of class {named}{more}."


def _is_one_hot(rows: Array) -> bool:
    return rows.shape[1] > 1 and bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())
