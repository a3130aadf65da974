"""A dataset that needs no download: 1,797 handwritten digits included in scikit-learn."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from initbench.datasets.arrays import DATASETS, Arrays
from initbench.datasets.splits import fingerprint, stratified


@DATASETS.register()
def digits(_data_dir: Path, /) -> Arrays:
    """8×8 handwritten digits in 17 greys, 10 classes, 1,797 images; no download (UCI, Alpaydin & Kaynak 1998).

    There is no official test split: 20 % of each class is drawn, the same in every run.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second to import, for one dataset

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    key = f"digits test {fingerprint((images, labels))}"
    test = stratified(labels, round(0.2 * len(labels)), key)
    return Arrays(images[~test], labels[~test], images[test], labels[test])


def stamp(_data_dir: Path) -> str:
    """Return the release of scikit-learn, which identifies the digits, without importing it."""
    return f"scikit-learn {version('scikit-learn')}"
