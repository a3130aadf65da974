"""A folder of images on disk: which files belong to which split and class, and what is left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from initbench.core.text import printable
from initbench.core.words import counted
from initbench.datasets.splitnames import SPLIT_NAMES, VAL_IS_TEST
from initbench.errors import DataError

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm"),
}
# Folders that systems and tools leave next to images, some with thumbnails in them; hidden ones besides.
LITTER = {"__macosx", "@eadir", "__pycache__"}
SPLITS = ("train", "val", "test")
NAMES_SHOWN = 5


@dataclass(frozen=True)
class LabelledImage:
    """One image file: its split (train, val or test), its class (the folder's name) and its path."""

    split: str
    label: str
    path: Path


@dataclass(frozen=True)
class Listing:
    """The images of a `folder` by split, class and name; `notices` are sentences on how the folder was understood."""

    folder: Path
    images: tuple[LabelledImage, ...]
    notices: tuple[str, ...]


def list_images(folder: Path) -> Listing:
    """List `train/<class>/*`, `val/<class>/*` (may be absent) and `test/<class>/*` by name.

    Capitals, training, valid, validation and testing are understood; without a test split, validation is that.

    Raises:
        DataError: a split or a class has no images, or another split has a class that `train` does not have.
    """
    splits, skipped = _splits(folder)
    notices = []
    if "train" in splits and "val" in splits and "test" not in splits:
        splits["test"] = splits.pop("val")
        notices.append(VAL_IS_TEST)
    for split in ("train", "test"):
        if split not in splits:
            raise DataError(f"The folder {folder} has no {split}/<class>/ with images{_found(folder)}: make one.")
    images = [image for split in SPLITS if split in splits for image in _list_split(splits[split], split, skipped)]
    classes = {image.label for image in images if image.split == "train"}
    for image in images:
        if image.label not in classes:
            raise DataError(
                f"The {image.split} class '{image.label}' in {folder} has no folder "
                f"{splits['train'].name}/{image.label}: add one, or remove it."
            )
    if skipped:
        names = sorted({path.name for path in skipped})
        shown = ", ".join(map(printable, names[:NAMES_SHOWN])) + ", …" * (len(names) > NAMES_SHOWN)
        verb = "is" if len(skipped) == 1 else "are"
        notices.append(
            f"{counted(len(skipped), 'entry').replace('entrys', 'entries')} of its folders {verb} skipped, "
            f"no images of a class: {shown}."
        )
    return Listing(folder, tuple(images), tuple(notices))


def _splits(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return the folder of each split, and the folders that are none."""
    splits: dict[str, Path] = {}
    skipped = []
    for path in _sorted(folder):
        split = None if _is_litter(path) else SPLIT_NAMES.get(path.name.lower())
        if not path.is_dir():
            continue
        if split is None:
            skipped.append(path)
        elif split in splits:
            raise DataError(f"The folder {folder} has both {splits[split].name} and {path.name}: keep one as {split}.")
        else:
            splits[split] = path
    return splits, skipped


def _list_split(folder: Path, split: str, skipped: list[Path]) -> Iterator[LabelledImage]:
    entries = _sorted(folder)
    classes = [path for path in entries if path.is_dir() and not _is_litter(path)]
    skipped += [path for path in entries if path not in classes]
    if not classes:
        raise DataError(
            f"The folder {folder} has no folders of classes{_found(folder)}: make one with images for each class."
        )
    for path in classes:
        entries = _sorted(path)
        files = [
            file for file in entries if file.suffix.lower() in SUFFIXES and not _is_litter(file) and file.is_file()
        ]
        if not files:
            raise DataError(
                f"The class folder {path} has no images{_found(path)}: add some ({' '.join(sorted(SUFFIXES))}) or "
                f"remove it."
            )
        taken = set(files)
        skipped += [entry for entry in entries if entry not in taken]
        yield from (LabelledImage(split, path.name, file) for file in files)


def _found(folder: Path) -> str:
    """Return what is in a folder instead, in brackets."""
    names = [path.name for path in _sorted(folder) if not _is_litter(path)]
    shown = ", ".join(map(printable, names[:NAMES_SHOWN])) + ", …" * (len(names) > NAMES_SHOWN)
    return f" (found: {shown})" if names else ""


def _is_litter(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in LITTER


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name)
