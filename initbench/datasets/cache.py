"""A cache of parsed datasets as .npy files, so that all worker processes map the same pages.

A cache folder is named after the dataset and a hash of its source files; it is written under a temporary name and then
renamed. A damaged or incomplete folder is built again.
"""

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from initbench.core.paths import cache_dir
from initbench.datasets.arrays import Array, Arrays, Labels, blocks, check, moments
from initbench.datasets.class_means import nearest_mean_accuracy
from initbench.datasets.findings import findings
from initbench.datasets.splits import fingerprint, mislabelled, stratified
from initbench.errors import ConfigurationError, DataError

# Increased when the same source files give other cached files.
CACHE_FORMAT = 3

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Dataset:
    """The description of a dataset, known before an image is read.

    `fingerprint` covers every array, labels and split included. `shape` is (channels, height, width). `mean` and `std`
    have one value per channel over the training split, in the units of the stored images (0..255 for bytes); `std` is
    never 0. `guess` is the validation accuracy of always answering validation's most frequent class, `nearest_mean`
    that of answering the class whose mean training image is nearest. `notices` are sentences on what a user should know
    of these images. `augment` is what moves training images as they are gathered.
    """

    name: str
    fingerprint: str
    folder: Path
    shape: tuple[int, int, int]
    classes: int
    train_size: int
    val_size: int
    test_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    guess: float
    nearest_mean: float
    notices: tuple[str, ...] = ()
    augment: str = ""


def lookup(name: str, stamp: str) -> Dataset | None:
    """Return the cached dataset of these source files, or None unless it is complete and intact to the last bit."""
    return _load_whole(_place(name, stamp))


def build(name: str, stamp: str, arrays: Arrays, where: object, *, published: bool = False) -> Dataset:
    """Check, split and cache parsed arrays; those that are `published` hold no surprises to look for.

    Raises:
        DataError: the arrays are not a dataset; `where` is in the message.
        ConfigurationError: the cache cannot be written.
    """
    given, arrays = arrays, check(arrays, where)
    place = _place(name, stamp)
    with _writing(place) as part:
        drawn = _validation(arrays, where)
        kept, labels = _training(arrays, ~drawn, where)
        _write(part, "train", arrays.train_images, labels, kept)
        if arrays.val_images is not None and arrays.val_labels is not None:
            _write(part, "val", arrays.val_images, arrays.val_labels)
        else:
            _write(part, "val", arrays.train_images, arrays.train_labels, drawn)
        _write(part, "test", arrays.test_images, arrays.test_labels)
        found = () if published else findings(arrays, np.unique(given.train_labels), drawn)
        described = _describe(part, name, int(arrays.train_labels.max()) + 1, arrays.change.augment)
        _write_meta(part, replace(described, notices=(*arrays.notices, *found)))
        _publish(part, place)
    dataset = _load(place)
    if dataset is None:
        raise ConfigurationError(f"The cache folder {place} changed while it was written: run the command again.")
    return dataset


def reopen(dataset: Dataset) -> Dataset | None:
    """Return a dataset described by another machine, from the same folder or this machine's cache, or None.

    It is complete and the same to the last bit.
    """
    for folder in (dataset.folder, cache_dir() / dataset.folder.name):
        found = _load_whole(folder)
        if found is not None and found.fingerprint == dataset.fingerprint:
            return found
    return None


def pack(dataset: Dataset) -> dict[str, bytes]:
    """Return the cached files of a dataset by name, to send to another machine."""
    return {path.name: path.read_bytes() for path in sorted(dataset.folder.iterdir())}


def unpack(dataset: Dataset, files: Mapping[str, bytes]) -> Dataset:
    """Write the files of a dataset received from another machine to this one's cache.

    Raises:
        ConfigurationError: the cache cannot be written, or the files are not that dataset.
    """
    place = cache_dir() / dataset.folder.name
    with _writing(place) as part:
        for name, data in files.items():
            (part / Path(name).name).write_bytes(data)
        _publish(part, place)
    found = _load_whole(place)
    if found is None or found.fingerprint != dataset.fingerprint:
        raise ConfigurationError(f"The files of {dataset.name} were damaged on the way: run the command again.")
    return found


def open_split(dataset: Dataset, split: Split) -> tuple[Array, Labels]:
    """Map images (n, C, H, W) uint8 or float32 and labels (n,) int64 of one split, copy-on-write.

    Raises:
        DataError: the cached files are gone or damaged.
    """
    try:
        return _map(dataset.folder, split)
    except Exception as error:  # noqa: BLE001 - damaged headers make NumPy raise a dozen kinds
        raise DataError(
            f"The cached {split} split of {dataset.name} in {dataset.folder} cannot be read ({error}): delete that "
            f"folder and run the command again."
        ) from None


def _place(name: str, stamp: str) -> Path:
    key = hashlib.sha256(f"{CACHE_FORMAT}\0{name}\0{stamp}".encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64]
    return cache_dir() / f"{slug}-{key}"


def _validation(arrays: Arrays, where: object) -> Any:  # noqa: ANN401 - a NumPy mask
    """Hold out 10 % of the training images, stratified by class; none where there is a validation split."""
    if arrays.val_images is not None:
        return np.zeros(len(arrays.train_labels), np.bool_)
    labels = arrays.train_labels.astype(np.int64, copy=False)
    key = f"validation {fingerprint((arrays.train_images, labels))}"
    mask = stratified(labels, max(1, (len(labels) + 5) // 10), key)
    if not mask.any():
        raise DataError(
            f"The {len(labels)} training images of {where} are one per class, too few to hold any out for validation: "
            f"add some."
        )
    return mask


def _training(arrays: Arrays, mask: Any, where: object) -> tuple[Any, Labels]:  # noqa: ANN401 - NumPy masks
    """Return which training images are kept of those in a mask, and the labels, some of them wrong.

    Raises:
        DataError: fewer images than classes, or more than there are, are asked for.
    """
    labels = arrays.train_labels.astype(np.int64, copy=False)
    change, rows = arrays.change, np.flatnonzero(mask)
    if change.subset is None and not change.noise:
        return mask, labels
    key = fingerprint((arrays.train_images, labels))
    if change.subset is not None:
        classes = len(np.unique(labels[rows]))
        count = change.subset if isinstance(change.subset, int) else max(classes, round(change.subset * len(rows)))
        if not classes <= count <= len(rows):
            raise DataError(
                f"subset={change.subset} of {where} is not possible: its training split has {len(rows)} images of "
                f"{classes} classes."
            )
        rows = rows[~stratified(labels[rows], len(rows) - int(count), f"subset {key}")]
    mask = np.isin(np.arange(len(labels)), rows)
    return mask, mislabelled(labels, rows, change.noise, f"noise {key}")


@contextmanager
def _writing(place: Path) -> Iterator[Path]:
    """Provide a folder in a temporary one in the same file system, which is always removed."""
    private = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        part = private / "new"
        part.mkdir()  # whose mode is the user's own umask's: others may read a shared cache, or may not
        yield part
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the cache folder {place.parent} ({error.strerror or error}): set INITBENCH_CACHE to a "
            f"folder that can be written."
        ) from error
    finally:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


def _write(folder: Path, split: Split, images: Array, labels: Array, mask: Any = None) -> None:  # noqa: ANN401 - a mask
    rows = np.arange(len(labels)) if mask is None else np.flatnonzero(mask)
    np.save(folder / f"{split}_labels.npy", labels[rows].astype(np.int64), allow_pickle=False)
    header = {
        "descr": np.lib.format.dtype_to_descr(images.dtype),
        "fortran_order": False,
        "shape": (len(rows), *images.shape[1:]),
    }
    with (folder / f"{split}_images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(images, rows):
            file.write(block.data)


def _describe(folder: Path, name: str, classes: int, augment: str) -> Dataset:
    """Describe what was written, from the files on disk."""
    splits = [_map(folder, split) for split in SPLITS]
    train, val, _ = splits
    (train_images, _), (_, val_labels) = train, val
    mean, std = moments(train_images)
    sizes = [len(labels) for _, labels in splits]
    return Dataset(
        name=name,
        fingerprint=_fingerprint(splits, augment),
        folder=folder,
        shape=train_images.shape[1:],
        classes=classes,
        train_size=sizes[0],
        val_size=sizes[1],
        test_size=sizes[2],
        mean=mean,
        std=std,
        guess=float(np.bincount(val_labels).max() / len(val_labels)),
        nearest_mean=nearest_mean_accuracy(train, val, mean, std),
        augment=augment,
    )


def _fingerprint(splits: Iterable[tuple[Array, Labels]], augment: str) -> str:
    """Return the fingerprint of all arrays, and of what moves the training images."""
    found = fingerprint(array for split in splits for array in split)
    return found if not augment else hashlib.sha256(f"{found} {augment}".encode()).hexdigest()[:16]


def _write_meta(folder: Path, dataset: Dataset) -> None:
    described = asdict(dataset)
    del described["folder"]  # its location is not a property of the data
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.npy"))}
    payload = json.dumps([described, sizes], allow_nan=False)
    document = {"payload": payload, "checksum": hashlib.sha256(payload.encode()).hexdigest()}
    (folder / "meta.json").write_text(json.dumps(document), encoding="utf-8")


def _load_whole(folder: Path) -> Dataset | None:
    """Return the dataset if its arrays match the fingerprint: a worker would not notice a changed bit."""
    dataset = _load(folder)
    if dataset is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged headers make NumPy warn before it fails
            found = _fingerprint((_map(folder, split) for split in SPLITS), dataset.augment)
    except Exception:  # noqa: BLE001 - and then raise a dozen kinds
        return None
    return dataset if found == dataset.fingerprint else None


def _load(folder: Path) -> Dataset | None:
    """Return the dataset in a cache folder if its description is intact and every file has its length."""
    try:
        document = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        payload = document["payload"]
        if hashlib.sha256(payload.encode()).hexdigest() != document["checksum"]:
            return None
        described, sizes = json.loads(payload)
        if any((folder / name).stat().st_size != size for name, size in sizes.items()):
            return None
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in described.items()
        }
        return Dataset(folder=folder, **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _publish(part: Path, place: Path) -> None:
    """Rename a finished folder to its place; if another process was first, its equal folder stays."""
    if _load_whole(place) is None:
        # Moved away before it is removed: a rename succeeds for one process only, and is done at once.
        aside = tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent)
        with aside as folder, suppress(FileNotFoundError):
            place.rename(Path(folder) / place.name)
    try:
        part.rename(place)
    except OSError:
        if _load_whole(place) is None:
            raise


def _map(folder: Path, split: Split) -> tuple[Array, Labels]:
    # Copy-on-write, not read-only: torch.from_numpy warns about arrays that cannot be written.
    images, labels = (
        np.load(folder / f"{split}_{part}.npy", mmap_mode="c", allow_pickle=False) for part in ("images", "labels")
    )
    return images, labels
