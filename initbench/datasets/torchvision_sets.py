"""MNIST and CIFAR, read by torchvision's classes from files that were verified first.

torchvision does not verify MNIST's unpacked files, and prefers an old `processed/training.pt` to them. CIFAR's batches
are pickles, which run code when read. So every file is checked against its published hash before torchvision reads it.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from initbench.datasets.arrays import DATASETS, Arrays
from initbench.datasets.published import SOURCES, confirm, hash_files


@DATASETS.register()
def mnist(data_dir: Path, /) -> Arrays:
    """28×28 grey handwritten digits, 10 classes, 60,000 + 10,000 images (LeCun et al. 1998)."""
    return _idx("mnist", "MNIST", data_dir)


@DATASETS.register()
def fashion_mnist(data_dir: Path, /) -> Arrays:
    """28×28 grey articles of clothing, 10 classes, 60,000 + 10,000 images (Xiao et al. 2017)."""
    return _idx("fashion_mnist", "FashionMNIST", data_dir)


@DATASETS.register()
def kmnist(data_dir: Path, /) -> Arrays:
    """28×28 grey cursive Japanese characters, 10 classes, 60,000 + 10,000 images (Clanuwat et al. 2018)."""
    return _idx("kmnist", "KMNIST", data_dir)


@DATASETS.register()
def cifar10(data_dir: Path, /) -> Arrays:
    """32×32 colour photographs, 10 classes, 50,000 + 10,000 images (Krizhevsky 2009)."""
    return _cifar("cifar10", "CIFAR10", data_dir)


@DATASETS.register()
def cifar100(data_dir: Path, /) -> Arrays:
    """32×32 colour photographs, 100 classes, 50,000 + 10,000 images (Krizhevsky 2009)."""
    return _cifar("cifar100", "CIFAR100", data_dir)


def stamp(name: str, data_dir: Path) -> str:
    """Return the hashes of the files of a dataset on disk, which identify it.

    Raises:
        DataError: absent or damaged.
    """
    return " ".join(hash_files(SOURCES[name], data_dir))


def import_torchvision() -> ModuleType:
    """Import torchvision, even if its compiled operators do not match the installed torch.

    A CPU-only torch beside the package index's torchvision (built for CUDA) cannot load `torchvision/_C`; then
    `import torchvision` fails with "operator torchvision::nms does not exist", though no dataset needs an operator.
    """
    if "torchvision" not in sys.modules and not _operators_load():
        _declare_operators()
    import torchvision.datasets  # noqa: PLC0415 - brings torch with it, and must follow the declaration above

    return torchvision  # type: ignore[no-any-return] # publishes no types


def _idx(name: str, class_name: str, data_dir: Path) -> Arrays:
    confirm(SOURCES[name], data_dir)
    read = getattr(import_torchvision().datasets, class_name)
    # A class of the same name (it is part of the path) that never looks for `processed/*.pt`: those are torch pickles
    # of unknown origin, which torchvision would prefer to the files just verified.
    read = type(class_name, (read,), {"_check_legacy_exist": lambda _self: False})
    splits = [read(root=str(data_dir), train=train, download=False) for train in (True, False)]
    return _arrays([(split.data.numpy()[:, None], split.targets.numpy()) for split in splits])


def _cifar(name: str, class_name: str, data_dir: Path) -> Arrays:
    # torchvision's classes unpickle. Each file, `meta` too, has matched its published MD5: inserting another pickle
    # needs a second preimage of MD5, which is not known to be feasible. Downloads are also pinned by SHA-256.
    confirm(SOURCES[name], data_dir)
    read = getattr(import_torchvision().datasets, class_name)
    splits = [read(root=str(data_dir), train=train, download=False) for train in (True, False)]
    return _arrays([(split.data.transpose(0, 3, 1, 2), np.asarray(split.targets, np.int64)) for split in splits])


def _arrays(splits: list[tuple[Any, Any]]) -> Arrays:
    (train_images, train_labels), (test_images, test_labels) = splits
    return Arrays(train_images, train_labels, test_images, test_labels)


def _operators_load() -> bool:
    """Load torchvision's compiled operators as its `extension.py` will, without importing it.

    A failed `import torchvision` would leave half of its modules imported.
    """
    import torch  # noqa: PLC0415 - seconds to import, and only a first parse needs it

    spec = importlib.util.find_spec("torchvision")
    places = (spec.submodule_search_locations if spec else None) or []
    libraries = [path for place in places for path in sorted(Path(place).glob("_C*")) if path.suffix in {".so", ".pyd"}]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except (OSError, ImportError):
        return False
    return bool(libraries)


@cache  # the library object must live as long as the declarations shall
def _declare_operators() -> object:
    """Declare the two operators that torchvision registers shapes for at import, as its C++ source does."""
    import torch  # noqa: PLC0415 - seconds to import, and only a first parse needs it

    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
