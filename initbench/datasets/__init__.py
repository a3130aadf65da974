"""Datasets by name or path: parsed once, verified, split, and mapped from a cache by every worker.

Nothing here imports torch, torchvision, scikit-learn or pandas before a dataset that needs it is parsed.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import platformdirs

from initbench.core.paths import expand
from initbench.core.registry import Registry
from initbench.core.spec import Spec, outside_brackets, parse
from initbench.core.text import printable
from initbench.datasets import digits, files, torchvision_sets
from initbench.datasets.arrays import DATASETS, Arrays, changed
from initbench.datasets.cache import Dataset, Split, build, lookup, open_split
from initbench.datasets.downloads import Progress, fetch_source
from initbench.datasets.published import SOURCES, AbsentError, confirm
from initbench.datasets.splits import fingerprint
from initbench.errors import DataError, UsageError

__all__ = [
    "DATASETS",
    "Arrays",
    "Dataset",
    "Location",
    "Split",
    "default_data_dir",
    "fetch",
    "locate",
    "open_split",
    "prepare",
    "resolve",
]

# Identifies a named dataset without parsing it. A dataset without a stamp is parsed every time.
STAMPS: Mapping[str, Callable[[Path], str]] = {
    "digits": digits.stamp,
    **{name: partial(torchvision_sets.stamp, name) for name in SOURCES},
}


@dataclass(frozen=True)
class Location:
    """Where a named dataset is, and its state; `note` says what was verified, or what to do."""

    name: str
    where: Path | None
    state: Literal["embedded", "verified", "absent", "damaged"]
    note: str


def default_data_dir() -> Path:
    """Return the folder of datasets: INITBENCH_DATA if set, else the platform's."""
    chosen = os.environ.get("INITBENCH_DATA")
    return expand(chosen) if chosen else Path(platformdirs.user_data_dir("initbench", appauthor=False))


def resolve(text: str) -> str:
    """Return the canonical text of a registered name; the path of the user's own data stays as typed.

    A name wins over a folder of that name in the current folder: write ./name for the folder.

    Raises:
        UsageError: neither; the message suggests the nearest name.
    """
    if (own := _with_changes(text)) is not None:
        path, change = own
        return f"{path}{str(change).removeprefix(change.name)}"
    if text not in DATASETS and _is_path(text):
        return text
    if "(" not in text:
        DATASETS.find(text)  # its suggestion helps more than the grammar's error about 'fashion-mnist'
    return str(DATASETS.resolve(text))


def prepare(text: str, data_dir: Path | None = None) -> Dataset:
    """Return a dataset, parsed, verified, split and cached if it is not in the cache.

    Raises:
        UsageError: no dataset has that name.
        DataError: missing, damaged, or not a dataset.
        ConfigurationError: the cache cannot be written.
    """
    text = resolve(text)
    try:
        return _prepare(text, expand(data_dir or default_data_dir()))
    except DataError as error:
        # Names of files, folders and arrays may hold line breaks and control characters.
        raise type(error)(printable(str(error))) from error.__cause__


def _prepare(text: str, root: Path) -> Dataset:
    if (changed_own := _with_changes(text)) is not None:
        return _prepare_own(text, *changed_own)
    if text not in DATASETS and _is_path(text):
        return _prepare_own(text, text, Spec("own"))
    if (name := parse(text).name) in STAMPS:
        stamp = STAMPS[name](root)
        return lookup(text, stamp) or build(text, stamp, DATASETS.build(text, root), text, published=True)
    arrays = DATASETS.build(text, root)
    stamp = fingerprint((arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels))
    return lookup(text, stamp) or build(text, stamp, arrays, text)


def _prepare_own(text: str, path: str, change: Spec) -> Dataset:
    own = files.find(expand(path), ", ".join(DATASETS))
    name = f"{own.name}{text[len(path) :]}"
    dataset = lookup(name, own.stamp) or build(name, own.stamp, changed(own.read(), **change.kwargs), text)
    return replace(dataset, notices=(*own.notices, *dataset.notices))


def _with_changes(text: str) -> tuple[str, Spec] | None:
    """Split `my.npz(noise=0.1)` into the path of the user's own data and its changes, resolved; else None."""
    opened = next((place for place, char in outside_brackets(text) if char == "("), None)
    if not text.endswith(")") or opened is None or not _is_path(text[:opened]) or expand(text).exists():
        return None
    return text[:opened], _OWN.resolve(f"own{text[opened:]}")


_OWN: Registry[Arrays] = Registry("dataset", common=changed)


@_OWN.register()
def own(arrays: Arrays, /) -> Arrays:
    """Stand for the user's own data, which has the parameters that every dataset has."""
    return arrays


def locate(name: str, data_dir: Path | None = None) -> Location:
    """Return where a named dataset is and whether it is verified.

    Raises:
        UsageError: no dataset has that name.
    """
    name = DATASETS.find(name).name
    if name not in SOURCES:
        return Location(name, None, "embedded", "needs no file")
    root = expand(data_dir or default_data_dir())
    source = SOURCES[name]
    try:
        return Location(name, root / source.folder, "verified", confirm(source, root))
    except AbsentError:
        return Location(name, None, "absent", f"`initbench data fetch {name}` gets it ({source.size / 1e6:.0f} MB)")
    except DataError as error:
        return Location(name, root / source.folder, "damaged", str(error))


def fetch(name: str, data_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Download and verify a named dataset; return its folder.

    `progress` is called with the bytes received and the bytes expected in all.

    Raises:
        UsageError: no dataset has that name, or it needs no file.
        DataError: no mirror delivered it; no partial files are left.
        ConfigurationError: the data folder cannot be written.
    """
    name = DATASETS.find(name).name
    if name not in SOURCES:
        raise UsageError(f"The dataset '{name}' needs no download.")
    return fetch_source(SOURCES[name], expand(data_dir or default_data_dir()), progress)


def _is_path(text: str) -> bool:
    return "/" in text or os.sep in text or text.lower().endswith(".npz") or os.path.isdir(text)  # noqa: PTH112 - never raises
