"""The user's own data: an .npz file or a folder of images, found and hashed before anything is parsed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from initbench.datasets.arrays import Arrays
from initbench.datasets.folders import Listing, list_images
from initbench.datasets.npz import KEYS, read_npz
from initbench.datasets.pictures import read_images
from initbench.errors import DataError


@dataclass(frozen=True)
class OwnData:
    """The user's file or folder: a short name, a hash of its content, how to parse it, and `notices` for them."""

    name: str
    stamp: str
    read: Callable[[], Arrays]
    notices: tuple[str, ...] = ()


def find(path: Path, alternatives: str) -> OwnData:
    """Hash an .npz file or an image folder without parsing it.

    Raises:
        DataError: it does not exist or is neither; the message suggests `alternatives`.
    """
    try:
        if path.is_dir():
            listing = list_images(path)
            return OwnData(
                _named(path.resolve().name), _hash_images(listing), lambda: read_images(listing), listing.notices
            )
        if path.is_file() and path.suffix.lower() == ".npz":
            return OwnData(_named(path.stem), _hash(path), lambda: read_npz(path))
    except OSError as error:
        raise DataError(f"Cannot read {path} ({error.strerror}): fix its permissions or give another path.") from None
    fault = "is neither an .npz file nor a folder" if path.exists() else "does not exist"
    raise DataError(
        f"The dataset {path} {fault}: give the path of an .npz file with {', '.join(KEYS)}, of a folder with "
        f"train/<class>/* and test/<class>/*, or one of {alternatives}."
    )


def _named(name: str) -> str:
    """Return a name as records can keep it: bytes that are not UTF-8, which Linux allows, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_images(listing: Listing) -> str:
    images = listing.images
    lines = [f"{image.path.relative_to(listing.folder).as_posix()}\0{_hash(image.path)}\n" for image in images]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
